"""Compaction: files put back into order and size, partition by partition. No row changes.

`examine` says what is worth rewriting, `plan_compaction` makes a plan of it, and its step streams
each group of files, in order, into new ones, in the memory of a few blocks a file. The commit holds
that the files still are what was read (`Written.replaces`): rows that others append meanwhile stay,
and who overwrites or deletes some makes it plan again. Data versions stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.engine import Outcome, Task
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Cost, Note, Plan, Step
from bowerbird.core.refs import Ref
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import WHOLE, Change, Version
from bowerbird.lake import schema, snapshots, streams
from bowerbird.lake.catalog import Lake, identifier, target_ref
from bowerbird.lake.read import Planned
from bowerbird.lake.read import plan as plan_read
from bowerbird.lake.specs import Table
from bowerbird.lake.upkeep import layout
from bowerbird.lake.upkeep.layout import Limits
from bowerbird.lake.write import Writer, Written

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable

TASK_BYTES = 1024**3
"""Small partitions are put together until a task has about so many bytes to rewrite."""


class Rewrite(msgspec.Struct, frozen=True):
    """What is rewritten in one partition; each of `groups` (paths) becomes one run of files."""

    part: str
    groups: tuple[tuple[str, ...], ...]
    files: int
    rows: int
    bytes: int
    reasons: tuple[str, ...]


class Compaction(msgspec.Struct, frozen=True):
    """What compaction of a table would rewrite.

    files, rows, bytes: of what is rewritten. of_files, of_bytes: of all that was looked at. left:
    files that it cannot take, because they are partitioned otherwise than the table is now.
    """

    name: str
    version: str | None
    parts: tuple[Rewrite, ...]
    files: int
    rows: int
    bytes: int
    of_files: int
    of_bytes: int
    left: int = 0


def examine(
    lake: Lake,
    ref: Ref | str,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    cells: Iterable[str] = (WHOLE,),
    version: str | None = None,
) -> Compaction:
    """What compaction of these cells, as of a version (None: now), would rewrite, and why."""
    found = plan_read(lake, ref, version, cells=tuple(cells))
    parts, left = by_part(found)
    by, target = order_of(found.table), target_bytes(found.table)
    rewrites = []
    for part, tasks in sorted(parts.items()):
        files = [layout.lying(found.table.metadata, task, by) for task in tasks]
        if groups := layout.groups(files, by, target, limits):
            rewrites.append(_rewrite(part, groups))
    return Compaction(
        name=identifier(ref),
        version=None if found.version is None else str(found.version),
        parts=tuple(rewrites),
        files=sum(one.files for one in rewrites),
        rows=sum(one.rows for one in rewrites),
        bytes=sum(one.bytes for one in rewrites),
        of_files=len(found.tasks),
        of_bytes=sum(task.file.file_size_in_bytes for task in found.tasks),
        left=left,
    )


def _rewrite(part: str, groups: Sequence[layout.Group]) -> Rewrite:
    files = [file for group in groups for file in group.files]
    return Rewrite(
        part=part,
        groups=tuple(tuple(file.path for file in group.files) for group in groups),
        files=len(files),
        rows=sum(file.rows for file in files),
        bytes=sum(file.bytes for file in files),
        reasons=tuple(dict.fromkeys(why for group in groups for why in group.reasons)),
    )


def by_part(found: Planned) -> tuple[dict[str, list[FileScanTask]], int]:
    """The files by partition; and how many are partitioned otherwise than the table is now."""
    metadata = found.table.metadata
    parts: dict[str, list[FileScanTask]] = {}
    left = 0
    for task in found.tasks:
        if task.file.spec_id == metadata.default_spec_id:
            parts.setdefault(snapshots.part_of(metadata, task.file), []).append(task)
        else:
            left += 1
    return parts, left


def order_of(table: IcebergTable) -> tuple[str, ...]:
    """The columns that a table is sorted by; none where its order is not one that we write."""
    from pyiceberg.table.sorting import NullOrder, SortDirection
    from pyiceberg.transforms import IdentityTransform

    fields = table.sort_order().fields
    plain = all(
        isinstance(field.transform, IdentityTransform)
        and field.direction == SortDirection.ASC
        and field.null_order == NullOrder.NULLS_LAST
        for field in fields
    )
    found = [table.schema().find_column_name(field.source_id) for field in fields]
    return tuple(str(column) for column in found) if plain else ()


def target_bytes(table: IcebergTable) -> int:
    """About how large a data file of the table is to be."""
    return int(table.properties.get("write.target-file-size-bytes", 128 * 1024 * 1024))


def plan_compaction(
    lake: Lake,
    ref: Ref | str,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    cells: Iterable[str] = (WHOLE,),
) -> Plan:
    """A plan of one step that rewrites what is worth it; empty, with a note, if nothing is."""
    cells = tuple(cells)
    shown = examine(lake, ref, limits, cells)
    name = target_ref(ref)
    wants = digest([name, "compact", msgspec.to_builtins(limits), list(cells), shown.version])
    notes = []
    if shown.left:
        text = f"{shown.left:,} files are partitioned otherwise than the table is now: they stay"
        notes.append(Note(name, text))
    if not shown.parts:
        notes.append(Note(name, f"its {shown.of_files:,} files lie as they should"))
        return Plan(notes=tuple(notes), wants=wants)
    why = ", ".join(dict.fromkeys(why for part in shown.parts for why in part.reasons[:1]))
    step = Step(
        id="s1",
        kind="table.compact",
        target=name,
        reason=f"{shown.files:,} of {shown.of_files:,} files in {len(shown.parts):,} partitions"
        f" ({why[:80]})",
        cell=cells[0] if len(cells) == 1 else WHOLE,
        definition={"limits": msgspec.to_builtins(limits), "cells": list(cells)},
        base=Version(shown.version) if shown.version else None,
        cost=Cost(rows=shown.rows, bytes=shown.bytes),
    )
    return Plan(steps=(step,), notes=tuple(notes), wants=wants)


# -- doing it ------------------------------------------------------------------------------------


def _tasks(work: Work) -> Iterable[Task]:
    wanted = work.step.definition
    limits = msgspec.convert(wanted["limits"], Limits)
    lake = Lake(work.home)
    shown = examine(lake, work.step.target, limits, wanted["cells"], work.step.base)
    for at, parts in enumerate(shares(shown.parts)):
        yield Task(
            key=f"{work.step.target} {at}",
            call="bowerbird.lake.upkeep.compaction:rewrite",
            args=(work.home, work.step.target, shown.version, parts, work.files),
        )


def shares(parts: Sequence[Rewrite], size: int = TASK_BYTES) -> Iterator[tuple[Rewrite, ...]]:
    """Partitions put together until they have about `size` bytes."""
    held: list[Rewrite] = []
    for part in parts:
        if held and sum(one.bytes for one in held) + part.bytes > size:
            yield tuple(held)
            held = []
        held.append(part)
    if held:
        yield tuple(held)


def rewrite(home: Home, ref: str, version: str, parts: Sequence[Rewrite], folder: str) -> Written:
    """Write the rows of some files, as of a version, anew: in order, and as large as is wanted."""
    lake = Lake(home)
    found = plan_read(lake, ref, version, cells=[part.part for part in parts])
    tasks = {task.file.file_path: task for task in found.tasks}
    by = order_of(found.table)
    groups = [[tasks[path] for path in group] for part in parts for group in part.groups]
    files = _writer(lake, found.table, by, folder).write(
        [(values_of(chosen[0].file), streams.in_order(found, by, chosen)) for chosen in groups]
    )
    read = [task for chosen in groups for task in chosen]
    return Written(
        spec=None,
        columns={field.name: field.field_id for field in found.schema.fields},
        files=files,
        replaces=snapshots.applied_to(read),
    )


def values_of(file: DataFile) -> tuple[Any, ...]:
    """The values of the partition that a file is in."""
    return tuple(file.partition[at] for at in range(len(file.partition)))


def _writer(lake: Lake, table: IcebergTable, by: Sequence[str], folder: str) -> Writer:
    spec = Table(
        "/".join(table.name()),
        schema=schema.columns_of(table.schema()),
        sort=tuple(by),
        target_file_bytes=target_bytes(table),
    )
    return Writer(lake.io(), table.metadata, spec, folder)


def _change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    parts: list[Written] = [outcome.result() for outcome in outcomes]
    return change(work.attempt, parts)


def change(attempt: str, parts: Sequence[Written]) -> Change:
    """The commit of what `rewrite` wrote."""
    written = Written.joined(parts) if parts else Written(spec=None)
    results: Mapping[str, Any] = {
        "rows": written.rows,
        "bytes": written.bytes,
        "files": len(written.files),
        "files_taken_out": len(written.replaces),
    }
    return Change(attempt, preserves_rows=True, payload=written, results=results)


COMPACT = StepKind(target=TargetKind.TABLE, tasks=_tasks, change=_change)
