"""Diversity: a page of ten dairy products is no page.

Each further item of a group costs `places` places a time: the second of its group stands that many
lower, the third twice as many. Places, not points: they mean the same whatever scale a ranker
scores on. At 0 the order stays; where two would stand at one place, the better ranked comes first.

And a page of nothing but habits shows nobody anything: `reserve` keeps places for what is new.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def reserve(marked: Sequence[bool], k: int, every: int) -> list[int]:
    """At least one in `every` of what is shown is marked, as long as marked ones are there.

    `marked` in ranked order; gives the positions of the k to show, in order. The order changes only
    where it must: a marked item is moved up when the `every` - 1 before it were not marked.
    """
    plain = deque(rank for rank, one in enumerate(marked) if not one)
    special = deque(rank for rank, one in enumerate(marked) if one)
    shown: list[int] = []
    since = 0
    while len(shown) < k and (plain or special):
        due = since >= every - 1 and bool(special)
        if due or not plain or (special and special[0] < plain[0]):
            shown.append(special.popleft())
            since = 0
        else:
            shown.append(plain.popleft())
            since += 1
    return shown


def spread_plainly(groups: Sequence[object], k: int, places: float) -> list[int]:
    """The reference. `groups` in ranked order; gives the positions of the k to show, in order.

    Greedy: the next one shown is that whose rank, plus what its group's shown items cost it, is
    lowest.
    """
    left = list(range(len(groups)))
    shown: list[int] = []
    while left and len(shown) < k:
        cost = {
            rank: rank + places * sum(groups[one] == groups[rank] for one in shown) for rank in left
        }
        best = min(left, key=lambda rank: (cost[rank], rank))
        left.remove(best)
        shown.append(best)
    return shown


def spread(groups: NDArray[np.generic], k: int, places: float) -> NDArray[np.int64]:
    """`spread_plainly`, by one sort.

    Of a group the greedy choice shows the best ranked first, so what an item costs is known before:
    `places` for each better ranked item of its group. Costs rise within a group; the order by cost
    is then the greedy order.
    """
    if not len(groups):
        return np.empty(0, dtype=np.int64)
    rank = np.arange(len(groups))
    _, group = np.unique(groups, return_inverse=True)
    by_group = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    before = np.empty(len(groups), dtype=np.int64)
    before[by_group] = rank - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.lexsort((rank, rank + places * before))[:k]
