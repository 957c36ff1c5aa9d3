"""A group's values for asked keys and moments, however the group is declared, wherever it runs."""

from __future__ import annotations

import atexit
import functools
import os
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.core import functions
from bowerbird.core.errors import UserError
from bowerbird.data.features import events, sql
from bowerbird.data.features.specs import FeatureGroup, Place
from bowerbird.lake.types import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    import pyarrow as pa

ROW = "row"
"""The column of ``asked`` by which SQL says which question a row of its answer is for."""


def needed_columns(group: FeatureGroup) -> list[str]:
    """The columns that a group's events must have; those of its key may come from the lookup. SQL
    and functions are given all others too."""
    from bowerbird.data.features.columns import fields_of

    read = [*group.key, group.at, *([group.known_at] if group.known_at else [])]
    read += [field for column in group.columns.values() for field in fields_of(column)]
    read += [group.lookup_by] if group.lookup else []
    return list(dict.fromkeys(read))


def with_lookup(group: FeatureGroup, rows: pa.Table, attributes: pa.Table) -> pa.Table:
    """The events, each with the attributes that the key names; null where there are none, and where
    the event's own `lookup_by` is null.

    Raises `UserError` for a value of it that an event has and several rows of attributes.
    """
    import pyarrow as pa

    by, known = group.lookup_by, attributes[group.lookup_by]
    place = events.numbered(rows[by], by, known)
    times = np.bincount(events.numbered(known, by, known) + 1, minlength=len(known) + 1)[1:]
    several = np.flatnonzero((place >= 0) & (times[place] > 1)) if len(known) else place[:0]
    if len(several):
        value = rows[by][int(several[0])].as_py()
        raise UserError(
            f"{times[place[several[0]]]:,} rows of {group.lookup} have {by}={value!r}; "
            f"{len(several):,} events have a value that several rows have",
            where=f"{group.ref}: lookup",
            expected=f"one row of attributes for each {by}",
            fix=f"lookup= of a table that holds each {by} once",
        )
    places = pa.array(place, mask=place < 0)
    for name in group.key:
        if name not in rows.column_names:
            rows = rows.append_column(name, attributes[name].take(places))
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
    refuse_elsewhere(group, place)
    if group.columns and place == "duckdb":
        key, at, known_at = group.key, group.at, group.known_at
        return lambda asked: sql.run(group.columns, key, at, rows, asked, known_at=known_at)
    if group.columns:
        ready = events.events_of(rows, group.key, group.at, group.columns, group.known_at)
        return lambda asked: events.values(group.columns, ready, asked)
    return lambda asked: _told(group, rows, asked)


def place_of(engine: str) -> Place:
    """Where the tasks of an engine compute: its name begins with what it is."""
    return "ray" if engine.startswith("ray") else "local"


def refuse_elsewhere(group: FeatureGroup, place: Place) -> None:
    """Raise `UserError` for a group that does not run there."""
    if place not in group.places:
        raise UserError(
            f"{group.ref} is computed by {'SQL' if group.sql else 'a function'}, which does not "
            f"run in {place}",
            expected=f"one of: {', '.join(group.places)}",
            fix="declare it by columns=, which run everywhere; or name the place in runs=",
        )


def _told(group: FeatureGroup, rows: pa.Table, asked: pa.Table) -> pa.Table:
    """What SQL or a function says; where nothing is asked, they are not."""
    if not asked.num_rows:
        return output_schema(group).empty_table()
    how = _by_sql if group.sql else _by_function
    return _as_declared(group, how(group, rows, asked))


@functools.cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """A database of a process that stays empty: to open one takes as long as ten questions.

    Of one thread: several would add up fractions in the order in which they come to them. A process
    that was forked off does not go on with its parent's.
    """
    import duckdb

    del process
    atexit.register(_database.cache_clear)  # or DuckDB complains that it outlives the interpreter
    return duckdb.connect(config={"threads": 1})


def _by_sql(group: FeatureGroup, rows: pa.Table, asked: pa.Table) -> pa.Table:
    import duckdb
    import pyarrow as pa

    numbered = asked.append_column(ROW, pa.array(np.arange(asked.num_rows)))
    with _database(os.getpid()).cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.register("events", rows)
        cursor.register("asked", numbered)
        try:
            kinds = [one.type for one in cursor.extract_statements(group.sql)]
            if kinds == [duckdb.StatementType.SELECT]:
                return _in_order(group, cursor.sql(group.sql).to_arrow_table(), asked.num_rows)
            problem = "it is not one SELECT"
        except duckdb.Error as error:
            problem = f"DuckDB: {error}"
        raise UserError(
            problem,
            where=f"{group.ref}: sql",
            expected='a SELECT over events and asked, names such as "at" in quotes',
        )


def _in_order(group: FeatureGroup, found: pa.Table, asked: int) -> pa.Table:
    """What SQL gave, a row for each that was asked, in their order."""
    if ROW not in found.column_names:
        raise UserError(
            f"the answer has no column {ROW!r}",
            where=f"{group.ref}: sql",
            expected="asked.row and the declared columns: SELECT asked.row, …",
        )
    found = found.sort_by(ROW)
    given = found[ROW].to_numpy()
    if len(given) != asked or not np.array_equal(given, np.arange(asked)):
        raise _other_rows(group, "sql", len(given), asked)
    return found


def _by_function(group: FeatureGroup, rows: pa.Table, asked: pa.Table) -> pa.Table:
    import pyarrow as pa

    function: Callable[[pa.Table, pa.Table], pa.Table] = functions.load(group.function)
    where, expected = f"{group.ref}: function", "an Arrow table, a row for each of asked"
    try:
        found = function(rows, asked)
    except Exception as error:
        raise UserError(
            f"{group.function} raised {type(error).__name__}: {error}",
            where=where,
            expected=expected,
        ) from error
    if not isinstance(found, pa.Table):
        raise UserError(
            f"{group.function} gave {type(found).__name__}", where=where, expected=expected
        )
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
