"""Columns as of a moment: the one definition that training and the online feed share.

For each query (key, at) a column sees the key's events strictly before `at`. Events are sorted by
(key, at) once; a query finds its place by one binary search in a combined integer key. Sums come
from prefixes, least and greatest values from blocks of two, four, eight… events, distinct counts
from ranks of each value's previous event. `reference` is the same in plain loops;
``tests/data/features/test_parity.py`` holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bowerbird.data.features import windows
from bowerbird.data.features.columns import (
    DAY,
    Age,
    By,
    Column,
    Count,
    Decayed,
    Distinct,
    First,
    Interval,
    Last,
    Max,
    Mean,
    Min,
    Occasions,
    Ratio,
    Since,
    Sum,
    duration,
    window_of,
)
from bowerbird.data.features.timeline import (
    UNKNOWN,
    Floats,
    Ints,
    Mask,
    Numbers,
    Timeline,
    ranges,
    rows_of,
    timeline,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Found", "Timeline", "evaluate", "find", "timeline"]


class Found(NamedTuple):
    """A column's values, one a query.

    values: int64 or float64. missing: where there is none; None: nowhere.
    offsets: for a list or a map, whose entries for query q are `values[offsets[q]:offsets[q + 1]]`.
    keys: for a map, the value of its `by` field of each entry.
    """

    values: Numbers
    missing: Mask | None = None
    offsets: Ints | None = None
    keys: Ints | None = None

    def floats(self) -> Floats:
        """float64, NaN where there is none. Raises `ValueError` for lists and maps."""
        if self.offsets is not None:
            raise ValueError("a list or a map is no single number a query")
        found = self.values.astype(np.float64, copy=False)
        return found if self.missing is None else np.where(self.missing, np.nan, found)


def evaluate(
    columns: Mapping[str, Column],
    events: Timeline,
    keys: Sequence[npt.ArrayLike],
    at: npt.ArrayLike,
) -> dict[str, Floats]:
    """Each column as float64 for each query (key, at), from events strictly before `at`."""
    found = find(columns, events, events.find(keys), np.asarray(at, dtype=np.int64))
    return {name: column.floats() for name, column in found.items()}


def find(
    columns: Mapping[str, Column], events: Timeline, key_index: Ints, at: Ints
) -> dict[str, Found]:
    """The same, typed, for keys that are found already (-1: one without events)."""
    lookup = _Lookup(events, key_index, at)
    return {name: lookup.value(column) for name, column in columns.items()}


@dataclass(eq=False)
class _Lookup:
    """The places of one set of queries, found once for all its columns."""

    events: Timeline
    key_index: Ints
    at: Ints

    def __post_init__(self) -> None:
        unknown = self.key_index == UNKNOWN
        known = np.maximum(self.key_index, 0)
        self.first = np.where(unknown, 0, self.events.starts[known])
        self.end = np.where(unknown, 0, self.events.positions(self.key_index, self.at))
        self.empty = self.end == self.first
        self._starts: dict[str | None, Ints] = {None: self.first}
        self._having: dict[str, _Lookup] = {}

    def start(self, over: str | None) -> Ints:
        if over not in self._starts:
            opens = self.at - (duration(over) if over else 0)
            found = self.events.positions(self.key_index, opens)
            self._starts[over] = np.clip(found, self.first, self.end)
        return self._starts[over]

    def of(self, name: str) -> _Lookup:
        """The same queries to the events that have a field."""
        if name not in self._having:
            events = self.events.having(name)
            same = events is self.events
            self._having[name] = self if same else _Lookup(events, self.key_index, self.at)
        return self._having[name]

    def value(self, column: Column) -> Found:
        match column:
            case Count(over, None):
                return Found(self.end - self.start(over))
            case Count(over, str() as name):
                return self.of(name).value(Count(over))
            case Occasions(over):
                # A window may open between two events of one moment only at its own edge, and
                # both then lie on the same side: the prefix of "new moment" marks is exact.
                prefix = self.events.once("occasions", lambda: _occasions(self.events))
                return Found(prefix[self.end] - prefix[self.start(over)])
            case Sum(name, over):
                return self.of(name)._sum(name, over)
            case Mean(name, over):
                return quotient(self.value(Sum(name, over)), self.value(Count(over, name)))
            case Min(name, over) | Max(name, over):
                return self.of(name)._extreme(name, over, least=isinstance(column, Min))
            case Distinct(name, over, _):
                having = self.of(name)
                return Found(windows.distinct(having.events, name, having.start(over), having.end))
            case First(name):
                having = self.of(name)
                return having._at_event(having.events.fields[name], having.first)
            case Last(name, None, over):
                having = self.of(name)
                found = having._at_event(having.events.fields[name], having.end - 1)
                return found._replace(missing=having.end == having.start(over))
            case Last(name, int() as n, over):
                return self.of(name)._last(name, n, over)
            case Since():
                return self._days(self.end - 1)
            case Age():
                return self._days(self.first)
            case Interval():
                return self._interval()
            case Decayed(half_life, name):
                having = self if name is None else self.of(name)
                return having._decayed(half_life, name)
            case Ratio(numerator, denominator):
                return quotient(self.value(numerator), self.value(denominator))
            case By(inner, name):
                return self._by(inner, name)
        raise TypeError(f"no column: {column!r}")

    def _sum(self, name: str, over: str | None) -> Found:
        total, rest = self.events.once(("sum", name), lambda: prefixes(self.events.fields[name]))
        start = self.start(over)
        found = total[self.end] - total[start]
        if rest is not None:
            found = found + (rest[self.end] - rest[start])
        return Found(np.where(self.end == start, 0, found))

    def _extreme(self, name: str, over: str | None, *, least: bool) -> Found:
        start = self.start(over)
        values = windows.extreme(self.events.fields[name], start, self.end, least=least)
        return Found(values, self.end == start)

    def _at_event(self, values: Numbers, position: Ints) -> Found:
        """`values` at an event's position; missing for a key with no event before `at`."""
        if len(values) == 0:
            return Found(np.zeros(len(position), dtype=values.dtype), self.empty)
        return Found(values[np.where(self.empty, 0, position)], self.empty)

    def _last(self, name: str, n: int, over: str | None) -> Found:
        start = np.maximum(self.start(over), self.end - n)
        rows = rows_of(start, self.end)
        offsets = np.concatenate([[0], np.cumsum(self.end - start)])
        return Found(self.events.fields[name][rows], offsets=offsets)

    def _days(self, position: Ints) -> Found:
        moment = self._at_event(self.events.at, position)
        return Found((self.at - moment.values) / DAY, self.empty)

    def _interval(self) -> Found:
        gaps = np.maximum(self.value(Occasions()).values - 1, 0)
        return quotient(
            Found(self._days(self.first).values - self._days(self.end - 1).values), Found(gaps)
        )

    def _decayed(self, half_life: str, name: str | None) -> Found:
        events, span = self.events, duration(half_life)
        sums = events.once(("decayed", half_life, name), lambda: _decayed(events, span, name))
        age = self._days(self.end - 1).values
        weight = np.exp2(np.where(self.empty, 0.0, -age * (DAY / span)))
        found = self._at_event(sums, self.end - 1).values * weight
        return Found(np.where(self.empty, 0.0, found))

    def _by(self, inner: Column, name: str) -> Found:
        """A query a value of the second key, to events split by it; those without one left out."""
        having = self.events.having(name)
        split, codes = having.once(("by", name), lambda: _split(having, name))
        first = np.searchsorted(split.keys, np.maximum(self.key_index, 0) * len(codes))
        end = np.searchsorted(split.keys, (np.maximum(self.key_index, 0) + 1) * len(codes))
        rows, owner = ranges(first, np.where(self.key_index == UNKNOWN, first, end))
        lookup = _Lookup(split, rows, self.at[owner])
        there = np.flatnonzero(lookup.end > lookup.start(window_of(inner)))
        found = _Lookup(split, rows[there], self.at[owner[there]]).value(inner)
        counts = np.bincount(owner[there], minlength=len(self.at))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return Found(
            found.values, found.missing, offsets, codes[split.keys[rows[there]] % len(codes)]
        )


def quotient(numerator: Found, denominator: Found) -> Found:
    above, below = numerator.floats(), denominator.floats()
    missing = (below == 0) | np.isnan(above) | np.isnan(below)
    quotient = np.divide(above, below, out=np.full(len(above), np.nan), where=~missing)
    return Found(quotient, missing)


def prefixes(values: Numbers) -> tuple[Numbers, Floats | None]:
    """Sums up to each event, and of fractions what rounding took from each of those.

    Whole numbers: exact as long as a window's own sum fits int64 (differences wrap back).
    Fractions: ``total[i]`` is the rounded running sum, and what each addition lost is what Knuth's
    two-sum says, so the difference of two prefixes with both parts is the window's sum to a
    rounding or two, however large the sums before the window are.
    """
    total = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])
    if values.dtype.kind == "i":
        return total, None
    before, after = total[:-1], total[1:]
    added = after - before
    lost = (before - (after - added)) + (values - added)
    return total, np.concatenate([[0.0], np.cumsum(lost)])


def _occasions(events: Timeline) -> Ints:
    new = np.ones(len(events.places), dtype=np.int64)
    new[1:] = events.places[1:] != events.places[:-1]
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(new)])


def _decayed(events: Timeline, span: int, name: str | None) -> Floats:
    """Each key's decayed sum just after each event: S_i = S_(i-1) 2^(-gap / half_life) + v_i.

    A scan by doubling: after the pass of stride d, S_i covers the 2d events up to i. Nothing
    cancels but what the values themselves do (a difference of global prefixes would).
    """
    total = np.ones(len(events)) if name is None else events.fields[name].astype(np.float64)
    rate = 1.0 / span
    offset = np.arange(len(events)) - np.repeat(events.starts[:-1], np.diff(events.starts))
    stride = 1
    active = np.flatnonzero(offset >= stride)
    while len(active):
        before = active - stride
        carried = total[before] * np.exp2((events.at[before] - events.at[active]) * rate)
        total[active] += carried
        stride *= 2
        active = active[offset[active] >= stride]
    return total


def _split(events: Timeline, name: str) -> tuple[Timeline, Ints]:
    """The events by (key, value of a field), and the field's values, ascending."""
    codes, which = np.unique(events.fields[name], return_inverse=True)
    return (
        timeline(
            [events.key_index * max(len(codes), 1) + which],
            events.at,
            events.fields,
            events.valid,
        ),
        codes if len(codes) else np.zeros(1, np.int64),
    )
