"""Who holds a lease: a dead process is known to be dead, and no living one ever is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.workspace.holders import gone, holder

PROGRAM = "from bowerbird.workspace.holders import holder; print(holder(), flush=True); input()"


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process, alive, and its name."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def test_who_lives_is_not_gone(other: tuple[subprocess.Popen[str], str]) -> None:
    assert not gone(holder())
    assert not gone(other[1])


def test_who_died_is_gone_even_before_anybody_fetched_its_end(
    other: tuple[subprocess.Popen[str], str],
) -> None:
    process, name = other
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert gone(name)
    process.wait()
    assert gone(name)


def test_a_name_is_the_same_each_time_and_no_other_process_has_it(
    other: tuple[subprocess.Popen[str], str],
) -> None:
    assert holder() == holder() != other[1]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc tells when it started")
def test_who_had_the_number_of_a_living_process_is_gone() -> None:
    machine, pid, started = holder().rsplit(":", 2)
    assert gone(f"{machine}:{pid}:{int(started) - 1}")


def test_of_another_machine_nothing_is_known() -> None:
    machine, pid, started = holder().rsplit(":", 2)
    assert not gone(f"elsewhere/{machine}:{pid}:{started}")
    assert not gone(f"{machine}-after-a-reboot:999999999:1")


@given(st.text())
def test_of_a_name_of_another_form_nothing_is_known(name: str) -> None:
    assert not gone(name)
