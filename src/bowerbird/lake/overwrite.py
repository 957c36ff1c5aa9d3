"""Overwriting exactly the partitions that some rows fall in, in one commit.

What lies in other partitions stays as it is. Nobody sees a partition empty in between, and a commit
that somebody else made into one of them meanwhile is not lost: the step is planned again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.refs import Ref
from bowerbird.core.targets import Change
from bowerbird.lake import evolve, snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.write import Written

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile


class CellOverwrite(msgspec.Struct, frozen=True):
    """One partition: what is written into it, and what goes."""

    cell: str
    files_in: int
    rows_in: int
    bytes_in: int
    files_out: int
    rows_out: int
    bytes_out: int


class Overwrite(msgspec.Struct, frozen=True):
    """What overwriting partitions changes; `cells` in order."""

    name: str
    cells: tuple[CellOverwrite, ...]


def overwrite_partitions(
    lake: Lake, written: Written, attempt: str, meaning: str = "", ref: Ref | str | None = None
) -> Change:
    """The change that puts what was written in place of all that its partitions hold.

    written: with the spec that it was written for. meaning: hash of what was computed.
    """
    cells = tuple(sorted(_by_cell(lake, written, ref)))
    return Change(
        attempt=attempt,
        makes=dict.fromkeys(cells, meaning or None),
        overwrites=cells,
        payload=written,
        results={
            "rows": written.rows,
            "bytes": written.bytes,
            "files": len(written.files),
            "partitions": len(cells),
        },
    )


def preview(lake: Lake, written: Written, ref: Ref | str | None = None) -> Overwrite:
    """What `overwrite_partitions` would do to the table as it is now.

    Raises `UserError` where older files hold rows of these partitions and of others.
    """
    name = _name(written, ref)
    into = _by_cell(lake, written, ref)
    table = lake.find(name)
    live = snapshots.live(table, snapshots.head_of(table)) if table is not None else []
    written_to = snapshots.Cells(into)
    out = [one for one in live if not one.deletes and one.part in written_to]
    cells = []
    for cell, files in sorted(into.items()):
        inside = snapshots.Cells((cell,))
        gone = [one.file for one in out if one.part in inside]
        cells.append(CellOverwrite(cell, *_figures(files), *_figures(gone)))
    return Overwrite(name, tuple(cells))


def _name(written: Written, ref: Ref | str | None) -> str:
    assert written.spec is not None or ref is not None  # noqa: S101 - one of them names the table
    return identifier(ref if ref is not None else written.spec.ref)  # type: ignore[union-attr] # as above


def _by_cell(lake: Lake, written: Written, ref: Ref | str | None) -> dict[str, list[DataFile]]:
    name = _name(written, ref)
    table = lake.find(name)
    if written.spec is not None:
        metadata = evolve.planned(table, written.spec, lake.location(name))
    else:
        metadata = lake.load(name).metadata
    found: dict[str, list[DataFile]] = {}
    for file in written.files:
        found.setdefault(snapshots.part_of(metadata, file), []).append(file)
    return found


def _figures(files: Iterable[DataFile]) -> tuple[int, int, int]:
    files = list(files)
    rows = sum(file.record_count for file in files)
    return len(files), rows, sum(file.file_size_in_bytes for file in files)
