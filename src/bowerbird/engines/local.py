"""This machine as an engine: its threads, or processes of their own."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterable, Iterator

from bowerbird.core.engine import Cancel, Event, Outcome, Setup, Task
from bowerbird.core.errors import UserError
from bowerbird.engines import runs
from bowerbird.engines.pool import Kind, Pool


class Isolation(enum.Enum):
    """What a task shares with the others and with the driver."""

    THREADS = "threads"
    """Everything. Starts at once; a task in flight cannot be stopped, only unheard."""

    PROCESSES = "processes"
    """Nothing. A task can be stopped, can die, can eat memory, and only it ends."""


class LocalEngine:
    """Runs tasks in `workers` threads or processes of this machine.

    A task takes as many workers' places as its `resources.cpus`, rounded up; one that asks for more
    than there are gets all of them. Processes keep warm until `close`: a module that changed on
    disk is seen by a new engine, not by this one.

    paths: put before `sys.path` for the tasks: a user's project.
    max_in_flight: tasks taken whose outcome was not yet handed out; four a worker by default.
    """

    def __init__(
        self,
        workers: int,
        isolation: Isolation = Isolation.PROCESSES,
        *,
        paths: tuple[str, ...] = (),
        max_in_flight: int | None = None,
    ) -> None:
        if workers < 1:
            raise UserError(f"an engine with {workers} workers runs nothing", expected="1 or more")
        self.name = f"local ({workers} {isolation.value})"
        self._max_in_flight = max_in_flight or 4 * workers
        self._added = _importable_here(paths) if isolation is Isolation.THREADS else ()
        self._pool = Pool(_kind(isolation, paths), workers)

    def run(
        self,
        tasks: Iterable[Task],
        *,
        setup: Setup | None = None,
        gang: int = 1,
        cancel: Cancel | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Iterator[Outcome]:
        """One outcome a task, as they end."""
        return runs.start(
            self._pool,
            tasks,
            setup=setup,
            gang=gang,
            cancel=cancel,
            on_event=on_event,
            max_in_flight=self._max_in_flight,
        )

    def close(self) -> None:
        """Stop what runs and end the workers. May be called again."""
        self._pool.close()
        for entry in self._added:
            if entry in sys.path:
                sys.path.remove(entry)
        self._added = ()


def _kind(isolation: Isolation, paths: tuple[str, ...]) -> Kind:
    if isolation is Isolation.THREADS:
        from bowerbird.engines.threads import Threads

        return Threads()
    from bowerbird.engines.processes import Processes

    return Processes(paths)


def _importable_here(paths: tuple[str, ...]) -> tuple[str, ...]:
    new = tuple(entry for entry in paths if entry not in sys.path)
    sys.path[:0] = new
    return new
