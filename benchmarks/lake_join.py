"""A bucket join of wide rows against joins that shuffle or hash, each in a process of its own.

    python -m benchmarks.lake_join [--size 1.0] [--rounds 3] [--limit-mb 300]

4M x 1M rows at size 1, both tables of 16 buckets (and one of 64), sorted by the key. All read the
same data files; each gives all rows as Arrow batches, which are counted and summed and thrown away.
Then the same under a limit of address space, for those whose memory is ours to limit.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import _apart
from bowerbird.core.clock import SystemClock
from bowerbird.core.steps import Home
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.lake import Lake, Table, TableLog, bucket, write
from bowerbird.lake.joins.join import bucket_join, bucket_rows, join_rows
from bowerbird.lake.joins.merging import How
from bowerbird.lake.joins.specs import AsOf, Side, With
from bowerbird.lake.joins.views import explain
from bowerbird.lake.read import plan

NUMBERS = {f"n{at}": "double" for at in range(8)}
ORDERS = Table(
    "bench/orders",
    schema={"user_id": "long", "at": "timestamptz", "note": "string", **NUMBERS},
    partition=(bucket("user_id", 16),),
    sort=("user_id", "at"),
)
USERS = Table(
    "bench/users",
    schema={"user_id": "long", "name": "string", **{f"u{at}": "double" for at in range(8)}},
    partition=(bucket("user_id", 64),),
    sort=("user_id",),
)


def home(folder: str) -> Home:
    return Home(f"sqlite:///{folder}/m.db", f"{folder}/warehouse", "bench", folder, folder)


def prepare(folder: str, size: float) -> None:
    random = np.random.default_rng(11)
    users, orders = int(1_000_000 * size), int(4_000_000 * size)
    words = pa.array([f"some words of note {n}" for n in range(5000)])

    def columns(names: Iterable[str], rows: int) -> dict[str, Any]:
        return {name: random.random(rows).round(3) for name in names}

    rows = {
        "user_id": random.permutation(users).astype(np.int64),
        "name": words.take(pa.array(random.integers(0, 5000, users))),
        **columns(list(USERS.schema)[2:], users),
    }
    commit(Lake(home(folder)), USERS, pa.table(rows))
    times = random.integers(0, 90 * 86_400_000_000, orders) + 17_532 * 86_400_000_000
    rows = {
        "user_id": random.integers(0, int(users * 1.1), orders),
        "at": pa.array(times, pa.timestamp("us", "UTC")),
        "note": words.take(pa.array(random.integers(0, 5000, orders))),
        **columns(NUMBERS, orders),
    }
    commit(Lake(home(folder)), ORDERS, pa.table(rows))


def commit(lake: Lake, spec: Table, rows: pa.Table) -> None:
    log = TableLog(lake, spec.ref)
    written = write(lake, spec, rows, log.files(Token("r/s"), "a1"))
    LogTarget(log, SystemClock()).commit(Token("r/s"), None, Change("a1", payload=written))


def consumed(batches: Iterable[Any], columns: Sequence[str] = ("n0", "u0")) -> tuple[int, float]:
    """How many rows came, and the sum of some columns: the check that all contenders share."""
    import pyarrow.compute as pc

    rows, check = 0, 0.0
    for batch in batches:
        rows += batch.num_rows
        check += sum(pc.sum(batch.column(name)).as_py() or 0.0 for name in columns)
    return rows, check


def two_at_once(
    folder: str, sides: tuple[Side, *tuple[With | AsOf, ...]], columns: Sequence[str] = ("n0", "u0")
) -> tuple[int, float]:
    """Our join, two buckets side by side."""
    from concurrent.futures import ThreadPoolExecutor

    lake = Lake(home(folder))
    made = bucket_join(lake, *sides)
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda one: consumed(bucket_rows(lake, made, one), columns), made.buckets)
        parts = list(found)
    return sum(rows for rows, _ in parts), sum(check for _, check in parts)


SIDES = (Side("bench/orders", "user_id"), With("bench/users", how=How.LEFT))


def ours(folder: str) -> tuple[int, float]:
    lake = Lake(home(folder))
    return consumed(join_rows(lake, bucket_join(lake, *SIDES)))


def ours_two(folder: str) -> tuple[int, float]:
    return two_at_once(folder, SIDES)


def files(folder: str, ref: str) -> list[str]:
    return [task.file.file_path for task in plan(Lake(home(folder)), ref).tasks]


def duckdb(folder: str) -> tuple[int, float]:
    import duckdb as duck

    left, right = (files(folder, ref) for ref in ("bench/orders", "bench/users"))
    connection = duck.connect()
    connection.execute("SET preserve_insertion_order = false")
    query = "SELECT * FROM read_parquet($l) a LEFT JOIN read_parquet($r) b USING (user_id)"
    joined = connection.sql(query, params={"l": left, "r": right})
    return consumed(joined.to_arrow_reader(32 * 1024))


def polars(folder: str) -> tuple[int, float]:
    import polars as pl

    left, right = (pl.scan_parquet(files(folder, ref)) for ref in ("bench/orders", "bench/users"))
    joined = left.join(right, on="user_id", how="left")
    frames = joined.collect_batches(chunk_size=32 * 1024, maintain_order=False)
    assert frames is not None
    return consumed(frame.to_arrow() for frame in frames)


def pyiceberg(folder: str) -> tuple[int, float]:
    lake = Lake(home(folder))
    left, right = (lake.load(ref).scan().to_arrow() for ref in ("bench/orders", "bench/users"))
    return consumed([left.join(right, "user_id", join_type="left outer")])


def ray(folder: str) -> tuple[int, float]:
    import ray as cluster

    cluster.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)

    @cluster.remote
    def table(path: str) -> pa.Table:
        import pyarrow.parquet as pq

        return pq.read_table(path)

    # A task a file: Ray's own reader does not start beside the present fsspec.
    left, right = (
        cluster.data.from_arrow_refs([table.remote(path) for path in files(folder, ref)])
        for ref in ("bench/orders", "bench/users")
    )
    joined = left.join(right, "left_outer", 16, on=("user_id",))
    batches = joined.iter_batches(batch_format="pyarrow", batch_size=32 * 1024)
    return consumed(batches)


LAKE = ("pyarrow.parquet", "pyiceberg.io.pyarrow", "pyiceberg.catalog.sql", "sqlalchemy")
CONTENDERS: dict[str, tuple[_apart.Contender, tuple[str, ...]]] = {
    "ours": (ours, LAKE),
    "ours, two buckets at once": (ours_two, LAKE),
    "ours, system's allocator": (ours, LAKE),
    "ours, two, system's allocator": (ours_two, LAKE),
    "duckdb": (duckdb, (*LAKE, "duckdb")),
    "polars": (polars, (*LAKE, "polars")),
    "pyiceberg, arrow join": (pyiceberg, LAKE),
    "ray.data.join (driver only)": (ray, (*LAKE, "ray.data")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit-mb", type=int, default=300)
    parser.add_argument("--without", default="", help="contenders to leave out, by a comma")
    asked = _apart.asked(parser, CONTENDERS)
    names = [name for name in CONTENDERS if name.split()[0].strip(",") not in asked.without]
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, asked.size)
        lake = Lake(home(folder))
        print(explain(bucket_join(lake, *SIDES)))
        rounds = [
            {name: _apart.run("benchmarks.lake_join", name, folder) for name in names}
            for _ in range(asked.rounds)
        ]
        _apart.report(f"left join at size {asked.size}", _apart.best(rounds), "ours")
        limit = asked.limit_mb * 1_000_000
        tight = {
            name: _apart.run("benchmarks.lake_join", name, folder, limit)
            for name in names
            if "ray" not in name
        }
        _apart.report(f"the same in {asked.limit_mb} MB beyond the imports", tight, "ours")


if __name__ == "__main__":
    main()
