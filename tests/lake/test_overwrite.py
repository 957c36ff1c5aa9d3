"""Dynamic overwrite: whatever a table is split by, just the partitions of the rows are replaced."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import PlanAgainError, UserError
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.lake import (
    Lake,
    Table,
    TableLog,
    bucket,
    day,
    hour,
    identity,
    month,
    read,
    truncate,
    write,
    year,
)
from bowerbird.lake.layouts import iceberg_transform
from bowerbird.lake.overwrite import overwrite_partitions, preview
from bowerbird.lake.schema import iceberg_schema
from bowerbird.lake.specs import Transform
from bowerbird.testing.target_conformance import Hurried
from tests.lake.world import home_in

COLUMNS = {
    "id": "long",
    "at": "timestamptz",
    "day": "date",
    "name": "string",
    "raw": "binary",
    "cost": "decimal(9,2)",
    "batch": "int",
}
TRANSFORMS: list[list[Transform]] = [
    [bucket("id", 3), bucket("name", 2), bucket("cost", 2), bucket("raw", 2)],
    [hour("at"), day("at"), month("at"), year("at"), identity("at")],
    [year("day"), identity("day"), month("day")],
    [truncate("name", 1), identity("name"), truncate("raw", 1), identity("raw")],
    [truncate("id", 5), truncate("cost", 100), identity("cost"), identity("id")],
]
START = datetime(1969, 12, 31, 22, tzinfo=UTC)
NAMES = [None, "", "a", "ab", "null", "ü/=", "*", "#x"]


def row(number: int, batch: int) -> dict[str, Any]:
    at = None if number % 7 == 6 else START + timedelta(hours=number * 5)
    return {
        "id": None if number % 11 == 10 else number % 9 - 4,
        "at": at,
        "day": None if at is None else at.date() + timedelta(days=31 * (number % 3)),
        "name": NAMES[number % len(NAMES)],
        "raw": None if number % 5 == 4 else b"\x9e\xe9e"[: number % 4],
        "cost": None if number % 13 == 12 else Decimal(number % 6 - 3).quantize(Decimal("0.01")),
        "batch": batch,
    }


def told(line: dict[str, Any]) -> str:
    at = line["at"]
    return repr({**line, "at": at and at.timestamp()})


def as_rows(numbers: list[int], batch: int) -> list[dict[str, Any]]:
    return [row(number, batch) for number in numbers]


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    from bowerbird.lake.schema import spec_arrow_schema

    return pa.Table.from_pylist(rows, spec_arrow_schema(Table("test/any", schema=COLUMNS)))


def partition_of(spec: Table, line: dict[str, Any]) -> tuple[Any, ...]:
    """By Iceberg's own functions, a value at a time."""
    from pyiceberg.partitioning import _to_partition_representation

    schema = iceberg_schema(spec.types())
    values = []
    for one in spec.partition:
        kind, value = schema.find_type(one.column), line[one.column]
        plain = None if value is None else _to_partition_representation(kind, value)
        values.append(iceberg_transform(one).transform(kind)(plain))
    return tuple(values)


def overwrite(lake: Lake, spec: Table, rows: pa.Table, token: str) -> None:
    log = TableLog(lake, spec.ref)
    target = LogTarget(log, SystemClock())
    written = write(lake, spec, rows, log.files(Token(token), "a1"))
    change = overwrite_partitions(lake, written, "a1", f"meaning of {token}")
    target.commit(Token(token), target.read().version, change)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_combination_of_transforms_replaces_just_the_partitions_of_the_rows(
    data: st.DataObject,
) -> None:
    groups = data.draw(st.lists(st.sampled_from(TRANSFORMS), max_size=3, unique_by=id))
    partition = tuple(data.draw(st.sampled_from(group)) for group in groups)
    spec = Table("test/any", schema=COLUMNS, partition=partition, sort=("id",))
    model: dict[tuple[Any, ...], list[str]] = {}
    with TemporaryDirectory() as folder:
        lake = Lake(home_in(folder))
        for batch in range(3):
            numbers = data.draw(st.lists(st.integers(0, 60), max_size=12))
            rows = as_rows(numbers, batch)
            overwrite(lake, spec, as_table(rows), f"r/s{batch}")
            fresh = defaultdict(list)
            for line in rows:
                fresh[partition_of(spec, line)].append(told(line))
            model |= fresh
            found = [told(line) for line in read(lake, spec.ref).to_pylist()]
            assert sorted(found) == sorted(line for lines in model.values() for line in lines)
        cells = TableLog(lake, spec.ref).load().cells()
        assert len(cells) == len(model)
        for cell in cells:
            assert read(lake, spec.ref, cells=[cell]).num_rows in map(len, model.values())


SPLIT = Table(
    "test/split",
    schema={"k": "string", "n": "long"},
    partition=[identity("k"), bucket("n", 4)],
    sort=["n"],
)


def lines(keys: str, numbers: range) -> pa.Table:
    return pa.table({"k": [key for key in keys for _ in numbers], "n": [*numbers] * len(keys)})


def test_all_partitions_of_an_overwrite_are_one_version(lake: Lake) -> None:
    overwrite(lake, SPLIT, lines("abc", range(20)), "r/s1")
    overwrite(lake, SPLIT, lines("ab", range(3)), "r/s2")
    assert len(lake.load(SPLIT.ref).metadata.snapshots) == 2
    cells = TableLog(lake, SPLIT.ref).load().cells()
    assert {state.data for cell, state in cells.items() if cell.startswith("k=c")} == {"r/s1"}


def append(lake: Lake, rows: pa.Table, token: str) -> None:
    log = TableLog(lake, SPLIT.ref)
    target = LogTarget(log, Hurried())
    written = write(lake, SPLIT, rows, log.files(Token(token), "a1"))
    target.commit(Token(token), target.read().version, Change("a1", payload=written))


def test_an_overwrite_goes_on_top_of_what_others_did_elsewhere(lake: Lake) -> None:
    overwrite(lake, SPLIT, lines("ab", range(4)), "r/s1")
    log = TableLog(lake, SPLIT.ref)
    target = LogTarget(log, Hurried())
    base = target.read().version
    written = write(lake, SPLIT, lines("b", range(1)), log.files(Token("r/s2"), "a1"))
    append(lake, lines("a", range(4)), "r/s3")
    target.commit(Token("r/s2"), base, overwrite_partitions(lake, written, "a1", "m"))
    assert read(lake, SPLIT.ref, where={"k": "a"}).num_rows == 8


def test_what_others_wrote_into_one_of_the_partitions_is_never_overwritten(lake: Lake) -> None:
    overwrite(lake, SPLIT, lines("ab", range(4)), "r/s1")
    log = TableLog(lake, SPLIT.ref)
    target = LogTarget(log, Hurried())
    base = target.read().version
    written = write(lake, SPLIT, lines("b", range(1)), log.files(Token("r/s2"), "a1"))
    append(lake, lines("b", range(1)), "r/s3")
    with pytest.raises(PlanAgainError, match=r"changed by r/s3 .* where this step would overwrite"):
        target.commit(Token("r/s2"), base, overwrite_partitions(lake, written, "a1", "m"))


def test_a_preview_tells_rows_and_bytes_of_each_partition(lake: Lake) -> None:
    overwrite(lake, SPLIT, lines("ab", range(4)), "r/s1")
    written = write(lake, SPLIT, lines("b", range(1)), lake.location(SPLIT.ref) + "/data/x")
    (cell,) = preview(lake, written).cells
    there = read(lake, SPLIT.ref, cells=[cell.cell]).num_rows
    assert (cell.rows_in, cell.rows_out) == (1, there)
    assert cell.cell.startswith("k=b/n_bucket=")
    assert cell.bytes_out > 0
    assert len(lake.load(SPLIT.ref).metadata.snapshots) == 1


def test_a_text_null_is_another_partition_than_no_value(lake: Lake) -> None:
    spec = Table("test/null", schema={"k": "string", "n": "long"}, partition=[identity("k")])
    overwrite(lake, spec, pa.table({"k": ["null", None], "n": [1, 2]}), "r/s1")
    overwrite(lake, spec, pa.table({"k": ["null"], "n": [3]}), "r/s2")
    assert sorted(read(lake, spec.ref).column("n").to_pylist()) == [2, 3]


def test_a_number_too_small_to_be_rounded_down_is_refused(lake: Lake) -> None:
    spec = Table("test/low", schema={"n": "long"}, partition=[truncate("n", 10)])
    with pytest.raises(UserError, match="too small to be rounded down"):
        write(lake, spec, pa.table({"n": [-(2**63)]}), "unused")
