"""A table through plan and steps, each carried out as the executor would."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from msgspec.structs import replace

from bowerbird.core import functions
from bowerbird.core.clock import SystemClock
from bowerbird.core.engine import Outcome
from bowerbird.core.errors import UserError
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Allowed, Plan, make_plan, meaning
from bowerbird.core.rollback import plan_rollback
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import Committed, Token
from bowerbird.lake import Lake, Table, bucket, read, steps
from bowerbird.lake.room import ROOM
from tests.lake.world import home_in

rows_now = 10
REF = "table:shop/numbers"


def numbers() -> pa.Table:
    return pa.table({"id": list(range(rows_now))})


def streamed() -> Iterator[pa.RecordBatch]:
    yield from numbers().to_batches(max_chunksize=3)


def nothing() -> None:
    return None


NUMBERS = Table(
    "shop/numbers",
    schema={"id": "long"},
    partition=[bucket("id", 2)],
    sort=["id"],
    source=numbers,  # type: ignore[arg-type]
    owner="team:growth",
)


def plan(home: Home, spec: Table, allowed: Allowed = Allowed()) -> Plan:  # noqa: B008
    present = {REF: steps.target(home, SystemClock(), REF).read()}
    return make_plan(steps.wants(spec, {}), present, {}, allowed)


def carry_out(home: Home, made: Plan, run: str) -> list[Committed | None]:
    done: list[Committed | None] = []
    for step in made.steps:
        kind = functions.load(ROOM.steps[step.kind])
        assert isinstance(kind, StepKind)
        target = steps.target(home, SystemClock(), step.target)
        token = Token(f"{run}/{step.id}")
        hashed = digest(meaning(step.definition, {}))
        folder = target.files(token, "a1")
        work = Work(step, token, "a1", hashed, {}, folder, home)
        outcomes = [
            Outcome(task.key, functions.load(task.call)(*pickle.loads(pickle.dumps(task.args))))
            for task in kind.tasks(work)
        ]
        change = kind.change(work, outcomes)
        if kind.target is TargetKind.NONE:
            done.append(None)
        else:
            done.append(target.commit(token, step.base, replace(change, meaning=hashed)))
    return done


def test_a_table_is_loaded_once_and_then_current(home: Home) -> None:
    first = plan(home, NUMBERS)
    assert [(step.kind, step.reason) for step in first.steps] == [("table.load", "missing")]
    carry_out(home, first, "r1")
    assert read(Lake(home), REF).num_rows == rows_now
    assert plan(home, NUMBERS).empty


def test_a_new_owner_is_no_reason_to_load_and_a_new_layout_is(home: Home) -> None:
    carry_out(home, plan(home, NUMBERS), "r1")
    assert plan(home, replace(NUMBERS, owner="team:other")).empty
    assert not plan(home, replace(NUMBERS, sort=())).empty


def test_loading_again_replaces_and_does_not_add(home: Home) -> None:
    carry_out(home, plan(home, NUMBERS), "r1")
    again = replace(NUMBERS, source="tests.lake.test_steps:streamed")
    (done,) = carry_out(home, plan(home, again), "r2")
    assert read(Lake(home), REF).num_rows == rows_now
    assert done is not None
    assert done.results["rows"] == rows_now


def test_a_table_without_a_source_is_made_empty_and_grows_columns(home: Home) -> None:
    bare = replace(NUMBERS, source="")
    first = plan(home, bare)
    assert [step.kind for step in first.steps] == ["table.create"]
    carry_out(home, first, "r1")
    assert plan(home, bare).empty
    wider = replace(bare, schema={"id": "long", "more": "string"})
    carry_out(home, plan(home, wider), "r2")
    assert read(Lake(home), REF).column_names == ["id", "more"]


def test_rows_that_others_add_do_not_make_an_empty_table_stale(home: Home) -> None:
    bare = replace(NUMBERS, source="", partition=())
    carry_out(home, plan(home, bare), "r1")
    Lake(home).load(REF).append(numbers())
    made = plan(home, bare)
    assert made.empty
    assert not made.notes


def test_rows_that_others_add_to_a_loaded_table_are_left_until_asked(home: Home) -> None:
    spec = replace(NUMBERS, partition=())
    carry_out(home, plan(home, spec), "r1")
    Lake(home).load(REF).append(numbers())
    made = plan(home, spec)
    assert made.empty
    assert "changed outside" in made.notes[0].text
    asked = plan(home, spec, Allowed(replace_outside=frozenset([REF])))
    carry_out(home, asked, "r2")
    assert read(Lake(home), REF).num_rows == rows_now


def test_a_rollback_step_puts_back_and_the_next_plan_holds(home: Home) -> None:
    carry_out(home, plan(home, NUMBERS), "r1")
    new = replace(NUMBERS, source="tests.lake.test_steps:streamed")
    (want,) = steps.wants(new, {})
    carry_out(home, plan(home, new), "r2")
    target = steps.target(home, SystemClock(), REF)
    history = target.history()
    tree = meaning(want.definition, {})
    back = plan_rollback(REF, "table.rollback", history, {digest(tree): tree})
    carry_out(home, back, "r3")
    made = plan(home, new)
    assert made.empty
    assert "held" in made.notes[0].text
    assert read(Lake(home), REF).num_rows == rows_now


def test_a_drop_step_can_be_done_again(home: Home) -> None:
    carry_out(home, plan(home, NUMBERS), "r1")
    present = {REF: steps.target(home, SystemClock(), REF).read()}
    allowed = Allowed(drop=frozenset([REF]))
    drop = make_plan([], present, {}, allowed, removed={REF: "table.drop"})
    carry_out(home, drop, "r2")
    carry_out(home, drop, "r2")
    assert not Lake(home).exists(REF)


def test_a_source_that_gives_nothing_is_told(home: Home) -> None:
    empty = replace(NUMBERS, source="tests.lake.test_steps:nothing")
    with pytest.raises(UserError, match="returned nothing"):
        carry_out(home, plan(home, empty), "r1")


POINTS = [
    "lake.write.between_files",
    "lake.create.after",
    "lake.commit.before",
    "lake.commit.after",
]


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_point_leaves_one_whole_load(tmp_path: Path, point: str) -> None:
    code = (
        "import sys; from tests.lake.test_steps import *;"
        "home = home_in(sys.argv[1]); target = steps.target(home, SystemClock(), REF);"
        "first = pickle.loads(open(sys.argv[2], 'rb').read());"
        "print(carry_out(home, first, 'r1'))"
    )
    home = home_in(str(tmp_path))
    planned = tmp_path / "plan"
    planned.write_bytes(pickle.dumps(plan(home, NUMBERS)))
    call = [sys.executable, "-c", code, str(tmp_path), str(planned)]
    import os

    killed = subprocess.run(
        call, env={**os.environ, "BOWERBIRD_FAULT": point}, capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr.decode()
    again = subprocess.run(call, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr.decode()
    lake = Lake(home)
    assert read(lake, REF).num_rows == rows_now
    tokens = [e.token for e in steps.target(home, SystemClock(), REF).history().entries]
    assert tokens == ["r1/s1"]
