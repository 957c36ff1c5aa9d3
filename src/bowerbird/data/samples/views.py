"""What reading a training set will take, before it is read, and what it took: frozen values."""

from __future__ import annotations

import msgspec

from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.planning import SetPlan, SidePlan, width_of
from bowerbird.data.samples.specs import Beside, SequenceOf
from bowerbird.lake.joins import buckets
from bowerbird.lake.joins.buckets import Bucket, Bucketed

GROWS = 3
"""Columns as they lie on disk, encoded and compressed, are about a third of what they are in Arrow:
so much is taken for what has no fixed width."""


class TableView(msgspec.Struct, frozen=True):
    """One table of a set. how: ``rows``, ``computed``, ``by key``, ``as of``, ``sequence``.

    by: ``bucket``, or ``whole`` where every reader reads all of it. buckets: as the table has them.
    rows, bytes: read in an epoch, bytes as they lie on disk, of the columns that are read.
    held: bytes that a reader holds of it, about.
    """

    table: str
    version: str
    how: str
    by: str
    on: tuple[str, ...]
    buckets: int
    files: int
    rows: int
    bytes: int
    held: int


class SetView(msgspec.Struct, frozen=True):
    """A training set. rows, bytes: read; memory: about what a reader holds at most.

    buckets: read, of `count`; interleave: so many side by side.
    """

    set: str
    fingerprint: str
    rows: int
    bytes: int
    memory: int
    buckets: int
    count: int
    interleave: int
    columns: tuple[str, ...]
    tables: tuple[TableView, ...]

    def __str__(self) -> str:
        head = f"{self.set}: {self.rows:,} rows and {self.bytes:,} bytes read, "
        head += f"{self.buckets} of {self.count} buckets, {self.interleave} at a time; "
        head += f"about {self.memory:,} bytes held"
        lines = [head]
        for one in self.tables:
            way = "" if one.how == "rows" else f" on {', '.join(one.on)}"
            lines.append(
                f"  {one.how:<9} {one.table} at {one.version}, by {one.by}{way}: "
                f"{one.rows:,} rows, {one.bytes:,} bytes, {one.held:,} held"
            )
        return "\n".join(lines)


def explain(plan: SetPlan) -> SetView:
    """What reading a set will take: a pure look at its plan."""
    open_at_once = min(plan.spec.interleave + 1, len(plan.buckets))
    tables = [_table(plan, plan.rows, "rows", (plan.spec.entity,), shared=False)]
    for side in plan.sides:
        how, count = _how(side), len(side.columns)
        tables.append(_table(plan, side.table, how, side.on, shared=side.shared, columns=count))
        if side.lookup is not None:
            tables.append(_table(plan, side.lookup, "by key", side.on, shared=True))
    places = max((_rows(plan, b) for b in plan.buckets), default=0) * 8 * (4 + 2 * len(plan.sides))
    computed = sum(len(side.columns) for side in plan.sides if isinstance(side.kind, FeatureGroup))
    values = max((_rows(plan, b) for b in plan.buckets), default=0) * 8 * computed
    columns = [*plan.keeps, *(name for side in plan.sides for name in side.made), *plan.spec.labels]
    return SetView(
        set=str(plan.spec.ref),
        fingerprint=plan.fingerprint,
        rows=tables[0].rows,
        bytes=sum(one.bytes for one in tables),
        memory=sum(one.held for one in tables) + open_at_once * (places + values),
        buckets=len(plan.buckets),
        count=plan.count,
        interleave=plan.spec.interleave,
        columns=tuple(columns),
        tables=tuple(tables),
    )


def _how(side: SidePlan) -> str:
    match side.kind:
        case Beside(at=""):
            return "by key"
        case Beside():
            return "as of"
        case SequenceOf():
            return "sequence"
    return "computed"


def _table(
    plan: SetPlan,
    table: Bucketed,
    how: str,
    on: tuple[str, ...],
    *,
    shared: bool,
    columns: int = 0,
) -> TableView:
    of: tuple[Bucket, ...] = tuple(table.files) if shared else plan.buckets
    files, rows, size = buckets.total(table, [task for bucket in of for task in table.of(bucket)])
    each = [_bytes(table, bucket) for bucket in of]
    open_at_once = 1 if shared else min(plan.spec.interleave + 1, len(of))
    held = sum(sorted(each, reverse=True)[:open_at_once])
    if shared and how == "computed":
        held += rows * 8 * (4 + columns)  # in order: places, moments, times, sums for each column
    return TableView(
        table=table.name,
        version=str(table.version),
        how=how,
        by="whole" if shared else "bucket",
        on=on,
        buckets=table.own,
        files=files,
        rows=rows,
        bytes=size,
        held=held,
    )


def _bytes(table: Bucketed, bucket: Bucket) -> int:
    """About what a bucket's rows take in Arrow: known of columns of a fixed width."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    fields = list(schema_to_pyarrow(table.schema, include_field_ids=False))
    loose = [field.name for field in fields if not _fixed(field.type)]
    _, rows, _ = buckets.total(table, table.of(bucket))
    held = rows * sum(width_of([field]) for field in fields if field.name not in loose)
    if loose:
        part = msgspec.structs.replace(table, schema=table.schema.select(*loose))
        held += max(buckets.total(part, table.of(bucket))[2] * GROWS, rows * 8 * len(loose))
    return held


def _fixed(kind: object) -> bool:
    try:
        return bool(kind.bit_width)  # type: ignore[attr-defined] # Arrow has no types
    except ValueError:
        return False


def _rows(plan: SetPlan, bucket: Bucket) -> int:
    return buckets.total(plan.rows, plan.rows.of(bucket))[1]
