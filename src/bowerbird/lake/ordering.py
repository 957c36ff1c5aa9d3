"""The order of rows: how they are sorted, and how sorted streams become one.

Ascending, nulls last, NaN before the nulls and after every number; rows with equal keys stay as
they came. Arrow, Iceberg's declared order and this module agree on that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.uint64]

Key = tuple[tuple[int, Any], ...]
"""A row's key as Python compares it: a column's (0, value), or (1, 0) for NaN, (2, 0) for null."""


class Code(NamedTuple):
    """A column as numbers that sort as its values do. bits: the number of bits of the greatest."""

    numbers: Numbers
    bits: int


def places(rows: pa.Table, by: Sequence[str]) -> NDArray[np.int64]:
    """The places of the rows in order: ``rows.take(places(rows, by))`` is sorted."""
    codes: list[Code] = []
    for name in by:
        found = codes_of(rows.column(name))
        if found is None:
            return _places_by_arrow(rows, by)
        codes += found
    return places_of(codes, rows.num_rows)


def places_of(codes: Sequence[Code], rows: int) -> NDArray[np.int64]:
    """The places of so many rows in the order of some codes, the most significant first.

    As many columns as fit are packed into one number with the row's own place in its last bits:
    numpy sorts plain numbers ten times as fast as it finds the order of some.

    The last columns first; each pass keeps the order of the ones before it among equal rows.
    """
    import numpy as np

    codes = [code for code in codes if code.bits]
    if not codes:
        return np.arange(rows)
    if len(codes) == 1 and codes[0].bits <= 16:
        # numpy sorts such numbers by counting them.
        return np.argsort(codes[0].numbers.astype(np.uint16), kind="stable")
    own = max(1, (rows - 1).bit_length())
    row = np.arange(rows, dtype=np.uint64)
    order: NDArray[np.int64] | None = None
    while codes:
        packed, bits = np.zeros(rows, np.uint64), 0
        while codes and (not bits or bits + codes[-1].bits <= 64 - own):
            code = codes.pop()
            numbers = code.numbers if order is None else code.numbers[order]
            packed |= numbers << np.uint64(bits)
            bits += code.bits
        if bits + own <= 64:
            packed = (packed << np.uint64(own)) | row
            packed.sort()
            found = (packed & np.uint64((1 << own) - 1)).astype(np.int64)
        else:
            found = np.argsort(packed, kind="stable")
        order = found if order is None else order[found]
    assert order is not None  # noqa: S101 - there is a column
    return order


def codes_of(column: pa.ChunkedArray) -> list[Code] | None:
    """A column as numbers, most significant first; None for types that are not done here."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as at

    kind = column.type
    ranks = [] if not column.null_count and not at.is_floating(kind) else [_ranks(column)]
    if at.is_floating(kind):
        plain = pc.if_else(pc.is_nan(column), 0.0, column).fill_null(0.0).cast(pa.float64())
        # Zero is one number, with or without a sign; of the others, the bits sort as they do once
        # the sign is turned.
        bits = (plain.to_numpy() + 0.0).view(np.int64)
        numbers = np.where(bits < 0, ~bits, bits ^ np.int64(-(2**63))).view(np.uint64)
        return [*ranks, Code(numbers, 64)]
    if at.is_string(kind) or at.is_large_string(kind) or at.is_binary(kind):
        coded = column.combine_chunks().dictionary_encode()
        rank = np.empty(len(coded.dictionary), np.uint64)
        rank[pc.sort_indices(coded.dictionary).to_numpy()] = np.arange(len(rank), dtype=np.uint64)
        chosen = coded.indices.fill_null(0).to_numpy() if len(rank) else np.zeros(len(column), int)
        numbers = rank[chosen] if len(rank) else np.zeros(len(column), np.uint64)
        return [*ranks, _code(numbers)]
    if at.is_boolean(kind):
        column = column.cast(pa.int8())
    elif at.is_date32(kind) or at.is_time32(kind):
        column = column.cast(pa.int32())
    elif not (at.is_integer(kind) or at.is_timestamp(kind) or at.is_time64(kind)):
        return None
    if column.null_count == len(column):
        return ranks
    least = pc.min(column)
    column = column.fill_null(least).cast(pa.int64())
    numbers = column.to_numpy().view(np.uint64) - np.uint64(least.cast(pa.int64()).as_py() % 2**64)
    return [*ranks, _code(numbers)]


def _code(numbers: Numbers) -> Code:
    return Code(numbers, int(numbers.max(initial=0)).bit_length())


def _ranks(column: pa.ChunkedArray) -> Code:
    return _code(_rank(column).to_numpy().astype("u8"))


def _places_by_arrow(rows: pa.Table, by: Sequence[str]) -> NDArray[np.int64]:
    import pyarrow.compute as pc

    # Nulls go last; that is Arrow's way when it is not told another.
    keys = [(column, "ascending") for column in by]
    found: NDArray[np.int64] = pc.sort_indices(rows, sort_keys=keys).to_numpy().astype("i8")
    return found


def ordered(rows: pa.Table, by: Sequence[str]) -> pa.Table:
    """The rows in order."""
    import pyarrow as pa

    return rows.take(pa.array(places(rows, by))) if by and rows.num_rows else rows


def merged(streams: Sequence[Iterable[pa.Table]], by: Sequence[str]) -> Iterator[pa.Table]:
    """Streams that are each in order, as one that is; of equal rows, earlier streams' come first.

    Holds one block of each stream. The plain way is to sort them all: a property test holds this to
    it.
    """
    import pyarrow as pa

    heads = [Head(iter(stream), by) for stream in streams]
    heads = [head for head in heads if head.advance()]
    while len(heads) > 1:
        # The first stream whose block ends soonest: all of it can go out, and of the others what
        # comes before its end. Of rows equal to its end, those of later streams must wait, since it
        # may go on with more of them.
        place, soonest = min(enumerate(heads), key=lambda pair: pair[1].last)
        end = soonest.last
        parts = [
            head.until(end, bisect_right if at < place else bisect_left)
            for at, head in enumerate(heads)
            if at != place
        ]
        parts.insert(place, soonest.rest())
        parts = [part for part in parts if part.num_rows]
        yield parts[0] if len(parts) == 1 else ordered(pa.concat_tables(parts), by)
        heads = [head for head in heads if not head.empty or head.advance()]
    for head in heads:
        yield head.rest()
        while head.advance():
            yield head.rest()


class Head:
    """A stream and the block of it that is at hand."""

    def __init__(self, stream: Iterator[pa.Table], by: Sequence[str]) -> None:
        self._stream = stream
        self._by = by
        self._block: pa.Table = None
        self._start = 0
        self.last: Key = ()

    def advance(self) -> bool:
        """Take the next block that has rows; False at the end."""
        for block in self._stream:
            if block.num_rows:
                self._block = block.combine_chunks()
                self._keys = keys(self._block, self._by)
                self._start = 0
                self.last = self._keys(block.num_rows - 1)
                return True
        return False

    @property
    def first(self) -> Key:
        """The key of the first row that was not taken yet."""
        return self._keys(self._start)

    @property
    def empty(self) -> bool:
        return self._start == int(self._block.num_rows)

    def until(self, end: Key, side: Callable[..., int]) -> pa.Table:
        """Take what comes before `end`, or (`bisect_right`) is equal to it."""
        stop = side(range(self._block.num_rows), end, lo=self._start, key=self._keys)
        part = self._block.slice(self._start, stop - self._start)
        self._start = stop
        return part

    def rest(self) -> pa.Table:
        part = self._block.slice(self._start)
        self._start = self._block.num_rows
        return part


def keys(rows: pa.Table, by: Sequence[str]) -> Callable[[int], Key]:
    """The key of each row of a table whose columns are in one piece."""
    columns = [_comparable(rows.column(name)) for name in by]
    return lambda place: tuple(_key(column[place].as_py()) for column in columns)


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.types as at

    # In a zone, Arrow needs the zone database to make Python values.
    return column.cast(pa.int64()) if at.is_timestamp(column.type) else column


def _key(value: Any) -> tuple[int, Any]:
    if value is None:
        return (2, 0)
    if isinstance(value, float) and isnan(value):
        return (1, 0)
    return (0, value)


def is_sorted(rows: pa.Table, by: Sequence[str]) -> bool:
    """Whether the rows are in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if rows.num_rows < 2:
        return True
    after = pa.array([False] * (rows.num_rows - 1))
    equal = pa.array([True] * (rows.num_rows - 1))
    for name in by:
        column = _comparable(rows.column(name))
        one, other = column.slice(0, len(column) - 1), column.slice(1)
        ranks = _rank(one), _rank(other)
        less = pc.fill_null(pc.greater(one, other), fill_value=False)
        same_rank = pc.equal(*ranks)
        later = pc.or_(pc.greater(*ranks), pc.and_(same_rank, less))
        same = pc.and_(
            same_rank,
            pc.or_(pc.not_equal(ranks[0], 0), pc.fill_null(pc.equal(one, other), fill_value=False)),
        )
        after = pc.or_(after, pc.and_(equal, later))
        equal = pc.and_(equal, same)
    unordered: bool = pc.any(after).as_py()
    return not unordered


def _rank(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """0 for a value, 1 for NaN, 2 for null: what goes later."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as at

    null = pc.multiply(pc.is_null(column).cast(pa.int8()), 2)
    if not at.is_floating(column.type):
        return null
    return pc.add(null, pc.fill_null(pc.is_nan(column), fill_value=False).cast(pa.int8()))
