"""Changed rows merged into a table of a million, against PyIceberg's upsert, in one run.

    python benchmarks/lake_merge.py [--rows 1000000] [--rounds 3] [--changes 100,1000,5000]

Both have the same rows in tables of their own, partitioned by nothing for PyIceberg (its upsert
reads what a filter of all keys finds) and by bucket of the key for us; nine of ten changes update a
row, one inserts one. Ours merges both ways, into a table each: by writing files anew, and by naming
deleted rows beside them. Each round merges other changes into all, in turn; the best of each is
told. At the end all tables must hold the same rows; and it is told what naming them costs readers.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bowerbird.core.clock import SystemClock
from bowerbird.core.steps import Home
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.lake import Keyed, Lake, Mode, Table, TableLog, bucket, merge_into, read, write

KEYS = (("id",), ("id", "store"))


def users(ids: np.ndarray, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    count = len(ids)
    times = pa.array(random.integers(0, 10**15, count), pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "at": times,
            "amount": random.random(count).round(3),
            "store": pa.array([f"store {n % 300}" for n in ids]),
            "visits": random.integers(0, 1000, count),
        }
    )


def spec(name: str, buckets: int) -> Table:
    return Table(
        f"bench/{name}",
        schema={
            "id": "long",
            "at": "timestamptz",
            "amount": "double",
            "store": "string",
            "visits": "long",
        },
        partition=(bucket("id", buckets),) if buckets else (),
        sort=("id",),
    )


def filled(lake: Lake, table: Table, rows: pa.Table) -> None:
    log = TableLog(lake, table.ref)
    written = write(lake, table, rows, log.files(Token("load/s"), "a1"))
    LogTarget(log, SystemClock()).commit(Token("load/s"), None, Change("a1", payload=written))


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--changes", default="100,1000,5000")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(f"sqlite:///{folder}/m.db", f"{folder}/warehouse", "bench", folder, folder)
        lake = Lake(home)
        tables = spec("written", 16), spec("named", 16), spec("theirs", 0)
        rows = users(np.random.default_rng(0).permutation(options.rows), 1)
        for table in tables:
            filled(lake, table, rows)
        print(
            f"{'key':<10} {'changes':>8} {'written anew':>15} {'named':>15} {'upsert':>9}"
            "   (x: of upsert's time)"
        )
        counts = map(int, options.changes.split(","))
        for count, key in itertools.product(counts, KEYS):
            best = [float("inf")] * 3
            for turn in range(options.rounds):
                took = one_round(lake, tables, key, options.rows, count, turn)
                best = [min(pair) for pair in zip(best, took, strict=True)]
            mine = (f"{one:>7.2f}s {best[2] / one:>5.1f}x" for one in best[:2])
            print(f"{', '.join(key):<10} {count:>8,} {' '.join(mine)} {best[2]:>8.2f}s", flush=True)
        written, named, theirs = (sorted_rows(lake, table) for table in tables)
        print(f"the same rows in all: {written.equals(named) and written.equals(theirs)}")
        reads = [min(seconds(partial(read, lake, t.ref)) for _ in range(3)) for t in tables[:2]]
        marks = options.rounds * len(KEYS) * sum(map(int, options.changes.split(",")))
        print(f"read whole: {reads[0]:.2f}s; with about {marks:,} rows named: {reads[1]:.2f}s")


def one_round(
    lake: Lake,
    tables: tuple[Table, Table, Table],
    key: tuple[str, ...],
    rows: int,
    count: int,
    turn: int,
) -> list[float]:
    written, named, theirs = tables
    random = np.random.default_rng([count, turn, len(key)])
    old = random.choice(rows, count - count // 10, replace=False)
    new = rows + np.arange(count // 10) + count * (1000 * len(key) + turn)
    changes = users(np.concatenate([old, new]), turn + 2)
    token = Token(f"merge{count}/{len(key)}_{turn}")

    def merged(table: Table, mode: Mode) -> float:
        keyed = Keyed(key=key, mode=mode)
        return seconds(lambda: merge_into(lake, table, changes, keyed, token, SystemClock()))

    table = lake.load(theirs.ref)
    cast = changes.cast(table.schema().as_arrow())
    return [
        merged(written, Mode.COPY_ON_WRITE),
        merged(named, Mode.MERGE_ON_READ),
        seconds(lambda: table.upsert(cast, join_cols=list(key))),
    ]


def sorted_rows(lake: Lake, table: Table) -> pa.Table:
    rows = read(lake, table.ref).cast(users(np.arange(1), 0).schema)
    return rows.take(pc.sort_indices(rows, sort_keys=[("id", "ascending")])).combine_chunks()


if __name__ == "__main__":
    main()
