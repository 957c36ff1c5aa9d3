"""Compaction: files in order and size again, and not a row other than before."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import PlanAgainError
from bowerbird.core.steps import Home
from bowerbird.core.targets import WHOLE, Change, LogTarget, Token
from bowerbird.lake import Lake, Table, TableLog, bucket, read, snapshots, write
from bowerbird.lake.read import plan as plan_read
from bowerbird.lake.streams import lies_in_order
from bowerbird.lake.upkeep import layout
from bowerbird.lake.upkeep.compaction import change, examine, plan_compaction, rewrite
from bowerbird.lake.upkeep.layout import Limits
from bowerbird.testing.target_conformance import Hurried
from tests.lake.deleting import delete_rows
from tests.lake.test_steps import carry_out
from tests.lake.world import home_in

pytestmark = pytest.mark.slow

EVENTS = Table(
    "test/events",
    schema={"id": "long", "at": "long", "word": "string"},
    partition=(bucket("id", 2),),
    sort=("id", "at"),
    target_file_bytes=64 * 1024,
)
REF = str(EVENTS.ref)


def events(count: int, seed: int) -> pa.Table:
    chance = random.Random(seed)
    rows = [(chance.randrange(500), chance.randrange(10**6), f"word {n}") for n in range(count)]
    return pa.table(
        {
            "id": pa.array([row[0] for row in rows], pa.int64()),
            "at": pa.array([row[1] for row in rows], pa.int64()),
            "word": [row[2] for row in rows],
        }
    )


def append(lake: Lake, run: str, rows: pa.Table, spec: Table = EVENTS) -> None:
    log, token = TableLog(lake, REF), Token(f"{run}/s1")
    written = write(lake, spec, rows, log.files(token, "a1"), REF)
    LogTarget(log, Hurried()).commit(token, log.load().head, Change("a1", payload=written))


def filled(lake: Lake, files: int = 5, spec: Table = EVENTS) -> None:
    for n in range(files):
        append(lake, f"r{n}", events(300, n), spec)


def rows_of(lake: Lake) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for row in read(lake, REF).to_pylist())


def compact(home: Home, run: str = "c1", **limits: Any) -> None:
    carry_out(home, plan_compaction(Lake(home), REF, Limits(**limits)), run)


def some_file(lake: Lake, at: int = 0) -> Any:
    return plan_read(lake, REF).tasks[at].file


def test_no_row_is_other_than_before(home: Home, lake: Lake) -> None:
    filled(lake)
    before = rows_of(lake)
    compact(home)
    assert rows_of(lake) == before


def test_files_are_few_and_in_order_afterwards(home: Home, lake: Lake) -> None:
    filled(lake)
    compact(home)
    found = plan_read(lake, REF)
    assert len(found.tasks) == 2
    assert all(lies_in_order(found.table.metadata, task, EVENTS.sort) for task in found.tasks)
    for task in found.tasks:
        cell = snapshots.part_of(found.table.metadata, task.file)
        rows = read(lake, REF, cells=[cell]).select(["id", "at"]).to_pylist()
        assert rows == sorted(rows, key=lambda row: (row["id"], row["at"]))


def test_a_compacted_table_needs_no_compaction(home: Home, lake: Lake) -> None:
    filled(lake)
    compact(home)
    plan = plan_compaction(lake, REF)
    assert plan.empty
    assert "lie as they should" in plan.notes[0].text


def test_partitions_larger_than_a_file_become_files_of_the_wanted_size(
    home: Home, lake: Lake
) -> None:
    spec = replace(EVENTS, partition=(), target_file_bytes=4 * 1024)
    for n in range(8):
        append(lake, f"r{n}", events(400, n), spec)
    before = rows_of(lake)
    compact(home)
    sizes = [task.file.file_size_in_bytes for task in plan_read(lake, REF).tasks]
    assert len(sizes) > 2
    assert all(0.6 < size / spec.target_file_bytes < 1.4 for size in sizes[:-1])
    assert rows_of(lake) == before
    assert plan_compaction(lake, REF).empty


def test_files_that_one_write_makes_of_a_partition_are_one_run(lake: Lake) -> None:
    """Else a key that fills many files would look deep, and be rewritten for ever."""
    spec = replace(EVENTS, partition=(), target_file_bytes=2048)
    count = 300_000
    rows = {"id": [7] * count, "at": range(count), "word": ["w"] * count}
    append(lake, "r", pa.table(rows), spec)
    found = plan_read(lake, REF)
    files = [layout.lying(found.table.metadata, task, spec.sort) for task in found.tasks]
    assert len(files) > 1
    assert layout.depth(files) == 1


def test_only_partitions_that_need_it_are_rewritten(home: Home, lake: Lake) -> None:
    filled(lake, files=1)
    alone = [row for row in events(3000, 9).to_pylist() if in_first_bucket(lake, row["id"])]
    for n in range(4):
        append(lake, f"x{n}", pa.Table.from_pylist(alone[n::4]))
    assert [part.part for part in examine(lake, REF).parts] == ["id_bucket=0"]


def in_first_bucket(lake: Lake, value: int) -> bool:
    from pyiceberg.transforms import BucketTransform
    from pyiceberg.types import LongType

    return BucketTransform(num_buckets=2).transform(LongType())(value) == 0


def test_data_versions_stay_so_nothing_downstream_is_stale(home: Home, lake: Lake) -> None:
    filled(lake)
    target = LogTarget(TableLog(lake, REF), SystemClock())
    before = target.read()
    compact(home)
    after = target.read()
    assert (after.cells, after.data) == (before.cells, before.data)
    assert after.version != before.version


def test_what_was_committed_before_can_still_be_read(home: Home, lake: Lake) -> None:
    filled(lake)
    version, before = TableLog(lake, REF).load().head, rows_of(lake)
    compact(home)
    rows = read(lake, REF, version).to_pylist()
    assert Counter(tuple(row.values()) for row in rows) == before


def test_deleted_rows_are_gone_for_good_and_so_are_their_delete_files(
    home: Home, lake: Lake
) -> None:
    filled(lake)
    for at in (0, 3):
        delete_rows(lake, REF, some_file(lake, at), [0, 7, 8])
    before = rows_of(lake)
    assert sum(before.values()) == 1500 - 6
    compact(home)
    assert rows_of(lake) == before
    table = lake.load(REF)
    live = snapshots.live(table, table.current_snapshot())
    assert not any(one.deletes for one in live)
    assert sum(one.file.record_count for one in live) == 1500 - 6


def test_delete_files_that_still_apply_elsewhere_stay(home: Home, lake: Lake) -> None:
    filled(lake, files=1)
    first, second = (some_file(lake, at) for at in (0, 1))
    delete_rows(lake, REF, first, [0])
    kept = delete_rows(lake, REF, second, [1])
    before = rows_of(lake)
    cell = snapshots.part_of(lake.load(REF).metadata, first)
    carry_out(home, plan_compaction(lake, REF, cells=[cell]), "c1")
    table = lake.load(REF)
    live = snapshots.live(table, table.current_snapshot())
    assert [one.file.file_path for one in live if one.deletes] == [kept]
    assert rows_of(lake) == before


def test_a_partition_whose_rows_were_all_deleted_is_left_without_a_file(
    home: Home, lake: Lake
) -> None:
    filled(lake, files=1)
    file = some_file(lake)
    delete_rows(lake, REF, file, range(file.record_count))
    before = rows_of(lake)
    compact(home)
    assert len(plan_read(lake, REF).tasks) == 1
    assert rows_of(lake) == before


def in_between(home: Home, lake: Lake) -> Change:
    """A compaction that has written its files and not committed yet."""
    shown = examine(lake, REF)
    assert shown.version is not None
    folder = TableLog(lake, REF).files(Token("c1/s1"), "a1")
    return change("a1", [rewrite(home, REF, shown.version, shown.parts, folder)])


def commit(lake: Lake, made: Change, base: str | None) -> None:
    LogTarget(TableLog(lake, REF), Hurried()).commit(Token("c1/s1"), base, made)  # type: ignore[arg-type]


def test_rows_that_others_append_meanwhile_stay(home: Home, lake: Lake) -> None:
    filled(lake)
    base, made = TableLog(lake, REF).load().head, in_between(home, lake)
    append(lake, "late", events(50, 77))
    before = rows_of(lake)
    commit(lake, made, base)
    assert rows_of(lake) == before
    assert len(plan_read(lake, REF).tasks) == 4


def test_a_row_that_is_deleted_meanwhile_makes_it_plan_again(home: Home, lake: Lake) -> None:
    filled(lake)
    base, made = TableLog(lake, REF).load().head, in_between(home, lake)
    delete_rows(lake, REF, some_file(lake), [2])
    before = rows_of(lake)
    with pytest.raises(PlanAgainError, match="had rows deleted"):
        commit(lake, made, base)
    assert rows_of(lake) == before


def test_an_overwrite_meanwhile_makes_it_plan_again(home: Home, lake: Lake) -> None:
    filled(lake)
    base, made = TableLog(lake, REF).load().head, in_between(home, lake)
    log, token = TableLog(lake, REF), Token("other/s1")
    written = write(lake, EVENTS, events(10, 5), log.files(token, "a1"), REF)
    over = Change("a1", makes={WHOLE: "m"}, overwrites=(WHOLE,), payload=written)
    LogTarget(log, Hurried()).commit(token, base, over)
    with pytest.raises(PlanAgainError, match="taken out"):
        commit(lake, made, base)
    assert sum(rows_of(lake).values()) == 10


def test_a_plan_says_what_it_costs(home: Home, lake: Lake) -> None:
    filled(lake)
    (step,) = plan_compaction(lake, REF).steps
    assert step.cost.rows == 1500
    assert step.cost.bytes == sum(t.file.file_size_in_bytes for t in plan_read(lake, REF).tasks)
    assert step.reason == "10 of 10 files in 2 partitions (5 small files)"


def test_old_columns_are_filled_in(home: Home, lake: Lake) -> None:
    filled(lake, files=3)
    wider = replace(EVENTS, schema={**EVENTS.schema, "more": "string"})
    rows = events(300, 8)
    append(lake, "w", rows.append_column("more", pa.array(["x"] * 300)), wider)
    before = rows_of(lake)
    compact(home)
    assert rows_of(lake) == before
    assert len(plan_read(lake, REF).tasks) == 2


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(st.integers(1, 60), st.just("delete"), st.just("compact")), min_size=1, max_size=7
    ),
    st.integers(0, 10**6),
)
def test_any_mix_of_appends_deletes_and_compactions_keeps_the_rows(
    tmp_path_factory: pytest.TempPathFactory, acts: list[Any], seed: int
) -> None:
    home = home_in(str(tmp_path_factory.mktemp("mix")))
    lake, chance = Lake(home), random.Random(seed)
    append(lake, "first", events(40, seed))
    model = rows_of(lake)
    for n, act in enumerate(acts):
        if act == "compact":
            compact(home, f"c{n}", joined=2, unsorted=0.0)
        elif act == "delete":
            model = deleted(lake, model, chance)
        else:
            rows = events(act, seed + n)
            append(lake, f"r{n}", rows)
            model += Counter(tuple(row.values()) for row in rows.to_pylist())
        assert rows_of(lake) == model


def deleted(
    lake: Lake, model: Counter[tuple[Any, ...]], chance: random.Random
) -> Counter[tuple[Any, ...]]:
    found = plan_read(lake, REF)
    plain = [task.file for task in found.tasks if not task.delete_files]
    if not plain:
        return model
    import pyarrow.parquet as pq

    file = chance.choice(plain)
    place = chance.randrange(file.record_count)
    row = pq.read_table(file.file_path).slice(place, 1).to_pylist()[0]
    delete_rows(lake, REF, file, [place])
    return model - Counter([tuple(row.values())])
