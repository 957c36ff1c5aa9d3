from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.core.steps import Home
from bowerbird.lake import Lake
from tests.lake.world import TableWorld, home_in


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_in(str(tmp_path))


@pytest.fixture
def lake(home: Home) -> Lake:
    return Lake(home)


@pytest.fixture
def world(home: Home) -> TableWorld:
    return TableWorld(home)
