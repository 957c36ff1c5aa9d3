"""A group's values for asked keys and moments, however the group is declared, wherever it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bowerbird.core import functions
from bowerbird.core.errors import UserError
from bowerbird.data.features import events, sql
from bowerbird.data.features.specs import FeatureGroup, Place
from bowerbird.lake.types import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

ROW = "row"
"""The column of ``asked`` by which SQL says which question a row of its answer is for."""


def source_columns(group: FeatureGroup) -> list[str] | None:
    """The columns of the source that a group reads; None: it may read any."""
    from bowerbird.data.features.columns import fields_of

    if not group.columns:
        return None
    read = [*group.key, group.at, *([group.known_at] if group.known_at else [])]
    read += [field for column in group.columns.values() for field in fields_of(column)]
    read += [group.lookup_by] if group.lookup else []
    return list(dict.fromkeys(read))


def with_lookup(group: FeatureGroup, rows: pa.Table, attributes: pa.Table) -> pa.Table:
    """The events, each with the attributes that the key names; null where there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = pc.index_in(rows[group.lookup_by], value_set=attributes[group.lookup_by])
    if isinstance(place, pa.ChunkedArray):
        place = place.combine_chunks()
    for name in group.key:
        if name not in rows.column_names:
            rows = rows.append_column(name, attributes[name].take(place))
    return rows


def compute(
    group: FeatureGroup, rows: pa.Table, asked: pa.Table, place: Place = "local"
) -> pa.Table:
    """The features of `asked` (the key's columns and ``at``), in its order.

    rows: the source's, with the attributes of a lookup. Raises `UserError` where the group says
    that it does not run there, and where SQL or a function does not give what is declared.
    """
    return prepared(group, rows, place)(asked)


def prepared(
    group: FeatureGroup, rows: pa.Table, place: Place = "local"
) -> Callable[[pa.Table], pa.Table]:
    """`compute` of these events, to be asked again and again: what it sorts is sorted once."""
    if place not in group.places:
        raise UserError(
            f"{group.ref} is computed by {'SQL' if group.sql else 'a function'}, which does not "
            f"run in {place}",
            expected=f"one of: {', '.join(group.places)}",
            fix="declare it by columns=, which run everywhere; or name the place in runs=",
        )
    if group.columns and place == "duckdb":
        key, at, known_at = group.key, group.at, group.known_at
        return lambda asked: sql.run(group.columns, key, at, rows, asked, known_at=known_at)
    if group.columns:
        ready = events.events_of(rows, group.key, group.at, group.columns, group.known_at)
        return lambda asked: events.values(group.columns, ready, asked)
    how = _by_sql if group.sql else _by_function
    return lambda asked: _as_declared(group, how(group, rows, asked))


def _by_sql(group: FeatureGroup, rows: pa.Table, asked: pa.Table) -> pa.Table:
    import duckdb
    import pyarrow as pa

    numbered = asked.append_column(ROW, pa.array(np.arange(asked.num_rows)))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", rows)
        connection.register("asked", numbered)
        try:
            found = connection.sql(group.sql).to_arrow_table()
        except (duckdb.Error, AttributeError) as error:
            raise UserError(
                f"DuckDB: {error}",
                where=f"{group.ref}: sql",
                expected='a SELECT over events and asked, names such as "at" in quotes',
            ) from None
    if ROW not in found.column_names:
        raise UserError(
            f"the answer has no column {ROW!r}",
            where=f"{group.ref}: sql",
            expected="asked.row and the declared columns: SELECT asked.row, …",
        )
    found = found.sort_by(ROW)
    given = found[ROW].to_numpy()
    if len(given) != asked.num_rows or not np.array_equal(given, np.arange(asked.num_rows)):
        raise _other_rows(group, "sql", len(given), asked.num_rows)
    return found


def _by_function(group: FeatureGroup, rows: pa.Table, asked: pa.Table) -> pa.Table:
    function: Callable[[pa.Table, pa.Table], pa.Table] = functions.load(group.function)
    found = function(rows, asked)
    if found.num_rows != asked.num_rows:
        raise _other_rows(group, "function", found.num_rows, asked.num_rows)
    return found


def _other_rows(group: FeatureGroup, field: str, found: int, asked: int) -> UserError:
    return UserError(
        f"{found:,} rows came back for {asked:,} that were asked",
        where=f"{group.ref}: {field}",
        expected="each asked row exactly once",
        fix="aggregate by asked.row, and join from asked with LEFT JOIN",
    )


def _as_declared(group: FeatureGroup, found: pa.Table) -> pa.Table:
    """Only what is declared, in its types."""
    import pyarrow as pa

    lacking = [name for name in group.schema if name not in found.column_names]
    field = "sql" if group.sql else "function"
    if lacking:
        raise UserError(
            f"the answer has no column {lacking[0]!r}",
            where=f"{group.ref}: {field}",
            expected=f"the declared columns: {', '.join(group.schema)}",
        )
    try:
        return found.select(list(group.schema)).cast(output_schema(group))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise UserError(
            f"{error}", where=f"{group.ref}: {field}", expected="the types of schema="
        ) from None


def output_schema(group: FeatureGroup, source: pa.Schema | None = None) -> pa.Schema:
    """The features' names and types. source: of the events, for declared columns."""
    import pyarrow as pa

    from bowerbird.lake.schema import arrow_types

    if not group.columns:
        return arrow_types({name: parse(text) for name, text in group.schema.items()})
    assert source is not None  # noqa: S101 - whoever asks of columns has read the source
    types = {field.name: field.type for field in source}
    return pa.schema([(n, events.type_of(c, types)) for n, c in group.columns.items()])
