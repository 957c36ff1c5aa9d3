"""What each column means, in plain loops: the definition that everything faster is held to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bowerbird.data.features.columns import (
    DAY,
    Age,
    By,
    Column,
    Count,
    Decayed,
    Distinct,
    First,
    Interval,
    Last,
    Max,
    Mean,
    Min,
    Occasions,
    Ratio,
    Since,
    Sum,
    duration,
    window_of,
)

Event = Mapping[str, Any]
"""``at`` (microseconds) and fields; None, NaN and infinity are no value."""


def reference(
    columns: Mapping[str, Column],
    events: Sequence[tuple[tuple[Any, ...], Event]],
    asked: Sequence[tuple[tuple[Any, ...], int]],
) -> list[dict[str, Any]]:
    """Each column for each asked (key, at): a loop over questions, a loop over events.

    A key with a null in it has no events.
    """
    # By time, keeping the given order among equals.
    ordered = sorted(events, key=lambda event: event[1]["at"])
    answers = []
    for key, moment in asked:
        of_key = None not in key
        seen = [e for k, e in ordered if of_key and k == key and e["at"] < moment]
        answers.append({name: value(column, seen, moment) for name, column in columns.items()})
    return answers


def value(column: Column, seen: Sequence[Event], moment: int) -> Any:
    """One column from the events of one key before `moment`, by time."""

    def inside(over: str | None) -> list[Event]:
        return [e for e in seen if over is None or e["at"] >= moment - duration(over)]

    def values(name: str, over: str | None = None) -> list[Any]:
        return [e[name] for e in inside(over) if has(e[name])]

    times = [event["at"] for event in seen]
    match column:
        case Count(over, name):
            return len(inside(over) if name is None else values(name, over))
        case Occasions(over):
            return len({event["at"] for event in inside(over)})
        case Sum(name, over):
            return _sum(values(name, over))
        case Mean(name, over):
            return divide(_sum(values(name, over)), len(values(name, over)))
        case Min(name, over):
            return min(values(name, over), default=None)
        case Max(name, over):
            return max(values(name, over), default=None)
        case Distinct(name, over, _):
            return len(set(values(name, over)))
        case First(name):
            return values(name)[0] if values(name) else None
        case Last(name, None, over):
            return values(name, over)[-1] if values(name, over) else None
        case Last(name, int() as n, over):
            return values(name, over)[-n:]
        case Since():
            return (moment - times[-1]) / DAY if times else None
        case Age():
            return (moment - times[0]) / DAY if times else None
        case Interval():
            moments = sorted(set(times))
            gaps = [(after - before) / DAY for before, after in itertools.pairwise(moments)]
            return divide(math.fsum(gaps), len(gaps))
        case Decayed(half_life, name):
            weights = [
                (1.0 if name is None else event[name])
                * 2.0 ** (-(moment - event["at"]) / duration(half_life))
                for event in seen
                if name is None or has(event[name])
            ]
            return math.fsum(weights)
        case Ratio(numerator, denominator):
            return divide(value(numerator, seen, moment), value(denominator, seen, moment))
        case By(inner, name):
            found = {}
            for key in sorted({e[name] for e in inside(window_of(inner)) if has(e[name])}):
                found[key] = value(inner, [e for e in seen if e[name] == key], moment)
            return found


def has(found: Any) -> bool:
    """Whether a field's value is one: not null, not NaN, not infinite."""
    return found is not None and not (isinstance(found, float) and not math.isfinite(found))


def divide(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _sum(values: Sequence[Any]) -> Any:
    return math.fsum(values) if any(isinstance(v, float) for v in values) else sum(values)
