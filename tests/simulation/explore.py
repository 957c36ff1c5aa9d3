"""Which schedules are tried, and how a failing one is cut to the shortest that still fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tests.simulation.world import Act, Schedule, World, broken

MakeWorld = Callable[[Schedule], World]


def failure(make: MakeWorld, schedule: Schedule) -> list[str]:
    """What a schedule breaks."""
    world = make(schedule)
    try:
        return broken(world, world.play())
    except AssertionError as error:
        return [f"P4 every run ends: {error}"]


def singles(calls: int) -> Iterator[Schedule]:
    """Every schedule of one disturbance."""
    for at in range(1, calls + 1):
        for act in Act:
            yield ((at, act),)


def drawn(
    seed: int, count: int, calls: int, acts: tuple[Act, ...] = tuple(Act)
) -> Iterator[Schedule]:
    """Schedules of two to six disturbances."""
    chance = random.Random(seed)
    for _ in range(count):
        size = chance.randint(2, 6)
        places = sorted(chance.sample(range(1, calls + 1), size))
        yield tuple((at, chance.choice(acts)) for at in places)


def shortest(make: MakeWorld, schedule: Schedule) -> Schedule:
    """Drop disturbances, then move them earlier, as long as the schedule still fails."""
    smaller = True
    while smaller:
        smaller = False
        for index in range(len(schedule)):
            less = schedule[:index] + schedule[index + 1 :]
            if less and failure(make, less):
                schedule, smaller = less, True
                break
    return schedule


def story(make: MakeWorld, schedule: Schedule, seed: int | None = None) -> str:
    """A failing schedule, told call by call."""
    schedule = shortest(make, schedule)
    world = make(schedule)
    try:
        problems = broken(world, world.play())
    except AssertionError as error:
        problems = [str(error)]
    lines = [f"seed {seed}; the shortest failing schedule: {schedule}", *problems]
    return "\n".join([*lines, "calls:", *world.trace[:200]])
