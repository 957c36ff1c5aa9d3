"""The port of an engine: where tasks run.

An engine is given tasks and hands back one outcome a task, in the order in which they end. It
retries a task whose worker was lost (`Task.tries` times in all) and nothing else: an error that the
task raised comes back as an outcome, and whether to try the step again is the executor's business.

`bowerbird.testing.engine_conformance` holds every engine to this page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import msgspec

from bowerbird.core.errors import BowerbirdError


class Resources(msgspec.Struct, frozen=True):
    """What one worker of a task needs. Engines place by it; `local` counts `cpus` only."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int | None = None


class Task(msgspec.Struct, frozen=True):
    """One call of one function, by name, with arguments that can be pickled.

    call: ``"module:name"``; it is called as ``name(*args, **kwargs)``, in a worker.
    Results should be small: large ones travel as files that the arguments name.
    """

    key: str
    call: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    resources: Resources = Resources()
    tries: int = 3


class Setup(msgspec.Struct, frozen=True):
    """Called once in each worker before its first task; its result is `worker_state()` there."""

    call: str
    args: tuple[Any, ...] = ()


class Usage(msgspec.Struct, frozen=True):
    """What one task took: wall and CPU seconds, and the peak resident bytes of its worker."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class Outcome(msgspec.Struct, frozen=True):
    """How one task ended: with a value, or with an error that can be raised again."""

    key: str
    value: Any = None
    error: BowerbirdError | None = None
    usage: Usage | None = None
    tries: int = 1

    def result(self) -> Any:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value


class Event(msgspec.Struct, frozen=True):
    """Something a task tells while it runs: progress (`done` of `total`), or a line of its log."""

    key: str
    text: str = ""
    done: float | None = None
    total: float | None = None


class Cancel(Protocol):
    """Asked by engines, often: has somebody asked to stop? (`threading.Event` is one.)"""

    def is_set(self) -> bool: ...


class Engine(Protocol):
    """Runs tasks. Several `run` calls may be open at once, from several threads."""

    name: str

    def run(
        self,
        tasks: Iterable[Task],
        *,
        setup: Setup | None = None,
        gang: int = 1,
        cancel: Cancel | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Iterator[Outcome]:
        """Yield one outcome a task, unordered.

        tasks: consumed lazily: at most a bounded number is in flight, so it may be endless.
        gang: that many tasks in a row start together or not at all (distributed training); a gang
          whose member is lost is started again whole.
        cancel: when it is set, tasks in flight are stopped and the iterator raises
          `CancelledError`; closing the iterator stops them too.
        """
        ...

    def close(self) -> None:
        """Stop the workers. An engine that was closed can not run again."""
        ...
