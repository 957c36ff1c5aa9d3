"""Declared column kinds: what is computed from a key's events strictly before a moment.

A column says *what*; `reference` is its definition in plain loops, `asof` computes it fast, in
training and in the online feed alike, and `sql` writes it down for DuckDB. Windows and half-lives
are written as text ("45m", "12h", "30d", "4w", "2y"; a year is 365 days). Times come out in days.

A null is no value: a column over a field sees only the events in which the field has one (NaN and
infinity count as nulls). A value that has nothing to be computed from is null (`Mean`, `Min`,
`Max`, `First`, `Last`, `Since`, `Age`, `Interval`, `Ratio`); a count, a sum or a decayed sum of
nothing is 0, a list of nothing is empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from bowerbird.core.specs import Operator

MICROSECONDS: Final = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
    "y": 365 * 86_400_000_000,
}
DAY: Final = MICROSECONDS["d"]
LONGEST: Final = 100 * MICROSECONDS["y"]


def duration(text: str) -> int:
    """Microseconds in "90s", "30m", "12h", "30d", "4w" or "2y"; 100 years at most."""
    match = re.fullmatch(r"([1-9]\d*)([smhdwy])", text)
    if match is None:
        raise ValueError(
            f"not a duration: {text!r}; write a whole number from 1 and one of s, m, h, d, w, y"
        )
    found = int(match[1]) * MICROSECONDS[match[2]]
    if found > LONGEST:
        raise ValueError(
            f"{text!r} is longer than 100 years; leave the window out to take every event"
        )
    return found


class Count(Operator, frozen=True, tag=True, omit_defaults=True):
    """Number of events, in all or in the window `[at - over, at)`; of a field: that have it."""

    over: str | None = None
    field: str | None = None


class Occasions(Operator, frozen=True, tag=True, omit_defaults=True):
    """Number of distinct event times: a basket of three is three events and one occasion."""

    over: str | None = None


class Sum(Operator, frozen=True, tag=True, omit_defaults=True):
    """Sum of a field: exact for whole numbers; else to a few roundings of the sum itself."""

    field: str
    over: str | None = None


class Mean(Operator, frozen=True, tag=True, omit_defaults=True):
    """Mean of a field."""

    field: str
    over: str | None = None


class Min(Operator, frozen=True, tag=True, omit_defaults=True):
    """The least value of a field of numbers or times."""

    field: str
    over: str | None = None


class Max(Operator, frozen=True, tag=True, omit_defaults=True):
    """The greatest value of a field of numbers or times."""

    field: str
    over: str | None = None


class Distinct(Operator, frozen=True, tag=True, omit_defaults=True):
    """Number of distinct values of a field.

    sketch: keep tiles of it as sketches of ``2^sketch`` slots (4 to 16), where exact sets are too
      dear. Computed from events it is exact still; from tiles, `tiles.distinct_error` of it off.
    """

    field: str
    over: str | None = None
    sketch: int | None = None


class Last(Operator, frozen=True, tag=True, omit_defaults=True):
    """The field's value at the latest event that has one; of events at the same time, the one given
    last. With `n`, a list of the last n values, the latest last."""

    field: str
    n: int | None = None
    over: str | None = None


class First(Operator, frozen=True, tag=True, omit_defaults=True):
    """The field's value at the first event that has one."""

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
    """One column over another; null where the other is 0."""

    numerator: Column
    denominator: Column


class By(Operator, frozen=True, tag=True, omit_defaults=True):
    """A column for each value of a second key, as a map: spend by category.

    by: the field that splits the events. Values without an event (in the column's window) are left
    out; the map is in the order of its keys.
    """

    column: Windowed
    by: str


Windowed = Count | Occasions | Sum | Mean | Min | Max | Distinct | Last
Scalar = Windowed | First | Since | Age | Interval | Decayed
Column = Scalar | Ratio | By


def walk(column: Column) -> Iterator[Column]:
    """A column and those inside it."""
    yield column
    match column:
        case Ratio(numerator, denominator):
            yield from walk(numerator)
            yield from walk(denominator)
        case By(inner, _):
            yield from walk(inner)


def fields_of(column: Column) -> list[str]:
    """The fields of an event that a column reads."""
    found: list[str] = []
    for part in walk(column):
        name = part.by if isinstance(part, By) else getattr(part, "field", None)
        found += [name] if name else []
    return found


def window_of(column: Column) -> str | None:
    """The longest window in a column; None: it sees every event."""
    longest: str | None = None
    for part in walk(column):
        if isinstance(part, (Ratio, By)):
            continue
        over = getattr(part, "over", None)
        if over is None:
            return None
        longest = over if longest is None else max(longest, over, key=duration)
    return longest


def longest_window(columns: Iterable[Column]) -> str | None:
    """The longest window of several columns; None: one sees every event, or there is no column."""
    windows = [window_of(column) for column in columns]
    return None if None in windows else max((w for w in windows if w), key=duration, default=None)


def problem_of(column: Column) -> str:
    """What is wrong with a column by itself; empty: nothing."""
    for part in walk(column):
        for text in (getattr(part, "over", None), getattr(part, "half_life", None)):
            try:
                if text is not None:
                    duration(text)
            except ValueError as error:
                return str(error)
        match part:
            case Last(_, int() as n) if not 1 <= n <= 100_000:
                return f"Last(n={n}): a list of 1 to 100,000 values"
            case Distinct(_, _, int() as size) if not 4 <= size <= 16:
                return f"Distinct(sketch={size}): 4 to 16, the logarithm of its slots"
            case Ratio(above, below):
                for one in (above, below):
                    if isinstance(one, By) or (isinstance(one, Last) and one.n is not None):
                        return f"a ratio of a {type(one).__name__}, which is more than one number"
    return ""
