"""Compaction, against DuckDB copying the same rows in the same order, in one run on one machine.

    python -m benchmarks.lake_compaction [--rows 4000000] [--appends 20] [--rounds 3]

A table in 16 buckets is filled by many appends, so each bucket is as many small files that overlap.
Ours rewrites it, through plan, files and commit, into sorted files with full statistics. DuckDB
reads the same files and copies the rows, sorted by bucket and key, into Parquet of the same
compression: once into one file a bucket, as ours does, and once into one file of all rows. Each
contestant runs in a process of its own, which tells its peak memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
from msgspec.structs import replace

from benchmarks.lake_write import SALES, sales
from bowerbird.core.clock import SystemClock
from bowerbird.core.steps import Home
from bowerbird.core.targets import Change, LogTarget, Token, Version
from bowerbird.lake import Lake, TableLog, write
from bowerbird.lake.read import plan
from bowerbird.lake.upkeep.compaction import change, examine, rewrite

REF = str(SALES.ref)
CPUS = os.cpu_count() or 1


def home_in(folder: str) -> Home:
    return Home(f"sqlite:///{folder}/m.db", f"{folder}/warehouse", "bench", folder, folder)


def fill(folder: str, rows: pa.Table, appends: int) -> None:
    lake, size = Lake(home_in(folder)), -(-rows.num_rows // appends)
    log = TableLog(lake, REF)
    for at in range(appends):
        token = Token(f"r{at}/s1")
        part = rows.slice(at * size, size)
        written = write(lake, replace(SALES), part, log.files(token, "a1"), REF)
        base = log.load().head
        LogTarget(log, SystemClock()).commit(token, base, Change("a1", payload=written))


def ours(folder: str) -> int:
    """Compact the table; bytes that were written."""
    home = home_in(folder)
    lake = Lake(home)
    log, token = TableLog(lake, REF), Token("c/s1")
    shown = examine(lake, REF)
    made = rewrite(home, REF, str(shown.version), shown.parts, log.files(token, "a1"))
    base = Version(str(shown.version))
    LogTarget(log, SystemClock()).commit(token, base, change("a1", [made]))
    return made.bytes


def duckdb_by_bucket(folder: str) -> int:
    """DuckDB, one bucket after another into a file each."""
    by_bucket: dict[int, list[str]] = {}
    for task in plan(Lake(home_in(folder)), REF).tasks:
        by_bucket.setdefault(task.file.partition[0], []).append(task.file.file_path)
    return sum(_copied(folder, files, f"{bucket}") for bucket, files in by_bucket.items())


def duckdb_whole(folder: str) -> int:
    """DuckDB, all rows sorted into one file."""
    files = [task.file.file_path for task in plan(Lake(home_in(folder)), REF).tasks]
    return _copied(folder, files, "whole")


def _copied(folder: str, files: list[str], name: str) -> int:
    import duckdb

    path = f"{folder}/duckdb-{name}.parquet"
    listed = ", ".join(f"'{file}'" for file in files)
    keys = ", ".join(f'"{key}"' for key in SALES.sort)
    query = f"SELECT * FROM read_parquet([{listed}]) ORDER BY {keys}"
    duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    return Path(path).stat().st_size


def timed(who: str, folder: str) -> tuple[float, float, int, float]:
    """Seconds, CPU seconds, bytes and the megabytes that the peak rose by."""
    import duckdb
    import pyiceberg.table

    assert duckdb  # imports are no part of the time
    assert pyiceberg.table
    before = resource.getrusage(resource.RUSAGE_SELF)
    start, cpu = time.perf_counter(), time.process_time()
    size = CONTESTANTS[who](folder)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss
    return seconds, cpu, size, peak / 1024


CONTESTANTS: dict[str, Callable[[str], int]] = {
    "ours": ours,
    "DuckDB, a file a bucket": duckdb_by_bucket,
    "DuckDB, one file": duckdb_whole,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--appends", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    rows = sales(asked.rows)
    print(json.dumps({"rows": asked.rows, "appends": asked.appends, "cpus": CPUS}))
    best: dict[str, tuple[float, float, int, float]] = {}
    spawn = multiprocessing.get_context("spawn")
    for _ in range(asked.rounds):
        for who in CONTESTANTS:
            with tempfile.TemporaryDirectory() as folder:
                fill(folder, rows, asked.appends)
                with ProcessPoolExecutor(1, spawn) as alone:
                    found = alone.submit(timed, who, folder).result()
            best[who] = min(found, best.get(who, found))
    for who, (seconds, cpu, size, peak) in best.items():
        print(
            f"{seconds:8.3f} s {cpu:8.2f} s of CPU {size / 1e6:8.1f} MB written"
            f" {peak:8.0f} MB of memory  {who}"
        )
    for who, found in best.items():
        if who != "ours":
            print(f"{best['ours'][0] / found[0]:8.2f} x  the time of: {who}")


if __name__ == "__main__":
    main()
