"""A small shop for tests of backfills: events and rows by day, in a real workspace."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from bowerbird.core.runs import RunRecord, RunState
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.data.features.columns import DAY
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Lake, Table, TableLog, read, write
from bowerbird.lake.overwrite import overwrite_partitions
from bowerbird.rooms import registry
from bowerbird.workspace.new import make_project
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace

SPECS = """
from bowerbird.data.features.alignment import DayBoundary, Latest, PointInTime
from bowerbird.data.features.columns import Count, Last, Mean, Sum
from bowerbird.data.features.specs import Backfill, FeatureGroup
from bowerbird.lake import Table, bucket, day

events = Table(
    "shop/events",
    schema={"user": "long", "at": "timestamptz", "amount": "long"},
    partition=(day("at"),),
    sort=("user", "at"),
)
rows = Table(
    "shop/rows",
    schema={"row_id": "long", "user": "long", "at": "timestamptz"},
    partition=(day("at"),),
    sort=("row_id",),
)
spend = FeatureGroup(
    "shop/spend",
    source=events,
    key=("user",),
    columns={"n_3d": Count(over="3d"), "sum_7d": Sum("amount", over="7d")},
)
staged = Backfill("shop/spend", rows=rows, id=("row_id",), features=(spend,), cells_a_commit=5)
"""
STAGED = "backfill:shop/spend"
SOURCES = ("table:shop/events", "table:shop/rows")


def open_shop(folder: Path, specs: str = SPECS) -> Workspace:
    """The workspace of a project with these specs; opened anew, it reads them anew."""
    if not (folder / "bowerbird.toml").exists():
        make_project(folder)
    path = folder / "specs" / "shop.py"
    if not path.exists() or path.read_text() != specs:
        path.write_text(specs)
    return Workspace(
        load_settings(folder, variables={}),
        registry(),
        lambda loaded: open_engine(EngineKind.THREADS, workers=2, paths=(loaded.project,)),
    )


def events(days: Iterable[int], each: int = 12, seed: int = 0) -> pa.Table:
    """`each` events on each day, of users 0 to 4; they depend on the day and the seed only."""
    parts = []
    for day in days:
        random = np.random.default_rng((seed, day))
        parts.append(
            pa.table(
                {
                    "user": random.integers(0, 5, each),
                    "at": times(day * DAY + random.integers(0, DAY, each)),
                    "amount": random.integers(1, 9, each),
                }
            )
        )
    return pa.concat_tables(parts)


def rows(days: Iterable[int], each: int = 6) -> pa.Table:
    parts = []
    for day in days:
        random = np.random.default_rng((7, day))
        parts.append(
            pa.table(
                {
                    "row_id": day * 1000 + np.arange(each),
                    "user": random.integers(0, 6, each),
                    "at": times(day * DAY + random.integers(0, DAY, each)),
                }
            )
        )
    return pa.concat_tables(parts)


def times(microseconds: np.typing.NDArray[np.int64]) -> pa.Array:
    return pa.array(microseconds, pa.timestamp("us", "UTC"))


def put(shop: Workspace, ref: str, data: pa.Table) -> None:
    """Somebody's writer: the partitions of these rows are overwritten, in one commit."""
    lake, spec = Lake(shop.home), shop.specs[ref].spec
    assert isinstance(spec, Table)
    number = uuid.uuid4().hex
    target = LogTarget(TableLog(lake, ref), shop.clock)
    token = Token(f"writer/{number}")
    written = write(lake, spec, data, target.files(token, "a1"), ref)
    change = overwrite_partitions(lake, written, "a1", number)
    target.commit(token, target.read().version, msgspec.structs.replace(change, meaning="m"))


def empty(shop: Workspace, ref: str, cell: str) -> None:
    """Somebody's writer: no row is left in a partition."""
    lake, spec = Lake(shop.home), shop.specs[ref].spec
    assert isinstance(spec, Table)
    number = uuid.uuid4().hex
    target = LogTarget(TableLog(lake, ref), shop.clock)
    token = Token(f"writer/{number}")
    nothing = write(lake, spec, read(lake, ref, cells=()), target.files(token, "a1"), ref)
    change = Change("a1", meaning=number, overwrites=(cell,), payload=nothing)
    target.commit(token, target.read().version, change)


def apply(shop: Workspace) -> RunRecord | None:
    """Plan and carry out, as long as a plan says that there is more once it is done."""
    while True:
        made = shop.plan()
        run = shop.apply(made)
        assert run is None or run.state == RunState.DONE, [step.error for step in run.steps]
        if made.empty or not any(note.later for note in made.notes):
            return run


def stocked(folder: Path, days: range, specs: str = SPECS) -> Workspace:
    """A shop whose events and rows of these days are there, and nothing staged."""
    shop = open_shop(folder, specs)
    plan = shop.plan()
    tables = msgspec.structs.replace(
        plan, steps=tuple(step for step in plan.steps if step.kind == "table.create")
    )
    shop.apply(tables)
    put(shop, SOURCES[0], events(days))
    put(shop, SOURCES[1], rows(days))
    return shop


def staged(shop: Workspace, ref: str = STAGED) -> pa.Table:
    return read(Lake(shop.home), ref).sort_by("row_id")
