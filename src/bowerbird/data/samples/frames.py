"""A training set in Polars, and as a Ray dataset: for looking at it, and for Ray's own trainers.

Training reads `batches`; Ray Data is slower by its blocks, and is there for pipelines that have
other parts in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from bowerbird.data.samples.batches import MEMORY, START, How, batches
from bowerbird.data.samples.bucket import open_bucket
from bowerbird.data.samples.checks import check
from bowerbird.data.samples.order import Length, Position
from bowerbird.data.samples.planning import pruned
from bowerbird.data.samples.rows import Reader
from bowerbird.lake import Lake

if TYPE_CHECKING:
    import polars as pl
    import ray.data

    from bowerbird.core.steps import Home
    from bowerbird.data.samples.planning import SetPlan
    from bowerbird.data.samples.splits import Window
    from bowerbird.lake.joins.buckets import Bucket

BLOCK = 4096
"""Rows in a block of a Ray dataset."""


def to_polars(
    home: Home,
    plan: SetPlan,
    *,
    batch_size: int = 4096,
    memory: int = MEMORY,
    seed: int | None = None,
    position: Position = START,
    split: str = "",
) -> Iterator[pl.DataFrame]:
    """The batches of `batches`, as frames."""
    import polars as pl

    stream = batches(
        home,
        plan,
        batch_size=batch_size,
        memory=memory,
        seed=seed,
        position=position,
        split=split,
    )
    return (pl.DataFrame(batch) for batch in stream)


def to_ray(
    home: Home, plan: SetPlan, *, epoch: int = 0, seed: int | None = None, split: str = ""
) -> ray.data.Dataset:
    """The set's rows as a Ray dataset: a read task a bucket, in the order of an epoch.

    Each bucket's rows are in their order; which bucket's come first is Ray's to say.
    """
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    plan.refuse_elsewhere("ray")
    how = How(plan, batch_size=BLOCK, memory=MEMORY, seed=seed, split=split, shard=(0, 1))
    plan = pruned(Lake(home), plan, how.window)
    check(home, plan, window=how.window)
    order = how.order(plan, epoch)
    unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)

    class Buckets(Datasource):
        def get_read_tasks(self, parallelism: int, *_: object, **__: object) -> list[ReadTask]:
            given = (how.window, epoch, how.seed)
            return [
                ReadTask(partial(_blocks, home, plan.only(one), one, *given), unknown)
                for one in order
            ]

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_name(self) -> str:
            return str(plan.spec.ref)

    source: Any = Buckets
    found: Any = ray.data
    made: ray.data.Dataset = found.read_datasource(source(), override_num_blocks=len(order))
    return made


def _blocks(
    home: Home, plan: SetPlan, bucket: Bucket, window: Window, epoch: int, seed: int
) -> Iterator[Any]:
    import pyarrow as pa

    opened = open_bucket(Reader(Lake(home)), plan, bucket, window=window, epoch=epoch, seed=seed)
    length, start = Length(len(opened), opened.cuts), 0
    while start < len(opened):
        end = length.end(start, BLOCK)
        yield pa.Table.from_batches([opened.take(start, end).expand()])
        start = end
