"""The executor: carries a plan out, whatever dies on the way.

For each step, when its inputs are there: lease it (saves work; proves nothing), let the engine
write files that nobody sees yet, commit once by token, record it. `docs/protocol.md` numbers the
rules; ``tests/simulation`` drives this very code through crashes, pauses and strangers at every
call that it makes to a port.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import Executor as Pool
from datetime import timedelta
from threading import Event as Flag
from typing import Any, NamedTuple

from msgspec.structs import replace

from bowerbird.core.clock import Clock
from bowerbird.core.engine import Engine, Outcome
from bowerbird.core.errors import (
    BowerbirdError,
    CancelledError,
    PlanAgainError,
    RefusedError,
    StepError,
)
from bowerbird.core.faults import point
from bowerbird.core.plans import Pinned, Step, meaning
from bowerbird.core.runs import (
    Burnt,
    Done,
    Failed,
    Journal,
    Lease,
    Ledger,
    Left,
    Result,
    RunRecord,
    RunState,
    StepState,
    Waits,
    outcome,
    startable,
    unreachable,
    wake_at,
)
from bowerbird.core.steps import Home, NotYet, StepKind, TargetKind, Work
from bowerbird.core.targets import Change, Committed, Read, Target, Token


class Ports(NamedTuple):
    """Everything outside that the executor touches.

    kinds: step kind -> its value. target: opens the target of a step.
    gone: whether the holder of a lease is known to be dead.
    """

    ledger: Ledger
    kinds: Callable[[str], StepKind]
    target: Callable[[TargetKind, Step], Target]
    engine: Engine
    clock: Clock
    home: Home
    journal: Journal
    gone: Callable[[str], bool] = lambda _holder: False


class Executor:
    """Carries out runs under one holder's name.

    holder: names this process in leases. ttl: seconds a lease lasts without being renewed.
    pool: where steps run side by side; None: one after another, in the caller's thread.
    """

    def __init__(
        self, ports: Ports, holder: str, *, ttl: float = 30.0, pool: Pool | None = None
    ) -> None:
        self._ports = ports
        self._holder = holder
        self._ttl = ttl
        self._pool = pool
        self.attempts: dict[str, Attempt] = {}
        """The steps in flight, for whoever renews their leases (`workspace.heartbeat`)."""

    def carry_out(
        self, run_id: str, *, patience: float = 60.0, stop: Flag | None = None
    ) -> RunRecord:
        """Carry the run on until it has ended, or waits for something further off than `patience`
        seconds.

        Another process may carry the same run out at the same time: they share its steps. Setting
        `stop` ends the attempts in flight and gives their leases back.
        """
        flights: dict[str, Future[None]] = {}
        stop = stop or Flag()
        while True:
            run = self._ports.ledger.run(run_id)
            if run.state == RunState.CANCELLING and not flights:
                return self.cancel(run_id)
            if not stop.is_set() and self._advance(run, stop, flights):
                continue
            if flights:
                self._land(flights)
            elif stop.is_set():
                return run
            elif (ended := self._ended(run_id, patience)) is not None:
                return ended

    def _advance(self, run: RunRecord, stop: Flag, flights: dict[str, Future[None]]) -> bool:
        """Begin what can begin, skip what never can. False: there is nothing to do but wait."""
        moved = False
        for step, why in unreachable(run):
            self._ports.ledger.skip(run.id, step.id, why)
            self._ports.journal.ended(run.id, step, StepState.SKIPPED, why)
            moved = True
        for step in startable(run, self._ports.clock.now()):
            if step.id not in flights:
                moved = self._launch(run, step, stop, flights) or moved
        return moved

    def _ended(self, run_id: str, patience: float) -> RunRecord | None:
        """The run, if nothing is left to do here; None after a moment's sleep otherwise."""
        run = self._ports.ledger.run(run_id)
        state, now = outcome(run), self._ports.clock.now()
        until = wake_at(run)
        if state == RunState.WAITING and until and until > now + timedelta(seconds=patience):
            self._ports.ledger.end(run_id, state)
            return self._ports.ledger.run(run_id)
        if not state.ended:
            # Others work on it, or its steps wait for a moment.
            seconds = (until - now).total_seconds() if until else 0.5
            self._ports.clock.sleep(min(max(seconds, 0.05), 1.0))
            return None
        self._sweep_again(run)
        self._ports.ledger.end(run_id, state)
        return self._ports.ledger.run(run_id)

    def cancel(self, run_id: str) -> RunRecord:
        """Cancel the run: when this returns, none of its steps can commit any more.

        A step whose lease was not given back may have a process behind it that wakes up later: its
        token is burnt. One that committed before that is done, not cancelled.
        """
        run = self._ports.ledger.ask_cancel(run_id)
        for record in run.steps:
            if record.state.ended:
                continue
            step = run.plan.step(record.id)
            done = self._burn(run, step) if record.at_large else None
            self._ports.ledger.settle(run_id, record.id, done)
            state = StepState.DONE if done else StepState.CANCELLED
            self._ports.journal.ended(run_id, step, state, "")
        self._ports.ledger.end(run_id, outcome(self._ports.ledger.run(run_id)))
        return self._ports.ledger.run(run_id)

    def _burn(self, run: RunRecord, step: Step) -> Done | None:
        kind = self._ports.kinds(step.kind)
        if kind.target == TargetKind.NONE:
            return None
        target, token = self._ports.target(kind.target, step), run.token(step.id)
        point("executor.burn.before")
        found = target.burn(token)
        point("executor.burn.after")
        if found.burnt:
            self._sweep(target, step, token, found)
            return None
        return _done(found)

    def _launch(
        self, run: RunRecord, step: Step, stop: Flag, flights: dict[str, Future[None]]
    ) -> bool:
        """Begin the step, if nobody else works on it."""
        lease = self._ports.ledger.begin(run.id, step.id, self._holder, self._ttl, self._ports.gone)
        if lease is None:
            return False
        if self._pool is None:
            self._attempt(run, step, lease, stop)
        else:
            flights[step.id] = self._pool.submit(self._attempt, run, step, lease, stop)
        return True

    def _land(self, flights: dict[str, Future[None]]) -> None:
        """Wait for a step in flight to end (or a moment: there may be more to begin)."""
        done, _ = wait(flights.values(), timeout=0.5, return_when=FIRST_COMPLETED)
        for step_id in [name for name, future in flights.items() if future in done]:
            flights.pop(step_id).result()

    def _attempt(self, run: RunRecord, step: Step, lease: Lease, stop: Flag) -> None:
        """One attempt, whatever comes of it recorded. Only a lost ledger can raise."""
        attempt = Attempt(lease, stop)
        self.attempts[lease.name] = attempt
        journal = self._ports.journal
        journal.started(run.id, step, lease.attempt)
        result: Result
        why = ""
        try:
            result = self._carry(run, step, attempt)
        except NotYet as verdict:
            result, why = Waits(verdict.until, verdict.problem), verdict.problem
        except CancelledError:
            result, why = Left(), "interrupted"
        except Exception as error:  # noqa: BLE001 - what a step raises is a result of the step
            journal.raised(run.id, step, error)
            result, why = self._failure(run, step, attempt, error)
        finally:
            self.attempts.pop(lease.name, None)
        if not isinstance(result, Done) and not attempt.committing:
            self._discard(run, step, lease)
        self._ports.ledger.finish(lease, result)
        point("executor.recorded")
        journal.ended(run.id, step, _STATES[type(result)], why)

    def _carry(self, run: RunRecord, step: Step, attempt: Attempt) -> Done | Burnt:
        """The four steps of a change."""
        kind = self._ports.kinds(step.kind)
        if kind.target == TargetKind.NONE:
            work = self._work(run, step, attempt, "")
            return Done(None, work.meaning, dict(self._make(run.id, kind, work, attempt).results))
        target, token = self._ports.target(kind.target, step), run.token(step.id)
        found = target.find(token, step.base)
        if found is None:
            files = target.files(token, attempt.lease.attempt)
            work = self._work(run, step, attempt, files)
            change = self._make(run.id, kind, work, attempt)
            found = self._commit(target, work, change, attempt)
        self._sweep(target, step, token, found)
        return Burnt() if found.burnt else _done(found)

    def _work(self, run: RunRecord, step: Step, attempt: Attempt, files: str) -> Work:
        """What the attempt works on: its inputs resolved, so that its meaning is known."""
        inputs = self._inputs(run, step)
        data, keep = (
            {ref: read.data for ref, read in inputs.items()},
            self._ports.ledger.keep_meaning,
        )
        hashed = keep(meaning(step.definition, data))
        of_cells = {c: keep(meaning(step.definition, data | d)) for c, d in step.cells.items()}
        token, name = run.token(step.id), attempt.lease.attempt
        home, engine = self._ports.home, self._ports.engine.name
        return Work(step, token, name, hashed, inputs, files, home, of_cells, engine)

    def _commit(self, target: Target, work: Work, change: Change, attempt: Attempt) -> Committed:
        point("executor.commit.before")
        attempt.committing = True
        try:
            found = target.commit(Token(work.token), work.step.base, change)
        except PlanAgainError:
            attempt.committing = False
            raise
        point("executor.commit.after")
        return found

    def _make(self, run_id: str, kind: StepKind, work: Work, halt: Attempt) -> Change:
        """Let the engine run the step's tasks, and say what to commit."""
        started = self._ports.clock.now()
        outcomes: list[Outcome] = []
        running = self._ports.engine.run(
            kind.tasks(work),
            setup=kind.setup(work) if kind.setup else None,
            gang=kind.gang,
            cancel=halt,
            on_event=lambda event: self._ports.journal.told(run_id, work.step, event),
        )
        for ended in running:
            ended.result()
            outcomes.append(ended)
        point("executor.tasks.done")
        change = kind.change(work, outcomes)
        used = _usage(outcomes, self._ports.clock.now() - started)
        return replace(change, meaning=work.meaning, results={**used, **change.results})

    def _inputs(self, run: RunRecord, step: Step) -> dict[str, Read]:
        """What to read of each input: as the plan pinned it, or as the run's steps made it."""
        steps = {other.id: other for other in run.plan.steps}
        inputs: dict[str, Read] = {}
        for ref, value in step.inputs.items():
            if isinstance(value, Pinned):
                inputs[ref] = Read(value.version, pinned=value.data)
                continue
            maker = steps[value.steps[0]]
            target = self._ports.target(self._ports.kinds(maker.kind).target, maker)
            inputs[ref] = target.read([run.token(made) for made in value.steps])
        return inputs

    def _failure(
        self, run: RunRecord, step: Step, attempt: Attempt, error: Exception
    ) -> tuple[Failed | Done | Left, str]:
        """What a step that raised has come to. One that is given up must not commit later."""
        kind = self._ports.kinds(step.kind)
        record = self._ports.ledger.run(run.id).step(step.id)
        failures = record.failures + 1
        name = type(error).__name__
        ours = error if isinstance(error, BowerbirdError) else StepError(f"{name}: {error}")
        text = str(ours)
        if ours.retryable and failures < kind.tries:
            wait_for = timedelta(seconds=2.0 ** min(failures, 6) / 2)
            return Failed(text, name, self._ports.clock.now() + wait_for), text
        if record.attempts != attempt.lease.epoch:
            return Left(), f"its lease was lost, and then: {text}"
        # Another attempt may still be at it, and our own commit may have gone through unheard:
        # only then is there something to burn.
        others = set(record.at_large) - {attempt.lease.epoch}
        if others or attempt.committing:
            done = self._burn(run, step)
            if done is not None:
                return done, "it had committed before"
        found = ours.results if isinstance(ours, RefusedError) else {}
        return Failed(text, name, results=found), text

    def _discard(self, run: RunRecord, step: Step, lease: Lease) -> None:
        """Delete what this attempt wrote; it can not commit any more."""
        kind = self._ports.kinds(step.kind)
        if kind.target not in (TargetKind.NONE, TargetKind.OBJECT):
            target = self._ports.target(kind.target, step)
            target.discard(run.token(step.id), lease.attempt)

    def _sweep(self, target: Target, step: Step, token: Token, found: Committed) -> None:
        """Delete the files of the attempts that did not commit.

        A burnt token may hide a commit that somebody outside has expired: where the history has a
        gap, files stay, for maintenance to look into.
        """
        if not found.burnt:
            target.sweep(token, found.attempt)
        elif target.reaches(step.base):
            target.sweep(token, None)

    def _sweep_again(self, run: RunRecord) -> None:
        """Attempts that died may have left files after the winner swept: once more, at the end."""
        for record in run.steps:
            step = run.plan.step(record.id)
            kind = self._ports.kinds(step.kind).target if record.attempts > 1 else TargetKind.NONE
            if kind in (TargetKind.NONE, TargetKind.OBJECT):
                continue
            target, token = self._ports.target(kind, step), run.token(step.id)
            try:
                found = target.find(token, step.base)
            except PlanAgainError:
                continue
            if found is not None:
                self._sweep(target, step, token, found)


class Attempt:
    """An attempt at a step in flight.

    committing: its commit was begun, so it may have gone through even if nobody heard of it.
    """

    def __init__(self, lease: Lease, stop: Flag) -> None:
        self.lease = lease
        self.committing = False
        self._stop = stop
        self._lost = Flag()

    def lose(self) -> None:
        """Its lease was lost: stop, somebody else is at it."""
        self._lost.set()

    def is_set(self) -> bool:
        """Whether to stop: engines ask."""
        return self._stop.is_set() or self._lost.is_set()


_STATES = {
    Done: StepState.DONE,
    Waits: StepState.WAITING,
    Failed: StepState.FAILED,
    Left: StepState.PENDING,
    Burnt: StepState.CANCELLED,
}


def _done(found: Committed) -> Done:
    return Done(found.version, found.meaning, dict(found.results))


def _usage(outcomes: list[Outcome], took: timedelta) -> dict[str, Any]:
    """What the step took: wall and CPU seconds, and the peak resident bytes of its largest task."""
    used = [outcome.usage for outcome in outcomes if outcome.usage is not None]
    return {
        "seconds": round(took.total_seconds(), 3),
        "cpu_seconds": round(sum(usage.cpu_seconds for usage in used), 3),
        "peak_bytes": max((usage.peak_bytes for usage in used), default=0),
        "tasks": len(outcomes),
    }
