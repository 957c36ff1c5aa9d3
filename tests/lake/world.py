"""A lake in a folder of its own, and the small table that most tests use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from bowerbird.core.steps import Home
from bowerbird.core.targets import Change, LogTarget, Token, Version
from bowerbird.lake import Lake, Table, TableLog, identity, read, write
from bowerbird.testing.target_conformance import Hurried

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

    def elsewhere(self) -> tuple[str, tuple[Home]]:
        return "tests.lake.world:TableWorld", (self.home,)
