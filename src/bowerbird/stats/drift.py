"""Drift: how far a distribution has moved from an earlier one.

Two distances and two tests. For numbers over fixed bins and for categories, the population
stability index (PSI) and the total variation; for two samples of numbers, the two-sample
Kolmogorov-Smirnov (KS) distance. `before` is what is trusted, `after` what is judged.

PSI: sum over bins of (a - b) ln(a / b), the symmetrised Kullback-Leibler divergence (H. Jeffreys,
1946). N. Siddiqi, Credit Risk Scorecards, 2006, reads below 0.1 as no change and above 0.25 as a
large one. B. Yurdakul, Statistical Properties of Population Stability Index, 2018: without drift it
is about (1/n + 1/m) chi-squared with bins - 1 degrees of freedom, so small samples show a large
PSI from chance alone: `psi_noise`.
KS: N. Smirnov, 1948; the p-value is the limit distribution with M. Stephens' correction, 1970.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

SMOOTHING = 0.5
"""Added to the count of every bin, so that an empty one does not make the PSI infinite (Jeffreys'
prior of a multinomial)."""

LARGE = 0.25
"""From this PSI on, by the usual reading, a distribution has changed a lot."""


def edges(before: npt.ArrayLike, bins: int = 10) -> Floats:
    """The inner edges of bins that hold about as many of `before` each: at most bins - 1 of them.

    Values that are not finite are left out. A value that fills several bins makes them one; of a
    constant, the bins are: less, the same, more. Of nothing there is no edge.
    """
    known = _finite(before)
    if not len(known):
        return np.empty(0)
    return separated(np.quantile(known, np.arange(1, bins) / bins))


def separated(quantiles: npt.ArrayLike) -> Floats:
    """Edges from quantiles, ascending and distinct; a value that comes more than once gets a bin of
    its own, [value, next float), for else it would share one with what is above or below it."""
    given = np.asarray(quantiles, dtype=np.float64)
    distinct, times = np.unique(given[np.isfinite(given)], return_counts=True)
    own = np.nextafter(distinct[times > 1], np.inf)
    return np.union1d(distinct, own)


def binned(values: npt.ArrayLike, edges: npt.ArrayLike) -> Floats:
    """How many values are in each bin, (len(edges) + 1,): a bin holds its lower edge.

    Infinities are in the outer bins; NaN is in none.
    """
    given = np.asarray(values, dtype=np.float64).ravel()
    inner = np.asarray(edges, dtype=np.float64)
    place = np.searchsorted(inner, given[~np.isnan(given)], side="right")
    return np.bincount(place, minlength=len(inner) + 1).astype(np.float64)


def psi(before: npt.ArrayLike, after: npt.ArrayLike, smoothing: float = SMOOTHING) -> float:
    """The population stability index of two arrays of counts, bin by bin.

    NaN where one of the two counted nothing: there is nothing to compare. Bins that are empty in
    both are left out.
    """
    b, a = _alike(before, after)
    if not b.sum() or not a.sum():
        return math.nan
    used = (b + a) > 0
    p = (b[used] + smoothing) / (b[used] + smoothing).sum()
    q = (a[used] + smoothing) / (a[used] + smoothing).sum()
    return float(np.sum((q - p) * np.log(q / p)))


def psi_noise(n: float, m: float, bins: int, level: float = 0.99) -> float:
    """The PSI that samples of n and m from one distribution stay below in `level` of all cases.

    The quantile of chi-squared is that of E. Wilson and M. Hilferty, 1931.
    """
    if n <= 0 or m <= 0 or bins < 2:
        return math.inf
    free = bins - 1
    spread = 2 / (9 * free)
    z = _normal_quantile(level)
    return float((1 / n + 1 / m) * free * (1 - spread + z * math.sqrt(spread)) ** 3)


def total_variation(before: npt.ArrayLike, after: npt.ArrayLike) -> float:
    """Half the sum of the differences of shares, 0 to 1: the share of rows that would have to move.

    NaN where one of the two counted nothing.
    """
    b, a = _alike(before, after)
    if not b.sum() or not a.sum():
        return math.nan
    return float(np.abs(b / b.sum() - a / a.sum()).sum() / 2)


def aligned(before: Mapping[Key, float], after: Mapping[Key, float]) -> tuple[Floats, Floats]:
    """The counts of two sets of categories, side by side; one that is not there counts 0."""
    names = list(dict.fromkeys([*before, *after]))
    return (
        np.array([before.get(name, 0.0) for name in names], dtype=np.float64),
        np.array([after.get(name, 0.0) for name in names], dtype=np.float64),
    )


def ks(before: npt.ArrayLike, after: npt.ArrayLike) -> float:
    """The greatest distance between the two empirical distribution functions, 0 to 1.

    NaN values are left out. NaN where one of the two has no value.
    """
    b, a = (np.sort(_numbers(values)) for values in (before, after))
    if not len(b) or not len(a):
        return math.nan
    every = np.concatenate([b, a])
    below_b = np.searchsorted(b, every, side="right") / len(b)
    below_a = np.searchsorted(a, every, side="right") / len(a)
    return float(np.abs(below_b - below_a).max())


def ks_p_value(distance: float, n: float, m: float) -> float:
    """How often samples of n and m from one distribution are at least so far apart.

    A limit for large samples: where it is below 0.1 it is within 0.025 of the exact one from
    n = m = 20 on, on the small side. Of values with ties the true one is smaller.
    """
    if math.isnan(distance) or n <= 0 or m <= 0:
        return math.nan
    root = math.sqrt(n * m / (n + m))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:  # the series does not converge there, and the value is 1 to 12 digits
        return 1.0
    terms = np.arange(1, 101, dtype=np.float64)
    signs = np.where(terms % 2 == 1, 1.0, -1.0)
    return float(np.clip(2 * np.sum(signs * np.exp(-2 * (terms * x) ** 2)), 0.0, 1.0))


def ks_critical(n: float, m: float, level: float = 0.99) -> float:
    """The distance that samples of n and m from one distribution stay below in `level` of all
    cases: sqrt(-ln((1 - level) / 2) / 2) sqrt((n + m) / nm)."""
    if n <= 0 or m <= 0:
        return math.inf
    return math.sqrt(-math.log((1 - level) / 2) / 2 * (n + m) / (n * m))


def _alike(before: npt.ArrayLike, after: npt.ArrayLike) -> tuple[Floats, Floats]:
    b, a = (np.asarray(counts, dtype=np.float64) for counts in (before, after))
    if b.shape != a.shape or b.ndim != 1:
        raise ValueError(f"counts of {b.shape} and of {a.shape} bins; the two need the same bins")
    if (b < 0).any() or (a < 0).any():
        raise ValueError("a count is negative")
    return b, a


def _numbers(values: npt.ArrayLike) -> Floats:
    given = np.asarray(values, dtype=np.float64).ravel()
    return given[~np.isnan(given)]


def _finite(values: npt.ArrayLike) -> Floats:
    given = np.asarray(values, dtype=np.float64).ravel()
    return given[np.isfinite(given)]


def _normal_quantile(level: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(level)
