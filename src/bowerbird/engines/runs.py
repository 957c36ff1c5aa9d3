"""What every engine that has a pool does: `run`, seen from the thread that iterates.

It feeds the pool, hears it, and hands out outcomes.
"""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Generator, Iterable, Iterator

from bowerbird.core.engine import Cancel, Event, Outcome, Setup, Task
from bowerbird.core.errors import BowerbirdError, CancelledError, StepError, UserError
from bowerbird.engines.pool import Pool, Run

# How often `cancel` is asked while nothing happens.
ASK_SECONDS = 0.1


class PoolEngine:
    """Runs tasks on a pool of workers; what the workers are is its subclasses' to say.

    max_in_flight: tasks taken whose outcome was not yet handed out; four a worker by default.
    """

    def __init__(self, name: str, pool: Pool, max_in_flight: int | None) -> None:
        self.name = name
        self._pool = pool
        self._max_in_flight = max_in_flight or 4 * pool.slots

    def run(
        self,
        tasks: Iterable[Task],
        *,
        setup: Setup | None = None,
        gang: int = 1,
        cancel: Cancel | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Generator[Outcome, None, None]:
        """One outcome a task, as they end. Checks what can be checked before it iterates."""
        self._pool.refuse_if_closed()
        if gang < 1:
            raise UserError(f"a gang of {gang} is no gang", expected="1 or more")
        if gang > self._pool.slots:
            raise UserError(
                f"a gang of {gang} does not fit {self._pool.slots} workers",
                expected="as many workers as tasks that start together",
                fix=f"give the engine {gang} workers or more, or make the gang smaller",
            )
        limit = max(self._max_in_flight, gang)
        return _iterate(_Feed(self._pool, iter(tasks), gang, limit, cancel), setup, on_event)

    def close(self) -> None:
        """Stop what runs and end the workers. May be called again."""
        self._pool.close()


def _iterate(
    feed: _Feed, setup: Setup | None, on_event: Callable[[Event], None] | None
) -> Generator[Outcome, None, None]:
    run = feed.pool.join(setup)
    try:
        while feed.fill(run):
            for said in feed.heard(run):
                if isinstance(said, Outcome):
                    feed.in_flight -= 1
                    yield said
                elif isinstance(said, Event):
                    if on_event is not None:
                        on_event(said)
                else:
                    raise said
    finally:
        feed.pool.leave(run)


class _Feed:
    """Takes tasks as there is room for them, one gang at a time.

    One at a time, because taking the next task may take long (it may be computed, or be awaited):
    what has ended by then is handed out before another is taken.
    """

    def __init__(
        self, pool: Pool, tasks: Iterator[Task], gang: int, limit: int, cancel: Cancel | None
    ) -> None:
        self.pool = pool
        self.in_flight = 0
        self._tasks = tasks
        self._gang = gang
        self._limit = limit
        self._cancel = cancel
        self._more = True

    @property
    def _room(self) -> bool:
        return self._more and self.in_flight + self._gang <= self._limit

    def fill(self, run: Run) -> bool:
        """Take one gang if there is room; False when all is done."""
        self._stop_if_cancelled()
        if self._room:
            taken = list(itertools.islice(self._tasks, self._gang))
            self._more = len(taken) == self._gang
            if taken and not self._more:
                raise UserError(
                    f"{len(taken)} tasks were left that make no gang of {self._gang}",
                    expected="a multiple of the gang",
                )
            self.in_flight += len(taken)
            self._submit(run, taken)
        return self._more or self.in_flight > 0

    def heard(self, run: Run) -> Iterator[Event | Outcome | BowerbirdError]:
        """What was said since; waits for a word when no further task can be taken."""
        while not self._room and self.in_flight > 0:
            try:
                yield run.inbox.get(timeout=ASK_SECONDS)
                break
            except queue.Empty:
                self._stop_if_cancelled()
        while True:
            try:
                yield run.inbox.get_nowait()
            except queue.Empty:
                return

    def _stop_if_cancelled(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise CancelledError(f"cancelled with {self.in_flight} tasks in flight")

    def _submit(self, run: Run, taken: list[Task]) -> None:
        if not taken:
            return
        packed: list[tuple[Task, bytes]] = []
        for task in taken:
            try:
                packed.append((task, self.pool.kind.pack(task)))
            except Exception as error:  # noqa: BLE001 (pickling runs anybody's code)
                run.end(_refused(taken, task, error))
                return
        self.pool.submit(run, packed)


def _refused(gang: list[Task], culprit: Task, error: Exception) -> list[Outcome]:
    problem = f"the arguments of task {culprit.key!r} cannot be pickled"
    reason = StepError(
        f"{problem}: {type(error).__name__}: {error}",
        expected="arguments that pickle can carry to a worker",
        fix="pass plain values, or the name of a file",
    )
    peer = StepError(f"not started with the rest of its gang: {problem}")
    return [Outcome(key=task.key, error=reason if task is culprit else peer) for task in gang]
