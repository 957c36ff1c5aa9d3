"""Negatives: items that were really shown and not taken, and sampled ones.

A supermarket has no impression log; what was on display in the store, or in the store's mailer,
in the week of the request is the nearest thing to one: the user could see it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bowerbird.data.features.timeline import ranges

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.int8]

DISPLAYED, MAILED = 1, 2


@dataclass(frozen=True, eq=False)
class Promotions:
    """What was promoted where and when: `keys` ascending, with `kind` (DISPLAYED | MAILED) each.

    A key packs (week, place, item); the radices of place and item are kept beside it. A week's
    promotions are known when it begins.
    """

    keys: Ints
    kind: Bytes
    places: int
    items: int

    def kinds(self, week: Ints, place: Ints, item: Ints) -> Bytes:
        """How each (week, place, item) was promoted; 0 where it was not."""
        if len(self.keys) == 0:
            return np.zeros(len(item), dtype=np.int8)
        key = self._pack(week, place, item)
        found = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return np.where(self.keys[found] == key, self.kind[found], 0).astype(np.int8)

    def shown(self, week: Ints, place: Ints) -> tuple[Ints, Ints]:
        """Every item promoted in each (week, place): (index of the pair, item)."""
        zero = np.zeros(len(week), dtype=np.int64)
        start = np.searchsorted(self.keys, self._pack(week, place, zero))
        end = np.searchsorted(self.keys, self._pack(week, place, zero + self.items - 1), "right")
        rows, owner = ranges(start, np.maximum(end, start))
        return owner, self.keys[rows] % self.items

    def _pack(self, week: Ints, place: Ints, item: Ints) -> Ints:
        known = (week >= 0) & (place >= 0) & (place < self.places) & (item < self.items)
        return np.where(known, (week * self.places + place) * self.items + item, -1)


def promotions(week: Ints, place: Ints, item: Ints, kind: Bytes, *, items: int) -> Promotions:
    """Index rows (week, place, item, kind); rows of one key are joined (displayed and mailed)."""
    places = int(place.max(initial=0)) + 1
    keys = (week.astype(np.int64) * places + place) * items + item
    if len(keys) and not bool((keys[1:] > keys[:-1]).all()):
        order = np.argsort(keys, kind="stable")
        keys, kind = keys[order], kind[order]
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        keys, kind = keys[first], np.bitwise_or.reduceat(kind, first)
    return Promotions(keys=keys, kind=kind.astype(np.int8), places=places, items=items)


def sample_lists(
    offsets: Ints,
    label: npt.NDArray[np.bool_],
    shown: npt.NDArray[np.bool_],
    *,
    size: int,
    positives: int,
    shown_share: float,
    seed: int,
) -> Ints:
    """Rows of candidates kept for training, `size` a request: (requests, size), -1 where missing.

    Positives come first (at most `positives`, drawn evenly), then negatives, of which about
    `shown_share` were shown and not taken, as far as there are such.
    """
    generator = np.random.default_rng(seed)
    count = len(offsets) - 1
    request = np.repeat(np.arange(count), np.diff(offsets))
    draw = generator.random(len(label))
    # One key a row decides the order within its request; lower is kept first.
    shown_rank = _rank(request, np.where(label | ~shown, 2.0, draw))
    quota = round(size * shown_share)
    favoured = shown & ~label & (shown_rank < quota)
    positive_rank = _rank(request, np.where(label, draw, 2.0))
    tier = np.where(
        label & (positive_rank < positives), 0.0, np.where(label, 9.0, np.where(favoured, 1.0, 2.0))
    )
    place = _rank(request, tier + draw)
    kept = np.flatnonzero((place < size) & (tier < 9.0))
    lists = np.full((count, size), -1, dtype=np.int64)
    lists[request[kept], place[kept]] = kept
    return lists


def _rank(group: Ints, key: npt.NDArray[np.float64]) -> Ints:
    """Each row's place within its group by ascending key; `group` is ascending."""
    order = np.lexsort((key, group))
    rank = np.empty(len(group), dtype=np.int64)
    starts = np.searchsorted(group, group, side="left")
    rank[order] = np.arange(len(group))
    return rank - starts
