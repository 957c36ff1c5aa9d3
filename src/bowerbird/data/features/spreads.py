"""Spreads: how a column's values are distributed, in little room, and mergeable.

Of numbers: quantiles and how many are distinct. Of names: the frequent ones and how many are
distinct. Each in two forms that answer the same questions: *counted*, exact, which grows with the
distinct values and is the reference; and *sketched* (Apache DataSketches), a few kilobytes whatever
comes. A sketch of few values is exact. A merge of sketches has the error of one.

The errors, of `sketched`:

- a quantile's rank (KLL, k = 200): within 0.0133 in 99 of 100 cases, of any number of rows;
  exact up to 200 of them. Z. Karnin, K. Lang, E. Liberty, 2016.
- distinct (HyperLogLog, 4,096 registers): 1.6 % in the standard deviation, so 5 % almost always.
- a frequent value's count (lossy counting, 1,536 counters): never below the true one, and above it
  by at most 0.17 % of the rows; exact up to 1,536 distinct values. D. Anderson et al., 2017.

KLL flips coins of its own: two sketches of the same rows may differ, within the error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.core.errors import SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]

LONGEST_NAME = 100
"""Letters of a name that a sketch keeps; longer ones that begin alike are counted as one."""
RANK_ERROR = 0.0133
DISTINCT_ERROR = 0.05
FREQUENT_ERROR = 0.0018
_K, _LG_REGISTERS, _LG_COUNTERS = 200, 12, 11
_EMPTY = "\0"  # the library counts an empty text as no value


class NumberSketch(msgspec.Struct, frozen=True, tag="sketch"):
    """quantiles: a KLL sketch. distinct: a HyperLogLog sketch."""

    quantiles: bytes
    distinct: bytes


class NumberCounts(msgspec.Struct, frozen=True, tag="counts"):
    """Distinct values, ascending, and how often each is there."""

    values: tuple[float, ...]
    counts: tuple[int, ...]


class NameSketch(msgspec.Struct, frozen=True, tag="sketch"):
    """frequent: a sketch of frequent items. distinct: a HyperLogLog sketch."""

    frequent: bytes
    distinct: bytes


class NameCounts(msgspec.Struct, frozen=True, tag="counts"):
    """Every value, and how often it is there."""

    counts: dict[str, int]


NumberSpread = NumberSketch | NumberCounts
NameSpread = NameSketch | NameCounts


# -- made ----------------------------------------------------------------------------------------


def sketched_numbers(values: Floats) -> NumberSketch:
    """Of finite values."""
    library = _library()
    quantiles, distinct = library.kll_doubles_sketch(_K), library.hll_sketch(_LG_REGISTERS)
    quantiles.update(np.ascontiguousarray(values, dtype=np.float64))
    for value in np.unique(values).tolist():
        distinct.update(value)
    return NumberSketch(quantiles.serialize(), distinct.serialize_compact())


def counted_numbers(values: Floats) -> NumberCounts:
    """Of finite values."""
    distinct, counts = np.unique(values, return_counts=True)
    return NumberCounts(tuple(distinct.tolist()), tuple(counts.tolist()))


def sketched_names(values: pa.Array) -> NameSketch:
    """Of texts without nulls."""
    import pyarrow.compute as pc

    library = _library()
    frequent = library.frequent_strings_sketch(_LG_COUNTERS)
    distinct = library.hll_sketch(_LG_REGISTERS)
    for value in pc.unique(values).to_pylist():
        distinct.update(value or _EMPTY)
    for value, count in _tallied(pc.utf8_slice_codeunits(values, 0, LONGEST_NAME)):
        frequent.update(value, count)
    return NameSketch(frequent.serialize(), distinct.serialize_compact())


def counted_names(values: pa.Array) -> NameCounts:
    """Of texts without nulls."""
    return NameCounts(dict(_tallied(values)))


def _tallied(values: pa.Array) -> Iterable[tuple[str, int]]:
    import pyarrow.compute as pc

    tally = pc.value_counts(values)
    return zip(tally.field("values").to_pylist(), tally.field("counts").to_pylist(), strict=True)


# -- merged --------------------------------------------------------------------------------------


def merged_numbers(parts: Sequence[NumberSpread]) -> NumberSpread:
    """The spread of all values together. Counts and sketches give a sketch."""
    if all(isinstance(part, NumberCounts) for part in parts):
        tally: Counter[float] = Counter()
        for part in parts:
            if isinstance(part, NumberCounts):
                tally.update(dict(zip(part.values, part.counts, strict=True)))
        values = sorted(tally)
        return NumberCounts(tuple(values), tuple(tally[value] for value in values))
    library = _library()
    quantiles = library.kll_doubles_sketch(_K)
    distinct = library.hll_union(_LG_REGISTERS)
    for part in parts:
        one = part if isinstance(part, NumberSketch) else sketched_numbers(_repeated(part))
        quantiles.merge(library.kll_doubles_sketch.deserialize(one.quantiles))
        distinct.update(library.hll_sketch.deserialize(one.distinct))
    return NumberSketch(quantiles.serialize(), _compact(distinct))


def merged_names(parts: Sequence[NameSpread]) -> NameSpread:
    """The spread of all values together. Counts and sketches give a sketch."""
    if all(isinstance(part, NameCounts) for part in parts):
        tally: Counter[str] = Counter()
        for part in parts:
            if isinstance(part, NameCounts):
                tally.update(part.counts)
        return NameCounts(dict(tally))
    library = _library()
    frequent = library.frequent_strings_sketch(_LG_COUNTERS)
    distinct = library.hll_union(_LG_REGISTERS)
    for part in parts:
        if isinstance(part, NameCounts):
            for value, count in part.counts.items():
                frequent.update(value[:LONGEST_NAME], count)
                distinct.update(value or _EMPTY)
        else:
            frequent.merge(library.frequent_strings_sketch.deserialize(part.frequent))
            distinct.update(library.hll_sketch.deserialize(part.distinct))
    return NameSketch(frequent.serialize(), _compact(distinct))


def _repeated(part: NumberCounts) -> Floats:
    return np.repeat(np.array(part.values, dtype=np.float64), part.counts)


def _compact(union: Any) -> bytes:
    # The smallest form, which a sketch that was never merged has too.
    made: bytes = union.get_result(_library().tgt_hll_type.HLL_4).serialize_compact()
    return made


# -- asked ---------------------------------------------------------------------------------------


def quantiles(spread: NumberSpread, ranks: Sequence[float]) -> Floats:
    """The values at ranks from 0 to 1, (len(ranks),); none of nothing.

    A quantile is a value that is there: the least one with at least that share at or below it.
    """
    if isinstance(spread, NumberCounts):
        if not spread.values:
            return np.empty(0)
        upto = np.cumsum(spread.counts)
        # A rank of 0.3 of 10 rows is the third, and in binary a little more than that.
        place = np.searchsorted(upto, np.asarray(ranks) * upto[-1] * (1 - 1e-12), side="left")
        values = np.array(spread.values, dtype=np.float64)
        return np.asarray(values[np.minimum(place, len(upto) - 1)])
    sketch = _kll(spread)
    if sketch.is_empty():
        return np.empty(0)
    return np.array(sketch.get_quantiles(list(ranks), True), dtype=np.float64)


def masses(spread: NumberSpread, edges: Sequence[float] | Floats) -> Floats:
    """How many values are in each bin, (len(edges) + 1,): a bin holds its lower edge."""
    if isinstance(spread, NumberCounts):
        place = np.searchsorted(np.asarray(edges), np.array(spread.values), side="right")
        binned = np.bincount(place, weights=spread.counts, minlength=len(edges) + 1)
        return np.asarray(binned, dtype=np.float64)
    sketch = _kll(spread)
    if sketch.is_empty():
        return np.zeros(len(edges) + 1)
    if not len(edges):
        return np.array([sketch.n], dtype=np.float64)
    return np.array([share * sketch.n for share in sketch.get_pmf(list(edges), False)])


def below(spread: NumberSpread, points: Sequence[float] | Floats) -> Floats:
    """The share of values at or below each point, (len(points),); none of nothing."""
    if isinstance(spread, NumberCounts):
        if not spread.values:
            return np.empty(0)
        upto = np.concatenate([[0], np.cumsum(spread.counts)])
        places = np.searchsorted(np.array(spread.values), np.asarray(points), side="right")
        return np.asarray(upto[places] / upto[-1], dtype=np.float64)
    sketch = _kll(spread)
    if sketch.is_empty():
        return np.empty(0)
    return np.array([sketch.get_rank(point, True) for point in points], dtype=np.float64)


def distinct(spread: NumberSpread | NameSpread) -> float:
    """About how many distinct values there are."""
    if isinstance(spread, NumberCounts):
        return float(len(spread.values))
    if isinstance(spread, NameCounts):
        return float(len(spread.counts))
    found: float = _library().hll_sketch.deserialize(spread.distinct).get_estimate()
    return found


def top(spread: NameSpread, most: int = 10) -> tuple[tuple[str, int], ...]:
    """The most frequent values with their counts, at most; most frequent first, then by name.

    Of a sketch, only values that surely are more frequent than any that it forgot.
    """
    found: Iterable[tuple[str, int]]
    if isinstance(spread, NameCounts):
        found = spread.counts.items()
    else:
        library = _library()
        sketch = library.frequent_strings_sketch.deserialize(spread.frequent)
        sure = library.frequent_items_error_type.NO_FALSE_POSITIVES
        found = [(name, high) for name, _, _, high in sketch.get_frequent_items(sure)]
    return tuple(sorted(found, key=lambda one: (-one[1], one[0]))[:most])


def counts(spread: NameSpread, names: Iterable[str]) -> Mapping[str, int]:
    """How often each of some values is there, at most."""
    if isinstance(spread, NameCounts):
        return {name: spread.counts.get(name, 0) for name in names}
    sketch = _library().frequent_strings_sketch.deserialize(spread.frequent)
    return {name: sketch.get_estimate(name[:LONGEST_NAME]) for name in names}


def _kll(spread: NumberSketch) -> Any:
    return _library().kll_doubles_sketch.deserialize(spread.quantiles)


def _library() -> Any:
    try:
        import datasketches
    except ImportError as error:
        raise SettingsError(
            "statistics of columns need the library datasketches",
            fix="pip install 'bowerbird[sketches]'",
        ) from error
    return datasketches
