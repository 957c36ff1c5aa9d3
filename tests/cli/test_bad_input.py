"""Every mistake of a user's is told in their words: the place, what was wrong, what to do.

Never a traceback, and the exit code that ``bowerbird.cli.main`` documents.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import LETTERS, TABLE, Ahead, Ended, Project

YAML = """
apiVersion: bowerbird/v1
kind: Table
metadata: {name: shop/letters}
spec:
  schema: {id: long}
"""


GROUP = """
apiVersion: bowerbird/v1
kind: FeatureGroup
metadata: {name: shop/spend}
spec: {source: "table:shop/letters", key: [id], columns: {n: {type: Count}}}
"""
EVALUATION = """
apiVersion: bowerbird/v1
kind: Evaluation
metadata: {name: shop/ranker}
spec: {model: "table:shop/letters", function: "specs.tables:rows"}
"""


def told(ended: Ended, code: int, *words: str) -> None:
    assert "Traceback" not in ended.err + ended.out, ended.err
    assert ended.code == code, ended.err
    assert ended.err.startswith("error: "), ended.err
    for word in words:
        assert word in ended.err, ended.err


def put(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


WRONG: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "an unknown field in YAML": (
        {"a_yaml": put(YAML, "schema:", "shema:")},
        ("specs/a.yaml: spec", "`shema`", "expected: schema?"),
    ),
    "an unknown kind in YAML": (
        {"a_yaml": put(YAML, "Table", "Tabel")}, ("specs/a.yaml", "'Tabel'", "expected: Table?"),
    ),
    "a wrong type in YAML": (
        {"a_yaml": put(YAML, "{id: long}", "[id]")},
        ("specs/a.yaml: spec.schema", "expected `object`, got `array`"),
    ),
    "YAML that is none": ({"a_yaml": "kind: [Table"}, ("specs/a.yaml", "not YAML")),
    "a YAML file that is no text": (
        {"a_yaml": "\udc80"}, ("specs/a.yaml", "not UTF-8"),
    ),
    "a column that is not there": (
        {"a_yaml": YAML + "  sort: [ie]\n"},
        ("specs/a.yaml: table:shop/letters: sort[0]", "no column 'ie'", "expected: one of: id"),
    ),
    "a column type that is none": (
        {"a_yaml": put(YAML, "long", "lonk")}, ("specs/a.yaml: table:shop/letters: schema.id",),
    ),
    "two specs with one name": (
        {"a_yaml": YAML, "tables_py": LETTERS},
        ("specs/tables.py: letters and specs/a.yaml", f"two specs are named {TABLE}", "try:"),
    ),
    "a bad name in Python": (
        {"tables_py": put(LETTERS, "shop/letters", "Letters")},
        ("specs/tables.py:10", "'Letters' is not a name", "expected: namespace/name"),
    ),
    "an unknown field in Python": (
        {"tables_py": put(LETTERS, "schema=", "shema=")}, ("specs/tables.py:10", "shema"),
    ),
    "a wrong type in Python": (
        {"tables_py": put(LETTERS, '{"id": "long"}', '["id"]')},
        ("specs/tables.py:10: table:shop/letters: schema", "expected `object`, got `array`"),
    ),
    "a value in Python that is no data": (
        {"tables_py": put(LETTERS, '{"id": "long"}', '{"id": rows}')},
        ("specs/tables.py:10: table:shop/letters: schema", "function", "expected: values that"),
    ),
    "a lambda": (
        {"tables_py": put(LETTERS, "source=rows", "source=lambda: rows()")},
        ("specs/tables.py:10", "<lambda>", "try: give it a name"),
    ),
    "a module that raises": (
        {"tables_py": "\n\n1 / 0\n"}, ("specs/tables.py:3", "ZeroDivisionError: division by zero"),
    ),
    "a module that exits": ({"tables_py": "import sys\nsys.exit(7)\n"}, ("specs/tables.py:2",)),
    "a module that is no Python": ({"tables_py": "def f(:\n"}, ("specs/tables.py:1",)),
    "a reference to nothing": (
        {"a_yaml": YAML, "b_yaml": put(GROUP, "shop/letters", "shop/leters")},
        ("specs/b.yaml: source", "nothing is named table:shop/leters", f"expected: {TABLE}?"),
    ),
    "a reference to a spec of the wrong kind": (
        {"a_yaml": YAML, "b_yaml": EVALUATION},
        (f"specs/b.yaml: evaluation:shop/ranker: {TABLE} is a Table, not a Model",
         "expected: the ref of a Model, as in model:namespace/name"),
    ),
    "a reference to itself": (
        {"b_yaml": put(GROUP, TABLE, "feature_group:shop/spend")},
        ("specs/b.yaml: specs read each other in a circle", "spend → feature_group:shop/spend",
         "expected: an order", "try: take one"),
    ),
    "specs that read each other": (
        {"b_yaml": put(GROUP, TABLE, "feature_group:shop/more"),
         "c_yaml": put(put(GROUP, "shop/spend", "shop/more"), TABLE, "feature_group:shop/spend")},
        ("specs/b.yaml and specs/c.yaml", "spend → feature_group:shop/more → feature_group",),
    ),
    "a function that cannot be imported": (
        {"a_yaml": YAML + "  source: specs.nowhere:rows\n"},
        ("specs/a.yaml: table:shop/letters", "specs.nowhere", "ModuleNotFoundError"),
    ),
    "a function that is not there": (
        {"a_yaml": put(YAML, "letters", "more") + "  source: specs.tables:row\n",
         "tables_py": LETTERS},
        ("specs/a.yaml: table:shop/more", "no 'row'", "rows"),
    ),
    "a source that is no function": (
        {"a_yaml": put(YAML, "letters", "more") + "  source: specs.tables:COUNT\n",
         "tables_py": LETTERS},
        ("specs/a.yaml: table:shop/more", "'specs.tables:COUNT' is a int, not a function"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wrong")


@pytest.mark.slow
@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_in_a_spec_is_told_with_its_place(
    what: str, folder: Path, ahead: Ahead, request: pytest.FixtureRequest
) -> None:
    def run(case: str) -> Ended:
        project = Project(folder / case)
        project.specs(**WRONG[case][0])
        return project.run("plan")

    told(ahead(request, run), 2, *WRONG[what][1])


SETTINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "an unknown setting": ("[settings]\nworkrs = 2\n", ("'workrs'", "expected: workers?")),
    "a setting of the wrong type": ("[settings]\nworkers = 'many'\n", ("workers: expected `int`",)),
    "a setting out of range": ("[settings]\nworkers = 0\n", ("workers: expected `int` >= 1",)),
    "an unknown section": ("[setings]\n", ("'setings'", "expected: settings?")),
    "no TOML": ("[settings\n", ("not TOML",)),
    "a file that is no text": ("\udc80", ("bowerbird.toml", "not UTF-8")),
    "settings that are no table": ("settings = 3\n", ("not a table",)),
    "environments that are no table": ("environments = 3\n", ("not a table",)),
    "an environment that is no table": ("[environments]\ndev = 3\n", ("not a table",)),
    "no such environment": (
        'default_environment = "prod"\n[environments.dev]\n', ("'prod'", "one of: dev"),
    ),
    "an engine that there is not": ('[settings]\nengine = "dask"\n', ("'dask'", "processes")),
    "a secret that is not set": (
        '[settings]\nmetadata = "postgresql://a:${env:NO_SUCH_SECRET}@h/x"\n',
        ("${env:NO_SUCH_SECRET} is not set", "try: export NO_SUCH_SECRET="),
    ),
    "a database of no known kind": (
        '[settings]\nmetadata = "oracel://ada:hunter2@h/x"\n', ("metadata database",),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", SETTINGS)
def test_a_mistake_in_the_settings_is_told(
    what: str, folder: Path, ahead: Ahead, request: pytest.FixtureRequest
) -> None:
    def run(case: str) -> Ended:
        project = Project(folder / case)
        project.specs(tables_py=LETTERS)
        text = SETTINGS[case][0].encode("utf-8", "surrogateescape")
        (project.path / "bowerbird.toml").write_bytes(text)
        return project.run("apply")

    ended = ahead(request, run)
    told(ended, 2, *SETTINGS[what][1])
    assert "hunter2" not in ended.err + ended.out


COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a run that there is not": (("status", "0000"), ("no run has an id", "0000")),
    "a ref that nothing made": (("why", "table:shop/none"), ("no run has made table:shop/none",)),
    "a ref near one that was made": (("why", "table:shop/leters"), (f"expected: {TABLE}?",)),
    "a step that there is not": (("logs", "last", "s9"), ("no step s9", "expected: one of: s1")),
    "a version that there is not": (
        ("rollback", TABLE, "--to", "12345"), (f"{TABLE} does not descend from", "12345"),
    ),
    "no version before": (("rollback", TABLE), ("has no earlier version",)),
    "an item of no feed": (("why", f"{TABLE}#x"), (f"{TABLE}#x names no item of a feed",)),
    "a project that there is not": (("--project", "nowhere", "plan"), ("nowhere",)),
    "an environment that there is not": (("-e", "prod", "plan"), ("no environment 'prod'",)),
    "a project that is there already": (("init",), ("is there already",)),
    "a ref to drop that nothing made": (("apply", "--drop", "table:shop/leters"), (TABLE,)),
    "a ref to replace that is none": (
        ("plan", "--replace", "letters"), ("no run has made letters",),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", COMMANDS)
def test_a_mistake_on_the_command_line_is_told(
    what: str, applied: Project, ahead: Ahead, request: pytest.FixtureRequest
) -> None:
    told(ahead(request, lambda case: applied.run(*COMMANDS[case][0])), 2, *COMMANDS[what][1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("aply",), ("plan", "--jsno"), ("status", "a", "b"), ("cancel",), ()]
)
def test_a_command_that_is_none_is_told_with_its_usage(
    words: tuple[str, ...], project: Project, ahead: Ahead, request: pytest.FixtureRequest
) -> None:
    ended = ahead(request, lambda case: project.run(*case))
    assert ended.code == 2
    assert "Usage" in ended.err + ended.out
    assert "Traceback" not in ended.err
