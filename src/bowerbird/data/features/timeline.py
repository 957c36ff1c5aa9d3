"""Events by key and time, as arrays: where every as-of question finds its events by one search."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]
"""int64 or float64."""
Mask = npt.NDArray[np.bool_]

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Timeline:
    """Events by key and time.

    `keys` holds the distinct packed keys, ascending; the events of `keys[k]` lie at
    `starts[k]:starts[k + 1]` of `at` (microseconds) and of every array in `fields`, by time.
    `fields` are int64 or float64; `valid` says for a field which events have it (all, if it is not
    there). `places` is `key index * (number of moments + 1) + rank of the time`, ascending.
    """

    radices: tuple[int, ...]
    keys: Ints
    starts: Ints
    moments: Ints
    places: Ints
    at: Ints
    fields: Mapping[str, Numbers]
    valid: Mapping[str, Mask] = field(default_factory=dict)
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.at)

    @property
    def key_index(self) -> Ints:
        """Which key each event is of."""
        return np.repeat(np.arange(len(self.keys)), np.diff(self.starts))

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
            return np.full(len(packed), UNKNOWN, dtype=np.int64)
        index[index == len(self.keys)] = 0
        return np.where(self.keys[index] == packed, index, UNKNOWN)

    def having(self, name: str) -> Timeline:
        """Only the events in which a field has a value; the keys stay numbered as they are."""
        mask = self.valid.get(name)
        if mask is None:
            return self
        found: Timeline = self.once(("having", name), lambda: self._having(name, mask))
        return found

    def _having(self, name: str, mask: Mask) -> Timeline:
        ends = np.concatenate([[0], np.cumsum(mask)])
        return Timeline(
            radices=self.radices,
            keys=self.keys,
            starts=ends[self.starts],
            moments=self.moments,
            places=self.places[mask],
            at=self.at[mask],
            fields={other: values[mask] for other, values in self.fields.items()},
            valid={other: it[mask] for other, it in self.valid.items() if other != name},
        )

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What is derived from the events and asked for again and again: made once."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


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
    packed[~valid] = UNKNOWN
    return packed


def timeline(
    keys: Sequence[npt.ArrayLike],
    at: npt.ArrayLike,
    fields: Mapping[str, npt.ArrayLike] | None = None,
    valid: Mapping[str, npt.ArrayLike] | None = None,
) -> Timeline:
    """Sort events by (key, at), keeping the given order among equals.

    `keys`: one array of whole numbers >= 0 for each part of the key; `at`: int64 microseconds.
    `fields`: whole numbers stay whole. `valid`: which events have a field; a number that is not
    finite is none either.
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
    numbers = {name: as_numbers(values)[order] for name, values in (fields or {}).items()}
    known = {name: np.asarray(mask, dtype=bool)[order] for name, mask in (valid or {}).items()}
    for name, values in numbers.items():
        if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
            known[name] = known[name] & finite if name in known else finite
    return Timeline(
        radices=radices,
        keys=distinct,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        moments=moments,
        places=places[order],
        at=times[order],
        fields=numbers,
        valid={name: mask for name, mask in known.items() if not mask.all()},
    )


def as_numbers(values: npt.ArrayLike) -> Numbers:
    """Whole numbers and truth as int64, all else as float64."""
    array = np.asarray(values)
    return array.astype(np.int64 if array.dtype.kind in "iub" else np.float64, copy=False)


def ranges(start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """All rows of many ranges in one array, and the index of the range that each came from."""
    return rows_of(start, end), np.repeat(np.arange(len(start)), end - start)


def rows_of(start: Ints, end: Ints) -> Ints:
    """All rows of many ranges in one array."""
    length = end - start
    return np.arange(int(length.sum())) + np.repeat(end - np.cumsum(length), length)
