"""Requests: the moments at which a list is asked for, and what the user then took.

Two kinds, one shape. A *trip* asks at its own start and what was bought on it is relevant. A
*period* asks once a user at a fixed moment and everything bought within its horizon is relevant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bowerbird.data.features.timeline import ranges, rows_of

if TYPE_CHECKING:
    from bowerbird.data.samples.sequences import Actions

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Requests:
    """n requests, sorted by (user, at).

    `user`, `place` (store) and `at` (microseconds) are int64 (n,). The items taken after request
    r are `positives[offsets[r]:offsets[r + 1]]`, distinct, ascending; none is known before `at`.
    `until` (n,) is when the last of them could have been taken: what is judged against request r
    must be fitted on nothing at or after `at`, what is trained on it is known only at `until`.
    """

    user: Ints
    place: Ints
    at: Ints
    until: Ints
    offsets: Ints
    positives: Ints

    def __len__(self) -> int:
        return len(self.user)

    def take(self, index: npt.NDArray[np.intp] | Ints) -> Requests:
        """The requests at `index`, ascending."""
        rows, owner = ranges(self.offsets[index], self.offsets[index + 1])
        counts = np.bincount(owner, minlength=len(index))
        return Requests(
            user=self.user[index],
            place=self.place[index],
            at=self.at[index],
            until=self.until[index],
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            positives=self.positives[rows],
        )


def trips(log: Actions, start: int, end: int) -> Requests:
    """Each (user, moment) of the log in `[start, end)` as a request; `place` is its store."""
    rows = np.flatnonzero((log.at >= start) & (log.at < end))
    place = log.extra["store"][rows].astype(np.int64)
    _, first, owner = np.unique(log.places[rows], return_index=True, return_inverse=True)
    offsets, positives = _distinct(owner, log.item[rows], len(first))
    return Requests(
        user=log.user[rows][first],
        place=place[first],
        at=log.at[rows][first],
        until=log.at[rows][first] + 1,
        offsets=offsets,
        positives=positives,
    )


def periods(log: Actions, at: int, horizon: int) -> Requests:
    """One request at `at` for each user who took something in `[at, at + horizon)`.

    `place` is the store where the user was most often in the 90 days before (the smaller id among
    equals), or -1 for a user without any.
    """
    rows = np.flatnonzero((log.at >= at) & (log.at < at + horizon))
    users, owner = np.unique(log.user[rows], return_inverse=True)
    offsets, positives = _distinct(owner, log.item[rows], len(users))
    moment = np.full(len(users), at, dtype=np.int64)
    return Requests(
        user=users,
        place=usual_place(log, users, at),
        at=moment,
        until=moment + horizon,
        offsets=offsets,
        positives=positives,
    )


def staggered(log: Actions, moments: Ints, horizon: int, *, each: int) -> Requests:
    """Periods at many moments: each user asks at `each` of them, spread evenly over users.

    Users who all ask at one moment share its items' features and futures, which a model then
    learns by heart; spread over moments, the same number of lists does not allow it.
    """
    turn = len(moments) // each
    parts = []
    for place, at in enumerate(moments.tolist()):
        every = periods(log, at, horizon)
        parts.append(every.take(np.flatnonzero(every.user % turn == place % turn)))
    return concatenate(parts)


def usual_place(log: Actions, users: Ints, at: int, days: int = 90) -> Ints:
    """Each user's most visited store in the `days` before `at`; -1 where there was no visit."""
    since = at - days * 86_400_000_000
    rows = np.flatnonzero((log.at >= since) & (log.at < at))
    visits = np.unique(
        np.stack([log.user[rows], log.at[rows], log.extra["store"][rows].astype(np.int64)], axis=1),
        axis=0,
    )
    pairs, counts = np.unique(visits[:, [0, 2]], axis=0, return_counts=True)
    best = np.lexsort((pairs[:, 1], -counts, pairs[:, 0]))
    found, first = np.unique(pairs[best, 0], return_index=True)
    places = pairs[best[first], 1]
    index = np.minimum(np.searchsorted(found, users), max(len(found) - 1, 0))
    if len(found) == 0:
        return np.full(len(users), -1, dtype=np.int64)
    return np.where(found[index] == users, places[index], -1)


def concatenate(parts: list[Requests]) -> Requests:
    """Requests of several kinds or moments as one, sorted by (user, at), then by part."""
    user = np.concatenate([part.user for part in parts])
    at = np.concatenate([part.at for part in parts])
    shifts = np.cumsum([0] + [len(part.positives) for part in parts])
    starts = np.concatenate(
        [part.offsets[:-1] + shift for part, shift in zip(parts, shifts, strict=False)]
    )
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    order = np.lexsort((at, user))
    rows = rows_of(starts[order], (starts + lengths)[order])
    return Requests(
        user=user[order],
        place=np.concatenate([part.place for part in parts])[order],
        at=at[order],
        until=np.concatenate([part.until for part in parts])[order],
        offsets=np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64),
        positives=np.concatenate([part.positives for part in parts])[rows],
    )


def _distinct(owner: Ints, item: Ints, count: int) -> tuple[Ints, Ints]:
    width = int(item.max(initial=0)) + 1
    pairs = np.unique(owner.astype(np.int64) * width + item)
    offsets = np.searchsorted(pairs, np.arange(count + 1, dtype=np.int64) * width)
    return offsets.astype(np.int64), pairs % width
