"""Two sorted streams joined by merging them: a range of keys at a time, in bounded memory.

Both streams are cut at the key at which one's block ends. What comes before it is whole on both
sides, so that range is joined at once, by whole columns. The rows of the key itself may go on in
the next blocks: they are joined apart, with the right side's rows of that one key held, on disk if
they are many. ``tests/lake/test_join.py`` holds all of it to a dict and two loops.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.lake.ordering import Head, Key, merged
from bowerbird.lake.spill import Runs

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Places = NDArray[np.int64]

RUN_BYTES = 64 * 1024 * 1024
"""The right side's rows of one key are held in memory up to so many bytes, then on disk."""

ROWS = 32 * 1024
"""The most rows of a block that comes out, where one key matches many rows."""


class How(StrEnum):
    """Which rows a join keeps."""

    INNER = "inner"
    LEFT = "left"
    FULL = "full"
    SEMI = "semi"
    """The left rows that have a match; nothing of the right."""
    ANTI = "anti"
    """The left rows that have none."""


class Shape(msgspec.Struct, frozen=True):
    """What is joined: the key columns, named alike on both sides, and both sides' schemas.

    adds: the right side's columns that come out, none of them named as one of the left's.
    """

    on: tuple[str, ...]
    how: How
    left: pa.Schema
    right: pa.Schema
    adds: tuple[str, ...]
    result: pa.Schema
    """Of the rows that come out."""

    @staticmethod
    def of(
        on: tuple[str, ...], how: How, left: pa.Schema, right: pa.Schema, adds: tuple[str, ...]
    ) -> Shape:
        import pyarrow as pa

        outer = how in (How.LEFT, How.FULL)
        fields = [field.with_nullable(field.nullable or how is How.FULL) for field in left]
        more = [right.field(name) for name in adds]
        fields += [field.with_nullable(field.nullable or outer) for field in more]
        return Shape(on, how, left, right, adds, pa.schema(fields))


def join_sorted(
    left: Iterable[pa.Table],
    right: Iterable[pa.Table],
    shape: Shape,
    folder: str | None = None,
    run_bytes: int = RUN_BYTES,
) -> Iterator[pa.Table]:
    """The join of two streams that are each in order of the key; it comes out in that order.

    Null keys match nothing. folder: on a local disk, for a key with very many rows on the right.
    """
    one, other = Head(iter(left), shape.on), Head(iter(right), shape.on)
    more, more_right = one.advance(), other.advance()
    while more and more_right:
        end = min(one.last, other.last)
        # Rows that match nothing need not wait for others of their key.
        side = bisect_right if has_null(end) else bisect_left
        rows, others = one.until(end, side), other.until(end, side)
        if rows.num_rows or others.num_rows:
            yield from join_range(rows, others, shape)
        else:
            yield from _join_key(one, other, end, shape, folder, run_bytes)
        more = not one.empty or one.advance()
        more_right = not other.empty or other.advance()
    while more and shape.how not in (How.INNER, How.SEMI):
        yield left_alone(one.rest(), shape)
        more = one.advance()
    while more_right and shape.how is How.FULL:
        yield right_alone(other.rest(), shape)
        more_right = other.advance()


def has_null(key: Key) -> bool:
    return any(rank == 2 for rank, _ in key)


def _join_key(
    left: Head, right: Head, key: Key, shape: Shape, folder: str | None, run_bytes: int
) -> Iterator[pa.Table]:
    """Join the rows of one key, which may go on for many blocks on either side."""
    here, there = left.first == key, right.first == key
    if here and there and shape.how not in (How.SEMI, How.ANTI):
        with _held(_of_key(right, key), folder, run_bytes) as again:
            for rows in _of_key(left, key):
                for others in again():
                    yield from join_range(rows, others, shape)
        return
    keeps = there if shape.how is How.SEMI else shape.how is not How.INNER and not there
    for rows in _of_key(left, key) if here else ():
        if keeps:
            yield left_alone(rows, shape)
    for rows in _of_key(right, key) if there else ():
        if shape.how is How.FULL:
            yield right_alone(rows, shape)


def _of_key(head: Head, key: Key) -> Iterator[pa.Table]:
    """The rows of one key, from block to block."""
    while not head.empty or head.advance():
        rows = head.until(key, bisect_right)
        if not rows.num_rows:
            return
        yield rows


@contextmanager
def _held(
    parts: Iterable[pa.Table], folder: str | None, limit: int
) -> Iterator[Callable[[], Iterator[pa.Table]]]:
    """The parts, to be gone through any number of times: on disk where they are many."""

    held: list[pa.Table] = []
    runs: Runs | None = None
    with ExitStack() as stack:
        for part in parts:
            held.append(part)
            if sum(one.nbytes for one in held) > limit:
                if runs is None:
                    made = stack.enter_context(TemporaryDirectory(prefix="join", dir=folder))
                    runs = Runs(made, (), limit)
                runs.add([((), held)], part.schema)
                held = []

        def again() -> Iterator[pa.Table]:
            if runs is not None:
                yield from runs.read(())
            yield from held

        yield again


def join_range(left: pa.Table, right: pa.Table, shape: Shape) -> Iterator[pa.Table]:
    """Join rows that are whole: no other rows have their keys. At most about `ROWS` at a time."""
    import numpy as np

    if not left.num_rows or not right.num_rows:
        if left.num_rows and shape.how not in (How.INNER, How.SEMI):
            yield left_alone(left, shape)
        if right.num_rows and shape.how is How.FULL:
            yield right_alone(right, shape)
        return
    first, count, _ = matches(left, right, shape.on)
    if shape.how in (How.SEMI, How.ANTI):
        wanted = (count > 0) == (shape.how is How.SEMI)
        yield from _some(taken(left, np.flatnonzero(wanted)))
    elif shape.how is How.FULL:
        some, size = count > 0, right.num_rows + 1
        begun, ended = first[some], (first + count)[some]
        hit = np.bincount(begun, minlength=size) - np.bincount(ended, minlength=size)
        alone = right_alone(taken(right, np.flatnonzero(np.cumsum(hit[:-1]) == 0)), shape)
        yield from merged([_pairs(left, right, first, count, shape), [alone]], shape.on)
    else:
        yield from _pairs(left, right, first, count, shape)


def _pairs(
    left: pa.Table, right: pa.Table, first: Places, count: Places, shape: Shape
) -> Iterator[pa.Table]:
    """Each left row beside each of its matches; beside nulls, if it has none and is kept."""
    import numpy as np

    copies = count if shape.how is How.INNER else np.maximum(count, 1)
    ends = np.cumsum(copies)
    start = 0
    while start < len(copies):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + ROWS, side="right")))
        yield from _some(_paired(left, right, slice(start, stop), first, count, copies, shape))
        start = stop


def _paired(
    left: pa.Table,
    right: pa.Table,
    part: slice,
    first: Places,
    count: Places,
    copies: Places,
    shape: Shape,
) -> pa.Table:
    import numpy as np

    first, count, copies = first[part], count[part], copies[part]
    if (copies == 1).all():
        rows, others = left.slice(part.start, len(copies)), right.select(list(shape.adds))
        return shaped([*rows.columns, *taken(others, first, count == 0).columns], shape)
    mine = np.repeat(np.arange(part.start, part.stop), copies)
    nth = np.arange(len(mine)) - np.repeat(np.cumsum(copies) - copies, copies)
    theirs = np.repeat(first, copies) + nth
    alone = np.repeat(count == 0, copies)
    rows = taken(left, mine)
    others = taken(right.select(list(shape.adds)), theirs, alone)
    return shaped([*rows.columns, *others.columns], shape)


def matches(left: pa.Table, right: pa.Table, on: Sequence[str]) -> tuple[Places, Places, Places]:
    """For each left row, where its run of equal keys begins on the right, and how long it is; then
    where each run begins.

    The right side's equal keys lie side by side. Null keys match nothing.
    """
    import numpy as np

    codes, others = codes_of(left, right, on)
    starts = run_starts(others)
    lengths = np.diff(np.append(starts, len(others)))
    known = others[starts]
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known, codes, sorter=order)
    run = order[np.minimum(place, len(known) - 1)]
    matched = known[run] == codes
    for name in on:
        if left.column(name).null_count:
            matched &= left.column(name).is_valid().to_numpy(zero_copy_only=False)
    return starts[run], np.where(matched, lengths[run], 0), starts


def run_starts(codes: Places) -> Places:
    """Where each run of equal codes begins; there is at least one code."""
    import numpy as np

    return np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))


def codes_of(left: pa.Table, right: pa.Table, on: Sequence[str]) -> tuple[Places, Places]:
    """One integer a row: the same for equal keys on both sides, another for others."""
    import numpy as np

    joint = _codes(left.column(on[0]), right.column(on[0]))
    for name in on[1:]:
        _, dense = np.unique(joint, return_inverse=True)
        known, more = np.unique(_codes(left.column(name), right.column(name)), return_inverse=True)
        joint = dense * len(known) + more
    return joint[: left.num_rows], joint[left.num_rows :]


def _codes(left: pa.ChunkedArray, right: pa.ChunkedArray) -> Places:
    import numpy as np
    import pyarrow as pa
    import pyarrow.types as at

    kind = left.type
    whole = at.is_integer(kind) or at.is_timestamp(kind) or at.is_date(kind) or at.is_time(kind)
    if whole and not left.null_count and not right.null_count:
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        parts = [side.cast(width).to_numpy() for side in (left, right)]
        return np.concatenate(parts, dtype=np.int64)
    chunks = [
        chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        for chunk in (*left.chunks, *right.chunks)
    ]
    coded = pa.concat_arrays(chunks).dictionary_encode(null_encoding="encode")
    codes: Places = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def taken(rows: pa.Table, places: Places, alone: Any = None) -> pa.Table:
    """Rows by their places, nulls for those that are `alone`; as they lie where that will do."""
    import numpy as np
    import pyarrow as pa

    if alone is not None and alone.any():
        return rows.take(pa.array(places, mask=alone))
    if len(places) and places[-1] - places[0] == len(places) - 1 and (np.diff(places) == 1).all():
        return rows.slice(int(places[0]), len(places))
    return rows.take(pa.array(places))


def _some(rows: pa.Table) -> Iterator[pa.Table]:
    if rows.num_rows:
        yield rows


def left_alone(rows: pa.Table, shape: Shape) -> pa.Table:
    """Left rows that have no match, beside nulls."""
    import pyarrow as pa

    nulls = [pa.nulls(rows.num_rows, shape.right.field(name).type) for name in shape.adds]
    return shaped([*rows.columns, *nulls], shape)


def right_alone(rows: pa.Table, shape: Shape) -> pa.Table:
    """Right rows that have no match: their key, then nulls, then what they add."""
    import pyarrow as pa

    columns = [
        rows.column(field.name) if field.name in shape.on else pa.nulls(rows.num_rows, field.type)
        for field in shape.left
    ]
    return shaped([*columns, *(rows.column(name) for name in shape.adds)], shape)


def shaped(columns: Sequence[Any], shape: Shape) -> pa.Table:
    """The left's columns, then those that the right adds, as the result's table."""
    import pyarrow as pa

    return pa.Table.from_arrays(list(columns), schema=shape.result)
