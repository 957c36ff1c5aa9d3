"""Sorted bucketed writes and reads, against PyIceberg's own and Spark's, in one run on one machine.

    python -m benchmarks.lake_write [--rows 5000000] [--rounds 3]

PyIceberg hashes into buckets with the extension ``pyiceberg-core`` only; where that is not
installed its table has the bucket as a ready-made column, which spares it the hashing. Each round
runs every contestant once, in turn; the best of each is told. Spark appends the same rows, from a
Parquet file, to a table with the same buckets and order, which it keeps; its start is not counted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from bowerbird.core.clock import SystemClock
from bowerbird.core.steps import Home
from bowerbird.core.targets import WHOLE, Change, LogTarget, Token
from bowerbird.lake import Lake, Table, TableLog, bucket, day, duckdb, identity, read, write
from bowerbird.lake.partitions import partition_values
from bowerbird.lake.schema import iceberg_type
from bowerbird.lake.specs import Bucket, Transform
from bowerbird.lake.types import parse

SALES = Table(
    "bench/sales",
    schema={
        "household_id": "long",
        "at": "timestamptz",
        "product_id": "long",
        "amount": "double",
        "store": "string",
    },
    partition=(bucket("household_id", 16),),
    sort=("household_id", "at"),
)
HASHES = importlib.util.find_spec("pyiceberg_core") is not None


def sales(rows: int) -> pa.Table:
    """A week's purchases as they come: by time, households mixed."""
    random = np.random.default_rng(7)
    times = np.sort(random.integers(0, 7 * 86_400_000_000, rows)) + 17_532 * 86_400_000_000
    stores = pa.array([f"store {n}" for n in range(300)])
    return pa.table(
        {
            "household_id": random.integers(0, 50_000, rows),
            "at": pa.array(times, pa.timestamp("us", "UTC")),
            "product_id": (random.pareto(1.2, rows) * 50).astype(np.int64) % 90_000,
            "amount": (random.random(rows) * 100).round(2),
            "store": stores.take(pa.array(random.integers(0, 300, rows))),
        }
    )


class Bench:
    """One layout: the contestants write it, each time into a new table; a method's value is its
    ref."""

    def __init__(self, folder: str, rows: pa.Table, partition: tuple[Transform, ...]) -> None:
        home = Home(f"sqlite:///{folder}/m.db", f"{folder}/warehouse", "bench", folder, folder)
        self.lake = Lake(home)
        self.rows = rows
        self.spec = replace(SALES, partition=partition)
        self._count = 0

    def ours(self) -> str:
        """Sorted, by bucket, committed; the name of the table."""
        self._count += 1
        spec = replace(self.spec, name=f"bench/ours{self._count}")
        log = TableLog(self.lake, spec.ref)
        written = write(self.lake, spec, self.rows, log.files(Token("r/s"), "a1"))
        change = Change("a1", makes={WHOLE: "m"}, overwrites=(WHOLE,), payload=written)
        LogTarget(log, SystemClock()).commit(Token("r/s"), None, change)
        return str(spec.ref)

    def theirs(self) -> str:
        """PyIceberg's append into a table of the same buckets: unsorted, as it does."""
        self._count += 1
        spec = replace(self.spec, name=f"bench/theirs{self._count}")
        rows = self.rows
        if not HASHES:
            spec = replace(
                spec,
                schema={**spec.schema, "b": "int"},
                partition=(identity("b"), *spec.partition[1:]),
            )
            rows = self._with_bucket
        self.lake.create(spec).append(rows)
        return str(spec.ref)

    def sorted_first(self) -> str:
        """PyIceberg's append of rows that were sorted whole before: the same rows in each file."""
        came = self.rows
        self.rows = came.sort_by([("household_id", "ascending"), ("at", "ascending")])
        ref = self.theirs()
        self.rows = came
        return ref

    def spark(self, session: Any) -> str:
        """Spark's append: by bucket and in order, as the table says."""
        self._count += 1
        spec = replace(self.spec, name=f"bench/spark{self._count}")
        self.lake.create(spec)
        source = f"{self.lake.files.root}/rows.parquet"
        if not self.lake.files.exists(source):
            pq.write_table(self.rows, source)
        session.read.parquet(source).writeTo(f"bench.bench.spark{self._count}").append()
        return str(spec.ref)

    def summed(self, ref: str) -> list[Any]:
        query = "select household_id, sum(amount) from t group by 1"
        return list(duckdb(self.lake, {"t": (ref, None)}).sql(query).fetchall())

    def files(self) -> int:
        return len(list(self.lake.load("bench/ours1").scan().plan_files()))

    @property
    def _with_bucket(self) -> pa.Table:
        kind = iceberg_type(parse("long"))
        column = self.rows.column("household_id")
        return self.rows.append_column("b", partition_values(Bucket("", 16), column, kind))

    def bytes(self, ref: str) -> int:
        return sum(f.file.file_size_in_bytes for f in self.lake.load(ref).scan().plan_files())


@contextmanager
def spark_beside(bench: Bench, folder: str) -> Iterator[Any]:
    """A session of Spark on the bench's lake; None where there is no Spark."""
    from tests.spark import missing, spark_on

    if (why := missing()) is not None:
        print(why)
        yield None
        return
    with spark_on(bench.lake.home, Path(folder), "6g") as session:
        yield session


def measure(bench: Bench, rounds: int, session: Any) -> tuple[dict[str, float], dict[str, int]]:
    """Best seconds by what was done, and the bytes of each contestant's table."""
    best: dict[str, float] = {}
    made: dict[str, str] = {}

    def lap(name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = call(*args, **kwargs)
        seconds = time.perf_counter() - start
        best[name] = min(seconds, best.get(name, seconds))
        return result

    for _ in range(rounds):
        made["ours"] = lap("write, ours (sorted)", bench.ours)
        made["theirs"] = lap("write, PyIceberg append (unsorted)", bench.theirs)
        made["sorted"] = lap("write, sort_by then PyIceberg append", bench.sorted_first)
        if session is not None:
            bench.spark(session)  # until its code is compiled
            made["spark"] = lap("write, Spark append (sorted)", bench.spark, session)
        for who, ref in made.items():
            lap(f"read all, {who}", read, bench.lake, ref)
            lap(f"read one household, {who}", read, bench.lake, ref, where={"household_id": 77})
            lap(f"DuckDB sum by household, {who}", bench.summed, ref)
    return best, {who: bench.bytes(ref) for who, ref in made.items()}


def report(layout: str, best: dict[str, float], sizes: dict[str, int], files: int) -> None:
    print(f"--- {layout}: {files} files")
    for name, seconds in best.items():
        print(f"{seconds:8.3f} s  {name}")
    for who, size in sizes.items():
        print(f"{size / 1e6:8.1f} MB {who} ({size / sizes['theirs']:.2f} of PyIceberg's append)")
    for name in [name for name in best if name.startswith("write") and "ours" not in name]:
        print(f"{best[name] / best['write, ours (sorted)']:8.2f} x  the time of ours: {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    facts = {
        "rows": asked.rows,
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "pyarrow": pa.__version__,
        "pyiceberg hashes": HASHES,
    }
    print(json.dumps(facts))
    layouts = {
        "bucket(16)": SALES.partition,
        "bucket(16), day": (*SALES.partition, day("at")),
    }
    rows = sales(asked.rows)
    for layout, partition in layouts.items():
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(folder, rows, partition)
            with spark_beside(bench, folder) as session:
                best, sizes = measure(bench, asked.rounds, session)
            report(layout, best, sizes, bench.files())


if __name__ == "__main__":
    main()
