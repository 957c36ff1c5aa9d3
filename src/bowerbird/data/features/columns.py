"""Declared column kinds: what is computed from a key's events strictly before a moment.

A column says *what*; `asof.evaluate` computes it, in training and in the online feed alike.
Windows and half-lives are written as text ("12h", "30d", "4w"). Times come out in days.

A value that has nothing to be computed from is NaN (`Mean`, `First`, `Last`, `Since`, `Age`,
`Interval`, `Ratio`); a count, a sum or a decayed sum of nothing is 0.
"""

from __future__ import annotations

import re
from typing import Final

from bowerbird.core.specs import Operator

MICROSECONDS: Final = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
DAY: Final = MICROSECONDS["d"]


def duration(text: str) -> int:
    """Microseconds in "90s", "30m", "12h", "30d" or "4w"."""
    match = re.fullmatch(r"([1-9]\d*)([smhdw])", text)
    if match is None:
        raise ValueError(f"not a duration: {text!r}; write a whole number and one of s, m, h, d, w")
    return int(match[1]) * MICROSECONDS[match[2]]


class Count(Operator, frozen=True, tag=True, omit_defaults=True):
    """Number of events, in all or in the window `[at - over, at)`."""

    over: str | None = None


class Occasions(Operator, frozen=True, tag=True, omit_defaults=True):
    """Number of distinct event times: a basket of three is three events and one occasion."""

    over: str | None = None


class Sum(Operator, frozen=True, tag=True, omit_defaults=True):
    """Sum of a field."""

    field: str
    over: str | None = None


class Mean(Operator, frozen=True, tag=True, omit_defaults=True):
    """Mean of a field."""

    field: str
    over: str | None = None


class Last(Operator, frozen=True, tag=True, omit_defaults=True):
    """The field's value at the latest event; of events at the same time, the one given last."""

    field: str


class First(Operator, frozen=True, tag=True, omit_defaults=True):
    """The field's value at the first event."""

    field: str


class Since(Operator, frozen=True, tag=True, omit_defaults=True):
    """Days since the latest event (recency)."""


class Age(Operator, frozen=True, tag=True, omit_defaults=True):
    """Days since the first event."""


class Interval(Operator, frozen=True, tag=True, omit_defaults=True):
    """Mean days between consecutive occasions; needs two of them."""


class Decayed(Operator, frozen=True, tag=True, omit_defaults=True):
    """Sum of `field` (1 where none is named), each event weighing 2^(-age / half_life)."""

    half_life: str
    field: str | None = None


class Ratio(Operator, frozen=True, tag=True, omit_defaults=True):
    """One column over another."""

    numerator: Column
    denominator: Column


Column = Count | Occasions | Sum | Mean | First | Last | Since | Age | Interval | Decayed | Ratio


def fields_of(column: Column) -> list[str]:
    """The fields of an event that a column reads."""
    match column:
        case Ratio(numerator, denominator):
            return fields_of(numerator) + fields_of(denominator)
        case Sum(field, _) | Mean(field, _) | First(field) | Last(field):
            return [field]
        case Decayed(_, str() as field):
            return [field]
    return []
