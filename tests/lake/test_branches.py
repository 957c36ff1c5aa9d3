"""Write, audit, publish: on a branch nobody sees rows before they are published, all at once."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bowerbird.core.errors import ConflictError, PlanAgainError, RefError, UserError
from bowerbird.core.targets import LogTarget, Token, Version
from bowerbird.lake import TableLog, read
from bowerbird.lake.versions import branches
from bowerbird.lake.versions.branches import NameKind, Retention
from bowerbird.testing.target_conformance import ONE, OTHER, A, B, Hurried, overwriting
from tests.lake.world import PARTS, TableWorld

OUT = Token("r9/s1")


def branch_target(world: TableWorld, name: str = "audit") -> LogTarget:
    return LogTarget(TableLog(world.lake, PARTS.ref, name), Hurried())


def with_branch(world: TableWorld) -> tuple[Version, Version]:
    """Main with one commit, and a branch that overwrites one of its partitions."""
    first = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["a1"], B: ["b1"]}))
    branches.place(world.lake, PARTS.ref, "audit")
    change = overwriting(world.change(OTHER, "a1", {A: ["a2"]}), A)
    made = branch_target(world).commit(OTHER, first.version, change)
    return first.version, made.version


def publish(world: TableWorld, token: Token = OUT) -> Version:
    (step,) = branches.plan_publish(world.lake, PARTS.ref, "audit").steps
    change = branches.published("a1", **step.definition)
    return world.target().commit(token, step.base, change).version


def names(world: TableWorld, version: str | None = None) -> list[str]:
    return sorted(read(world.lake, PARTS.ref, version).column("name").to_pylist())


def test_what_is_written_to_a_branch_is_seen_there_alone(world: TableWorld) -> None:
    with_branch(world)
    assert names(world) == ["a1", "b1"]
    assert names(world, "audit") == ["a2", "b1"]


def test_publishing_moves_main_to_the_branch_in_one_commit(world: TableWorld) -> None:
    _, head = with_branch(world)
    before = world.lake.load(PARTS.ref)
    version = publish(world)
    after = world.lake.load(PARTS.ref)
    assert names(world) == ["a2", "b1"]
    assert len(after.metadata.metadata_log) == len(before.metadata.metadata_log) + 1
    assert str(after.current_snapshot().parent_snapshot_id) == head
    assert {str(ref.snapshot_id) for ref in after.metadata.refs.values()} == {version}


def test_published_cells_and_tokens_are_mains(world: TableWorld) -> None:
    with_branch(world)
    before = branch_target(world).read().cells
    publish(world)
    assert world.target().read().cells == before
    assert before[A].data == OTHER
    assert world.target().find(OUT, None) is not None
    assert world.target().find(OTHER, None) is not None


def test_a_publishing_step_that_is_tried_again_finds_its_commit(world: TableWorld) -> None:
    first, head = with_branch(world)
    version = publish(world)
    again = world.target().commit(OUT, first, branches.published("a2", "audit", head))
    assert again.version == version
    assert branches.plan_publish(world.lake, PARTS.ref, "audit").empty


def test_a_main_that_moved_on_is_never_lost(world: TableWorld) -> None:
    first, head = with_branch(world)
    late = Token("r3/s1")
    world.target().commit(late, first, world.change(late, "a1", {B: ["b2"]}))
    with pytest.raises(ConflictError, match="main has moved on") as caught:
        branches.plan_publish(world.lake, PARTS.ref, "audit")
    assert "make the branch anew" in str(caught.value)
    with pytest.raises(PlanAgainError):
        world.target().commit(OUT, first, branches.published("a1", "audit", head))
    assert names(world) == ["a1", "b1", "b2"]


def test_a_branch_that_was_written_to_since_its_audit_is_not_published(world: TableWorld) -> None:
    first, head = with_branch(world)
    late = Token("r3/s1")
    branch_target(world).commit(late, head, world.change(late, "a1", {B: ["b2"]}))
    with pytest.raises(PlanAgainError, match="by now"):
        world.target().commit(OUT, first, branches.published("a1", "audit", head))
    assert names(world) == ["a1", "b1"]


def test_a_step_planned_on_mains_old_head_is_stale_where_the_branch_wrote(
    world: TableWorld,
) -> None:
    first, _ = with_branch(world)
    publish(world)
    late = Token("r3/s1")
    stale = overwriting(world.change(late, "a1", {A: ["late"]}), A)
    with pytest.raises(PlanAgainError, match="where this step would overwrite it"):
        world.target().commit(late, first, stale)
    world.target().commit(late, first, overwriting(world.change(late, "a2", {B: ["late"]}), B))
    assert names(world) == ["a2", "late"]


def test_a_branch_can_be_written_and_published_again(world: TableWorld) -> None:
    with_branch(world)
    base = publish(world)
    again = Token("r5/s1")
    branch_target(world).commit(again, base, world.change(again, "a1", {B: ["b2"]}))
    publish(world, Token("r6/s1"))
    assert names(world) == ["a2", "b1", "b2"]


def test_a_branch_that_was_not_made_is_refused_and_not_begun_from_nothing(
    world: TableWorld,
) -> None:
    with_branch(world)
    with pytest.raises(RefError, match="has no branch 'other'"):
        branch_target(world, "other").read()


def test_a_commit_leaves_the_retention_of_its_branch(world: TableWorld) -> None:
    first, _ = with_branch(world)
    keep = Retention(age=30, versions=5, version_age=2)
    branches.place(world.lake, PARTS.ref, "audit", keep=keep)
    base = branch_target(world).read().version
    late = Token("r3/s1")
    branch_target(world).commit(late, base, world.change(late, "a1", {B: ["b2"]}))
    publish(world)
    found = {one.name: one for one in branches.names(world.lake, PARTS.ref)}
    assert found["audit"].keep == keep
    assert found["main"].keep == Retention()
    assert first


def test_a_list_tells_how_far_a_branch_is(world: TableWorld) -> None:
    first, _ = with_branch(world)
    late = Token("r3/s1")
    world.target().commit(late, first, world.change(late, "a1", {B: ["b2"]}))
    main, audit = branches.names(world.lake, PARTS.ref)
    assert (main.name, audit.name) == ("main", "audit")
    assert (audit.own, audit.behind, audit.kind) == (1, 1, NameKind.BRANCH)


def test_making_a_name_again_changes_nothing_and_another_place_is_refused(
    world: TableWorld,
) -> None:
    first, _ = with_branch(world)
    assert not branches.place(world.lake, PARTS.ref, "audit", at=first).changes
    tagged = branches.place(world.lake, PARTS.ref, "v1", NameKind.TAG, first)
    assert tagged.changes
    assert not branches.place(world.lake, PARTS.ref, "v1", NameKind.TAG, first).changes
    with pytest.raises(UserError, match="from where"):
        branches.place(world.lake, PARTS.ref, "v1", NameKind.TAG, "audit")
    with pytest.raises(UserError, match="no name for a branch"):
        branches.place(world.lake, PARTS.ref, "main")
    assert names(world, "v1") == ["a1", "b1"]


def test_a_branch_without_commits_of_its_own_moves_forward(world: TableWorld) -> None:
    first = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["a1"]})).version
    branches.place(world.lake, PARTS.ref, "audit")
    world.target().commit(OTHER, first, world.change(OTHER, "a1", {A: ["a2"]}))
    assert branches.examine(world.lake, PARTS.ref, "audit").was == first
    branches.place(world.lake, PARTS.ref, "audit")
    assert names(world, "audit") == ["a1", "a2"]


def test_a_name_is_removed_only_where_it_was_seen(world: TableWorld) -> None:
    first, head = with_branch(world)
    with pytest.raises(ConflictError, match="by now"):
        branches.remove(world.lake, PARTS.ref, "audit", head=first)
    assert branches.remove(world.lake, PARTS.ref, "audit", head=head)
    assert not branches.remove(world.lake, PARTS.ref, "audit", head=head)


def test_a_publication_tells_commits_and_cells(world: TableWorld) -> None:
    _, head = with_branch(world)
    shown = branches.publication(world.lake, PARTS.ref, "audit")
    assert (shown.commits, shown.changed, shown.refused) == ((head,), (A,), "")
    assert replace(shown, main=None).main is None
