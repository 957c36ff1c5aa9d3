"""The port of time. Waiting and time stamps come in as an argument, so that a test owns them."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """UTC, microseconds."""
        ...

    def sleep(self, seconds: float) -> None: ...

    def back_off(self, attempt: int) -> None:
        """Sleep before attempt `attempt + 1`: longer each time, and never in step with others."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def back_off(self, attempt: int) -> None:
        # Full jitter: of several writers at one table, some one always gets through.
        ceiling = min(2.0, 0.02 * 2 ** min(attempt, 10))
        self.sleep(random.uniform(0, ceiling))  # noqa: S311 - jitter, not a secret
