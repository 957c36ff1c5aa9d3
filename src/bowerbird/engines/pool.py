"""Workers, and who gets them: the part that all our engines share.

A *worker* is one place where tasks run one at a time: a thread, a process, a Ray actor. Each is
kept by a *station*, a thread of the driver that opens it, gives it orders, relays what it says and
buries it. A *pool* holds the stations and the runs that are open, and matches them whenever either
changes: that is all of scheduling, retrying and starting together, written once.

Stations and not one loop for all, because of Linux: a child asked to die with its parent
(PR_SET_PDEATHSIG) dies with the *thread* that started it, so each worker process needs a thread
that lives as long as it does.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar, Protocol

from bowerbird.core.engine import Event, Outcome, Resources, Setup, Task
from bowerbird.core.errors import (
    BowerbirdError,
    CancelledError,
    LostWorkerError,
    StepError,
    UserError,
)
from bowerbird.engines.turns import next_served, slots_wanted

# Events that wait for an iterator that is not asked; what comes beyond is counted, not kept, so
# that a chatty task cannot fill the driver's memory.
EVENTS_KEPT = 10_000
# How long to wait for workers that were told to stop, before leaving them to the system.
PATIENCE_SECONDS = 10.0


class Lost(Exception):  # noqa: N818 (never reaches a user: the pool retries it or names the task)
    """A worker is gone. `how` completes the sentence "the worker of task X …"."""

    def __init__(self, how: str, hint: str | None = None) -> None:
        super().__init__(how)
        self.how = how
        self.hint = hint


class Packed:
    """A task and its run's set-up, as its kind of worker takes them; packed once, tried often."""

    __slots__ = ("data", "setup", "setup_data", "task")

    def __init__(self, task: Task, data: bytes, setup: Setup | None, setup_data: bytes) -> None:
        self.task, self.data = task, data
        self.setup, self.setup_data = setup, setup_data


class Worker(Protocol):
    """One place where tasks run, one at a time. Its station's thread calls all but `kill`."""

    def open(self) -> None:
        """Come into being. Raises `Lost`."""
        ...

    def perform(self, packed: Packed, on_event: Callable[[Event], None]) -> Outcome:
        """Do one task. Raises `Lost` when the worker is gone or was killed."""
        ...

    def kill(self) -> None:
        """Stop what runs, from any thread, without waiting; `open` or `perform` raises `Lost`."""
        ...

    def close(self) -> None:
        """End, and return when nothing is left of it."""
        ...


class Kind(Protocol):
    """A kind of worker: how tasks are packed for it, and how to have some."""

    stoppable: ClassVar[bool]
    """Whether `Worker.kill` stops a task; what cannot be stopped is left to end, unheard."""

    def pack(self, task: Task) -> bytes: ...

    def pack_setup(self, setup: Setup) -> bytes: ...

    def fit(self, resources: Resources) -> Hashable:
        """Workers are used again for tasks whose resources fit the same."""
        ...

    def hire(self, resources: Resources, count: int) -> Sequence[Worker]:
        """New workers, not yet open; more than one are for a gang: all can be had, or none."""
        ...


class Gang:
    """Tasks that start together; most often one. Guarded by the pool's lock."""

    def __init__(self, members: Sequence[Packed], slots: int) -> None:
        self.members = members
        self.slots = slots
        self.tries = 1
        self.ended: dict[int, Outcome | Lost] = {}
        self.broken_by: int | None = None

    def note(self, member: int, end: Outcome | Lost) -> bool:
        """Note how a member ended; True when the others are to be stopped for it."""
        self.ended[member] = end
        bad = isinstance(end, Lost) or end.error is not None
        if not bad or self.broken_by is not None:
            return False
        self.broken_by = member
        return len(self.members) > 1

    def start_again(self) -> bool:
        """Whether a worker was lost and there is a try left; if so, forget what was."""
        tries = min(packed.task.tries for packed in self.members)
        if self.broken_by is None or self.tries >= tries:
            return False
        if not isinstance(self.ended[self.broken_by], Lost):
            return False
        self.tries += 1
        self.ended.clear()
        self.broken_by = None
        return True

    def outcomes(self) -> list[Outcome]:
        return [self._outcome(member) for member in range(len(self.members))]

    def _outcome(self, member: int) -> Outcome:
        end = self.ended[member]
        if isinstance(end, Outcome):
            return Outcome(end.key, end.value, end.error, end.usage, self.tries)
        key = self.members[member].task.key
        return Outcome(key=key, error=self._loss(member, key, end), tries=self.tries)

    def _loss(self, member: int, key: str, end: Lost) -> BowerbirdError:
        if self.broken_by is None or self.broken_by == member:
            return LostWorkerError(
                f"the worker of task {key!r} {end.how} (try {self.tries})", fix=end.hint
            )
        first = self.ended[self.broken_by]
        first_key = self.members[self.broken_by].task.key
        if isinstance(first, Lost):
            return LostWorkerError(
                f"task {key!r} was stopped: the worker of {first_key!r}, which is in its gang,"
                f" {first.how} (try {self.tries})",
                fix=first.hint,
            )
        return StepError(f"task {key!r} was stopped: {first_key!r}, which is in its gang, failed")


class Run:
    """One open `run`: what waits, what is held, and what its iterator has not heard yet."""

    def __init__(self, setup: Setup | None, setup_data: bytes) -> None:
        self.setup, self.setup_data = setup, setup_data
        self.waiting: deque[Gang] = deque()
        self.held = 0
        self.served = 0
        self.over = False
        self.stations: set[_Station] = set()
        self.inbox: queue.SimpleQueue[Event | Outcome | BowerbirdError] = queue.SimpleQueue()
        self._dropped: dict[str, int] = {}

    @property
    def wants(self) -> int | None:
        """The slots that the gang at the head of the queue needs."""
        return self.waiting[0].slots * len(self.waiting[0].members) if self.waiting else None

    def tell(self, event: Event) -> None:
        if self.over:
            return
        if self.inbox.qsize() < EVENTS_KEPT:
            self.inbox.put(event)
        else:
            self._dropped[event.key] = self._dropped.get(event.key, 0) + 1

    def end(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if dropped := self._dropped.pop(outcome.key, 0):
                self.inbox.put(Event(key=outcome.key, text=f"({dropped} events were not kept)"))
            self.inbox.put(outcome)


class _Station(threading.Thread):
    """Keeps one worker from its first order to its end. Fields are guarded by the pool's lock."""

    def __init__(self, pool: Pool, worker: Worker, fit: Hashable) -> None:
        super().__init__(name="bowerbird-station", daemon=True)
        self.worker = worker
        self.fit = fit
        self.setup_data = b""
        self.run_now: Run | None = None
        self.gang: Gang | None = None
        self.member = 0
        self.ending = False
        self.idle_since = 0.0
        self._pool = pool
        self._orders: queue.SimpleQueue[tuple[Packed, Run] | None] = queue.SimpleQueue()

    def give(self, run: Run, gang: Gang, member: int) -> None:
        self.run_now, self.gang, self.member = run, gang, member
        self.setup_data = run.setup_data
        self._orders.put((gang.members[member], run))

    def retire(self) -> None:
        self.ending = True
        self._orders.put(None)

    def run(self) -> None:
        opened = False
        try:
            while (order := self._next()) is not None:
                end: Outcome | Lost
                try:
                    if not opened:
                        self.worker.open()
                        opened = True
                    end = self.worker.perform(order[0], order[1].tell)
                except Lost as lost:
                    end = lost
                except BowerbirdError as error:  # there can be no such worker
                    end = Outcome(key=order[0].task.key, error=error)
                except Exception as error:  # noqa: BLE001 (a defect of ours must not hang the run)
                    end = Lost(f"could not be spoken to: {type(error).__name__}: {error}")
                if not self._pool.ended(self, end):
                    break
        finally:
            try:
                self.worker.close()
            finally:
                self._pool.gone(self)

    def _next(self) -> tuple[Packed, Run] | None:
        while True:
            try:
                return self._orders.get(timeout=self._pool.idle_seconds)
            except queue.Empty:
                self._pool.retire_if_idle(self)


class Pool:
    """The workers of one engine, shared by the runs that are open.

    slots: workers alive at once, and the CPUs that tasks may hold at once.
    idle_seconds: an unused worker ends after that long; None keeps it until `close`.
    """

    def __init__(self, kind: Kind, slots: int, idle_seconds: float | None = None) -> None:
        if slots < 1:
            raise UserError(f"an engine with {slots} workers runs nothing", expected="1 or more")
        self.kind = kind
        self.slots = slots
        self.idle_seconds = idle_seconds
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._runs: list[Run] = []
        self._idle: list[_Station] = []
        self._busy: set[_Station] = set()
        self._ending: set[_Station] = set()
        self._served = 0
        self._closed = False
        _open_pools.add(self)

    def join(self, setup: Setup | None) -> Run:
        """Open a run."""
        run = Run(setup, self.kind.pack_setup(setup) if setup is not None else b"")
        with self._changed:
            self.refuse_if_closed()
            self._runs.append(run)
        return run

    def refuse_if_closed(self) -> None:
        if self._closed:
            raise UserError("this engine was closed", fix="open a new one")

    def submit(self, run: Run, tasks: Sequence[tuple[Task, bytes]]) -> None:
        """Queue tasks that start together."""
        resources = tasks[0][0].resources
        slots = slots_wanted(resources, gang=len(tasks), slots=self.slots)
        members = [Packed(task, data, run.setup, run.setup_data) for task, data in tasks]
        with self._changed:
            run.waiting.append(Gang(members, slots))
            self._place()

    def leave(self, run: Run) -> None:
        """Close a run: what waits is dropped, what runs is stopped; returns when it has stopped."""
        if self._lock._is_owned():  # type: ignore[attr-defined]
            # An iterator that nobody closed is closed by the garbage collector, in any thread, even
            # here and now, half-way through a change of ours.
            threading.Thread(target=self.leave, args=(run,), daemon=True).start()
            return
        with self._changed:
            run.over = True
            run.waiting.clear()
            for station in list(run.stations):
                self._stop(station)
            self._changed.wait_for(lambda: not run.stations, PATIENCE_SECONDS)
            if run in self._runs:
                self._runs.remove(run)
            self._place()

    def close(self) -> None:
        """End all workers; runs that are open raise `CancelledError`."""
        with self._changed:
            self._closed = True
            for run in self._runs:
                run.over = True
                run.waiting.clear()
                run.inbox.put(CancelledError("the engine was closed while it ran"))
            for station in list(self._busy):
                self._stop(station)
            for station in list(self._idle):
                self._retire(station)
            left = self._ending | self._busy
        until = time.monotonic() + PATIENCE_SECONDS
        for station in left:
            station.join(max(0.0, until - time.monotonic()))
        _open_pools.discard(self)

    # What stations tell.

    def ended(self, station: _Station, end: Outcome | Lost) -> bool:
        """A task ended; False when the station is to end too."""
        with self._changed:
            run, gang, member = station.run_now, station.gang, station.member
            if run is None or gang is None:  # it could not be stopped; nobody listens any more
                return False
            if station.ending and isinstance(end, Outcome):
                end = Lost("was stopped")
            self._release(station, run, gang, keep=isinstance(end, Outcome))
            self._settle(run, gang, member, end)
            self._place()
            return not station.ending

    def gone(self, station: _Station) -> None:
        """A worker is buried."""
        with self._changed:
            self._ending.discard(station)
            self._place()
            self._changed.notify_all()

    def retire_if_idle(self, station: _Station) -> None:
        with self._changed:
            if self.idle_seconds is None or station not in self._idle:
                return
            if time.monotonic() - station.idle_since >= self.idle_seconds:
                self._retire(station)

    # Below, the lock is held.

    def _place(self) -> None:
        """Serve as long as somebody can be served."""
        while not self._closed:
            free = self.slots - sum(run.held for run in self._runs)
            run = next_served(self._runs, free)
            if run is None:
                return
            crew = self._crew(run, run.waiting[0])
            if crew is None:
                return
            self._start(run, run.waiting.popleft(), crew)

    def _crew(self, run: Run, gang: Gang) -> list[_Station] | None:
        """Stations for a gang; None when others must end first (`gone` looks again)."""
        resources = gang.members[0].task.resources
        count = len(gang.members)
        fit = (self.kind.fit(resources), count > 1)
        able = [s for s in self._idle if s.fit == fit and s.setup_data in (run.setup_data, b"")]
        able.sort(key=lambda station: station.setup_data == run.setup_data)
        if len(able) >= count:
            return able[-count:]
        room = self.slots - len(self._idle) - len(self._busy) - len(self._ending)
        if room < count:
            for station in self._idle[: max(0, count - room - len(self._ending))]:
                self._retire(station)
            return None
        hired = [_Station(self, worker, fit) for worker in self.kind.hire(resources, count)]
        for station in hired:
            self._idle.append(station)
            station.start()
        return hired

    def _start(self, run: Run, gang: Gang, crew: list[_Station]) -> None:
        self._served += 1
        run.served = self._served
        run.held += gang.slots * len(crew)
        for member, station in enumerate(crew):
            self._idle.remove(station)
            self._busy.add(station)
            run.stations.add(station)
            station.give(run, gang, member)

    def _release(self, station: _Station, run: Run, gang: Gang, *, keep: bool) -> None:
        run.held -= gang.slots
        run.stations.discard(station)
        station.run_now = station.gang = None
        self._busy.discard(station)
        if keep:
            station.idle_since = time.monotonic()
            self._idle.append(station)
        else:
            station.ending = True
            self._ending.add(station)
        self._changed.notify_all()

    def _settle(self, run: Run, gang: Gang, member: int, end: Outcome | Lost) -> None:
        """What the end of one member means for its gang, and of the gang for its run."""
        if run.over:
            return
        breaks = gang.note(member, end)
        if len(gang.ended) == len(gang.members):
            if gang.start_again():
                run.waiting.appendleft(gang)
            else:
                run.end(gang.outcomes())
        elif breaks:
            for peer in [station for station in run.stations if station.gang is gang]:
                self._stop(peer)

    def _stop(self, station: _Station) -> None:
        if station.ending:
            return
        station.ending = True
        if self.kind.stoppable:
            station.worker.kill()
            return
        run, gang, member = station.run_now, station.gang, station.member
        if run is not None and gang is not None:
            self._release(station, run, gang, keep=False)
            self._ending.discard(station)
            self._settle(run, gang, member, Lost("was left to end"))

    def _retire(self, station: _Station) -> None:
        self._idle.remove(station)
        self._ending.add(station)
        station.retire()


_open_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


@atexit.register
def _close_pools() -> None:
    for pool in list(_open_pools):
        pool.close()
