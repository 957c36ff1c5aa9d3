from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bowerbird.core.errors import CorruptError, RefError, UserError
from bowerbird.core.targets import WHOLE, Change
from bowerbird.lake import Lake, duckdb, read, read_batches, snapshots, views, write
from bowerbird.testing.target_conformance import ONE, OTHER, A, B
from tests.lake.test_rollback import delete_a_row, two_versions
from tests.lake.test_write import SALES, commit, sales
from tests.lake.world import PARTS, TableWorld, parts


@pytest.fixture
def sold(lake: Lake) -> Lake:
    commit(lake, write(lake, SALES, sales(), lake.location(SALES.ref) + "/data/x"))
    return lake


def test_a_read_is_of_one_version(world: TableWorld) -> None:
    old, new = two_versions(world)
    assert sorted(read(world.lake, PARTS.ref, old).column("name").to_pylist()) == ["a1", "b1"]
    assert sorted(read(world.lake, PARTS.ref, new).column("name").to_pylist()) == ["a2", "b2"]


def test_columns_and_rows_are_chosen(sold: Lake) -> None:
    start, end = datetime(2024, 2, 28, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)
    rows = read(sold, SALES.ref, columns=["shop"], where={"shop": "shop 1", "at": (start, end)})
    wanted = [
        row for row in sales().to_pylist() if row["shop"] == "shop 1" and start <= row["at"] < end
    ]
    assert rows.to_pylist() == [{"shop": "shop 1"}] * len(wanted)
    assert read(sold, SALES.ref, where={"id": None}).num_rows == sales().column("id").null_count
    assert set(read(sold, SALES.ref, where={"id": [1, 2]}).column("id").to_pylist()) == {1, 2}


def test_batches_are_the_same_rows(sold: Lake) -> None:
    keys = [("price", "ascending")]
    by_batch = read_batches(sold, SALES.ref, columns=["id", "price"]).read_all().sort_by(keys)
    assert by_batch.equals(read(sold, SALES.ref, columns=["id", "price"]).sort_by(keys))


def test_an_empty_table_has_its_columns(lake: Lake) -> None:
    lake.create(SALES)
    assert read(lake, SALES.ref).column_names == ["id", "at", "price", "shop"]
    assert duckdb(lake, {"s": (SALES.ref, None)}).sql("select count(*) from s").fetchall() == [(0,)]


def test_what_is_not_there_is_named(sold: Lake) -> None:
    with pytest.raises(RefError, match=r"no table shop\.other") as caught:
        read(sold, "shop/other")
    assert caught.value.expected == "one of: shop.sales"
    with pytest.raises(RefError, match="has no version 7"):
        read(sold, SALES.ref, "7")
    with pytest.raises(UserError, match="nothing"):
        read(sold, SALES.ref, columns=["nothing"])
    with pytest.raises(UserError, match="nothing"):
        read(sold, SALES.ref, where={"nothing": 1})


def test_duckdb_sees_the_pinned_version(world: TableWorld) -> None:
    old, _ = two_versions(world)
    found = duckdb(world.lake, {"before": (PARTS.ref, old), "after": (PARTS.ref, None)})
    rows = found.sql("select b.name, a.name from before b join after a using (part) order by 1")
    assert rows.fetchall() == [("a1", "a2"), ("b1", "b2")]


def test_duckdb_reads_times_and_nulls_as_arrow_does(sold: Lake) -> None:
    found = duckdb(sold, {"s": (SALES.ref, None)}).sql("select * from s order by price")
    assert found.to_arrow_table().num_rows == 200
    first = duckdb(sold, {"s": (SALES.ref, None)}).sql('select min("at") as t from s')
    assert first.to_arrow_table().to_pylist() == [{"t": datetime(2024, 2, 28, tzinfo=UTC)}]


def test_deleted_rows_stay_deleted_for_duckdb(world: TableWorld) -> None:
    two_versions(world)
    delete_a_row(world.lake)
    found = duckdb(world.lake, {"p": (PARTS.ref, None)}).sql("select name from p")
    assert found.fetchall() == [("a2",)]


def test_a_column_that_came_later_is_null_for_duckdb_in_old_rows(world: TableWorld) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    wider = replace(PARTS, schema={**PARTS.schema, "more": "long"})
    rows = parts({B: ["y"]}).append_column("more", pa.array([7]))
    written = write(world.lake, wider, rows, world.log().files(OTHER, "a1"))
    base = world.target().read().version
    world.target().commit(OTHER, base, Change("a1", makes={B: "m"}, payload=written))
    found = duckdb(world.lake, {"p": (PARTS.ref, None)}).sql("select name, more from p order by 1")
    assert found.fetchall() == [("x", None), ("y", 7)]


def test_a_damaged_data_file_is_named(sold: Lake) -> None:
    table = sold.load(SALES.ref)
    path = Path(next(iter(table.scan().plan_files())).file.file_path)
    path.write_bytes(b"PAR1" + b"\0" * 100)
    with pytest.raises(CorruptError, match=str(path)):
        read(sold, SALES.ref)
    path.unlink()
    with pytest.raises(CorruptError, match="is gone"):
        read(sold, SALES.ref)


def test_damaged_metadata_is_named(sold: Lake) -> None:
    path = Path(sold.load(SALES.ref).metadata_location)
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], b"{}", b"\xff\xfe", b""):
        path.write_bytes(damage)
        with pytest.raises(CorruptError, match=str(path)):
            sold.load(SALES.ref)
    path.unlink()
    with pytest.raises(CorruptError, match="is gone"):
        sold.load(SALES.ref)


def test_a_damaged_manifest_is_named(sold: Lake) -> None:
    table = sold.load(SALES.ref)
    path = Path(table.current_snapshot().manifest_list)  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CorruptError, match=str(path)):
        read(sold, SALES.ref)


def test_a_view_tells_what_is_there(world: TableWorld) -> None:
    two_versions(world)
    world.foreign(A, "theirs")
    shown = views.table(world.lake, PARTS.ref)
    assert (shown.rows, shown.files) == (3, 3)
    assert shown.columns == PARTS.schema
    assert (shown.partition, shown.sort) == (("part",), ("name",))
    assert [one.by for one in shown.versions] == ["somebody else", OTHER, ONE]
    assert shown.versions[0].changed == (A,)
    assert [one.name for one in views.tables(world.lake)] == ["test.parts"]
    assert len(views.files(world.lake, PARTS.ref)) == 3
    assert [one.version for one in views.versions(world.lake, PARTS.ref).versions] == [
        one.version for one in shown.versions
    ]


fields = st.dictionaries(st.sampled_from("abc"), st.sampled_from("01"), max_size=3)


def cell_of(has: dict[str, str]) -> str:
    return "/".join(f"{field}={value}" for field, value in has.items()) or WHOLE


@given(st.lists(fields, max_size=5), fields)
def test_a_partition_is_looked_up_as_if_each_cell_were_compared(
    cells: list[dict[str, str]], has: dict[str, str]
) -> None:
    lies = any(all(has.get(f) == v for f, v in one.items()) for one in cells)
    may = any(all(has.get(f, v) == v for f, v in one.items()) for one in cells)
    inside = snapshots.Cells([*map(cell_of, cells), "#burnt"])
    if may and not lies:
        with pytest.raises(UserError, match="may hold rows of cell"):
            cell_of(has) in inside  # noqa: B015 - it raises
    else:
        assert (cell_of(has) in inside) == lies
