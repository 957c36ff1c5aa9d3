"""An older version's files put back as a new commit on top: no byte of data is written.

History stays append-only, so whoever pinned what was rolled back still reads it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
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
    from pyiceberg.table.snapshots import Snapshot


class Moved(msgspec.Struct, frozen=True):
    """A whole file that goes in or out: its path, partition, rows and bytes."""

    path: str
    cell: str
    rows: int
    bytes: int


class Rollback(msgspec.Struct, frozen=True):
    """What putting cells of a table back to a version changes. No byte of data is written.

    files_back, files_out: in order of their paths. makes: cell -> the meaning that it has again.
    """

    to: str
    cells: tuple[str, ...]
    files_back: tuple[Moved, ...]
    files_out: tuple[Moved, ...]
    makes: dict[str, str | None]

    @property
    def put_back(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.files_back)

    @property
    def taken_out(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.files_out)


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
    shown, payload = _examine(lake, ref, to, tuple(cells))
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
        payload=payload,
        results={
            "files_put_back": len(shown.files_back),
            "files_taken_out": len(shown.files_out),
            "rows_put_back": sum(file.rows for file in shown.files_back),
            "rows_taken_out": sum(file.rows for file in shown.files_out),
            "bytes_written": 0,
            "back_to": to,
        },
    )


def preview(lake: Lake, ref: Ref | str, to: str, cells: Iterable[str] = (WHOLE,)) -> Rollback:
    """What `rollback` would do: which files, and what the cells then hold."""
    return _examine(lake, ref, to, tuple(cells))[0]


def _examine(
    lake: Lake, ref: Ref | str, to: str, cells: tuple[str, ...]
) -> tuple[Rollback, Written]:
    log = TableLog(lake, ref)
    history = log.load()
    table = log.table or lake.load(ref)
    before = at(identifier(ref), history, Version(to))
    snapshots.check_cells(identifier(ref), table.metadata, cells)
    head, then = (table.snapshot_by_id(int(one or 0)) for one in (history.head, to))
    now_live, then_live = snapshots.live(table, head), snapshots.live(table, then)
    now = {one.file.file_path: one for one in _data(cells, now_live)}
    wanted = {one.file.file_path: one for one in _data(cells, then_live)}
    payload = Written(spec=None, files=tuple(one.file for one in wanted.values()), source=to)
    if any(one.deletes for one in (*now_live, *then_live)):
        renewed, stays = _under_deletes(table, head, then, cells, now.keys(), wanted)
        payload = msgspec.structs.replace(payload, renewed=renewed, stays=stays)
    missing = [one for path, one in sorted(wanted.items()) if path not in now]
    _refuse_lost(lake, identifier(ref), [one.file for one in missing])
    shown = Rollback(
        to=to,
        cells=cells,
        files_back=tuple(map(_moved, missing)),
        files_out=tuple(_moved(one) for path, one in sorted(now.items()) if path not in wanted),
        makes=restored(history, before, cells),
    )
    return shown, payload


def _data(cells: tuple[str, ...], live: Iterable[snapshots.Live]) -> list[snapshots.Live]:
    inside = snapshots.Cells(cells)
    return [one for one in live if not one.deletes and one.part in inside]


def _moved(one: snapshots.Live) -> Moved:
    file = one.file
    return Moved(file.file_path, one.part, file.record_count, file.file_size_in_bytes)


def _under_deletes(
    table: IcebergTable,
    head: Snapshot | None,
    then: Snapshot | None,
    cells: tuple[str, ...],
    there: Container[str],
    wanted: Mapping[str, snapshots.Live],
) -> tuple[frozenset[str], dict[str, tuple[str, ...]]]:
    """The files that hide rows by now and hid none then: they are added once more. And those that
    hid just what they hide: they must stay, with the delete files that apply to them.

    A file that is added again counts as newer than every delete made before, so none of its rows
    are hidden any more; one that stays keeps hiding what is hidden now. Raises `UserError` where
    neither would show the rows that it showed.
    """
    hidden_then = snapshots.deleted_rows(table, then, cells, wanted)
    hidden_now = snapshots.deleted_rows(table, head, cells, wanted)
    renewed, stays = set(), {}
    applied = snapshots.deletes_on(table)
    for path, one in wanted.items():
        was, now = hidden_then.get(path), hidden_now.get(path)
        if was is None:
            if now is not None and path in there:
                renewed.add(path)
        elif path not in there or now is None or now.rows != was.rows:
            raise UserError(
                f"{'.'.join(table.name())}: {was.by[0]} deletes rows of {one.part}, and a rollback "
                "would bring them back or go on hiding others",
                expected="files that hid no rows in that version, or still hide the same",
                fix="rewrite the data files with their deletes applied, then roll back",
            )
        else:
            stays[path] = applied.get(path, ())
    return frozenset(renewed), stays


def _refuse_lost(lake: Lake, name: str, files: Iterable[DataFile]) -> None:
    for file in files:
        if not lake.files.exists(file.file_path):
            raise UserError(
                f"{name}: {file.file_path} is gone, so its rows cannot come back",
                expected="the files of that version (expiry deletes them)",
                fix="bowerbird plan --release, to compute them again",
            )
