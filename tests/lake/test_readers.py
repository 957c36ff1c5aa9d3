"""Other engines see the rows that Arrow sees, of the version that was pinned."""

from __future__ import annotations

import pickle
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import replace

from bowerbird.core.errors import CorruptError, UserError
from bowerbird.core.targets import Change
from bowerbird.lake import Lake, Table, bucket, polars, read, torch_batches, write
from bowerbird.lake.read import plan
from bowerbird.lake.readers import plain_files
from bowerbird.testing.target_conformance import ONE, OTHER, A, B
from tests.lake.test_rollback import delete_a_row, two_versions
from tests.lake.test_write import SALES, commit, sales
from tests.lake.world import PARTS, TableWorld, home_on_s3, parts
from tests.seaweed import Seaweed


@pytest.fixture
def sold(lake: Lake) -> Lake:
    commit(lake, write(lake, SALES, sales(), lake.location(SALES.ref) + "/data/x"))
    return lake


def deleted(world: TableWorld) -> list[dict[str, Any]]:
    two_versions(world)
    delete_a_row(world.lake)
    return read(world.lake, PARTS.ref).to_pylist()


def evolved(world: TableWorld) -> list[dict[str, Any]]:
    """Files of before and after a column came."""
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    wider = replace(PARTS, schema={**PARTS.schema, "more": "long"})
    rows = parts({B: ["y"]}).append_column("more", pa.array([7]))
    written = write(world.lake, wider, rows, world.log().files(OTHER, "a1"))
    base = world.target().read().version
    world.target().commit(OTHER, base, Change("a1", makes={B: "m"}, payload=written))
    return read(world.lake, PARTS.ref).to_pylist()


def counted(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(map(repr, rows))


# -- one piece of a plan ---------------------------------------------------------------------------


def test_the_parts_of_a_plan_are_its_rows_and_can_be_read_elsewhere(sold: Lake) -> None:
    found = plan(sold, SALES.ref, columns=["id", "shop"], where={"shop": ["shop 1", "shop 2"]})
    sent = pickle.loads(pickle.dumps(found.parts()))
    rows = [row for part in sent for batch in part.batches() for row in batch.to_pylist()]
    assert counted(rows) == counted(
        read(
            sold, SALES.ref, columns=["id", "shop"], where={"shop": ["shop 1", "shop 2"]}
        ).to_pylist()
    )


def test_a_part_does_not_carry_the_history_of_its_table(sold: Lake) -> None:
    part = plan(sold, SALES.ref).parts()[0]
    assert part.metadata.snapshots == []
    assert len(sold.load(SALES.ref).metadata.snapshots) == 1


def test_a_part_whose_file_is_damaged_names_it(sold: Lake) -> None:
    part = plan(sold, SALES.ref).parts()[0]
    Path(part.task.file.file_path).write_bytes(b"PAR1")
    with pytest.raises(CorruptError, match=part.task.file.file_path):
        list(part.batches())


def test_an_equality_delete_is_refused_by_name(
    world: TableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.manifest import DataFileContent

    from tests.lake import test_rollback

    class OfEquality:
        POSITION_DELETES = DataFileContent.EQUALITY_DELETES

    two_versions(world)
    monkeypatch.setattr(test_rollback, "DataFileContent", OfEquality)
    delete_a_row(world.lake)
    with pytest.raises(UserError, match=r"test\.parts: .*deletes\.parquet deletes rows by their"):
        read(world.lake, PARTS.ref)


# -- Polars ----------------------------------------------------------------------------------------


def test_polars_sees_the_pinned_version(world: TableWorld) -> None:
    old, _ = two_versions(world)
    frame = polars(world.lake, PARTS.ref, old)
    assert sorted(frame.collect()["name"].to_list()) == ["a1", "b1"]


def test_polars_opens_plain_files_itself_and_reads_what_it_needs(sold: Lake) -> None:
    assert plain_files(plan(sold, SALES.ref))
    frame = polars(sold, SALES.ref).filter(_col("shop") == "shop 1").select("shop")
    shown = frame.explain()
    assert "Parquet SCAN" in shown
    assert "PROJECT 1/4 COLUMNS" in shown
    assert "SELECTION" in shown
    wanted = read(sold, SALES.ref, where={"shop": "shop 1"}).num_rows
    assert frame.collect().height == wanted


def test_polars_reads_every_column_as_arrow_does(sold: Lake) -> None:
    by_polars = polars(sold, SALES.ref).collect().to_dicts()
    assert counted(by_polars) == counted(read(sold, SALES.ref).to_pylist())
    by_arrow = polars(sold, SALES.ref, where={"price": (None, None)}).collect()
    assert by_arrow.schema == polars(sold, SALES.ref).collect_schema()


def test_polars_leaves_out_files_by_the_filter_of_the_plan(sold: Lake) -> None:
    start, end = datetime(2024, 2, 28, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)
    where = {"at": (start, end)}
    rows = polars(sold, SALES.ref, columns=["id"], where=where).collect()
    assert rows.columns == ["id"]
    assert rows.height == read(sold, SALES.ref, where=where).num_rows
    assert len(plan(sold, SALES.ref, where=where).tasks) < len(plan(sold, SALES.ref).tasks)


def test_files_are_not_taken_for_the_table_once_a_schema_was_forgotten(sold: Lake) -> None:
    found = plan(sold, SALES.ref)
    metadata: Any = found.table.metadata
    later = [one.model_copy(update={"schema_id": 3}) for one in metadata.schemas]
    found.table.metadata = metadata.model_copy(update={"schemas": later})
    assert not plain_files(found)


@pytest.mark.parametrize("make", [deleted, evolved])
def test_polars_honours_deletes_and_evolution(world: TableWorld, make: Any) -> None:
    rows = make(world)
    frame = polars(world.lake, PARTS.ref)
    assert counted(frame.collect().to_dicts()) == counted(rows)
    named = [row["name"] for row in rows]
    assert sorted(frame.select("name").collect()["name"].to_list()) == sorted(named)
    only = frame.filter(_col("name") == named[0]).select("part").collect()
    assert only.to_dicts() == [{"part": row["part"]} for row in rows if row["name"] == named[0]]
    assert frame.head(1).collect().height == 1


def test_polars_reads_an_empty_table(lake: Lake) -> None:
    lake.create(SALES)
    assert polars(lake, SALES.ref).collect().columns == ["id", "at", "price", "shop"]
    assert polars(lake, SALES.ref).collect().height == 0


@pytest.mark.slow
def test_polars_reads_what_lies_on_an_object_store(tmp_path: Path, seaweed_server: Seaweed) -> None:
    world = TableWorld(home_on_s3(seaweed_server, str(tmp_path)))
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x", "y"]}))
    frame = polars(world.lake, PARTS.ref)
    assert "Parquet SCAN" in frame.explain()
    assert sorted(frame.collect()["name"].to_list()) == ["x", "y"]


def _col(name: str) -> Any:
    import polars as pl

    return pl.col(name)


# -- torch -----------------------------------------------------------------------------------------

POINTS = Table(
    "test/points",
    schema={"id": "long not null", "x": "double", "at": "timestamptz", "on": "boolean"},
    partition=[bucket("id", 8)],
    sort=["id"],
)


@pytest.fixture
def points(lake: Lake) -> Lake:
    times = pa.array([1_700_000_000_000_000 + i for i in range(100)], pa.timestamp("us", "UTC"))
    rows = pa.table(
        {
            "id": pa.array(range(100), pa.int64()),
            "x": pa.array([None if i % 10 == 0 else i / 2 for i in range(100)], pa.float64()),
            "at": times,
            "on": [i % 2 == 0 for i in range(100)],
        }
    )
    commit(lake, write(lake, POINTS, rows, lake.location(POINTS.ref) + "/data/x"))
    return lake


def ids(batches: Any) -> Counter[int]:
    return Counter(int(one) for batch in batches for one in batch["id"])


def test_torch_reads_every_row_once_in_batches_that_are_not_too_large(points: Lake) -> None:
    batches = list(torch_batches(points, POINTS.ref, rows=5))
    assert ids(batches) == Counter(range(100))
    assert max(len(batch["id"]) for batch in batches) == 5


@pytest.mark.slow
def test_workers_of_a_loader_share_the_files_and_no_row_comes_twice(points: Lake) -> None:
    from torch.utils.data import DataLoader

    loader = DataLoader(
        torch_batches(points, POINTS.ref),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="spawn",
    )
    assert ids(loader) == Counter(range(100))


def test_processes_that_train_together_share_the_files(points: Lake) -> None:
    shares = [ids(torch_batches(points, POINTS.ref, shard=(n, 3))) for n in range(3)]
    assert sum(shares, Counter()) == Counter(range(100))
    assert all(shares)


def test_torch_gets_times_in_microseconds_and_a_null_as_nan(points: Lake) -> None:
    import torch

    rows = {
        int(i): (float(x), int(at), bool(on))
        for batch in torch_batches(points, POINTS.ref)
        for i, x, at, on in zip(batch["id"], batch["x"], batch["at"], batch["on"], strict=True)
    }
    assert rows[3] == (1.5, 1_700_000_000_000_003, False)
    assert torch.isnan(torch.tensor(rows[10][0]))


def test_torch_refuses_texts_and_nulls_of_whole_numbers_by_name(sold: Lake) -> None:
    with pytest.raises(UserError, match="column 'shop' is"):
        torch_batches(sold, SALES.ref)
    batches = torch_batches(sold, SALES.ref, columns=["id"])
    with pytest.raises(UserError, match=r"shop\.sales: column 'id' is null in"):
        list(batches)
    with pytest.raises(UserError, match="process 2 of 2"):
        torch_batches(sold, SALES.ref, columns=["id"], shard=(2, 2))


# -- Ray -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, of its own settings
def test_ray_reads_a_task_for_each_file_with_deletes_and_evolution(tmp_path: Path) -> None:
    import ray

    from bowerbird.lake import ray_dataset
    from tests.lake.world import home_in

    # Another test of this process may have started it already.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    try:
        for make in (deleted, evolved):
            (folder := tmp_path / make.__name__).mkdir()
            world = TableWorld(home_in(str(folder)))
            rows = make(world)
            data = ray_dataset(world.lake, PARTS.ref)
            assert counted(data.take_all()) == counted(rows)
            blocks = data.materialize().num_blocks()
            assert blocks == len(plan(world.lake, PARTS.ref).tasks)
            named = ray_dataset(world.lake, PARTS.ref, columns=["name"], where={"part": "a"})
            assert named.schema().names == ["name"]
            assert counted(named.take_all()) == counted(
                read(world.lake, PARTS.ref, columns=["name"], where={"part": "a"}).to_pylist()
            )
    finally:
        ray.shutdown()
