"""Estimates from a 1 % sample by key against a full scan: seconds, bytes read, and how far off.

    python -m benchmarks.lake_sample [--size 1.0] [--rounds 3]

20M rows of 2M keys at size 1, in 64 buckets sorted by key. Both give the count, a mean and a ratio;
the full scan streams the two columns through Arrow, and DuckDB does it its own way.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from benchmarks.lake_join import commit, files, home
from bowerbird.lake import Lake, Table, bucket, read_batches
from bowerbird.lake.joins.estimates import estimate
from bowerbird.lake.joins.sample import Share, bucket_sample, explain

SALES = Table(
    "bench/sampled",
    schema={"user_id": "long", "amount": "double", "pieces": "double", "note": "string"},
    partition=(bucket("user_id", 64),),
    sort=("user_id",),
)
REF = "bench/sampled"

Figures = tuple[float, float, float]


def prepare(folder: str, size: float) -> None:
    random = np.random.default_rng(9)
    rows, users = int(20_000_000 * size), int(2_000_000 * size)
    notes = pa.array([f"a note {n}" for n in range(1000)])
    columns = {
        "user_id": random.integers(0, users, rows),
        "amount": random.exponential(20.0, rows).round(2),
        "pieces": random.integers(1, 6, rows).astype(np.float64),
        "note": notes.take(pa.array(random.integers(0, 1000, rows))),
    }
    commit(Lake(home(folder)), SALES, pa.table(columns))


def sampled(lake: Lake) -> Figures:
    columns = ["amount", "pieces"]
    sample = bucket_sample(lake, REF, "user_id", Share(0.01), columns=columns)
    found = estimate(lake, sample, columns, [("amount", "pieces")])
    return found.count.value, found.means["amount"].value, found.ratios["amount/pieces"].value


def scanned(lake: Lake) -> Figures:
    import pyarrow.compute as pc

    rows, amount, pieces = 0, 0.0, 0.0
    for batch in read_batches(lake, REF, columns=["amount", "pieces"]):
        rows += batch.num_rows
        amount += pc.sum(batch.column("amount")).as_py()
        pieces += pc.sum(batch.column("pieces")).as_py()
    return float(rows), amount / rows, amount / pieces


def by_duckdb(folder: str) -> Figures:
    import duckdb

    query = "SELECT count(*), avg(amount), sum(amount) / sum(pieces) FROM read_parquet($f)"
    connection = duckdb.connect()
    (found,) = connection.execute(query, {"f": files(folder, REF)}).fetchall()
    return float(found[0]), float(found[1]), float(found[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, asked.size)
        lake = Lake(home(folder))
        told = explain(bucket_sample(lake, REF, "user_id", Share(0.01)))
        print(f"{told.bytes / told.all_bytes:.3f} of the bytes are read, {told.files} files")
        ways: dict[str, Callable[[], Figures]] = {
            "sample of 1 %": lambda: sampled(lake),
            "full scan": lambda: scanned(lake),
            "full scan, DuckDB": lambda: by_duckdb(folder),
        }
        best: dict[str, float] = {}
        figures: dict[str, Figures] = {}
        for _ in range(asked.rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                figures[name] = way()
                seconds = time.perf_counter() - start
                best[name] = min(seconds, best.get(name, seconds))
    mine, true = figures["sample of 1 %"], figures["full scan"]
    for name, seconds in best.items():
        print(f"{seconds:8.3f} s  {name} ({seconds / best['sample of 1 %']:.1f} x the sample's)")
    for what, one, other in zip(("count", "mean", "ratio"), mine, true, strict=True):
        print(f"{what}: off by {abs(one / other - 1):.3%}")


if __name__ == "__main__":
    main()
