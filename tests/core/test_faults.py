"""Fault points: nothing at all, unless this process was asked to die there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from bowerbird.core.faults import TRACE, VARIABLE

PROGRAM = "from bowerbird.core.faults import point\nfor n in range(3): point('a.b'); print(n)\n"


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in (VARIABLE, TRACE)} | variables
    command = [sys.executable, "-u", "-c", PROGRAM]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_point_does_nothing_by_itself() -> None:
    assert run().stdout.split() == ["0", "1", "2"]


def test_a_process_dies_by_sigkill_at_the_point_that_it_was_asked_to() -> None:
    ended = run(**{VARIABLE: "a.b"})
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "")


def test_a_process_dies_the_third_time_that_it_gets_there() -> None:
    ended = run(**{VARIABLE: "a.b:3"})
    assert (ended.returncode, ended.stdout.split()) == (-signal.SIGKILL, ["0", "1"])


def test_a_process_passes_the_other_points() -> None:
    assert run(**{VARIABLE: "a"}).returncode == 0


def test_the_points_that_are_reached_are_written_down(tmp_path: Path) -> None:
    run(**{TRACE: str(tmp_path / "trace")})
    assert (tmp_path / "trace").read_text().split() == ["a.b"] * 3
