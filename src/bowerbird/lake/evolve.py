"""What a table becomes when a spec is applied to it: made, or changed, or refused by name.

A writer and the commit after it both come here, so the ids that a file carries for its columns are
those that the table has once the file is in it. No data is written here: old files stay as they
are, in the layout that they have, and are read by the ids of their columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import SpecError
from bowerbird.core.refs import Ref
from bowerbird.lake import layouts, snapshots
from bowerbird.lake.columns import Edit, Evolved, evolved
from bowerbird.lake.layouts import partition_spec, sort_order
from bowerbird.lake.schema import iceberg_schema
from bowerbird.lake.specs import Table

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table import Transaction
    from pyiceberg.table.metadata import TableMetadata

    from bowerbird.lake.catalog import Lake

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

_NAMES = "schema.name-mapping.default"


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


def planned(table: IcebergTable | None, spec: Table, location: str) -> TableMetadata:
    """The metadata that files written for `spec` are to fit: nothing is committed here."""
    if table is None:
        return new_metadata(spec, location)
    transaction = table.transaction()
    evolve(transaction, table.name()[-1], spec)
    return transaction.table_metadata


def evolve(tx: Transaction, name: str, spec: Table) -> None:
    """Stage in a transaction what the table lacks of its spec.

    Raises `SpecError`, with the column and what to do, where old rows could not follow.
    """
    now = tx.table_metadata
    found = evolved(name, now.schema(), spec, now.last_column_id)
    if found.refused:
        raise found.refused[0]
    updates, requirements = _staged(name, now, spec, found, tx._table.io)
    if updates:
        tx._apply(tuple(updates), tuple(requirements))


def _staged(
    name: str, now: TableMetadata, spec: Table, found: Evolved, io: FileIO
) -> tuple[list[Any], list[Any]]:
    """The metadata updates, and what must not have changed meanwhile."""
    from pyiceberg.table import update as pyiceberg_update

    update: Any = pyiceberg_update  # its constructors take what their types do not say
    updates: list[Any] = []
    requirements: list[Any] = []
    schema = found.schema
    if found.edits:
        requirements += [
            update.AssertCurrentSchemaId(current_schema_id=now.current_schema_id),
            update.AssertLastAssignedFieldId(last_assigned_field_id=now.last_column_id),
        ]
        known = next((one.schema_id for one in now.schemas if one == schema), None)
        if known is None:
            number = max(one.schema_id for one in now.schemas) + 1
            schema = schema.model_copy(update={"schema_id": number})
            updates.append(update.AddSchemaUpdate(schema=schema))
        updates.append(update.SetCurrentSchemaUpdate(schema_id=-1 if known is None else known))
    split, order = layouts.layout_of(spec, now, schema)
    layouts.check_names(name, split, schema)
    if split.spec_id != now.default_spec_id:
        requirements += [
            update.AssertDefaultSpecId(default_spec_id=now.default_spec_id),
            update.AssertLastAssignedPartitionId(last_assigned_partition_id=now.last_partition_id),
        ]
        if split.spec_id not in now.specs():
            updates.append(update.AddPartitionSpecUpdate(spec=split))
        updates.append(update.SetDefaultSpecUpdate(spec_id=split.spec_id))
    if order.order_id != now.default_sort_order_id:
        requirements.append(
            update.AssertDefaultSortOrderId(default_sort_order_id=now.default_sort_order_id)
        )
        if all(one.order_id != order.order_id for one in now.sort_orders):
            updates.append(update.AddSortOrderUpdate(sort_order=order))
        updates.append(update.SetDefaultSortOrderUpdate(sort_order_id=order.order_id))
    if gone := layouts.forgotten(name, now, schema, split, io):
        updates.append(update.RemovePartitionSpecsUpdate(spec_ids=gone))
    differ = {k: v for k, v in properties(spec).items() if now.properties.get(k) != v}
    if found.edits and _NAMES in now.properties:
        differ[_NAMES] = _names_after(now, found)
    if differ:
        updates.append(update.SetPropertiesUpdate(updates=differ))
    return updates, requirements


def _names_after(now: TableMetadata, found: Evolved) -> str:
    """The names by which files without numbers are read: the old ones stay, the new ones come."""
    from pyiceberg.table.name_mapping import create_mapping_from_schema, update_mapping

    mapping = now.name_mapping() or create_mapping_from_schema(now.schema())
    before, after = now.schema()._lazy_id_to_field, found.schema._lazy_id_to_field
    parents = found.schema._lazy_id_to_parent
    renamed = {
        number: field
        for number, field in after.items()
        if number in before and before[number].name != field.name
    }
    added: dict[int, list[Any]] = {}
    for number, field in after.items():
        if number not in before:
            added.setdefault(parents.get(number, -1), []).append(field)
    return update_mapping(mapping, renamed, added).model_dump_json()


class Refusal(msgspec.Struct, frozen=True):
    """What keeps a spec from being applied."""

    problem: str
    expected: str
    fix: str


class Evolution(msgspec.Struct, frozen=True):
    """What applying a spec to a table changes. All of it is metadata: it writes no data.

    partition, sort: (before, after), None where they stay. older_files, older_bytes, older_rows:
    what then lies in another layout than the spec's, and stays so until it is compacted or
    overwritten. reloads: the table has a source, so the changed spec loads all of it anew.
    """

    name: str
    edits: tuple[Edit, ...]
    partition: tuple[str, str] | None
    sort: tuple[str, str] | None
    properties: dict[str, str]
    older_files: int
    older_bytes: int
    older_rows: int
    reloads: bool
    refused: tuple[Refusal, ...]

    @property
    def empty(self) -> bool:
        return not (self.edits or self.partition or self.sort or self.properties or self.refused)


def plan_evolution(lake: Lake, spec: Table, ref: Ref | str | None = None) -> Evolution:
    """What applying `spec` would change, and what is refused and why. Changes nothing.

    Raises `RefError` if there is no such table yet.
    """
    table = lake.load(spec.ref if ref is None else ref)
    name, now = table.name()[-1], table.metadata
    found = evolved(name, now.schema(), spec, now.last_column_id)
    refused = list(found.refused)
    try:
        _staged(name, now, spec, found, table.io)
    except SpecError as error:
        refused.append(error)
    split, order = layouts.layout_of(spec, now, found.schema)
    older = [
        one.file
        for one in snapshots.live(table, snapshots.head_of(table))
        if not one.deletes
        and (one.file.spec_id != split.spec_id or (one.file.sort_order_id or 0) != order.order_id)
    ]
    splits = layouts.all_told(now.spec(), now.schema()), layouts.all_told(split, found.schema)
    orders = (
        layouts.order_told(now.sort_order(), now.schema()),
        layouts.order_told(order, found.schema),
    )
    differ = {k: v for k, v in properties(spec).items() if now.properties.get(k) != v}
    return Evolution(
        name=".".join(table.name()),
        edits=found.edits,
        partition=splits if split.spec_id != now.default_spec_id else None,
        sort=orders if order.order_id != now.default_sort_order_id else None,
        properties=differ,
        older_files=len(older),
        older_bytes=sum(file.file_size_in_bytes for file in older),
        older_rows=sum(file.record_count for file in older),
        reloads=bool(spec.source),
        refused=tuple(Refusal(e.problem, e.expected or "", e.fix or "") for e in refused),
    )
