"""Runs that a server carries out: one at a time of a target, stopped or left as it is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from bowerbird.core.errors import RefError, RunInProgressError, UserError
from bowerbird.core.runs import RunRecord, RunState
from bowerbird.workspace.background import Background
from bowerbird.workspace.releases import open_log
from bowerbird.workspace.workspace import Workspace
from tests.workspace.test_executor import Open, made, shop  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow


def until(true: Callable[[], object]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.01)


def state(workspace: Workspace, run: str | None) -> RunState:
    assert run is not None
    return workspace.ledger.run(run).state


def hanging(workspace: Workspace) -> bool:
    return Path(workspace.home.project, "hanging").exists()


def go(workspace: Workspace) -> None:
    Path(workspace.home.project, "go").touch()


def test_of_many_who_press_at_once_one_begins_and_the_others_are_told(shop: Open) -> None:  # noqa: F811
    workspace = shop(one="hang")
    background, plan = Background(workspace), workspace.plan()

    def press(_: int) -> str | RunInProgressError | None:
        try:
            return background.start(plan)
        except RunInProgressError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(press, range(8)))
    (run,) = [one for one in ends if isinstance(one, str)]
    assert [type(one) for one in ends].count(RunInProgressError) == 7
    assert len(workspace.ledger.runs()) == 1
    with pytest.raises(RunInProgressError, match="is being carried out by"):
        background.go_on(run)
    go(workspace)
    until(lambda: state(workspace, run) == RunState.DONE)
    background.close()
    assert made(workspace) == ["one"]
    assert Background(workspace).start(workspace.plan()) is None


def test_a_run_that_is_stopped_is_cancelled_and_commits_nothing(shop: Open) -> None:  # noqa: F811
    workspace = shop(one="hang", two=("", "one,"))
    background = Background(workspace)
    run = background.start(workspace.plan())
    until(lambda: hanging(workspace))
    assert run is not None
    background.stop(run)
    until(lambda: state(workspace, run) == RunState.CANCELLED)
    go(workspace)
    background.close()
    assert open_log(workspace.home, "thing:a/one").load().entries == ()
    again = shop().apply(shop().plan())
    assert again is not None
    assert again.state == RunState.DONE


def test_who_closes_leaves_runs_open_to_be_gone_on_with(shop: Open) -> None:  # noqa: F811
    workspace = shop(one="hang", two=("", "one,"))
    background = Background(workspace)
    run = background.start(workspace.plan())
    until(lambda: hanging(workspace))
    background.close()
    assert state(workspace, run) == RunState.RUNNING
    assert run is not None
    assert not workspace.attended(run)
    go(workspace)
    other = Background(shop())
    assert other.go_on(run) == run
    until(lambda: state(workspace, run) == RunState.DONE)
    other.close()


def test_once_closed_no_run_begins(shop: Open) -> None:  # noqa: F811
    workspace = shop(one="")
    background = Background(workspace)
    background.close()
    with pytest.raises(UserError, match="begins no run"):
        background.start(workspace.plan())
    assert workspace.ledger.runs() == []


def test_who_closes_waits_for_a_run_that_is_about_to_begin(shop: Open) -> None:  # noqa: F811
    workspace = shop(one="hang")
    background, apply = Background(workspace), workspace.apply
    called, on = Event(), Event()

    def late(*args: Any, **kwargs: Any) -> RunRecord | None:
        called.set()
        on.wait(20)
        return apply(*args, **kwargs)

    workspace.apply = late  # type: ignore[method-assign]
    plan = workspace.plan()
    with ThreadPoolExecutor(2) as pool:
        run = pool.submit(background.start, plan, workspace)
        called.wait(20)
        closing = pool.submit(background.close)
        until(lambda: background._closed)
        assert not closing.done()
        on.set()
        closing.result()
        assert state(workspace, run.result()) == RunState.RUNNING
    assert not hanging(workspace)


def test_a_run_that_nobody_is_at_can_be_stopped_and_one_that_is_not_there_not(
    shop: Open,  # noqa: F811
) -> None:
    workspace = shop(one="")
    run = workspace.ledger.start(workspace.plan(), "user:ada").id
    assert Background(workspace).stop(run).state == RunState.CANCELLED
    with pytest.raises(RefError):
        Background(workspace).go_on("none")
