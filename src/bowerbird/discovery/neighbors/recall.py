"""Recall: how much of the exact answer a store holds, from a sample, with an interval.

A neighbour counts when its exact score is not worse than the k-th best: of two items that are
equally near, either is right. What counts is recomputed from vectors, so stale scores in a store
gain nothing. (In adverts "recall" also means how many candidates come out; that is not meant here.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bowerbird.core.errors import UserError
from bowerbird.discovery.neighbors.search import Metric, Neighbors, Points, exact, ready
from bowerbird.discovery.neighbors.vectors import NOBODY, Vectors, sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bowerbird.discovery.neighbors.store import Found, StoreReader


class RecallReport(msgspec.Struct, frozen=True):
    """What a sample of a store's keys showed. `low` and `high` bound the recall at 95 %."""

    k: int
    sampled: int
    missing: int  # of the sampled keys; a missing key has found nothing
    recall: float
    low: float
    high: float


def check(
    store: StoreReader,
    items: Vectors,
    queries: Vectors,
    k: int,
    *,
    metric: Metric = Metric.COSINE,
    own_ids_excluded: bool = False,
    queries_sampled: int = 500,
    seed: int,
) -> RecallReport:
    """Answer a sample of the queries exactly, and compare what the store says for their keys.

    own_ids_excluded: the store was made with ``exclude=queries.ids``.
    """
    asked = sample(queries, queries_sampled, seed=seed)
    if not len(asked):
        raise UserError("there is no query to sample", expected="at least one")
    exclude = asked.ids if own_ids_excluded else None
    truth = exact(items, asked, k, metric=metric, exclude=exclude)
    stored = store.get_many(asked.ids)
    answer = _scored_again(stored, items, asked, k, metric)
    found, possible = hits(truth, answer)
    recall, low, high = interval(found, possible)
    missing = sum(one is None for one in stored)
    return RecallReport(k, len(asked), missing, recall, low, high)


def hits(truth: Neighbors, answer: Neighbors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of each query's k were found, and how many there were to find.

    Both carry exact scores, and an id comes once a row.
    """
    there = truth.ids != NOBODY
    possible = there.sum(axis=1)
    edge = np.where(there, truth.scores, np.inf).min(axis=1, initial=np.inf)
    good = (answer.ids != NOBODY) & (answer.scores >= edge[:, None])
    return np.minimum(good.sum(axis=1), possible), possible


def interval(
    found: NDArray[np.int64], possible: NDArray[np.int64], *, z: float = 1.96
) -> tuple[float, float, float]:
    """The share found, and Wilson's bounds of it, for neighbours that come in queries.

    The k neighbours of one query are found or missed together, so they are worth fewer than k
    trials: how many follows from the variance between queries (the design effect of cluster
    sampling; Cochran, Sampling Techniques, 9.3). When all or none were found there is no variance
    to go by, and a query counts as one trial.
    """
    total, queries = int(possible.sum()), int((possible > 0).sum())
    if not total:
        return 1.0, 0.0, 1.0
    share = float(found.sum() / total)
    spread = float(((found - share * possible) ** 2).sum()) / total**2
    spread *= queries / max(queries - 1, 1)
    trials = min(max(share * (1 - share) / spread, queries), total) if spread > 0 else queries
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    reach /= 1 + z * z / trials
    return share, max(middle - reach, 0.0), min(middle + reach, 1.0)


def _scored_again(
    stored: list[Found | None], items: Vectors, asked: Vectors, k: int, metric: Metric
) -> Neighbors:
    """The stored ids with their exact scores; ids that are no item any more score -inf."""
    ids = np.full((len(asked), k), NOBODY, dtype=np.int64)
    for row, one in enumerate(stored):
        if one is not None:
            unlike = np.sort(np.unique(one.ids, return_index=True)[1])[:k]
            ids[row, : len(unlike)] = one.ids[unlike]
    if not len(items):
        return Neighbors(ids, np.full(ids.shape, -np.inf, dtype=np.float32))
    rows = np.searchsorted(items.ids, ids).clip(max=len(items) - 1)
    scores = Points.of(items, metric).score_pairs(ready(asked.values, metric), rows)
    scores[items.ids[rows] != ids] = -np.inf
    return Neighbors(ids, scores)
