"""Runs: a plan being carried out. States, what may follow what, and the port of the ledger.

The decisions are here and pure: which steps may start, which can never start, how a run ended.
`bowerbird.workspace.executor` does what they say.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from bowerbird.core.engine import Event
from bowerbird.core.meaning import Tree
from bowerbird.core.plans import Plan, Step
from bowerbird.core.targets import Token


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in _ENDED


_ENDED = {StepState.DONE, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED}


class RunState(StrEnum):
    RUNNING = "running"
    WAITING = "waiting"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in {RunState.DONE, RunState.FAILED, RunState.CANCELLED}


class StepRecord(msgspec.Struct, frozen=True):
    """What the ledger knows of a step.

    attempts: how often it was begun. failures: how often it failed and was to be tried again.
    at_large: attempts (by number) that were begun and did not say that they are over: dead or late,
      so they may still commit. until, why: of a step that waits. error: of one that failed.
    version, meaning: of one that is done. results: small values that it reported (rows, bytes); of
      one that a check refused, what the check found.
    holder: who leased it and has not given the lease back (it may have run out, at `leased_until`).
    """

    id: str
    state: StepState = StepState.PENDING
    attempts: int = 0
    failures: int = 0
    at_large: tuple[int, ...] = ()
    holder: str | None = None
    leased_until: datetime | None = None
    until: datetime | None = None
    why: str = ""
    error: str = ""
    error_kind: str = ""
    version: str | None = None
    meaning: str | None = None
    results: dict[str, Any] = {}
    started: datetime | None = None
    ended: datetime | None = None


class RunRecord(msgspec.Struct, frozen=True):
    """A run: its plan, who asked for it, and how its steps stand (in the plan's order)."""

    id: str
    plan: Plan
    principal: str
    state: RunState
    steps: tuple[StepRecord, ...]
    created: datetime
    ended: datetime | None = None

    def token(self, step_id: str) -> Token:
        return Token(f"{self.id}/{step_id}")

    def step(self, step_id: str) -> StepRecord:
        return next(step for step in self.steps if step.id == step_id)


class Lease(msgspec.Struct, frozen=True):
    """The right to work on a step for a while. It saves work and proves nothing.

    epoch: counts the holders; `Ledger` methods that only the holder may call compare it.
    attempt: the name under which this attempt writes its files.
    """

    name: str
    holder: str
    epoch: int

    @property
    def attempt(self) -> str:
        return f"a{self.epoch}"


class Done(msgspec.Struct, frozen=True):
    """The step committed. meaning: hash of a tree that the ledger keeps; None where unknown."""

    version: str | None
    meaning: str | None
    results: dict[str, Any] = {}


class Failed(msgspec.Struct, frozen=True):
    """The step raised.

    error: what the user is told. kind: the name of the error's class. again: when another attempt
    may start; None: it would end the same. results: of one that a check refused.
    """

    error: str
    kind: str = ""
    again: datetime | None = None
    results: dict[str, Any] = {}


class Waits(msgspec.Struct, frozen=True):
    """The step cannot start yet; it is tried again at `until`."""

    until: datetime
    why: str


class Left(msgspec.Struct, frozen=True):
    """The attempt stopped before it committed (somebody interrupted it); nothing can follow."""


class Burnt(msgspec.Struct, frozen=True):
    """The attempt found its token burnt: somebody cancelled the run, or gave the step up."""


Result = Done | Failed | Waits | Left | Burnt


class Ledger(Protocol):
    """Where runs are recorded. `bowerbird.testing.ledger_conformance` holds every ledger to this.

    Every method is one transaction: done whole, or not at all.
    """

    def start(self, plan: Plan, principal: str) -> RunRecord:
        """Record a run. Raises `RunInProgressError` if a run that has not ended writes a target of
        this one's."""
        ...

    def run(self, run_id: str) -> RunRecord: ...

    def begin(
        self,
        run_id: str,
        step_id: str,
        holder: str,
        ttl: float,
        gone: Callable[[str], bool] = lambda _holder: False,
    ) -> Lease | None:
        """Lease a step for `ttl` seconds by the ledger's clock.

        None if somebody else's lease is alive, the step has ended, or the run is being cancelled.
        gone: whether a holder is known to be dead, so that its lease need not run out first.
        """
        ...

    def renew(self, lease: Lease, ttl: float) -> bool:
        """False if the lease was taken over, or the run is being cancelled."""
        ...

    def finish(self, lease: Lease, result: Result) -> bool:
        """Record how the attempt ended, and give the lease back.

        `Done` is recorded whoever holds the lease by now, since the commit is a fact; the others
        only if this lease is the present one. False: the step had ended already.
        """
        ...

    def keep_meaning(self, tree: Tree) -> str:
        """Keep a meaning tree before anything is committed under its hash, which is returned."""
        ...

    def skip(self, run_id: str, step_id: str, why: str) -> None:
        """A step that can never start, because one that it needs did not end well."""
        ...

    def ask_cancel(self, run_id: str) -> RunRecord:
        """From now on no step of the run begins. Returns the run as it is then."""
        ...

    def settle(self, run_id: str, step_id: str, done: Done | None) -> None:
        """Of a run that is being cancelled: the step committed after all (`done`), or it can not
        any more (None): it holds no lease, or its token is burnt."""
        ...

    def end(self, run_id: str, state: RunState) -> None:
        """Record the state of the whole run. A run that ended keeps its state."""
        ...

    def spared(self) -> frozenset[Token]:
        """Tokens that a run may still look for in a target's history: expiry spares them.

        Those of every step, of a run that has not ended, that was ever begun: one may have
        committed without a record here, and a later step reads what an earlier one made.
        """
        ...


class Journal(Protocol):
    """Is told of everything that happens to steps: for logs, spans and progress on a screen."""

    def started(self, run_id: str, step: Step, attempt: str) -> None: ...

    def told(self, run_id: str, step: Step, event: Event) -> None: ...

    def raised(self, run_id: str, step: Step, error: BaseException) -> None: ...

    def ended(self, run_id: str, step: Step, state: StepState, why: str) -> None: ...


def startable(run: RunRecord, now: datetime) -> list[Step]:
    """The steps that may start: what they need is done, and nobody said to wait longer."""
    records = {record.id: record for record in run.steps}
    found = []
    for step in run.plan.steps:
        record = records[step.id]
        if record.state.ended:
            continue
        if record.until is not None and record.until > now:
            continue
        if all(records[need].state == StepState.DONE for need in step.needs()):
            found.append(step)
    return found


def unreachable(run: RunRecord) -> list[tuple[Step, str]]:
    """The steps that can never start, and why: one that they need did not end well."""
    states: dict[str, StepState] = {record.id: record.state for record in run.steps}
    found: list[tuple[Step, str]] = []
    for step in run.plan.steps:
        if states[step.id].ended:
            continue
        for need in step.needs():
            if states[need].ended and states[need] != StepState.DONE:
                states[step.id] = StepState.SKIPPED
                found.append((step, f"needs {need}, which was {states[need]}"))
                break
    return found


def outcome(run: RunRecord) -> RunState:
    """How a run stands, from how its steps stand."""
    states = [record.state for record in run.steps]
    if any(not state.ended for state in states):
        if run.state == RunState.CANCELLING:
            return RunState.CANCELLING
        waits = [record for record in run.steps if not record.state.ended]
        if all(r.state in (StepState.WAITING, StepState.PENDING) for r in waits) and any(
            r.state == StepState.WAITING for r in waits
        ):
            return RunState.WAITING
        return RunState.RUNNING
    if StepState.FAILED in states:
        return RunState.FAILED
    if StepState.CANCELLED in states:
        return RunState.CANCELLED
    return RunState.DONE


def wake_at(run: RunRecord) -> datetime | None:
    """When the first waiting step may be tried again."""
    return min((r.until for r in run.steps if r.until and not r.state.ended), default=None)
