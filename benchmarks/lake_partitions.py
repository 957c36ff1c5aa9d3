"""Partitions overwritten and rolled back: one commit of many against one commit each, and against
writing the old rows anew.

    python -m benchmarks.lake_partitions [--partitions 24] [--rows 500000] [--rounds 3]

The files are written before the clock starts: what is told is commits and metadata. ``--history``
commits lie under each table, as on one that is written every day. Rolling back is compared with
overwriting the same partitions by their old rows, reading and writing included.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from bowerbird.core.clock import SystemClock
from bowerbird.core.steps import Home
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.lake import Lake, Table, TableLog, Written, day, read, rollback, write
from bowerbird.lake.overwrite import overwrite_partitions

DAY = 86_400_000_000
SPEC = Table(
    "bench/days",
    schema={"at": "timestamptz", "id": "long", "amount": "double"},
    partition=(day("at"),),
    sort=("id",),
)


def days(count: int, rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    at = np.repeat(np.arange(count), rows) * DAY + random.integers(0, DAY, count * rows)
    return pa.table(
        {
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "id": random.integers(0, 10**6, count * rows),
            "amount": random.random(count * rows),
        }
    )


class Bench:
    def __init__(self, folder: str, partitions: int, rows: int, history: int) -> None:
        home = Home(f"sqlite:///{folder}/m.db", f"{folder}/warehouse", "bench", folder, folder)
        self.lake = Lake(home)
        self.rows = days(partitions, rows, 1)
        self.again = days(partitions, rows, 2)
        self.history = history
        self.count = 0

    def table(self) -> tuple[Table, LogTarget]:
        """A new table with rows in all partitions and some history."""
        self.count += 1
        spec = replace(SPEC, name=f"bench/days{self.count}")
        target = LogTarget(TableLog(self.lake, spec.ref), SystemClock())
        self.commit(spec, target, self.write(spec, self.rows))
        for number in range(self.history):
            token = Token(f"before/s{number}")
            target.commit(token, target.read().version, Change("a1", payload=Written(spec=None)))
        return spec, target

    def write(self, spec: Table, rows: pa.Table) -> Written:
        return write(self.lake, spec, rows, f"{self.lake.location(spec.ref)}/data/{time.time_ns()}")

    def commit(self, spec: Table, target: LogTarget, written: Written) -> None:
        change = overwrite_partitions(self.lake, written, "a1", "m")
        target.commit(Token(f"r/{time.time_ns()}"), target.read().version, change)

    def one_commit(self) -> float:
        spec, target = self.table()
        written = self.write(spec, self.again)
        return timed(lambda: self.commit(spec, target, written))

    def commit_each(self) -> float:
        spec, target = self.table()
        written = self.write(spec, self.again)
        each = [replace(written, files=(file,)) for file in written.files]

        def work() -> None:
            for one in each:
                self.commit(spec, target, one)

        return timed(work)

    def changed(self) -> tuple[Table, LogTarget, str]:
        spec, target = self.table()
        before = str(target.read().version)
        self.commit(spec, target, self.write(spec, self.again))
        return spec, target, before

    def roll_back(self) -> float:
        spec, target, before = self.changed()
        files = len(self.lake.files.under(f"{self.lake.location(spec.ref)}/data"))

        def work() -> None:
            change = rollback(self.lake, spec.ref, before, "a1")
            target.commit(Token("back/s1"), target.read().version, change)

        seconds = timed(work)
        assert len(self.lake.files.under(f"{self.lake.location(spec.ref)}/data")) == files
        return seconds

    def rewrite(self) -> float:
        spec, target, before = self.changed()

        def work() -> None:
            self.commit(spec, target, self.write(spec, read(self.lake, spec.ref, before)))

        return timed(work)


def timed(work: Callable[[], object]) -> float:
    os.sync()  # else a commit waits for the disk to take what was written before
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=24)
    parser.add_argument("--rows", type=int, default=500_000, help="of each partition")
    parser.add_argument("--history", type=int, default=50, help="commits under each table")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {options.partitions} partitions")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder, options.partitions, options.rows, options.history)
        contests = {
            "overwrite": (bench.one_commit, bench.commit_each),
            "roll back": (bench.roll_back, bench.rewrite),
        }
        print("| work | ours, s | the other way, s | ratio |\n|---|---|---|---|")
        for name, pair in contests.items():
            rounds = [[contest() for contest in pair] for _ in range(options.rounds)]
            ours, other = (min(seconds) for seconds in zip(*rounds, strict=True))
            print(f"| {name} | {ours:.3f} | {other:.3f} | {other / ours:.1f} |")


if __name__ == "__main__":
    main()
