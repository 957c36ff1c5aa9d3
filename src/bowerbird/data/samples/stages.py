"""Where the time of a pipeline goes: seconds by the name of a stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Stages:
    """Seconds spent in each stage. A stage inside another counts for itself alone."""

    seconds: dict[str, float] = field(default_factory=dict)
    _inside: list[float] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - start
            within = self._inside.pop()
            if self._inside:
                self._inside[-1] += whole
            self.seconds[name] = self.seconds.get(name, 0.0) + whole - within
