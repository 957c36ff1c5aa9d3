"""What a command, a page or the API shows of tables: frozen values, and their queries."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.refs import Ref
from bowerbird.core.targets import CellState, Entry
from bowerbird.lake import snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.log import TableLog
from bowerbird.lake.read import plan
from bowerbird.lake.schema import columns_of
from bowerbird.lake.streams import lies_in_order
from bowerbird.lake.upkeep.compaction import order_of
from bowerbird.lake.versions.branches import Name, names

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.snapshots import Snapshot


class VersionView(msgspec.Struct, frozen=True):
    """One commit. by: the token of a step of ours, or who else wrote it."""

    version: str
    at: datetime
    operation: str
    by: str
    burnt: bool
    changed: tuple[str, ...]
    rows: int
    files: int


class TableView(msgspec.Struct, frozen=True):
    """A table as it is now; its versions newest first."""

    name: str
    owner: str
    description: str
    location: str
    columns: dict[str, str]
    partition: tuple[str, ...]
    sort: tuple[str, ...]
    version: str | None
    rows: int
    files: int
    bytes: int
    cells: dict[str, CellState]
    versions: tuple[VersionView, ...]


class TableLine(msgspec.Struct, frozen=True):
    """A table among others."""

    name: str
    version: str | None
    rows: int
    files: int
    bytes: int


class FileView(msgspec.Struct, frozen=True):
    """A data file. sorted: in the table's order. deletes: files that delete rows of it."""

    path: str
    part: str
    rows: int
    bytes: int
    sorted: bool
    deletes: int


class Versions(msgspec.Struct, frozen=True):
    """A table's versions, newest first, and its branches and tags."""

    name: str
    versions: tuple[VersionView, ...]
    names: tuple[Name, ...]


def tables(lake: Lake) -> tuple[TableLine, ...]:
    """Every table, as it is now."""
    return tuple(_line(name, lake.load(name)) for name in lake.tables())


def _line(name: str, found: IcebergTable) -> TableLine:
    head = snapshots.head_of(found)
    told = _figures(head)
    return TableLine(
        name=name,
        version=str(head.snapshot_id) if head else None,
        rows=told["total-records"],
        files=told["total-data-files"],
        bytes=told["total-files-size"],
    )


def files(
    lake: Lake, ref: Ref | str, version: str | None = None, cells: Iterable[str] | None = None
) -> tuple[FileView, ...]:
    """The data files of a version (None: the present one), by partition."""
    found = plan(lake, ref, version, cells=cells)
    metadata = found.table.metadata
    by = order_of(found.table)
    views = (
        FileView(
            path=task.file.file_path,
            part=snapshots.part_of(metadata, task.file),
            rows=task.file.record_count,
            bytes=task.file.file_size_in_bytes,
            sorted=lies_in_order(metadata, task, by),
            deletes=len(task.delete_files),
        )
        for task in found.tasks
    )
    return tuple(sorted(views, key=lambda one: (one.part, one.path)))


def versions(lake: Lake, ref: Ref | str) -> Versions:
    """All versions that the present one descends from."""
    found = table(lake, ref, versions=sys.maxsize)
    return Versions(found.name, found.versions, names(lake, ref))


def table(lake: Lake, ref: Ref | str, versions: int = 20) -> TableView:
    """One table. Raises `RefError` if there is none."""
    found = lake.load(ref)
    history = TableLog(lake, ref).load()
    head = snapshots.head_of(found)
    known = {str(one.snapshot_id): one for one in found.metadata.snapshots}
    told = _figures(head)
    schema = found.schema()
    return TableView(
        name=identifier(ref),
        owner=found.properties.get("owner", ""),
        description=found.properties.get("comment", ""),
        location=found.location(),
        columns=columns_of(schema),
        partition=tuple(field.name for field in found.spec().fields),
        sort=tuple(str(schema.find_column_name(f.source_id)) for f in found.sort_order().fields),
        version=history.head,
        rows=told["total-records"],
        files=told["total-data-files"],
        bytes=told["total-files-size"],
        cells=history.cells(),
        versions=tuple(
            _version(entry, known[entry.version]) for entry in history.entries[:versions]
        ),
    )


def _version(entry: Entry, snapshot: Snapshot) -> VersionView:
    told = _figures(snapshot)
    return VersionView(
        version=entry.version,
        at=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        operation=snapshot.summary.operation.value if snapshot.summary else "",
        by=entry.token or entry.author,
        burnt=entry.burnt,
        changed=tuple(sorted(entry.changed)),
        rows=told["total-records"],
        files=told["total-data-files"],
    )


def _figures(snapshot: Snapshot | None) -> dict[str, int]:
    names = ("total-records", "total-data-files", "total-files-size")
    told = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    return {name: int(told.get(name, 0)) for name in names}
