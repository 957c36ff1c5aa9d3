"""Arrow columns as numpy sees them, and keys as small whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bowerbird.data.features.timeline import rows_of
from bowerbird.lake.arrays import one_piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NULL = -1
"""The code of a null key. It matches nothing, not even another null."""


def one_batch(rows: pa.Table) -> pa.RecordBatch:
    """A table as one batch."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([one_piece(one) for one in rows.columns], schema=rows.schema)


LONG = 96
"""From this mean length on, ranges of values are copied as they lie, not a value at a time."""


def ranges_of(array: pa.Array, start: Ints, end: Ints, long: int = LONG) -> pa.Array:
    """The values of many ranges ``start[i]:end[i]`` of an array, one range after another."""
    import pyarrow as pa

    lengths = end - start
    if lengths.sum() >= long * len(lengths):
        return pa.LargeListViewArray.from_arrays(
            pa.array(start), pa.array(lengths), array
        ).flatten()
    return array.take(pa.array(rows_of(start, end)))


def lists_of(
    values: pa.Array, start: Ints, end: Ints, kind: pa.DataType | None = None, long: int = LONG
) -> pa.Array:
    """Ranges of an array as lists. kind: theirs; None: with 64-bit offsets, since a batch of long
    sequences may hold more than 2^31 values."""
    import pyarrow as pa

    kind = pa.large_list(values.type) if kind is None else kind
    large = pa.types.is_large_list(kind)
    made, width = (pa.LargeListArray, pa.int64()) if large else (pa.ListArray, pa.int32())
    offsets = pa.array(np.concatenate([[0], np.cumsum(end - start)]), width)
    return made.from_arrays(offsets, ranges_of(values, start, end, long), type=kind)


def taken(array: pa.Array, places: Ints, long: int = LONG) -> pa.Array:
    """`take` of an array, which of long lists copies each as it lies (`take` copies by value)."""
    import pyarrow as pa

    lists = pa.types.is_large_list(array.type) or pa.types.is_list(array.type)
    if array.null_count or not lists:
        return array.take(pa.array(places))
    bounds = np.asarray(array.offsets.to_numpy(), dtype=np.int64)
    return lists_of(array.values, bounds[places], bounds[places + 1], array.type, long)


def all_in_order(places: Ints, count: int) -> bool:
    """Whether these are all places of so many, in their order: nothing is to be moved."""
    return len(places) == count and bool((places == np.arange(count)).all())


def numbers(column: Any) -> Floats:
    """A column as float64; null is NaN."""
    import pyarrow as pa

    array = one_piece(column)
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    cast = array.cast(pa.float64(), safe=False)
    return np.asarray(cast.to_numpy(zero_copy_only=False), dtype=np.float64)


def joint_codes(parts: Sequence[Sequence[Any]]) -> list[Ints]:
    """Keys of several tables numbered alike: equal keys have one number, from 0, in all of them.

    parts: a table's key columns, for each table; columns at one place have one type. A key of
    which any part is null is `NULL`.
    """
    lengths = [len(columns[0]) for columns in parts]
    ends = np.cumsum(lengths)
    whole = np.zeros(int(ends[-1]), dtype=np.int64)
    known = np.ones(len(whole), dtype=bool)
    for place in range(len(parts[0])):
        codes, valid = _codes([one_piece(columns[place]) for columns in parts])
        known &= valid
        if place == 0:
            whole = codes
            continue
        # Dense again, or the product of a few columns' counts would not fit 63 bits.
        width = int(codes.max(initial=0)) + 1
        whole = np.unique(whole * width + codes, return_inverse=True)[1].astype(np.int64)
    whole[~known] = NULL
    return np.split(whole, ends[:-1])


def _codes(arrays: list[pa.Array]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    import pyarrow as pa

    numbers = all(pa.types.is_integer(array.type) for array in arrays)
    kind = pa.int64() if numbers else arrays[0].type
    column = pa.concat_arrays([array.cast(kind) for array in arrays])
    coded = column.dictionary_encode()
    valid = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
    codes = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return np.asarray(codes, dtype=np.int64), valid
