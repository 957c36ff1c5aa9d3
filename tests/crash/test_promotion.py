"""SIGKILL between any two steps of staging, promoting and rolling back; the ends are equal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bowerbird.core.faults import TRACE
from bowerbird.testing.crash import Visit, visit
from tests.crash.test_crash import ROOT, SIDE_BY_SIDE

KILLED_AT = (
    "executor.tasks.done",
    "executor.commit.before",
    "executor.commit.after",
    "executor.recorded",
    "lake.commit.after",
    "features.check.rollback",
)


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.crash.promotion", str(folder)]


def end(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "end.json").read_text())
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """The end when nothing dies, and the points in the order in which they are reached."""
    folder = tmp_path_factory.mktemp("undisturbed") / "shop"
    trace = folder.with_suffix(".trace")
    env = {**os.environ, TRACE: str(trace)}
    subprocess.run(command(folder), check=True, cwd=ROOT, env=env)
    return end(folder), trace.read_text().split()


@pytest.fixture(scope="module")
def visits(
    undisturbed: tuple[dict[str, Any], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], tuple[Visit, Path]]:
    """Each point at its first and its last time, and once between."""
    wanted = []
    for point in KILLED_AT:
        times = undisturbed[1].count(point)
        assert times, point
        wanted += [(point, nth) for nth in sorted({1, (times + 1) // 2, times})]
    folders = tmp_path_factory.mktemp("killed")

    def kill(one: tuple[str, int]) -> tuple[Visit, Path]:
        folder = folders / f"{one[0]}-{one[1]}"
        return visit(one[0], command(folder), {}, nth=one[1], timeout=300, cwd=ROOT), folder

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return dict(zip(wanted, pool.map(kill, wanted), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_was_bad_is_rolled_back_and_held(
    undisturbed: tuple[dict[str, Any], list[str]],
) -> None:
    found, _ = undisturbed
    assert found["held"]
    assert found["twice"] == found["left"] == []
    assert found["open runs"] == found["steps"] == 0
    assert len(found["training"]) == 4 * 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_crash_changes_nothing_in_the_end(
    undisturbed: tuple[dict[str, Any], list[str]],
    visits: dict[tuple[str, int], tuple[Visit, Path]],
) -> None:
    assert len(visits) >= 14
    for one, (seen, folder) in visits.items():
        assert seen.died, one
        assert seen.ended == 0, (one, seen.said)
        assert end(folder) == undisturbed[0], one
