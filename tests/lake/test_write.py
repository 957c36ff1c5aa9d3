from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.conversions import from_bytes
from pyiceberg.types import LongType

from bowerbird.core.clock import SystemClock
from bowerbird.core.engine import Event
from bowerbird.core.errors import UserError
from bowerbird.core.inside import bound
from bowerbird.core.targets import WHOLE, Change, LogTarget, Token
from bowerbird.lake import (
    Bucket,
    Lake,
    Month,
    Table,
    TableLog,
    Written,
    bucket,
    day,
    encodings,
    identity,
    read,
    spill,
    write,
)
from bowerbird.lake.layouts import iceberg_transform
from bowerbird.lake.partitions import partition_values
from bowerbird.lake.schema import iceberg_type
from bowerbird.lake.specs import Day, Hour, Transform, Truncate, Year
from bowerbird.lake.types import parse

SALES = Table(
    "shop/sales",
    schema={"id": "long", "at": "timestamptz", "price": "double", "shop": "string"},
    partition=[bucket("id", 4), day("at")],
    sort=["id", "at"],
)


def sales(count: int = 200) -> pa.Table:
    start = datetime(2024, 2, 28, tzinfo=UTC)
    return pa.table(
        {
            "id": pa.array([(i * 37) % 50 if i % 11 else None for i in range(count)], pa.int64()),
            "at": pa.array([start + timedelta(minutes=17 * i) for i in range(count)]),
            "price": [i / 7 for i in range(count)],
            "shop": [f"shop {i % 3}" for i in range(count)],
        }
    )


def commit(lake: Lake, written: Written, token: str = "r/s", *overwrites: str) -> str:
    target = LogTarget(TableLog(lake, written.spec.ref), SystemClock())  # type: ignore[union-attr]
    change = Change("a1", makes={WHOLE: "m"}, overwrites=overwrites, payload=written)
    return target.commit(Token(token), target.read().version, change).version


_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "date": st.dates(),
    "timestamptz": st.datetimes(timezones=st.just(UTC)),
    "string": st.text(max_size=20),
    "binary": st.binary(max_size=20),
    "decimal(12,2)": st.decimals(-(10**9), 10**9, places=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("text", list(_PLAIN))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_partitions_are_those_of_icebergs_own_transforms(text: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | _PLAIN[text], max_size=30))
    kind = iceberg_type(parse(text))
    from pyiceberg.io.pyarrow import schema_to_pyarrow
    from pyiceberg.partitioning import _to_partition_representation

    column = pa.chunked_array([pa.array(values, schema_to_pyarrow(kind))])
    transforms: list[Transform] = [Bucket("c", 7)]
    if text in ("date", "timestamptz"):
        transforms += [Day("c"), Month("c"), Year("c")]
    if text == "timestamptz":
        transforms.append(Hour("c"))
    if text in ("int", "long", "string", "binary", "decimal(12,2)"):
        transforms += [Truncate("c", 1), Truncate("c", 7)]
    for one in transforms:
        reference = iceberg_transform(one).transform(kind)
        plain = [None if v is None else _to_partition_representation(kind, v) for v in values]
        wanted = [reference(v) for v in plain]
        if isinstance(one, Truncate) and text in ("int", "long") and _below(text, wanted):
            with pytest.raises(UserError, match="too small to be rounded down"):
                partition_values(one, column, kind)
        else:
            assert partition_values(one, column, kind).to_pylist() == wanted


def _below(text: str, values: list[int | None]) -> bool:
    least = -(2**31) if text == "int" else -(2**63)
    return any(value is not None and value < least for value in values)


def test_every_row_comes_back_once(lake: Lake) -> None:
    written = write(lake, SALES, sales(), lake.location(SALES.ref) + "/data/x")
    commit(lake, written)
    came, went = (
        Counter(map(str, table.to_pylist())) for table in (read(lake, SALES.ref), sales())
    )
    assert came == went


def test_each_file_holds_one_partition_in_the_declared_order(lake: Lake) -> None:
    commit(lake, write(lake, SALES, sales(), lake.location(SALES.ref) + "/data/x"))
    table = lake.load(SALES.ref)
    for task in table.scan().plan_files():
        rows = pq.read_table(task.file.file_path)
        keys = [("id", "ascending"), ("at", "ascending")]
        assert rows.equals(rows.take(pc.sort_indices(rows, sort_keys=keys)))
        days = {at.astimezone(UTC).date() for at in rows.column("at").to_pylist()}
        assert days == {date(1970, 1, 1) + timedelta(days=task.file.partition[1])}
        assert task.file.sort_order_id == table.sort_order().order_id == 1


def test_statistics_let_a_reader_skip_files(lake: Lake) -> None:
    commit(lake, write(lake, SALES, sales(), lake.location(SALES.ref) + "/data/x"))
    table = lake.load(SALES.ref)
    file = next(iter(table.scan().plan_files())).file
    rows = pq.read_table(file.file_path)
    assert from_bytes(LongType(), file.lower_bounds[1]) == pc.min(rows.column("id")).as_py()
    assert from_bytes(LongType(), file.upper_bounds[1]) == pc.max(rows.column("id")).as_py()
    assert file.null_value_counts[1] == rows.column("id").null_count
    assert len(list(table.scan(row_filter="id = 7").plan_files())) < len(
        list(table.scan().plan_files())
    )


def test_files_stop_at_their_target_size(lake: Lake) -> None:
    import numpy as np

    rows = pa.table({"x": np.random.default_rng(0).random(600_000)})
    spec = Table("shop/noise", schema={"x": "double"}, target_file_bytes=1_500_000)
    written = write(lake, spec, rows, lake.location(spec.ref) + "/data/x")
    assert len(written.files) >= 2
    assert all(file.file_size_in_bytes < 3_000_000 for file in written.files)
    assert written.rows == 600_000


def test_batches_one_by_one_give_the_same_as_a_table(lake: Lake) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from sales().to_batches(max_chunksize=13)

    folder = lake.location(SALES.ref) + "/data/x"
    by_batch = write(lake, SALES, batches(), folder)
    whole = write(lake, SALES, sales(), folder)
    assert [f.record_count for f in by_batch.files] == [f.record_count for f in whole.files]
    assert write(lake, SALES, iter(()), folder).files == ()


def test_what_a_task_hands_back_is_small_and_can_travel(lake: Lake) -> None:
    written = write(lake, SALES, sales(), lake.location(SALES.ref) + "/data/x")
    packed = pickle.dumps(written)
    assert len(packed) < 1000 * len(written.files)
    again = pickle.loads(packed)
    assert again.rows == 200
    commit(lake, again)
    assert read(lake, SALES.ref).num_rows == 200


def test_progress_is_told(lake: Lake) -> None:
    told: list[Event] = []
    with bound("k", told.append):
        write(lake, SALES, sales(), lake.location(SALES.ref) + "/data/x")
    assert told[-1].done == told[-1].total == len({e.done for e in told}) - 1


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("at", pa.array([0], pa.timestamp("us")), "came as times without a zone"),
        ("id", pa.array(["7"]), "came as string"),
        ("id", pa.array([7.0]), "came as double"),
        ("id", pa.array([2**63], pa.uint64()), "came as uint64"),
        ("price", pa.array([7], pa.int64()), "came as int64"),
        ("shop", pa.array([7]), "came as int64"),
    ],
)
def test_a_wrong_type_is_refused_by_name(
    lake: Lake, column: str, values: pa.Array, says: str
) -> None:
    rows = sales(1)
    rows = rows.set_column(rows.schema.get_field_index(column), column, values)
    with pytest.raises(UserError, match=f"table:shop/sales: column '{column}' {says}") as caught:
        write(lake, SALES, rows, "unused")
    assert caught.value.expected


def test_missing_and_unknown_columns_are_refused_by_name(lake: Lake) -> None:
    with pytest.raises(UserError, match="column 'shop' is missing from the data"):
        write(lake, SALES, sales().drop_columns(["shop"]), "unused")
    with pytest.raises(UserError, match="column 'more' is in the data and not in the spec"):
        write(lake, SALES, sales().append_column("more", sales().column("id")), "unused")


def test_a_null_where_none_may_be_is_refused_with_its_count(lake: Lake) -> None:
    spec = Table("shop/hard", schema={"id": "long not null"})
    with pytest.raises(UserError, match="is null in 19 of 200 rows"):
        write(lake, spec, sales().select(["id"]), "unused")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("long", pa.array([1, 2], pa.int32())),
        ("long", pa.array([None, None], pa.null())),
        ("double", pa.array([1, 2], pa.int32())),
        ("string", pa.array(["a", "b"]).dictionary_encode()),
        ("string", pa.array(["a", "b"], pa.string_view())),
        ("timestamptz", pa.array([1, 2], pa.timestamp("ms", "Europe/Vienna"))),
        ("decimal(10,2)", pa.array([Decimal("1.25"), None], pa.decimal128(5, 2))),
        ("list<long>", pa.array([[1], None], pa.list_(pa.int32()))),
        ("struct<a:long,b:string>", pa.array([{"b": "x", "a": 1}, None])),
    ],
)
def test_what_loses_nothing_is_taken(lake: Lake, text: str, values: pa.Array) -> None:
    spec = Table("shop/wide", schema={"c": text})
    written = write(lake, spec, pa.table({"c": values}), lake.location(spec.ref) + "/data/x")
    commit(lake, written)
    assert read(lake, spec.ref).column("c").to_pylist() == values.to_pylist()


def test_a_partition_value_may_be_null_or_odd(lake: Lake) -> None:
    spec = Table("shop/odd", schema={"k": "string", "d": "date"}, partition=[identity("k")])
    odd = ["a/b", "=", None, "ü ö", "", "*", "#"]
    rows = pa.table({"k": odd, "d": pa.array([None] * len(odd), pa.date32())})
    commit(lake, write(lake, spec, rows, lake.location(spec.ref) + "/data/x"), "r/s1", WHOLE)
    assert sorted(map(str, read(lake, spec.ref).column("k").to_pylist())) == sorted(map(str, odd))
    assert read(lake, spec.ref, cells=["k=a%2Fb"]).num_rows == 1


@pytest.mark.slow
@pytest.mark.parametrize("memory", [2**14, 2**18])
def test_what_does_not_fit_into_memory_is_written_as_if_it_had(
    lake: Lake, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "MOST", 3)
    rows = sales(3000)
    folder = lake.location(SALES.ref) + "/data/"
    whole = write(lake, SALES, rows, folder + "whole")
    batches = iter(rows.to_batches(max_chunksize=100))
    streamed = write(lake, SALES, batches, folder + "streamed", memory=memory)
    assert [f.partition for f in streamed.files] == [f.partition for f in whole.files]
    for one, other in zip(streamed.files, whole.files, strict=True):
        assert pq.read_table(one.file_path).equals(pq.read_table(other.file_path))


@pytest.mark.slow
def test_a_stream_far_larger_than_its_memory_is_written_within_it(tmp_path: Path) -> None:
    """In a process of its own: 20 times the limit goes through. The process grows by up to twice
    the limit: Arrow keeps what was freed, and numpy and the encoders hold some."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.lake.large_write", str(tmp_path), str(64 * 2**20), "20"],
        capture_output=True,
        text=True,
        check=True,
    )
    grown, came = map(int, told.stdout.split())
    assert came >= 20 * 64 * 2**20
    assert grown < 2 * 64 * 2**20


def test_the_smallest_encoding_is_taken_column_by_column() -> None:
    rows = pa.table(
        {
            "counted": pa.array(range(20_000), pa.int64()),
            "repeated": pa.array([f"name {i % 5}" for i in range(20_000)]),
            "random": pa.array([hash((i, "x")) for i in range(20_000)], pa.int64()),
        }
    )
    found = encodings.chosen(rows).options
    assert found["column_encoding"]["counted"] == "DELTA_BINARY_PACKED"
    assert "repeated" in found["use_dictionary"]
    assert "counted" not in found["use_dictionary"]
