"""Which files may hold one of some keys, and which work belongs together: from metadata alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.targets import WHOLE
from bowerbird.lake import snapshots
from bowerbird.lake.arrays import one_piece
from bowerbird.lake.partitions import partition_values, plain
from bowerbird.lake.specs import Bucket, Day, Identity, Month, Transform

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.table import FileScanTask
    from pyiceberg.table.metadata import TableMetadata

PART_BYTES = 256 * 1024 * 1024
"""About so many bytes of files are one task's."""

MOST_CELLS = 512
"""More cells than these are compared with others' changes no better than the whole table is."""


class Part(msgspec.Struct, frozen=True):
    """Some whole partitions: those whose new rows are written here, and their files' paths."""

    cells: tuple[str, ...]
    files: tuple[str, ...]


def candidates(
    metadata: TableMetadata, tasks: Iterable[FileScanTask], keys: pa.Table
) -> list[FileScanTask]:
    """The files that may hold a row with one of the keys (in one piece a column)."""
    indexes: dict[int, _Index] = {}
    found = []
    for task in tasks:
        number = task.file.spec_id
        if number not in indexes:
            indexes[number] = _Index(metadata, metadata.specs()[number], keys)
        if indexes[number].may_hold(task):
            found.append(task)
    return found


class _Index:
    """The keys by the partition that files of one layout would have them in."""

    def __init__(self, metadata: TableMetadata, spec: PartitionSpec, keys: pa.Table) -> None:
        self._metadata = metadata
        self._names = keys.column_names
        fields = _of_keys(metadata, spec, keys.column_names)
        self._places = [place for place, *_ in fields]
        self._groups = {
            values: [_in_order(keys.column(name).take(rows)) for name in keys.column_names]
            for values, rows in grouped(metadata, [one for *_, one in fields], keys)
        }

    def may_hold(self, task: FileScanTask) -> bool:
        group = self._groups.get(tuple(task.file.partition[place] for place in self._places))
        if group is None:
            return False
        return all(
            _any_between(values, *snapshots.bounds(self._metadata, task.file, name)[:2])
            for name, values in zip(self._names, group, strict=True)
        )


def _any_between(values: Sequence[Any], low: Any, high: Any) -> bool:
    place = 0 if low is None else bisect_left(values, low)
    return place < len(values) and (high is None or bool(values[place] <= high))


def _in_order(column: pa.ChunkedArray) -> Sequence[Any]:
    """Values as a file's bounds are told: times as numbers."""
    import numpy as np
    import pyarrow.types as at

    whole = _whole(column)
    if at.is_date32(whole.type):
        whole = whole.cast("int32")
    elif at.is_timestamp(whole.type) or at.is_time64(whole.type):
        whole = whole.cast("int64")
    if at.is_integer(whole.type):
        ordered: Sequence[Any] = np.sort(whole.to_numpy(zero_copy_only=False))  # type: ignore[assignment] # it is one for bisect
        return ordered
    return sorted(whole.to_pylist())


def _whole(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    whole = one_piece(column)
    return whole.storage if isinstance(whole, pa.ExtensionArray) else whole


def transform_of(metadata: TableMetadata, field: PartitionField) -> Transform | None:
    """How a partition field comes from its column; None for a way that says nothing here."""
    from pyiceberg import transforms

    column, how = _column(metadata, field), field.transform
    if isinstance(how, transforms.BucketTransform):
        return Bucket(column, how.num_buckets)
    if isinstance(how, transforms.DayTransform):
        return Day(column)
    if isinstance(how, transforms.MonthTransform):
        return Month(column)
    return Identity(column) if isinstance(how, transforms.IdentityTransform) else None


def _column(metadata: TableMetadata, field: PartitionField) -> str:
    return metadata.schema().find_column_name(field.source_id) or ""


def _of_keys(
    metadata: TableMetadata, spec: PartitionSpec, key: Sequence[str]
) -> list[tuple[int, PartitionField, Transform]]:
    """The partition fields that come from the key, each with its place."""
    found = []
    for place, field in enumerate(spec.fields):
        one = transform_of(metadata, field)
        if one is not None and one.column in key:
            found.append((place, field, one))
    return found


def grouped(
    metadata: TableMetadata, transforms: Sequence[Transform], rows: pa.Table
) -> list[tuple[tuple[Any, ...], pa.Array]]:
    """The partition values that rows have, as manifests hold them, and which rows have them."""
    import pyarrow as pa

    if rows.num_rows == 0:
        return []
    columns: dict[str, pa.Array] = {"#": pa.array(range(rows.num_rows))}
    if not transforms:
        return [((), columns["#"])]
    kinds = [metadata.schema().find_type(one.column) for one in transforms]
    for place, (one, kind) in enumerate(zip(transforms, kinds, strict=True)):
        columns[str(place)] = partition_values(one, rows.column(one.column), kind)
    names = [str(place) for place in range(len(transforms))]
    found = pa.table(columns).group_by(names).aggregate([("#", "list")])
    parts = []
    for at in range(found.num_rows):
        values = (found.column(name)[at].as_py() for name in names)
        told = tuple(map(plain, transforms, values, kinds))
        parts.append((told, found.column("#_list")[at].values))
    return parts


def cells_of_rows(
    metadata: TableMetadata, transforms: Sequence[Transform], rows: pa.Table
) -> list[tuple[str, pa.Array]]:
    """The partitions that rows are in, and which rows. transforms: how the table is split."""
    return _cells(metadata, metadata.spec().fields, transforms, rows)


def cells_of_keys(metadata: TableMetadata, keys: pa.Table) -> tuple[str, ...]:
    """The cells in which a row with one of the keys can be, wherever its other columns put it."""
    fields = _of_keys(metadata, metadata.spec(), keys.column_names)
    # Files of older layouts have other fields: only the whole table is sure to cover them.
    if not fields or len(metadata.partition_specs) > 1:
        return (WHOLE,) if keys.num_rows else ()
    found = _cells(metadata, [field for _, field, _ in fields], [one for *_, one in fields], keys)
    return tuple(sorted(cell for cell, _ in found)) if len(found) <= MOST_CELLS else (WHOLE,)


def _cells(
    metadata: TableMetadata,
    fields: Sequence[PartitionField],
    transforms: Sequence[Transform],
    rows: pa.Table,
) -> list[tuple[str, pa.Array]]:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.typedef import Record

    found = grouped(metadata, transforms, rows)
    if not fields:
        return [(WHOLE, places) for _, places in found]
    spec = PartitionSpec(*fields)
    return [
        (spec.partition_to_path(Record(*values), metadata.schema()), places)
        for values, places in found
    ]


def parts(
    metadata: TableMetadata,
    tasks: Iterable[FileScanTask],
    cells_of_new: Iterable[str],
    size: int = PART_BYTES,
) -> list[Part]:
    """The work on files and new rows, whole partitions together, about `size` bytes of files each.

    cells_of_new: the partitions that get new rows. A row that leaves its partition is taken out by
    one part and written by another.
    """
    files: dict[str, list[FileScanTask]] = {}
    for task in tasks:
        files.setdefault(snapshots.part_of(metadata, task.file), []).append(task)
    found: list[Part] = []
    cells: list[str] = []
    held = 0
    for cell in sorted({*files, *cells_of_new}):
        more = sum(task.file.file_size_in_bytes for task in files.get(cell, ()))
        if cells and held + more > size:
            found.append(_part(cells, files))
            cells, held = [], 0
        cells.append(cell)
        held += more
    return [*found, _part(cells, files)] if cells else found


def _part(cells: list[str], files: dict[str, list[FileScanTask]]) -> Part:
    paths = (task.file.file_path for cell in cells for task in files.get(cell, ()))
    return Part(tuple(cells), tuple(paths))
