"""How fast training could be, and how fast its input lets it be.

The roofline is the rate of training on one frozen batch: no input can be faster. Beside it stand
the pipeline alone, and the two together; and where the pipeline's time goes. What is bound by the
model is left alone; what is bound by the input shows the stage to look at.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from bowerbird.data.samples.batches import START, Ahead, How, unchecked
from bowerbird.data.samples.planning import pruned
from bowerbird.data.samples.views import explain
from bowerbird.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.core.steps import Home
    from bowerbird.data.samples.batches import Batches
    from bowerbird.data.samples.planning import SetPlan


class Stage(msgspec.Struct, frozen=True):
    """One stage of the pipeline, and its share of the pipeline's time."""

    name: str
    seconds: float
    share: float


class Roofline(msgspec.Struct, frozen=True):
    """Rows a second: of training on one frozen batch, of the pipeline alone, of both together.

    share: of the roofline that training reaches. bytes_read: of the columns that are read, as they
    lie on disk, in the whole set; bytes_used: of the batches that were measured, over rows.
    stages: of the pipeline, the slowest first.
    """

    frozen: float
    pipeline: float
    training: float
    batches: int
    rows: int
    bytes_read: int
    bytes_used: int
    stages: tuple[Stage, ...]

    @property
    def share(self) -> float:
        return self.training / self.frozen

    @property
    def slowest(self) -> str:
        return self.stages[0].name if self.stages else ""

    def __str__(self) -> str:
        head = f"training reaches {self.share:.0%} of its roofline: {self.training:,.0f} of "
        head += f"{self.frozen:,.0f} rows/s; the input alone gives {self.pipeline:,.0f}"
        lines = [head, f"  {self.bytes_read:,} bytes read, {self.bytes_used:,} in batches"]
        lines += [f"  {s.share:5.0%} {s.seconds:8.3f} s  {s.name}" for s in self.stages]
        return "\n".join(lines)


def measure(
    home: Home,
    plan: SetPlan,
    step: Callable[[pa.RecordBatch], object],
    *,
    batches: int = 50,
    batch_size: int = 4096,
    memory: int = 2 * 1024**3,
    split: str = "",
) -> Roofline:
    """Measure a set with a training step. step: trains on one batch; it is called for each.

    Reads about `batches` batches three times. The first batch of each is not counted: it opens the
    first buckets, as the first step of training warms up.
    """
    how = How(plan, batch_size=batch_size, memory=memory, seed=None, split=split, shard=(0, 1))

    plan = pruned(Lake(home), plan, how.window)

    def opened() -> contextlib.closing[Batches]:
        return contextlib.closing(unchecked(home, plan, how, START))

    with opened() as stream:
        batch = next(stream)
        step(batch)
        frozen = _rate(step, itertools.repeat(batch, min(batches, 20)))
    with opened() as stream:
        seen: list[int] = []
        start = time.perf_counter()
        pipeline = _rate(
            lambda one: seen.append(int(one.nbytes)), itertools.islice(stream, batches)
        )
        whole = time.perf_counter() - start
        stages = dict(stream.stages.seconds)
        rows = stream.position.batch * batch_size
    with opened() as stream, contextlib.closing(Ahead(stream)) as ahead:
        step(next(ahead))
        training = _rate(step, itertools.islice(ahead, batches))
    return Roofline(
        frozen=frozen,
        pipeline=pipeline,
        training=training,
        batches=len(seen),
        rows=rows,
        bytes_read=explain(plan).bytes,
        bytes_used=sum(seen),
        stages=_stages(stages, whole),
    )


def _rate(step: Callable[[pa.RecordBatch], object], batches: Iterator[pa.RecordBatch]) -> float:
    rows, start = 0, time.perf_counter()
    for batch in batches:
        step(batch)
        rows += batch.num_rows
    return rows / max(time.perf_counter() - start, 1e-9)


def _stages(seconds: dict[str, float], whole: float) -> tuple[Stage, ...]:
    seconds = {**seconds, "the rest": max(0.0, whole - sum(seconds.values()))}
    total = max(sum(seconds.values()), 1e-9)
    ordered = sorted(seconds.items(), key=lambda one: -one[1])
    return tuple(Stage(name, spent, spent / total) for name, spent in ordered)
