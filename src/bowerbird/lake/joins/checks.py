"""What a join must be before it runs: bucketed alike, keys of one type, no name twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bowerbird.core.errors import UserError
from bowerbird.lake.catalog import Lake
from bowerbird.lake.joins import buckets
from bowerbird.lake.joins.buckets import Bucketed
from bowerbird.lake.joins.merging import How
from bowerbird.lake.joins.specs import AsOf, Join, Other, Side
from bowerbird.lake.schema import type_text

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.types import IcebergType

    from bowerbird.lake.joins.join import JoinPlan


def completed(join: Join) -> Join:
    """The join with what was left to be understood; raises `UserError` where it says too little."""
    left = replace(join.left, on=join.left.keys)
    if not left.keys:
        raise UserError(f"{left.name}: no key to join by", expected="on='…', its bucketed column")
    if not join.others:
        raise UserError(f"{left.name} is joined to nothing", expected="With(…) or AsOf(…)")
    others = tuple(_completed(left, other) for other in join.others)
    times = {other.to for other in others if isinstance(other, AsOf)}
    if len(times) > 1:
        raise UserError(
            f"{left.name} is joined as of {' and '.join(sorted(times))}",
            expected="one time column of it in all of one join: its rows lie in one order",
            fix="two joins, one after the other",
        )
    return Join(left, others)


def _completed(left: Side, other: Other) -> Other:
    other = replace(other, on=other.keys or left.keys)
    if len(other.keys) != len(left.keys):
        raise UserError(
            f"{other.name} is joined by {', '.join(other.keys)}, and {left.name} by "
            f"{', '.join(left.keys)}",
            expected="as many key columns, in the same order",
        )
    if isinstance(other, AsOf):
        if not other.at:
            raise UserError(f"{other.name}: as of which time?", expected="at='…', its time column")
        if other.how not in (How.LEFT, How.INNER):
            raise UserError(f"{other.name}: an as-of join is no {other.how} join", expected="LEFT")
        other = replace(other, to=other.to or other.at)
    return other


def key_place(lake: Lake, sides: Sequence[Side]) -> int:
    """Which of the key's columns all tables are bucketed by, into counts that divide one another.

    This is where a shuffle is refused.
    """
    tables = {side.name: lake.load(side.ref).metadata for side in sides}
    told = "; ".join(f"{name} by {buckets.layout(found)}" for name, found in tables.items())
    for place in range(len(sides[0].keys)):
        counts = [buckets.count_of(tables[side.name], side.keys[place]) for side in sides]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            continue
        if any(count % min(known) for count in known):
            raise UserError(
                f"bucket counts {', '.join(map(str, known))} do not divide one another: {told}",
                expected=f"multiples of {min(known)}, such as 16 and 64",
                fix=f"give one of them {max(known)} or {min(known)} buckets and write it anew",
            )
        return place
    loose = next(side for side in sides if _buckets_none(tables[side.name], side))
    raise UserError(
        f"{' and '.join(tables)} are not bucketed by one key, so their join would move every row "
        f"(a shuffle): {told}",
        expected="; ".join(f"{side.name} by bucket({side.keys[0]!r}, n)" for side in sides),
        fix=f"declare partition=[bucket({loose.keys[0]!r}, 16)] for {loose.name} and write it "
        "anew; or ask for the shuffle: a join in duckdb(lake, …)",
    )


def _buckets_none(metadata: object, side: Side) -> bool:
    return all(buckets.count_of(metadata, key) is None for key in side.keys)  # type: ignore[arg-type]


def check_types(join: Join, found: Sequence[Bucketed]) -> None:
    """Keys whose equal values have equal hashes, and times that can be compared."""
    key_types(join, found)
    first = found[0].schema
    for other, table in zip(join.others, found[1:], strict=True):
        if not isinstance(other, AsOf):
            continue
        mine, theirs = _type(found[0], other.to), _type(table, other.at)
        if not (type_text(mine).startswith("timestamp") and mine == theirs):
            raise UserError(
                f"{found[0].name}.{other.to} is {type_text(first.find_type(other.to))} and "
                f"{table.name}.{other.at} is {type_text(theirs)}",
                expected="two times (timestamptz)",
            )


def key_types(join: Join, found: Sequence[Bucketed]) -> dict[str, pa.DataType]:
    """The first table's key column -> the type that all tables' values of it fit into."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow
    from pyiceberg.types import DoubleType, FloatType

    types: dict[str, pa.DataType] = {}
    for place, key in enumerate(join.left.keys):
        known = _type(found[0], key)
        for side, table in zip([join.left, *join.others], found, strict=True):
            theirs = _type(table, side.keys[place])
            wider = _wider(known, theirs)
            if wider is None or isinstance(theirs, (FloatType, DoubleType)):
                raise UserError(
                    f"the key {found[0].name}.{key} is {type_text(known)} and "
                    f"{table.name}.{side.keys[place]} is {type_text(theirs)}",
                    expected="one type (int and long are alike), and none of floating point",
                )
            known = wider
        types[key] = schema_to_pyarrow(known)
    return types


def _type(table: Bucketed, column: str) -> IcebergType:
    try:
        return table.schema.find_type(column)
    except ValueError:
        raise UserError(
            f"{table.name} has no column {column!r}",
            expected=f"one of: {', '.join(table.schema.column_names)}",
        ) from None


def _wider(one: IcebergType, other: IcebergType) -> IcebergType | None:
    from pyiceberg.types import DecimalType, IntegerType, LongType

    if one == other:
        return one
    if {type(one), type(other)} == {IntegerType, LongType}:
        return LongType()
    if isinstance(one, DecimalType) and isinstance(other, DecimalType):
        same = one.scale == other.scale
        return max(one, other, key=lambda kind: kind.precision) if same else None
    return None


def check_names(plan: JoinPlan) -> None:
    """No two columns of one name come out."""
    for place, (other, shape) in enumerate(zip(plan.join.others, plan.shapes(), strict=True), 1):
        names = plan.side_schema(place).names
        twice = [name for name in names if names.count(name) > 1]
        twice += [name for name in shape.adds if name in shape.left.names]
        if twice:
            raise UserError(
                f"{other.name}: two columns of the join would be named {twice[0]!r}",
                expected="each name once",
                fix=f"prefix={other.ref.rpartition('/')[2] + '_'!r}, or columns=(…) without it",
            )
        for column in other.columns or ():
            if column not in plan.tables[place].schema.column_names:
                raise UserError(f"{other.name} has no column {column!r}")
