"""Merges of keyed change rows, held to a dictionary."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pyiceberg.manifest import DataFile

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import PlanAgainError
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.lake import (
    Keyed,
    Lake,
    Mode,
    Table,
    TableLog,
    bucket,
    identity,
    merge,
    merge_into,
    read,
    rollback,
    snapshots,
    write,
)
from bowerbird.lake.merges.merge import preview
from bowerbird.lake.ordering import is_sorted
from bowerbird.lake.read import plan
from bowerbird.lake.streams import file_blocks
from bowerbird.lake.upkeep.compaction import plan_compaction
from bowerbird.testing.target_conformance import Hurried
from tests.lake.test_rollback import delete_a_row
from tests.lake.test_steps import carry_out
from tests.lake.world import home_in

pytestmark = pytest.mark.slow

USERS = Table(
    "test/users",
    schema={"id": "long", "part": "string", "name": "string", "score": "double"},
    partition=[bucket("id", 4)],
    sort=["id"],
    target_file_bytes=2048,
)
BY_PART = replace(USERS, partition=(identity("part"),))
ID = Keyed(key=("id",), op="op")
counter = itertools.count()

Row = tuple[Any, ...]


def table_of(rows: list[Row], *more: str) -> pa.Table:
    kinds = {"id": pa.int64(), "part": pa.string(), "name": pa.string(), "score": pa.float64()}
    columns = [*kinds, *more]
    return pa.table(
        {
            name: pa.array([row[place] for row in rows], kinds.get(name, pa.string()))
            for place, name in enumerate(columns)
        }
    )


def target(lake: Lake, spec: Table) -> LogTarget:
    return LogTarget(TableLog(lake, spec.ref), Hurried())


def append(lake: Lake, spec: Table, rows: list[Row]) -> str:
    token = Token(f"append/{next(counter)}")
    log = target(lake, spec)
    written = write(lake, spec, table_of(rows), log.files(token, "a1"))
    return log.commit(token, log.read().version, Change("a1", payload=written)).version


def merged(lake: Lake, spec: Table, rows: list[Row], keyed: Keyed = ID) -> dict[str, Any]:
    token = Token(f"merge/{next(counter)}")
    made = table_of(rows, "op")
    return dict(merge_into(lake, spec, made, keyed, token, SystemClock()).results)


def rows_of(lake: Lake, spec: Table) -> Counter[str]:
    rows = read(lake, spec.ref).select(["id", "part", "name", "score"])
    return told(tuple(row.values()) for row in rows.to_pylist())


def told(rows: Any) -> Counter[str]:
    """Rows as texts: a NaN is equal to a NaN then."""
    return Counter(map(str, rows))


def files(lake: Lake, spec: Table) -> dict[str, DataFile]:
    return {task.file.file_path: task.file for task in plan(lake, spec.ref).tasks}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(home_in(str(tmp_path_factory.mktemp("lake"))))


layouts = st.sampled_from(
    [
        (),
        (bucket("id", 3),),
        (identity("part"),),
        (bucket("id", 2), identity("part")),
        (bucket("name", 2),),
    ]
)
modes = st.sampled_from(Mode)
ids = st.integers(0, 12)
row = st.tuples(
    ids,
    st.sampled_from(["a", "b", None]),
    st.sampled_from(["x", "y", "é'/\"", None]),
    st.sampled_from([0.0, -0.0, 1.5, math.nan, None]),
)
changes = st.lists(
    st.tuples(row, st.sampled_from(["insert", "update", "delete"])),
    max_size=10,
    unique_by=lambda change: change[0][0],
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    layouts,
    st.lists(st.lists(row, max_size=8), max_size=3),
    st.lists(changes, min_size=1, max_size=3),
    st.sampled_from([("id",), ("name", "id")]),
    st.sampled_from([(), ("id",), ("part", "id")]),
    st.lists(modes, min_size=3, max_size=3),
)
def test_a_merge_is_what_a_dictionary_would_hold(
    shared: Lake,
    partition: Any,
    loads: list[list[Row]],
    merges: list[list[Any]],
    key: tuple[str, ...],
    sort: tuple[str, ...],
    by_turns: list[Mode],
) -> None:
    spec = replace(USERS, name=f"test/t{next(counter)}", partition=partition, sort=sort)
    names = ("id", "part", "name", "score")
    places = [names.index(column) for column in key]

    def key_of(one: Row) -> Row:
        return tuple(one[place] for place in places)

    expected: list[Row] = []
    for rows in loads:
        # A table may hold rows whose key is null: no change means them.
        rows = [(None, *one[1:]) if one[0] == 12 else one for one in rows]
        append(shared, spec, rows)
        expected += rows
    for change, mode in zip(merges, by_turns, strict=False):
        came = [(one, op) for one, op in change if None not in key_of(one)]
        merged(shared, spec, [(*one, op) for one, op in came], Keyed(key=key, op="op", mode=mode))
        changed = {key_of(one) for one, _ in came}
        expected = [one for one in expected if key_of(one) not in changed]
        expected += [one for one, op in came if op != "delete"]
        if shared.exists(spec.ref):
            assert rows_of(shared, spec) == told(expected)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    layouts,
    st.lists(row, max_size=12),
    st.dictionaries(ids, st.sampled_from("xyz"), max_size=6),
    modes,
)
def test_some_columns_are_set_in_every_row_of_the_key(
    shared: Lake, partition: Any, rows: list[Row], names: dict[int, str], mode: Mode
) -> None:
    spec = replace(USERS, name=f"test/t{next(counter)}", partition=partition)
    append(shared, spec, rows)
    made = pa.table(
        {"id": pa.array(names.keys(), pa.int64()), "name": pa.array(names.values(), pa.string())}
    )
    keyed = Keyed(key=("id",), columns=("name",), mode=mode)
    done = merge_into(shared, spec, made, keyed, Token(f"m/{next(counter)}"), SystemClock())
    expected = [(one[0], one[1], names.get(one[0], one[2]), one[3]) for one in rows]
    assert rows_of(shared, spec) == told(expected)
    there = names.keys() & {one[0] for one in rows}
    assert (done.results["updated"], done.results["absent"]) == (
        len(there),
        len(names) - len(there),
    )


def test_what_was_done_is_counted(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(10)])
    done = merged(
        lake,
        USERS,
        [
            (1, "a", "new", 0.0, "update"),
            (77, "a", "new", 0.0, "insert"),
            (2, "", "", 0.0, "delete"),
            (99, "", "", 0.0, "delete"),
        ],
    )
    counts = [done[name] for name in ("updated", "inserted", "deleted", "absent", "superseded")]
    assert counts == [1, 1, 1, 1, 0]


MARKED = Keyed(key=("id",), op="op", mode=Mode.MERGE_ON_READ)


def test_merged_on_read_data_files_stay_and_small_ones_name_the_deleted_rows(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(100)])
    before = files(lake, USERS)
    rows = [(7, "a", "new", 0.0, "update"), (8, "", "", 0.0, "delete")]
    shown = preview(lake, USERS, table_of(rows, "op"), MARKED)
    done = merged(lake, USERS, rows, MARKED)
    assert (done["files_rewritten"], done["files_marked"]) == (0, len(shown.marked))
    assert (done["updated"], done["deleted"], shown.rewritten) == (1, 1, ())
    found = plan(lake, USERS.ref)
    after = {task.file.file_path: task for task in found.tasks}
    assert before.keys() < after.keys()
    named = [file for path in before for file in after[path].delete_files]
    assert sum(file.record_count for file in named) == 2
    assert rows_of(lake, USERS) == told(
        [(i, "a", "new" if i == 7 else "x", 0.0) for i in range(100) if i != 8]
    )
    table = lake.load(USERS.ref)
    theirs = table.scan().to_arrow().select(["id", "part", "name", "score"])
    assert told(tuple(row.values()) for row in theirs.to_pylist()) == rows_of(lake, USERS)
    summary = table.current_snapshot().summary
    assert (summary["total-position-deletes"], summary["total-records"]) == ("2", "101")


def test_what_was_marked_is_gone_after_a_compaction_and_back_after_a_rollback(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(60)])
    version = target(lake, USERS).read().version
    assert version is not None
    first = rows_of(lake, USERS)
    merged(lake, USERS, [(i, "a", "new", 1.0, "update") for i in range(9)], MARKED)
    second = rows_of(lake, USERS)
    log, token = target(lake, USERS), Token("back/1")
    log.commit(token, log.read().version, rollback(lake, USERS.ref, version, "a1"))
    assert rows_of(lake, USERS) == first
    assert not any(task.delete_files for task in plan(lake, USERS.ref).tasks)
    merged(lake, USERS, [(i, "a", "new", 1.0, "update") for i in range(9)], MARKED)
    carry_out(lake.home, plan_compaction(lake, USERS.ref), "compact")
    assert rows_of(lake, USERS) == second
    live = snapshots.live(table := lake.load(USERS.ref), table.current_snapshot())
    assert not any(one.deletes for one in live)


def test_rows_are_not_marked_in_a_file_that_was_compacted_meanwhile(lake: Lake) -> None:
    for _ in range(5):
        append(lake, USERS, [(i, "a", "x", 0.0) for i in range(20)])
    log, token = target(lake, USERS), Token("late/1")
    base = log.read().version
    rows = table_of([(7, "a", "new", 0.0, "update")], "op")
    made = merge(lake, USERS, rows, MARKED, "a1", log.files(token, "a1"), base)
    carry_out(lake.home, plan_compaction(lake, USERS.ref), "compact")
    with pytest.raises(PlanAgainError, match="was taken out of the table"):
        log.commit(token, base, made)


def test_a_rollback_to_marked_rows_is_not_committed_over_a_compaction_of_them(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(20)])
    merged(lake, USERS, [(i, "", "", 0.0, "delete") for i in range(9)], MARKED)
    log, token = target(lake, USERS), Token("back/1")
    to = log.read().version
    assert to is not None
    for _ in range(4):
        append(lake, USERS, [(i, "a", "x", 0.0) for i in range(20, 40)])
    base = log.read().version
    made = rollback(lake, USERS.ref, to, "a1")
    carry_out(lake.home, plan_compaction(lake, USERS.ref), "compact")
    with pytest.raises(PlanAgainError, match="was taken out of the table"):
        log.commit(token, base, made)


def test_files_of_an_older_partitioning_are_rewritten_even_so(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(20)])
    done = merged(lake, BY_PART, [(7, "a", "new", 0.0, "update")], MARKED)
    assert (done["files_rewritten"], done["files_marked"]) == (1, 0)
    expected = [(i, "a", "new" if i == 7 else "x", 0.0) for i in range(20)]
    assert rows_of(lake, USERS) == told(expected)


def test_files_without_a_changed_key_stay_as_they_are(lake: Lake) -> None:
    for start in (0, 100, 200):
        append(lake, USERS, [(i, "a", "x", 0.0) for i in range(start, start + 100)])
    before = files(lake, USERS)
    merged(lake, USERS, [(150, "a", "new", 0.0, "update")])
    after = files(lake, USERS)
    assert len(before.keys() - after.keys()) == 1
    assert len(after.keys() - before.keys()) == 1


def test_a_file_whose_bounds_meet_a_key_that_it_does_not_hold_stays(lake: Lake) -> None:
    spec = replace(USERS, partition=())
    append(lake, spec, [(i, "a", "x", 0.0) for i in (1, 9)])
    append(lake, spec, [(i, "a", "x", 0.0) for i in (2, 5)])
    made = table_of([(5, "a", "new", 0.0, "update")], "op")
    shown = preview(lake, spec, made, ID)
    assert (len(shown.looked_into), len(shown.rewritten), shown.found) == (2, 1, 1)
    before = files(lake, spec).keys()
    merged(lake, spec, [(5, "a", "new", 0.0, "update")])
    assert len(before - files(lake, spec).keys()) == 1


def test_a_preview_reads_and_changes_nothing(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(10)])
    head = target(lake, USERS).read().version
    made = table_of([(1, "a", "y", 0.0, "update"), (2, "", "", 0.0, "delete")], "op")
    shown = preview(lake, USERS, made, ID)
    assert (shown.changes, shown.deletes, shown.found, shown.version) == (2, 1, 2, head)
    assert target(lake, USERS).read().version == head


def test_a_rewritten_file_is_in_the_declared_order(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(0, 300, 2)])
    merged(lake, USERS, [(i, "a", "new", 0.0, "insert") for i in range(1, 300, 7)])
    found = plan(lake, USERS.ref)
    for task in found.tasks:
        assert task.file.sort_order_id == 1
        assert is_sorted(pa.concat_tables(file_blocks(found, task)), ["id"])


def test_a_row_whose_partition_changes_moves(lake: Lake) -> None:
    append(lake, BY_PART, [(1, "a", "x", 0.0), (2, "a", "y", 0.0), (3, "b", "z", 0.0)])
    merged(lake, BY_PART, [(1, "b", "moved", 1.0, "update")])
    assert read(lake, BY_PART.ref, cells=["part=a"]).column("id").to_pylist() == [2]
    assert sorted(read(lake, BY_PART.ref, cells=["part=b"]).column("id").to_pylist()) == [1, 3]


def test_of_duplicates_one_row_is_left(lake: Lake) -> None:
    append(lake, BY_PART, [(1, "a", "x", 0.0), (1, "a", "y", 0.0), (1, "b", "z", 0.0)])
    merged(lake, BY_PART, [(1, "a", "one", 0.0, "update")])
    assert rows_of(lake, BY_PART) == told([(1, "a", "one", 0.0)])


def test_only_touched_partitions_have_another_data_version(lake: Lake) -> None:
    append(lake, BY_PART, [(1, "a", "x", 0.0), (2, "b", "y", 0.0)])
    before = target(lake, BY_PART).read().cells
    merged(lake, BY_PART, [(1, "a", "new", 0.0, "update")])
    after = target(lake, BY_PART).read().cells
    assert after["part=b"] == before["part=b"]
    assert after["part=a"].data != before["part=a"].data
    assert after["part=a"].meaning is not None


def test_the_same_changes_again_change_no_row(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(10)])
    rows = [(1, "a", "new", 0.0, "insert"), (2, "", "", 0.0, "delete")]
    merged(lake, USERS, rows)
    once = rows_of(lake, USERS)
    merged(lake, USERS, rows)
    assert rows_of(lake, USERS) == once


def test_a_merge_into_no_table_makes_it(lake: Lake) -> None:
    merged(lake, USERS, [(1, "a", "x", 0.0, "update"), (2, "a", "y", 0.0, "delete")])
    assert rows_of(lake, USERS) == told([(1, "a", "x", 0.0)])


def test_a_column_that_the_spec_gained_comes_with_the_merge(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(4)])
    wider = replace(USERS, schema={**USERS.schema, "more": "long"})
    rows = table_of([(1, "a", "new", 0.0)]).append_column("more", pa.array([7]))
    token = Token("m/1")
    merge_into(lake, wider, rows, Keyed(key=("id",)), token, SystemClock())
    found = read(lake, USERS.ref).to_pylist()
    assert {one["id"]: one["more"] for one in found} == {0: None, 1: 7, 2: None, 3: None}


def test_nothing_is_merged_twice_under_one_token(lake: Lake) -> None:
    append(lake, USERS, [(1, "a", "x", 0.0)])
    rows = table_of([(2, "a", "y", 0.0)])
    done = [
        merge_into(lake, USERS, rows, Keyed(key=("id",)), Token("m/1"), SystemClock())
        for _ in range(2)
    ]
    assert done[0].version == done[1].version


def made(lake: Lake, spec: Table, rows: list[Row]) -> tuple[LogTarget, str | None, Change]:
    """A merge that was computed and is not committed yet."""
    log = target(lake, spec)
    base = log.read().version
    folder = log.files(Token("late/m"), "a1")
    return log, base, merge(lake, spec, table_of(rows, "op"), ID, "a1", folder, base)


def test_a_key_that_somebody_inserted_meanwhile_is_seen(lake: Lake) -> None:
    append(lake, USERS, [(1, "a", "x", 0.0)])
    log, base, late = made(lake, USERS, [(2, "a", "late", 0.0, "insert")])
    merged(lake, USERS, [(2, "a", "first", 0.0, "insert")])
    with pytest.raises(PlanAgainError, match="was changed by"):
        log.commit(Token("late/m"), base, late)
    assert rows_of(lake, USERS) == told([(1, "a", "x", 0.0), (2, "a", "first", 0.0)])


@pytest.mark.slow
def test_what_others_do_where_no_changed_key_can_be_is_no_conflict(lake: Lake) -> None:
    append(lake, USERS, [(i, "a", "x", 0.0) for i in range(8)])
    log, base, late = made(lake, USERS, [(2, "a", "late", 0.0, "update")])
    (guard,) = late.guards
    others = [
        i
        for i in range(100)
        if guard not in made(lake, USERS, [(i, "", "", 0.0, "insert")])[2].guards
    ]
    merged(lake, USERS, [(others[0], "a", "other", 0.0, "insert")])
    log.commit(Token("late/m"), base, late)
    found = {one["id"]: one["name"] for one in read(lake, USERS.ref).to_pylist()}
    assert (found[2], found[others[0]]) == ("late", "other")


def test_where_partitions_say_nothing_of_the_key_any_change_is_a_conflict(lake: Lake) -> None:
    append(lake, BY_PART, [(1, "a", "x", 0.0), (2, "b", "y", 0.0)])
    log, base, late = made(lake, BY_PART, [(1, "a", "late", 0.0, "update")])
    append(lake, BY_PART, [(1, "b", "hidden", 0.0)])
    with pytest.raises(PlanAgainError):
        log.commit(Token("late/m"), base, late)


def test_a_merge_begins_again_until_it_has_seen_what_others_did(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, USERS, [(1, "a", "x", 0.0)])
    module = sys.modules[merge.__module__]
    plain, left = module.merge, [2]

    def disturbed(*args: Any) -> Change:
        change = plain(*args)
        if left[0]:
            left[0] -= 1
            append(Lake(lake.home), USERS, [(2, "a", f"theirs {left[0]}", 0.0)])
        return change

    monkeypatch.setattr(module, "merge", disturbed)
    done = merge_into(
        lake, USERS, table_of([(2, "a", "ours", 0.0)]), Keyed(key=("id",)), Token("m/1"), Hurried()
    )
    assert rows_of(lake, USERS) == told([(1, "a", "x", 0.0), (2, "a", "ours", 0.0)])
    folder = Path(target(lake, USERS).files(Token("m/1"), "x")).parent
    assert [path.name for path in folder.iterdir()] == [done.attempt]


def test_rows_that_another_engine_deleted_stay_deleted(lake: Lake) -> None:
    append(lake, BY_PART, [(1, "b", "gone", 0.0), (2, "b", "stays", 0.0)])
    delete_a_row(lake, BY_PART.ref)
    merged(lake, BY_PART, [(2, "b", "new", 0.0, "update")])
    assert rows_of(lake, BY_PART) == told([(2, "b", "new", 0.0)])


def test_a_key_whose_row_another_engine_deleted_is_new(lake: Lake) -> None:
    append(lake, BY_PART, [(1, "b", "gone", 0.0), (2, "b", "stays", 0.0)])
    delete_a_row(lake, BY_PART.ref)
    before = files(lake, BY_PART).keys()
    done = merged(lake, BY_PART, [(1, "b", "back", 0.0, "insert")])
    assert (done["inserted"], done["files_rewritten"]) == (1, 0)
    assert before < files(lake, BY_PART).keys()


def test_rows_that_another_engine_deletes_meanwhile_are_seen(lake: Lake) -> None:
    append(lake, BY_PART, [(1, "b", "x", 0.0), (2, "b", "y", 0.0)])
    log, base, late = made(lake, BY_PART, [(2, "b", "late", 0.0, "update")])
    delete_a_row(lake, BY_PART.ref)
    with pytest.raises(PlanAgainError):
        log.commit(Token("late/m"), base, late)


def test_a_compaction_of_other_files_meanwhile_is_no_conflict(lake: Lake) -> None:
    append(lake, BY_PART, [(1, "a", "x", 0.0)])
    append(lake, BY_PART, [(2, "b", "y", 0.0)])
    log, base, late = made(lake, BY_PART, [(1, "a", "late", 0.0, "update")])
    token = Token("compact/s")
    rows = read(lake, BY_PART.ref, cells=["part=b"])
    written = write(lake, BY_PART, rows, log.files(token, "a1"))
    old = [p for p, f in files(lake, BY_PART).items() if f.partition[0] == "b"]
    written = replace(written, replaces=dict.fromkeys(old, ()))
    log.commit(token, base, Change("a1", payload=written, preserves_rows=True))
    log.commit(Token("late/m"), base, late)
    assert rows_of(lake, BY_PART) == told([(1, "a", "late", 0.0), (2, "b", "y", 0.0)])
