"""An as-of join of 2M x 2M rows, bucket by bucket, against DuckDB's ASOF and Polars' join_asof.

    python -m benchmarks.lake_asof [--size 1.0] [--rounds 3]

All read the same data files (16 buckets, sorted by key and time) and give all rows as Arrow
batches, which are counted and summed and thrown away; each in a process of its own.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import pyarrow as pa

from benchmarks import _apart
from benchmarks.lake_join import LAKE, commit, consumed, files, home, two_at_once
from bowerbird.lake import Lake, Table, bucket
from bowerbird.lake.joins.join import bucket_join, join_rows
from bowerbird.lake.joins.specs import AsOf, Side
from bowerbird.lake.joins.views import explain

TRADES = Table(
    "bench/trades",
    schema={"user_id": "long", "at": "timestamptz", "n0": "double"},
    partition=(bucket("user_id", 16),),
    sort=("user_id", "at"),
)
PRICES = Table(
    "bench/prices",
    schema={"user_id": "long", "since": "timestamptz", "u0": "double"},
    partition=(bucket("user_id", 16),),
    sort=("user_id", "since"),
)
SIDES = (Side("bench/trades", "user_id"), AsOf("bench/prices", at="since", to="at"))


def prepare(folder: str, size: float) -> None:
    random = np.random.default_rng(5)
    rows, users = int(2_000_000 * size), max(1, int(50_000 * size))
    for spec in (TRADES, PRICES):
        times = random.integers(0, 365 * 86_400_000_000, rows) + 17_532 * 86_400_000_000
        columns = [
            pa.array(random.integers(0, users, rows)),
            pa.array(times, pa.timestamp("us", "UTC")),
            pa.array(random.random(rows).round(3)),
        ]
        commit(Lake(home(folder)), spec, pa.table(columns, list(spec.schema)))


CHECKED = ("u0",)


def ours(folder: str) -> tuple[int, float]:
    lake = Lake(home(folder))
    return consumed(join_rows(lake, bucket_join(lake, *SIDES)), CHECKED)


def ours_two(folder: str) -> tuple[int, float]:
    return two_at_once(folder, SIDES, CHECKED)


def duckdb(folder: str) -> tuple[int, float]:
    import duckdb as duck

    left, right = (files(folder, ref) for ref in ("bench/trades", "bench/prices"))
    connection = duck.connect()
    connection.execute("SET preserve_insertion_order = false")
    query = (
        "SELECT a.*, b.since, b.u0 FROM read_parquet($l) a ASOF LEFT JOIN read_parquet($r) b "
        "ON a.user_id = b.user_id AND a.at >= b.since"
    )
    found = connection.sql(query, params={"l": left, "r": right})
    return consumed(found.to_arrow_reader(32768), CHECKED)


def polars(folder: str) -> tuple[int, float]:
    import polars as pl

    left, right = (pl.scan_parquet(files(folder, ref)) for ref in ("bench/trades", "bench/prices"))
    joined = left.sort("at").join_asof(
        right.sort("since"), left_on="at", right_on="since", by="user_id"
    )
    frames = joined.collect_batches(chunk_size=32768, maintain_order=False)
    assert frames is not None
    return consumed((frame.to_arrow() for frame in frames), CHECKED)


CONTENDERS: dict[str, tuple[_apart.Contender, tuple[str, ...]]] = {
    "ours": (ours, LAKE),
    "ours, two buckets at once": (ours_two, LAKE),
    "ours, system's allocator": (ours, LAKE),
    "ours, two, system's allocator": (ours_two, LAKE),
    "duckdb ASOF": (duckdb, (*LAKE, "duckdb")),
    "polars join_asof": (polars, (*LAKE, "polars")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = _apart.asked(parser, CONTENDERS)
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, asked.size)
        print(explain(bucket_join(Lake(home(folder)), *SIDES)))
        rounds = [
            {name: _apart.run("benchmarks.lake_asof", name, folder) for name in CONTENDERS}
            for _ in range(asked.rounds)
        ]
        _apart.report(f"as-of join at size {asked.size}", _apart.best(rounds), "ours")


if __name__ == "__main__":
    main()
