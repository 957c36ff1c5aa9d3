"""SIGKILL at every named place of a real process; the same command goes on; the ends are equal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import bowerbird
from bowerbird.core.faults import TRACE
from bowerbird.testing.crash import Visit, points, visit
from tests.crash.scenario import SCENARIOS

SOURCE = Path(bowerbird.__file__).parent
ROOT = SOURCE.parent.parent
POINTS = [point for point in points(SOURCE) if not point.startswith("features.")]
"""Those of features are visited in test_promotion.py."""
SIDE_BY_SIDE = 2


Ends = dict[str, dict[str, Any]]


def command(folder: Path, name: str) -> list[str]:
    return [sys.executable, "-m", "tests.crash.scenario", str(folder), name]


def end(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "end.json").read_text())
    return found


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    """The end of every scenario when nothing dies, and the points that it reaches."""

    def run(name: str) -> dict[str, Any]:
        folder = folders / name
        trace = folder.with_suffix(".trace")
        env = {**os.environ, TRACE: str(trace)}
        subprocess.run(command(folder, name), check=True, cwd=ROOT, env=env)
        return end(folder) | {"reached": trace.read_text().split()}

    folders = tmp_path_factory.mktemp("undisturbed")
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return dict(zip(SCENARIOS, pool.map(run, SCENARIOS), strict=True))


@pytest.fixture(scope="session")
def visits(
    undisturbed: Ends, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, Visit, Path]]:
    """Point -> the scenario that was killed there, what came of it, and its folder."""

    def kill(point: str) -> tuple[str, Visit, Path]:
        name = next((one for one, end in undisturbed.items() if point in end["reached"]), "")
        folder = folders / point
        if not name:
            return name, Visit(point, died=False, ended=0, said=""), folder
        return name, visit(point, command(folder, name), {}, timeout=300, cwd=ROOT), folder

    folders = tmp_path_factory.mktemp("killed")
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return dict(zip(POINTS, pool.map(kill, POINTS), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(1200)  # the first one waits for all
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_changes_nothing_in_the_end(
    point: str, undisturbed: Ends, visits: dict[str, tuple[str, Visit, Path]]
) -> None:
    name, seen, folder = visits[point]
    assert name, f"no scenario reaches {point}: add one to tests/crash/scenario.py"
    assert seen.died
    assert seen.ended == 0, seen.said
    assert end(folder) | {"reached": undisturbed[name]["reached"]} == undisturbed[name]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_undisturbed_ends_are_clean(undisturbed: Ends) -> None:
    for name, found in undisturbed.items():
        assert found["open runs"] == 0, name
        assert found["twice"] == found["strange"] == found["left"] == [], name


def test_points_are_found_in_the_source() -> None:
    assert "executor.commit.before" in POINTS
    assert len(POINTS) >= 8
