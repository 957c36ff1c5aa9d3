"""Diversity: a page of ten dairy products is no page.

Each further item of a group costs `places` places a time: the second of its group stands that many
lower, the third twice as many. Places, not points: they mean the same whatever scale a ranker
scores on. At 0 the order stays; where two would stand at one place, the better ranked comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


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
