"""A project in a folder of its own, and the command as a user runs it: a process.

Where nothing else is said it is a warm one (`tests.warm`): most of a command's time is imports.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bowerbird.workspace.new import make_project
from tests import warm

ROOT = Path(__file__).parents[2]
PREFIX = "BOWERBIRD_"


def environment(**variables: str) -> dict[str, str]:
    """This process's, without what would steer Bowerbird or the terminal."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k != "FORCE_COLOR"}
    path = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return (
        kept
        | {"PYTHONPATH": os.pathsep.join(path), "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
        | variables
    )


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Project:
    """A project whose specs a test writes; tasks run in threads, so that a command is quick."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_project(path)
        toml = path / "bowerbird.toml"
        toml.write_text(toml.read_text().replace("workers = 2", 'workers = 2\nengine = "threads"'))
        self.specs()

    def specs(self, **files: str) -> None:
        """Write these specs (``tables_py="…"``), and no others."""
        for path in (self.path / "specs").glob("*.*"):
            path.unlink()
        for name, text in files.items():
            stem, _, suffix = name.rpartition("_")
            (self.path / "specs" / f"{stem}.{suffix}").write_bytes(
                text.encode("utf-8", "surrogateescape")
            )

    def command(self, *words: str) -> list[str]:
        return [str(warm.folder() / "bowerbird"), *words]

    def run(self, *words: str, timeout: float = 60, **variables: str) -> Ended:
        ended = subprocess.run(
            self.command(*words),
            cwd=self.path,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """A command to send signals to: a process that starts cold, and is all there is of it."""
        return subprocess.Popen(
            [sys.executable, "-m", "bowerbird", *words],
            cwd=self.path,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


LETTERS = """
from bowerbird.lake import Table

COUNT = 3

def rows():
    import pyarrow as pa
    return pa.table({"id": list(range(COUNT))})

letters = Table("shop/letters", schema={"id": "long"}, source=rows)
"""
TABLE = "table:shop/letters"


class Ahead:
    """Runs the commands of all selected cases of a parametrised test side by side.

    They only look, or have a project each; a command is a process, and a machine has some cores.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._ended: dict[str, Future[Ended]] = {}

    def __call__(self, request: pytest.FixtureRequest, run: Callable[[Any], Ended]) -> Ended:
        """How the command of this case ended. run: from the case's parameter."""
        if request.node.nodeid not in self._ended:
            for item in request.session.items:
                if item.originalname == request.node.originalname and item.path == request.path:
                    (case,) = item.callspec.params.values()
                    self._ended[item.nodeid] = self._pool.submit(run, case)
        return self._ended[request.node.nodeid].result()

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture(scope="module")
def ahead() -> Iterator[Ahead]:
    made = Ahead()
    yield made
    made.close()


@pytest.fixture
def new_project(tmp_path: Path) -> Callable[[], Project]:
    return lambda: Project(tmp_path / "shop")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for all tests of a module that change none of its tables."""
    return Project(tmp_path_factory.mktemp("cli") / "shop")


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project with a table that was made, for tests that only look."""
    made = Project(tmp_path_factory.mktemp("applied") / "shop")
    made.specs(tables_py=LETTERS)
    ended = made.run("apply")
    assert ended.code == 0, ended.err
    return made
