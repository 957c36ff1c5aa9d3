"""Splits by time: what is judged lies after everything that was fitted."""

from __future__ import annotations

import msgspec

from bowerbird.core.specs import Operator
from bowerbird.data.features.columns import duration
from bowerbird.data.samples.sampling import moment

Window = tuple[int | None, int | None]
"""``[start, end)`` in microseconds; None: open."""

SPLITS = ("train", "validation", "test")


class TimeSplit(msgspec.Struct, frozen=True):
    """Test is the last `span` before `end`, validation the `span` before it, training earlier.

    All in microseconds; every window is `[start, end)`.
    """

    end: int
    span: int

    @property
    def test(self) -> tuple[int, int]:
        return self.end - self.span, self.end

    @property
    def validation(self) -> tuple[int, int]:
        return self.end - 2 * self.span, self.end - self.span

    def training(self, count: int = 1) -> list[tuple[int, int]]:
        """The `count` windows of one span each before validation, the earliest first."""
        starts = [self.end - (2 + back) * self.span for back in range(count, 0, -1)]
        return [(start, start + self.span) for start in starts]


class Windows(Operator, frozen=True, tag=True, omit_defaults=True):
    """The last span of the data is the test, the one before it validation, all earlier train.

    span: "28d". end: of the test window, a day or a time with a zone; empty: just after the latest
    row that the pinned version has.
    """

    span: str = "28d"
    end: str = ""

    def split(self, latest: int) -> TimeSplit:
        """latest: the time of the latest row, microseconds."""
        end = moment(self.end)
        return last_windows(latest if end is None else end - 1, self.span)

    def window(self, name: str, latest: int) -> Window:
        """The window of one of `SPLITS`."""
        split = self.split(latest)
        return {
            "train": (None, split.validation[0]),
            "validation": split.validation,
            "test": split.test,
        }[name]


def last_windows(latest: int, span: str = "28d") -> TimeSplit:
    """The split whose test window ends just after the latest event of the data."""
    return TimeSplit(end=latest + 1, span=duration(span))
