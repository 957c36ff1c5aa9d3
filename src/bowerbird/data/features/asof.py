"""Columns as of a moment: the one definition that training and the online feed share.

For each query (key, at) a column sees the key's events strictly before `at`. `evaluate` is the
fast version: events are sorted by (key, at) once, a query finds its place by one binary search in
a combined integer key, and sums come from prefixes. `evaluate_reference` is the same in plain
loops; `tests/data/test_asof.py` holds the two together.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bowerbird.data.features.columns import (
    DAY,
    Age,
    Column,
    Count,
    Decayed,
    First,
    Interval,
    Last,
    Mean,
    Occasions,
    Ratio,
    Since,
    Sum,
    duration,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Timeline:
    """Events by key and time.

    `keys` holds the distinct packed keys, ascending; the events of `keys[k]` lie at
    `starts[k]:starts[k + 1]` of `at` (microseconds) and of every array in `fields`, by time.
    `places` is `key index * (number of moments + 1) + rank of the time`, ascending.
    """

    radices: tuple[int, ...]
    keys: Ints
    starts: Ints
    moments: Ints
    places: Ints
    at: Ints
    fields: Mapping[str, Floats]
    prefixes: dict[Column, Floats] = field(default_factory=dict, repr=False)

    def positions(self, key_index: Ints, at: Ints) -> Ints:
        """For each query, the number of events of smaller keys and of this key before `at`."""
        rank = np.searchsorted(self.moments, at, side="left")
        known = np.maximum(key_index, 0)
        return np.searchsorted(self.places, known * (len(self.moments) + 1) + rank, side="left")

    def find(self, keys: Sequence[npt.ArrayLike]) -> Ints:
        """The index of each queried key in `keys`, or -1 where it has no event at all."""
        packed = pack(keys, self.radices)
        index = np.searchsorted(self.keys, packed)
        if len(self.keys) == 0:
            return np.full(len(packed), _UNKNOWN, dtype=np.int64)
        index[index == len(self.keys)] = 0
        return np.where(self.keys[index] == packed, index, _UNKNOWN)


def pack(keys: Sequence[npt.ArrayLike], radices: Sequence[int]) -> Ints:
    """A composite key of whole numbers as one int64; -1 where a part is outside its radix."""
    parts = [np.asarray(part, dtype=np.int64) for part in keys]
    if len(parts) != len(radices):
        raise ValueError(f"the key has {len(radices)} parts, the query gives {len(parts)}")
    packed = np.zeros(len(parts[0]), dtype=np.int64)
    valid = np.ones(len(parts[0]), dtype=bool)
    for part, radix in zip(parts, radices, strict=True):
        valid &= (part >= 0) & (part < radix)
        packed = packed * radix + part
    packed[~valid] = _UNKNOWN
    return packed


def timeline(
    keys: Sequence[npt.ArrayLike],
    at: npt.ArrayLike,
    fields: Mapping[str, npt.ArrayLike] | None = None,
) -> Timeline:
    """Sort events by (key, at), keeping the given order among equals.

    `keys`: one array of whole numbers >= 0 for each part of the key; `at`: int64 microseconds.
    """
    parts = [np.asarray(part, dtype=np.int64) for part in keys]
    times = np.asarray(at, dtype=np.int64)
    radices = tuple(int(part.max(initial=0)) + 1 for part in parts)
    if any(part.min(initial=0) < 0 for part in parts):
        raise ValueError("a part of a key is negative; expected whole numbers from 0")
    moments, rank = np.unique(times, return_inverse=True)
    if float(np.prod([float(radix) for radix in radices])) >= 2.0**62:
        raise ValueError(f"the key's parts {radices} do not fit in 62 bits; number them densely")
    packed = pack(parts, radices)
    distinct, index = np.unique(packed, return_inverse=True)
    places = index * (len(moments) + 1) + rank
    order = np.argsort(places, kind="stable")
    counts = np.bincount(index, minlength=len(distinct))
    return Timeline(
        radices=radices,
        keys=distinct,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        moments=moments,
        places=places[order],
        at=times[order],
        fields={
            name: np.asarray(values, dtype=np.float64)[order]
            for name, values in (fields or {}).items()
        },
    )


def evaluate(
    columns: Mapping[str, Column],
    events: Timeline,
    keys: Sequence[npt.ArrayLike],
    at: npt.ArrayLike,
) -> dict[str, Floats]:
    """Each column's value for each query (key, at), from events strictly before `at`."""
    lookup = _Lookup(events, events.find(keys), np.asarray(at, dtype=np.int64))
    return {name: lookup.value(column) for name, column in columns.items()}


class _Lookup:
    """The places of one set of queries, found once for all its columns."""

    def __init__(self, events: Timeline, key_index: Ints, at: Ints) -> None:
        self.events = events
        self.at = at
        self.key_index = key_index
        unknown = key_index == _UNKNOWN
        self.first = np.where(unknown, 0, events.starts[np.maximum(key_index, 0)])
        self.end = np.where(unknown, 0, events.positions(key_index, at))
        self.empty = self.end == self.first
        self.windows: dict[str | None, Ints] = {None: self.first}

    def start(self, over: str | None) -> Ints:
        if over not in self.windows:
            opens = self.at - (duration(over) if over else 0)
            found = self.events.positions(self.key_index, opens)
            self.windows[over] = np.clip(found, self.first, self.end)
        return self.windows[over]

    def between(self, prefix: npt.NDArray[Any], over: str | None) -> Floats:
        return np.asarray(prefix[self.end] - prefix[self.start(over)], dtype=np.float64)

    def at_event(self, values: npt.NDArray[Any], position: Ints) -> Floats:
        """`values` at an event's position, NaN for a key with no event before `at`."""
        if len(values) == 0:
            return np.full(len(position), np.nan)
        return np.where(self.empty, np.nan, values[np.where(self.empty, 0, position)])

    def value(self, column: Column) -> Floats:
        match column:
            case Count(over):
                return np.asarray(self.end - self.start(over), dtype=np.float64)
            case Occasions(over):
                # A window may open between two events of one moment only at its own edge, and
                # both then lie on the same side: the prefix of "new moment" marks is exact.
                return self.between(self._prefix(column), over)
            case Sum(_, over):
                return self.between(self._prefix(column), over)
            case Mean(name, over):
                return _over(self.value(Sum(name, over)), self.value(Count(over)))
            case First(name):
                return self.at_event(self.events.fields[name], self.first)
            case Last(name):
                return self.at_event(self.events.fields[name], self.end - 1)
            case Since():
                return (self.at - self.at_event(self.events.at, self.end - 1)) / DAY
            case Age():
                return (self.at - self.at_event(self.events.at, self.first)) / DAY
            case Interval():
                gaps = np.maximum(self.value(Occasions()) - 1, 0)
                return _over(self.value(Age()) - self.value(Since()), gaps)
            case Decayed(half_life, _):
                since = np.nan_to_num(self.value(Since()))
                weight = np.exp2(-since * (DAY / duration(half_life)))
                return np.nan_to_num(self.at_event(self._prefix(column), self.end - 1)) * weight
            case Ratio(numerator, denominator):
                return _over(self.value(numerator), self.value(denominator))

    def _prefix(self, column: Occasions | Sum | Decayed) -> Floats:
        """The column's sums up to each event, whatever its window; computed once a timeline."""
        match column:
            case Occasions():
                key: Column = Occasions()
            case Sum(name):
                key = Sum(name)
            case _:
                key = column
        if key not in self.events.prefixes:
            self.events.prefixes[key] = _prefix(self.events, key)
        return self.events.prefixes[key]


def _over(numerator: Floats, denominator: Floats) -> Floats:
    missing = np.full(len(numerator), np.nan)
    quotient: Floats = np.divide(numerator, denominator, out=missing, where=denominator != 0)
    return quotient


def _prefix(events: Timeline, column: Column) -> Floats:
    match column:
        case Decayed():
            return _decayed_prefix(events, column)
        case Sum(name):
            return np.concatenate([[0.0], np.cumsum(events.fields[name])])
        case _:
            new = np.ones(len(events.places), dtype=np.float64)
            new[1:] = events.places[1:] != events.places[:-1]
            return np.concatenate([[0.0], np.cumsum(new)])


def _decayed_prefix(events: Timeline, column: Decayed) -> Floats:
    """Each key's decayed sum just after each event: S_i = S_(i-1) 2^(-gap / half_life) + v_i.

    A scan by doubling: after the pass of stride d, S_i covers the 2d events up to i. Positive
    terms only, so nothing cancels (a difference of global prefixes would).
    """
    count = len(events.at)
    if column.field is None:
        total = np.ones(count, dtype=np.float64)
    else:
        total = events.fields[column.field].copy()
    rate = 1.0 / duration(column.half_life)
    offset = np.arange(count) - np.repeat(events.starts[:-1], np.diff(events.starts))
    stride = 1
    active = np.flatnonzero(offset >= stride)
    while len(active):
        before = active - stride
        carried = total[before] * np.exp2((events.at[before] - events.at[active]) * rate)
        total[active] += carried
        stride *= 2
        active = active[offset[active] >= stride]
    return total


def evaluate_reference(
    columns: Mapping[str, Column],
    event_keys: Sequence[npt.ArrayLike],
    event_at: npt.ArrayLike,
    fields: Mapping[str, npt.ArrayLike],
    keys: Sequence[npt.ArrayLike],
    at: npt.ArrayLike,
) -> dict[str, Floats]:
    """`evaluate` as its definition reads: a loop over queries, a loop over events."""
    event_rows = list(zip(*(np.asarray(part).tolist() for part in event_keys), strict=True))
    times = np.asarray(event_at).tolist()
    # By time, keeping the given order among equals.
    order = sorted(range(len(times)), key=lambda row: times[row])
    values = {name: np.asarray(array).tolist() for name, array in fields.items()}
    query_rows = zip(*(np.asarray(part).tolist() for part in keys), strict=True)
    answers: dict[str, list[float]] = {name: [] for name in columns}
    for query, moment in zip(query_rows, np.asarray(at).tolist(), strict=True):
        seen = [row for row in order if event_rows[row] == query and times[row] < moment]
        for name, column in columns.items():
            answers[name].append(_plain(column, seen, times, values, moment))
    return {name: np.array(found, dtype=np.float64) for name, found in answers.items()}


def _plain(
    column: Column,
    seen: list[int],
    times: list[int],
    values: Mapping[str, list[float]],
    moment: int,
) -> float:
    def inside(over: str | None) -> list[int]:
        return [row for row in seen if over is None or times[row] >= moment - duration(over)]

    def divide(numerator: float, denominator: float) -> float:
        return numerator / denominator if denominator else float("nan")

    again: Callable[[Column], float] = lambda part: _plain(part, seen, times, values, moment)  # noqa: E731
    match column:
        case Count(over):
            return float(len(inside(over)))
        case Occasions(over):
            return float(len({times[row] for row in inside(over)}))
        case Sum(name, over):
            return float(sum(values[name][row] for row in inside(over)))
        case Mean(name, over):
            return divide(again(Sum(name, over)), again(Count(over)))
        case First(name):
            return float(values[name][seen[0]]) if seen else float("nan")
        case Last(name):
            return float(values[name][seen[-1]]) if seen else float("nan")
        case Since():
            return (moment - times[seen[-1]]) / DAY if seen else float("nan")
        case Age():
            return (moment - times[seen[0]]) / DAY if seen else float("nan")
        case Interval():
            moments = sorted({times[row] for row in seen})
            gaps = [(b - a) / DAY for a, b in itertools.pairwise(moments)]
            return divide(sum(gaps), len(gaps))
        case Decayed(half_life, name):
            span = duration(half_life)
            return float(
                sum(
                    (1.0 if name is None else values[name][row])
                    * 2.0 ** (-(moment - times[row]) / span)
                    for row in seen
                )
            )
        case Ratio(numerator, denominator):
            return divide(again(numerator), again(denominator))
