"""The as-of join: beside each left row, the last right row of its key that was known by its time.

Both streams lie in order of key and time, and are cut as in `bowerbird.lake.joins.merging`. What
came before a cut matters to what comes after by its last rows only, so those are all that is
carried.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import msgspec

from bowerbird.lake.joins.merging import (
    How,
    Shape,
    codes_of,
    has_null,
    left_alone,
    matches,
    run_starts,
    shaped,
    taken,
)
from bowerbird.lake.ordering import Head, Key, ordered

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.lake.joins.merging import Places

TIME = "\0time"
"""The column by which both sides are merged: microseconds, the left's made earlier by the lag."""


class Upto(StrEnum):
    """Whether a right row of the very same time is known by then."""

    AT = "at"
    BEFORE = "before"


class Tie(StrEnum):
    """Which of several right rows of one key and time is taken."""

    LAST = "last"
    FIRST = "first"


class Rule(msgspec.Struct, frozen=True):
    """Which right row is the one.

    at: the left's and the right's time columns. lag: so long after its time a right row is known.
    tolerance: a right row's time may be so long before the left's; None: any time. Both in
      microseconds. tie: the column that orders right rows of one key and time; empty: as they lie.
    """

    left_at: str
    right_at: str
    upto: Upto = Upto.AT
    lag: int = 0
    tolerance: int | None = None
    tie: str = ""
    take: Tie = Tie.LAST


def asof_sorted(
    left: Iterable[pa.Table], right: Iterable[pa.Table], shape: Shape, rule: Rule
) -> Iterator[pa.Table]:
    """The as-of join of two streams, each in order of (key, time); rows come out in that order.

    Left rows whose key or time is null match nothing; such right rows are passed over.
    """
    by = [*shape.on, TIME]
    one = Head(_timed(left, rule.left_at, rule.lag), by)
    other = Head(_known(_timed(right, rule.right_at, 0), by), by)
    latest = _Latest(shape, rule)
    more, more_right = one.advance(), other.advance()
    while more and more_right:
        end = min(one.last, other.last)
        side = bisect_right if has_null(end) else bisect_left
        rows, others = one.until(end, side), other.until(end, side)
        if not rows.num_rows and not others.num_rows:
            latest.see(_of_key(other, end))
            rows = one.until(end, bisect_right)
        elif others.num_rows:
            latest.see([others])
        yield from latest.beside(rows)
        more = not one.empty or one.advance()
        more_right = not other.empty or other.advance()
    while more:
        yield from latest.beside(one.rest())
        more = one.advance()


def _timed(blocks: Iterable[pa.Table], column: str, lag: int) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    for block in blocks:
        time = block.column(column).cast(pa.int64())
        yield block.append_column(TIME, pc.subtract(time, lag) if lag else time)


def _known(blocks: Iterable[pa.Table], by: Iterable[str]) -> Iterator[pa.Table]:
    """Without the rows that no left row can match."""
    import pyarrow.compute as pc

    for block in blocks:
        for name in by:
            if block.column(name).null_count:
                block = block.filter(pc.is_valid(block.column(name)))
        yield block


def _of_key(head: Head, key: Key) -> Iterator[pa.Table]:
    while not head.empty or head.advance():
        rows = head.until(key, bisect_right)
        if not rows.num_rows:
            return
        yield rows


class _Latest:
    """The right rows that left rows may still match: those of the present range, and before it the
    last two, for a left row of the last one's time may be after that time only."""

    def __init__(self, shape: Shape, rule: Rule) -> None:
        self._shape = shape
        self._rule = rule
        self._rows: pa.Table = None

    def see(self, parts: Iterable[pa.Table]) -> None:
        """Go on to the next right rows: all of their keys and times, no other has them."""
        import pyarrow as pa

        found: pa.Table = None
        for part in parts:
            found = self._one_a_time(part if found is None else pa.concat_tables([found, part]))
        if found is None:
            return
        if self._rows is not None:
            found = pa.concat_tables([_last(self._rows), found]).combine_chunks()
        self._rows = found

    def _one_a_time(self, rows: pa.Table) -> pa.Table:
        """One row of each key and time, by the rule."""
        import numpy as np

        by = [*self._shape.on, TIME]
        codes, _ = codes_of(rows, rows.slice(0, 0), by)
        starts = run_starts(codes)
        if len(starts) == rows.num_rows:
            return rows
        if self._rule.tie:
            rows = ordered(rows, [*by, self._rule.tie])
        ends = np.append(starts[1:], rows.num_rows) - 1
        return taken(rows, starts if self._rule.take is Tie.FIRST else ends)

    def beside(self, rows: pa.Table) -> Iterator[pa.Table]:
        """The left rows, each with its right row."""
        import numpy as np

        if not rows.num_rows:
            return
        left = rows.drop_columns([TIME])
        if self._rows is None:
            if self._shape.how is not How.INNER:
                yield left_alone(left, self._shape)
            return
        places, known = self._places(rows)
        if self._shape.how is How.INNER:
            left, places = taken(left, np.flatnonzero(known)), places[known]
            known = known[known]
        if left.num_rows:
            others = taken(self._rows.select(list(self._shape.adds)), places, ~known)
            yield shaped([*left.columns, *others.columns], self._shape)

    def _places(self, rows: pa.Table) -> tuple[Places, Places]:
        """The right row of each left row, and whether there is one."""
        import numpy as np

        first, count, starts = matches(rows, self._rows, self._shape.on)
        times = rows.column(TIME).fill_null(0).to_numpy()
        known = (count > 0) & rows.column(TIME).is_valid().to_numpy()
        theirs = self._rows.column(TIME).to_numpy()
        runs = np.repeat(starts, np.diff(np.append(starts, len(theirs))))
        mine, other = _packed(first, times, runs, theirs)
        side: Literal["left", "right"] = "right" if self._rule.upto is Upto.AT else "left"
        places = np.searchsorted(other, mine, side=side) - 1
        known &= places >= first
        places = np.maximum(places, 0)
        if self._rule.tolerance is not None:
            age = times + self._rule.lag - theirs[places]
            known &= age <= self._rule.tolerance
        return places, known


def _packed(
    runs: Places, times: Places, other_runs: Places, other_times: Places
) -> tuple[Places, Places]:
    """Run and time of each row as one integer that sorts as they do."""
    import numpy as np

    every = np.concatenate((times, other_times))
    low, high = int(every.min()), int(every.max())
    bits = (high - low).bit_length()
    if bits + len(other_runs).bit_length() > 63:
        # Times too far apart: their ranks do.
        known, every = np.unique(every, return_inverse=True)
        low, bits = 0, len(known).bit_length()
    packed = (np.concatenate((runs, other_runs)) << bits) | (every - low)
    return packed[: len(times)], packed[len(times) :]


def _last(rows: pa.Table) -> pa.Table:
    """The last two rows, copied: a slice would keep all of them in memory."""
    return rows.take(list(range(max(0, rows.num_rows - 2), rows.num_rows)))
