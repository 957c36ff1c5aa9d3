"""Baselines that a ranker must beat, all scored as of each query through one interface.

A scorer gives each row (user, item, at) a score from what lies strictly before `at`. A personal
or popularity baseline is a declared column (`data.features`); ItemKNN and EASE are matrices of
item weights, fitted once through a stated time and applied to each user's items as of the query.

EASE: H. Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, equation 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

from bowerbird.data.features.asof import evaluate
from bowerbird.data.samples.sequences import first_actions, ranges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bowerbird.data.features.asof import Timeline
    from bowerbird.data.features.columns import Column
    from bowerbird.data.samples.sequences import Actions

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]


class Scorer(Protocol):
    """Scores rows (user, item, at), int64 (n,) each, from what lies strictly before `at`."""

    def scores(self, user: Ints, item: Ints, at: Ints) -> Floats: ...


@dataclass(frozen=True, eq=False)
class ItemColumn:
    """A column over an item's events: popularity."""

    column: Column
    events: Timeline

    def scores(self, user: Ints, item: Ints, at: Ints) -> Floats:
        return evaluate({"score": self.column}, self.events, [item], at)["score"]


@dataclass(frozen=True, eq=False)
class PairColumn:
    """A column over a (user, item) pair's events: personal frequency, plain or decayed."""

    column: Column
    events: Timeline

    def scores(self, user: Ints, item: Ints, at: Ints) -> Floats:
        return evaluate({"score": self.column}, self.events, [user, item], at)["score"]


@dataclass(frozen=True, eq=False)
class Blend:
    """A weighted sum of scorers."""

    parts: Sequence[tuple[Scorer, float]]

    def scores(self, user: Ints, item: Ints, at: Ints) -> Floats:
        total = np.zeros(len(user))
        for scorer, weight in self.parts:
            total += weight * scorer.scores(user, item, at)
        return total


@dataclass(frozen=True, eq=False)
class ItemToItem:
    """score(user, j) = sum over the user's distinct items i before `at` of weights[i, j].

    `items` (m,) are the items that have weights, ascending; any other item scores 0. `weights` is
    float32 (m, m). `fitted_through`: no action at or after this moment went into the weights.
    `firsts` is each user's first action with each item that has weights.
    """

    items: Ints
    weights: Weights
    fitted_through: int
    firsts: Actions

    def index(self, item: Ints) -> Ints:
        """Each item's row in `weights`, or -1."""
        found = np.minimum(np.searchsorted(self.items, item), len(self.items) - 1)
        return np.where(self.items[found] == item, found, -1)

    def dense(
        self, user: Ints, at: Ints, *, block: int = 1024
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Scores of all m items for requests sorted by (user, at), some requests at a time.

        A user's next request adds only the items that are new since the last one, so the cost
        follows the number of distinct items a user has, not the number of requests.
        """
        start, end = self.firsts.before(user, at)
        again = np.zeros(len(user), dtype=bool)
        again[1:] = user[1:] == user[:-1]
        fresh = np.where(again, np.concatenate([[0], end[:-1]]), start)
        columns = self.index(self.firsts.item)
        last = np.zeros(len(self.items), dtype=np.float32)
        for low in range(0, len(user), block):
            part = slice(low, min(low + block, len(user)))
            rows, _ = ranges(fresh[part], end[part])
            counts = np.concatenate([[0], np.cumsum(end[part] - fresh[part])])
            added = sparse.csr_matrix(
                (np.ones(len(rows), dtype=np.float32), columns[rows], counts),
                shape=(part.stop - low, len(self.items)),
            )
            scores = np.asarray(added @ self.weights)
            for row in range(part.stop - low):
                if again[low + row]:
                    scores[row] += last
                last = scores[row]
            last = last.copy()
            yield part, scores

    def scores(self, user: Ints, item: Ints, at: Ints) -> Floats:
        order = np.lexsort((at, user))
        users, times = user[order], at[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (users[1:] != users[:-1]) | (times[1:] != times[:-1])
        request = np.cumsum(new) - 1
        columns = self.index(item[order])
        sorted_scores = np.zeros(len(order))
        for part, scores in self.dense(users[new], times[new]):
            low, high = np.searchsorted(request, [part.start, part.stop])
            column = columns[low:high]
            found = scores[request[low:high] - part.start, np.maximum(column, 0)]
            sorted_scores[low:high] = np.where(column >= 0, found, 0.0)
        answer = np.empty(len(order))
        answer[order] = sorted_scores
        return answer


def ease(log: Actions, *, through: int, items: int = 5000, penalty: float = 300.0) -> ItemToItem:
    """EASE on the `items` products that most users had before `through`; penalty is lambda."""
    chosen, gram = _gram(log, through, items)
    gram[np.diag_indices_from(gram)] += penalty
    inverse = _inverse(gram)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0.0
    return _item_to_item(log, chosen, weights, through)


def item_knn(
    log: Actions, *, through: int, items: int = 5000, neighbours: int = 100, shrink: float = 10.0
) -> ItemToItem:
    """Cosine similarity of items over users, each item's nearest `neighbours` kept."""
    chosen, gram = _gram(log, through, items)
    reach = np.sqrt(np.diag(gram))
    weights = gram / (np.outer(reach, reach) + np.float32(shrink))
    weights[np.diag_indices_from(weights)] = 0.0
    if neighbours < len(chosen):
        least = np.partition(weights, -neighbours, axis=0)[-neighbours]
        weights[weights < least] = 0.0
    return _item_to_item(log, chosen, weights, through)


def _gram(log: Actions, through: int, items: int) -> tuple[Ints, Weights]:
    """The most reached items, ascending, and how many users had each two of them."""
    firsts = first_actions(log)
    past = firsts.at < through
    user, item = firsts.user[past], firsts.item[past]
    reach = np.bincount(item)
    chosen = np.sort(np.lexsort((np.arange(len(reach)), -reach))[:items])
    chosen = chosen[reach[chosen] > 0]
    column = np.full(len(reach), -1, dtype=np.int64)
    column[chosen] = np.arange(len(chosen))
    kept = column[item] >= 0
    users, row = np.unique(user[kept], return_inverse=True)
    had = np.zeros((len(users), len(chosen)), dtype=np.float32)
    had[row, column[item[kept]]] = 1.0
    return chosen, had.T @ had


def _inverse(matrix: Weights) -> Weights:
    """The inverse of a symmetric positive definite matrix, by its Cholesky factor."""
    factor, failed = linalg.lapack.spotrf(matrix, lower=1)
    if failed:
        raise ValueError("the Gram matrix is not positive definite; raise the penalty")
    lower, _ = linalg.lapack.spotri(factor, lower=1)
    lower = np.tril(lower)
    return np.asarray(lower + np.tril(lower, -1).T, dtype=np.float32)


def _item_to_item(log: Actions, items: Ints, weights: Weights, through: int) -> ItemToItem:
    firsts = first_actions(log)
    found = np.minimum(np.searchsorted(items, firsts.item), len(items) - 1)
    kept = firsts.take(np.flatnonzero(items[found] == firsts.item))
    return ItemToItem(
        items=items, weights=np.ascontiguousarray(weights), fitted_through=through, firsts=kept
    )
