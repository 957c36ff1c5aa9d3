"""Baselines that a ranker must beat, all scored as of each query through one interface.

A scorer gives each row (user, item, at) a score from what lies strictly before `at`. A personal
or popularity baseline is a declared column (`data.features`); ItemKNN and EASE are matrices of
item weights, fitted once through a stated time and applied to each user's items as of the query.

EASE: H. Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019, equation 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

from bowerbird.data.features.asof import evaluate
from bowerbird.data.features.columns import duration
from bowerbird.data.features.timeline import ranges
from bowerbird.data.samples.sequences import first_actions

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
    """score(user, j) = sum over the user's actions a before `at` of w_a 2^(-age/h) weights[i_a, j].

    `items` (m,) are the items that have weights, ascending; any other item scores 0. `weights` is
    float32 (m, m). `fitted_through`: no action at or after this moment went into the weights.
    `history` holds the actions with those items, with w_a as `extra["weight"]`; `half_life` is h
    in microseconds, infinite where actions do not age.
    """

    items: Ints
    weights: Weights
    fitted_through: int
    history: Actions
    half_life: float = math.inf

    def index(self, item: Ints) -> Ints:
        """Each item's row in `weights`, or -1."""
        found = np.minimum(np.searchsorted(self.items, item), len(self.items) - 1)
        return np.where(self.items[found] == item, found, -1)

    def dense(
        self, user: Ints, at: Ints, *, block: int = 1024
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Scores of all m items for requests sorted by (user, at), some requests at a time.

        A user's next request adds only the actions since the last one (the older ones age all
        alike), so the cost follows the length of histories, not the number of requests.
        """
        start, end = self.history.before(user, at)
        again = np.zeros(len(user), dtype=bool)
        again[1:] = user[1:] == user[:-1]
        fresh = np.where(again, np.concatenate([[0], end[:-1]]), start)
        aged = np.exp2(-np.diff(at, prepend=at[:1]) / self.half_life).astype(np.float32)
        last = np.zeros(len(self.items), dtype=np.float32)
        for low in range(0, len(user), block):
            part = slice(low, min(low + block, len(user)))
            rows, owner = ranges(fresh[part], end[part])
            age = at[part][owner] - self.history.at[rows]
            weight = self.history.extra["weight"][rows] * np.exp2(-age / self.half_life)
            added = sparse.csr_matrix(
                (weight.astype(np.float32), (owner, self.index(self.history.item[rows]))),
                shape=(part.stop - low, len(self.items)),
            )
            scores = np.asarray(added @ self.weights)
            for row in range(part.stop - low):
                if again[low + row]:
                    scores[row] += aged[low + row] * last
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


def ease(
    log: Actions,
    *,
    through: int,
    items: int = 5000,
    penalty: float = 300.0,
    half_life: str | None = "150d",
) -> ItemToItem:
    """EASE on the `items` products that most users had before `through`; `penalty` is lambda.

    A user's weight of an item is log(1 + times taken): fitted on it as of `through`, and applied
    as what each action added to it, decayed. On the four validation weeks this beat weights of 0
    and 1 (docs/log.md, 2026-11-24), so the baseline is the stronger of the two.
    """
    added = _logarithmic(log)
    chosen, gram = _gram(added, through, items)
    gram[np.diag_indices_from(gram)] += penalty
    inverse = _inverse(gram)
    weights = inverse
    weights /= -np.diag(inverse).copy()
    weights[np.diag_indices_from(weights)] = 0.0
    aging = math.inf if half_life is None else float(duration(half_life))
    return _item_to_item(added, chosen, weights, through, aging)


def item_knn(
    log: Actions, *, through: int, items: int = 5000, neighbours: int = 100, shrink: float = 10.0
) -> ItemToItem:
    """Cosine similarity of items over users, each item's nearest `neighbours` kept."""
    firsts = first_actions(log)
    firsts = replace(firsts, extra={"weight": np.ones(len(firsts))})
    chosen, gram = _gram(firsts, through, items)
    reach = np.sqrt(np.diag(gram))
    weights = (gram / (np.outer(reach, reach) + shrink)).astype(np.float32)
    weights[np.diag_indices_from(weights)] = 0.0
    if neighbours < len(chosen):
        least = np.partition(weights, -neighbours, axis=0)[-neighbours]
        weights[weights < least] = 0.0
    return _item_to_item(firsts, chosen, weights, through, math.inf)


def _logarithmic(log: Actions) -> Actions:
    """Each action's weight is what it adds to log(1 + times the user took the item)."""
    width = int(log.item.max(initial=0)) + 1
    pair = log.user * width + log.item
    order = np.argsort(pair, kind="stable")
    new = np.ones(len(order), dtype=bool)
    new[1:] = pair[order][1:] != pair[order][:-1]
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    times = np.empty(len(order))
    times[order] = np.arange(len(order)) - first + 1
    return replace(log, extra={"weight": np.log1p(times) - np.log(times)})


def _gram(log: Actions, through: int, items: int) -> tuple[Ints, Weights]:
    """The most reached items, ascending, and the Gram matrix of user weights over them."""
    past = log.take(np.flatnonzero(log.at < through))
    reach = np.bincount(first_actions(past).item)
    chosen = np.sort(np.lexsort((np.arange(len(reach)), -reach))[:items])
    chosen = chosen[reach[chosen] > 0]
    column = np.full(len(reach), -1, dtype=np.int64)
    column[chosen] = np.arange(len(chosen))
    kept = column[past.item] >= 0
    users, row = np.unique(past.user[kept], return_inverse=True)
    weights = sparse.csr_matrix(
        (past.extra["weight"][kept].astype(np.float32), (row, column[past.item[kept]])),
        shape=(len(users), len(chosen)),
    ).toarray()
    return chosen, weights.T @ weights


def _inverse(matrix: Weights) -> Weights:
    """The inverse of a symmetric positive definite matrix, by its Cholesky factor."""
    # In place, in the column order that LAPACK wants: the matrix is large.
    factor, failed = linalg.lapack.spotrf(matrix.T, lower=1, overwrite_a=1)
    if failed:
        raise ValueError("the Gram matrix is not positive definite; raise the penalty")
    inverse, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    for low in range(0, len(inverse), 512):
        block = slice(low, low + 512)
        inverse[:low, block] = inverse[block, :low].T
        corner = np.tril(inverse[block, block])
        inverse[block, block] = corner + np.tril(corner, -1).T
    return np.asarray(inverse, dtype=np.float32)


def _item_to_item(
    log: Actions, items: Ints, weights: Weights, through: int, half_life: float
) -> ItemToItem:
    found = np.minimum(np.searchsorted(items, log.item), len(items) - 1)
    return ItemToItem(
        items=items,
        weights=np.ascontiguousarray(weights),
        fitted_through=through,
        history=log.take(np.flatnonzero(items[found] == log.item)),
        half_life=half_life,
    )
