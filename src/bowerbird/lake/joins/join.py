"""Tables bucketed by one key, joined bucket by bucket: no row is moved to another task or disk.

::

    plan = bucket_join(
        lake,
        Side("shop/purchases", on="user_id"),
        With("shop/users", on="userId", how=How.LEFT, prefix="user_"),
        AsOf("shop/prices", on="user_id", at="since", to="at", prefix="price_"),
    )
    print(explain(plan))
    for rows in join_rows(lake, plan):
        ...

`bucket_join` pins the versions and decides; what it returns travels to tasks, one a bucket
(`bowerbird.lake.joins.steps`). It refuses tables that would need a shuffle: that is another work,
with another cost, and nobody gets it without asking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import TYPE_CHECKING

import msgspec

from bowerbird.lake.catalog import Lake
from bowerbird.lake.joins import buckets, checks
from bowerbird.lake.joins.asof import Rule, asof_sorted
from bowerbird.lake.joins.buckets import Bucket, Bucketed
from bowerbird.lake.joins.merging import How, Shape, join_sorted
from bowerbird.lake.joins.specs import AsOf, Join, Other, Side
from bowerbird.lake.streams import in_order

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import Table as IcebergTable


class JoinPlan(msgspec.Struct, frozen=True):
    """A join whose versions and files are known. It can be pickled.

    on: the first table's key columns, in the order in which rows are merged.
    tables: the first, then the others. count: of buckets, as the least of the tables has.
    buckets: those in which a row can come out: one task each. None: the rows whose key is null.
    """

    join: Join
    on: tuple[str, ...]
    tables: tuple[Bucketed, ...]
    count: int
    buckets: tuple[Bucket, ...]

    def only(self, bucket: Bucket) -> JoinPlan:
        """What a task for one bucket needs of it."""
        tables = tuple(table.only(bucket) for table in self.tables)
        return msgspec.structs.replace(self, tables=tables, buckets=(bucket,))

    def schema(self) -> pa.Schema:
        """Of the rows that come out."""
        import pyarrow as pa

        left = self.join.left
        whole = self.shapes()[-1].result
        # A time that an as-of join needed may not have been asked for.
        silent = set(self.side_schema(0).names) - {*left.keys, *(left.columns or ())}
        silent = silent if left.columns is not None else set()
        return pa.schema([field for field in whole if field.name not in silent])

    def shapes(self) -> list[Shape]:
        """Each join of two, in turn."""
        left = self.side_schema(0)
        shapes = []
        for place, other in enumerate(self.join.others, 1):
            right = self.side_schema(place)
            shape = Shape.of(self.on, other.how, left, right, self._adds(other, right))
            shapes.append(shape)
            left = shape.result
        return shapes

    def _adds(self, other: Other, right: pa.Schema) -> tuple[str, ...]:
        if other.how in (How.SEMI, How.ANTI):
            return ()
        asked = None if other.columns is None else {other.prefix + name for name in other.columns}
        return tuple(n for n in right.names if n not in self.on and (asked is None or n in asked))

    def side_schema(self, place: int) -> pa.Schema:
        """A table's columns by their names in the result, keys in their common type."""
        import pyarrow as pa
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        side = [self.join.left, *self.join.others][place]
        keys = dict(zip(side.keys, self.join.left.keys, strict=True))
        prefix = self.join.others[place - 1].prefix if place else ""
        schema = schema_to_pyarrow(self.tables[place].schema, include_field_ids=False)
        types = checks.key_types(self.join, self.tables)
        fields = []
        for field in schema:
            name = keys.get(field.name, prefix + field.name)
            kind = types[name] if field.name in keys else field.type
            fields.append(field.with_name(name).with_type(kind))
        return pa.schema(fields)


def bucket_join(lake: Lake, left: Side, *others: Other) -> JoinPlan:
    """Pin the tables' versions and plan their join.

    Raises `UserError` that names both layouts where tables are not bucketed by the key, or into
    counts that do not divide one another; where keys have other types, or columns the same name.
    """
    join = checks.completed(Join(left, others))
    sides = [join.left, *join.others]
    place = checks.key_place(lake, sides)
    found = [
        buckets.bucketed(
            lake, side.ref, side.keys[place], side.version, _columns_read(join, side), side.where
        )
        for side in sides
    ]
    checks.check_types(join, found)
    count = min(table.count for table in found)
    found = [buckets.in_buckets(table, count) for table in found]
    order = _order(lake, join, found)
    found = [
        buckets.sequenced(lake, table, _by(join, side, order))
        for table, side in zip(found, sides, strict=True)
    ]
    on = tuple(join.left.keys[at] for at in order)
    plan = JoinPlan(join, on, tuple(found), count, ())
    checks.check_names(plan)
    every: list[Bucket] = [*range(count), None]
    alive = tuple(bucket for bucket in every if _comes_out(plan, bucket))
    return msgspec.structs.replace(plan, buckets=alive)


def _columns_read(join: Join, side: Side) -> list[str] | None:
    if side.columns is None:
        return None
    needed = [*side.keys, *side.columns]
    if isinstance(side, AsOf):
        needed += [side.at, side.tie] if side.tie else [side.at]
    if side is join.left:
        needed += [other.to for other in join.others if isinstance(other, AsOf)]
    return list(dict.fromkeys(needed))


def _order(lake: Lake, join: Join, found: Sequence[Bucketed]) -> tuple[int, ...]:
    """The order of the key's columns in which the fewest bytes have to be sorted."""
    sides = [join.left, *join.others]
    places = range(len(join.left.keys))
    if len(places) == 1:
        return (0,)

    def sorts(order: tuple[int, ...]) -> int:
        whole = 0
        for table, side in zip(found, sides, strict=True):
            loose = buckets.sequenced(lake, table, _by(join, side, order))
            whole += buckets.loose_bytes(loose)
        return whole

    return min(permutations(places), key=sorts) if len(places) < 5 else tuple(places)


def _by(join: Join, side: Side, order: Sequence[int]) -> list[str]:
    by = [side.keys[at] for at in order]
    if isinstance(side, AsOf):
        return [*by, side.at]
    if side is join.left:
        return [*by, *{other.to: 0 for other in join.others if isinstance(other, AsOf)}]
    return by


def _comes_out(plan: JoinPlan, bucket: Bucket) -> bool:
    """Whether the join may have a row in a bucket."""
    alive = bool(plan.tables[0].of(bucket))
    for other, table in zip(plan.join.others, plan.tables[1:], strict=True):
        there = bool(table.of(bucket))
        if other.how is How.FULL:
            alive = alive or there
        elif other.how in (How.INNER, How.SEMI):
            alive = alive and there and bucket is not None
    return alive


def join_rows(lake: Lake, plan: JoinPlan, folder: str | None = None) -> Iterator[pa.Table]:
    """The rows of a join, one bucket after another, in the order of the key in each."""
    opened = _Opened.of(lake, plan)
    for bucket in plan.buckets:
        yield from _joined(opened, bucket, folder)


def bucket_rows(
    lake: Lake, plan: JoinPlan, bucket: Bucket, folder: str | None = None
) -> Iterator[pa.Table]:
    """The rows of one bucket of a join, in the order of the key, a block at a time.

    folder: on a local disk, for what must be sorted, and a key with very many rows.
    """
    return _joined(_Opened.of(lake, plan), bucket, folder)


class _Opened(msgspec.Struct, frozen=True):
    """A plan with its tables loaded, and what is the same for all buckets."""

    plan: JoinPlan
    tables: list[IcebergTable]
    schemas: list[pa.Schema]
    shapes: list[Shape]
    names: list[str]

    @staticmethod
    def of(lake: Lake, plan: JoinPlan) -> _Opened:
        tables = [lake.load(table.name) for table in plan.tables]
        schemas = [plan.side_schema(place) for place in range(len(tables))]
        return _Opened(plan, tables, schemas, plan.shapes(), plan.schema().names)


def _joined(opened: _Opened, bucket: Bucket, folder: str | None) -> Iterator[pa.Table]:
    rows, *others = (_side_rows(opened, at, bucket, folder) for at in range(len(opened.tables)))
    for other, shape, right in zip(opened.plan.join.others, opened.shapes, others, strict=True):
        if isinstance(other, AsOf):
            rows = asof_sorted(rows, right, shape, _rule(other))
        else:
            rows = join_sorted(rows, right, shape, folder)
    for block in rows:
        yield block.select(opened.names)


def _rule(other: AsOf) -> Rule:
    rule = other.rule()
    tie = other.prefix + rule.tie if rule.tie else ""
    return msgspec.structs.replace(rule, right_at=other.prefix + rule.right_at, tie=tie)


def _side_rows(
    opened: _Opened, place: int, bucket: Bucket, folder: str | None
) -> Iterator[pa.Table]:
    """One table's rows in order, its columns named as in the result."""
    table, schema = opened.plan.tables[place], opened.schemas[place]
    found = table.found(opened.tables[place], bucket)
    for block in in_order(found, table.by, folder=folder):
        yield block.rename_columns(schema.names).cast(schema)
