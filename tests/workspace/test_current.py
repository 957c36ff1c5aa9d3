"""A workspace whose project is edited while it is open: all who share it see the edit, runs too."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

from bowerbird.core.engine import Engine
from bowerbird.core.runs import RunState
from bowerbird.workspace.background import Background
from bowerbird.workspace.current import stamp
from bowerbird.workspace.services import tick
from bowerbird.workspace.workspace import Workspace
from tests.workspace.test_background import go, hanging, state, until
from tests.workspace.test_executor import Open, made, shop  # noqa: F401 - a fixture


def edited(workspace: Workspace, **things: str) -> None:
    lines = ["from tests.workspace.things import Thing"]
    lines += [f"{name} = Thing('a/{name}', does={does!r})" for name, does in things.items()]
    (Path(workspace.home.project) / "specs" / "tables.py").write_text("\n".join(lines))


def test_the_loop_of_up_plans_with_the_specs_that_are_on_disk(shop: Open) -> None:  # noqa: F811
    workspace = shop(one="")
    assert tick(workspace, Event(), print)
    edited(workspace, one="", two="")
    assert tick(workspace, Event(), print)
    assert made(workspace) == ["one", "two"]
    assert not tick(workspace, Event(), print)
    assert workspace.current.workspace().plan().empty


def test_a_spec_that_is_edited_before_anybody_looks_again_is_read_anew(shop: Open) -> None:  # noqa: F811
    workspace = shop(one="")
    assert set(workspace.specs) == {"thing:a/one"}
    edited(workspace, two="")
    assert set(workspace.current.workspace().specs) == {"thing:a/two"}
    assert workspace.current.workspace() is workspace.current.workspace()


def test_after_an_edit_runs_have_another_engine_and_the_old_one_ends_with_its_run(
    shop: Open,  # noqa: F811
) -> None:
    workspace = shop(one="hang")
    opened, closed = watched(workspace)
    background = Background(workspace)
    first = background.start(workspace.plan())
    until(lambda: hanging(workspace))
    edited(workspace, one="hang", two="")
    now = workspace.current.workspace()
    assert now.engine is not opened[0]
    assert closed == []
    go(workspace)
    until(lambda: closed == opened[:1])
    assert state(workspace, first) == RunState.DONE
    second = background.start(now.plan(), now)
    until(lambda: state(workspace, second) == RunState.DONE)
    assert len(opened) == 2
    background.close()
    workspace.close()
    assert closed == opened


def watched(workspace: Workspace) -> tuple[list[Engine], list[Engine]]:
    """The engines that this workspace opens and closes from now on."""
    opened: list[Engine] = []
    closed: list[Engine] = []
    open_engine = workspace._open_engine

    def open_one(loaded: object) -> Engine:
        engine = open_engine(loaded)  # type: ignore[arg-type]
        close = engine.close

        def close_it() -> None:
            closed.append(engine)
            close()

        engine.close = close_it  # type: ignore[method-assign]
        opened.append(engine)
        return engine

    workspace._open_engine = open_one
    return opened, closed


def test_readings_share_one_database(shop: Open) -> None:  # noqa: F811
    workspace = shop(one="")
    assert workspace.current.workspace() is workspace
    edited(workspace, one="", two="")
    assert workspace.current.workspace().database is workspace.database


def test_an_editors_own_files_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    before = stamp(tmp_path)
    (tmp_path / ".#a.py").symlink_to("me@host.1:2")
    (tmp_path / "gone.py").symlink_to("nowhere")
    assert stamp(tmp_path) == before
    (tmp_path / "a.py").write_text("edited")
    assert stamp(tmp_path) != before


def test_what_lies_in_the_warehouse_is_no_source(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "a.py").write_text("")
    assert stamp(tmp_path, os.fspath(lake)) == ()
