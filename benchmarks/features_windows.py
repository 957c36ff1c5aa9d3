"""A new day for windows of 30, 90 and 365 days: one more tile and one more moment, or all anew.

    python -m benchmarks.features_windows [--events 3e7] [--keys 1e5] [--rounds 3]

A year of events lies by day. Ours reads the new day's events, writes their tile, folds the tiles of
each window, writes the values of every key: two commits. DuckDB computes the same values from the
year's files and writes them as Parquet. Feast (another environment's, see
`benchmarks.features_join`) retrieves the same frame of values that somebody else has computed. Each
in a process of its own.
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
from bowerbird.data.features import keeping
from bowerbird.data.features.columns import DAY, Column, Count, Max, Sum
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.features.tiles import Grain, Span, spans
from bowerbird.lake import Lake, Table, TableLog, Written, day, read, write

DAYS = 366
WINDOWS = (30, 90, 365)
EVENTS = Table(
    "bench/events",
    schema={"user_id": "long", "at": "timestamptz", "amount": "long"},
    partition=(day("at"),),
    sort=("user_id",),
)
COLUMNS: dict[str, Column] = {}
for window in WINDOWS:
    COLUMNS[f"n_{window}"] = Count(f"{window}d")
    COLUMNS[f"sum_{window}"] = Sum("amount", f"{window}d")
    COLUMNS[f"max_{window}"] = Max("amount", f"{window}d")
GROUP = FeatureGroup(
    "bench/spend", source="table:bench/events", key=("user_id",), columns=COLUMNS, every="1d"
)
TILES = keeping.tiles_ref(GROUP)
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
    wanted = (*spans(Grain.DAY, 0, (DAYS - 1) * DAY), *spans(Grain.MONTH, 0, (DAYS - 1) * DAY))
    commit(lake, TILES, "r/tiles", keeping.tile(lake.home, tiling(lake, wanted, "r/tiles")))


def tiling(lake: Lake, wanted: tuple[Span, ...], token: str) -> keeping.Tiling:
    layout = keeping.tile_layout(lake, GROUP, {}, Grain.DAY)
    folder = TableLog(lake, TILES).files(Token(token), "a1")
    return keeping.Tiling(GROUP, {GROUP.source: None}, wanted, layout, folder)


def ours(folder: str) -> tuple[int, float]:
    lake = Lake(home(folder))
    token = f"daily/{len(TableLog(lake, TILES).load().entries)}"
    commit(lake, TILES, token, keeping.tile(lake.home, tiling(lake, (NEW,), token)))
    into = str(GROUP.ref)
    schema = {"user_id": "long", "at": "timestamptz"} | dict.fromkeys(COLUMNS, "long")
    layout = Table(GROUP.name, schema=schema, partition=(day("at"),), sort=("user_id",))
    place = TableLog(lake, into).files(Token(token), "a1")
    job = keeping.Keeping(GROUP, Grain.DAY, None, (NEW.end,), layout, place)
    written = keeping.keep(lake.home, job)
    commit(lake, into, token, written)
    rows = read(lake, into)
    return rows.num_rows, summed(rows)


def summed(rows: pa.Table) -> float:
    return float(sum(pc.sum(rows[name]).as_py() for name in COLUMNS))


def forget(folder: str) -> None:
    """As it was before the new day: the values and the new tile gone."""
    shutil.rmtree(folder)
    shutil.copytree(f"{folder}.kept", folder)


def duckdb(folder: str) -> tuple[int, float]:
    import duckdb as duck
    import pyarrow.parquet as pq

    terms = []
    for days in WINDOWS:
        inside = f"FILTER (WHERE t >= {NEW.end - days * DAY})"
        terms += [f"count(*) {inside} AS n_{days}"]
        terms += [f"coalesce(sum(amount) {inside}, 0)::BIGINT AS sum_{days}"]
        terms += [f"max(amount) {inside} AS max_{days}"]
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
    return rows.num_rows, summed(rows)


CONTENDERS: dict[str, tuple[_apart.Contender, tuple[str, ...]]] = {
    "ours": (ours, (*LAKE, "bowerbird.data.features.keeping")),
    "duckdb, all anew": (duckdb, (*LAKE, "duckdb")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=float, default=3e7)
    parser.add_argument("--keys", type=float, default=1e5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender")
    parser.add_argument("--folder")
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args()
    if asked.contender:
        _apart.measured(*CONTENDERS[asked.contender], asked.folder, asked.limit)
        return
    with tempfile.TemporaryDirectory() as root:
        folder = f"{root}/bench"
        Path(folder).mkdir()
        prepare(folder, int(asked.events), int(asked.keys))
        shutil.copytree(folder, f"{folder}.kept")
        rounds = []
        for _ in range(asked.rounds):
            one = {}
            for name in CONTENDERS:
                one[name] = _apart.run("benchmarks.features_windows", name, folder)
                if name == "ours" and (feast := retrieval(folder)) is not None:
                    one["feast, retrieval alone"] = feast
                forget(folder)
            rounds.append(one)
        title = f"a new day of {asked.events:,.0f} events a year, {asked.keys:,.0f} keys"
        _apart.report(title, _apart.best(rounds), "ours")
        if not _feast.python():
            print("Feast was left out: BOWERBIRD_FEAST_PYTHON names no Python that has it")


def retrieval(folder: str) -> dict[str, object] | None:
    """Feast: the frame of values, as of the moment, from the table that ours has just written."""
    asked = _feast.Frame(files(folder, str(GROUP.ref)), list(COLUMNS), NEW.end)
    return _feast.run("frame", asked, folder)


if __name__ == "__main__":
    main()
