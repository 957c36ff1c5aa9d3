"""What is declared of a join: a table, and those that are put beside it, each in its way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from bowerbird.lake.catalog import identifier
from bowerbird.lake.joins.asof import Rule, Tie, Upto
from bowerbird.lake.joins.merging import How

_MICROSECOND = timedelta(microseconds=1)


class Side(msgspec.Struct, frozen=True, omit_defaults=True, tag="side"):
    """A table that is joined.

    on: its key column, or columns. version: None: as the table is now.
    columns: what comes out of it beside the key; None: all.
    where: only these rows of it take part (as in `read`).
    """

    ref: str
    on: str | tuple[str, ...] = ()
    version: str | None = None
    columns: tuple[str, ...] | None = None
    where: dict[str, Any] = {}

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.on,) if isinstance(self.on, str) else tuple(self.on)

    @property
    def name(self) -> str:
        return identifier(self.ref)


class With(Side, frozen=True, omit_defaults=True, tag="with"):
    """A table whose rows of equal key are put beside those that are there.

    on: its key columns, in the order of the first table's; empty: named as those.
    prefix: put before the names of its columns.
    """

    how: How = How.INNER
    prefix: str = ""

    @property
    def told(self) -> str:
        """How it is joined, in a word."""
        return str(self.how)


class AsOf(Side, frozen=True, omit_defaults=True, tag="asof"):
    """A table of which each row gets the last one of its key that was known by the row's time.

    at: its time column; to: the first table's. upto: whether a row of the very same time counts.
    lag: it is known so long after its time. tolerance: its time may be so long before; None: ever.
    tie, take: of rows of one key and time, the last or first by this column (empty: as they lie).
    how: `LEFT` keeps rows that get none, `INNER` does not.
    """

    at: str = ""
    to: str = ""
    upto: Upto = Upto.AT
    lag: timedelta = timedelta(0)
    tolerance: timedelta | None = None
    tie: str = ""
    take: Tie = Tie.LAST
    how: How = How.LEFT
    prefix: str = ""

    @property
    def told(self) -> str:
        return "asof"

    def rule(self) -> Rule:
        tolerance = None if self.tolerance is None else self.tolerance // _MICROSECOND
        lag = self.lag // _MICROSECOND
        return Rule(self.to, self.at, self.upto, lag, tolerance, self.tie, self.take)


Other = With | AsOf


class Join(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is declared: a table, and those that are put beside it, one after another."""

    left: Side
    others: tuple[Other, ...]
