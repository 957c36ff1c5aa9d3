"""An audit against leaks in time: nothing fitted may have seen the moment it is used for.

Every fitted statistic (item weights, embeddings, a ranker) says what it was fitted through: no
event at or after that moment went into it. It may be used for a query at or after that moment,
never before: a filter fitted through the label window has read the labels. On this data such a
leak multiplies discovery by four, and looks like a triumph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bowerbird.data.features.leakage import LeakageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Leak", "LeakageError", "audit", "refuse_leaks"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Leak:
    """`queries` of `of` use the statistic before what it was fitted through, by up to `by` µs."""

    statistic: str
    fitted_through: int
    earliest: int
    queries: int
    of: int

    @property
    def by(self) -> int:
        return self.fitted_through - self.earliest

    def __str__(self) -> str:
        return (
            f"{self.statistic} was fitted through {_text(self.fitted_through)}, but "
            f"{self.queries:,} of {self.of:,} queries are earlier, the first at "
            f"{_text(self.earliest)}"
        )


def audit(fitted_through: Mapping[str, int | Ints], at: Ints) -> list[Leak]:
    """Every statistic that is used for a query before what it was fitted through.

    `fitted_through` in microseconds: one moment for all queries, or one a query (refits).
    """
    leaks = []
    for statistic, moments in fitted_through.items():
        through = np.broadcast_to(np.asarray(moments, dtype=np.int64), at.shape)
        early = at < through
        if early.any():
            leaks.append(
                Leak(
                    statistic=statistic,
                    fitted_through=int(through[early].max()),
                    earliest=int(at[early].min()),
                    queries=int(early.sum()),
                    of=len(at),
                )
            )
    return leaks


def refuse_leaks(fitted_through: Mapping[str, int | Ints], at: Ints) -> None:
    """Raise `LeakageError` naming each leak; to be called before a training set is built."""
    leaks = audit(fitted_through, at)
    if leaks:
        raise LeakageError(
            "; ".join(map(str, leaks)) + ". Fit it through the start of the window it is used in."
        )


def _text(moment: int) -> str:
    return f"{np.datetime64(moment, 'us')}Z"
