"""The protocol of a change, explored. docs/protocol.md numbers what must hold."""

from __future__ import annotations

import os

import pytest

from bowerbird.core.runs import RunState
from bowerbird.core.targets import Change, Committed, History, LogTarget, Token, Version, judge
from bowerbird.testing.memory import MemoryLog
from tests.simulation.explore import MakeWorld, drawn, failure, shortest, singles, story
from tests.simulation.world import Act, World

SEED = int(os.environ.get("BOWERBIRD_SIMULATION_SEED", "20261124"))
COUNT = int(os.environ.get("BOWERBIRD_SIMULATION_COUNT", "6000"))
CALLS = 90


def test_an_undisturbed_run_ends_done() -> None:
    world = World(())
    assert world.play().state == RunState.DONE


@pytest.mark.slow
def test_no_single_disturbance_breaks_an_invariant() -> None:
    for schedule in singles(CALLS):
        assert not failure(World, schedule), story(World, schedule)


@pytest.mark.slow
def test_no_drawn_schedule_breaks_an_invariant() -> None:
    for schedule in drawn(SEED, COUNT, CALLS):
        assert not failure(World, schedule), story(World, schedule, SEED)


class RebasesSilently(MemoryLog):
    """PyIceberg's own retry: on conflict it commits on top of whatever the head is by then."""

    def append(self, onto: History, token: Token, change: Change | None) -> Version:
        return self.put(self.load(), token, change)


class TrustsItsLease(LogTarget):
    """ "I looked when I began, and I hold the lease": the commit does not look for the token."""

    def commit(self, token: Token, base: Version | None, change: Change) -> Committed:
        while True:
            history = self._log.load()
            judge(self._log.name, history, Token("-"), base, ())
            try:
                return Committed(self._log.append(history, token, change), change.attempt)
            except Exception:
                continue


class ForgetsWhatLiesBetween(MemoryLog):
    """Spares the commits of unrecorded tokens, but not those between them and the head."""

    def expire(self, spare: frozenset[Token]) -> None:
        keep = {v for v, s in self.snapshots.items() if s.entry.token in spare} | {self.head}
        self.snapshots = {v: s for v, s in self.snapshots.items() if v in keep}


PLANTED: dict[str, MakeWorld] = {
    "a silent rebase": lambda schedule: World(schedule, make_log=RebasesSilently),
    "a lease taken for a fence": lambda schedule: World(schedule, make_target=TrustsItsLease),
    "an expiry that forgets unrecorded tokens": lambda schedule: World(schedule, forgetful=True),
    "an expiry that cuts the chain": lambda s: World(s, make_log=ForgetsWhatLiesBetween),
}


LONG_TO_FIND = pytest.param("an expiry that cuts the chain", marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug", [*(bug for bug in PLANTED if bug not in LONG_TO_FIND.values), LONG_TO_FIND]
)
def test_a_planted_bug_is_found(bug: str) -> None:
    make = PLANTED[bug]
    few = (Act.CRASH, Act.WAKE_LATE, Act.APPEND, Act.EXPIRE)
    for schedule in [*singles(CALLS), *drawn(SEED, 4000, CALLS), *drawn(SEED, 4000, 40, few)]:
        if failure(make, schedule):
            found = shortest(make, schedule)
            assert len(found) <= 4
            assert not failure(World, found), "the protocol as it is stands this schedule"
            return
    pytest.fail(f"no schedule shows {bug}")


@pytest.mark.slow
def test_an_expiry_from_outside_never_costs_a_file_that_is_read() -> None:
    for schedule in [*singles(CALLS), *drawn(SEED, 4000, CALLS)]:
        broken = failure(PLANTED["an expiry that forgets unrecorded tokens"], schedule)
        assert not any("was deleted" in what for what in broken), schedule


def test_every_kind_of_disturbance_is_drawn() -> None:
    assert {act for schedule in drawn(SEED, COUNT, CALLS) for _, act in schedule} == set(Act)
