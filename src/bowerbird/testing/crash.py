"""The crash harness: kill a real process at every named place, go on, compare the ends.

`points` reads the names from the source, so a new `faults.point("…")` is visited without being
listed anywhere. `visit` runs a command that dies at the point by SIGKILL, then runs it again
undisturbed until it has ended.
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bowerbird.core.faults import VARIABLE


class Visit(msgspec.Struct, frozen=True):
    """What came of one visit. died: whether the process was killed there. said: its last words."""

    point: str
    died: bool
    ended: int
    said: str


def points(source: Path) -> list[str]:
    """The names of all fault points in a source tree, sorted."""
    found: set[str] = set()
    texts = (path.read_text() for path in source.rglob("*.py"))
    for text in (text for text in texts if "point(" in text):  # parsing takes long
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else None
            name = node.func.id if isinstance(node.func, ast.Name) else name
            first = node.args[0]
            if name == "point" and isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
    return sorted(found)


def visit(
    point: str,
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    nth: int = 1,
    timeout: float = 60,
    cwd: Path | None = None,
) -> Visit:
    """Run `command` so that it dies when it reaches `point` for the nth time; then run it again."""
    killed = _run(command, {**env, VARIABLE: f"{point}:{nth}"}, timeout, cwd)
    ended = _run(command, env, timeout, cwd)
    return Visit(point, killed.returncode == -signal.SIGKILL, ended.returncode, ended.stdout)


def _run(
    command: Sequence[str], env: Mapping[str, str], timeout: float, cwd: Path | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the caller's own command
        command,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        cwd=cwd,
        check=False,
    )
