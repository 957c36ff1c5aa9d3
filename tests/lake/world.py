"""A lake in a folder of its own, and the small table that most tests use."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from msgspec.structs import replace

from bowerbird.core.steps import Access, Home
from bowerbird.core.targets import Change, LogTarget, Token, Version
from bowerbird.lake import Lake, Table, TableLog, identity, read, write
from bowerbird.testing.target_conformance import Hurried
from tests.seaweed import BUCKET, KEY, SECRET, TABLE_BUCKET, Seaweed

PARTS = Table(
    "test/parts",
    schema={"part": "string not null", "name": "string"},
    partition=[identity("part")],
    sort=["name"],
)


def home_in(folder: str, metadata: str = "") -> Home:
    return Home(
        metadata=metadata or f"sqlite:///{folder}/metadata.db",
        warehouse=f"{folder}/warehouse",
        catalog="test",
        project=folder,
        state=folder,
    )


_numbers = itertools.count(1)


def home_on_s3(server: Seaweed, folder: str, metadata: str = "") -> Home:
    """Files in a place of their own on the object store; the catalog in a metadata database."""
    warehouse = f"s3://{BUCKET}/{Path(folder).name}-{next(_numbers)}"
    return replace(home_in(folder, metadata), warehouse=warehouse, access=access_to(server))


def home_on_rest(server: Seaweed, folder: str) -> Home:
    """The server's own catalog, which takes tables in its own bucket alone."""
    return replace(
        home_in(folder),
        warehouse=f"s3://{TABLE_BUCKET}",
        iceberg=f"rest:{server.rest}",
        access=access_to(server),
    )


def access_to(server: Seaweed) -> Access:
    return Access(
        s3_endpoint=server.s3,
        s3_region="us-east-1",
        s3_access_key=KEY,
        s3_secret_key=SECRET,
        iceberg_credential=f"{KEY}:{SECRET}",
    )


def parts_of_its_own() -> Table:
    """`PARTS` in a namespace that no other test has: a REST catalog is shared by all tests."""
    return replace(PARTS, name=f"test{next(_numbers)}/parts")


def parts(rows: Mapping[str, Sequence[str]]) -> pa.Table:
    pairs = [(cell.partition("=")[2], name) for cell, names in rows.items() for name in names]
    columns = {"part": [part for part, _ in pairs], "name": [name for _, name in pairs]}
    return pa.table(columns, pa.schema({"part": pa.string(), "name": pa.string()}))


class TableWorld:
    """`LogWorld` over a table partitioned by ``part``."""

    def __init__(self, home: Home, spec: Table = PARTS) -> None:
        self.home = home
        self.spec = spec
        self.lake = Lake(home)

    def log(self) -> TableLog:
        return TableLog(Lake(self.home), self.spec.ref)

    def target(self) -> LogTarget:
        return LogTarget(self.log(), Hurried())

    def change(self, token: Token, attempt: str, rows: Mapping[str, Sequence[str]]) -> Change:
        folder = self.log().files(token, attempt)
        written = write(self.lake, self.spec, parts(rows), folder)
        return Change(attempt, makes=dict.fromkeys(rows, f"meaning of {token}"), payload=written)

    def rows(self) -> list[str]:
        if not self.lake.exists(self.spec.ref):
            return []
        table = read(self.lake, self.spec.ref)
        return list(table.column("name").to_pylist()) if "name" in table.column_names else []

    def foreign(self, cell: str, row: str) -> None:
        table = self.lake.load(self.spec.ref)
        table.append(parts({cell: [row]}).cast(table.schema().as_arrow()))

    def set_back(self, version: Version) -> None:
        self.lake.load(self.spec.ref).manage_snapshots().rollback_to_snapshot(int(version)).commit()

    def expire(self) -> None:
        table = self.lake.load(self.spec.ref)
        head = table.current_snapshot().snapshot_id
        old = [s.snapshot_id for s in table.metadata.snapshots if s.snapshot_id != head]
        table.maintenance.expire_snapshots().by_ids(old).commit()

    def elsewhere(self) -> tuple[str, tuple[Home, Table]]:
        return "tests.lake.world:TableWorld", (self.home, self.spec)
