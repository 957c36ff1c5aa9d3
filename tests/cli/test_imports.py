"""A command that only shows text starts quickly: it loads no heavy library."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import Project, environment

HEAVY = {
    "torch", "ray", "pyspark", "faiss", "duckdb", "pyiceberg", "pyarrow", "pandas", "numpy",
    "scipy", "sqlalchemy", "alembic", "psycopg", "fastapi", "uvicorn", "kubernetes", "boto3",
    "lmdb", "prometheus_client",
}  # fmt: skip
PROGRAM = """
import sys
{body}
print("LOADED", *(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""
COMMAND = """
sys.argv[0] = "bowerbird"
from bowerbird.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def loaded(project: Project, body: str, *words: str) -> set[str]:
    program = PROGRAM.format(body=body, heavy=sorted(HEAVY))
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=project.path, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(ended.stderr.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "body",
    ["import bowerbird", "import bowerbird.core.plans, bowerbird.core.codec, bowerbird.rooms"],
)
def test_importing_the_house_loads_no_heavy_library(project: Project, body: str) -> None:
    assert loaded(project, body) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("--help",), ("version",), ("apply", "--help"), ("config",), ("config", "--json")]
)
def test_a_command_that_only_shows_text_loads_no_heavy_library(
    project: Project, words: tuple[str, ...]
) -> None:
    assert loaded(project, COMMAND, *words) == set()


@pytest.mark.slow
def test_a_plan_of_nothing_loads_the_database_and_what_specs_are_made_of(project: Project) -> None:
    assert project.run("migrate").code == 0
    assert loaded(project, COMMAND, "plan") <= {"sqlalchemy", "numpy"}
