"""What a task may ask while it runs: tell of its progress, and get what its worker was set up with.

An engine binds both around each task; outside a task `tell` does nothing, so that a function reads
and tests the same in and out of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from bowerbird.core.engine import Event

_key: ContextVar[str] = ContextVar("bowerbird_task_key", default="")
_sink: ContextVar[Callable[[Event], None] | None] = ContextVar("bowerbird_task_sink", default=None)
_state: ContextVar[Any] = ContextVar("bowerbird_worker_state", default=None)


def tell(text: str = "", *, done: float | None = None, total: float | None = None) -> None:
    """Say how far this task is, or a line for its log."""
    sink = _sink.get()
    if sink is not None:
        sink(Event(key=_key.get(), text=text, done=done, total=total))


def worker_state() -> Any:
    """What the engine's `Setup` call returned in this worker, or None."""
    return _state.get()


@contextmanager
def bound(key: str, sink: Callable[[Event], None], state: Any = None) -> Iterator[None]:
    """For engines: bind `tell` and `worker_state` around one task."""
    was_key, was_sink, was_state = _key.set(key), _sink.set(sink), _state.set(state)
    try:
        yield
    finally:
        _key.reset(was_key)
        _sink.reset(was_sink)
        _state.reset(was_state)
