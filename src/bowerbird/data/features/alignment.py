"""Which moment a row's features are of: against leaks, and against features that lag in serving."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.core.specs import Operator
from bowerbird.data.features.columns import DAY, duration

if TYPE_CHECKING:
    from bowerbird.data.features.timeline import Ints


class PointInTime(Operator, frozen=True, tag=True, omit_defaults=True):
    """As of the row's own time, less `lag`: how long after an event serving would know of it."""

    lag: str | None = None


class DayBoundary(Operator, frozen=True, tag=True, omit_defaults=True):
    """As of a midnight (UTC): with `lag` 1 that before the row, with 2 the day before, and so on.

    What a daily job would have had ready, and the same for all rows of a day.
    """

    lag: int = 1


class Latest(Operator, frozen=True, tag=True, omit_defaults=True):
    """As of one moment for all rows, `at` (ISO 8601 with a zone): for inference.

    For a row before that moment it reads the row's future: the audit says so.
    """

    at: str


Alignment = PointInTime | DayBoundary | Latest


def moments(alignment: Alignment, at: Ints) -> Ints:
    """The moment of each row (microseconds), from the row's time."""
    match alignment:
        case PointInTime(lag):
            return at - (duration(lag) if lag else 0)
        case DayBoundary(lag):
            return (at // DAY - (lag - 1)) * DAY
        case Latest(text):
            return np.full(len(at), moment_of(text), dtype=np.int64)
    raise TypeError(f"no alignment: {alignment!r}")


def moment_of(text: str) -> int:
    """Microseconds of ``2017-10-02T00:00:00Z``. Raises `ValueError` for a text without a zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} names no zone; write 2017-10-02T00:00:00Z")
    return round(found.timestamp() * 1_000_000)


def problem_of(alignment: Alignment) -> str:
    """What is wrong with an alignment by itself; empty: nothing."""
    try:
        match alignment:
            case PointInTime(str() as lag):
                duration(lag)
            case DayBoundary(lag) if not 1 <= lag <= 36_500:
                return f"DayBoundary(lag={lag}): 1 to 36,500 days; 0 would be a midnight to come"
            case Latest(text):
                moment_of(text)
    except ValueError as error:
        return str(error)
    return ""


def reach(alignment: Alignment) -> int | None:
    """The most (microseconds) by which a row's moment lies before the row; None: it may lie after.

    What a backfill needs to know which events a partition of rows can see.
    """
    match alignment:
        case PointInTime(lag):
            return duration(lag) if lag else 0
        case DayBoundary(lag):
            return lag * DAY
    return None
