"""A user's earlier actions as of a request: offsets into one log, never a copy per candidate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Actions:
    """A log of actions, sorted by (user, at); of equals, in the order given.

    `user`, `item`, `at` (microseconds) are int64 (n,); `extra` holds more columns of the same
    length (store, quantity, amount...). `order` is where each row lay before sorting.
    """

    user: Ints
    item: Ints
    at: Ints
    extra: Mapping[str, npt.NDArray[np.float64]]
    order: Ints
    moments: Ints
    places: Ints

    def __len__(self) -> int:
        return len(self.user)

    def take(self, index: npt.NDArray[np.intp]) -> Actions:
        """The rows at `index`, ascending."""
        return replace(
            self,
            user=self.user[index],
            item=self.item[index],
            at=self.at[index],
            extra={name: values[index] for name, values in self.extra.items()},
            order=self.order[index],
            places=self.places[index],
        )

    def before(self, user: Ints, at: Ints) -> tuple[Ints, Ints]:
        """The range (start, end) of each user's actions strictly before `at`."""
        width = len(self.moments) + 1
        rank = np.searchsorted(self.moments, at, side="left")
        start = np.searchsorted(self.places, user * width, side="left")
        return start, np.searchsorted(self.places, user * width + rank, side="left")


def actions(
    user: npt.ArrayLike,
    item: npt.ArrayLike,
    at: npt.ArrayLike,
    extra: Mapping[str, npt.ArrayLike] | None = None,
) -> Actions:
    """Sort a log of actions by (user, at)."""
    users, items, times = (np.asarray(part, dtype=np.int64) for part in (user, item, at))
    moments, rank = np.unique(times, return_inverse=True)
    places = users * (len(moments) + 1) + rank
    order = np.argsort(places, kind="stable")
    return Actions(
        user=users[order],
        item=items[order],
        at=times[order],
        extra={
            name: np.asarray(values, dtype=np.float64)[order]
            for name, values in (extra or {}).items()
        },
        order=order,
        moments=moments,
        places=places[order],
    )


def first_actions(log: Actions) -> Actions:
    """Only each (user, item)'s first action: what the user had by when, each item once."""
    _, first = np.unique(
        log.user * (int(log.item.max(initial=0)) + 1) + log.item, return_index=True
    )
    return log.take(np.sort(first))


@dataclass(frozen=True, eq=False)
class Sequences:
    """For request r, the rows `start[r]:end[r]` of a log, at most `cap`, the latest last."""

    start: Ints
    end: Ints

    @property
    def length(self) -> Ints:
        return self.end - self.start


def sequences(log: Actions, user: Ints, at: Ints, *, cap: int) -> Sequences:
    """Each request's last `cap` actions strictly before `at`."""
    start, end = log.before(user, at)
    return Sequences(start=np.maximum(start, end - cap), end=end)
