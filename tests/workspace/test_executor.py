"""What the executor does with real parts: side by side, failing, waiting, stopping, telling."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bowerbird.core.registry import Registry
from bowerbird.core.runs import RunRecord, RunState, StepState
from bowerbird.engines import EngineKind, open_engine
from bowerbird.rooms import registry
from bowerbird.workspace.new import make_project
from bowerbird.workspace.releases import open_log
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace
from tests.workspace.things import ROOM

Open = Callable[..., Workspace]
ROOT = Path(__file__).parents[2]


def opened(folder: Path, kind: str = "threads") -> Workspace:
    return Workspace(
        load_settings(folder, variables={}, flags={"parallel_steps": 3, "workers": 3}),
        Registry([*registry().rooms, ROOM]),
        lambda loaded: open_engine(
            EngineKind(kind), workers=3, paths=(loaded.project, str(ROOT))
        ),
    )  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Open]:
    """A project with these things (name -> what it does, or that and what it reads), opened."""
    open_ones: list[Workspace] = []
    before = list(sys.path)

    def make(kind: str = "threads", **things: str | tuple[str, str]) -> Workspace:
        if not (tmp_path / "bowerbird.toml").exists():
            make_project(tmp_path)
        if things:
            lines = ["from tests.workspace.things import Thing"]
            for name, what in things.items():
                does, reads = (what, "") if isinstance(what, str) else what
                lines.append(f"{name} = Thing('a/{name}', does={does!r}, reads=({reads}))")
            (tmp_path / "specs" / "tables.py").write_text("\n".join(lines))
        open_ones.append(opened(tmp_path, kind))
        return open_ones[-1]

    yield make
    for one in open_ones:
        one.close()
    sys.path[:] = before


def apply(workspace: Workspace, stop: threading.Event | None = None) -> RunRecord:
    record = workspace.apply(workspace.plan(), stop)
    assert record is not None
    return record


def states(record: RunRecord) -> dict[str, StepState]:
    return {record.plan.step(s.id).target.rpartition("/")[2]: s.state for s in record.steps}


def made(workspace: Workspace) -> list[str]:
    """Which things' tasks ran, in order."""
    path = Path(workspace.home.project) / "made"
    return path.read_text().split() if path.exists() else []


def test_steps_that_need_nothing_of_each_other_run_side_by_side(shop: Open) -> None:
    workspace = shop(one="meet", two="meet")
    record = apply(workspace)
    assert record.state == RunState.DONE, record
    one, two = workspace.journal.spans(record.id)
    assert max(one.start_time, two.start_time) < min(one.end_time, two.end_time)


def test_a_step_starts_after_what_it_reads_has_ended(shop: Open) -> None:
    workspace = shop(one="", two=("", "one,"), three=("", "two,"))
    spans = workspace.journal.spans(apply(workspace).id)
    assert [span.name for span in spans] == [
        f"thing.make thing:a/{n}" for n in ("one", "two", "three")
    ]
    for before, after in itertools.pairwise(spans):
        assert before.end_time <= after.start_time


def test_a_failed_step_stops_what_needs_it_and_nothing_else(shop: Open) -> None:
    record = apply(shop(bad="raise", needs=("", "bad,"), more=("", "needs,"), other=""))
    assert record.state == RunState.FAILED
    assert states(record) == {
        "bad": StepState.FAILED,
        "needs": StepState.SKIPPED,
        "more": StepState.SKIPPED,
        "other": StepState.DONE,
    }
    assert record.step("s1").error.startswith("ValueError: as it was told to")


def test_after_a_failure_the_next_apply_makes_what_is_missing_and_no_more(shop: Open) -> None:
    apply(shop(bad="raise", other=""))
    workspace = shop(bad="", other="")
    assert states(apply(workspace)) == {"bad": StepState.DONE}
    assert sorted(made(workspace)) == ["bad", "bad", "other"]


@pytest.mark.slow
def test_an_error_that_may_pass_is_tried_again(shop: Open) -> None:
    workspace = shop(bad="raise twice")
    record = apply(workspace)
    assert record.state == RunState.DONE
    assert (record.step("s1").attempts, record.step("s1").failures) == (3, 2)


@pytest.mark.slow
def test_an_error_that_never_passes_fails_after_as_many_tries_as_its_kind_has(shop: Open) -> None:
    record = apply(shop(bad="always away"))
    assert record.state == RunState.FAILED
    assert record.step("s1").attempts == 3
    assert "away for good" in record.step("s1").error


def test_a_step_that_waits_leaves_the_others_be_and_holds_no_lease(shop: Open) -> None:
    record = apply(shop(late="wait", after=("", "late,"), other=""))
    assert record.state == RunState.WAITING
    assert states(record) == {
        "late": StepState.WAITING, "after": StepState.PENDING, "other": StepState.DONE,
    }  # fmt: skip
    waiting = record.step("s1")
    assert (waiting.holder, waiting.why) == (None, "the world is not ready")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_error_that_cannot_be_pickled_is_told_all_the_same(shop: Open, kind: str) -> None:
    record = apply(shop(kind, bad="unpicklable", other=""))
    assert states(record) == {"bad": StepState.FAILED, "other": StepState.DONE}
    assert "this and that" in record.step("s1").error


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_task_that_exits_fails_its_step_and_nothing_else(shop: Open, kind: str) -> None:
    record = apply(shop(kind, bad="exit", other=""))
    assert states(record) == {"bad": StepState.FAILED, "other": StepState.DONE}


def test_a_log_has_what_the_step_said_and_how_it_ended(shop: Open) -> None:
    workspace = shop(one="", bad="raise")
    record = apply(workspace)
    one, bad = (workspace.journal.log(record.id, step).read_text() for step in ("s1", "s2"))
    assert "--- thing.make thing:a/one attempt a1: missing" in one
    assert "halfway there" in one
    assert one.rstrip().endswith("--- done")
    assert "Traceback (most recent call last)" in bad
    assert "ValueError: as it was told to" in bad
    for line in (one + bad).splitlines():
        time.strptime(line[:20], "%Y-%m-%dT%H:%M:%SZ")


def test_a_span_has_opentelemetrys_fields(shop: Open) -> None:
    workspace = shop(one="", bad="raise")
    record = apply(workspace)
    one, bad = sorted(
        workspace.journal.spans(record.id), key=lambda span: span.status, reverse=True
    )
    assert (one.status, bad.status) == ("OK", "ERROR")
    assert one.trace_id == bad.trace_id == record.id.replace("-", "")
    assert one.span_id != bad.span_id
    assert (len(one.trace_id), len(one.span_id)) == (32, 16)
    assert one.attributes["bowerbird.target"] == "thing:a/one"
    assert "as it was told to" in bad.attributes["exception.message"]


def test_a_step_tells_what_it_took(shop: Open) -> None:
    results = apply(shop(one="")).step("s1").results
    assert results["bytes"] == 7
    assert results["tasks"] == 1
    assert results["seconds"] >= 0


@pytest.mark.slow
def test_who_is_asked_to_stop_gives_the_leases_back_and_the_run_goes_on(shop: Open) -> None:
    workspace, stop = shop("processes", slow="hang", after=("", "slow,")), threading.Event()
    found: list[RunRecord] = []
    thread = threading.Thread(target=lambda: found.append(apply(workspace, stop)))
    thread.start()
    project = Path(workspace.home.project)
    while not (project / "hanging").exists():
        time.sleep(0.01)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    (record,) = found
    assert record.state == RunState.RUNNING
    assert (record.step("s1").holder, record.step("s1").at_large) == (None, ())
    assert workspace.ledger.keeper(f"run/{record.id}") is None
    (project / "go").touch()
    again = apply(shop("threads"))
    assert (again.id, again.state) == (record.id, RunState.DONE)


@pytest.mark.slow
def test_a_failed_attempt_leaves_no_files(shop: Open) -> None:
    workspace = shop(bad="raise twice", worse="raise")
    apply(workspace)
    files = [p.name for p in Path(workspace.home.warehouse).rglob("*") if p.is_file()]
    assert files == ["thing.txt"]


TWO = """
import sys, threading
from pathlib import Path
from bowerbird.core.errors import BowerbirdError
from tests.workspace.test_executor import opened

shop = opened(Path(sys.argv[1]))
try:
    plan = shop.plan()
    Path(sys.argv[1], "planned-" + sys.argv[2]).touch()
    while len(list(Path(sys.argv[1]).glob("planned-*"))) < 2:
        pass
    run = shop.apply(plan)
    print("DID", run and run.state)
except BowerbirdError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_of_two_processes_that_apply_at_once_nothing_is_made_twice(shop: Open) -> None:
    workspace = shop(one="hang", two=("", "one,"))
    assert workspace.plan().steps
    project = Path(workspace.home.project)
    command = [sys.executable, "-c", TWO, str(project)]
    both = [
        subprocess.Popen([*command, name], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    end = time.monotonic() + 40
    while all(process.poll() is None for process in both) and time.monotonic() < end:
        time.sleep(0.02)  # the second gives up while the first is at it
    (project / "go").touch()
    said = sorted(process.communicate(timeout=60)[0].strip() for process in both)
    assert said[0] == "DID done"
    assert said[1].startswith("RunInProgressError run ")
    assert " of user:" in said[1] or "is being carried out by" in said[1]
    assert made(workspace) == ["one", "two"]
    for name in ("one", "two"):
        assert len(open_log(workspace.home, f"thing:a/{name}").load().entries) == 1
    assert shop().plan().empty
