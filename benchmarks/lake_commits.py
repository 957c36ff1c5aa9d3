"""What one commit costs as a table's history grows, with metadata copied and with them shared.

    python benchmarks/lake_commits.py [--snapshots 100 400] [--rounds 5]

PyIceberg copies all metadata at each look at the table as it will be; `lake.mends.share_metadata`
has it share what did not change. Each round commits once with either, in turn; the median of each
is told, as processor time of this process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import pyarrow as pa
from pydantic import BaseModel
from pyiceberg.table.metadata import TableMetadataV2

from bowerbird.core.clock import SystemClock
from bowerbird.core.steps import Home
from bowerbird.core.targets import WHOLE, Change, LogTarget, Token
from bowerbird.lake import Lake, Table, TableLog, bucket, write
from bowerbird.lake.mends import share_metadata

SPEC = Table("bench/commits", schema={"id": "long"}, partition=(bucket("id", 4),), sort=("id",))


class Bench:
    def __init__(self, folder: str) -> None:
        self.home = Home(f"sqlite:///{folder}/m.db", f"{folder}/warehouse", "bench", folder, folder)
        self.lake = Lake(self.home)
        self._count = 0

    def commit(self) -> float:
        """Append a few rows; the seconds that the commit took, writing the rows apart."""
        self._count += 1
        token = Token(f"r{self._count}/s")
        log = TableLog(Lake(self.home), SPEC.ref)
        rows = pa.table({"id": pa.array(range(8), pa.int64())})
        written = write(self.lake, SPEC, rows, log.files(token, "a1"))
        change = Change("a1", makes={WHOLE: "m"}, payload=written)
        start = time.process_time()
        LogTarget(log, SystemClock()).commit(token, None, change)
        return time.process_time() - start

    def grow(self, snapshots: int) -> None:
        while self._count < snapshots:
            self.commit()

    def both(self, rounds: int) -> tuple[float, float]:
        """Median seconds of a commit: metadata copied, and shared."""
        share_metadata()
        ways = (BaseModel.__deepcopy__, TableMetadataV2.__deepcopy__)
        taken: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for way, seconds in zip(ways, taken, strict=True):
                setattr(TableMetadataV2, "__deepcopy__", way)  # noqa: B010 - mypy knows a method
                seconds.append(self.commit())
        copied, shared = map(statistics.median, taken)
        return copied, shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snapshots", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print("| snapshots | copied | shared | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        for snapshots in args.snapshots:
            bench.grow(snapshots)
            copied, shared = bench.both(args.rounds)
            print(
                f"| {snapshots} | {copied * 1000:.0f} ms | {shared * 1000:.0f} ms "
                f"| {copied / shared:.1f}x |",
                flush=True,
            )


if __name__ == "__main__":
    main()
