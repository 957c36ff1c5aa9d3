"""What people give that is wrong, or odd: it works, or is refused by name and changes nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import (
    BowerbirdError,
    CorruptError,
    PlanAgainError,
    RefError,
    SpecError,
    StorageError,
    UserError,
)
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.lake import (
    Keyed,
    Lake,
    Table,
    TableLog,
    bucket,
    identity,
    merge_into,
    read,
    read_batches,
    write,
)
from tests.lake.test_streams import append

USERS = Table(
    "test/users",
    schema={"id": "long", "name": "string"},
    partition=[bucket("id", 4)],
    sort=["id"],
)
ID = Keyed(key=("id",))


def users(*ids: int | None, name: str = "x") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "name": [name] * len(ids)})


def merged(lake: Lake, spec: Table, rows: pa.Table, keyed: Keyed = ID) -> None:
    merge_into(lake, spec, rows, keyed, Token("r/m"), SystemClock())


@pytest.mark.parametrize("buckets", [0, -1, 2**17, 2**31])
def test_a_count_of_buckets_that_cannot_be_is_refused(buckets: int) -> None:
    with pytest.raises(SpecError, match=f"{buckets} buckets"):
        replace(USERS, partition=(bucket("id", buckets),)).check()


def test_many_buckets_work(lake: Lake) -> None:
    spec = replace(USERS, partition=(bucket("id", 65536),))
    append(lake, spec, users(*range(50)), "r/s")
    merged(lake, spec, users(7, 99, name="new"))
    found = {row["id"]: row["name"] for row in read(lake, spec.ref).to_pylist()}
    assert len(found) == 51
    assert found[7] == found[99] == "new"


def test_a_sort_key_that_is_no_column_is_refused() -> None:
    with pytest.raises(SpecError, match=r"sort\[0\]: there is no column 'nam'"):
        replace(USERS, sort=("nam",)).check()


def test_times_of_several_zones_are_the_same_instants(lake: Lake) -> None:
    spec = Table("test/times", schema={"at": "timestamptz"}, sort=["at"])
    moment = datetime(2024, 3, 31, 1, 30, tzinfo=UTC)

    def batches() -> Iterator[pa.RecordBatch]:
        for zone in ("UTC", "Europe/Berlin", "-07:00"):
            yield pa.record_batch({"at": pa.array([moment], pa.timestamp("us", zone))})

    log = TableLog(lake, spec.ref)
    written = write(lake, spec, batches(), log.files(Token("r/s"), "a1"))
    LogTarget(log, SystemClock()).commit(Token("r/s"), None, Change("a1", payload=written))
    micros = read(lake, spec.ref).column("at").cast(pa.int64()).to_pylist()
    assert micros == [int(moment.timestamp() * 1e6)] * 3


def test_times_without_a_zone_among_others_are_refused(lake: Lake) -> None:
    spec = Table("test/times", schema={"at": "timestamptz"})

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"at": pa.array([0], pa.timestamp("us", "UTC"))})
        yield pa.record_batch({"at": pa.array([0], pa.timestamp("us"))})

    with pytest.raises(UserError, match="column 'at' came as times without a zone"):
        write(lake, spec, batches(), lake.location(spec.ref) + "/data/x")


def test_nan_and_null_are_written_sorted_and_read_as_they_are(lake: Lake) -> None:
    spec = Table("test/scores", schema={"score": "double"}, sort=["score"])
    rows = pa.table({"score": [float("nan"), None, -1.5, float("inf"), None]})
    append(lake, spec, rows, "r/s")
    assert list(map(str, read(lake, spec.ref).column("score").to_pylist())) == [
        "-1.5",
        "inf",
        "nan",
        "None",
        "None",
    ]


def test_null_keys_are_a_partition_of_their_own(lake: Lake) -> None:
    append(lake, USERS, users(None, 1, None), "r/s")
    assert read(lake, USERS.ref, cells=["id_bucket=null"]).num_rows == 2


def test_a_null_key_of_a_change_is_refused_and_nothing_changes(lake: Lake) -> None:
    append(lake, USERS, users(1), "r/s")
    with pytest.raises(UserError, match="key column 'id' is null in 1 of 2 changes"):
        merged(lake, USERS, users(1, None))
    assert read(lake, USERS.ref).num_rows == 1


@pytest.mark.slow
def test_ten_thousand_columns_work(lake: Lake) -> None:
    spec = Table(
        "test/wide", schema={"id": "long", **{f"c{n}": "int" for n in range(10_000)}}, sort=["id"]
    )

    def rows(*ids: int) -> pa.Table:
        columns = {f"c{n}": pa.array([n] * len(ids), pa.int32()) for n in range(10_000)}
        return pa.table({"id": pa.array(ids, pa.int64()), **columns})

    append(lake, spec, rows(1, 2, 3), "r/s")
    merged(lake, spec, rows(2, 4))
    found = read(lake, spec.ref, columns=["id", "c9999"]).to_pylist()
    assert sorted(row["id"] for row in found) == [1, 2, 3, 4]
    assert {row["c9999"] for row in found} == {9999}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["it's", 'say "so"', "größe", "名前", "a-b", "select", "%2F", "#"])
def test_odd_names_work(lake: Lake, name: str) -> None:
    spec = Table(
        "test/odd",
        schema={name: "string", "n": "long"},
        partition=[identity(name)],
        sort=[name],
    )

    def rows(*values: str) -> pa.Table:
        return pa.table({name: list(values), "n": pa.array(range(len(values)), pa.int64())})

    values = ["a/b=c", "it's", "ü", "null", ""]
    append(lake, spec, rows(*values), "r/s")
    merged(lake, spec, rows("ü", "new"), Keyed(key=(name,)))
    assert sorted(read(lake, spec.ref).column(name).to_pylist()) == sorted([*values, "new"])
    assert read(lake, spec.ref, where={name: "it's"}).num_rows == 1


@pytest.mark.parametrize("name", ["a.b", "a/b", "a=b", "a b", "", "tab\t"])
def test_names_that_paths_and_filters_cannot_tell_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="is no column name"):
        Table("test/odd", schema={name: "long"}).check()


@pytest.mark.parametrize(
    ("text", "place"),
    [("id >", 1), ("id = 3 and or", 12), ("", 1), ("id = 'x", 1), ("(id = 3", 8)],
)
def test_a_filter_that_does_not_parse_is_refused_with_the_place(
    lake: Lake, text: str, place: int
) -> None:
    append(lake, USERS, users(1, 2, 3), "r/s")
    with pytest.raises(
        UserError, match=f"the filter .* cannot be read from its character {place} on"
    ):
        read(lake, USERS.ref, where=text)


def test_a_filter_in_words_is_read(lake: Lake) -> None:
    append(lake, USERS, users(1, 2, 3), "r/s")
    found = read(lake, USERS.ref, where="id >= 2 and name = 'x'").column("id").to_pylist()
    assert sorted(found) == [2, 3]


def test_a_filter_of_no_column_is_refused(lake: Lake) -> None:
    append(lake, USERS, users(1), "r/s")
    with pytest.raises(UserError, match="nam"):
        read(lake, USERS.ref, where="nam = 'x'")


@pytest.mark.parametrize("version", ["12345", "-1", "yesterday", "", "9" * 40])
def test_a_version_that_never_was_is_refused(lake: Lake, version: str) -> None:
    append(lake, USERS, users(1), "r/s")
    with pytest.raises(RefError, match=f"has no version {version}"):
        read(lake, USERS.ref, version)


def test_a_version_that_has_expired_is_refused(lake: Lake) -> None:
    append(lake, USERS, users(1), "r/s1")
    old = lake.load(USERS.ref).current_snapshot().snapshot_id
    append(lake, USERS, users(2), "r/s2")
    lake.load(USERS.ref).maintenance.expire_snapshots().by_ids([old]).commit()
    with pytest.raises(RefError, match=f"has no version {old}"):
        read(lake, USERS.ref, str(old))


def test_a_reader_of_a_table_that_is_dropped_is_told_what_is_gone(lake: Lake) -> None:
    append(lake, USERS, users(*range(100)), "r/s")
    reader = read_batches(lake, USERS.ref)
    Lake(lake.home).drop(USERS.ref)
    with pytest.raises(CorruptError, match="is gone"):
        reader.read_all()
    with pytest.raises(RefError, match=r"there is no table test\.users"):
        read(lake, USERS.ref)


def test_a_commit_to_a_table_that_was_dropped_meanwhile_does_not_make_it_again(lake: Lake) -> None:
    append(lake, USERS, users(1), "r/s")
    log = TableLog(lake, USERS.ref)
    target = LogTarget(log, SystemClock())
    base = target.read().version
    written = write(lake, USERS, users(2), log.files(Token("r/late"), "a1"))
    Lake(lake.home).drop(USERS.ref)
    with pytest.raises(PlanAgainError, match="no longer descends"):
        target.commit(Token("r/late"), base, Change("a1", payload=written))
    assert lake.tables() == ()


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["rows", "metadata"])
def test_a_disk_that_fills_up_during_a_merge_changes_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    append(lake, USERS, users(1), "r/s")
    with monkeypatch.context() as patch:
        if where == "rows":
            patch.setattr(pq.ParquetWriter, "write_table", full)
        else:
            from pyiceberg.serializers import ToOutputFile

            patch.setattr(ToOutputFile, "table_metadata", full)
        with pytest.raises(StorageError, match="the disk is full"):
            merged(lake, USERS, users(1, name="new"))
    assert read(lake, USERS.ref).column("name").to_pylist() == ["x"]
    merged(lake, USERS, users(1, name="new"))
    assert read(lake, USERS.ref).column("name").to_pylist() == ["new"]


def test_what_is_no_change_rows_is_told(lake: Lake) -> None:
    from bowerbird.lake import merge

    for rows in ([{"id": 1}], [users(1)], iter(())):
        with pytest.raises(BowerbirdError, match="chang"):
            merge(lake, USERS, rows, ID, "a1", "unused")  # type: ignore[arg-type]
