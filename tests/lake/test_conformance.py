"""A table is a target: on SQLite, and on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.core.steps import Home
from bowerbird.lake import kept
from bowerbird.testing.target_conformance import LogConformance
from tests.lake.world import TableWorld, home_in


class Tables(LogConformance):
    @pytest.mark.slow
    def test_appends_of_several_processes_are_all_there_and_none_twice(
        self, world: TableWorld, processes: int, commits: int
    ) -> None:
        super().test_appends_of_several_processes_are_all_there_and_none_twice(
            world, processes, commits
        )


class TestOnSqlite(Tables):
    """On the database that a laptop has."""


class TestWithCellsInFiles(LogConformance):
    """As a table with a thousand partitions has them."""

    @pytest.fixture(autouse=True)
    def nothing_inline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept, "INLINE_BYTES", 0)


@pytest.fixture
def postgres_home(tmp_path: Path, postgres_url: str) -> Home:
    return home_in(str(tmp_path), postgres_url)


class TestOnPostgres(Tables):
    @pytest.fixture
    def world(self, postgres_home: Home) -> TableWorld:
        return TableWorld(postgres_home)
