from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from msgspec.structs import replace
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.typedef import Record

from bowerbird.core.errors import UserError
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Allowed, Want, make_plan
from bowerbird.core.refs import Ref
from bowerbird.core.targets import WHOLE, Change, Token, Version
from bowerbird.lake import Lake, bucket, read, rollback, snapshots, write
from bowerbird.lake.versions.rollback import preview
from bowerbird.testing.target_conformance import ONE, OTHER, A, B, overwriting
from tests.lake.world import PARTS, TableWorld, parts

BACK = Token("r9/s1")


def two_versions(world: TableWorld) -> tuple[Version, Version]:
    first = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["a1"], B: ["b1"]}))
    change = overwriting(world.change(OTHER, "a1", {A: ["a2"], B: ["b2"]}), A, B)
    return first.version, world.target().commit(OTHER, first.version, change).version


def data_files(lake: Lake) -> set[str]:
    return {f for f in lake.files.under(lake.location(PARTS.ref)) if f.endswith(".parquet")}


def test_old_rows_are_back_and_no_data_was_written(world: TableWorld) -> None:
    old, new = two_versions(world)
    before = data_files(world.lake)
    world.target().commit(BACK, new, rollback(world.lake, PARTS.ref, old, "a1"))
    assert sorted(world.rows()) == ["a1", "b1"]
    assert data_files(world.lake) == before


def test_one_partition_goes_back_and_the_others_stay(world: TableWorld) -> None:
    old, new = two_versions(world)
    world.target().commit(BACK, new, rollback(world.lake, PARTS.ref, old, "a1", [A]))
    assert sorted(world.rows()) == ["a1", "b2"]
    cells = world.target().read().cells
    assert (cells[A].meaning, cells[A].data) == (f"meaning of {ONE}", BACK)
    assert (cells[B].meaning, cells[B].data) == (f"meaning of {OTHER}", OTHER)


def test_history_goes_forward_and_the_rolled_back_version_can_still_be_read(
    world: TableWorld,
) -> None:
    old, new = two_versions(world)
    world.target().commit(BACK, new, rollback(world.lake, PARTS.ref, old, "a1"))
    assert len(world.log().load().entries) == 3
    assert sorted(read(world.lake, PARTS.ref, new).column("name").to_pylist()) == ["a2", "b2"]


def test_a_preview_names_the_files_and_changes_nothing(world: TableWorld) -> None:
    old, new = two_versions(world)
    shown = preview(world.lake, PARTS.ref, old, [A])
    assert len(shown.put_back) == len(shown.taken_out) == 1
    assert f"/{ONE}/" in shown.put_back[0]
    assert f"/{OTHER}/" in shown.taken_out[0]
    assert world.target().read().version == new


def test_a_rollback_to_what_is_there_moves_no_file(world: TableWorld) -> None:
    _, new = two_versions(world)
    shown = preview(world.lake, PARTS.ref, new)
    assert (shown.put_back, shown.taken_out) == ((), ())


def test_what_was_rolled_back_is_held_until_it_is_released(world: TableWorld) -> None:
    old, new = two_versions(world)
    definition = {"spec": "the new one"}
    change = rollback(world.lake, PARTS.ref, old, "a1", [A], holds={A: digest(definition)})
    world.target().commit(BACK, new, change)
    want = Want("table:test/parts", "table.load", definition, cell=A)
    present = {want.target: world.target().read()}
    plan = make_plan([want], present, {})
    assert plan.empty
    assert "held" in plan.notes[0].text
    released = make_plan([want], present, {}, Allowed(release_held=frozenset([want.target])))
    assert not released.empty


def test_a_partition_that_was_not_there_yet_is_emptied_and_held(world: TableWorld) -> None:
    old = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["a"]})).version
    new = world.target().commit(OTHER, old, world.change(OTHER, "a1", {B: ["b"]})).version
    holds = {WHOLE: digest("d")}
    world.target().commit(BACK, new, rollback(world.lake, PARTS.ref, old, "a1", holds=holds))
    assert world.rows() == ["a"]
    cells = world.target().read().cells
    assert (cells[B].meaning, cells[B].held) == (None, digest("d"))


def test_a_file_that_is_gone_is_named(world: TableWorld) -> None:
    old, _ = two_versions(world)
    lost = preview(world.lake, PARTS.ref, old).put_back[0]
    Path(lost).unlink()
    with pytest.raises(UserError, match=f"{lost} is gone"):
        rollback(world.lake, PARTS.ref, old, "a1")


def test_a_version_that_was_expired_is_refused(world: TableWorld) -> None:
    old, _ = two_versions(world)
    world.expire()
    with pytest.raises(UserError, match="does not descend from a version"):
        rollback(world.lake, PARTS.ref, old, "a1")


def test_rows_that_were_deleted_since_then_of_a_file_that_stays_are_back(
    world: TableWorld,
) -> None:
    rows = {A: ["a1"], B: ["b1", "b2"]}
    first = world.target().commit(ONE, None, world.change(ONE, "a1", rows))
    delete_a_row(world.lake)
    assert sorted(world.rows()) == ["a1", "b2"]
    files = set(Path(world.lake.home.warehouse).rglob("*.parquet"))
    base = world.target().read().version
    world.target().commit(BACK, base, rollback(world.lake, PARTS.ref, first.version, "a1", [B]))
    assert sorted(world.rows()) == ["a1", "b1", "b2"]
    assert set(Path(world.lake.home.warehouse).rglob("*.parquet")) == files
    live = snapshots.live(table := world.lake.load(PARTS.ref), table.current_snapshot())
    assert [one.deletes for one in live] == [False, False]


def test_deletes_that_hide_nothing_of_what_comes_back_do_not_stand_in_the_way(
    world: TableWorld,
) -> None:
    first = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["a1"], B: ["b1"]}))
    delete_a_row(world.lake)
    base = world.target().read().version
    change = overwriting(world.change(OTHER, "a1", {A: ["a2"], B: ["b2"]}), A, B)
    new = world.target().commit(OTHER, base, change).version
    world.target().commit(BACK, new, rollback(world.lake, PARTS.ref, first.version, "a1", [B]))
    assert sorted(world.rows()) == ["a2", "b1"]


def test_a_file_that_stays_with_the_same_rows_hidden_is_no_reason_to_refuse(
    world: TableWorld,
) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["a1"], B: ["b1", "b2"]}))
    delete_a_row(world.lake)
    then = world.target().read().version
    assert then is not None
    more = world.target().commit(OTHER, then, world.change(OTHER, "a1", {B: ["b3"]})).version
    world.target().commit(BACK, more, rollback(world.lake, PARTS.ref, then, "a1", [B]))
    assert sorted(world.rows()) == ["a1", "b2"]


def test_rows_that_were_hidden_would_come_back_and_that_is_refused(world: TableWorld) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["a1"], B: ["b1", "b2"]}))
    delete_a_row(world.lake)
    then = world.target().read().version
    assert then is not None
    change = overwriting(world.change(OTHER, "a1", {B: ["b3"]}), B)
    world.target().commit(OTHER, then, change)
    with pytest.raises(UserError, match=r"deletes\.parquet deletes rows of part=b"):
        rollback(world.lake, PARTS.ref, then, "a1", [B])


def test_a_preview_tells_rows_and_bytes(world: TableWorld) -> None:
    old, _ = two_versions(world)
    (back,) = preview(world.lake, PARTS.ref, old, [A]).files_back
    assert (back.cell, back.rows) == (A, 1)
    assert back.bytes == Path(back.path).stat().st_size


def test_files_of_an_older_partitioning_are_put_back_as_they_were(world: TableWorld) -> None:
    old, _ = two_versions(world)
    split = replace(PARTS, partition=(bucket("name", 4),))
    target, token = world.target(), Token("r8/s1")
    written = write(world.lake, split, parts({A: ["x", "y"]}), target.files(token, "a1"))
    base = target.read().version
    change = Change("a1", makes={WHOLE: "m"}, overwrites=(WHOLE,), payload=written)
    new = target.commit(token, base, change).version
    target.commit(BACK, new, rollback(world.lake, PARTS.ref, old, "a1"))
    assert sorted(world.rows()) == ["a1", "b1"]
    assert read(world.lake, PARTS.ref, where={"part": "a"}).column("name").to_pylist() == ["a1"]
    assert set(target.read().cells) >= {A, B}
    head = world.lake.load(PARTS.ref).current_snapshot().summary.additional_properties
    assert (head["total-records"], head["total-data-files"]) == ("2", "2")


def delete_a_row(lake: Lake, ref: Ref = PARTS.ref) -> None:
    """A position delete as Spark writes it (PyIceberg has no writer for one): of the first row of a
    file with part=b."""
    import pyarrow.parquet as pq

    table = lake.load(ref)
    victim = next(t.file for t in table.scan(row_filter="part = 'b'").plan_files())
    path = f"{table.location()}/data/deletes.parquet"
    schema = pa.schema(
        [
            pa.field("file_path", pa.string(), False, {"PARQUET:field_id": "2147483546"}),
            pa.field("pos", pa.int64(), False, {"PARQUET:field_id": "2147483545"}),
        ]
    )
    pq.write_table(pa.table({"file_path": [victim.file_path], "pos": [0]}, schema), path)
    deletes = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format="PARQUET",
        partition=Record("b"),
        record_count=1,
        file_size_in_bytes=Path(path).stat().st_size,
    )
    deletes.spec_id = table.spec().spec_id
    commit_deletes(table, deletes)


def commit_deletes(table: object, deletes: DataFile) -> None:
    from pyiceberg.manifest import ManifestContent, ManifestWriterV2

    class DeleteManifests(ManifestWriterV2):
        def content(self) -> ManifestContent:
            return ManifestContent.DELETES

    tx = table.transaction()  # type: ignore[attr-defined]
    producer = tx.update_snapshot().fast_append()

    def writer(spec: object) -> DeleteManifests:
        return DeleteManifests(
            spec, producer.schema(), producer.new_manifest_output(), producer.snapshot_id, "zstd"
        )

    producer.new_manifest_writer = writer
    producer.append_data_file(deletes)
    producer.commit()
    tx.commit_transaction()
