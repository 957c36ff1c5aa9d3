"""Tables asked in SQL, and looked into by a sample: a few rows as plain values, for people."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.core.refs import Ref
from bowerbird.lake.catalog import Lake
from bowerbird.lake.joins.sample import SampleView, Share, bucket_sample, explain, sample_rows
from bowerbird.lake.readers import duckdb

if TYPE_CHECKING:
    import pyarrow as pa


class Answer(msgspec.Struct, frozen=True):
    """The first rows of an answer. more: whether there are others."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool


class Sampled(msgspec.Struct, frozen=True):
    """What reading a sample takes, and its first rows."""

    sample: SampleView
    answer: Answer


def query(lake: Lake, sql: str, rows: int = 20) -> Answer:
    """The first rows of what a SELECT gives; tables are named as ``namespace.name``.

    Raises `UserError`, with what DuckDB says, for SQL that it does not understand.
    """
    import duckdb as duck

    known = lake.tables()
    try:
        statements = duck.extract_statements(sql)
        names = duck.connect().get_table_names(sql, qualified=True)
    except duck.Error as error:
        raise _wrong(sql, error) from None
    if len(statements) != 1 or statements[0].type != duck.StatementType.SELECT:
        raise UserError(f"{sql!r} is no single SELECT", expected="one SELECT: nothing is written")
    named = [name.replace('"', "") for name in names]
    for name in named:
        if "." in name and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UserError(
                f"there is no table {name}",
                expected=f"{near[0]}?" if near else f"one of: {', '.join(known) or '(none)'}",
            )
    with duckdb(lake, {name: (name, None) for name in named if name in known}) as connection:
        for name in named:
            if name in known:
                space, _, last = name.partition(".")
                connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{space}"')
                connection.execute(f'CREATE VIEW "{space}"."{last}" AS FROM "{name}"')
        try:
            # By way of Arrow: DuckDB's own rows need pytz for a time in a zone.
            connection.execute("SET TimeZone = 'UTC'")
            found = connection.sql(sql).limit(rows + 1).to_arrow_table()
        except duck.Error as error:
            raise _wrong(sql, error) from None
    lines = zip(*(column.to_pylist() for column in found.slice(0, rows).columns), strict=True)
    return Answer(tuple(found.column_names), tuple(lines), more=found.num_rows > rows)


def _wrong(sql: str, error: Exception) -> UserError:
    return UserError(f"{sql!r}: {error}", expected="a SELECT as DuckDB understands it")


def sampled(lake: Lake, ref: Ref | str, key: str, share: float, rows: int = 20) -> Sampled:
    """A sample by key, and its first rows."""
    found = bucket_sample(lake, ref, key, Share(share))
    got: list[dict[str, Any]] = []
    columns: tuple[str, ...] = ()
    for block in sample_rows(lake, found):
        columns = tuple(block.column_names)
        got += _values(block.slice(0, rows + 1 - len(got)))
        if len(got) > rows:
            break
    answer = Answer(
        columns, tuple(tuple(row.values()) for row in islice(got, rows)), more=len(got) > rows
    )
    return Sampled(explain(found), answer)


def _values(rows: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows.to_pylist()
    return found
