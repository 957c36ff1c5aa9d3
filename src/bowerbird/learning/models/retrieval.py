"""Candidates for requests: each source's best items, exactly as of the request.

Scores are compared as float32 and ties go to the smaller item, here and in the evaluation, so
that a scorer's best ten over the whole catalogue are the best ten over the candidates as soon as
its own best ten are among them (`tests/learning/test_retrieval.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bowerbird.data.features.asof import evaluate
from bowerbird.data.features.columns import DAY, Decayed, duration
from bowerbird.data.features.timeline import ranges

if TYPE_CHECKING:
    from bowerbird.data.features.asof import Timeline
    from bowerbird.data.samples.requests import Requests
    from bowerbird.data.samples.sequences import Actions
    from bowerbird.learning.models.baselines import ItemToItem

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The items considered for each of n requests, ascending by (request, item).

    `request` (index, int64), `item` (int64), `source` (bit set, int64) are (rows,); the rows of
    request r lie at `offsets[r]:offsets[r + 1]`.
    """

    request: Ints
    item: Ints
    source: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.item)


def best(group: Ints, item: Ints, score: npt.ArrayLike, count: int) -> tuple[Ints, Ints]:
    """Each group's `count` items of highest score (float32; ties to the smaller item), in order.

    One sort of one unsigned key (group, descending score, item): several times faster than a
    lexsort. The items of a group must be distinct.
    """
    if len(group) == 0:
        return group, item
    bits = np.asarray(score, dtype=np.float32).copy()
    bits += np.float32(0.0)  # -0.0 becomes 0.0, so that the two tie
    raw = bits.view(np.uint32)
    ascending = np.where(raw >> 31, ~raw, raw | np.uint32(0x8000_0000))
    width = int(item.max()).bit_length()
    if int(group.max()).bit_length() + 32 + width > 64:
        raise ValueError("too many groups and items for one 64-bit key; pass fewer requests a time")
    key = group.astype(np.uint64) << np.uint64(32 + width)
    key |= (~ascending).astype(np.uint64) << np.uint64(width)
    key |= item.astype(np.uint64)
    key.sort()
    groups = (key >> np.uint64(32 + width)).astype(np.int64)
    starts = np.searchsorted(groups, groups, side="left")
    kept = np.arange(len(groups)) - starts < count
    return groups[kept], (key[kept] & np.uint64((1 << width) - 1)).astype(np.int64)


def best_columns(
    scores: npt.NDArray[np.float32], items: Ints, count: int, allowed: Mask | None = None
) -> tuple[Ints, Ints]:
    """Each row's `count` best columns of a dense score matrix, as (row, item), by `best`'s rule.

    `scores` (rows, m) for `items` (m,) ascending; `allowed` (rows, m) leaves some out.
    """
    values = scores if allowed is None else np.where(allowed, scores, -np.inf)
    count = min(count, scores.shape[1])
    least = np.partition(values, -count, axis=1)[:, -count]
    # Everything that ties with the last place takes part; `best` then breaks the tie.
    row, column = np.nonzero((values >= least[:, None]) & (values > -np.inf))
    return best(row, items[column], values[row, column], count)


def popular(
    by_item: Timeline, column: Decayed, at: Ints, count: int, *, step: int = DAY
) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """Each request's `count` most popular items, exactly as of `at`: (request, item, score).

    A decayed sum times 2^(t / half_life) only grows. So within a step of time every item of any
    moment's best `count` ends the step at or above the count-th item's value at its start: only
    those are scored.
    """
    items = np.arange(by_item.radices[0])
    half_life = duration(column.half_life)
    requests, found, scored = [], [], []
    for low in np.unique(at // step) * step:
        rows = np.flatnonzero((at >= low) & (at < low + step))
        start, stop = (
            evaluate({"s": column}, by_item, [items], np.full(len(items), moment))["s"]
            for moment in (low, low + step)
        )
        bound = np.partition(start, -min(count, len(start)))[-min(count, len(start))]
        pool = items[stop * 2.0 ** (step / half_life) >= bound * (1 - 1e-9)]
        row = np.repeat(rows, len(pool))
        item = np.tile(pool, len(rows))
        score = evaluate({"s": column}, by_item, [item], at[row])["s"]
        requests.append(row)
        found.append(item)
        scored.append(score)
    return np.concatenate(requests), np.concatenate(found), np.concatenate(scored)


def had(firsts: Actions, requests: Requests) -> tuple[Ints, Ints]:
    """All items each user took before the request: (request, item)."""
    start, end = firsts.before(requests.user, requests.at)
    rows, request = ranges(start, end)
    return request.astype(np.int64), firsts.item[rows]


def novel(firsts: Actions, user: Ints, item: Ints, at: Ints) -> Mask:
    """Whether the user never took the item before `at`."""
    width = int(firsts.item.max(initial=0)) + 1
    pairs = firsts.user * width + firsts.item
    order = np.argsort(pairs, kind="stable")
    pairs, first = pairs[order], firsts.at[order]
    asked = user * width + item
    index = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    fresh: Mask = (item >= width) | (pairs[index] != asked) | (first[index] >= at)
    return fresh


def union(parts: list[tuple[int, Ints, Ints]], count: int) -> Candidates:
    """Sources (bit, request, item) as one set of candidates for `count` requests."""
    width = max(int(item.max(initial=0)) for _, _, item in parts) + 1
    keys = np.concatenate([request * width + item for _, request, item in parts])
    bits = np.concatenate([np.full(len(item), 1 << bit, dtype=np.int64) for bit, _, item in parts])
    order = np.argsort(keys, kind="stable")
    keys, bits = keys[order], bits[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    source = np.bitwise_or.reduceat(bits, first)
    request = keys[first] // width
    return Candidates(
        request=request,
        item=keys[first] % width,
        source=source,
        offsets=np.searchsorted(request, np.arange(count + 1)).astype(np.int64),
    )


def from_weights(
    model: ItemToItem,
    requests: Requests,
    firsts: Actions,
    *,
    best_all: int,
    best_novel: int,
    shown: Mask | None = None,
    best_shown: int = 0,
) -> list[tuple[Ints, Ints]]:
    """The best items by item weights: of all, of those the user never took, of those shown.

    `shown` (places, m) says which of the model's items were on promotion for each distinct
    `requests.place`-and-time group; see `data.samples.negatives`.
    """
    parts: list[list[tuple[Ints, Ints]]] = [[], [], []]
    history, taken = had(firsts, requests)
    column = model.index(taken)
    history, column = history[column >= 0], column[column >= 0]
    for part, scores in model.dense(requests.user, requests.at):
        low, high = np.searchsorted(history, [part.start, part.stop])
        fresh = np.ones(scores.shape, dtype=bool)
        fresh[history[low:high] - part.start, column[low:high]] = False
        for which, count, allowed in (
            (0, best_all, None),
            (1, best_novel, fresh),
            (2, best_shown, None if shown is None else fresh & shown[part]),
        ):
            if count:
                row, item = best_columns(scores, model.items, count, allowed)
                parts[which].append((row + part.start, item))
    return [
        (np.concatenate([row for row, _ in part]), np.concatenate([item for _, item in part]))
        if part
        else (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        for part in parts
    ]
