"""Two streams of rows in the order of a key, compared row by row as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bowerbird.core.errors import UserError
from bowerbird.lake.ordering import merged
from bowerbird.lake.streams import in_order

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import FileScanTask

    from bowerbird.lake.read import Planned

_SIDE = "\0side"
ADDED, REMOVED, BEFORE, AFTER = "added", "removed", "before", "after"


def compared(
    old: Planned,
    ours: Sequence[FileScanTask],
    new: Planned,
    theirs: Sequence[FileScanTask],
    key: Sequence[str],
) -> Iterator[pa.Table]:
    """What is different between the rows of some files of one version and some of another."""
    streams = [_marked(in_order(old, key, ours), 0), _marked(in_order(new, key, theirs), 1)]
    return differing(merged(streams, key), key, ".".join(old.table.name()))


def _marked(blocks: Iterator[pa.Table], side: int) -> Iterator[pa.Table]:
    import pyarrow as pa

    for rows in blocks:
        yield rows.append_column(_SIDE, pa.array([side] * rows.num_rows, pa.int8()))


def differing(blocks: Iterator[pa.Table], key: Sequence[str], name: str) -> Iterator[pa.Table]:
    """Rows of both sides in one order, the old one's first where keys are equal: those that differ.

    The last row of a block waits for the next: its fellow may be there.
    """
    import pyarrow as pa

    waiting: pa.Table | None = None
    for block in blocks:
        rows = block if waiting is None else pa.concat_tables([waiting, block])
        rows = rows.combine_chunks()
        cut = _last_key(rows, key)
        waiting = rows.slice(cut)
        found = _differences(rows.slice(0, cut), key, name)
        if found.num_rows:
            yield found
    if waiting is not None:
        found = _differences(waiting.combine_chunks(), key, name)
        if found.num_rows:
            yield found


def _last_key(rows: pa.Table, key: Sequence[str]) -> int:
    """Where the rows of the last key begin."""
    same = _as_before(rows, key)
    at = int(rows.num_rows) - 1
    while at > 0 and same[at]:
        at -= 1
    return max(at, 0)


def _differences(rows: pa.Table, key: Sequence[str], name: str) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    same = _as_before(rows, key)
    side = rows.column(_SIDE).to_numpy()
    if (twice := np.flatnonzero(same[1:] & (side[1:] == side[:-1]))).size:
        at = int(twice[0])
        row = {column: rows.column(column)[at] for column in key}
        told = ", ".join(f"{column}={value}" for column, value in row.items())
        raise UserError(
            f"{name}: two rows of one version have the key {told}",
            expected="columns that tell rows apart",
            fix="give more columns as the key",
        )
    second = np.flatnonzero(same)  # the new row of each key that both have
    others = [column for column in rows.column_names if column not in (*key, _SIDE)]
    changed = second[~_equal(rows, second - 1, second, others)]
    alone = np.ones(rows.num_rows, bool)
    alone[second] = alone[second - 1] = False
    what = np.where(side == 0, REMOVED, ADDED).astype(object)
    what[changed - 1], what[changed] = BEFORE, AFTER
    alone[changed] = alone[changed - 1] = True
    places = np.flatnonzero(alone)
    told_rows = rows.drop_columns([_SIDE]).take(pa.array(places))
    return told_rows.add_column(0, "change", pa.array(what[places].tolist(), pa.string()))


def _as_before(rows: pa.Table, key: Sequence[str]) -> Any:
    """For each row, whether its key is that of the row before it."""
    import numpy as np

    same = np.zeros(rows.num_rows, bool)
    if rows.num_rows > 1:
        after = np.arange(1, rows.num_rows)
        same[1:] = _equal(rows, after - 1, after, key)
    return same


def _equal(rows: pa.Table, one: Any, other: Any, columns: Sequence[str]) -> Any:
    """For pairs of places, whether the rows are equal in the columns: null is null, NaN is NaN."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as at

    equal = np.ones(len(one), bool)
    for column in columns:
        values = rows.column(column)
        left, right = values.take(pa.array(one)), values.take(pa.array(other))
        if at.is_nested(values.type):
            pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
            equal &= np.fromiter((repr(a) == repr(b) for a, b in pairs), bool, len(one))
            continue
        both = pc.and_(pc.is_null(left), pc.is_null(right))
        if at.is_floating(values.type):
            nan = pc.and_(pc.is_nan(left), pc.is_nan(right))
            both = pc.or_(both, pc.fill_null(nan, fill_value=False))
        this = pc.or_(both, pc.fill_null(pc.equal(left, right), fill_value=False))
        equal &= this.to_numpy(zero_copy_only=False)
    return equal
