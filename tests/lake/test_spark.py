"""Spark and we work on the same tables: each reads what the other writes, as it was meant."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import replace

from bowerbird.core.clock import SystemClock
from bowerbird.core.targets import WHOLE, Change, LogTarget, Token
from bowerbird.lake import (
    Keyed,
    Lake,
    Mode,
    Table,
    TableLog,
    bucket,
    day,
    duckdb,
    identity,
    merge_into,
    polars,
    read,
    rollback,
    write,
)
from bowerbird.lake.read import plan
from bowerbird.lake.readers import plain_files
from tests.lake.world import home_in
from tests.spark import missing, spark_on

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # py4j leaves its sockets open
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # pyspark's own
]


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Lake, Any]]:
    """A lake, and a Spark session on its catalog."""
    if (lacks := missing()) is not None:
        pytest.skip(lacks)
    with TemporaryDirectory(prefix="spark") as folder:
        lake = Lake(home_in(folder))
        lake.tables()  # makes the catalog's own tables as PyIceberg wants them
        with spark_on(lake.home, Path(folder)) as session:
            yield lake, session


@pytest.fixture
def lake(both: tuple[Lake, Any]) -> Lake:
    return both[0]


@pytest.fixture
def spark(both: tuple[Lake, Any]) -> Any:
    return both[1]


def put(lake: Lake, spec: Table, rows: pa.Table, token: str = "r/s", *overwrites: str) -> str:
    """Commit rows as a step of ours would."""
    target = LogTarget(TableLog(lake, spec.ref), SystemClock())
    written = write(lake, spec, rows, target.files(Token(token), "a1"))
    change = Change("a1", makes={WHOLE: token}, overwrites=overwrites, payload=written)
    return target.commit(Token(token), target.read().version, change).version


def rows_of(frame: Any) -> Counter[str]:
    return Counter(str(tuple(row)) for row in frame.collect())


# -- Spark reads what we write ---------------------------------------------------------------------

EVERYTHING = Table(
    "types/everything",
    schema={
        "id": "long not null",
        "yes": "boolean",
        "small": "int",
        "near": "float",
        "far": "double",
        "price": "decimal(12,2)",
        "on": "date",
        "at": "timestamptz",
        "text": "string",
        "key": "uuid",
        "raw": "binary",
        "four": "fixed(4)",
        "list": "list<long>",
        "map": "map<string,double>",
        "pair": "struct<left:int,right:string>",
    },
    partition=[bucket("id", 4), day("at")],
    sort=["id", "at"],
)


def everything(count: int) -> list[dict[str, Any]]:
    start = datetime(1969, 12, 30, 23, 59, tzinfo=UTC)
    full = [
        {
            "id": i,
            "yes": i % 2 == 0,
            "small": -i,
            "near": i / 4,
            "far": i / 7,
            "price": Decimal(i) / 100,
            "on": date(1969, 12, 1) + timedelta(days=i),
            "at": start + timedelta(hours=13 * i, microseconds=i),
            "text": f"text ÿ {i}",
            "key": uuid.UUID(int=i),
            "raw": bytes([i % 256, 0]),
            "four": bytes([i % 256] * 4),
            "list": [i, None, -i],
            "map": {"a": i / 2, "b": None},
            "pair": {"left": i, "right": None},
        }
        for i in range(count)
    ]
    return [*full, dict.fromkeys(EVERYTHING.schema) | {"id": count}]


@pytest.fixture(scope="module")
def wanted(both: tuple[Lake, Any]) -> list[dict[str, Any]]:
    """The rows of `EVERYTHING`, written."""
    from bowerbird.lake.schema import spec_arrow_schema

    rows = everything(40)
    raw = [{**row, "key": row["key"] and row["key"].bytes} for row in rows]
    put(both[0], EVERYTHING, pa.Table.from_pylist(raw, spec_arrow_schema(EVERYTHING)))
    return rows


def test_spark_reads_every_type_that_we_write_in_buckets_and_days(
    spark: Any, wanted: list[dict[str, Any]]
) -> None:
    found = spark.sql("select * from test.types.everything order by id").collect()
    assert [_plain(row.asDict(recursive=True)) for row in found] == [_plain(row) for row in wanted]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """As both sides can tell it: Spark's times have no zone, its bytes may be changed, its UUIDs
    are text."""
    plain = {k: bytes(v) if isinstance(v, bytearray) else v for k, v in row.items()}
    plain["key"] = plain["key"] and str(plain["key"])
    if plain["at"] is not None:
        plain["at"] = plain["at"].replace(tzinfo=None)
    return plain


def test_spark_opens_only_the_bucket_and_the_day_that_it_needs(
    spark: Any, wanted: list[dict[str, Any]]
) -> None:
    files = "select count(*) from test.types.everything.files"
    assert spark.sql(files).first()[0] > 8
    where = "id = 7 and at = timestamp'1970-01-03 18:59:00.000007'"
    frame = spark.sql(f"select id, at from test.types.everything where {where}")
    assert len(frame.collect()) == 1
    scan = frame._jdf.queryExecution().executedPlan().collectLeaves().apply(0)
    assert scan.metrics().get("resultDataFiles").get().value() == 1


def test_spark_knows_the_order_in_which_our_files_lie(
    spark: Any, wanted: list[dict[str, Any]]
) -> None:
    found = spark.sql("select distinct sort_order_id from test.types.everything.files").collect()
    assert [row[0] for row in found] == [1]
    shown = spark.sql("show create table test.types.everything").first()[0]
    assert "bucket(4, id)" in shown
    assert "days(at)" in shown
    assert "id ASC NULLS LAST, at ASC NULLS LAST" in shown


def test_spark_sees_our_overwrites_and_rollbacks(lake: Lake, spark: Any) -> None:
    spec = Table(
        "both/versions", schema={"part": "string", "n": "long"}, partition=[identity("part")]
    )

    def rows(**parts: int) -> pa.Table:
        return pa.table({"part": list(parts), "n": pa.array(parts.values(), pa.int64())})

    query = "select part, n from test.both.versions"
    first = put(lake, spec, rows(a=1, b=1))
    put(lake, spec, rows(a=2), "r2/s", "part=a")
    assert rows_of(spark.sql(query)) == Counter(["('a', 2)", "('b', 1)"])
    target = LogTarget(TableLog(lake, spec.ref), SystemClock())
    target.commit(Token("r3/s"), target.read().version, rollback(lake, spec.ref, first, "a1"))
    assert rows_of(spark.sql(query)) == Counter(["('a', 1)", "('b', 1)"])
    at = f"{query} version as of {first}"
    assert rows_of(spark.sql(at)) == Counter(["('a', 1)", "('b', 1)"])


def test_spark_does_not_see_rows_that_our_merge_has_marked(lake: Lake, spark: Any) -> None:
    spec = Table(
        "both/marked", schema={"id": "long", "n": "long"}, partition=[bucket("id", 2)], sort=["id"]
    )
    put(lake, spec, pa.table({"id": range(100), "n": range(100)}))
    rows = pa.table({"id": [3, 5, 200], "n": [-3, -5, -200], "op": ["update", "delete", "insert"]})
    keyed = Keyed(key="id", op="op", mode=Mode.MERGE_ON_READ)
    done = merge_into(lake, spec, rows, keyed, Token("m/1"), SystemClock())
    assert done.results["files_marked"] > 0
    expected = {n: -n if n in (3, 200) else n for n in (*range(100), 200) if n != 5}
    wanted = Counter(str(pair) for pair in expected.items())
    assert rows_of(spark.sql("select id, n from test.both.marked")) == wanted
    spark.sql("call test.system.rewrite_data_files(table => 'both.marked')")
    spark.sql("call test.system.rewrite_position_delete_files(table => 'both.marked')")
    assert rows_of(spark.sql("select id, n from test.both.marked")) == wanted
    assert Counter(str(tuple(row.values())) for row in read(lake, spec.ref).to_pylist()) == wanted


def test_a_join_of_two_tables_bucketed_alike_moves_no_row_in_spark(lake: Lake, spark: Any) -> None:
    one = Table("join/one", schema={"id": "long", "x": "long"}, partition=[bucket("id", 8)])
    other = replace(one, name="join/other")
    ids = pa.array(range(1000), pa.int64())
    put(lake, one, pa.table({"id": ids, "x": ids}))
    put(lake, other, pa.table({"id": ids, "x": ids}))
    frame = spark.sql("select a.id, b.x from test.join.one a join test.join.other b on a.id = b.id")
    shown = frame._jdf.queryExecution().executedPlan().toString()
    assert "Exchange" not in shown, shown
    assert frame.count() == 1000


# -- we read what Spark writes ---------------------------------------------------------------------


def made(spark: Any, name: str, columns: str, how: str = "", **properties: str) -> None:
    spark.sql("create namespace if not exists test.theirs")
    told = {"format-version": "2"} | {k.replace("_", "-"): v for k, v in properties.items()}
    tblproperties = ", ".join(f"'{key}'='{value}'" for key, value in told.items())
    spark.sql(
        f"create table test.theirs.{name} ({columns}) using iceberg {how} "
        f"tblproperties ({tblproperties})"
    )


def agree(lake: Lake, spark: Any, name: str, columns: str) -> list[Any]:
    """Our readers and Spark's read the same rows of one of its tables."""
    ref = f"theirs/{name}"
    wanted = sorted(
        tuple(row) for row in spark.sql(f"select {columns} from test.theirs.{name}").collect()
    )
    names = [column.strip() for column in columns.split(",")]
    by_arrow = read(lake, ref, columns=names).select(names).to_pylist()
    assert sorted(tuple(row.values()) for row in by_arrow) == wanted
    assert sorted(polars(lake, ref).select(names).collect().rows()) == wanted
    by_duckdb = duckdb(lake, {"t": (ref, None)}).sql(f"select {columns} from t").fetchall()
    assert sorted(by_duckdb) == wanted
    return wanted


def test_we_read_buckets_that_spark_wrote_and_prune_them_as_it_does(lake: Lake, spark: Any) -> None:
    made(spark, "buckets", "id bigint, name string", "partitioned by (bucket(8, id))")
    spark.sql("insert into test.theirs.buckets select id, concat('n', id) from range(200)")
    assert len(agree(lake, spark, "buckets", "id, name")) == 200
    found = plan(lake, "theirs/buckets", where={"id": 17})
    assert len(found.tasks) == 1
    assert read(lake, "theirs/buckets", where={"id": 17}).to_pylist() == [{"id": 17, "name": "n17"}]
    assert plain_files(plan(lake, "theirs/buckets"))


@pytest.mark.parametrize("version", ["2", "3"])
def test_rows_that_spark_deleted_stay_deleted(lake: Lake, spark: Any, version: str) -> None:
    name = f"deleted_v{version}"
    made(
        spark,
        name,
        "id bigint, name string",
        "partitioned by (bucket(4, id))",
        **{"format_version": version, "write.delete.mode": "merge-on-read"},
    )
    spark.sql(f"insert into test.theirs.{name} select id, concat('n', id) from range(100)")
    spark.sql(f"delete from test.theirs.{name} where id % 10 = 3")
    kinds = spark.sql(f"select distinct content from test.theirs.{name}.all_files").collect()
    assert {row[0] for row in kinds} == {0, 1}
    assert not plain_files(plan(lake, f"theirs/{name}"))
    assert len(agree(lake, spark, name, "id, name")) == 90


def test_we_read_across_every_change_of_columns_that_spark_makes(lake: Lake, spark: Any) -> None:
    made(spark, "changed", "id int, name string, gone string, price float")
    table = "test.theirs.changed"
    spark.sql(f"insert into {table} values (1, 'a', 'x', 0.5), (2, 'b', 'y', 1.5)")
    spark.sql(f"alter table {table} add column more bigint")
    spark.sql(f"alter table {table} rename column name to title")
    spark.sql(f"alter table {table} drop column gone")
    spark.sql(f"alter table {table} alter column id type bigint")
    spark.sql(f"alter table {table} alter column price type double")
    spark.sql(f"insert into {table} values (3000000000, 'c', 2.25, 7)")
    rows = agree(lake, spark, "changed", "id, title, price")
    assert rows == [(1, "a", 0.5), (2, "b", 1.5), (3000000000, "c", 2.25)]
    more = read(lake, "theirs/changed", columns=["more"], where={"id": [1, 3000000000]})
    assert Counter(more.column("more").to_pylist()) == Counter([None, 7])


def test_a_column_that_came_back_under_an_old_name_does_not_show_the_old_values(
    lake: Lake, spark: Any
) -> None:
    made(spark, "again", "id bigint, note string")
    spark.sql("insert into test.theirs.again values (1, 'old')")
    spark.sql("alter table test.theirs.again drop column note")
    spark.sql("alter table test.theirs.again add column note string")
    spark.sql("insert into test.theirs.again values (2, 'new')")
    ref = "theirs/again"
    wanted = Counter({(1, None): 1, (2, "new"): 1})
    by_duckdb = duckdb(lake, {"t": (ref, None)}).sql("select id, note from t").fetchall()
    assert Counter(by_duckdb) == wanted
    assert Counter(polars(lake, ref).select("id", "note").collect().rows()) == wanted


def test_we_read_across_another_partitioning_that_spark_chose(lake: Lake, spark: Any) -> None:
    made(spark, "layout", "id bigint, name string")
    spark.sql("insert into test.theirs.layout values (1, 'a'), (2, 'b')")
    spark.sql("alter table test.theirs.layout add partition field bucket(4, id)")
    spark.sql("insert into test.theirs.layout values (3, 'c')")
    assert len(agree(lake, spark, "layout", "id, name")) == 3
    assert read(lake, "theirs/layout", where={"id": 2}).num_rows == 1


def test_a_step_of_ours_takes_what_spark_wrote_meanwhile_for_somebody_elses(
    lake: Lake, spark: Any
) -> None:
    spec = Table("both/shared", schema={"id": "long", "x": "long"}, partition=[bucket("id", 4)])
    ids = pa.array(range(20), pa.int64())
    put(lake, spec, pa.table({"id": ids, "x": ids}))
    spark.sql("insert into test.both.shared values (100, 1)")
    history = TableLog(lake, spec.ref).load()
    assert history.entries[0].token is None
    assert len(history.entries[0].changed) == 1
    put(lake, spec, pa.table({"id": ids, "x": ids}), "r2/s")
    assert read(lake, spec.ref).num_rows == spark.table("test.both.shared").count() == 41


def test_what_spark_compacted_is_no_change_of_rows(lake: Lake, spark: Any) -> None:
    spec = Table("both/compacted", schema={"id": "long", "x": "long"}, partition=[bucket("id", 2)])
    ids = pa.array(range(20), pa.int64())
    for n in range(3):
        put(lake, spec, pa.table({"id": ids, "x": ids}), f"r{n}/s")
    before = LogTarget(TableLog(lake, spec.ref), SystemClock()).read()
    options = "options => map('min-input-files', '2')"
    spark.sql(f"call test.system.rewrite_data_files(table => 'both.compacted', {options})")
    after = LogTarget(TableLog(lake, spec.ref), SystemClock())
    assert after.history().entries[0].token is None
    assert after.history().entries[0].changed == frozenset()
    assert after.read().data == before.data
    assert len(plan(lake, spec.ref).tasks) == 2
    assert read(lake, spec.ref).num_rows == 60


def test_a_rollback_brings_back_the_rows_that_spark_deleted(lake: Lake, spark: Any) -> None:
    spec = Table("both/guarded", schema={"id": "long", "x": "long"}, partition=[bucket("id", 2)])
    ids = pa.array(range(20), pa.int64())
    first = put(lake, spec, pa.table({"id": ids, "x": ids}))
    table = "test.both.guarded"
    spark.sql(f"alter table {table} set tblproperties ('write.delete.mode'='merge-on-read')")
    spark.sql(f"delete from {table} where id = 3")
    assert read(lake, spec.ref).num_rows == 19
    target = LogTarget(TableLog(lake, spec.ref), SystemClock())
    target.commit(Token("r3/s"), target.read().version, rollback(lake, spec.ref, first, "a1"))
    assert read(lake, spec.ref).num_rows == 20
    assert spark.sql(f"select count(*) from {table}").first()[0] == 20
