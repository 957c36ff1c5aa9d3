"""Two versions of columns, side by side: what each says, and how far the values have moved.

One distribution is compared a kind: of counts and reals the values, of ids and categories the
names, of embeddings the norms, of sequences the lengths. Rows without a value are a bin of their
own, so a column that loses its values drifts too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.data.features import spreads
from bowerbird.data.features.spreads import NumberCounts, NumberSpread
from bowerbird.data.features.statistics import (
    Lists,
    Names,
    Numbers,
    Statistics,
    Vectors,
)
from bowerbird.stats import drift

Floats = npt.NDArray[np.float64]

BINS = 10
FREQUENT, FEWEST = 0.005, 5
"""Names below this share of the rows or so few rows, in both versions, are one bin together."""
SHOWN = 5


class Moved(msgspec.Struct, frozen=True):
    """How far one distribution has moved. None: there is nothing to compare.

    psi: population stability index; of sketches it is off by about 0.005. noise: what it stays
      below in 99 of 100 cases if nothing moved.
    ks, p: of numbers, the Kolmogorov-Smirnov distance and its p-value. Of two sketches the distance
      is within twice `spreads.RANK_ERROR`, and p is as rough as that.
    total_variation: the share of rows that would have to move; of names.
    cosine: of embeddings, the distance of the two mean vectors, 0 to 2.
    """

    psi: float | None = None
    noise: float | None = None
    ks: float | None = None
    p: float | None = None
    total_variation: float | None = None
    cosine: float | None = None


class Difference(msgspec.Struct, frozen=True):
    """One column in two versions. before, after: None where a version lacks the column.

    new, gone: frequent names that only one of the two has, most frequent first.
    note: why there is no drift to tell, if there is none.
    """

    column: str
    before: Statistics | None
    after: Statistics | None
    drift: Moved = Moved()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    note: str = ""


def compare(
    before: Mapping[str, Statistics], after: Mapping[str, Statistics]
) -> tuple[Difference, ...]:
    """Every column of two versions, in the order of `after`, then those that are gone."""
    names = list(dict.fromkeys([*after, *before]))
    return tuple(_difference(name, before.get(name), after.get(name)) for name in names)


def _difference(name: str, before: Statistics | None, after: Statistics | None) -> Difference:
    if before is None or after is None:
        return Difference(name, before, after, note="gone" if after is None else "new")
    if type(before.detail) is not type(after.detail):
        return Difference(name, before, after, note=f"was {before.kind}, is {after.kind}")
    if not before.rows or not after.rows:
        return Difference(name, before, after, note="no rows to compare")
    match before.detail, after.detail:
        case Numbers() as b, Numbers() as a:
            return Difference(name, before, after, _moved(b, a, before, after))
        case Vectors() as b, Vectors() as a:
            moved = _moved(b.norms, a.norms, before, after)
            turned = _cosine(b.center, a.center)
            return Difference(name, before, after, msgspec.structs.replace(moved, cosine=turned))
        case Lists() as b, Lists() as a:
            return Difference(name, before, after, _moved(b.lengths, a.lengths, before, after))
        case Names() as b, Names() as a:
            return _renamed(name, before, after, b, a)
    raise AssertionError("two details of one shape")


def _moved(b: Numbers, a: Numbers, before: Statistics, after: Statistics) -> Moved:
    """Of numbers: over bins of what is trusted, and two more for infinite and for no value."""
    ranks = [n / BINS for n in range(1, BINS)]
    inner = drift.separated(spreads.quantiles(b.spread, ranks))
    was, now = (
        np.append(spreads.masses(part.spread, inner), [part.infinite, whole.rows - _held(part)])
        for part, whole in ((b, before), (a, after))
    )
    apart = ks(b.spread, a.spread)
    return Moved(
        psi=_known(drift.psi(was, now)),
        noise=_noise(before.rows, after.rows, was, now),
        ks=_known(apart),
        p=_known(drift.ks_p_value(apart, b.finite, a.finite)),
    )


def _held(part: Numbers) -> int:
    return part.finite + part.infinite


def _renamed(name: str, before: Statistics, after: Statistics, b: Names, a: Names) -> Difference:
    """Of names: a bin each of the frequent ones, one for all others, one for no value."""
    often = [
        [
            one
            for one, count in spreads.top(part.spread, 1000)
            if count >= max(FREQUENT * part.values, FEWEST)
        ]
        for part in (b, a)
    ]
    names = list(dict.fromkeys(often[0] + often[1]))
    counts = [spreads.counts(part.spread, names) for part in (b, a)]
    was, now = (
        np.array(
            [*of.values(), max(part.values - sum(of.values()), 0), whole.nulls], dtype=np.float64
        )
        for part, whole, of in zip((b, a), (before, after), counts, strict=True)
    )
    found = Moved(
        psi=_known(drift.psi(was, now)),
        noise=_noise(before.rows, after.rows, was, now),
        total_variation=_known(drift.total_variation(was, now)),
    )
    return Difference(
        name,
        before,
        after,
        found,
        new=tuple(one for one in often[1] if not counts[0][one])[:SHOWN],
        gone=tuple(one for one in often[0] if not counts[1][one])[:SHOWN],
    )


def ks(before: NumberSpread, after: NumberSpread) -> float:
    """The Kolmogorov-Smirnov distance of two spreads; NaN where one holds nothing.

    Exact where both are counted. Sketches are compared where one of them has a two-hundredth.
    """
    ranks = list(np.arange(0, 201) / 200)
    points = np.unique(
        np.concatenate(
            [
                np.array(one.values)
                if isinstance(one, NumberCounts)
                else spreads.quantiles(one, ranks)
                for one in (before, after)
            ]
        )
    )
    was, now = spreads.below(before, points), spreads.below(after, points)
    return float(np.abs(was - now).max()) if len(was) and len(now) else math.nan


def _noise(n: int, m: int, was: Floats, now: Floats) -> float | None:
    return _known(drift.psi_noise(n, m, int(((was + now) > 0).sum())))


def _cosine(before: tuple[float, ...], after: tuple[float, ...]) -> float | None:
    if len(before) != len(after) or not before:
        return None
    b, a = np.array(before), np.array(after)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = float(np.linalg.norm(b) * np.linalg.norm(a))
        along = float(b @ a)
    return None if lengths == 0 else _known(1 - along / lengths)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
