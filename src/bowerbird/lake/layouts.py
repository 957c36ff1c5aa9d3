"""How a table is split and sorted, in Iceberg's terms, and what it becomes when its spec changes.

A partition field that a table had once keeps its number and its name. Where a new one would have
the name of another (``id_bucket`` of 16, then of 32), it is told apart by its number
(``id_bucket_32``): so a cell means one thing in all of a table's life.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bowerbird.core.errors import SpecError
from bowerbird.lake.specs import Bucket, Day, Hour, Month, Table, Transform, Truncate, Year

if TYPE_CHECKING:
    from pyiceberg import transforms
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.sorting import SortOrder
    from pyiceberg.table.update.snapshot import _SnapshotProducer


def iceberg_transform(one: Transform) -> transforms.Transform[Any, Any]:
    from pyiceberg import transforms

    if isinstance(one, Bucket):
        return transforms.BucketTransform(num_buckets=one.n)
    if isinstance(one, Truncate):
        return transforms.TruncateTransform(width=one.width)
    if isinstance(one, Hour):
        return transforms.HourTransform()
    if isinstance(one, Day):
        return transforms.DayTransform()
    if isinstance(one, Month):
        return transforms.MonthTransform()
    if isinstance(one, Year):
        return transforms.YearTransform()
    return transforms.IdentityTransform()


def partition_spec(
    schema: Schema,
    partition: tuple[Transform, ...],
    specs: Mapping[int, PartitionSpec] | None = None,
    last_id: int | None = None,
) -> PartitionSpec:
    """The partitioning of a spec, with the numbers that a table has for it.

    specs: all that the table has or had. last_id: the highest number that a partition field had.
    """
    from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec

    specs = specs or {}
    had = [field for spec in specs.values() for field in spec.fields]
    last = max(last_id or 0, PARTITION_FIELD_ID_START - 1)
    fields: list[PartitionField] = []
    for one in partition:
        source, transform = schema.find_field(one.column).field_id, iceberg_transform(one)
        field = next((f for f in had if (f.source_id, f.transform) == (source, transform)), None)
        if field is None:
            last += 1
            name = _free_name(one, {f.name for f in had})
            field = PartitionField(source, last, transform, name)
        fields.append(field)
    made = PartitionSpec(*fields)
    for number, spec in specs.items():
        if spec.compatible_with(made):
            return PartitionSpec(*fields, spec_id=number)
    return PartitionSpec(*fields, spec_id=max(specs, default=-1) + 1)


def _free_name(one: Transform, taken: set[str]) -> str:
    if one.field not in taken:
        return one.field
    number = one.n if isinstance(one, Bucket) else one.width if isinstance(one, Truncate) else 2
    while f"{one.field}_{number}" in taken:
        number += 1
    return f"{one.field}_{number}"


def sort_order(
    schema: Schema, columns: tuple[str, ...], orders: Iterable[SortOrder] = ()
) -> SortOrder:
    """Ascending, nulls last: the order in which Arrow sorts NaN as Iceberg wants it.

    orders: all that the table has or had.
    """
    from pyiceberg.table.sorting import (
        UNSORTED_SORT_ORDER,
        NullOrder,
        SortDirection,
        SortField,
        SortOrder,
    )
    from pyiceberg.transforms import IdentityTransform

    if not columns:
        return UNSORTED_SORT_ORDER
    fields = [
        SortField(
            source_id=schema.find_field(column).field_id,
            transform=IdentityTransform(),
            direction=SortDirection.ASC,
            null_order=NullOrder.NULLS_LAST,
        )
        for column in columns
    ]
    orders = list(orders)
    known = next((one.order_id for one in orders if list(one.fields) == fields), None)
    if known is None:
        known = max((one.order_id for one in orders), default=0) + 1
    return SortOrder(*fields, order_id=known)


def check_names(name: str, spec: PartitionSpec, schema: Schema) -> None:
    """Raise `SpecError` where a partition field has the name of a column that it is not."""
    from pyiceberg.transforms import IdentityTransform

    for field in spec.fields:
        column = next((one for one in schema.fields if one.name == field.name), None)
        if column is None:
            continue
        if column.field_id != field.source_id or not isinstance(field.transform, IdentityTransform):
            raise SpecError(
                f"{name}: column {field.name!r} would be named as the partition field "
                f"{told(field, schema)} is",
                expected="another name for the column",
            )


def told(field: PartitionField, schema: Schema) -> str:
    """``bucket[16](id)``."""
    return f"{field.transform}({schema.find_column_name(field.source_id)})"


def all_told(spec: PartitionSpec, schema: Schema) -> str:
    return ", ".join(told(field, schema) for field in spec.fields) or "nothing"


def order_told(order: SortOrder, schema: Schema) -> str:
    names = (str(schema.find_column_name(field.source_id)) for field in order.fields)
    return ", ".join(names) or "nothing"


def forgotten(
    name: str, metadata: TableMetadata, schema: Schema, target: PartitionSpec, io: FileIO
) -> list[int]:
    """The old partitionings that must go because a column of theirs does.

    Raises `SpecError` where a version that is still kept has files that are split by the column:
    nobody could tell their partitions any more.
    """
    lacking = {
        number: field
        for number, spec in metadata.specs().items()
        for field in spec.fields
        if number != target.spec_id and field.source_id not in schema._lazy_id_to_field
    }
    if not lacking:
        return []
    used = {
        manifest.partition_spec_id
        for snapshot in metadata.snapshots
        for manifest in snapshot.manifests(io)
    }
    for number, field in lacking.items():
        if number in used:
            raise SpecError(
                f"{name}: files that are still kept are split by {told(field, metadata.schema())}, "
                "whose column is to be dropped",
                expected="no version with files of that partitioning",
                fix="compact the table, expire the versions before, then drop the column",
            )
    return list(lacking)


def layout_of(
    spec: Table, metadata: TableMetadata, schema: Schema
) -> tuple[PartitionSpec, SortOrder]:
    """The partitioning and the order that a table gets by its spec, with the table's numbers."""
    split = partition_spec(schema, spec.partition, metadata.specs(), metadata.last_partition_id)
    return split, sort_order(schema, spec.sort, metadata.sort_orders)


def add_files(
    producer: _SnapshotProducer[Any], files: Iterable[DataFile], metadata: TableMetadata
) -> None:
    """Have a snapshot add files, also those of an older partitioning (a rollback puts them back).

    PyIceberg writes all that is added into one manifest, as if all were split as the table is now.
    """
    from pyiceberg.manifest import ManifestEntry, ManifestEntryStatus

    older: dict[int, list[DataFile]] = {}
    for file in files:
        if file.spec_id == metadata.default_spec_id:
            producer.append_data_file(file)
        else:
            older.setdefault(file.spec_id, []).append(file)
    if not older:
        return
    ordinary = producer._process_manifests

    def with_older(manifests: list[ManifestFile]) -> list[ManifestFile]:
        for number, group in older.items():
            with producer.new_manifest_writer(producer.spec(number)) as writer:
                for file in group:
                    writer.add(
                        ManifestEntry.from_args(
                            status=ManifestEntryStatus.ADDED,
                            snapshot_id=producer.snapshot_id,
                            sequence_number=None,
                            file_sequence_number=None,
                            data_file=file,
                        )
                    )
            manifests.append(writer.to_manifest_file())
            # From here on they are counted in the summary, where a partition would be misread.
            producer._added_data_files.extend(_nowhere(file) for file in group)
        return ordinary(manifests)

    producer._process_manifests = with_older  # type: ignore[method-assign] # the one place to add


def _nowhere(file: DataFile) -> DataFile:
    from pyiceberg.manifest import DataFile, DataFileContent
    from pyiceberg.typedef import Record

    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=file.file_path,
        file_format=file.file_format,
        partition=Record(),
        record_count=file.record_count,
        file_size_in_bytes=file.file_size_in_bytes,
    )
