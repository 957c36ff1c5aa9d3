"""A world in which every call to a port is a place where anything may happen.

The executor under test is the real one, its code unchanged; each process is a greenlet. Before each
call to ledger, log or engine the process hands over to the scheduler, which lets it go on, lets
another go on, kills it, or lets a stranger act. A schedule is the list of these disturbances, each
at a numbered call, so it can be run again and cut shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from greenlet import greenlet

from bowerbird.core.clock import Clock
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.errors import BowerbirdError, LostWorkerError, StepError, UnavailableError
from bowerbird.core.plans import OutputOf, Pinned, Plan, Step
from bowerbird.core.runs import RunRecord, RunState, StepState
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import Change, Entry, LogTarget, Target
from bowerbird.testing.memory import MemoryLedger, MemoryLog
from bowerbird.workspace.executor import Executor, Ports

TTL = 30.0


class Act(StrEnum):
    """What may happen at a call."""

    CRASH = "the process dies"
    SWITCH = "the process pauses, another goes on"
    WAKE_LATE = "the process pauses until its lease has run out"
    LOSE_ANSWER = "the call is done, but its answer gets lost"
    CANCEL = "somebody cancels the run"
    APPEND = "a stranger appends rows"
    OVERWRITE = "a stranger overwrites a cell"
    SET_BACK = "a stranger sets the head of a table back"
    EXPIRE = "old commits are expired"
    COMPACT = "a table is compacted"
    FAIL = "the next task raises"
    LOSE_WORKER = "the next task loses its worker"


Schedule = tuple[tuple[int, Act], ...]


class Died(BaseException):
    """A simulated crash: no `except Exception` of the house may catch it."""


class LostAnswer(BaseException):
    """Thrown into a call: do it, then lose the answer."""


class SimClock:
    """Time moves a little at each call, and far when everybody sleeps."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self._world.asleep()

    def back_off(self, attempt: int) -> None:
        self._world.asleep()


class Watched:
    """A port, each call to which is a point of the schedule."""

    def __init__(self, world: World, port: Any, name: str) -> None:
        self._world, self._port, self._name = world, port, name

    def __getattr__(self, method: str) -> Any:
        inner = getattr(self._port, method)
        if not callable(inner):
            return inner

        def call(*args: Any, **kwargs: Any) -> Any:
            lost = self._world.point(f"{self._name}.{method}")
            answer = inner(*args, **kwargs)
            if lost and method in ("append", "finish", "begin"):
                raise UnavailableError(f"{self._name} did not answer")
            return answer

        return call


class SimEngine:
    """Runs a task by noting that the attempt's file exists now."""

    name = "simulated"

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, tasks: Iterable[Task], **_ports: Any) -> Iterator[Outcome]:
        for task in tasks:
            self._world.point("engine.task")
            log, token, attempt = task.args
            self._world.logs[log].attempts.add((token, attempt))
            error, self._world.failing = self._world.failing, None
            yield Outcome(task.key, error=error)

    def close(self) -> None: ...


class SilentJournal:
    def started(self, *_: Any) -> None: ...
    def told(self, *_: Any) -> None: ...
    def raised(self, *_: Any) -> None: ...
    def ended(self, *_: Any) -> None: ...


def overwrite(work: Work) -> Change:
    cell = work.step.cell
    rows = {cell: [f"{work.token}"]}
    return Change(work.attempt, makes={cell: work.meaning}, overwrites=(cell,), payload=rows)


def append(work: Work) -> Change:
    return Change(work.attempt, payload={work.step.cell: [f"{work.token}"]})


def kind(change: Callable[[Work], Change]) -> StepKind:
    return StepKind(
        TargetKind.TABLE,
        tasks=lambda work: [Task("t", "-", (work.step.target, work.token, work.attempt))],
        change=lambda work, _outcomes: change(work),
    )


KINDS = {"overwrite": kind(overwrite), "append": kind(append)}

PLAN = Plan(
    steps=(
        Step("s1", "overwrite", "table:sim/one", "missing", cell="a"),
        Step("s2", "append", "table:sim/one", "missing", cell="b"),
        Step(
            "s3",
            "overwrite",
            "table:sim/two",
            "missing",
            cell="*",
            inputs={"table:sim/one": OutputOf(("s1", "s2")), "table:sim/zero": Pinned(None)},
        ),
    )
)


@dataclass
class Process:
    name: str
    body: greenlet
    crashed: bool = False
    started: bool = False

    @property
    def alive(self) -> bool:
        return not self.crashed and not self.body.dead


@dataclass
class World:
    """One execution of one schedule.

    make_log, make_target, forgetful: where a known bug can be planted.
    """

    schedule: Schedule
    make_log: Callable[[str], MemoryLog] = MemoryLog
    make_target: Callable[[Any, Clock], Target] = LogTarget
    forgetful: bool = False
    trace: list[str] = field(default_factory=list)
    strangers: dict[str, list[str]] = field(default_factory=dict)
    disturbed: set[Act] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.clock = SimClock(self)
        self.ledger = MemoryLedger(self.clock)
        self.logs = {name: self.make_log(name) for name in ("table:sim/one", "table:sim/two")}
        self.calls = 0
        self.failing: BowerbirdError | None = None
        self.acts = dict(self.schedule)
        self.current: Process | None = None
        self.late: list[tuple[Process, datetime]] = []
        for log in self.logs.values():
            log.add(
                Entry("", None, changed=frozenset({"old"}), author="before"),
                {"old": (("r0", "-"),)},
            )
        base = {name: log.head for name, log in self.logs.items()}
        steps = tuple(_on(step, base[step.target]) for step in PLAN.steps)
        self.plan = Plan(steps)

    # -- what happens ------------------------------------------------------------------------

    def play(self) -> RunRecord:
        """Two processes carry out one run under the schedule; then a third one, undisturbed."""
        run_id = self.ledger.start(self.plan, "sim").id
        self.run_id = run_id
        self.processes = [self.process("A"), self.process("B")]
        self._schedule()
        self.acts = {}
        self.clock.time += timedelta(seconds=2 * TTL)
        self.processes.append(self.process("C"))
        self._schedule()
        return self.ledger.run(run_id)

    def process(self, name: str, cancels: bool = False) -> Process:
        ports = Ports(
            ledger=Watched(self, self.ledger, "ledger"),  # type: ignore[arg-type]
            kinds=lambda kind: KINDS[kind],
            target=lambda _, step: self.make_target(
                Watched(self, self.logs[step.target], step.target.rpartition("/")[2]), self.clock
            ),
            engine=SimEngine(self),
            clock=self.clock,
            home=Home("", "", "", "", ""),
            journal=SilentJournal(),
        )
        executor = Executor(ports, name, ttl=TTL)
        action = executor.cancel if cancels else executor.carry_out
        process = Process(name, greenlet(lambda: self._live(process, action)))
        return process

    def _live(self, process: Process, action: Callable[[str], object]) -> None:
        try:
            action(self.run_id)
        except Died:
            process.crashed = True
        except UnavailableError:
            process.crashed = True  # it ended with an error; another process resumes the run

    def _schedule(self) -> None:
        while alive := [p for p in self.processes if p.alive]:
            awake = [p for p in alive if not self._sleeps_late(p)]
            if not awake:
                self.clock.time += timedelta(seconds=2 * TTL)
                self.late.clear()
                continue
            if self.current not in awake:
                self.current = awake[0]
            self.current.body.switch()

    def _sleeps_late(self, process: Process) -> bool:
        return any(p is process and self.clock.time < until for p, until in self.late)

    # -- points ------------------------------------------------------------------------------

    def point(self, label: str) -> bool:
        """A call to a port is about to be made. True: its answer is to be lost."""
        self.calls += 1
        if self.calls > 3000:
            raise AssertionError("the run does not end")
        self.clock.time += timedelta(milliseconds=10)
        act = self.acts.get(self.calls)
        who = self.current.name if self.current else "?"
        self.trace.append(f"{self.calls:4} {who} {label}" + (f"   <- {act}" if act else ""))
        if act is None:
            return False
        self.disturbed.add(act)
        return self._disturb(act)

    def asleep(self) -> None:
        """The current process sleeps: another may go on."""
        self.clock.time += timedelta(milliseconds=500)
        self.calls += 1
        if self.calls > 3000:
            raise AssertionError("the run does not end")
        self._pause()

    def _pause(self) -> None:
        process = self.current
        assert process is not None
        others = [p for p in self.processes if p.alive and p is not process]
        awake = [p for p in others if not self._sleeps_late(p)]
        self.current = awake[0] if awake else process
        hub = process.body.parent
        assert hub is not None
        hub.switch()

    def _disturb(self, act: Act) -> bool:
        one = self.logs["table:sim/one"]
        match act:
            case Act.CRASH:
                raise Died
            case Act.SWITCH:
                self._pause()
            case Act.WAKE_LATE:
                assert self.current is not None
                self.late.append((self.current, self.clock.time + timedelta(seconds=2 * TTL)))
                self._pause()
            case Act.LOSE_ANSWER:
                return True
            case Act.CANCEL:
                self.processes.append(self.process(f"X{self.calls}", cancels=True))
                self._pause_for(self.processes[-1])
            case Act.APPEND:
                self._stranger(one, "z", over=False)
            case Act.OVERWRITE:
                self._stranger(one, "a", over=True)
            case Act.SET_BACK:
                if one.head and one.snapshots[one.head].parent in one.snapshots:
                    one.head = one.snapshots[one.head].parent
            case Act.EXPIRE:
                for log in self.logs.values():
                    log.expire(frozenset() if self.forgetful else self.ledger.spared())
            case Act.FAIL:
                self.failing = StepError("ValueError: no")
            case Act.LOSE_WORKER:
                self.failing = LostWorkerError("killed")
            case Act.COMPACT:
                one.add(Entry("", None, author="compaction"), dict(one.rows()))
        return False

    def _pause_for(self, process: Process) -> None:
        me = self.current
        assert me is not None
        self.current = process
        hub = me.body.parent
        assert hub is not None
        hub.switch()

    def _stranger(self, log: MemoryLog, cell: str, *, over: bool) -> None:
        name = f"stranger{self.calls}"
        rows = dict(log.rows())
        rows[cell] = (() if over else rows.get(cell, ())) + ((name, "-"),)
        log.add(Entry("", None, changed=frozenset({cell}), author="stranger"), rows)
        self.strangers.setdefault(cell, []).append(name)


def _on(step: Step, base: str | None) -> Step:
    import msgspec

    return msgspec.structs.replace(step, base=base)


# -- what must hold ------------------------------------------------------------------------------


def broken(world: World, run: RunRecord) -> list[str]:
    """Which invariants of ``docs/protocol.md`` the end state breaks; none, if all is well."""
    found: list[str] = []
    for step in world.plan.steps:
        token, state = run.token(step.id), run.step(step.id).state
        log = world.logs[step.target]
        rows = [row for cell in log.rows().values() for row, _ in cell if row == token]
        commits = [e for e in log.load().entries if e.token == token]
        real = [e for e in commits if not e.burnt]
        if len(commits) > 1 or len(rows) > 1:
            found.append(f"P1 once: {step.id} stands {max(len(commits), len(rows))} times")
        over = state in (StepState.CANCELLED, StepState.FAILED, StepState.SKIPPED)
        if over and (real or rows) and Act.SET_BACK not in world.disturbed:
            found.append(f"P2 no commit unrecorded: {step.id} is {state}, and it committed")
        if state == StepState.DONE and not rows and not world.disturbed & _MAY_REMOVE:
            found.append(f"P3 nothing lost: {step.id} is done, and its rows are gone")
    if not run.state.ended:
        found.append(f"P4 every run ends: it is {run.state}")
    found += _strangers_rows(world) + _files(world)
    lost_workers = sum(act == Act.LOSE_WORKER for _, act in world.schedule)
    may_stop = world.disturbed & _MAY_STOP or lost_workers >= 3
    if not may_stop and run.state != RunState.DONE:
        found.append(f"P7 same end: nothing stopped it, and the run is {run.state}")
    return found


_MAY_REMOVE = {Act.SET_BACK, Act.OVERWRITE}
_MAY_STOP = {Act.CANCEL, Act.OVERWRITE, Act.SET_BACK, Act.EXPIRE, Act.FAIL}


def _strangers_rows(world: World) -> list[str]:
    if Act.SET_BACK in world.disturbed:
        return []
    rows = {row for cell in world.logs["table:sim/one"].rows().values() for row, _ in cell}
    kept = world.strangers.get("z", []) + world.strangers.get("a", [])[-1:]
    return [f"P5 others' rows stay: {name} is gone" for name in kept if name not in rows]


def _files(world: World) -> list[str]:
    found = []
    for log in world.logs.values():
        rows = {row for cell in log.rows().values() for row in cell if row[1] != "-"}
        if Act.SET_BACK not in world.disturbed:  # docs/protocol.md, "What it does not stand"
            found += [f"P6 files: {gone} is read and was deleted" for gone in rows - log.attempts]
        cut = Act.EXPIRE in world.disturbed  # where the history has a gap, files stay
        if not cut and not any(process.crashed for process in world.processes):
            left = log.attempts - log.committed
            found += [f"P6 files: {file} was left behind" for file in left]
    return found
