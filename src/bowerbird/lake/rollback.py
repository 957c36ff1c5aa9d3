"""An older version's files put back as a new commit on top: no byte of data is written.

History stays append-only, so whoever pinned what was rolled back still reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.core.refs import Ref
from bowerbird.core.rollback import at, restored
from bowerbird.core.targets import WHOLE, Change, Version, overlap
from bowerbird.lake import snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.log import TableLog
from bowerbird.lake.write import Written

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table as IcebergTable


class Rollback(msgspec.Struct, frozen=True):
    """What putting cells of a table back to a version changes; paths of whole files.

    makes: cell -> the meaning that it has again.
    """

    to: str
    cells: tuple[str, ...]
    put_back: tuple[str, ...]
    taken_out: tuple[str, ...]
    makes: dict[str, str | None]


def rollback(
    lake: Lake,
    ref: Ref | str,
    to: str,
    attempt: str,
    cells: Iterable[str] = (WHOLE,),
    holds: Mapping[str, str] | None = None,
) -> Change:
    """The change that puts `cells` of a table back to what they were at version `to`.

    holds: cell -> digest of the definition that is rolled back; it is not made again by itself.
    Raises `UserError`, by name, where the old rows cannot come back as they were.
    """
    shown, files = _examine(lake, ref, to, tuple(cells))
    held = {
        cell: digest
        for cell in shown.makes
        for part, digest in (holds or {}).items()
        if overlap((cell,), (part,))
    }
    return Change(
        attempt=attempt,
        makes=shown.makes,
        overwrites=shown.cells,
        holds=held,
        payload=Written(spec=None, files=files, source=to),
        results={"files_put_back": len(shown.put_back), "files_taken_out": len(shown.taken_out)},
    )


def preview(lake: Lake, ref: Ref | str, to: str, cells: Iterable[str] = (WHOLE,)) -> Rollback:
    """What `rollback` would do: which files, and what the cells then hold."""
    return _examine(lake, ref, to, tuple(cells))[0]


def _examine(
    lake: Lake, ref: Ref | str, to: str, cells: tuple[str, ...]
) -> tuple[Rollback, tuple[DataFile, ...]]:
    history = TableLog(lake, ref).load()
    table = lake.load(ref)
    before = at(identifier(ref), history, Version(to))
    snapshots.check_cells(identifier(ref), table.metadata, cells)
    head = table.snapshot_by_id(int(history.head or 0))
    now = [one for one in snapshots.live(table, head) if snapshots.inside(cells, one.part)]
    then = [
        one
        for one in snapshots.live(table, table.snapshot_by_id(int(to)))
        if snapshots.inside(cells, one.part)
    ]
    _refuse_deletes(identifier(ref), [*then, *now])
    there = {one.file.file_path for one in now}
    wanted = {one.file.file_path: one.file for one in then}
    missing = [file for path, file in wanted.items() if path not in there]
    _refuse_lost(lake, table, identifier(ref), missing)
    shown = Rollback(
        to=to,
        cells=cells,
        put_back=tuple(file.file_path for file in missing),
        taken_out=tuple(sorted(there - wanted.keys())),
        makes=restored(history, before, cells),
    )
    return shown, tuple(wanted.values())


def _refuse_deletes(name: str, files: Iterable[snapshots.Live]) -> None:
    # A file that is added again counts as newer than every delete made before: deleted rows would
    # come back. And a delete made since then would go on to hide rows of a file that stays.
    for one in files:
        if one.deletes:
            raise UserError(
                f"{name}: {one.file.file_path} deletes rows of {one.part}, and a rollback would "
                "bring them back or go on hiding them",
                expected="versions without delete files",
                fix="rewrite the data files with their deletes applied, then roll back",
            )


def _refuse_lost(lake: Lake, table: IcebergTable, name: str, files: Iterable[DataFile]) -> None:
    for file in files:
        if file.spec_id != table.metadata.default_spec_id:
            raise UserError(
                f"{name}: {file.file_path} was partitioned otherwise than the table is now",
                expected="files partitioned as the table is",
            )
        if not lake.files.exists(file.file_path):
            raise UserError(
                f"{name}: {file.file_path} is gone, so its rows cannot come back",
                expected="the files of that version (expiry deletes them)",
                fix="bowerbird plan --release, to compute them again",
            )
