"""A process that reads a set of many times its memory, and tells by how much it grew.

python -m tests.data.large_read FOLDER MEMORY
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from bowerbird.data.samples.batches import batches
from bowerbird.data.samples.labels import Reward
from bowerbird.data.samples.planning import plan_set
from bowerbird.data.samples.specs import SequenceOf, TrainingSet
from bowerbird.lake import Lake, Table, bucket
from tests.data.world import commit, home_in, times

LOG = Table(
    "test/log",
    schema={"user": "long", "at": "timestamptz", "item": "long", "click": "int"},
    partition=(bucket("user", 32),),
    sort=("user", "at"),
)
SET = TrainingSet(
    "test/large",
    rows=LOG,
    entity="user",
    labels={"y": Reward({"click": 1})},
    sequences={"past": SequenceOf(LOG, ("item",), last=256)},
    interleave=2,
)


def resident(kind: str) -> int:
    """Bytes of this process in memory: ``VmRSS``, or ``VmHWM`` at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def main() -> None:
    folder, memory = sys.argv[1], int(sys.argv[2])
    random, rows = np.random.default_rng(0), 600_000
    home = home_in(folder)
    commit(
        Lake(home),
        LOG,
        pa.table(
            {
                "user": random.integers(0, 2000, rows),
                "at": times(np.arange(rows) / 100),
                "item": random.integers(0, 10_000, rows),
                "click": pa.array(random.integers(0, 2, rows), pa.int32()),
            }
        ),
    )
    plan = plan_set(Lake(home), SET)
    next(batches(home, plan, batch_size=1024))  # imports are not rows
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, came = resident("VmRSS"), 0
    for batch in batches(home, plan, batch_size=1024, memory=memory):
        came += batch.nbytes
    print(resident("VmHWM") - before, came)


if __name__ == "__main__":
    main()
