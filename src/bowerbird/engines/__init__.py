"""Engines: where tasks run. On this machine, or on a Ray cluster, with the same outcome.

Who comes in: tasks, which name a function and bring small arguments (`bowerbird.core.engine`).
What leaves: one outcome a task, as they end; what a task tells while it runs, as it tells it.

::

    engine = open_engine(EngineKind.PROCESSES, workers=4)
    tasks = (Task(key=str(n), call="shop.steps:build", args=(n,)) for n in range(100))
    with contextlib.closing(engine):
        for outcome in engine.run(tasks, on_event=print):
            outcome.result()

An engine of your own is one class; `bowerbird.testing.engine_conformance` tells whether it is one.
"""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bowerbird.core.engine import Engine

__all__ = ["EngineKind", "open_engine"]


class EngineKind(enum.StrEnum):
    """The engines of this house, by the names that settings use."""

    THREADS = "threads"
    PROCESSES = "processes"
    RAY = "ray"


def open_engine(
    kind: EngineKind,
    *,
    workers: int | None = None,
    paths: tuple[str, ...] = (),
    address: str | None = None,
) -> Engine:
    """Open an engine; `close` it when done.

    workers: as many as this machine has CPUs for us, when not given.
    paths: what tasks can import beside what is installed: a user's project.
    address: of a Ray cluster; without it, Ray is started for this process.
    """
    count = workers if workers is not None else _cpus()
    if kind is EngineKind.RAY:
        from bowerbird.engines.ray import RayEngine

        return RayEngine(address, count, paths=paths)
    from bowerbird.engines.local import Isolation, LocalEngine

    isolation = Isolation.THREADS if kind is EngineKind.THREADS else Isolation.PROCESSES
    return LocalEngine(count, isolation, paths=paths)


def _cpus() -> int:
    # Not os.cpu_count(): a container or a batch system may leave us fewer.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
