"""How the files of a partition lie: which are small, which overlap, which are in no order.

Pure: from what file statistics say to which files are worth rewriting, and why. `compaction` does
it, `health` tells it.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.lake import snapshots, streams

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask
    from pyiceberg.table.metadata import TableMetadata


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """When the files of a partition are worth rewriting. Deleted rows always are.

    small: below this share of the target size a file is small. joined: so many small files side by
    side become one. depth: files that overlap may lie this deep. unsorted: the share of a
    partition's rows that may lie in no order.
    """

    small: float = 0.5
    joined: int = 4
    depth: int = 4
    unsorted: float = 0.05


class Lying(msgspec.Struct, frozen=True):
    """One data file, as its statistics tell it.

    low, high: the ends of its first sort key; None where they are not known. ordered: it says that
    its rows are in the table's order. run: files of one run were written one after another in
    order, so they do not overlap whatever their statistics say. deletes: files that delete rows of
    it.
    """

    path: str
    rows: int
    bytes: int
    low: Any = None
    high: Any = None
    ordered: bool = True
    run: str = ""
    deletes: int = 0


class Group(msgspec.Struct, frozen=True):
    """Files of a partition that are to become one run, and why; no other file lies among them."""

    files: tuple[Lying, ...]
    reasons: tuple[str, ...]


_OURS = re.compile(r"(.*/[0-9a-f]{8}(?:-\d{5})?)-(?:\d{3}|\d{5})\.parquet")
"""As `write` names files: what is before the last number is the writer's own, or its partition's.
`test_files_that_one_write_makes_of_a_partition_are_one_run` holds the two together."""


def lying(metadata: TableMetadata, task: FileScanTask, by: Sequence[str]) -> Lying:
    file = task.file
    ordered = not by or streams.lies_in_order(metadata, task, by)
    low = high = None
    key = leading(metadata, by)
    if key is not None:
        low, high, nulls = snapshots.bounds(metadata, file, key)
        if nulls != 0 or isinstance(low, float):  # nulls and NaN come last and are in no bounds
            low = high = None
    ours = _OURS.fullmatch(file.file_path)
    return Lying(
        path=file.file_path,
        rows=file.record_count,
        bytes=file.file_size_in_bytes,
        low=low,
        high=high,
        ordered=ordered,
        run=ours[1] if ours and ordered else file.file_path,
        deletes=len(task.delete_files),
    )


def leading(metadata: TableMetadata, by: Sequence[str]) -> str | None:
    """The first sort key that is not one and the same all over a partition."""
    from pyiceberg.transforms import IdentityTransform

    same = {
        f.source_id for f in metadata.spec().fields if isinstance(f.transform, IdentityTransform)
    }
    keys = (key for key in by if metadata.schema().find_field(key).field_id not in same)
    return next(keys, None)


def stacks(files: Iterable[Lying]) -> list[list[Lying]]:
    """Files by the ranges of their keys: those that overlap, or may, in one stack; in order."""
    known = sorted((f for f in files if f.low is not None), key=lambda f: (f.low, f.high))
    unknown = [f for f in files if f.low is None]
    if unknown:
        return [[*known, *unknown]]
    found: list[list[Lying]] = []
    end: Any = None
    for file in known:
        if found and file.low <= end:
            found[-1].append(file)
            end = max(end, file.high)
        else:
            found.append([file])
            end = file.high
    return found


def depth(files: Iterable[Lying]) -> int:
    """How many runs at most hold one key: what a reader in order must have open at once."""
    runs: dict[str, tuple[Any, Any]] = {}
    everywhere: set[str] = set()
    for file in files:
        if file.low is None:
            everywhere.add(file.run)
            continue
        low, high = runs.get(file.run, (file.low, file.high))
        runs[file.run] = (min(low, file.low), max(high, file.high))
    deepest = 0
    ends: list[Any] = []
    for low, high in sorted(span for run, span in runs.items() if run not in everywhere):
        while ends and ends[0] < low:
            heapq.heappop(ends)
        heapq.heappush(ends, high)
        deepest = max(deepest, len(ends))
    return deepest + len(everywhere)


def is_small(file: Lying, target: int, limits: Limits) -> bool:
    return file.bytes < target * limits.small


def groups(
    files: Sequence[Lying],
    by: Sequence[str],
    target: int,
    limits: Limits = Limits(),  # noqa: B008
) -> list[Group]:
    """The files of one partition that are worth rewriting.

    Stacks that lie well stay, and what lies between two of them is joined: what a group becomes
    overlaps nothing outside it, so rewriting it leaves nothing to do. target: bytes of a file.
    """
    rows = sum(file.rows for file in files)
    if not by:
        amiss = [f for f in files if f.deletes or is_small(f, target, limits)]
        return _worth([amiss], rows, target, limits)
    side_by_side: list[list[Lying]] = [[]]
    for stack in stacks(files):
        if _lies_well(stack, target, limits):
            side_by_side.append([])
        else:
            side_by_side[-1] += stack
    return _worth(side_by_side, rows, target, limits)


def _lies_well(stack: Sequence[Lying], target: int, limits: Limits) -> bool:
    fine = all(f.ordered and not f.deletes and not is_small(f, target, limits) for f in stack)
    return fine and depth(stack) <= limits.depth


def _worth(found: Iterable[Sequence[Lying]], rows: int, target: int, limits: Limits) -> list[Group]:
    judged = ((files, reasons(files, rows, target, limits)) for files in found)
    return [Group(tuple(files), why) for files, why in judged if why]


def reasons(files: Sequence[Lying], rows: int, target: int, limits: Limits) -> tuple[str, ...]:
    """Why files that lie side by side are worth rewriting. rows: of the whole partition."""
    why = []
    small = sum(is_small(file, target, limits) for file in files)
    if small >= max(limits.joined, 2):
        why.append(f"{small} small files")
    deep = depth(files)
    if deep > limits.depth and any(file.low is not None for file in files):
        why.append(f"{deep} files deep")
    loose = sum(file.rows for file in files if not file.ordered)
    if loose > rows * limits.unsorted:
        why.append(f"{loose / rows:.0%} unsorted")
    deletes = sum(file.deletes > 0 for file in files)
    if deletes:
        why.append(f"rows deleted in {deletes} files")
    return tuple(why)
