"""A spec's columns as Iceberg's and Arrow's schema; and data that comes in, held to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from bowerbird.core.errors import UserError
from bowerbird.lake.specs import Table
from bowerbird.lake.types import Type, parse

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema
    from pyiceberg.types import IcebergType


def iceberg_schema(columns: dict[str, Type]) -> Schema:
    """Iceberg's schema, its ids counted from 1 (a table gives its own)."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField

    count = _counter()
    fields = [
        NestedField(count(), name, iceberg_type(column, count), required=column.required)
        for name, column in columns.items()
    ]
    return Schema(*fields)


def _counter() -> Callable[[], int]:
    numbers = iter(range(1, 1_000_000))
    return lambda: next(numbers)


def iceberg_type(column: Type, count: Callable[[], int] | None = None) -> IcebergType:
    from pyiceberg import types as iceberg

    count = count or _counter()
    if column.name == "decimal":
        return iceberg.DecimalType(*column.numbers)
    if column.name == "fixed":
        return iceberg.FixedType(column.numbers[0])
    if column.name == "list":
        (element,) = column.inner
        return iceberg.ListType(count(), iceberg_type(element, count), element.required)
    if column.name == "map":
        key, value = column.inner
        return iceberg.MapType(
            count(), iceberg_type(key, count), count(), iceberg_type(value, count), value.required
        )
    if column.name == "struct":
        pairs = zip(column.fields, column.inner, strict=True)
        fields = [
            iceberg.NestedField(count(), name, iceberg_type(inner, count), required=inner.required)
            for name, inner in pairs
        ]
        return iceberg.StructType(*fields)
    named = {"int": "Integer", "uuid": "UUID"}.get(column.name, column.name.capitalize())
    made: IcebergType = getattr(iceberg, f"{named}Type")()
    return made


def columns_of(schema: Schema) -> dict[str, str]:
    """Column -> type text, as a spec would write them."""
    return {
        field.name: type_text(field.field_type) + (" not null" if field.required else "")
        for field in schema.fields
    }


def type_text(found: IcebergType) -> str:
    from pyiceberg import types as iceberg

    def inside(inner: IcebergType, required: bool) -> str:
        return type_text(inner) + (" not null" if required else "")

    if isinstance(found, iceberg.DecimalType):
        return f"decimal({found.precision},{found.scale})"
    if isinstance(found, iceberg.FixedType):
        return f"fixed({len(found)})"
    if isinstance(found, iceberg.ListType):
        return f"list<{inside(found.element_type, found.element_required)}>"
    if isinstance(found, iceberg.MapType):
        value = inside(found.value_type, found.value_required)
        return f"map<{type_text(found.key_type)},{value}>"
    if isinstance(found, iceberg.StructType):
        fields = (f"{f.name}:{inside(f.field_type, f.required)}" for f in found.fields)
        return f"struct<{','.join(fields)}>"
    return str(found)


def arrow_schema(schema: Schema) -> pa.Schema:
    """Arrow's schema, with Iceberg's field ids in it: readers find columns by them."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    return schema_to_pyarrow(schema, include_field_ids=True)


def plain_arrow_schema(schema: Schema) -> pa.Schema:
    """Arrow's schema, as rows that are read have it."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    return schema_to_pyarrow(schema, include_field_ids=False)


def spec_arrow_schema(spec: Table) -> pa.Schema:
    """What a spec's source is to return (64-bit offsets where Arrow has two forms; either goes)."""
    return arrow_types(spec.types())


def arrow_types(columns: dict[str, Type]) -> pa.Schema:
    """Arrow's schema of declared columns."""
    return plain_arrow_schema(iceberg_schema(columns))


def as_stored(schema: pa.Schema) -> pa.Schema:
    """The types that columns have once they were written to a table and are read from it."""
    return arrow_types({field.name: parse(declared_type(field.type)) for field in schema})


def declared_type(kind: pa.DataType) -> str:
    """An Arrow type as a spec writes it; the inverse of `arrow_types`, one type at a time.

    Raises `UserError` for one that no table has.
    """
    import pyarrow.types as at

    if at.is_list(kind) or at.is_large_list(kind) or at.is_fixed_size_list(kind):
        return f"list<{declared_type(kind.value_type)}>"
    if at.is_map(kind):
        return f"map<{declared_type(kind.key_type)},{declared_type(kind.item_type)}>"
    if at.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if at.is_fixed_size_binary(kind):
        return f"fixed({kind.byte_width})"
    for test, text in (
        (at.is_boolean, "boolean"),
        (at.is_int64, "long"),
        (at.is_uint32, "long"),
        (at.is_integer, "int"),
        (at.is_float64, "double"),
        (at.is_floating, "float"),
        (at.is_date, "date"),
        (at.is_timestamp, "timestamptz"),
        (at.is_string, "string"),
        (at.is_large_string, "string"),
        (at.is_binary, "binary"),
        (at.is_large_binary, "binary"),
    ):
        if test(kind):
            return text
    raise UserError(f"no table has a column of Arrow's {kind}", expected="a number, text, time…")


def conform(name: str, came: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The data in the table's columns, order and types; only what loses nothing is converted.

    Raises `UserError` that names table and column, what came, and what was expected.
    """
    import pyarrow as pa

    _check_names(name, came.schema, wanted)
    columns = [
        _conform_column(name, field, came.column(came.schema.get_field_index(field.name)))
        for field in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def _check_names(name: str, came: pa.Schema, wanted: pa.Schema) -> None:
    came_names, wanted_names = came.names, wanted.names
    counts, known = Counter(came_names), set(wanted_names)
    twice = [column for column in came_names if counts[column] > 1]
    if twice:
        raise _refused(name, twice[0], "came twice", "each column once")
    missing = [column for column in wanted_names if column not in counts]
    if missing:
        have = ", ".join(came_names) or "none at all"
        raise _refused(name, missing[0], f"is missing from the data, which has {have}", "it there")
    extra = [column for column in came_names if column not in known]
    if extra:
        raise _refused(
            name,
            extra[0],
            "is in the data and not in the spec",
            f"the columns {', '.join(wanted_names)}",
            fix=f"add {extra[0]!r} to the schema, or leave it out of what the source returns",
        )


def _conform_column(name: str, field: pa.Field, came: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    wanted = field.type
    if pa.types.is_timestamp(came.type) and came.type.tz is None:
        raise _refused(
            name,
            field.name,
            "came as times without a zone",
            "UTC times (timestamp with tz=UTC)",
            fix="pc.assume_timezone(column, 'UTC'), with the zone that it was written in",
        )
    if not field.nullable and came.null_count:
        raise _refused(
            name,
            field.name,
            f"is null in {came.null_count:,} of {len(came):,} rows",
            "a value in every row ('not null')",
        )
    if came.type == wanted:
        return came
    if not _widens(came.type, wanted):
        raise _refused(name, field.name, f"came as {came.type}", f"{wanted}")
    try:
        return came.cast(wanted)
    except pa.ArrowInvalid as error:
        raise _refused(name, field.name, f"came as {came.type}: {error}", f"{wanted}") from error


def _widens(came: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether every value of one type that fits the other keeps its meaning in it."""
    import pyarrow.types as at

    if at.is_null(came):
        return True
    if at.is_dictionary(came):
        return _same_or_wider(came.value_type, wanted)
    if at.is_timestamp(came) and at.is_timestamp(wanted):
        return True
    if at.is_decimal(came) and at.is_decimal(wanted):
        return bool(came.scale == wanted.scale and came.precision <= wanted.precision)
    if at.is_floating(wanted):
        half = at.is_integer(came) and came.bit_width * 2 <= wanted.bit_width
        return bool(half or (at.is_floating(came) and came.bit_width <= wanted.bit_width))
    if _is_list(came) and _is_list(wanted):
        return _same_or_wider(came.value_type, wanted.value_type)
    if at.is_struct(came) and at.is_struct(wanted):
        return {f.name for f in came} == {f.name for f in wanted} and all(
            _same_or_wider(f.type, wanted.field(f.name).type) for f in came
        )
    if at.is_map(came) and at.is_map(wanted):
        pairs = ((came.key_type, wanted.key_type), (came.item_type, wanted.item_type))
        return all(_same_or_wider(one, other) for one, other in pairs)
    families = (at.is_integer, at.is_date, at.is_time, _is_text, _is_bytes)
    return any(family(came) and family(wanted) for family in families)


def _same_or_wider(came: pa.DataType, wanted: pa.DataType) -> bool:
    return bool(came == wanted) or _widens(came, wanted)


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as at

    return bool(at.is_list(kind) or at.is_large_list(kind) or at.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as at

    return bool(at.is_string(kind) or at.is_large_string(kind) or at.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as at

    return bool(
        at.is_binary(kind)
        or at.is_large_binary(kind)
        or at.is_binary_view(kind)
        or at.is_fixed_size_binary(kind)
    )


def _refused(name: str, column: str, what: str, expected: str, fix: str | None = None) -> UserError:
    return UserError(f"{name}: column {column!r} {what}", expected=expected, fix=fix)
