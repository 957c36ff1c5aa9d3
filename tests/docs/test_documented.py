"""Everything that a user can meet is documented, and nothing is documented that is not there."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache

import msgspec
import pytest
import typer

from bowerbird.cli.main import app
from bowerbird.core import errors, faults
from bowerbird.core.errors import BowerbirdError
from bowerbird.rooms import PLANNED, STANDING, load
from bowerbird.testing.crash import points
from bowerbird.workspace.settings import Settings
from tests.docs.markdown import ROOT, Page, page, pages

importlib.import_module("bowerbird.cli.commands")
importlib.import_module("bowerbird.cli.commands_demo")
importlib.import_module("bowerbird.cli.commands_features")
importlib.import_module("bowerbird.cli.commands_table")

PAGES = pages()
SOURCE = ROOT / "src" / "bowerbird"


def rows(one: Page, heading: str = "") -> list[list[str]]:
    """The cells of a page's tables, without their heads; of one section only, if named."""
    text = one.text.partition(f"\n## {heading}\n")[2] if heading else one.text
    text = re.split(r"\n## ", text)[0] if heading else text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {index - 1 for index, row in enumerate(cells) if set(row[0]) <= set("-:")}
    return [row for index, row in enumerate(cells) if index not in heads and index - 1 not in heads]


# -- settings ----------------------------------------------------------------------------------


def test_every_setting_is_documented_and_no_other() -> None:
    shown = {row[0].strip("`"): (row[1].strip("`"), row[3].strip("`")) for row in _settings()}
    defaults = {
        field.name: (str(field.default) or "empty", f"BOWERBIRD_{field.name.upper()}")
        for field in msgspec.structs.fields(Settings)
    }
    assert shown == defaults


def _settings() -> Iterator[list[str]]:
    return (row for row in rows(page("docs/settings.md")) if len(row) == 4)


def test_every_variable_is_documented_and_no_other() -> None:
    named = re.compile(r"BOWERBIRD_[A-Z0-9_]*[A-Z]")
    known = {f"BOWERBIRD_{name.upper()}" for name in Settings.__struct_fields__}
    known |= {faults.VARIABLE, faults.TRACE, "BOWERBIRD_ENVIRONMENT"}
    for_tests = {"BOWERBIRD_SIMULATION_SEED", "BOWERBIRD_SIMULATION_COUNT"}
    assert set(named.findall(page("docs/settings.md").text)) == known
    for one in PAGES:
        assert set(named.findall(one.text)) <= known | for_tests, one.name


# -- commands ----------------------------------------------------------------------------------


def _commands() -> dict[str, set[str]]:
    """Command -> its long options; "" is what stands before the command."""
    group = typer.main.get_command(app)
    found = {"": _options(group)}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        found[name] = set().union(_options(command), *map(_options, inner.values()))
    return found


def _table_commands() -> dict[str, set[str]]:
    tables = typer.main.get_command(app).commands["table"]  # type: ignore[attr-defined]
    return {name: _options(command) for name, command in tables.commands.items()}


def _options(command: object) -> set[str]:
    named = [name for one in command.params for name in one.opts]  # type: ignore[attr-defined]
    return {name for name in named if name.startswith("--")} - {"--help"}


def test_every_command_and_option_is_documented_and_no_other() -> None:
    sections = re.split(r"^## ", page("docs/cli.md").text, flags=re.MULTILINE)
    shown = {section.partition("\n")[0]: section for section in sections[1:]}
    commands = _commands()
    about = {"For programs", "Exit codes", "The examples"}
    assert set(shown) - about == set(commands) - {""}
    shown[""] = sections[0]
    for name, options in commands.items():
        prose = re.sub(r"```.*?```", "", shown[name], flags=re.DOTALL)
        found = set(re.findall(r"`(--[a-z-]+)", prose)) - {"--help"}
        assert found - ({"--json"} if name == "" else set()) == options, (
            name or "before the command"
        )


def test_every_command_of_tables_is_documented_with_its_options() -> None:
    shown = {
        row[0].strip("`").split()[1]: set(re.findall(r"`(--[a-z-]+)", row[2]))
        for row in rows(page("docs/cli.md"), "table")
    }
    assert shown == {name: options - {"--json"} for name, options in _table_commands().items()}


def test_what_every_command_prints_for_programs_is_documented() -> None:
    shown = {name for row in rows(page("docs/cli.md"), "For programs") for name in _named(row[0])}
    assert shown == set(_commands()) - {""}


def _named(cell: str) -> set[str]:
    return {command.split()[0] for command in re.findall(r"`([^`]+)`", cell)}


def test_every_command_that_a_page_types_exists() -> None:
    commands = _commands()
    for one in PAGES:
        for text in [b.text for b in one.blocks if b.language == "console"]:
            for name in re.findall(r"^\$ .*?\bbowerbird (?:-e \w+ )?([a-z]+)", text, re.MULTILINE):
                assert name in commands, f"{one.name}: bowerbird {name}"
            for name in re.findall(r"^\$ .*?\bbowerbird table ([a-z]+)", text, re.MULTILINE):
                assert name in _table_commands(), f"{one.name}: bowerbird table {name}"


def test_exit_codes_are_those_of_the_errors() -> None:
    shown = {int(row[0]) for row in rows(page("docs/cli.md"), "Exit codes")}
    raised = {kind.exit_code for kind in _errors()}
    assert raised <= shown
    assert shown - raised == {0, 4, 130}


# -- errors ------------------------------------------------------------------------------------


def _errors() -> list[type[BowerbirdError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, BowerbirdError)
    ]


def test_every_error_is_documented_under_its_parent_and_no_other() -> None:
    headings = re.findall(r"^(##+) (\w+)$", page("docs/errors.md").text, re.MULTILINE)
    parents: dict[str, str] = {}
    above = "BowerbirdError"
    for level, name in headings:
        parents[name] = "BowerbirdError" if level == "##" else above
        above = name if level == "##" else above
    del parents["BowerbirdError"]
    known = {kind.__name__: kind.__mro__[1].__name__ for kind in _errors()}
    del known["BowerbirdError"]
    assert parents == known


def test_exit_codes_and_retries_of_errors_are_as_documented() -> None:
    text = page("docs/errors.md").text
    sections = dict(re.findall(r"^##+ (\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    for kind in _errors():
        said = sections[kind.__name__]
        assert ("Retryable" in said) == kind.retryable, kind.__name__
        if kind.__mro__[1] in (BowerbirdError, Exception):
            assert f"Exit code {kind.exit_code}" in said, kind.__name__


def test_errors_that_pages_name_exist() -> None:
    known = {kind.__name__ for kind in _errors()}
    for one in PAGES:
        assert set(re.findall(r"`(\w+Error)`", one.text)) <= known, one.name


# -- the protocol ------------------------------------------------------------------------------


def test_the_protocol_numbers_what_the_simulation_checks() -> None:
    world = (ROOT / "tests/simulation/world.py").read_text()
    checked = set(re.findall(r'"(P\d) ([a-z \']+):', world))
    said = re.findall(r"^- \*\*(P\d) ([a-z ']+)\.\*\*", page("docs/protocol.md").text, re.MULTILINE)
    assert [number for number, _ in said] == [f"P{n}" for n in range(1, len(said) + 1)]
    assert set(said) == checked


@pytest.mark.parametrize("one", PAGES, ids=lambda one: one.name)
def test_invariants_tests_and_fault_points_that_a_page_cites_exist(one: Page) -> None:
    numbered = set(re.findall(r"\*\*(P\d) ", page("docs/protocol.md").text))
    assert set(re.findall(r"\bP\d\b", one.text)) <= numbered
    cited = set(re.findall(r"`(test_\w+)`", one.text))
    assert cited <= _tests()
    named = re.findall(r"`((?:executor|lake|release)\.[a-z_.]+)`", one.text)
    assert set(named) <= _points()


@cache
def _points() -> set[str]:
    return set(points(SOURCE))


@cache
def _tests() -> set[str]:
    files = [*(ROOT / "tests").rglob("*.py"), *(SOURCE / "testing").rglob("*.py")]
    return {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}


def test_every_fault_point_is_documented() -> None:
    text = page("docs/guides/kill_and_resume.md").text
    assert {name for name in _points() if f"`{name}`" not in text} == set()


# -- rooms and decisions -----------------------------------------------------------------------


def test_the_map_of_rooms_is_the_list_of_rooms() -> None:
    stands = {row[0].strip("`"): row[2] for row in rows(page("docs/rooms.md"), "What stands")}
    assert stands == {room.name: room.standing for room in map(load, STANDING)}
    planned = rows(page("docs/rooms.md"), "What is planned")
    assert {name.strip("`"): what for name, what in planned} == PLANNED


def test_decisions_are_numbered_without_a_gap_and_say_what_was_rejected() -> None:
    files = sorted((ROOT / "docs/decisions").glob("0*.md"))
    assert [file.name[:4] for file in files] == [f"{n:04}" for n in range(1, len(files) + 1)]
    for file in files:
        text = file.read_text()
        assert text.startswith(f"# {file.name[:4]} "), file.name
        assert "ejected" in text, file.name
