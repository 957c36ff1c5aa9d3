"""What commands print: for people at eighty columns, for a pipe, for programs."""

from __future__ import annotations

import importlib
import json
import os
import pty
import re
import select
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from bowerbird.cli import screen
from bowerbird.cli.commands import Said
from bowerbird.cli.commands_demo import Demo
from bowerbird.cli.main import app
from bowerbird.workspace.new import make_project
from tests.cli.conftest import LETTERS, TABLE, Ahead, Project, environment

SHOWING = [
    ("plan",), ("explain",), ("status",), ("status", TABLE), ("why", TABLE), ("config",), ("logs",),
    ("--help",),
    *(pytest.param(words, marks=pytest.mark.slow) for words in [
        ("status", "last"), ("why", "last"), ("rollback", TABLE, "--dry-run"),
    ]),
]  # fmt: skip
ANSI = re.compile(r"\x1b")


@pytest.fixture(scope="module")
def twice(applied: Project) -> Project:
    """Applied twice, so that there is something to roll back to, and something to do."""
    for count in ("4", "5"):
        applied.specs(tables_py=LETTERS.replace("COUNT = 3", f"COUNT = {count}"))
        if count == "4":
            assert applied.run("apply").code == 0
    return applied


@pytest.mark.slow
@pytest.mark.parametrize("words", SHOWING, ids=" ".join)
def test_what_goes_into_a_pipe_is_plain_text(
    words: tuple[str, ...], twice: Project, ahead: Ahead, request: pytest.FixtureRequest
) -> None:
    ended = ahead(request, lambda case: twice.run(*case))
    assert ended.code == 0, ended.err
    assert ended.out.strip()
    assert not ANSI.search(ended.out + ended.err)
    assert ended.err == ""
    for line in ended.out.splitlines():
        assert line.isprintable()


WIDE = [("status", TABLE), ("why", TABLE), ("status",), ("plan",)]


@pytest.mark.slow
@pytest.mark.parametrize("words", WIDE, ids=" ".join)
def test_the_same_is_printed_whatever_the_width_of_a_pipe(
    words: tuple[str, ...], twice: Project
) -> None:
    told = [twice.run(*words, COLUMNS=width).out for width in ("40", "200")]
    one, other = (re.sub(r"\d+ (s|min) ago", "just now", out) for out in told)
    assert [line.split() for line in one.splitlines()] == [
        line.split() for line in other.splitlines()
    ]


def at_a_terminal(project: Project, *words: str) -> str:
    """What a terminal of eighty columns is sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        project.command(*words), cwd=project.path, stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment(TERM="xterm", COLUMNS="80", LINES="24"),
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert process.wait(30) == 0
    return said.decode()


@pytest.mark.slow
@pytest.mark.parametrize("words", SHOWING, ids=" ".join)
def test_at_a_terminal_no_line_is_wider_than_it(words: tuple[str, ...], twice: Project) -> None:
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", at_a_terminal(twice, *words))
    lines = said.replace("\r", "").splitlines()
    if words[0] != "logs":  # a log is shown as it was written
        assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)


@pytest.mark.slow
def test_a_terminal_is_given_colours(twice: Project) -> None:
    assert ANSI.search(at_a_terminal(twice, "plan"))


JSON = [
    ("plan",), ("status",), ("why", TABLE), ("config",), ("logs",), ("version",), ("migrate",),
    *(pytest.param(words, marks=pytest.mark.slow) for words in [
        ("explain",), ("status", "last"), ("status", TABLE), ("why", "last"),
        ("rollback", TABLE, "--dry-run"),
    ]),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("words", JSON, ids=" ".join)
def test_what_is_for_programs_is_json_and_nothing_else(
    words: tuple[str, ...], twice: Project, ahead: Ahead, request: pytest.FixtureRequest
) -> None:
    ended = ahead(request, lambda case: twice.run(*case, "--json"))
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) is not None
    assert ended.err == ""


def test_every_command_is_also_for_programs() -> None:
    importlib.import_module("bowerbird.cli.commands")
    importlib.import_module("bowerbird.cli.commands_demo")
    commands = list(walked(typer.main.get_command(app), ()))
    assert ("plan",) in dict(commands)
    assert [name for name, options in commands if "--json" not in options] == []


def walked(command: Any, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Every command, those of a group too, with its options."""
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from walked(inner, (*name, word))
    else:
        yield name, {option for one in command.params for option in one.opts}


@pytest.mark.slow
def test_the_schema_is_json(project: Project) -> None:
    assert json.loads(project.run("schema").out)["oneOf"]


def test_a_new_project_for_programs_is_the_files_that_were_made(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    made = make_project(tmp_path)
    assert json.loads(msgspec.json.encode(made)) == {
        "made": [str(tmp_path / "bowerbird.toml"), str(tmp_path / "specs" / "tables.py")],
        "kept": [str(tmp_path / ".gitignore")],
    }
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


@pytest.mark.slow
def test_a_plan_for_programs_has_the_steps_that_are_shown(twice: Project) -> None:
    steps = json.loads(twice.run("plan", "--json").out)["steps"]
    assert [step["target"] for step in steps] == [TABLE]
    assert "specs.tables:rows→COUNT was changed" in steps[0]["reason"]
    assert steps == json.loads(twice.run("explain", "--json").out)["steps"]


@pytest.mark.slow
def test_apply_for_programs_is_json_and_so_is_nothing_to_do(project: Project) -> None:
    project.specs(tables_py=LETTERS)
    first, again = project.run("apply", "--json"), project.run("apply", "--json")
    assert json.loads(first.out)["state"] == "done"
    assert json.loads(again.out) is None
    assert first.err == again.err == ""


@pytest.mark.slow
def test_a_run_that_was_cancelled_for_programs_is_json(twice: Project) -> None:
    assert json.loads(twice.run("cancel", "last", "--json").out)["state"] == "done"


@pytest.mark.slow
@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("logs",)], ids=" ".join)
def test_a_reader_that_has_seen_enough_is_no_error(words: tuple[str, ...], twice: Project) -> None:
    process = twice.start(*words)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(30) == 0
    process.stderr.close()
    assert "Traceback" not in said


def test_what_services_say_is_for_programs_a_value_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen.as_json_line(Said(datetime(2026, 1, 2, tzinfo=UTC), "listening\non [b]"))
    screen.as_json_line(Said(datetime(2026, 1, 2, tzinfo=UTC), "run 1 is done"))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == ["listening\non [b]", "run 1 is done"]
    assert lines[0]["at"] == "2026-01-02T00:00:00Z"


def test_what_came_of_the_demo_is_json() -> None:
    assert json.loads(msgspec.json.encode(Demo(None, ("reached",), "report.html"))) == {
        "run": None,
        "goals": ["reached"],
        "report": "report.html",
    }
