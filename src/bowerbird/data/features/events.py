"""Arrow at the edge: a source's rows as a timeline, answers as typed columns.

Keys and texts become numbers on the way in and come back on the way out; what is between
(`timeline`, `asof`) knows numbers only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bowerbird.core.errors import UserError
from bowerbird.data.features import asof
from bowerbird.data.features.columns import (
    By,
    Column,
    Count,
    Decayed,
    Distinct,
    First,
    Last,
    Max,
    Mean,
    Min,
    Occasions,
    Sum,
    fields_of,
    walk,
)
from bowerbird.data.features.timeline import (
    UNKNOWN,
    Ints,
    Mask,
    Numbers,
    Timeline,
    timeline,
)
from bowerbird.lake.arrays import one_piece

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa


class Events(msgspec.Struct, frozen=True, eq=False):
    """A group's events, ready to be asked.

    names: of each part of the key, the values in the order of their numbers. types: of each field.
    texts: of a field that is no number, the values in the order of their numbers.
    """

    key: tuple[str, ...]
    line: Timeline
    names: tuple[pa.Array, ...]
    types: dict[str, pa.DataType]
    texts: dict[str, pa.Array]

    def find(self, asked: pa.Table) -> Ints:
        """Each asked row's key as a place in the timeline; -1 for a key without events, or null."""
        parts = [
            numbered(asked[column], column, values)
            for column, values in zip(self.key, self.names, strict=True)
        ]
        return self.line.find(parts)


def events_of(
    rows: pa.Table, key: Sequence[str], at: str, columns: Mapping[str, Column], known_at: str = ""
) -> Events:
    """A source's rows by key and time. Rows with a null in their key or time are of nobody.

    known_at: the column that says when a row could be read; a row counts from the later of the two
      moments on, and ages from there (docs/decisions/0015).
    """
    fields = sorted({name for column in columns.values() for name in fields_of(column)})
    lacking = [name for name in (*key, at, *fields) if name not in rows.column_names]
    if lacking:
        raise UserError(
            f"the events have no column {lacking[0]!r}",
            expected=f"one of: {', '.join(rows.column_names)}",
        )
    rows, moments = counted_from(rows, key, at, known_at)
    coded = [_coded(rows[name]) for name in key]
    numbers: dict[str, Numbers] = {}
    valid: dict[str, Mask] = {}
    texts: dict[str, pa.Array] = {}
    for name in fields:
        numbers[name], mask, values = numbers_of(rows[name], name)
        if mask is not None:
            valid[name] = mask
        if values is not None:
            texts[name] = values
    _check(columns, {name: rows.schema.field(name).type for name in fields}, texts)
    return Events(
        key=tuple(key),
        line=timeline([codes for codes, _ in coded], moments, numbers, valid),
        names=tuple(values for _, values in coded),
        types={name: rows.schema.field(name).type for name in fields},
        texts=texts,
    )


def counted_from(
    rows: pa.Table, key: Sequence[str], at: str, known_at: str = ""
) -> tuple[pa.Table, Ints]:
    """The rows that are somebody's, and the moment (microseconds) from which each counts."""
    import pyarrow.compute as pc

    for name in (*key, at, *([known_at] if known_at else [])):
        if rows[name].null_count:
            rows = rows.filter(pc.is_valid(rows[name]))
    moments = microseconds(rows[at])
    return rows, np.maximum(moments, microseconds(rows[known_at])) if known_at else moments


def values(
    columns: Mapping[str, Column], events: Events, asked: pa.Table, at: str = "at"
) -> pa.Table:
    """A column a feature, in the order of the asked rows, each strictly before its row's `at`.

    asked: the key's columns by the events' names, and `at` (a row without a time sees nothing).
    """
    import pyarrow as pa

    place, moments = events.find(asked), microseconds(asked[at].fill_null(0))
    if asked[at].null_count:
        place = np.where(asked[at].is_valid().to_numpy(), place, UNKNOWN)
    found = asof.find(columns, events.line, place, moments)
    made = {
        name: arrow(columns[name], answer, events.types, events.texts)
        for name, answer in found.items()
    }
    return pa.table(made) if made else asked.select([])


def type_of(column: Column, types: Mapping[str, pa.DataType]) -> pa.DataType:
    """The Arrow type of a column's values, from those of the fields."""
    import pyarrow as pa
    import pyarrow.types as at

    match column:
        case Count() | Occasions() | Distinct():
            return pa.int64()
        case Sum(name, _):
            whole = at.is_integer(types[name]) or at.is_boolean(types[name])
            return pa.int64() if whole else pa.float64()
        case Min(name, _) | Max(name, _) | First(name) | Last(name, None, _):
            return _kept_as(types[name])
        case Last(name, _, _):
            return pa.list_(_kept_as(types[name]))
        case By(inner, name):
            return pa.map_(_kept_as(types[name]), type_of(inner, types))
    return pa.float64()


def arrow(
    column: Column,
    found: asof.Found,
    types: Mapping[str, pa.DataType],
    texts: Mapping[str, pa.Array],
) -> pa.Array:
    """An answer as Arrow, of fields of these types, whose numbers stand for these texts."""
    import pyarrow as pa

    kind = type_of(column, types)
    if isinstance(column, By):
        items = _array(column.column, found, texts, kind.item_type)
        keys = _texts(column.by, found.keys, None, texts, kind.key_type)
        return pa.MapArray.from_arrays(_offsets(found.offsets), keys, items, type=kind)
    if found.offsets is not None:
        values = _array(column, found, texts, kind.value_type)
        return pa.ListArray.from_arrays(_offsets(found.offsets), values, type=kind)
    return _array(column, found, texts, kind)


def _offsets(offsets: Ints | None) -> pa.Array:
    import pyarrow as pa

    assert offsets is not None  # noqa: S101 - only asked for lists and maps
    if len(offsets) and int(offsets[-1]) > np.iinfo(np.int32).max:
        raise UserError(
            f"{int(offsets[-1]):,} entries of lists in one block of rows, more than Arrow's 2^31",
            expected="shorter lists (n=…, a window), or fewer rows at once",
        )
    return pa.array(offsets.astype(np.int32))


def _array(
    column: Column, found: asof.Found, texts: Mapping[str, pa.Array], kind: pa.DataType
) -> pa.Array:
    import pyarrow as pa

    match column:
        case Min(name, _) | Max(name, _) | First(name) | Last(name, _, _):
            return _texts(name, found.values, found.missing, texts, kind)
    return pa.array(found.values, mask=found.missing).cast(kind)


def _texts(
    name: str,
    numbers: Numbers | None,
    missing: Mask | None,
    texts: Mapping[str, pa.Array],
    kind: pa.DataType,
) -> pa.Array:
    """A field's values back from their numbers."""
    import pyarrow as pa

    array = pa.array(numbers, mask=missing)
    if name in texts:
        if not len(texts[name]):
            return pa.nulls(len(array), kind)
        return texts[name].take(array).cast(kind)
    if pa.types.is_temporal(kind) and kind.bit_width == 32:
        return array.cast(pa.int32()).cast(kind)
    return array.cast(kind)


def _kept_as(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa
    import pyarrow.types as at

    if at.is_decimal(kind):
        return pa.float64()
    if at.is_dictionary(kind):
        return kind.value_type
    return pa.timestamp("us", kind.tz) if at.is_timestamp(kind) else kind


def microseconds(column: pa.Array | pa.ChunkedArray) -> Ints:
    """A column of times, none null, as int64 microseconds since 1970, UTC.

    Raises `UserError` for another type.
    """
    import pyarrow as pa

    array = one_piece(column)
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("us"))
    if not pa.types.is_timestamp(array.type):
        raise UserError(
            f"a column of {array.type} where times are wanted",
            expected="timestamptz, or a date",
        )
    exact = array.cast(pa.timestamp("us", tz=array.type.tz), safe=False).cast(pa.int64())
    return np.asarray(exact.to_numpy(zero_copy_only=False), dtype=np.int64)


def _coded(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """A column's values numbered densely, and the values by number; nulls are numbered 0."""
    import pyarrow as pa

    coded = one_piece(column)
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
    return np.asarray(coded.indices.fill_null(0), dtype=np.int64), coded.dictionary


def numbered(column: pa.ChunkedArray, name: str, values: pa.Array | pa.ChunkedArray) -> Ints:
    """The place of each value of a key's part among `values`, the first one; -1: nowhere, or null.

    Raises `UserError` for a number that would be looked for among texts, or the reverse.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    one, other = column.type, values.type
    if one != other:
        if pa.types.is_integer(one) != pa.types.is_integer(other):
            raise UserError(
                f"key {name!r} is {one} where it is asked for, and {other} where it is found",
                expected="one type on both sides",
                fix=f"declare {name!r} alike in both tables",
            )
        column = column.cast(other, safe=False) if not pa.types.is_integer(one) else column
        if pa.types.is_integer(one):
            column, values = column.cast(pa.int64()), values.cast(pa.int64())
    place = pc.index_in(column, value_set=values, skip_nulls=True).fill_null(UNKNOWN)
    return np.asarray(place.to_numpy(), dtype=np.int64)


def numbers_of(column: pa.ChunkedArray, name: str) -> tuple[Numbers, Mask | None, pa.Array | None]:
    """A field as numbers; which events have it; and what the numbers stand for, if for texts."""
    import pyarrow as pa
    import pyarrow.types as at

    mask = column.is_valid().to_numpy() if column.null_count else None
    kind = column.type
    if at.is_integer(kind) or at.is_boolean(kind):
        return np.asarray(column.cast(pa.int64()).fill_null(0).to_numpy()), mask, None
    if at.is_floating(kind) or at.is_decimal(kind):
        return np.asarray(column.cast(pa.float64()).fill_null(0.0).to_numpy()), mask, None
    if at.is_temporal(kind):
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        if at.is_timestamp(kind):
            column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
        whole = column.cast(width).cast(pa.int64()).fill_null(0)
        return np.asarray(whole.to_numpy()), mask, None
    if at.is_nested(kind):
        raise UserError(
            f"field {name!r} is a {kind}: columns are computed from single values",
            expected="numbers, times, texts",
        )
    numbers, texts = _coded(column)
    # Numbered in order, so that maps by it come in the order of its values.
    order = _order(texts)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return (rank[numbers] if len(rank) else numbers), mask, texts.take(pa.array(order))


def _order(texts: pa.Array) -> Ints:
    import pyarrow.compute as pc

    return np.asarray(pc.array_sort_indices(texts).to_numpy(), dtype=np.int64)


def _check(
    columns: Mapping[str, Column], types: Mapping[str, pa.DataType], texts: Mapping[str, Any]
) -> None:
    """Numbers are asked of fields that have them."""
    for name, column in columns.items():
        for part in walk(column):
            field = part.field if isinstance(part, (Sum, Mean, Decayed, Min, Max)) else None
            if field in texts:
                raise UserError(
                    f"column {name!r} is a {type(part).__name__} of {field!r}, which is "
                    f"{types[str(field)]}",
                    expected="a field of numbers; Count, Distinct, First, Last take any",
                )
