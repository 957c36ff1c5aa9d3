"""What was read of files that never change: it stays at hand, the latest of it.

A manifest of Iceberg is never written twice under a name, and a plan of a read asks for those of
the plan before. (A table's metadata are read each time: onto a damaged file nothing is committed.)
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Recent:
    """What was put last, by key, up to a weight in all. Safe for threads."""

    def __init__(self, limit: int, weigh: Callable[[Any], int]) -> None:
        self._limit, self._weigh = limit, weigh
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._weight = 0
        self._guard = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """None for what is not there."""
        with self._guard:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        with self._guard:
            if key not in self._known:
                self._known[key] = value
                self._weight += self._weigh(value)
            while self._weight > self._limit:
                self._weight -= self._weigh(self._known.popitem(last=False)[1])

    def clear(self) -> None:
        with self._guard:
            self._known.clear()
            self._weight = 0


ENTRIES = Recent(32 * 1024, lambda entries: 1 + len(entries))
"""Entries of manifests: some 3 KB each."""

PATHS = Recent(64 * 1024, lambda _: 1)
"""Paths of partitions: some 200 bytes each."""
