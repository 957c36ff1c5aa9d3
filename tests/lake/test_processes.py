"""Many processes commit to one table at once: all of it is there, none of it twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.testing.target_conformance import LogConformance
from tests.lake.world import TableWorld, home_in, home_on_rest, parts_of_its_own
from tests.seaweed import Seaweed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

nothing_is_lost_or_doubled = (
    LogConformance.test_appends_of_several_processes_are_all_there_and_none_twice
)


def test_eight_processes_commit_fifty_times_each(tmp_path: Path, metadata_url: str) -> None:
    world = TableWorld(home_in(str(tmp_path), metadata_url))
    nothing_is_lost_or_doubled(LogConformance(), world, processes=8, commits=50)
    assert len(world.lake.load(world.spec.ref).metadata.snapshots) == 401


def test_four_processes_commit_ten_times_each_behind_rest(
    tmp_path: Path, seaweed_server: Seaweed
) -> None:
    world = TableWorld(home_on_rest(seaweed_server, str(tmp_path)), parts_of_its_own())
    nothing_is_lost_or_doubled(LogConformance(), world, processes=4, commits=10)
