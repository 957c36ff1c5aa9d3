"""A group as one DuckDB query: what is shown to a user, and one of the places where it runs.

The query asks two relations: ``events`` (the source's rows, in order of ``n``) and ``asked`` (the
key and ``at``). It is the definition written down, not a fast plan: every question meets all
earlier events of its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bowerbird.data.features.columns import (
    DAY,
    Age,
    By,
    Column,
    Count,
    Decayed,
    Distinct,
    First,
    Interval,
    Last,
    Max,
    Mean,
    Min,
    Occasions,
    Ratio,
    Since,
    Sum,
    duration,
    fields_of,
    window_of,
)
from bowerbird.data.features.events import type_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa


def query(
    columns: Mapping[str, Column],
    key: Sequence[str],
    at: str,
    schema: pa.Schema,
    known_at: str = "",
) -> str:
    """The SQL of a group over events of a schema: a row a row of ``asked``, in its order."""
    types = {field.name: field.type for field in schema}
    fields = sorted({name for column in columns.values() for name in fields_of(column)})
    moment = f"epoch_us({_name(at)})"
    if known_at:
        moment = f"greatest({moment}, epoch_us({_name(known_at)}))"
    taken = [f"{_name(part)} AS {_key(i)}" for i, part in enumerate(key)]
    taken += [f"{moment} AS t", "n", *(_cleaned(name, types[name]) for name in fields)]
    there = [part for part in (*key, at, known_at) if part]
    present = " AND ".join(f"{_name(part)} IS NOT NULL" for part in there)
    same = " AND ".join(f"e.{_key(i)} = a.{_name(part)}" for i, part in enumerate(key))
    told, out, joins = ["r"], [], []
    seen = f"SELECT a.r, a.t AS asked_at, e.*\n  FROM a LEFT JOIN e ON {same} AND e.t < a.t"
    parts = [
        f"e AS (\n  SELECT {', '.join(taken)}\n  FROM events WHERE {present}\n)",
        'a AS (SELECT *, epoch_us("at") AS t, row_number() OVER () AS r FROM asked)',
        f"seen AS (\n  {seen}\n)",
    ]
    for place, (name, column) in enumerate(columns.items()):
        if isinstance(column, By):
            parts.append(f"by{place} AS (\n{_by(column, types)}\n)")
            joins.append(f" LEFT JOIN by{place} USING (r)")
            out.append(f"coalesce(by{place}.m, MAP {{}}) AS {_name(name)}")
        else:
            told.append(f"{_expression(column, types)} AS {_name(name)}")
            out.append(f"flat.{_name(name)}")
    parts.append("flat AS (\n  SELECT " + ",\n    ".join(told) + "\n  FROM seen GROUP BY r\n)")
    return (
        "WITH " + ",\n".join(parts) + f"\nSELECT {', '.join(out)}\n"
        f"FROM flat{''.join(joins)} ORDER BY r"
    )


def run(
    columns: Mapping[str, Column],
    key: Sequence[str],
    at: str,
    rows: pa.Table,
    asked: pa.Table,
    asked_at: str = "at",
    known_at: str = "",
) -> pa.Table:
    """The same columns as `events.values`, computed by DuckDB."""
    import duckdb
    import pyarrow as pa

    renamed = asked.rename_columns(["at" if n == asked_at else n for n in asked.column_names])
    numbered = rows.append_column("n", pa.array(range(rows.num_rows), pa.int64()))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", numbered)
        connection.register("asked", renamed)
        found = connection.sql(query(columns, key, at, rows.schema, known_at)).to_arrow_table()
    types = {field.name: field.type for field in rows.schema}
    wanted = pa.schema([(name, type_of(column, types)) for name, column in columns.items()])
    return found.cast(wanted)


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _key(index: int) -> str:
    return f"k{index}"


def _field(name: str) -> str:
    return _name(f"f_{name}")


def _cleaned(name: str, kind: pa.DataType) -> str:
    """A field with what is no number as null."""
    import pyarrow as pa

    column = _name(name)
    if pa.types.is_floating(kind):
        return f"CASE WHEN isfinite({column}) THEN {column}::DOUBLE END AS {_field(name)}"
    if pa.types.is_decimal(kind):
        return f"{column}::DOUBLE AS {_field(name)}"
    return f"{column} AS {_field(name)}"


def _inside(over: str | None, *terms: str) -> str:
    """The filter of an aggregate: events only (a question without one has a row of nulls)."""
    window = [f"t >= asked_at - {duration(over)}"] if over else []
    return " FILTER (WHERE " + " AND ".join(["n IS NOT NULL", *window, *terms]) + ")"


def _expression(column: Column, types: Mapping[str, pa.DataType]) -> str:
    import pyarrow as pa

    match column:
        case Count(over, None):
            return f"count(*){_inside(over)}"
        case Count(over, str() as name):
            return f"count({_field(name)}){_inside(over)}"
        case Occasions(over):
            return f"count(DISTINCT t){_inside(over)}"
        case Sum(name, over):
            whole = type_of(column, types) == pa.int64()
            value = f"{_field(name)}::BIGINT" if whole else _field(name)
            total = f"{'sum' if whole else 'fsum'}({value}){_inside(over)}"
            return f"coalesce({total}, 0)"
        case Mean(name, over):
            count = f"count({_field(name)}){_inside(over)}"
            total = f"fsum({_field(name)}::DOUBLE){_inside(over)}"
            return f"{total} / nullif({count}, 0)"
        case Min(name, over):
            return f"min({_field(name)}){_inside(over)}"
        case Max(name, over):
            return f"max({_field(name)}){_inside(over)}"
        case Distinct(name, over, _):
            return f"count(DISTINCT {_field(name)}){_inside(over)}"
        case First(name):
            has = f"{_field(name)} IS NOT NULL"
            return f"first({_field(name)} ORDER BY t, n){_inside(None, has)}"
        case Last(name, n, over):
            has = f"{_field(name)} IS NOT NULL"
            if n is None:
                return f"last({_field(name)} ORDER BY t, n){_inside(over, has)}"
            return f"coalesce(list({_field(name)} ORDER BY t, n){_inside(over, has)}, [])[-{n}:]"
        case Since():
            return f"(any_value(asked_at) - max(t)) / {DAY}.0"
        case Age():
            return f"(any_value(asked_at) - min(t)) / {DAY}.0"
        case Interval():
            gaps = "nullif(count(DISTINCT t) - 1, 0)"
            return f"CASE WHEN count(DISTINCT t) > 1 THEN (max(t) - min(t)) / {DAY}.0 / {gaps} END"
        case Decayed(half_life, name):
            weight = f"pow(2.0, (t - asked_at) / {duration(half_life)}.0)"
            value = weight if name is None else f"{_field(name)} * {weight}"
            return f"coalesce(fsum({value}){_inside(None)}, 0.0)"
        case Ratio(above, below):
            one, other = _expression(above, types), _expression(below, types)
            return f"({one})::DOUBLE / nullif(({other})::DOUBLE, 0)"
    raise TypeError(f"not one expression: {column!r}")  # a map is a query of its own


def _by(column: By, types: Mapping[str, pa.DataType]) -> str:
    over, field = window_of(column.column), _field(column.by)
    where = ["n IS NOT NULL", f"{field} IS NOT NULL"]
    where += [f"t >= asked_at - {duration(over)}"] if over else []
    inner = _expression(column.column, types)
    return (
        "  SELECT r, map(list(k ORDER BY k), list(v ORDER BY k)) AS m FROM (\n"
        f"    SELECT r, {field} AS k, {inner} AS v\n"
        f"    FROM seen WHERE {' AND '.join(where)} GROUP BY r, k\n"
        "  ) GROUP BY r"
    )
