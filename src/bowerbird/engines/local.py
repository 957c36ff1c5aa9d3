"""This machine as an engine: its threads, or processes of their own."""

from __future__ import annotations

import enum
import sys

from bowerbird.engines.pool import Kind, Pool
from bowerbird.engines.runs import PoolEngine


class Isolation(enum.Enum):
    """What a task shares with the others and with the driver."""

    THREADS = "threads"
    """Everything. Starts at once; a task in flight cannot be stopped, only unheard."""

    PROCESSES = "processes"
    """Nothing. A task can be stopped, can die, can eat memory, and only it ends."""


class LocalEngine(PoolEngine):
    """Runs tasks in `workers` threads or processes of this machine.

    A task takes as many workers' places as its `resources.cpus`, rounded up; one that asks for more
    than there are gets all of them. Processes keep warm until `close`: a module that changed on
    disk is seen by a new engine, not by this one.

    paths: put before `sys.path` for the tasks: a user's project.
    """

    def __init__(
        self,
        workers: int,
        isolation: Isolation = Isolation.PROCESSES,
        *,
        paths: tuple[str, ...] = (),
        max_in_flight: int | None = None,
    ) -> None:
        pool = Pool(_kind(isolation, paths), workers)
        super().__init__(f"local ({workers} {isolation.value})", pool, max_in_flight)
        self._added = _importable_here(paths) if isolation is Isolation.THREADS else ()

    def close(self) -> None:
        """Stop what runs and end the workers. May be called again."""
        super().close()
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
