"""How runs share the workers."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.engine import Resources
from bowerbird.engines.turns import next_served, slots_wanted


@dataclasses.dataclass
class Queue:
    wants: int | None
    held: int = 0
    served: int = 0


def simulate(wanted: list[list[int]], slots: int) -> list[int]:
    """Serve to the end, the oldest holder ending whenever nobody fits; who was served, in order."""
    queues = [Queue(wants[0] if wants else None) for wants in wanted]
    left = [list(wants) for wants in wanted]
    holding: list[tuple[int, int]] = []
    order: list[int] = []
    while any(queue.wants is not None for queue in queues):
        free = slots - sum(queue.held for queue in queues)
        queue = next_served(queues, free)
        if queue is None:
            index, size = holding.pop(0)
            queues[index].held -= size
            continue
        index = next(i for i, each in enumerate(queues) if each is queue)
        size = left[index].pop(0)
        holding.append((index, size))
        order.append(index)
        queue.held += size
        queue.served = len(order)
        queue.wants = left[index][0] if left[index] else None
    return order


@given(st.lists(st.lists(st.integers(1, 4), max_size=6), min_size=1, max_size=4))
def test_everything_that_fits_alone_is_served_in_the_end(wanted: list[list[int]]) -> None:
    assert len(simulate(wanted, slots=4)) == sum(map(len, wanted))


@given(st.integers(1, 30), st.integers(2, 4))
def test_runs_of_single_tasks_alternate(tasks: int, runs: int) -> None:
    order = simulate([[1] * tasks] * runs, slots=1)
    assert order == list(range(runs)) * tasks


def test_a_gang_is_not_starved_by_single_tasks() -> None:
    assert simulate([[1] * 100, [4]], slots=4).index(1) <= 1


def test_nobody_overtakes_the_one_whose_turn_it_is() -> None:
    gang, single = Queue(wants=4, served=1), Queue(wants=1, served=2)
    assert next_served([gang, single], free=3) is None


@given(st.floats(0, 100), st.integers(1, 8), st.integers(8, 16))
def test_a_gang_fits_whatever_its_tasks_ask_for(cpus: float, gang: int, slots: int) -> None:
    assert 1 <= slots_wanted(Resources(cpus=cpus), gang=gang, slots=slots) * gang <= slots
