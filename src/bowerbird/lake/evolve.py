"""What a table becomes when a spec is applied to it: made, or widened, or refused by name.

A writer and the commit after it both come here, so the ids that a file carries for its columns are
those that the table has once the file is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bowerbird.core.errors import SpecError
from bowerbird.lake.schema import iceberg_schema, iceberg_type, type_text
from bowerbird.lake.specs import Bucket, Day, Month, Table, Transform
from bowerbird.lake.types import Type

if TYPE_CHECKING:
    from pyiceberg import transforms
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table import Transaction
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.sorting import SortOrder

NO_RETRY = {"commit.retry.num-retries": "0"}
"""PyIceberg's own retry rebases in silence: a process that wakes late would append twice."""

_FIXED = {
    **NO_RETRY,
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # One metadata file a commit: the last hundred stay, for readers that opened one before.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
}


def properties(spec: Table | None) -> dict[str, str]:
    """The table properties that a spec sets; they say nothing of its rows."""
    if spec is None:
        return {}
    told = {"owner": spec.owner, "comment": spec.description}
    size = {"write.target-file-size-bytes": str(spec.target_file_bytes)}
    return size | {key: text for key, text in told.items() if text}


def new_metadata(spec: Table | None, location: str) -> TableMetadata:
    """The table as it is made: without a spec, a nameless place for a burnt token."""
    from pyiceberg.table.metadata import new_table_metadata

    schema = iceberg_schema(spec.types() if spec else {})
    return new_table_metadata(
        schema=schema,
        partition_spec=partition_spec(schema, spec.partition if spec else ()),
        sort_order=sort_order(schema, spec.sort if spec else ()),
        location=location,
        properties=_FIXED | properties(spec),
    )


def partition_spec(schema: Schema, partition: tuple[Transform, ...]) -> PartitionSpec:
    from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec

    fields = [
        PartitionField(
            source_id=schema.find_field(one.column).field_id,
            field_id=PARTITION_FIELD_ID_START + index,
            transform=iceberg_transform(one),
            name=one.field,
        )
        for index, one in enumerate(partition)
    ]
    return PartitionSpec(*fields)


def iceberg_transform(one: Transform) -> transforms.Transform[Any, Any]:
    from pyiceberg import transforms

    if isinstance(one, Bucket):
        return transforms.BucketTransform(num_buckets=one.n)
    if isinstance(one, Day):
        return transforms.DayTransform()
    if isinstance(one, Month):
        return transforms.MonthTransform()
    return transforms.IdentityTransform()


def sort_order(schema: Schema, columns: tuple[str, ...]) -> SortOrder:
    """Ascending, nulls last: the order in which Arrow sorts NaN as Iceberg wants it."""
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
    return SortOrder(*fields)


def planned(table: IcebergTable | None, spec: Table, location: str) -> TableMetadata:
    """The metadata that files written for `spec` are to fit: nothing is committed here."""
    if table is None:
        return new_metadata(spec, location)
    from bowerbird.lake.transaction import HouseTransaction

    transaction = HouseTransaction(table)
    evolve(transaction, table.name()[-1], spec)
    return transaction.table_metadata


def evolve(tx: Transaction, name: str, spec: Table) -> None:
    """Stage in a transaction what the table lacks of its spec.

    Raises `SpecError`, with the column and what to do, where old rows could not follow.
    """
    from pyiceberg.transforms import IdentityTransform

    now = tx.table_metadata
    bare = not now.schema().fields
    wanted = spec.types()
    if not bare:
        check_columns(name, now.schema(), wanted)
    _stage_columns(tx, wanted, bare)
    schema = tx.table_metadata.schema()
    target = partition_spec(schema, spec.partition)
    if bare and spec.partition:
        with tx.update_spec() as update:
            for one in spec.partition:
                update.add_field(one.column, iceberg_transform(one), one.field)
    elif not tx.table_metadata.spec().compatible_with(target):
        raise SpecError(
            f"{name} is partitioned by {_told(now.spec(), now.schema())} and its spec says "
            f"{_told(target, schema)}",
            expected="the partitioning that its files have",
            fix="give the new layout a new table, or drop this one and make it anew",
        )
    order = sort_order(schema, spec.sort)
    if list(tx.table_metadata.sort_order().fields) != list(order.fields):
        with tx.update_sort_order() as sorting:
            for column in spec.sort:
                sorting.asc(column, IdentityTransform())
    differ = {k: v for k, v in properties(spec).items() if now.properties.get(k) != v}
    if differ:
        tx.set_properties(differ)


def _stage_columns(tx: Transaction, wanted: dict[str, Type], bare: bool) -> None:
    schema = tx.table_metadata.schema()
    known = {field.name: field for field in schema.fields}
    new = [name for name in wanted if name not in known]
    wider = [
        name
        for name, field in known.items()
        if name in wanted and str(field.field_type) != str(iceberg_type(wanted[name]))
        if wanted[name].primitive
    ]
    looser = [n for n, f in known.items() if n in wanted and f.required > wanted[n].required]
    if not (new or wider or looser):
        return
    with tx.update_schema(allow_incompatible_changes=bare) as update:
        for name in new:
            update.add_column((name,), iceberg_type(wanted[name]), required=wanted[name].required)
        for name in wider:
            update.update_column((name,), field_type=iceberg_type(wanted[name]))
        for name in looser:
            update.make_column_optional((name,))


def check_columns(name: str, now: Schema, wanted: dict[str, Type]) -> None:
    """Raise `SpecError` where the spec asks for columns that old rows cannot give."""
    for field in now.fields:
        if field.name not in wanted:
            raise SpecError(
                f"{name}: column {field.name!r} is in the table and not in its spec",
                expected=f"{field.name!r} to stay: its data is there",
                fix="put it back into the schema, or drop the table and make it anew",
            )
        column = wanted[field.name]
        was, becomes = type_text(field.field_type), type_text(iceberg_type(column))
        if was != becomes and not _widens(was, becomes):
            raise SpecError(
                f"{name}: column {field.name!r} is {was} in the table and {becomes} in its spec",
                expected="the same type, or a wider one (int to long, float to double)",
                fix="give the new type a new column, or drop the table and make it anew",
            )
        if column.required and not field.required:
            raise SpecError(
                f"{name}: column {field.name!r} may be null in the table and not in its spec",
                expected="what old rows already hold to stay allowed",
                fix=f"leave 'not null' off {field.name!r}",
            )
    for new in wanted.keys() - {field.name for field in now.fields}:
        if wanted[new].required:
            raise SpecError(
                f"{name}: new column {new!r} is 'not null', and old rows have no value for it",
                expected="a new column that may be null",
                fix=f"leave 'not null' off {new!r}",
            )


def _widens(was: str, becomes: str) -> bool:
    """Iceberg's promotions. (PyIceberg's own `promote` lets a decimal's scale change.)"""
    from bowerbird.lake.types import parse

    if (was, becomes) in (("int", "long"), ("float", "double")):
        return True
    one, other = parse(was), parse(becomes)
    if one.name == other.name == "decimal":
        return one.numbers[0] <= other.numbers[0] and one.numbers[1] == other.numbers[1]
    return False


def _told(spec: PartitionSpec, schema: Schema) -> str:
    fields = (f"{f.transform}({schema.find_column_name(f.source_id)})" for f in spec.fields)
    return ", ".join(fields) or "nothing"
