"""Tuning: which index reaches the recall that is asked for, at the least cost.

`candidates` lists what is worth trying for so many items, `measure` tries them on real queries
against the exact answer, `choose` decides. Deciding is pure: the same measurements give the same
choice, with a reason for each one refused. The order of families changes with the data, so nothing
here believes a family's name: only what was measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bowerbird.core.errors import UserError
from bowerbird.discovery.neighbors.recall import hits, interval
from bowerbird.discovery.neighbors.search import (
    HNSW,
    IVF,
    Codes,
    Flat,
    Index,
    IndexParams,
    Metric,
    Neighbors,
    build,
    exact,
)
from bowerbird.discovery.neighbors.vectors import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

# FAISS's own advice: k-means wants some 39 points a cell.
_POINTS_A_CELL = 39
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128)


class Measurement(msgspec.Struct, frozen=True):
    """One index, tried. Recall is that of k; low and high bound it at 95 %."""

    index: IndexParams
    k: int
    recall: float
    recall_low: float
    recall_high: float
    queries_per_second: float
    build_seconds: float
    bytes: int


class Refused(msgspec.Struct, frozen=True):
    """One that was not chosen, and why."""

    measurement: Measurement
    reason: str


class Point(msgspec.Struct, frozen=True):
    """A dot of the plot of recall against speed; `frontier`: nothing is better in both."""

    label: str
    recall: float
    queries_per_second: float
    bytes: int
    frontier: bool
    chosen: bool
    reason: str


class Choice(msgspec.Struct, frozen=True):
    """What was decided from measurements."""

    target_recall: float
    chosen: Measurement
    refused: tuple[Refused, ...]
    shortfall: str | None = None  # what the chosen one lacks, when none was good enough

    @property
    def index(self) -> IndexParams:
        return self.chosen.index

    def points(self) -> tuple[Point, ...]:
        """Everything measured, by recall: what a page draws."""
        reasons = [(self.chosen, "chosen")] + [(r.measurement, r.reason) for r in self.refused]
        every = [measured for measured, _ in reasons]
        found = [
            Point(
                label=str(measured.index),
                recall=measured.recall,
                queries_per_second=measured.queries_per_second,
                bytes=measured.bytes,
                frontier=not any(_beats(other, measured) for other in every),
                chosen=measured is self.chosen,
                reason=reason,
            )
            for measured, reason in reasons
        ]
        return tuple(sorted(found, key=lambda p: (p.recall, p.queries_per_second, p.label)))


def candidates(items: int) -> list[IndexParams]:
    """What is worth trying for so many items: Flat always, cells where k-means has the points."""
    found: list[IndexParams] = [Flat()]
    most = items // _POINTS_A_CELL
    wanted = (
        {2 ** round(math.log2(math.sqrt(items) * times)) for times in (1, 4)} if items else set()
    )
    for lists in sorted(n for n in wanted if 8 <= n <= most):
        for codes in Codes:
            found += [IVF(lists, probes, codes) for probes in _PROBES if probes * 2 <= lists]
    if items >= 1000:
        found += [HNSW(links, breadth) for links in (16, 32) for breadth in (32, 64, 128)]
    return found


def measure(
    tried: Iterable[IndexParams],
    items: Vectors,
    queries: Vectors,
    k: int,
    *,
    metric: Metric = Metric.COSINE,
    exclude: NDArray[np.int64] | None = None,
    seed: int,
    threads: int,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
    on_measured: Callable[[Measurement], None] | None = None,
) -> tuple[Measurement, ...]:
    """Build and search each; speeds are the best of `repeats`, as the rest is other people's load.

    queries: a sample. Items are all there, because recall in cells depends on how many there are.
    """
    truth = exact(items, queries, k, metric=metric, exclude=exclude)
    found = []
    for _, alike in groupby(tried, key=_build_key):
        group = list(alike)
        start = clock()
        index = build(items, group[0], metric=metric, seed=seed, threads=threads)
        built = clock() - start
        for params in group:
            answer, seconds = _timed(index, params, queries, k, exclude, threads, repeats, clock)
            one = _measurement(params, truth, answer, seconds, built, index.bytes)
            found.append(one)
            if on_measured is not None:
                on_measured(one)
    return tuple(found)


def choose(
    measurements: Sequence[Measurement],
    target_recall: float,
    *,
    queries: int | None = None,
    max_bytes: int | None = None,
) -> Choice:
    """The cheapest index whose recall is surely enough; Flat is exact, so it answers when none is.

    Cost is the seconds to build and to answer `queries`; without it, only to answer. "Surely" is
    the lower bound of the interval: a lucky sample chooses nothing.
    """
    if not any(isinstance(m.index, Flat) for m in measurements):
        raise UserError("the exact index was not measured", expected="Flat() among the candidates")
    cost = _seconds(queries)
    reasons = {id(m): _shortfall(m, target_recall, max_bytes) for m in measurements}
    able = [m for m in measurements if reasons[id(m)] is None]
    if not able:  # Flat itself is too big: exact and large is better than wrong
        able = [m for m in measurements if isinstance(m.index, Flat)]
    chosen = min(able, key=lambda m: (cost(m), m.bytes, str(m.index)))
    refused = tuple(
        Refused(m, reasons[id(m)] or _slower(m, chosen, cost))
        for m in measurements
        if m is not chosen
    )
    return Choice(target_recall, chosen, refused, shortfall=reasons[id(chosen)])


def _shortfall(m: Measurement, target: float, max_bytes: int | None) -> str | None:
    if m.recall < target:
        return f"recall {m.recall:.3f} is below {target:g}"
    if m.recall_low < target:
        return f"recall {m.recall:.3f} may be {m.recall_low:.3f}, which is below {target:g}"
    if max_bytes is not None and m.bytes > max_bytes:
        return f"takes {m.bytes:,} bytes of {max_bytes:,}"
    return None


def _seconds(queries: int | None) -> Callable[[Measurement], float]:
    def cost(m: Measurement) -> float:
        if queries is None:
            return 1 / m.queries_per_second
        return m.build_seconds + queries / m.queries_per_second

    return cost


def _slower(m: Measurement, chosen: Measurement, cost: Callable[[Measurement], float]) -> str:
    return f"{cost(m) / cost(chosen):.2f} times the seconds of {chosen.index}"


def _beats(one: Measurement, other: Measurement) -> bool:
    a, b = (one.recall, one.queries_per_second), (other.recall, other.queries_per_second)
    return a != b and a[0] >= b[0] and a[1] >= b[1]


def _build_key(params: IndexParams) -> tuple[object, ...]:
    if isinstance(params, IVF):
        return ("ivf", params.lists, params.codes)
    if isinstance(params, HNSW):
        return ("hnsw", params.links, params.build_breadth)
    return ("flat",)


def _timed(
    index: Index,
    params: IndexParams,
    queries: Vectors,
    k: int,
    exclude: NDArray[np.int64] | None,
    threads: int,
    repeats: int,
    clock: Callable[[], float],
) -> tuple[Neighbors, float]:
    best = math.inf
    for _ in range(max(repeats, 1)):
        start = clock()
        answer = index.search(queries, k, params=params, exclude=exclude, threads=threads)
        best = min(best, clock() - start)
    return answer, best


def _measurement(
    params: IndexParams,
    truth: Neighbors,
    answer: Neighbors,
    seconds: float,
    built: float,
    size: int,
) -> Measurement:
    found, possible = hits(truth, answer)
    recall, low, high = interval(found, possible)
    if isinstance(params, Flat):
        low = high = recall  # by proof, not by sample
    return Measurement(
        index=params,
        k=truth.ids.shape[1],
        recall=recall,
        recall_low=low,
        recall_high=high,
        queries_per_second=len(truth) / max(seconds, 1e-9),
        build_seconds=built,
        bytes=size,
    )
