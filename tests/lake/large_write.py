"""A process that writes a stream of `times` times its memory, and tells by how much it grew.

python -m tests.lake.large_write FOLDER MEMORY TIMES
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from bowerbird.lake import Lake, Table, bucket, write
from tests.lake.world import home_in

SPEC = Table(
    "test/large",
    schema={"user": "long", "at": "long", "words": "string", "score": "double"},
    partition=[bucket("user", 8)],
    sort=["user", "at"],
    target_file_bytes=64 * 2**20,
)


def batches(size: int) -> Iterator[pa.RecordBatch]:
    """Batches of at least `size` bytes in all."""
    generator = np.random.default_rng(0)
    words = pa.array([f"words of some length {n}" for n in range(1000)])
    came = 0
    while came < size:
        batch = pa.record_batch(
            {
                "user": generator.integers(0, 10_000, 20_000),
                "at": generator.integers(0, 10**9, 20_000),
                "words": words.take(pa.array(generator.integers(0, 1000, 20_000))),
                "score": generator.random(20_000),
            }
        )
        came += batch.nbytes
        yield batch


def resident(kind: str) -> int:
    """Bytes of this process in memory: ``VmRSS``, or ``VmHWM`` at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def main() -> None:
    folder, memory, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    lake = Lake(home_in(folder))
    write(lake, SPEC, batches(1), f"{folder}/data/warm", memory=memory)  # imports are not rows
    before = resident("VmRSS")
    came = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal came
        for batch in batches(times * memory):
            came += batch.nbytes
            yield batch

    write(lake, SPEC, counted(), f"{folder}/data/all", memory=memory)
    print(resident("VmHWM") - before, came)


if __name__ == "__main__":
    main()
