"""Four developers backfill a feature group each into one wide training table of 120 days.

    python -m benchmarks.features_backfill [--rows 5000] [--columns 60]

*Two stages*: each stages its features beside the rows' ids, all four at once, and one promotion
joins them: a plan of the house, carried out by two worker threads, gates and audit included.
*In place*: one after another, since two would overwrite each other, each reads every partition of
the wide table, adds its columns, writes it again; with a commit a partition, as a job a partition
does, or with one commit a developer. The same functions compute, read and write in all of them.
Then the commits alone: 120 partitions in one, or one by one.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from bowerbird.core.clock import SystemClock
from bowerbird.core.runs import RunState
from bowerbird.core.steps import Home
from bowerbird.core.targets import LogTarget, Token
from bowerbird.data.features.columns import DAY
from bowerbird.data.features.compute import prepared
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Lake, Table, TableLog, Written, day, parts, read, write
from bowerbird.lake.overwrite import overwrite_partitions
from bowerbird.rooms import registry
from bowerbird.workspace.new import make_project
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace

DAYS = 120
USERS = 2000
DEVELOPERS = ("spend", "visits", "taste", "rhythm")
SPECS = """
from bowerbird.data.features.columns import *
from bowerbird.data.features.specs import Backfill, FeatureGroup, Promotion
from bowerbird.lake import Table, day

events = Table("bench/events", schema={"user_id": "long", "at": "timestamptz", "amount": "long",
               "shop": "long"}, partition=(day("at"),), sort=("user_id", "at"))
wide = {f"x{n}": "double" for n in range(COLUMNS)}
rows = Table("bench/rows", schema={"row_id": "long", "user_id": "long", "at": "timestamptz"} | wide,
             partition=(day("at"),), sort=("row_id",))
GROUPS = {
    "spend": {"sum_7d": Sum("amount", "7d"), "sum_30d": Sum("amount", "30d")},
    "visits": {"n_7d": Count("7d"), "n_30d": Count("30d")},
    "taste": {"shops_30d": Distinct("shop", "30d"), "last": Last("shop", over="30d")},
    "rhythm": {"most_30d": Max("amount", "30d"), "mean_7d": Mean("amount", "7d")},
}
groups = {name: FeatureGroup(f"bench/{name}", source=events, key=("user_id",), columns=columns)
          for name, columns in GROUPS.items()}
spend, visits, taste, rhythm = groups.values()
staged = {name: Backfill(f"bench/{name}", rows=rows, id=("row_id",), features=(group,),
                         cells_a_commit=120) for name, group in groups.items()}
staged_spend, staged_visits, staged_taste, staged_rhythm = staged.values()
training = Table("bench/training", partition=(day("at"),), sort=("row_id",), schema=rows.schema | {
    "spend__sum_7d": "long", "spend__sum_30d": "long", "visits__n_7d": "long",
    "visits__n_30d": "long", "taste__shops_30d": "long", "taste__last": "long",
    "rhythm__most_30d": "long", "rhythm__mean_7d": "double"})
promotion = Promotion("bench/training", into=training, rows=rows, staged=tuple(staged.values()))
"""
_tokens = itertools.count(1)


def opened(folder: Path, columns: int) -> Workspace:
    if not (folder / "bowerbird.toml").exists():
        make_project(folder)
        (folder / "specs" / "bench.py").write_text(SPECS.replace("COLUMNS", str(columns)))
    return Workspace(
        load_settings(folder, variables={}),
        registry(),
        lambda loaded: open_engine(EngineKind.THREADS, workers=2, paths=(loaded.project,)),
    )


def commit(lake: Lake, ref: str, written: Written) -> float:
    """Put partitions in the place of what they hold; the seconds that the commit alone took."""
    target = LogTarget(TableLog(lake, ref), SystemClock())
    change = overwrite_partitions(lake, written, "a1", f"{next(_tokens):032x}")
    start = time.perf_counter()
    target.commit(Token(f"bench/{next(_tokens)}"), target.read().version, change)
    return time.perf_counter() - start


def folder_of(lake: Lake, ref: str) -> str:
    return TableLog(lake, ref).files(Token(f"bench/{next(_tokens)}"), "a1")


def prepare(shop: Workspace, rows_a_day: int) -> None:
    random = np.random.default_rng(3)
    lake = Lake(shop.home)
    run = shop.apply(shop.plan())
    assert run is not None
    assert run.state == RunState.DONE, run
    every = DAYS * rows_a_day
    at = np.repeat(np.arange(DAYS), rows_a_day) * DAY + random.integers(0, DAY, every)
    spec = table(shop, "table:bench/rows")
    rows = {
        "row_id": np.arange(every),
        "user_id": random.integers(0, USERS, every),
        "at": pa.array(at, pa.timestamp("us", "UTC")),
    }
    rows |= {name: random.random(every).round(4) for name in spec.schema if name.startswith("x")}
    commit(lake, "table:bench/rows", write(lake, spec, pa.table(rows), folder_of(lake, spec.name)))
    count = DAYS * 10_000
    events = pa.table(
        {
            "user_id": random.integers(0, USERS, count),
            "at": pa.array(random.integers(0, DAYS * DAY, count), pa.timestamp("us", "UTC")),
            "amount": random.integers(0, 100, count),
            "shop": random.integers(0, 50, count),
        }
    )
    spec = table(shop, "table:bench/events")
    commit(lake, "table:bench/events", write(lake, spec, events, folder_of(lake, spec.name)))


def table(shop: Workspace, ref: str) -> Table:
    found = shop.specs[ref].spec
    assert isinstance(found, Table)
    return found


def two_stages(shop: Workspace) -> float:
    start = time.perf_counter()
    while True:
        plan = shop.plan()
        run = shop.apply(plan)
        assert run is None or run.state == RunState.DONE, [step.error for step in run.steps]
        if plan.empty or not any(note.later for note in plan.notes):
            return time.perf_counter() - start


def in_place(home: Home, shop: Workspace, *, one_commit: bool) -> tuple[float, float]:
    """Seconds in all, and of the commits alone."""
    lake, rows, start = Lake(home), table(shop, "table:bench/rows"), time.perf_counter()
    wide = Table("bench/wide", schema=dict(rows.schema), partition=(day("at"),), sort=("row_id",))
    source, commits = "table:bench/rows", 0.0
    for name in DEVELOPERS:
        group = shop.specs[f"feature_group:bench/{name}"].spec
        assert isinstance(group, FeatureGroup)
        # What a job a partition reads of the events is what it can see; here it is read once.
        answer = prepared(group, read(lake, group.source))
        kinds = dict.fromkeys(group.names, "long") | (
            {"mean_7d": "double"} if name == "rhythm" else {}
        )
        wide = Table(
            "bench/wide",
            schema={**wide.schema, **{f"{name}__{c}": kinds[c] for c in group.names}},
            partition=(day("at"),),
            sort=("row_id",),
        )

        def rewritten(cell: str, wide: Table = wide, of: str = source, name: str = name) -> Written:
            part = read(lake, of, cells=[cell])
            found = answer(part.select(["user_id", "at"]))  # noqa: B023 - called within the round
            for column in found.column_names:
                part = part.append_column(f"{name}__{column}", found[column])
            return write(lake, wide, part, folder_of(lake, wide.name))

        cells = list(parts.sizes(lake, source))
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(rewritten, cells))
        if one_commit:
            commits += commit(lake, "table:bench/wide", Written.joined(made))
        else:
            commits += sum(commit(lake, "table:bench/wide", one) for one in made)
        source = "table:bench/wide"
    return time.perf_counter() - start, commits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=60)
    asked = parser.parse_args()
    figures: dict[str, tuple[float, float]] = {}
    for name in ("two stages", "in place, a commit a partition", "in place, a commit a developer"):
        with tempfile.TemporaryDirectory() as folder:
            shop = opened(Path(folder), asked.columns)
            prepare(shop, asked.rows)
            if name == "two stages":
                seconds = two_stages(shop)
                history = TableLog(Lake(shop.home), "table:bench/training").load()
                rows = read(Lake(shop.home), "table:bench/training").num_rows
                assert rows == DAYS * asked.rows, rows
                changed = [e for e in history.entries if any(c[0] != "#" for c in e.changed)]
                figures[name] = seconds, float(len(changed))
            else:
                figures[name] = in_place(shop.home, shop, one_commit="developer" in name)
            shop.close()
    mine = figures["two stages"][0]
    print(f"--- 4 groups x {DAYS} partitions of {asked.rows:,} rows, {asked.columns} wide columns")
    print(
        f"two stages                         {mine:8.2f} s, {figures['two stages'][1]:.0f} commit"
    )
    for name in list(figures)[1:]:
        seconds, commits = figures[name]
        print(f"{name:34} {seconds:8.2f} s, {seconds / mine:.2f}x; commits alone {commits:.2f} s")
    one, many = (figures[name][1] for name in list(figures)[:0:-1])
    print(
        f"commits of 4 x {DAYS} partitions: one by one {many / one:.1f}x those of one a developer"
    )


if __name__ == "__main__":
    main()
