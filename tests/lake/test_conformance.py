"""A table is a target: whatever its catalog is, and wherever its files lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.core.steps import Home
from bowerbird.lake import kept
from bowerbird.testing.target_conformance import LogConformance
from tests.lake.world import TableWorld, home_in, home_on_rest, home_on_s3, parts_of_its_own
from tests.seaweed import Seaweed


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


@pytest.mark.slow
class TestWithCellsInFiles(LogConformance):
    """As a table with a thousand partitions has them."""

    @pytest.fixture(autouse=True)
    def nothing_inline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept, "INLINE_BYTES", 0)


@pytest.fixture
def postgres_home(tmp_path: Path, postgres_url: str) -> Home:
    return home_in(str(tmp_path), postgres_url)


@pytest.mark.slow
class TestOnPostgres(Tables):
    @pytest.fixture
    def world(self, postgres_home: Home) -> TableWorld:
        return TableWorld(postgres_home)


@pytest.mark.slow
@pytest.mark.slow
class TestOnAnObjectStore(LogConformance):
    """The catalog on SQLite, the files on S3."""

    @pytest.fixture
    def world(self, tmp_path: Path, seaweed_server: Seaweed) -> TableWorld:
        return TableWorld(home_on_s3(seaweed_server, str(tmp_path)))


@pytest.mark.slow
@pytest.mark.slow
class TestOnRest(LogConformance):
    """A REST catalog and S3, both of one server."""

    @pytest.fixture
    def world(self, tmp_path: Path, seaweed_server: Seaweed) -> TableWorld:
        return TableWorld(home_on_rest(seaweed_server, str(tmp_path)), parts_of_its_own())
