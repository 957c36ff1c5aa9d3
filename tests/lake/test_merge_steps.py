"""A merge as a step of a plan."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from msgspec.structs import replace

from bowerbird.core import functions
from bowerbird.core.clock import SystemClock
from bowerbird.core.engine import Outcome
from bowerbird.core.errors import RefError, SpecError, UserError
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Pinned, Plan
from bowerbird.core.steps import Home, Work
from bowerbird.core.targets import Committed, LogTarget, Read, Token
from bowerbird.lake import Keyed, Lake, Table, TableLog, bucket, read
from bowerbird.lake.merges import steps as merge_steps
from bowerbird.lake.merges.candidates import parts
from bowerbird.lake.merges.steps import plan_merge
from tests.lake.test_streams import append
from tests.lake.world import home_in

USERS = Table(
    "test/users",
    schema={"id": "long not null", "name": "string"},
    partition=[bucket("id", 4)],
    sort=["id"],
)
CHANGES = Table(
    "test/changes", schema={"id": "long", "name": "string", "op": "string", "lsn": "long"}
)
KEYED = Keyed(key=("id",), op="op", order=("lsn",))


def users(count: int) -> pa.Table:
    return pa.table({"id": list(range(count)), "name": ["old"] * count})


def came() -> pa.Table:
    ops = ["update", "delete", "insert", "update"]
    names = ["first", "", "new", "second"]
    return pa.table({"id": [1, 2, 50, 1], "name": names, "op": ops, "lsn": [1, 2, 3, 4]})


def none_came() -> None:
    return None


def carry_out(home: Home, made: Plan, run: str) -> Committed:
    (step,) = made.steps
    step = msgspec.json.decode(msgspec.json.encode(step), type=type(step))
    target = LogTarget(TableLog(Lake(home), step.target), SystemClock())
    token = Token(f"{run}/{step.id}")
    inputs = {
        ref: Read(one.version, pinned=one.data)
        for ref, one in step.inputs.items()
        if isinstance(one, Pinned)
    }
    hashed = digest(step.definition)
    work = Work(step, token, "a1", hashed, inputs, target.files(token, "a1"), home)
    kind = merge_steps.MERGE
    outcomes = [
        Outcome(task.key, functions.load(task.call)(*pickle.loads(pickle.dumps(task.args))))
        for task in kind.tasks(work)
    ]
    change = kind.change(work, outcomes)
    return target.commit(token, step.base, replace(change, meaning=hashed))


def names(lake: Lake) -> dict[int, str]:
    return {row["id"]: row["name"] for row in read(lake, USERS.ref).to_pylist()}


def expected(count: int) -> dict[int, str]:
    rows = dict.fromkeys(range(count), "old") | {1: "second", 50: "new"}
    del rows[2]
    return rows


def test_changes_come_from_a_function(home: Home) -> None:
    lake = Lake(home)
    append(lake, USERS, users(10), "r/s")
    carry_out(home, plan_merge(lake, USERS, came, KEYED), "r1")
    assert names(lake) == expected(10)


def test_changes_come_from_a_table_at_the_version_that_was_planned(home: Home) -> None:
    lake = Lake(home)
    append(lake, USERS, users(10), "r/s")
    append(lake, CHANGES, came(), "r/c")
    made = plan_merge(lake, USERS, CHANGES.ref, KEYED)
    append(lake, CHANGES, came().slice(0, 1).set_column(3, "lsn", pa.array([9])), "r/c2")
    carry_out(home, made, "r1")
    assert names(lake) == expected(10)
    assert made.steps[0].cost.rows == 4


def test_many_tasks_do_what_one_does(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "__defaults__", (1,))
    lake = Lake(home)
    append(lake, USERS, users(40), "r/s")
    done = carry_out(home, plan_merge(lake, USERS, came, KEYED), "r1")
    assert names(lake) == expected(40)
    assert done.results["inserted"] == 1


def test_nothing_that_was_staged_is_left(home: Home) -> None:
    lake = Lake(home)
    append(lake, USERS, users(10), "r/s")
    carry_out(home, plan_merge(lake, USERS, came, KEYED), "r1")
    assert not list(Path(home.warehouse).rglob("*.arrow"))


def test_a_merge_that_changes_nothing_commits_its_token_and_no_file(home: Home) -> None:
    lake = Lake(home)
    append(lake, USERS, users(10), "r/s")
    append(lake, CHANGES, came().slice(0, 0), "r/c")
    done = carry_out(home, plan_merge(lake, USERS, "test/changes", KEYED), "r1")
    assert done.results["files"] == 0
    assert names(lake) == dict.fromkeys(range(10), "old")


def test_planning_changes_nothing_and_refuses_what_cannot_be_done(home: Home) -> None:
    lake = Lake(home)
    with pytest.raises(RefError, match=r"there is no table test\.changes"):
        plan_merge(lake, USERS, CHANGES.ref, KEYED)
    with pytest.raises(SpecError, match="there is no column 'user'"):
        plan_merge(lake, USERS, came, Keyed(key=("user",)))
    assert lake.tables() == ()


def test_a_function_that_gives_nothing_is_told(home: Home) -> None:
    with pytest.raises(UserError, match="none_came returned nothing to merge"):
        carry_out(home, plan_merge(Lake(home), USERS, none_came, KEYED), "r1")


def test_a_function_that_changed_is_another_step(tmp_path: Path) -> None:
    lake = Lake(home_in(str(tmp_path)))
    one, other = (plan_merge(lake, USERS, f, KEYED).wants for f in (came, none_came))
    assert one != other
