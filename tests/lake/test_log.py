"""What a table's log adds to the loop: the state in its snapshots, others' commits, its schema."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from msgspec.structs import replace
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Transaction

from bowerbird.core.errors import CommitConflictError, PlanAgainError, SpecError, UserError
from bowerbird.core.targets import SHAPE, WHOLE, Change, LogTarget, Token
from bowerbird.lake import Lake, Table, TableLog, Written, bucket, day, read, write
from bowerbird.testing.target_conformance import ONE, OTHER, A, B, Hurried, overwriting
from tests.lake.world import PARTS, TableWorld, parts


def iceberg_append(lake: Lake, name: str, retries: str) -> Transaction:
    """A handle of PyIceberg's that has appended a row and not committed yet."""
    table = lake.load(PARTS.ref)
    properties = table.metadata.properties | {"commit.retry.num-retries": retries}
    table.metadata = table.metadata.model_copy(update={"properties": properties})
    tx = table.transaction()
    rows = parts({A: [name]}).cast(table.schema().as_arrow())
    tx.append(rows, snapshot_properties={"bowerbird.token": ONE})
    return tx


def commits_with(lake: Lake, token: str) -> int:
    snapshots = lake.load(PARTS.ref).metadata.snapshots
    return sum(s.summary.additional_properties.get("bowerbird.token") == token for s in snapshots)


def test_pyicebergs_own_retry_doubles_rows_under_one_token(lake: Lake) -> None:
    lake.create(PARTS)
    first, second = (iceberg_append(lake, "x", retries="4") for _ in range(2))
    first.commit_transaction()
    second.commit_transaction()
    assert commits_with(lake, ONE) == 2
    assert read(lake, PARTS.ref).num_rows == 2


def test_without_the_retry_the_second_handle_is_refused(lake: Lake) -> None:
    lake.create(PARTS)
    first, second = (iceberg_append(lake, "x", retries="0") for _ in range(2))
    first.commit_transaction()
    with pytest.raises(CommitFailedException):
        second.commit_transaction()
    assert commits_with(lake, ONE) == 1


def test_a_table_whose_properties_ask_for_retries_is_committed_to_without(
    world: TableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.lake.create(PARTS)
    world.lake.load(PARTS.ref).transaction().set_properties(
        {"commit.retry.num-retries": "4"}
    ).commit_transaction()
    log = world.log()
    onto = log.load()
    world.target().commit(OTHER, onto.head, world.change(OTHER, "a1", {A: ["between"]}))
    with pytest.raises(CommitConflictError):
        log.append(onto, ONE, world.change(ONE, "a1", {A: ["late"]}))
    assert world.rows() == ["between"]


def test_the_head_is_the_precondition_also_where_there_is_none(world: TableWorld) -> None:
    world.lake.create(PARTS)
    one, other = world.log(), world.log()
    from_one, from_other = one.load(), other.load()
    assert from_one.head is None
    one.append(from_one, ONE, world.change(ONE, "a1", {A: ["x"]}))
    with pytest.raises(CommitConflictError):
        other.append(from_other, OTHER, world.change(OTHER, "a1", {A: ["y"]}))
    assert world.rows() == ["x"]


def test_a_conflict_leaves_no_metadata_behind(world: TableWorld) -> None:
    world.lake.create(PARTS)
    log = world.log()
    onto = log.load()
    world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["x"]}))
    change = world.change(ONE, "a1", {A: ["y"]})
    before = set(world.lake.files.under(world.lake.location(PARTS.ref)))
    with pytest.raises(CommitConflictError):
        log.append(onto, ONE, change)
    assert set(world.lake.files.under(world.lake.location(PARTS.ref))) == before


def test_a_commit_on_a_missing_table_makes_it_as_the_spec_says(world: TableWorld) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    table = world.lake.load("test/parts")
    assert [field.name for field in table.spec().fields] == ["part"]
    assert table.properties["commit.retry.num-retries"] == "0"
    assert len(table.metadata.snapshots) == 1


def test_a_token_burnt_before_the_table_was_made_stays_burnt_in_it(world: TableWorld) -> None:
    late = world.change(ONE, "a1", {A: ["late"]})
    world.target().burn(ONE)
    base = world.target().read().version
    world.target().commit(OTHER, base, world.change(OTHER, "a1", {A: ["x"]}))
    assert world.target().commit(ONE, None, late).burnt
    table = world.lake.load(PARTS.ref)
    assert [field.name for field in table.spec().fields] == ["part"]
    assert [field.required for field in table.schema().fields] == [True, False]
    assert len(table.sort_order().fields) == 1
    assert world.rows() == ["x"]


def test_a_table_that_was_made_meanwhile_is_a_conflict_not_a_second_table(
    world: TableWorld,
) -> None:
    log = world.log()
    onto = log.load()
    world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["x"]}))
    with pytest.raises(CommitConflictError):
        log.append(onto, ONE, world.change(ONE, "a1", {A: ["y"]}))


def test_a_column_that_the_spec_gained_comes_with_the_commit_that_fills_it(
    world: TableWorld,
) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    wider = replace(PARTS, schema={**PARTS.schema, "more": "list<long>"}, owner="team:new")
    rows = parts({A: ["y"]}).append_column("more", pa.array([[1, 2]]))
    written = write(world.lake, wider, rows, world.log().files(OTHER, "a1"))
    base = world.target().read().version
    world.target().commit(OTHER, base, Change("a1", makes={A: "m"}, payload=written))
    by_name = {row["name"]: row["more"] for row in read(world.lake, PARTS.ref).to_pylist()}
    assert by_name == {"x": None, "y": [1, 2]}
    assert world.lake.load(PARTS.ref).properties["owner"] == "team:new"
    assert len(world.lake.load(PARTS.ref).metadata.snapshots) == 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"schema": {"part": "string not null"}}, "column 'name' is in the table and not in"),
        ({"schema": {"part": "string not null", "name": "long"}}, "column 'name' is string"),
        (
            {"schema": {"part": "string not null", "name": "string not null"}},
            "column 'name' may be null in the table",
        ),
        ({"schema": {**PARTS.schema, "n": "long not null"}}, "new column 'n' is 'not null'"),
    ],
)
def test_a_change_that_old_rows_cannot_follow_is_refused_by_name(
    world: TableWorld, fields: dict[str, object], says: str
) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    before = world.lake.load(PARTS.ref).metadata_location
    with pytest.raises(SpecError, match=says) as caught:
        write(world.lake, replace(PARTS, **fields), parts({A: ["y"]}), "unused")
    assert caught.value.fix
    assert world.lake.load(PARTS.ref).metadata_location == before


def test_files_written_for_other_columns_are_not_committed(world: TableWorld) -> None:
    world.lake.create(PARTS)
    one = replace(PARTS, schema={**PARTS.schema, "one": "long"})
    other = replace(PARTS, schema={**PARTS.schema, "other": "long"})
    rows = parts({A: ["y"]}).append_column("one", pa.array([1]))
    written = write(world.lake, one, rows, world.log().files(ONE, "a1"))
    world.lake.load(PARTS.ref)
    empty = Change("a1", makes={SHAPE: "m"}, payload=Written(other))
    world.target().commit(OTHER, None, empty)
    with pytest.raises((PlanAgainError, SpecError)):
        world.target().commit(ONE, None, Change("a1", payload=written))


def test_rows_outside_the_cells_of_a_step_are_refused(world: TableWorld) -> None:
    change = overwriting(world.change(ONE, "a1", {A: ["x"], B: ["y"]}), A)
    with pytest.raises(UserError, match="1 rows are in part=b, which this step does not write"):
        world.target().commit(ONE, None, change)
    assert world.rows() == []


def test_a_cell_that_the_table_is_not_split_by_is_refused(world: TableWorld) -> None:
    change = overwriting(world.change(ONE, "a1", {}), "day=2024-01-01")
    with pytest.raises(UserError, match="names 'day', which it is not partitioned by"):
        world.target().commit(ONE, None, change)


def test_a_cell_of_one_field_covers_every_partition_with_its_value(lake: Lake) -> None:
    spec = Table(
        "test/days",
        schema={"id": "long", "at": "timestamptz"},
        partition=[bucket("id", 4), day("at")],
    )
    day_us = 86_400_000_000

    def rows(days: list[int]) -> pa.Table:
        pairs = [(i, d * day_us + i) for d in days for i in range(8)]
        return pa.table(
            {
                "id": [i for i, _ in pairs],
                "at": pa.array([t for _, t in pairs], pa.timestamp("us", "UTC")),
            }
        )

    target = LogTarget(TableLog(lake, spec.ref), Hurried())
    first = write(lake, spec, rows([0, 1]), target.files(ONE, "a1"))
    target.commit(ONE, None, Change("a1", makes={WHOLE: "m"}, payload=first))
    second = write(lake, spec, rows([1]).slice(0, 2), target.files(OTHER, "a1"))
    cell = "at_day=1970-01-02"
    base = target.read().version
    target.commit(
        OTHER,
        base,
        Change("a1", makes={cell: "m2"}, overwrites=(cell,), payload=second),
    )
    assert read(lake, spec.ref, cells=["at_day=1970-01-01"]).num_rows == 8
    assert read(lake, spec.ref, cells=[cell]).num_rows == 2


def test_what_somebody_else_compacted_is_no_change_of_rows(world: TableWorld) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"], B: ["y"]}))
    world.foreign(A, "theirs")
    entry = world.log().load().entries[0]
    assert entry.changed == {A}
    assert entry.token is None


def test_a_rewrite_that_keeps_rows_keeps_data_versions(world: TableWorld) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    before = world.target().read()
    rewrite = replace(
        overwriting(world.change(OTHER, "a1", {A: ["x"]}), A), preserves_rows=True, makes={}
    )
    world.target().commit(OTHER, before.version, rewrite)
    after = world.target().read()
    assert after.version != before.version
    assert (after.cells, after.data) == (before.cells, before.data)
    assert world.log().load().entries[0].changed == frozenset()
    assert world.rows() == ["x"]


def test_files_of_attempts_that_lost_are_swept(world: TableWorld) -> None:
    target = world.target()
    for attempt in ("a1", "a2"):
        target.commit(ONE, None, world.change(ONE, attempt, {A: [f"row of {attempt}"]}))
    target.sweep(ONE, "a1")
    assert not Path(target.files(ONE, "a2")).exists()
    assert world.rows() == ["row of a1"]
    lost = world.change(OTHER, "a1", {A: ["never"]})
    target.discard(OTHER, "a1")
    assert not any(Path(file.file_path).exists() for file in lost.payload.files)


def test_dropping_deletes_the_files_and_spares_what_came_after(world: TableWorld) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    head = world.target().read().version
    location = world.lake.location(PARTS.ref)
    assert world.lake.drop(PARTS.ref, head=head)
    assert not Path(location).exists()
    assert not world.lake.drop(PARTS.ref, head=head)
    world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["new"]}))
    with pytest.raises(PlanAgainError):
        world.lake.drop(PARTS.ref, head=head)
    assert world.rows() == ["new"]


def test_tables_made_at_once_are_one_table(lake: Lake) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: Lake(lake.home).create(PARTS), range(6)))
    assert len({table.metadata.table_uuid for table in made}) == 1
    assert lake.tables() == ("test.parts",)


def test_a_history_whose_beginning_was_expired_says_so(world: TableWorld) -> None:
    """PyIceberg's expiry takes the parent's id out of the oldest snapshot that it leaves."""
    first = world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["a"]})).version
    assert world.log().load().complete
    world.target().commit(ONE, first, world.change(ONE, "a1", {B: ["b"]}))
    world.expire()
    assert not world.log().load().complete
    late = Token("r7/s1")
    with pytest.raises(PlanAgainError, match="no longer descends"):
        world.target().commit(late, None, world.change(late, "a1", {A: ["late"]}))
