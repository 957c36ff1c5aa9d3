"""Workers that are threads of this process.

Nothing is pickled and nothing is copied, so it starts at once and debuggers work; one task's
memory, `os.chdir` or crash is everybody's. A thread cannot be stopped from outside: a task in
flight when its run is cancelled is left to end, and what it returns is dropped.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar

from bowerbird.core.engine import Event, Outcome, Resources, Setup, Task
from bowerbird.engines.calls import Bench, ThreadMeter
from bowerbird.engines.pool import Packed


class Thread:
    """A worker that is the thread of its station."""

    def __init__(self) -> None:
        self._bench = Bench(ThreadMeter)
        self._killed = False

    def open(self) -> None:
        """There already."""

    def perform(self, packed: Packed, on_event: Callable[[Event], None]) -> Outcome:
        def sink(event: Event) -> None:
            if not self._killed:
                on_event(event)

        return self._bench.perform(packed.task, packed.setup, sink)

    def kill(self) -> None:
        self._killed = True

    def close(self) -> None:
        """Nothing to give back."""


class Threads:
    """The kind of worker that `LocalEngine(isolation=THREADS)` has."""

    stoppable: ClassVar[bool] = False

    def pack(self, task: Task) -> bytes:
        return b""

    def pack_setup(self, setup: Setup) -> bytes:
        """Only tells set-ups apart; what cannot be pickled is equal to itself alone."""
        try:
            return pickle.dumps(setup)
        except Exception:  # noqa: BLE001 (pickling runs anybody's code)
            return f"set-up {id(setup)}".encode()

    def fit(self, resources: Resources) -> Hashable:
        return None

    def hire(self, resources: Resources, count: int) -> Sequence[Thread]:
        return [Thread() for _ in range(count)]
