"""Clean-up: what nothing names goes, what anybody may want stays."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bowerbird.core.errors import CorruptError, UserError
from bowerbird.core.plans import Plan
from bowerbird.core.steps import Home
from bowerbird.core.targets import Token
from bowerbird.lake import Lake, TableLog, write
from bowerbird.lake.upkeep import reach
from bowerbird.lake.upkeep.orphans import AGE, clean, examine, plan_clean
from tests.lake.test_compaction import EVENTS, REF, append, compact, events, filled, rows_of
from tests.lake.test_expiry import begun, named_by, spare, versions
from tests.lake.test_steps import carry_out

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=1)


def attempt(lake: Lake, run: str) -> list[str]:
    """Files of an attempt that never committed."""
    folder = TableLog(lake, REF).files(Token(f"{run}/s1"), "a1")
    return [file.file_path for file in write(lake, EVENTS, events(50, 3), folder, REF).files]


def found(lake: Lake, **asked: Any) -> list[str]:
    return [one.path for one in examine(lake, REF, LATER, **asked).files]


def test_files_of_an_attempt_that_died_are_found_and_deleted(home: Home, lake: Lake) -> None:
    filled(lake)
    left = attempt(lake, "dead")
    before = rows_of(lake)
    assert sorted(found(lake)) == sorted(left)
    carry_out(home, plan_clean(lake, REF, LATER), "k1")
    assert found(lake) == []
    assert not any(Path(path).exists() for path in left)
    assert rows_of(lake) == before


def test_nothing_that_any_version_needs_is_found(home: Home, lake: Lake) -> None:
    filled(lake)
    compact(home)
    versions(lake, 2)
    assert found(lake) == []


def test_a_preview_deletes_nothing(lake: Lake) -> None:
    filled(lake)
    left = attempt(lake, "dead")
    plan_clean(lake, REF, LATER)
    assert all(Path(path).exists() for path in left)


def test_young_files_stay(home: Home, lake: Lake) -> None:
    filled(lake)
    (old, *_), young = attempt(lake, "dead"), attempt(lake, "young")
    long_ago = (NOW - 2 * AGE).timestamp()
    os.utime(old, (long_ago, long_ago))
    shown = examine(lake, REF, NOW - AGE)
    assert [one.path for one in shown.files] == [old]
    assert shown.young == len(young) + 1
    carry_out(home, plan_clean(lake, REF, NOW - AGE), "k1")
    assert all(Path(path).exists() for path in young)


def test_files_of_a_run_that_has_not_ended_stay_whatever_their_age(home: Home, lake: Lake) -> None:
    filled(lake)
    held = attempt(lake, "open")
    attempt(lake, "dead")
    plan = plan_clean(lake, REF, LATER, spare("open/s2"))
    carry_out(home, plan, "k1")
    assert all(Path(path).exists() for path in held)
    assert examine(lake, REF, LATER, spare("open/s2")).spared == len(held)


def test_what_an_expiry_has_listed_is_left_to_its_purge(home: Home, lake: Lake) -> None:
    versions(lake)
    begun(home)
    assert found(lake) == []


def test_what_an_expiry_by_others_left_is_found(lake: Lake) -> None:
    versions(lake)
    table = lake.load(REF)
    head = table.current_snapshot()
    old = [s.snapshot_id for s in table.snapshots() if s.snapshot_id != head.snapshot_id]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    gone = {path for path in found(lake) if path.endswith(".parquet")}
    assert gone == {f for f in lake.files.under(lake.location(REF)) if f.endswith(".parquet")} - (
        named_by(lake)
    )
    assert gone


def test_a_clean_up_can_be_done_again(home: Home, lake: Lake) -> None:
    filled(lake)
    left = attempt(lake, "dead")
    assert clean(home, REF, LATER.isoformat(), ())["files"] == len(left)
    assert clean(home, REF, LATER.isoformat(), ())["files"] == 0
    assert plan_clean(lake, REF, LATER).empty


def test_a_file_that_was_committed_since_the_plan_stays(home: Home, lake: Lake) -> None:
    filled(lake)
    attempt(lake, "dead")
    plan = plan_clean(lake, REF, LATER)
    append(lake, "since", events(30, 4))
    before = rows_of(lake)
    carry_out(home, Plan(steps=plan.steps), "k1")
    assert rows_of(lake) == before


@pytest.mark.parametrize("path", ["file:/w/t/a", "file:///w/t/a", "/w/t/a"])
def test_one_file_has_one_bare_path_however_an_engine_writes_it(path: str) -> None:
    assert reach.bare(path) == "/w/t/a"
    assert reach.bare("s3://b/k") == reach.bare("s3a://b/k") == "b/k"


def test_a_folder_with_another_table_in_it_is_refused(lake: Lake) -> None:
    from pyiceberg.schema import Schema

    filled(lake, 1)
    inner = f"{lake.location(REF)}/inner"
    lake.catalog.create_table("test.inner", Schema(), location=inner)
    with pytest.raises(UserError, match=r"the files of test\.inner lie in its folder"):
        examine(lake, REF, LATER)


def test_a_listing_without_what_the_table_names_is_refused(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(lake, 1)
    monkeypatch.setattr(lake.files, "listed", lambda folder: [])
    with pytest.raises(CorruptError, match="is not among the files"):
        examine(lake, REF, LATER)
