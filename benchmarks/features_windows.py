"""A new day for windows of 30, 90 and 365 days: one more tile and one more moment, or all anew.

    python -m benchmarks.features_windows [--events 3e7] [--keys 1e5] [--rounds 3]

A year of events lies by day. Ours reads the new day's events, writes their tile, makes the values
of every key and writes them: two commits. Counts and sums of whole numbers are rolled on from the
day before; with greatest values among them, the tiles of each window are folded. DuckDB computes
the same values from the year's files and writes them as Parquet. Then the frame of these values is
retrieved, as of the moment and by key, through a training set and by Feast (another environment's,
see `benchmarks.features_join`), which computes none. Each in a process of its own.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import _apart, _feast
from benchmarks.lake_join import LAKE, files, home
from bowerbird.core.clock import SystemClock
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.data.features import keeping, kept
from bowerbird.data.features.columns import DAY, Column, Count, Max, Sum
from bowerbird.data.features.sources import source_schema
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.features.tiles import Grain, Span, grains_of, spans
from bowerbird.data.samples.batches import batches
from bowerbird.data.samples.planning import plan_set
from bowerbird.data.samples.specs import Beside, TrainingSet
from bowerbird.lake import Lake, Table, TableLog, Written, day, read, write
from bowerbird.lake.read import plan

DAYS = 366
WINDOWS = (30, 90, 365)
EVENTS = Table(
    "bench/events",
    schema={"user_id": "long", "at": "timestamptz", "amount": "long"},
    partition=(day("at"),),
    sort=("user_id",),
)
ROLLED: dict[str, Column] = {f"n_{one}": Count(f"{one}d") for one in WINDOWS}
ROLLED |= {f"sum_{one}": Sum("amount", f"{one}d") for one in WINDOWS}
FOLDED = ROLLED | {f"max_{one}": Max("amount", f"{one}d") for one in WINDOWS}


def group(name: str, columns: dict[str, Column]) -> FeatureGroup:
    source, key = "table:bench/events", ("user_id",)
    return FeatureGroup(f"bench/{name}", source=source, key=key, columns=columns, every="1d")


ASKED = Table("bench/asked", schema={"user_id": "long", "at": "timestamptz"})
COUNTS, GREATEST = group("counts", ROLLED), group("greatest", FOLDED)
NEW = Span(Grain.DAY, (DAYS - 1) * DAY, DAYS * DAY)


def commit(lake: Lake, ref: str, token: str, written: Written) -> None:
    target = LogTarget(TableLog(lake, ref), SystemClock())
    target.commit(Token(token), target.read().version, Change("a1", payload=written))


def prepare(folder: str, events: int, keys: int) -> None:
    """A year of events, and the tiles of all days but the last."""
    random = np.random.default_rng(7)
    lake, each = Lake(home(folder)), events // DAYS

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(DAYS):
            at = number * DAY + random.integers(0, DAY, each)
            yield pa.record_batch(
                {
                    "user_id": random.integers(0, keys, each),
                    "at": pa.array(at, pa.timestamp("us", "UTC")),
                    "amount": random.integers(0, 1000, each),
                }
            )

    log = TableLog(lake, EVENTS.ref)
    written = write(lake, EVENTS, batches(), log.files(Token("r/events"), "a1"))
    commit(lake, str(EVENTS.ref), "r/events", written)
    grains = grains_of(FOLDED, "1d")
    wanted = tuple(span for grain in grains for span in spans(grain, 0, (DAYS - 1) * DAY))
    for one in (COUNTS, GREATEST):
        tiles = keeping.tiles_ref(one)
        commit(lake, tiles, "r/tiles", kept.tile(lake.home, tiling(lake, one, wanted)))
    asked = pa.table(
        {"user_id": np.arange(keys), "at": pa.array([NEW.end] * keys, pa.timestamp("us", "UTC"))}
    )
    log = TableLog(lake, ASKED.ref)
    written = write(lake, ASKED, asked, log.files(Token("r/asked"), "a1"))
    commit(lake, str(ASKED.ref), "r/asked", written)
    # The values of the day before, from which the new day's are rolled on.
    commit(lake, str(COUNTS.ref), "r/values", valued(lake, COUNTS, NEW.start))


def tiling(lake: Lake, one: FeatureGroup, wanted: tuple[Span, ...]) -> kept.Tiling:
    layout = kept.tile_layout(lake, one)
    folder = TableLog(lake, keeping.tiles_ref(one)).files(Token(f"t/{len(wanted)}"), "a1")
    return kept.Tiling(one, {one.source: None}, wanted, layout, folder)


def valued(lake: Lake, one: FeatureGroup, moment: int, *, rolls: bool = False) -> Written:
    place = TableLog(lake, one.ref).files(Token(f"v/{moment}"), "a1")
    types = {field.name: field.type for field in source_schema(lake, one)}
    moments = kept.moments_of(
        one, types, kept.tile_rows(lake, one, None), [moment], first_rolls=rolls
    )
    layout, before = kept.values_layout(lake, one), None
    if rolls:
        version = TableLog(lake, one.ref).load().head
        before = str(version), keeping.moment_cell(one, moment - DAY)
    job = kept.Keeping(one, None, moments, types, layout, place, before)
    return kept.keep(lake.home, job)


def daily(folder: str, one: FeatureGroup, *, rolls: bool) -> tuple[int, float]:
    lake, tiles = Lake(home(folder)), keeping.tiles_ref(one)
    commit(lake, tiles, "day/tile", kept.tile(lake.home, tiling(lake, one, (NEW,))))
    commit(lake, str(one.ref), "day/values", valued(lake, one, NEW.end, rolls=rolls))
    rows = read(lake, str(one.ref), cells=[keeping.moment_cell(one, NEW.end)])
    return rows.num_rows, summed(rows, one.columns)


def rolled(folder: str) -> tuple[int, float]:
    return daily(folder, COUNTS, rolls=True)


def folded(folder: str) -> tuple[int, float]:
    return daily(folder, GREATEST, rolls=False)


def retrieved(folder: str) -> tuple[int, float]:
    """The new day's values beside those who ask, once the day is there."""
    beside = Beside(str(COUNTS.ref))
    asking = TrainingSet("bench/frame", rows=str(ASKED.ref), entity="user_id", features=(beside,))
    plan = plan_set(Lake(home(folder)), asking, {str(COUNTS.ref): COUNTS})
    rows = pa.Table.from_batches(list(batches(home(folder), plan, batch_size=1 << 20)))
    names = {f"counts__{name}": column for name, column in ROLLED.items()}
    return rows.num_rows, summed(rows, names)


def summed(rows: pa.Table, columns: dict[str, Column]) -> float:
    return float(sum(pc.sum(rows[name]).as_py() for name in columns))


def forget(folder: str) -> None:
    """As it was before the new day: the values and the new tile gone."""
    shutil.rmtree(folder)
    shutil.copytree(f"{folder}.kept", folder)


def anew(folder: str, columns: dict[str, Column]) -> tuple[int, float]:
    import duckdb as duck
    import pyarrow.parquet as pq

    terms = []
    for days in WINDOWS:
        inside = f"FILTER (WHERE t >= {NEW.end - days * DAY})"
        terms += [f"count(*) {inside} AS n_{days}"]
        terms += [f"coalesce(sum(amount) {inside}, 0)::BIGINT AS sum_{days}"]
        terms += [f"max(amount) {inside} AS max_{days}"] if f"max_{days}" in columns else []
    since = NEW.end - max(WINDOWS) * DAY
    query = (
        f'SELECT user_id, {", ".join(terms)} FROM (SELECT user_id, amount, epoch_us("at") AS t '
        f"FROM read_parquet($files)) WHERE t >= {since} AND t < {NEW.end} GROUP BY user_id"
    )
    connection = duck.connect()
    out = f"{folder}/whole.parquet"
    pq.write_table(
        connection.sql(query, params={"files": files(folder, EVENTS.name)}).to_arrow_table(), out
    )
    rows = pq.read_table(out)
    return rows.num_rows, summed(rows, columns)


def anew_rolled(folder: str) -> tuple[int, float]:
    return anew(folder, ROLLED)


def anew_folded(folder: str) -> tuple[int, float]:
    return anew(folder, FOLDED)


MODULE, FEAST = "benchmarks.features_windows", "feast, retrieval"
RETRIEVED = "the frame of the new day, retrieved"
REPORTS = {
    "greatest values too": ("ours, folded", "duckdb, all anew, greatest"),
    "counts and sums": ("duckdb, all anew", "ours, rolled on"),
    RETRIEVED: ("ours, retrieval", FEAST),
}
OURS = (*LAKE, "bowerbird.data.features.kept", "bowerbird.data.samples.batches")
CONTENDERS: dict[str, tuple[_apart.Contender, tuple[str, ...]]] = {
    "ours, rolled on": (rolled, OURS),
    "duckdb, all anew": (anew_rolled, (*LAKE, "duckdb")),
    "ours, folded": (folded, OURS),
    "duckdb, all anew, greatest": (anew_folded, (*LAKE, "duckdb")),
    "ours, retrieval": (retrieved, OURS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=float, default=3e7)
    parser.add_argument("--keys", type=float, default=1e5)
    parser.add_argument("--rounds", type=int, default=3)
    asked = _apart.asked(parser, CONTENDERS)
    with tempfile.TemporaryDirectory() as root:
        folder = f"{root}/bench"
        Path(folder).mkdir()
        prepare(folder, int(asked.events), int(asked.keys))
        shutil.copytree(folder, f"{folder}.kept")
        rounds = []
        for _ in range(asked.rounds):
            one = {}
            for title, names in REPORTS.items():
                for name in names:
                    if title != RETRIEVED:
                        forget(folder)
                    one[name] = feast(folder) if name == FEAST else _apart.run(MODULE, name, folder)
            rounds.append({name: told for name, told in one.items() if told})
        found = _apart.best(rounds)
        print(f"a new day of {asked.events:,.0f} events a year, {asked.keys:,.0f} keys")
        for title, names in REPORTS.items():
            _apart.report(title, {name: found[name] for name in names if name in found}, "ours")
        if not _feast.python():
            print("Feast was left out: BOWERBIRD_FEAST_PYTHON names no Python that has it")


def feast(folder: str) -> dict[str, object] | None:
    """The frame of values, as of the moment, from what ours has just written."""
    lake = Lake(home(folder))
    cell = keeping.moment_cell(COUNTS, NEW.end)
    found = plan(lake, str(COUNTS.ref), cells=[cell])
    listed = [task.file.file_path for task in found.tasks]
    return _feast.run("frame", _feast.Frame(listed, list(ROLLED), NEW.end), folder)


if __name__ == "__main__":
    main()
