"""Whose turn it is: how runs that are open at once share the workers. Pure.

The run that holds the fewest slots is served next; between equals, the one that has waited longest
since it was last served. When what it wants does not fit, nobody behind it is served: otherwise a
gang that needs many slots would wait for ever behind single tasks that always fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol, TypeVar

from bowerbird.core.engine import Resources


class Queue(Protocol):
    """What is looked at of a run: slots it holds, when it was last served, slots it wants next."""

    held: int
    served: int

    @property
    def wants(self) -> int | None:
        """None when nothing of it waits."""
        ...


AnyQueue = TypeVar("AnyQueue", bound=Queue)


def next_served(queues: Iterable[AnyQueue], free: int) -> AnyQueue | None:
    """The queue to serve now, or None when nobody waits or the next must wait for room."""
    waiting = [(queue, wants) for queue in queues if (wants := queue.wants) is not None]
    if not waiting:
        return None
    first, wants = min(waiting, key=lambda pair: (pair[0].held, pair[0].served))
    return first if wants <= free else None


def slots_wanted(resources: Resources, *, gang: int, slots: int) -> int:
    """How many slots one member of a gang takes.

    A task that asks for more than there is gets all there is: specs do not change with the machine.
    """
    return max(1, min(math.ceil(resources.cpus), slots // gang))
