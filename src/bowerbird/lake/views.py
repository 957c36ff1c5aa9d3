"""What a command, a page or the API shows of tables: frozen values, and their queries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.refs import Ref
from bowerbird.core.targets import CellState, Entry
from bowerbird.lake import snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.log import TableLog
from bowerbird.lake.schema import columns_of

if TYPE_CHECKING:
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


def tables(lake: Lake) -> tuple[str, ...]:
    """The identifiers of all tables."""
    return lake.tables()


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
