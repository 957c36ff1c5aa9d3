"""Expiry: what is old goes, what anybody needs stays, whatever dies in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bowerbird.core.errors import PlanAgainError, UserError
from bowerbird.core.plans import Plan
from bowerbird.core.steps import Home
from bowerbird.core.targets import WHOLE, Change, History, LogTarget, Token, Version
from bowerbird.lake import Lake, TableLog, read, rollback, write
from bowerbird.lake.upkeep import expiry
from bowerbird.lake.upkeep.expiry import examine, pending, plan_expiry, prepare, purge
from bowerbird.testing.target_conformance import Hurried
from tests.lake.test_compaction import EVENTS, REF, append, compact, events, filled, rows_of
from tests.lake.test_steps import carry_out

pytestmark = pytest.mark.slow

LATER = datetime.now(UTC) + timedelta(days=1)


def overwrite(lake: Lake, run: str, seed: int) -> str:
    log, token = TableLog(lake, REF), Token(f"{run}/s1")
    base = log.load().head
    written = write(lake, EVENTS, events(100, seed), log.files(token, "a1"), REF)
    made = Change("a1", makes={WHOLE: f"m{seed}"}, overwrites=(WHOLE,), payload=written)
    return LogTarget(log, Hurried()).commit(token, base, made).version


def versions(lake: Lake, count: int = 4) -> list[str]:
    return [overwrite(lake, f"r{n}", n) for n in range(count)]


def expire(home: Home, run: str = "e1", **rule: Any) -> Plan:
    plan = plan_expiry(Lake(home), REF, LATER, **rule)
    carry_out(home, plan, run)
    return plan


def data_files(lake: Lake) -> set[str]:
    return {f for f in lake.files.under(lake.location(REF)) if f.endswith(".parquet")}


def named_by(lake: Lake) -> set[str]:
    table = lake.load(REF)
    return {
        task.file.file_path
        for snapshot in table.snapshots()
        for task in table.scan(snapshot_id=snapshot.snapshot_id).plan_files()
    }


def history(lake: Lake) -> History:
    return TableLog(lake, REF).load()


def spare(*tokens: str) -> Any:
    return lambda: {Token(token) for token in tokens}


def test_the_files_of_what_went_are_gone_and_no_others(home: Home, lake: Lake) -> None:
    versions(lake)
    before, files = rows_of(lake), data_files(lake)
    expire(home)
    assert rows_of(lake) == before
    assert data_files(lake) == named_by(lake)
    assert len(data_files(lake)) < len(files)


def test_manifests_lists_and_cells_that_nothing_needs_are_gone(home: Home, lake: Lake) -> None:
    from bowerbird.lake.upkeep import reach

    versions(lake, 6)
    expire(home)
    table = lake.load(REF)
    needed = {*reach.beside(table, table.snapshots()), *reach.manifests(table, table.snapshots())}
    found = {f for f in lake.files.under(f"{table.location()}/metadata") if f.endswith(".avro")}
    assert found == {path for path in needed if path.endswith(".avro")}


def test_an_old_version_says_that_it_was_expired(home: Home, lake: Lake) -> None:
    old, *_ = versions(lake)
    expire(home)
    with pytest.raises(UserError, match=f"has no version {old}"):
        read(lake, REF, old)


def test_the_state_of_every_cell_is_as_before(home: Home, lake: Lake) -> None:
    versions(lake)
    cells = history(lake).cells()
    expire(home)
    assert history(lake).cells() == cells
    assert not history(lake).complete


def test_what_others_wrote_keeps_its_data_version(home: Home, lake: Lake) -> None:
    """All that is left of their commits may be ours: the state must be in it."""
    from msgspec.structs import replace

    plain = replace(EVENTS, partition=())
    lake.create(plain)
    for n in range(3):
        lake.load(REF).append(events(10, n))
    data = LogTarget(TableLog(lake, REF), Hurried()).read().data
    before = rows_of(lake)
    expire(home)
    assert LogTarget(TableLog(lake, REF), Hurried()).read().data == data
    assert (rows_of(lake), len(history(lake).entries)) == (before, 2)


def test_nothing_is_left_to_expire_afterwards(home: Home, lake: Lake) -> None:
    versions(lake)
    expire(home)
    plan = plan_expiry(lake, REF, LATER)
    assert plan.empty
    assert "every version stays" in plan.notes[0].text


def test_a_tagged_version_can_still_be_read(home: Home, lake: Lake) -> None:
    old, *_ = versions(lake)
    rows = Counter(tuple(row.values()) for row in read(lake, REF, old).to_pylist())
    lake.load(REF).manage_snapshots().create_tag(int(old), "release").commit()
    expire(home)
    assert Counter(tuple(row.values()) for row in read(lake, REF, old).to_pylist()) == rows
    assert data_files(lake) == named_by(lake)


def test_a_branch_can_still_be_read(home: Home, lake: Lake) -> None:
    _, old, *_ = versions(lake)
    lake.load(REF).manage_snapshots().create_branch(int(old), "audit").commit()
    rows = read(lake, REF, old).num_rows
    expire(home)
    assert read(lake, REF, old).num_rows == rows
    assert data_files(lake) == named_by(lake)


def test_a_commit_that_a_run_may_look_for_is_found_afterwards(home: Home, lake: Lake) -> None:
    versions(lake)
    expire(home, spared=spare("r1/s1"))
    tokens = [entry.token for entry in history(lake).entries]
    assert tokens == ["e1/s1", "r3/s1", "r2/s1", "r1/s1"]
    found = LogTarget(TableLog(lake, REF), Hurried()).find(
        Token("r1/s1"), Version(str(history(lake).entries[-1].version))
    )
    assert found is None  # its own base was expired with the rest; the commit itself is there
    assert LogTarget(TableLog(lake, REF), Hurried()).read([Token("r1/s1")]).version is not None


def test_the_last_versions_stay_as_asked(home: Home, lake: Lake) -> None:
    made = versions(lake)
    expire(home, keep_last=2)
    assert [e.version for e in history(lake).entries][1:] == made[:1:-1]


def test_a_plan_says_what_it_frees(home: Home, lake: Lake) -> None:
    versions(lake)
    first, second = plan_expiry(lake, REF, LATER).steps
    assert (first.kind, second.kind) == ("table.expire", "table.purge")
    before = sum(Path(f).stat().st_size for f in data_files(lake))
    carry_out(home, Plan(steps=(first, second)), "e1")
    after = sum(Path(f).stat().st_size for f in data_files(lake))
    assert first.cost.bytes is not None
    assert first.cost.bytes >= before - after > 0


@pytest.mark.slow
def test_files_that_a_compaction_took_out_go_with_their_last_version(
    home: Home, lake: Lake
) -> None:
    filled(lake)
    before = rows_of(lake)
    compact(home)
    expire(home)
    assert rows_of(lake) == before
    assert len(data_files(lake)) == 2


def begun(home: Home, run: str = "e1") -> None:
    """An expiry whose process died between the commit and the deletions."""
    plan = plan_expiry(Lake(home), REF, LATER)
    carry_out(home, Plan(steps=plan.steps[:1]), run)


def test_a_purge_that_was_never_begun_is_planned_again(home: Home, lake: Lake) -> None:
    versions(lake)
    begun(home)
    assert data_files(lake) != named_by(lake)
    plan = plan_expiry(lake, REF, LATER)
    assert [step.kind for step in plan.steps] == ["table.purge"]
    carry_out(home, plan, "e2")
    assert data_files(lake) == named_by(lake)
    assert not pending(lake.load(REF))


def test_a_list_outlives_the_expiry_of_the_expiry_that_wrote_it(home: Home, lake: Lake) -> None:
    versions(lake)
    begun(home)
    versions(lake, 2)
    expire(home, "e2")
    assert data_files(lake) == named_by(lake)
    assert not pending(lake.load(REF))


def test_a_purge_can_be_done_again(home: Home, lake: Lake) -> None:
    versions(lake)
    begun(home)
    purge(home, REF)
    assert purge(home, REF) == {"files": 0}


def test_a_file_that_is_needed_again_is_not_deleted(home: Home, lake: Lake) -> None:
    """The list was written before somebody tagged what it names."""
    old, *_ = versions(lake)
    listed = prepare(home, REF, [old], f"{lake.location(REF)}/data/e1/s1/a1")
    rows = read(lake, REF, old).num_rows
    commit(lake, "e1", (), listed)
    purge(home, REF)
    assert read(lake, REF, old).num_rows == rows


def commit(
    lake: Lake, run: str, going: Collection[str], results: dict[str, Any], base: str | None = None
) -> None:
    base = base or history(lake).head
    made = expiry.change("a1", going, results)
    LogTarget(TableLog(lake, REF), Hurried()).commit(Token(f"{run}/s1"), Version(base or ""), made)


def test_a_version_that_is_tagged_meanwhile_makes_it_plan_again(home: Home, lake: Lake) -> None:
    old, *_ = versions(lake)
    lake.load(REF).manage_snapshots().create_tag(int(old), "release").commit()
    with pytest.raises(PlanAgainError, match="'release' names version"):
        commit(lake, "e1", [old], {})
    assert read(lake, REF, old).num_rows == 100


def test_a_tag_set_at_the_last_moment_is_seen(
    home: Home, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the tags and the commit; the catalog itself must hold it."""
    old, *_ = versions(lake)
    plain = TableLog._commit

    def tagged_first(log: TableLog, tx: Any) -> None:
        monkeypatch.setattr(TableLog, "_commit", plain)
        lake.load(REF).manage_snapshots().create_tag(int(old), "release").commit()
        plain(log, tx)

    monkeypatch.setattr(TableLog, "_commit", tagged_first)
    with pytest.raises(PlanAgainError, match="'release' names version"):
        commit(lake, "e1", [old], {})
    assert read(lake, REF, old).num_rows == 100


def test_rows_committed_meanwhile_stay(home: Home, lake: Lake) -> None:
    versions(lake)
    plan = plan_expiry(lake, REF, LATER)
    append(lake, "late", events(50, 9))
    before = rows_of(lake)
    carry_out(home, plan, "e1")
    assert rows_of(lake) == before
    assert data_files(lake) == named_by(lake)


def test_a_rollback_that_was_overtaken_puts_no_deleted_file_back(home: Home, lake: Lake) -> None:
    old, *_ = versions(lake)
    base = history(lake).head
    back = rollback(lake, REF, old, "a1")
    expire(home)
    with pytest.raises(PlanAgainError, match=f"version {old} was expired"):
        LogTarget(TableLog(lake, REF), Hurried()).commit(Token("b1/s1"), base, back)
    assert read(lake, REF).num_rows == 100


def test_a_version_that_others_expired_meanwhile_is_no_error(home: Home, lake: Lake) -> None:
    versions(lake)
    plan = plan_expiry(lake, REF, LATER)
    table = lake.load(REF)
    table.maintenance.expire_snapshots().by_ids(
        [int(plan.steps[0].definition["versions"][0])]
    ).commit()
    carry_out(home, plan, "e1")
    assert len(history(lake).entries) == 2


def test_a_preview_counts_why_versions_stay(lake: Lake) -> None:
    old, *_ = versions(lake)
    lake.load(REF).manage_snapshots().create_tag(int(old), "release").commit()
    shown = examine(lake, REF, LATER)
    assert shown.kept == {"last of main": 1, "tag release": 1}
    assert len(shown.goes) == 2
