"""SIGKILL at every named place of a real process; the same command goes on; the ends are equal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bowerbird
from bowerbird.core.faults import TRACE
from bowerbird.testing.crash import points, visit
from tests.crash.scenario import SCENARIOS

SOURCE = Path(bowerbird.__file__).parent
ROOT = SOURCE.parent.parent
POINTS = points(SOURCE)


def command(folder: Path, name: str) -> list[str]:
    return [sys.executable, "-m", "tests.crash.scenario", str(folder), name]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """The end of every scenario when nothing dies, and the points that it reaches."""
    found = {}
    for name in SCENARIOS:
        folder = tmp_path_factory.mktemp(name)
        trace = folder.with_suffix(".trace")
        env = {**os.environ, TRACE: str(trace)}
        subprocess.run(command(folder, name), check=True, cwd=ROOT, env=env)
        told = subprocess.run(
            command(folder, "state"), check=True, capture_output=True, text=True, cwd=ROOT
        )
        found[name] = json.loads(told.stdout) | {"reached": set(trace.read_text().split())}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_changes_nothing_in_the_end(
    point: str,
    undisturbed: dict[str, dict[str, object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    reaching = [name for name, end in undisturbed.items() if point in end["reached"]]
    assert reaching, f"no scenario reaches {point}: add one to tests/crash/scenario.py"
    name = reaching[0]
    seen = visit(point, command(tmp_path / name, name), {}, timeout=120)
    assert seen.died
    assert seen.ended == 0, seen.said
    told = subprocess.run(command(tmp_path / name, "state"), capture_output=True, text=True)
    assert json.loads(told.stdout) | {"reached": undisturbed[name]["reached"]} == undisturbed[name]


@pytest.mark.slow
def test_undisturbed_ends_are_clean(undisturbed: dict[str, dict[str, object]]) -> None:
    for name, end in undisturbed.items():
        assert end["open runs"] == 0, name
        assert end["twice"] == end["strange"] == end["left"] == [], name


def test_points_are_found_in_the_source() -> None:
    assert "executor.commit.before" in POINTS
    assert len(POINTS) >= 8
