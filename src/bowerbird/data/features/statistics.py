"""Statistics of a column, by its kind: computed a batch at a time, kept a partition, merged.

kinds = kinds_of(rows.schema)
july = summarise(rows, kinds)["spend_30d"]
summer = merged([june, july, august])
summer.coverage, summer.detail.mean, quantiles(summer.detail.spread, [0.5])

`summarise` keeps sketches (see `spreads`); `summarise_exactly` keeps every distinct value, and is
the reference: all but the spread is computed by the same code. Means and variances are merged by
T. Chan, G. Golub, R. LeVeque, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.data.features import spreads
from bowerbird.data.features.kinds import Kind, kinds_of
from bowerbird.data.features.spreads import NameSpread, NumberSpread

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]

_TOGETHER = 64
"""So many batches' statistics are held before they are merged into one."""


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """Of numbers. low, high, mean, squares and the spread are of the finite ones alone.

    squares: the sum of squared distances from the mean. zeros: how many of the finite are 0.
    """

    finite: int
    nan: int
    infinite: int
    zeros: int
    low: float | None
    high: float | None
    mean: float
    squares: float
    spread: NumberSpread

    @property
    def std(self) -> float:
        """The standard deviation of a sample (n - 1); NaN of fewer than two values."""
        return math.sqrt(self.squares / (self.finite - 1)) if self.finite > 1 else math.nan


class Names(msgspec.Struct, frozen=True, tag="names"):
    """Of ids and categories, as text. empty: how many are the empty text."""

    values: int
    empty: int
    spread: NameSpread


class Vectors(msgspec.Struct, frozen=True, tag="vectors"):
    """Of embeddings. dimensions: dimension -> how many have it.

    zero: vectors of zeros alone. broken: those with a part that is null, NaN or infinite. norms:
    Euclidean, of the others. center: their mean, part by part; empty if dimensions differ.
    """

    values: int
    dimensions: dict[int, int]
    zero: int
    broken: int
    norms: Numbers
    center: tuple[float, ...]


class Lists(msgspec.Struct, frozen=True, tag="lists"):
    """Of sequences. empty: how many have no element. lacking: elements that are null.

    elements: statistics of all elements of all sequences; None for structs and lists.
    """

    values: int
    empty: int
    lacking: int
    lengths: Numbers
    elements: Numbers | Names | None


Detail = Numbers | Names | Vectors | Lists


class Statistics(msgspec.Struct, frozen=True):
    """Of one column. type: Arrow's name of it. nulls: rows without a value."""

    column: str
    kind: Kind
    type: str
    rows: int
    nulls: int
    detail: Detail

    @property
    def filled(self) -> int:
        """Rows with a value: not null, not NaN."""
        nan = self.detail.nan if isinstance(self.detail, Numbers) else 0
        return self.rows - self.nulls - nan

    @property
    def covered(self) -> int:
        """Rows with a value that says something: not 0, not "", no vector of zeros, not empty."""
        match self.detail:
            case Numbers(zeros=default) | Names(empty=default) | Lists(empty=default):
                return self.filled - default
            case Vectors(zero=zero):
                return self.filled - zero

    @property
    def nulls_share(self) -> float:
        """The share of rows that are null or NaN; NaN of no rows."""
        return 1 - self.filled / self.rows if self.rows else math.nan

    @property
    def coverage(self) -> float:
        """The share of rows that are `covered`; NaN of no rows."""
        return self.covered / self.rows if self.rows else math.nan


class Spreads(msgspec.Struct, frozen=True):
    """How spreads are made: two functions, of finite floats and of texts without nulls."""

    of_numbers: Callable[[Floats], NumberSpread]
    of_names: Callable[[Any], NameSpread]


SKETCHED = Spreads(spreads.sketched_numbers, spreads.sketched_names)
COUNTED = Spreads(spreads.counted_numbers, spreads.counted_names)


def summarise(
    rows: pa.Table | Iterable[pa.RecordBatch], kinds: Mapping[str, Kind] | None = None
) -> dict[str, Statistics]:
    """Column -> its statistics, by sketches: a few kilobytes a column.

    kinds: those that are declared; the others are guessed. Raises `SpecError` for a kind that does
    not fit, or a type that has none.
    """
    return _summarised(rows, kinds, SKETCHED)


def summarise_exactly(
    rows: pa.Table | Iterable[pa.RecordBatch], kinds: Mapping[str, Kind] | None = None
) -> dict[str, Statistics]:
    """Column -> its statistics, with every distinct value counted."""
    return _summarised(rows, kinds, COUNTED)


def merged(parts: Iterable[Statistics]) -> Statistics:
    """The statistics of all rows of several partitions of a column; at least one.

    Raises `ValueError` for parts of another column or kind.
    """
    given = list(parts)
    first = given[0]
    if any((one.column, one.kind) != (first.column, first.kind) for one in given):
        named = sorted({f"{one.column} ({one.kind})" for one in given})
        raise ValueError(f"statistics of {', '.join(named)} are not of one column")
    if len(given) == 1:
        return first
    return Statistics(
        column=first.column,
        kind=first.kind,
        type=first.type,
        rows=sum(one.rows for one in given),
        nulls=sum(one.nulls for one in given),
        detail=_merged([one.detail for one in given]),
    )


def merged_columns(parts: Iterable[Mapping[str, Statistics]]) -> dict[str, Statistics]:
    """`merged`, column by column; a column that a part lacks is merged from the others."""
    found: dict[str, list[Statistics]] = {}
    for part in parts:
        for name, one in part.items():
            found.setdefault(name, []).append(one)
    return {name: merged(ones) for name, ones in found.items()}


def encode(statistics: Mapping[str, Statistics]) -> bytes:
    """As they are kept: MessagePack."""
    return msgspec.msgpack.encode(list(statistics.values()))


def decode(kept: bytes) -> dict[str, Statistics]:
    """What `encode` was given."""
    return {one.column: one for one in msgspec.msgpack.decode(kept, type=tuple[Statistics, ...])}


# -- computed ------------------------------------------------------------------------------------


def _summarised(
    rows: pa.Table | Iterable[pa.RecordBatch], declared: Mapping[str, Kind] | None, how: Spreads
) -> dict[str, Statistics]:
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        schema, batches = rows.schema, rows.to_batches(max_chunksize=1 << 20)
        first = [pa.RecordBatch.from_pylist([], schema=schema)]
        batches = batches or first
    else:
        batches = rows
    held: list[dict[str, Statistics]] = []
    kinds: dict[str, Kind] = {}
    for batch in batches:
        kinds = kinds or kinds_of(batch.schema, declared)
        held.append({name: of(name, batch.column(name), kinds[name], how) for name in kinds})
        if len(held) == _TOGETHER:
            held = [merged_columns(held)]
    return merged_columns(held)


def of(name: str, values: pa.Array, kind: Kind, how: Spreads = SKETCHED) -> Statistics:
    """The statistics of one column's values."""
    type_ = str(values.type)
    values = plain(values)
    present = values.drop_null()
    match kind:
        case Kind.COUNT | Kind.REAL:
            detail: Detail = _numbers(_floats(present), how)
        case Kind.ID | Kind.CATEGORY:
            detail = _names(present, how)
        case Kind.EMBEDDING:
            detail = _vectors(present, how)
        case Kind.SEQUENCE:
            detail = _lists(present, how)
    return Statistics(name, kind, type_, len(values), len(values) - len(present), detail)


def plain(values: pa.Array) -> pa.Array:
    """A column without dictionaries and names of types; of a map, the list of its keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        return values.dictionary_decode()
    if not pa.types.is_map(values.type):
        return values
    offsets = pa.array(values.offsets.to_numpy())  # a copy, for one that is sliced takes no mask
    return pa.ListArray.from_arrays(offsets, values.keys, mask=pc.is_null(values))


def _numbers(values: Floats, how: Spreads) -> Numbers:
    known = values[np.isfinite(values)]
    nan = int(np.isnan(values).sum())
    # Sums of the largest doubles overflow, and then say so themselves: inf.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(known.mean()) if len(known) else 0.0
        squares = float(np.square(known - mean).sum())
    return Numbers(
        finite=len(known),
        nan=nan,
        infinite=len(values) - len(known) - nan,
        zeros=int((known == 0).sum()),
        low=float(known.min()) if len(known) else None,
        high=float(known.max()) if len(known) else None,
        mean=mean,
        squares=squares,
        spread=how.of_numbers(known),
    )


def _names(present: pa.Array, how: Spreads) -> Names:
    import pyarrow.compute as pc

    texts = _texts(present)
    empty = pc.sum(pc.equal(texts, "")).as_py() or 0
    return Names(values=len(texts), empty=empty, spread=how.of_names(texts))


def _vectors(present: pa.Array, how: Spreads) -> Vectors:
    lengths, parts = _unfolded(present)
    values = _floats(parts)
    starts = np.cumsum(lengths) - lengths
    real = lengths > 0  # reduceat gives an empty one its neighbour's
    sound, squares = np.ones(len(lengths), dtype=bool), np.zeros(len(lengths))
    if real.any():
        with np.errstate(over="ignore", invalid="ignore"):
            sound[real] = np.logical_and.reduceat(np.isfinite(values), starts[real])
            squares[real] = np.add.reduceat(np.square(values), starts[real])
    dimensions, counts = np.unique(lengths, return_counts=True)
    center: tuple[float, ...] = ()
    if len(dimensions) == 1 and sound.any():
        matrix = values.reshape(len(lengths), int(dimensions[0]))
        with np.errstate(over="ignore", invalid="ignore"):
            center = tuple(matrix[sound].mean(axis=0).tolist())
    norms = np.sqrt(squares[sound])
    return Vectors(
        values=len(lengths),
        dimensions=dict(zip(dimensions.tolist(), counts.tolist(), strict=True)),
        zero=int((norms == 0).sum()),
        broken=int((~sound).sum()),
        norms=_numbers(norms, how),
        center=center,
    )


def _lists(present: pa.Array, how: Spreads) -> Lists:
    import pyarrow.types as at

    lengths, parts = _unfolded(present)
    known = parts.drop_null()
    elements: Numbers | Names | None = None
    if at.is_dictionary(known.type):
        known = known.dictionary_decode()
    if at.is_floating(known.type) or at.is_decimal(known.type) or at.is_temporal(known.type):
        elements = _numbers(_floats(known), how)
    elif not at.is_nested(known.type):
        elements = _names(known, how)
    return Lists(
        values=len(lengths),
        empty=int((lengths == 0).sum()),
        lacking=len(parts) - len(known),
        lengths=_numbers(lengths.astype(np.float64), how),
        elements=elements,
    )


def _unfolded(present: pa.Array) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """How long each list is, and all elements in a row."""
    import pyarrow.compute as pc

    lengths = np.asarray(pc.list_value_length(present).to_numpy(zero_copy_only=False))
    return lengths.astype(np.int64), present.flatten()


def doubles(values: pa.Array) -> pa.Array:
    """A column of numbers as doubles; a moment as days since 1970."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_temporal(values.type):
        ticks, a_day = _ticks(values)
        return pc.divide(ticks.cast(pa.float64(), safe=False), float(a_day))
    return values.cast(pa.float64(), safe=False)


def _floats(values: pa.Array) -> Floats:
    """As doubles; a null as NaN."""
    return np.asarray(doubles(values).to_numpy(zero_copy_only=False), dtype=np.float64)


_A_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def _ticks(values: pa.Array) -> tuple[pa.Array, float]:
    """A moment's or a duration's whole number, and how many there are in a day."""
    import pyarrow as pa
    import pyarrow.types as at

    if at.is_date32(values.type):
        return values.cast(pa.int32()), 1
    if at.is_date64(values.type):
        return values.cast(pa.int64()), _A_DAY["ms"]
    if at.is_time32(values.type):
        return values.cast(pa.int32()), _A_DAY[values.type.unit]
    return values.cast(pa.int64()), _A_DAY[values.type.unit]


def _texts(values: pa.Array) -> pa.Array:
    """As text; bytes that are no text, in hexadecimal digits."""
    import pyarrow as pa
    import pyarrow.types as at

    kind = values.type
    if at.is_binary(kind) or at.is_large_binary(kind) or at.is_fixed_size_binary(kind):
        return pa.array([value.hex() for value in values.to_pylist()], pa.string())
    return values.cast(pa.string())


# -- merged --------------------------------------------------------------------------------------


def _merged(parts: Sequence[Detail]) -> Detail:
    match parts[0]:
        case Numbers():
            return _merged_numbers([one for one in parts if isinstance(one, Numbers)])
        case Names():
            return _merged_names([one for one in parts if isinstance(one, Names)])
        case Vectors():
            return _merged_vectors([one for one in parts if isinstance(one, Vectors)])
        case Lists():
            return _merged_lists([one for one in parts if isinstance(one, Lists)])


def _merged_numbers(parts: Sequence[Numbers]) -> Numbers:
    count, mean, squares = 0, 0.0, 0.0
    for one in parts:
        if one.finite:
            total = count + one.finite
            step = one.mean - mean
            mean += step * one.finite / total
            squares += one.squares + step * step * count * one.finite / total
            count = total
    return Numbers(
        finite=count,
        nan=sum(one.nan for one in parts),
        infinite=sum(one.infinite for one in parts),
        zeros=sum(one.zeros for one in parts),
        low=min((one.low for one in parts if one.low is not None), default=None),
        high=max((one.high for one in parts if one.high is not None), default=None),
        mean=mean,
        squares=squares,
        spread=spreads.merged_numbers([one.spread for one in parts]),
    )


def _merged_names(parts: Sequence[Names]) -> Names:
    return Names(
        values=sum(one.values for one in parts),
        empty=sum(one.empty for one in parts),
        spread=spreads.merged_names([one.spread for one in parts]),
    )


def _merged_vectors(parts: Sequence[Vectors]) -> Vectors:
    dimensions: dict[int, int] = {}
    for one in parts:
        for dimension, count in one.dimensions.items():
            dimensions[dimension] = dimensions.get(dimension, 0) + count
    center: tuple[float, ...] = ()
    sound = [(one.values - one.broken, one.center) for one in parts if one.center]
    if len(dimensions) == 1 and sound:
        weights = np.array([weight for weight, _ in sound], dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            total = weights @ np.array([at for _, at in sound], dtype=np.float64)
        center = tuple((total / weights.sum()).tolist())
    return Vectors(
        values=sum(one.values for one in parts),
        dimensions=dict(sorted(dimensions.items())),
        zero=sum(one.zero for one in parts),
        broken=sum(one.broken for one in parts),
        norms=_merged_numbers([one.norms for one in parts]),
        center=center,
    )


def _merged_lists(parts: Sequence[Lists]) -> Lists:
    elements: Numbers | Names | None = None
    known = [one.elements for one in parts if one.elements is not None]
    numbers = [one for one in known if isinstance(one, Numbers)]
    names = [one for one in known if isinstance(one, Names)]
    if numbers and not names:
        elements = _merged_numbers(numbers)
    elif names and not numbers:
        elements = _merged_names(names)
    return Lists(
        values=sum(one.values for one in parts),
        empty=sum(one.empty for one in parts),
        lacking=sum(one.lacking for one in parts),
        lengths=_merged_numbers([one.lengths for one in parts]),
        elements=elements,
    )
