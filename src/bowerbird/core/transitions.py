"""What may follow what: pure functions from how a step stands to how it stands next.

Every ledger applies these inside its own transactions, so the database's and the simulated one
cannot differ in what they decide.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from bowerbird.core.runs import (
    Burnt,
    Done,
    Failed,
    Lease,
    Left,
    Result,
    RunState,
    StepRecord,
    StepState,
    Waits,
)


def begin(
    run: RunState, step: StepRecord, holder: str, now: datetime, ttl: float, *, gone: bool
) -> StepRecord | None:
    """The step, leased to `holder`; None if it may not begin. gone: its last holder is dead."""
    if run not in (RunState.RUNNING, RunState.WAITING) or step.state.ended:
        return None
    alive = step.leased_until is not None and step.leased_until > now and not gone
    if step.holder is not None and alive:
        return None
    return replace(
        step,
        state=StepState.RUNNING,
        attempts=step.attempts + 1,
        at_large=(*step.at_large, step.attempts + 1),
        holder=holder,
        leased_until=now + timedelta(seconds=ttl),
        until=None,
        why="",
        started=step.started or now,
    )


def renew(
    run: RunState, step: StepRecord, lease: Lease, now: datetime, ttl: float
) -> StepRecord | None:
    """The step with its lease made longer; None if the lease was lost or the run is cancelled."""
    if run == RunState.CANCELLING or run.ended or not _holds(step, lease):
        return None
    return replace(step, leased_until=now + timedelta(seconds=ttl))


def finish(
    run: RunState, step: StepRecord, lease: Lease, result: Result, now: datetime
) -> StepRecord | None:
    """The step after an attempt ended; None if there is nothing to record.

    An attempt whose lease was lost decides nothing about the step, but it is no longer at large.
    """
    if step.state.ended:
        return None
    if isinstance(result, Done):
        return _done(step, result, now)
    at_large = tuple(number for number in step.at_large if number != lease.epoch)
    if not _holds(step, lease):
        return replace(step, at_large=at_large)
    free = replace(step, at_large=at_large, holder=None, leased_until=None)
    match result:
        case Waits(until, why):
            return replace(free, state=StepState.WAITING, until=until, why=why)
        case Left():
            return replace(free, state=StepState.PENDING)
        case Burnt() if run == RunState.CANCELLING:
            return replace(free, state=StepState.CANCELLED, ended=now)
        case Burnt():
            why = "another attempt gave the step up"
            return replace(free, state=StepState.FAILED, error=why, error_kind="", ended=now)
        case Failed(error, kind, None, results):
            fails = replace(free, state=StepState.FAILED, error=error, error_kind=kind, ended=now)
            return replace(fails, results=results)
        case Failed(error, kind, again):
            waits = replace(free, state=StepState.WAITING, until=again, why=error)
            return replace(waits, error=error, error_kind=kind, failures=step.failures + 1)


def skip(step: StepRecord, why: str) -> StepRecord | None:
    """The step, never to start; None if it ended already."""
    return None if step.state.ended else replace(step, state=StepState.SKIPPED, why=why)


def settle(step: StepRecord, result: Done | None, now: datetime) -> StepRecord | None:
    """The step of a cancelled run: done after all, or cancelled for good."""
    if step.state.ended:
        return None
    if result is not None:
        return _done(step, result, now)
    free = replace(step, holder=None, leased_until=None, at_large=())
    return replace(free, state=StepState.CANCELLED, ended=now)


def _done(step: StepRecord, result: Done, now: datetime) -> StepRecord:
    return replace(
        step,
        state=StepState.DONE,
        holder=None,
        leased_until=None,
        at_large=(),
        version=result.version,
        meaning=result.meaning,
        results=result.results,
        why="",
        error="",
        ended=now,
    )


def _holds(step: StepRecord, lease: Lease) -> bool:
    return step.holder == lease.holder and step.attempts == lease.epoch
