"""Least, greatest and distinct values of many ranges of events at once.

Few or short ranges are looked at event by event; many long ones are answered from what they share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bowerbird.data.features.timeline import Ints, Numbers, ranges

if TYPE_CHECKING:
    from bowerbird.data.features.timeline import Timeline


def extreme(values: Numbers, start: Ints, end: Ints, *, least: bool) -> Numbers:
    """The least (or greatest) of each `values[start:end]`; 0 for an empty range."""
    if int((end - start).sum()) <= 4 * len(values):
        return extreme_one_by_one(values, start, end, least=least)
    pick = np.minimum if least else np.maximum
    found = np.zeros(len(start), dtype=values.dtype)
    level = np.frexp(np.maximum(end - start, 1).astype(np.float64))[1] - 1
    level[end == start] = -1
    # At level k, `blocks[i]` covers the 2^k values from i on: two of them cover a range that long.
    blocks, width = values, 1
    for k in range(int(level.max(initial=-1)) + 1):
        if k:
            blocks = pick(blocks[:-width], blocks[width:])
            width *= 2
        asked = np.flatnonzero(level == k)
        found[asked] = pick(blocks[start[asked]], blocks[end[asked] - width])
    return found


def extreme_one_by_one(values: Numbers, start: Ints, end: Ints, *, least: bool) -> Numbers:
    """The same, looking at every value of every range."""
    pick = np.minimum if least else np.maximum
    found = np.zeros(len(start), dtype=values.dtype)
    asked = np.flatnonzero(end > start)
    rows, owner = ranges(start[asked], end[asked])
    if len(asked):
        opens = np.flatnonzero(np.diff(owner, prepend=-1))
        found[asked] = pick.reduceat(values[rows], opens)
    return found


def distinct(events: Timeline, name: str, start: Ints, end: Ints) -> Ints:
    """The number of distinct values of a field in each range of one key's events.

    A value counts where it occurs first in the range: where the same key's previous event with it
    lies before the range's start.
    """
    previous = events.once(("previous", name), lambda: _previous(events, name))
    if int((end - start).sum()) <= 4 * len(previous):
        rows, owner = ranges(start, end)
        first = previous[rows] < start[owner]
        return np.bincount(owner[first], minlength=len(start)).astype(np.int64)
    return count_below(previous + 1, start, end, start + 1)


def _previous(events: Timeline, name: str) -> Ints:
    """The place of the same key's previous event with the same value, -1 for the first."""
    _, codes = np.unique(events.fields[name], return_inverse=True)
    order = np.lexsort((codes, events.key_index))
    same = np.zeros(len(order), dtype=bool)
    index = events.key_index
    same[1:] = (index[order][1:] == index[order][:-1]) & (codes[order][1:] == codes[order][:-1])
    found = np.full(len(order), -1, dtype=np.int64)
    found[order[same]] = order[np.flatnonzero(same) - 1]
    return found


def count_below(values: Ints, start: Ints, end: Ints, bound: Ints) -> Ints:
    """How many of `values[start:end]` (not negative) are less than each range's `bound`.

    A wavelet matrix (Claude, Navarro, Ordóñez, 2015), a bit at a time from the highest: values with
    bit 0 go before those with bit 1, and each range follows the bound's own bits.
    """
    count = np.zeros(len(start), dtype=np.int64)
    start, end = start.copy(), end.copy()
    for bit in range(max(int(values.max(initial=0)), int(bound.max(initial=0))).bit_length())[::-1]:
        ones = (values >> bit) & 1 == 1
        zeros_before = np.concatenate([[0], np.cumsum(~ones)])
        up = (bound >> bit) & 1 == 1
        low, high = zeros_before[start], zeros_before[end]
        count += np.where(up, high - low, 0)
        zeros = int(zeros_before[-1])
        start = np.where(up, zeros + start - low, low)
        end = np.where(up, zeros + end - high, high)
        values = np.concatenate([values[~ones], values[ones]])
    return count
