"""A run is shown as it stands, not as its record says: a process that died cannot write there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import RefError
from bowerbird.core.plans import Plan, Step
from bowerbird.core.registry import Registry
from bowerbird.core.runs import RunState
from bowerbird.workspace import views
from bowerbird.workspace.database import Database
from bowerbird.workspace.holders import holder
from bowerbird.workspace.new import make_project
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace

PROGRAM = "from bowerbird.workspace.holders import holder; print(holder())"
PLAN = Plan((Step("s1", "thing.make", "thing:shop/one", "missing"),))


@pytest.fixture
def shop(tmp_path: Path, metadata_url: str) -> Workspace:
    make_project(tmp_path)
    Database(metadata_url, SystemClock(), migrate=True).close()
    loaded = load_settings(tmp_path, flags={"metadata": metadata_url}, variables={})
    return Workspace(loaded, Registry(()), lambda _: pytest.fail("looking starts no engine"))


@pytest.fixture(scope="module")
def dead() -> str:
    """The name of a process that was, and is no more."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


def held(shop: Workspace, by: str, ttl: float = 60) -> str:
    run_id = shop.ledger.start(PLAN, "user:ada").id
    assert shop.ledger.take(f"run/{run_id}", by, ttl)
    return run_id


def test_a_run_that_somebody_carries_out_runs(shop: Workspace) -> None:
    held(shop, holder())
    assert views.run(shop, "last").stands == "running"


def test_a_run_whose_process_died_is_cut_off(shop: Workspace, dead: str) -> None:
    held(shop, dead)
    assert [(run.stands, run.cut_off) for run in views.runs(shop)] == [("cut off", True)]


def test_a_run_of_another_machine_is_cut_off_once_its_lease_has_run_out(shop: Workspace) -> None:
    run_id = held(shop, "elsewhere/12345678:1:1")
    assert views.run(shop, "last").stands == "running"
    assert shop.ledger.take(f"run/{run_id}", "elsewhere/12345678:1:1", -1)
    assert views.run(shop, "last").stands == "cut off"


def test_a_run_that_was_interrupted_is_cut_off(shop: Workspace) -> None:
    shop.ledger.give_back(f"run/{held(shop, holder())}", holder())
    assert views.run(shop, "last").cut_off


@pytest.mark.slow
@pytest.mark.parametrize("state", [RunState.WAITING, RunState.DONE, RunState.FAILED])
def test_a_run_that_waits_or_has_ended_needs_nobody(
    shop: Workspace, dead: str, state: RunState
) -> None:
    shop.ledger.end(held(shop, dead), state)
    assert views.run(shop, "last").stands == state


def test_the_logs_of_a_run_are_those_of_its_steps(shop: Workspace) -> None:
    run_id = held(shop, holder())
    assert views.logs(shop, "last") == views.Logs(run_id, (views.StepLog("s1", ()),))
    shop.journal.started(run_id, PLAN.steps[0], "a1")
    (said,) = views.logs(shop, "last", "s1").steps
    assert said.lines[0].endswith("--- thing.make thing:shop/one attempt a1: missing")
    with pytest.raises(RefError, match="has no step s2"):
        views.logs(shop, "last", "s2")
