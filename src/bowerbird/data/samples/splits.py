"""Splits by time: what is judged lies after everything that was fitted."""

from __future__ import annotations

import msgspec

from bowerbird.data.features.columns import duration


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


def last_windows(latest: int, span: str = "28d") -> TimeSplit:
    """The split whose test window ends just after the latest event of the data."""
    return TimeSplit(end=latest + 1, span=duration(span))
