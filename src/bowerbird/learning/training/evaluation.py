"""Ranked lists judged: NDCG@k a request, over all relevant items or the user's new ones.

Ties: scores are compared as float32, the smaller item first. A relevant item that is not among
the candidates counts in the ideal list, so a retrieval that misses it pays for it. A request
without relevant items (of the kind judged) is not judged: its value is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bowerbird.learning.models.retrieval import best

if TYPE_CHECKING:
    from bowerbird.learning.models.retrieval import Candidates

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def ndcg(
    candidates: Candidates,
    scores: npt.ArrayLike,
    relevant: Mask,
    relevant_count: Ints,
    *,
    k: int = 10,
    allowed: Mask | None = None,
) -> Floats:
    """NDCG@k of each request, binary gains.

    `scores`, `relevant` and `allowed` are a row a candidate; `relevant_count` (requests,) is how
    many relevant items each request has, retrieved or not. Candidates outside `allowed` are not
    ranked (discovery: items the user never took before).
    """
    kept = np.flatnonzero(allowed) if allowed is not None else np.arange(len(candidates))
    request, item = candidates.request[kept], candidates.item[kept]
    values = np.asarray(scores, dtype=np.float32)[kept]
    group, chosen = best(request, item, values, k)
    place = np.arange(len(group)) - np.searchsorted(group, group, side="left")
    width = int(candidates.item.max(initial=0)) + 1
    hits = np.isin(group * width + chosen, (request * width + item)[relevant[kept]])
    gain = hits / np.log2(place + 2.0)
    found = np.bincount(group, weights=gain, minlength=len(relevant_count))
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    best_possible = ideal[np.minimum(relevant_count, k)]
    missing = np.full(len(found), np.nan)
    value: Floats = np.divide(found, best_possible, out=missing, where=relevant_count > 0)
    return value
