"""The order of batches: which rows of which buckets make each, from a seed and nothing else.

Buckets come in an order that the seed draws, some are open side by side, and each batch takes about
as many rows of each. So a batch is of many entities, though each bucket's rows lie by entity, and
only a few buckets are open at a time. A position says all that is needed to go on: pure values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from bowerbird.lake.joins.buckets import Bucket

Ints = npt.NDArray[np.int64]


class Open(msgspec.Struct, frozen=True):
    """A bucket that is read: its place in the epoch's order, and how many of its rows are done."""

    place: int
    done: int = 0


class Position(msgspec.Struct, frozen=True):
    """Where a reader is: before its first batch, or just after one. Plain data: it travels with a
    checkpoint. batch: how many came before. next: the place of the next bucket to open. of: a mark
    of what was read, by which a position in something else is known; empty: not yet in anything."""

    epoch: int = 0
    batch: int = 0
    next: int = 0
    open: tuple[Open, ...] = ()
    of: str = ""


class Slice(msgspec.Struct, frozen=True):
    """Rows ``start:end`` of the order of the bucket at a place."""

    place: int
    start: int
    end: int


class Length(msgspec.Struct, frozen=True):
    """How many rows a bucket has, and where its order may be cut (None: anywhere)."""

    rows: int
    cuts: Ints | None = None

    def end(self, start: int, rows: int) -> int:
        """Where a slice from `start` of at least so many rows ends."""
        wanted = min(start + rows, self.rows)
        if self.cuts is None or wanted == self.rows:
            return wanted
        return int(self.cuts[np.searchsorted(self.cuts, wanted)])


def bucket_order(buckets: tuple[Bucket, ...], seed: int, epoch: int) -> tuple[Bucket, ...]:
    """The order in which an epoch opens its buckets."""
    order = np.random.default_rng([seed, epoch]).permutation(len(buckets))
    return tuple(buckets[place] for place in order.tolist())


def draw(
    position: Position,
    buckets: int,
    interleave: int,
    batch_size: int,
    length: Callable[[int], Length],
) -> tuple[tuple[Slice, ...], Position]:
    """The next batch, and the position after it; no slice: the epoch is over.

    buckets: how many the epoch has. length: of the bucket at a place; it is asked when the bucket
    is opened. A batch has `batch_size` rows, more where requests are not cut, fewer at the end.
    """
    left, coming = list(position.open), position.next
    slices: list[Slice] = []
    missing = batch_size
    while missing > 0:
        while len(left) < interleave and coming < buckets:
            if length(coming).rows:
                left.append(Open(coming))
            coming += 1
        if not left:
            break
        share, still = -(-missing // len(left)), []
        for at, one in enumerate(left):
            if missing <= 0:
                still += left[at:]
                break
            known = length(one.place)
            end = known.end(one.done, min(share, missing))
            slices.append(Slice(one.place, one.done, end))
            missing -= end - one.done
            if end < known.rows:
                still.append(Open(one.place, end))
        left = still
    if not slices:
        return (), msgspec.structs.replace(position, next=coming, open=())
    # Who came last and got less comes first.
    turned = (*left[1:], *left[:1])
    after = msgspec.structs.replace(position, batch=position.batch + 1, next=coming, open=turned)
    return _merged(slices), after


def _merged(slices: list[Slice]) -> tuple[Slice, ...]:
    """Slices that follow one another in a bucket, as one."""
    found: dict[int, Slice] = {}
    for one in slices:
        had = found.get(one.place)
        found[one.place] = Slice(one.place, had.start, one.end) if had else one
    return tuple(found.values())
