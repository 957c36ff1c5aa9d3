"""Rows of a pinned version as streams: file by file, or in order, in bounded memory.

What is in order already is never sorted again, and never held whole: files that a writer laid out
in the wanted order are read side by side and merged, those whose ranges do not overlap one after
the other. What is not in order is sorted by way of the disk (`bowerbird.lake.spill`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bowerbird.core.errors import CorruptError
from bowerbird.lake import mends, snapshots, spill
from bowerbird.lake.ordering import merged

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyiceberg.io.pyarrow import ArrowScan
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.types import NestedField

    from bowerbird.lake.read import Planned

ROWS = 128 * 1024
"""Rows in a block, unless their bytes say fewer. A join cuts blocks at one another's ends, so that
small ones become many."""

BYTES = 8 * 1024 * 1024
"""About the bytes of a block."""


def scan(found: Planned) -> ArrowScan:
    from pyiceberg.io.pyarrow import ArrowScan

    mends.keep_nulls()
    return ArrowScan(found.table.metadata, found.table.io, found.schema, found.where)


def blocks(found: Planned, tasks: Iterable[FileScanTask] | None = None) -> Iterator[pa.Table]:
    """The rows of the files, one file after another, some at a time."""
    for task in found.tasks if tasks is None else tasks:
        yield from file_blocks(found, task)


def file_blocks(found: Planned, task: FileScanTask) -> Iterator[pa.Table]:
    """The rows of one file as the table has them, in the file's order.

    A file that holds just what is asked for is read by Arrow, a row group at a time, and rows that
    were deleted by their places are left out; all else (older columns, filters) by PyIceberg;
    `tests/lake/test_streams.py` holds the first to the second. Raises `CorruptError`, with the
    file's name, for one that is damaged.
    """
    plain = _plain(found, task)
    try:
        yield from _by_pyiceberg(found, task) if plain is None else plain
    except (OSError, ValueError) as error:
        raise damaged(found, task, error) from error


def damaged(found: Planned, task: FileScanTask, error: Exception) -> CorruptError:
    """An error from reading a file, as one that names it."""
    problem = "is gone" if isinstance(error, FileNotFoundError) else "cannot be read"
    return CorruptError(
        f"{'.'.join(found.table.name())}: data file {task.file.file_path} {problem}: {error}",
        expected="the file as it was committed",
        fix="restore it, or roll back to a version that does not need it",
    )


def _by_pyiceberg(found: Planned, task: FileScanTask) -> Iterator[pa.Table]:
    import pyarrow as pa
    from pyiceberg.io.pyarrow import _read_all_delete_files, schema_to_pyarrow

    schema = schema_to_pyarrow(found.schema, include_field_ids=False)
    deletes = _read_all_delete_files(found.table.io, [task])
    # Not to_record_batches: that holds all of a file.
    batches = scan(found)._record_batches_from_scan_tasks_and_deletes([task], deletes)
    for batch in batches:
        yield pa.Table.from_batches([batch]).cast(schema)


def _plain(found: Planned, task: FileScanTask) -> Iterator[pa.Table] | None:
    """The file read as it lies; None where that would not be the table's rows."""
    from pyiceberg.expressions import AlwaysTrue

    if not isinstance(found.where, AlwaysTrue):
        return None
    if str(task.file.file_format) not in ("PARQUET", "FileFormat.PARQUET"):
        return None
    return _parquet(found, task)


def hidden(found: Planned, task: FileScanTask) -> NDArray[np.int64]:
    """The places of a file's rows that are deleted, ascending. (Whose rows are deleted by their
    values is not planned at all.)"""
    import numpy as np
    from pyiceberg.io.pyarrow import _read_all_delete_files

    if not task.delete_files:
        return np.empty(0, np.int64)
    read = _read_all_delete_files(found.table.io, [task])
    places = [part.to_numpy() for part in read.get(task.file.file_path, ())]
    return np.unique(np.concatenate(places)) if places else np.empty(0, np.int64)


def _parquet(found: Planned, task: FileScanTask) -> Iterator[pa.Table]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    schema = schema_to_pyarrow(found.schema, include_field_ids=False)
    with found.table.io.new_input(task.file.file_path).open() as source:
        file = pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)
        source.seek(0, os.SEEK_END)
        _check_same(task, source.tell(), int(file.metadata.num_rows))
        if not _same_columns(found.schema, file.schema_arrow):
            yield from _by_pyiceberg(found, task)
            return
        gone, size = hidden(found, task), block_rows(file.metadata)
        wide = file.metadata.num_rows > 2 * size  # a block or two are not worth handing to threads
        check = _bounds_check(found, task)
        rows = 0
        for batch in file.iter_batches(size, columns=schema.names, use_threads=wide):
            block = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            check(block)
            first, last = np.searchsorted(gone, (rows, rows + batch.num_rows))
            if first < last:
                stays = np.ones(batch.num_rows, bool)
                stays[gone[first:last] - rows] = False
                block = block.filter(pa.array(stays))
            rows += batch.num_rows
            if block.num_rows:
                yield block
        # A footer counts its rows twice; what its row groups say is what was read.
        if schema.names:
            _check_same(task, task.file.file_size_in_bytes, rows)


def _check_same(task: FileScanTask, size: int, rows: int) -> None:
    """Raise `ValueError` for a file that is whole and not the one that was committed.

    No checksum of a file is in a manifest; its size, its rows and its columns' bounds are.
    """
    known = (task.file.file_size_in_bytes, task.file.record_count)
    if (size, rows) != known:
        raise ValueError(
            f"it has {size:,} bytes and {rows:,} rows, and {known[0]:,} and {known[1]:,} were "
            "committed"
        )


def _bounds_check(found: Planned, task: FileScanTask) -> Callable[[pa.Table], None]:
    """Holds blocks to what the manifest says of a column: the first of whole numbers or times.

    (The statistics in a damaged footer must not be looked at: Arrow ends the process.)
    """
    import pyarrow.compute as pc

    for field in found.schema.fields:
        low, high, _ = snapshots.bounds(found.table.metadata, task.file, field.name)
        if type(low) is type(high) is int:
            break
    else:
        return lambda _: None

    def check(block: pa.Table) -> None:
        values = block.column(field.name)
        least_and_most = pc.min_max(values.cast(f"int{values.type.bit_width}")).as_py()
        if least_and_most["min"] is None:
            return
        if not low <= least_and_most["min"] <= least_and_most["max"] <= high:
            raise ValueError(f"its {field.name!r} holds other values than were committed")

    return check


def block_rows(metadata: Any) -> int:
    """How many of a file's rows make a block: fewer where they are wide."""
    if not metadata.num_rows:
        return ROWS
    groups = (metadata.row_group(at) for at in range(metadata.num_row_groups))
    width = sum(int(group.total_byte_size) for group in groups) // int(metadata.num_rows)
    return max(256, min(ROWS, BYTES // max(width, 1)))


def _same_columns(wanted: Schema, file: pa.Schema) -> bool:
    """Whether the file's columns are the wanted ones, by name, id and type, all the way down."""
    has = _columns(file.serialize().to_pybytes())
    return has is not None and all(
        field.name in has
        and has[field.name].field_id == field.field_id
        and has[field.name].field_type == field.field_type
        for field in wanted.fields
    )


@lru_cache(256)  # the files of a table have few schemas, and each takes milliseconds
def _columns(serialized: bytes) -> dict[str, NestedField] | None:
    """The columns of a file by name; None where Iceberg has no such type, or one has no id."""
    import pyarrow as pa
    from pyiceberg.exceptions import ResolveError
    from pyiceberg.io.pyarrow import pyarrow_to_schema

    try:
        schema = pyarrow_to_schema(pa.ipc.read_schema(pa.py_buffer(serialized)))
    except (ValueError, TypeError, ResolveError):
        return None
    return {field.name: field for field in schema.fields}


def in_order(
    found: Planned,
    by: Sequence[str],
    tasks: Sequence[FileScanTask] | None = None,
    folder: str | None = None,
) -> Iterator[pa.Table]:
    """The rows of the files (all of one partition, to be cheap) in the order of `by`.

    folder: on a local disk, for what must be sorted by way of it; a temporary one if None.
    """
    tasks = found.tasks if tasks is None else tasks
    lying: list[FileScanTask] = []
    loose: list[FileScanTask] = []
    for task in tasks:
        (lying if lies_in_order(found.table.metadata, task, by) else loose).append(task)
    streams: list[Iterable[pa.Table]] = [blocks(found, chain) for chain in chains(found, lying, by)]
    if loose:
        streams.append(spill.sorted_rows(blocks(found, loose), by, folder))
    return merged(streams, by)


def lies_in_order(metadata: TableMetadata, task: FileScanTask, by: Sequence[str]) -> bool:
    """Whether the file says that its rows are in an order that begins with `by`."""
    from pyiceberg.table.sorting import NullOrder, SortDirection
    from pyiceberg.transforms import IdentityTransform

    number = task.file.sort_order_id
    order = next((one for one in metadata.sort_orders if one.order_id == number), None)
    if not by or not number or order is None or len(order.fields) < len(by):
        return False
    return all(
        isinstance(field.transform, IdentityTransform)
        and field.direction == SortDirection.ASC
        and field.null_order == NullOrder.NULLS_LAST
        and metadata.schema().find_column_name(field.source_id) == column
        for field, column in zip(order.fields, by, strict=False)
    )


def chains(
    found: Planned, tasks: Sequence[FileScanTask], by: Sequence[str]
) -> list[list[FileScanTask]]:
    """Files in as few sequences as can be, so that each sequence is in order from end to end.

    Two files follow one another if the first's greatest value of the first key is less than the
    second's least, as their statistics say.
    """
    alone: list[list[FileScanTask]] = []
    ranges: list[tuple[Any, Any, FileScanTask]] = []
    for task in tasks:
        low, high, nulls = snapshots.bounds(found.table.metadata, task.file, by[0])
        # Nulls and NaN come last and are in no bounds.
        if low is None or high is None or nulls != 0 or isinstance(low, float):
            alone.append([task])
        else:
            ranges.append((low, high, task))
    ends: list[Any] = []
    found_chains: list[list[FileScanTask]] = []
    for low, high, task in sorted(ranges, key=lambda one: one[:2]):
        place = next((at for at, end in enumerate(ends) if end < low), len(ends))
        if place == len(ends):
            ends.append(high)
            found_chains.append([task])
        else:
            ends[place] = high
            found_chains[place].append(task)
    return found_chains + alone
