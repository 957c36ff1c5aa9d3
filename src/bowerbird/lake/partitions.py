"""Which partition each row is in, a column at a time; held to Iceberg's own transforms by tests.

PyIceberg's vectorised transforms need a compiled extension that is not everywhere, and its others
take one value at a time; here integers, dates, times and texts are hashed whole columns at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bowerbird.core.errors import UserError
from bowerbird.lake.arrays import one_piece
from bowerbird.lake.layouts import iceberg_transform
from bowerbird.lake.ordering import Code, places_of
from bowerbird.lake.specs import (
    Bucket,
    Day,
    Hour,
    Identity,
    Month,
    Table,
    Transform,
    Truncate,
    Year,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.types import IcebergType

    Words = NDArray[np.uint32]

_HOUR_MICROSECONDS = 3_600_000_000
_DAY_MICROSECONDS = 24 * _HOUR_MICROSECONDS

_IN_CACHE = 32 * 1024
"""Numbers hashed at a time: what each of many small operations makes is still in the cache."""


def partition_values(one: Transform, column: pa.ChunkedArray, kind: IcebergType) -> pa.Array:
    """The partition field's value of every row, as Iceberg stores it (days since 1970, …)."""
    import pyarrow as pa

    array = one_piece(column)
    if isinstance(one, Bucket):
        return _bucket(one, array, kind)
    if isinstance(one, Day):
        return _days(array)
    if isinstance(one, Month):
        return _months(array)
    if isinstance(one, Year):
        return _years(array)
    if isinstance(one, Hour):
        return _floor(array.cast(pa.int64()), _HOUR_MICROSECONDS).cast(pa.int32())
    return _truncated(one, array, kind) if isinstance(one, Truncate) else array


class Part(NamedTuple):
    """The rows of one partition: its values, and where its rows are, as they came."""

    values: tuple[Any, ...]
    places: NDArray[np.int64]


def parted(data: pa.Table, spec: Table, metadata: TableMetadata) -> list[Part]:
    """The partitions of some rows, in order (nulls last)."""
    import numpy as np

    if data.num_rows == 0:
        return []
    ranks = np.zeros(data.num_rows, np.int64)
    present: list[tuple[Any, ...]] = [()]
    for one in spec.partition:
        kind = metadata.schema().find_type(one.column)
        numbers, values = _numbered(partition_values(one, data.column(one.column), kind))
        occurring, ranks = _dense(ranks * len(values) + numbers)
        known = [plain(one, value, kind) for value in values]
        pairs = (divmod(number, len(values)) for number in occurring)
        present = [(*present[before], known[this]) for before, this in pairs]
    code = Code(ranks.view(np.uint64), (len(present) - 1).bit_length())
    order = places_of([code], data.num_rows)
    ends = np.cumsum(np.bincount(ranks, minlength=len(present)))
    parts = (
        Part(values, order[end - count : end])
        for values, end, count in zip(present, ends, np.diff(ends, prepend=0), strict=True)
    )
    return sorted(parts, key=lambda part: tuple((v is None, v) for v in part.values))


def _numbered(values: pa.Array) -> tuple[NDArray[np.int64], list[Any]]:
    """A small number a row, and which value each number stands for."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_int32(values.type) and not values.null_count:
        least, most = (end.as_py() for end in pc.min_max(values).values())
        if most - least < 1 << 16:
            found = values.to_numpy().astype(np.int64) - least
            return found, list(range(least, most + 1))
    codes = values.dictionary_encode(null_encoding="encode")
    numbers = codes.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers, codes.dictionary.to_pylist()


def _dense(numbers: NDArray[np.int64]) -> tuple[list[int], NDArray[np.int64]]:
    """The numbers that occur, ascending, and which of them each row has."""
    import numpy as np

    if int(numbers.max()) < 1 << 22:
        occur = np.bincount(numbers) > 0
        return np.flatnonzero(occur).tolist(), (np.cumsum(occur) - 1)[numbers]
    present, ranks = np.unique(numbers, return_inverse=True)
    return present.tolist(), ranks


def hashes(column: pa.ChunkedArray, kind: IcebergType) -> Words:
    """The hash of each value that buckets come from, without its sign bit; no value is null."""
    import numpy as np

    array = one_piece(column)
    hashed = _hash(array)
    if hashed is None:
        from pyiceberg.transforms import BucketTransform

        hash_of = BucketTransform(num_buckets=1).transform(kind, bucket=False)
        coded = array.dictionary_encode()
        known = [(hash_of(value.as_py()) or 0) & 0x7FFFFFFF for value in coded.dictionary]
        hashed = np.array(known, np.uint32)[coded.indices.to_numpy(zero_copy_only=False)]
    return hashed & np.uint32(0x7FFFFFFF)


def plain(one: Transform, value: Any, kind: IcebergType) -> Any:
    """One partition value as a manifest holds it."""
    from pyiceberg.partitioning import _to_partition_representation

    if value is None or not isinstance(one, (Identity, Truncate)):
        return value
    return _to_partition_representation(kind, value)


def _days(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_date(array.type):
        return array.cast(pa.int32())
    return _floor(array.cast(pa.int64()), _DAY_MICROSECONDS).cast(pa.int32())


def _floor(values: pa.Array, by: int) -> pa.Array:
    """``values / by``, rounded down: Arrow divides towards zero, and what is before 1970 must go
    the other way."""
    import pyarrow.compute as pc

    return pc.divide(pc.subtract(values, _floor_rest(values, by)), by)


def _floor_rest(values: pa.Array, by: int) -> pa.Array:
    """``values mod by``, never negative."""
    import pyarrow.compute as pc

    rest = pc.subtract(values, pc.multiply(pc.divide(values, by), by))
    return pc.if_else(pc.less(rest, 0), pc.add(rest, by), rest)


def _months(array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    # In a zone, Arrow needs the zone database; days since 1970 have none.
    dates = _days(array).cast(pa.date32())
    years = pc.subtract(pc.year(dates), 1970)
    return pc.add(pc.multiply(years, 12), pc.subtract(pc.month(dates), 1)).cast(pa.int32())


def _years(array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    years = pc.year(_days(array).cast(pa.date32()))
    return pc.subtract(years, 1970).cast(pa.int32())


def _truncated(one: Truncate, array: pa.Array, kind: IcebergType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as at

    if at.is_integer(array.type):
        wide = array.cast(pa.int64())
        try:
            return pc.subtract_checked(wide, _floor_rest(wide, one.width)).cast(array.type)
        except pa.ArrowInvalid as error:
            raise UserError(
                f"column {one.column!r}: a value is too small to be rounded down to a multiple of "
                f"{one.width} and stay {array.type}",
                expected="values above the least of their type",
            ) from error
    if at.is_string(array.type) or at.is_large_string(array.type):
        return pc.utf8_slice_codeunits(array, 0, one.width)
    if at.is_binary(array.type) or at.is_large_binary(array.type):
        return pc.binary_slice(array, 0, one.width)
    return _of_distinct(one, array, kind, array.type)


def _bucket(one: Bucket, array: pa.Array, kind: IcebergType) -> pa.Array:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    hashed = _hash(array)
    if hashed is None:
        return _of_distinct(one, array, kind, pa.int32())
    numbers = (hashed & np.uint32(0x7FFFFFFF)) % np.uint32(one.n)
    buckets = pa.array(numbers.astype(np.int32))
    return pc.if_else(pc.is_null(array), pa.scalar(None, pa.int32()), buckets)


def _of_distinct(one: Transform, array: pa.Array, kind: IcebergType, to: pa.DataType) -> pa.Array:
    """By Iceberg's own function, one distinct value at a time: decimals, and what else is rare."""
    import pyarrow as pa

    transform = iceberg_transform(one).transform(kind)
    coded = array.dictionary_encode()
    found = pa.array([transform(value.as_py()) for value in coded.dictionary], to)
    return found.take(coded.indices)


def _hash(array: pa.Array) -> Words | None:
    """Murmur3 (x86, 32 bits, seed 0) of each value's bytes as Iceberg's appendix B lays them out;
    None for types that are not done here. What stands for a null is arbitrary."""
    import pyarrow as pa
    import pyarrow.types as at

    kind = array.type
    if at.is_integer(kind) or at.is_date(kind) or at.is_time(kind) or at.is_timestamp(kind):
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        values = array.cast(width).cast(pa.int64()).fill_null(0)
        return _hash_longs(values.to_numpy(zero_copy_only=False))
    if at.is_string(kind) or at.is_binary(kind):
        return _hash_bytes(array, "int32")
    if at.is_large_string(kind) or at.is_large_binary(kind):
        return _hash_bytes(array, "int64")
    return None


def _hash_longs(values: NDArray[np.int64]) -> Words:
    import numpy as np

    words = np.ascontiguousarray(values.astype("<i8")).view("<u4").reshape(-1, 2)
    hashed = np.zeros(len(values), np.uint32)
    for start in range(0, len(values), _IN_CACHE):
        some = slice(start, start + _IN_CACHE)
        mixed = hashed[some]
        for column in (0, 1):
            mixed = _mix(mixed, words[some, column].copy())
        hashed[some] = _finish(mixed, np.uint32(8))
    return hashed


def _hash_bytes(array: pa.Array, offset_type: str) -> Words:
    """All texts at once, four bytes of each a round; those that have ended drop out."""
    import numpy as np

    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, offset_type)[array.offset :][: len(array) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)
    starts, lengths = offsets[:-1].astype(np.int64), np.diff(offsets).astype(np.int64)
    if array.null_count:
        lengths = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    hashed = np.zeros(len(array), np.uint32)
    live = np.flatnonzero(lengths >= 4)
    block = 0
    while len(live):
        at = starts[live] + 4 * block
        hashed[live] = _mix(hashed[live], _word(data, at, 4))
        block += 1
        live = live[lengths[live] >= 4 * (block + 1)]
    tails = lengths % 4
    for size in (1, 2, 3):
        ends = np.flatnonzero(tails == size)
        if len(ends):
            word = _word(data, starts[ends] + lengths[ends] - size, size)
            hashed[ends] ^= _scramble(word)
    return _finish(hashed, lengths.astype(np.uint32))


def _word(data: NDArray[np.uint8], at: NDArray[np.int64], size: int) -> Words:
    import numpy as np

    word = data[at].astype(np.uint32)
    for byte in range(1, size):
        word |= data[at + byte].astype(np.uint32) << np.uint32(8 * byte)
    return word


def _rotated(word: Words, by: int) -> Words:
    import numpy as np

    return (word << np.uint32(by)) | (word >> np.uint32(32 - by))


def _scramble(word: Words) -> Words:
    import numpy as np

    return _rotated(word * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)


def _mix(hashed: Words, word: Words) -> Words:
    import numpy as np

    return _rotated(hashed ^ _scramble(word), 13) * np.uint32(5) + np.uint32(0xE6546B64)


def _finish(hashed: Words, lengths: Words | np.uint32) -> Words:
    import numpy as np

    hashed = hashed ^ lengths
    hashed = (hashed ^ (hashed >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashed = (hashed ^ (hashed >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashed ^ (hashed >> np.uint32(16))
