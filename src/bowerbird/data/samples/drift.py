"""How far batches are from independent draws: what sorting by request does to them.

Rows of one request, and of one user, are alike. A batch of few users has a mean that is further
from the whole's than a batch of as many independent rows would have: the gradient is noisier, and
batch statistics lie. The meter tells by how much, a column at a time; remedies are to interleave
more buckets (`TrainingSet.interleave`), larger batches, or order="shuffled".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bowerbird.data.samples.arrays import numbers

if TYPE_CHECKING:
    import pyarrow as pa


class ColumnDrift(msgspec.Struct, frozen=True):
    """One column. mean: over all rows. spread: the deviation of batches' means.

    inflation: the variance of a batch's mean over that of independent rows: 1 is independent.
    correlation: of two rows of one batch (intraclass, by analysis of variance). effective: the
    independent rows that a batch is worth.
    """

    column: str
    mean: float
    spread: float
    inflation: float
    correlation: float
    effective: float


class Drift(msgspec.Struct, frozen=True):
    """batches, rows: seen. The columns come with the most drifting first."""

    batches: int
    rows: int
    columns: tuple[ColumnDrift, ...]

    def __str__(self) -> str:
        lines = [f"{self.batches} batches, {self.rows:,} rows"]
        lines += [
            f"  {one.column:<24} mean {one.mean:.4g} ± {one.spread:.3g} a batch, inflation "
            f"{one.inflation:.1f}, correlation {one.correlation:.4f}, worth {one.effective:.0f}"
            for one in self.columns
        ]
        return "\n".join(lines)


class Meter:
    """Watches batches as they go by; null and NaN are passed over."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._seen: dict[str, list[tuple[int, float, float]]] = {name: [] for name in columns}
        self._rows: list[int] = []

    def add(self, batch: pa.RecordBatch) -> None:
        self._rows.append(int(batch.num_rows))
        for name in self._columns:
            values = numbers(batch.column(name))
            values = values[np.isfinite(values)]
            if len(values):
                mean = float(values.mean())
                squares = float(((values - mean) ** 2).sum())
                self._seen[name].append((len(values), mean, squares))

    def drift(self) -> Drift:
        """What was seen so far; columns that never vary, or were in fewer than two batches, are
        left out."""
        found = [one for name in self._columns if (one := self._of(name))]
        found.sort(key=lambda one: -one.inflation)
        return Drift(len(self._rows), sum(self._rows), tuple(found))

    def _of(self, name: str) -> ColumnDrift | None:
        parts = np.array(self._seen[name], dtype=np.float64).reshape(-1, 3)
        sizes, means, squares = parts.T
        count, rows = len(sizes), float(sizes.sum())
        if count < 2 or rows <= count:
            return None
        mean = float((sizes * means).sum() / rows)
        between = float((sizes * (means - mean) ** 2).sum()) / (count - 1)
        within = float(squares.sum()) / (rows - count)
        if within == 0 and between == 0:
            return None
        # A batch of typical size, as in the analysis of variance of unequal groups.
        size = (rows - float((sizes**2).sum()) / rows) / (count - 1)
        inflation = between / within if within else math.inf
        correlation = 1.0 if not within else (between - within) / (between + (size - 1) * within)
        return ColumnDrift(
            column=name,
            mean=mean,
            spread=math.sqrt(between / size),
            inflation=inflation,
            correlation=correlation,
            effective=size / max(inflation, 1.0),
        )


def drift(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> Drift:
    """The drift of some numeric columns over batches."""
    meter = Meter(columns)
    for batch in batches:
        meter.add(batch)
    return meter.drift()
