"""Bootstrap confidence intervals: percentile, seeded, over clusters.

Values of one cluster (all trips of a household) are not independent, so clusters are drawn with
replacement, not values. A statistic that is a function of sums needs only each cluster's sums:
one draw is a row of multinomial counts, and all draws are one matrix product.

B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate on the sample itself, and the percentile interval of its bootstrap draws."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.4f} [{self.low:.4f}, {self.high:.4f}]"


def mean(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The mean of `values`; a NaN value (nothing to judge) is left out."""
    (sums,), counts = _cluster_sums([_floats(values)], clusters)
    weights = _draws(len(counts), draws, seed)
    return _interval(
        sums.sum() / counts.sum(), (weights @ sums) / np.maximum(weights @ counts, 1), level
    )


def difference(
    values: npt.ArrayLike,
    baseline: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The mean of `values - baseline`, paired: both are measured on the same units."""
    return mean(_floats(values) - _floats(baseline), clusters, seed=seed, draws=draws, level=level)


def ratio(
    values: npt.ArrayLike,
    baseline: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The ratio of means, mean(values) / mean(baseline), paired."""
    (above, below), counts = _cluster_sums([_floats(values), _floats(baseline)], clusters)
    weights = _draws(len(counts), draws, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _interval(above.sum() / below.sum(), (weights @ above) / (weights @ below), level)


def _floats(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _cluster_sums(
    columns: list[Floats], clusters: npt.ArrayLike | None
) -> tuple[list[Floats], Floats]:
    """Each cluster's sum of every column, and its number of units, over units without NaN."""
    if len({len(column) for column in columns}) > 1:
        raise ValueError("a paired statistic needs as many values as baseline values")
    kept = ~np.isnan(np.sum(columns, axis=0))
    if not kept.any():
        raise ValueError("no value to draw from: all are NaN or there are none")
    names = np.arange(len(kept)) if clusters is None else np.asarray(clusters)
    _, index = np.unique(names[kept], return_inverse=True)
    return (
        [_floats(np.bincount(index, weights=column[kept])) for column in columns],
        np.bincount(index).astype(np.float64),
    )


def _draws(clusters: int, draws: int, seed: int) -> Floats:
    """How often each cluster is in each draw: (draws, clusters), rows sum to `clusters`."""
    generator = np.random.default_rng(seed)
    picked = generator.integers(0, clusters, size=(draws, clusters))
    flat = (picked + np.arange(draws)[:, None] * clusters).ravel()
    return np.bincount(flat, minlength=draws * clusters).reshape(draws, clusters).astype(np.float64)


def _interval(estimate: float, drawn: Floats, level: float) -> Interval:
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return Interval(estimate=float(estimate), low=float(low), high=float(high))
