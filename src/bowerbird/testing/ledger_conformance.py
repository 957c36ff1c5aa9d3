"""What every ledger must do. Subclass `LedgerConformance` and give it a `ledger` fixture.

The suite drives time by a clock of its own, which the ledger must use for leases where it can; a
ledger with the clock of a server overrides `pass_time`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bowerbird.core.errors import RefError, RunInProgressError
from bowerbird.core.plans import Plan, Step
from bowerbird.core.runs import (
    Burnt,
    Done,
    Failed,
    Ledger,
    Left,
    RunState,
    StepState,
    Waits,
    outcome,
)

PLAN = Plan(
    steps=(
        Step("s1", "x.make", "table:shop/one", "missing"),
        Step("s2", "x.make", "table:shop/two", "missing"),
    ),
    wants="w",
)
OTHER = Plan(steps=(Step("s1", "x.make", "table:shop/three", "missing"),))


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def back_off(self, attempt: int) -> None:
        self.sleep(0.1 * attempt)


class LedgerConformance:
    """Inherit, and provide the fixtures `ledger` and `clock`."""

    def pass_time(self, clock: Hand, seconds: float) -> None:
        clock.sleep(seconds)

    def test_a_run_is_recorded_with_its_plan(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        assert ledger.run(run.id) == run
        assert run.plan == PLAN
        assert run.principal == "user:ada"
        assert [step.state for step in run.steps] == [StepState.PENDING] * 2

    def test_an_unknown_run_is_named(self, ledger: Ledger) -> None:
        with pytest.raises(RefError, match="nobody"):
            ledger.run("nobody")

    def test_two_open_runs_never_write_one_target(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        with pytest.raises(RunInProgressError, match=r"table:shop/(one|two)"):
            ledger.start(PLAN, "user:bob")
        assert ledger.start(OTHER, "user:bob").id != run.id
        ledger.end(run.id, RunState.FAILED)
        assert ledger.start(PLAN, "user:bob").state == RunState.RUNNING

    def test_a_step_is_leased_to_one_holder_at_a_time(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        assert ledger.begin(run.id, "s1", "A", 30) is not None
        assert ledger.begin(run.id, "s1", "B", 30) is None
        assert ledger.begin(run.id, "s2", "B", 30) is not None

    def test_a_lease_that_ran_out_is_taken_over_under_a_new_attempt(
        self, ledger: Ledger, clock: Hand
    ) -> None:
        run = ledger.start(PLAN, "user:ada")
        first = ledger.begin(run.id, "s1", "A", 0.2)
        self.pass_time(clock, 0.5)
        second = ledger.begin(run.id, "s1", "B", 30)
        assert first is not None
        assert second is not None
        assert first.attempt != second.attempt
        assert not ledger.renew(first, 30)
        assert ledger.renew(second, 30)

    def test_a_dead_holders_lease_need_not_run_out(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        ledger.begin(run.id, "s1", "A", 3000)
        assert ledger.begin(run.id, "s1", "B", 30, lambda holder: holder == "A") is not None

    def test_done_is_recorded_even_by_who_lost_the_lease(self, ledger: Ledger, clock: Hand) -> None:
        run = ledger.start(PLAN, "user:ada")
        late = ledger.begin(run.id, "s1", "A", 0.2)
        self.pass_time(clock, 0.5)
        ledger.begin(run.id, "s1", "B", 30)
        assert late is not None
        assert ledger.finish(late, Done("v1", "m", {"rows": 3}))
        step = ledger.run(run.id).step("s1")
        assert (step.state, step.version, step.results) == (StepState.DONE, "v1", {"rows": 3})

    def test_failure_is_recorded_only_by_the_holder(self, ledger: Ledger, clock: Hand) -> None:
        run = ledger.start(PLAN, "user:ada")
        late = ledger.begin(run.id, "s1", "A", 0.2)
        self.pass_time(clock, 0.5)
        held = ledger.begin(run.id, "s1", "B", 30)
        assert late is not None
        assert held is not None
        ledger.finish(late, Failed("late", "StepError"))
        assert ledger.run(run.id).step("s1").state == StepState.RUNNING
        assert ledger.run(run.id).step("s1").at_large == (2,)
        ledger.finish(held, Failed("no", "RefusedError", results={"findings": [1]}))
        step = ledger.run(run.id).step("s1")
        assert (step.error, step.results) == ("no", {"findings": [1]})

    def test_what_ended_stays_as_it_ended(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        lease = ledger.begin(run.id, "s1", "A", 30)
        assert lease is not None
        assert ledger.finish(lease, Done("v1", "m"))
        assert not ledger.finish(lease, Failed("no", "StepError"))
        assert not ledger.finish(lease, Done("v2", "m"))
        ledger.skip(run.id, "s1", "why")
        ledger.settle(run.id, "s1", None)
        assert ledger.run(run.id).step("s1").version == "v1"
        assert ledger.begin(run.id, "s1", "A", 30) is None

    def test_a_step_that_waits_holds_no_lease(self, ledger: Ledger, clock: Hand) -> None:
        run = ledger.start(PLAN, "user:ada")
        lease = ledger.begin(run.id, "s1", "A", 30)
        assert lease is not None
        ledger.finish(lease, Waits(clock.now() + timedelta(hours=1), "too early"))
        step = ledger.run(run.id).step("s1")
        assert (step.state, step.holder, step.why) == (StepState.WAITING, None, "too early")

    def test_an_attempt_that_left_leaves_the_step_as_it_was(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        lease = ledger.begin(run.id, "s1", "A", 30)
        assert lease is not None
        ledger.finish(lease, Left())
        step = ledger.run(run.id).step("s1")
        assert (step.state, step.holder, step.at_large) == (StepState.PENDING, None, ())

    def test_nothing_begins_in_a_run_that_is_being_cancelled(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        lease = ledger.begin(run.id, "s1", "A", 30)
        assert lease is not None
        asked = ledger.ask_cancel(run.id)
        assert asked.state == RunState.CANCELLING
        assert asked.step("s1").at_large == (1,)
        assert ledger.begin(run.id, "s2", "A", 30) is None
        assert not ledger.renew(lease, 30)
        ledger.finish(lease, Burnt())
        ledger.settle(run.id, "s2", None)
        assert outcome(ledger.run(run.id)) == RunState.CANCELLED

    def test_a_step_whose_token_was_burnt_has_failed(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        lease = ledger.begin(run.id, "s1", "A", 30)
        assert lease is not None
        ledger.finish(lease, Burnt())
        assert ledger.run(run.id).step("s1").state == StepState.FAILED

    def test_begun_tokens_of_open_runs_are_spared(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        ledger.begin(run.id, "s1", "A", 30)
        assert ledger.spared() == {run.token("s1")}
        ledger.end(run.id, RunState.FAILED)
        assert ledger.spared() == frozenset()

    def test_a_meaning_is_kept_under_its_hash(self, ledger: Ledger) -> None:
        assert ledger.keep_meaning({"a": 1}) == ledger.keep_meaning({"a": 1})
        assert ledger.keep_meaning({"a": 1}) != ledger.keep_meaning({"a": 2})

    def test_a_run_that_ended_keeps_its_state(self, ledger: Ledger) -> None:
        run = ledger.start(PLAN, "user:ada")
        ledger.end(run.id, RunState.DONE)
        ledger.end(run.id, RunState.FAILED)
        ledger.ask_cancel(run.id)
        assert ledger.run(run.id).state == RunState.DONE

    def test_a_clock_that_jumps_back_delays_and_breaks_nothing(
        self, ledger: Ledger, clock: Hand
    ) -> None:
        run = ledger.start(PLAN, "user:ada")
        lease = ledger.begin(run.id, "s1", "A", 30)
        clock.time -= timedelta(days=1)
        assert lease is not None
        assert ledger.begin(run.id, "s1", "B", 30) is None
        assert ledger.renew(lease, 30)
        assert ledger.finish(lease, Done("v1", "m"))
        assert ledger.start(OTHER, "user:bob").id != run.id
