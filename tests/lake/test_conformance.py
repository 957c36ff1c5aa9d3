"""A table is a target: on SQLite, and on PostgreSQL where one is at hand."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from bowerbird.core.steps import Home
from bowerbird.testing.target_conformance import LogConformance
from tests.lake.world import TableWorld, home_in


class TestOnSqlite(LogConformance):
    """On the database that a laptop has."""


@pytest.fixture
def postgres_home(tmp_path: Path) -> Home:
    url = os.environ.get("BOWERBIRD_TEST_POSTGRES")
    if not url:
        pytest.skip("BOWERBIRD_TEST_POSTGRES names no database")
    home = home_in(str(tmp_path), url)
    # The database outlives the test: a catalog of its own keeps tests apart.
    return Home(home.metadata, home.warehouse, f"t{uuid.uuid4().hex}", home.project, home.state)


class TestOnPostgres(LogConformance):
    @pytest.fixture
    def world(self, postgres_home: Home) -> TableWorld:
        return TableWorld(postgres_home)
