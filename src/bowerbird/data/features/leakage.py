"""An audit against leaks: what a row's features would have been, had nothing come after its moment.

A leak is found by what it does: rows are drawn, each is computed once more from the events strictly
before its moment alone (by event time, and by the time from which an event could be read), and what
was staged must be the same. It needs no trust in how the features were computed: SQL, a function, a
table that somebody else made.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bowerbird.core.errors import UserError
from bowerbird.data.features.compute import compute
from bowerbird.data.features.events import microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from bowerbird.data.features.specs import FeatureGroup, Place
    from bowerbird.data.features.timeline import Ints, Mask


class LeakageError(UserError):
    """What stands beside a row was computed from what came after it."""


class Leak(msgspec.Struct, frozen=True):
    """A feature that saw more than was known. row: where it lies among the audited rows.

    found: the staged value; blind: what it is from earlier events alone.
    """

    column: str
    row: int
    key: dict[str, Any]
    moment: int
    found: Any
    blind: Any

    def __str__(self) -> str:
        when = np.datetime64(self.moment, "us")
        key = ", ".join(f"{name}={value}" for name, value in self.key.items())
        seen = f"and {self.blind} without its future"
        return f"{self.column} of {key} at {when}Z is {self.found}, {seen}"


class Audit(msgspec.Struct, frozen=True):
    """What an audit found. rows: of so many, `audited` were computed once more.

    future: rows whose moment lies after the row itself (an alignment by `Latest`).
    """

    rows: int
    audited: int
    leaks: tuple[Leak, ...] = ()
    future: int = 0

    @property
    def clean(self) -> bool:
        return not self.leaks and not self.future


def audit(
    group: FeatureGroup,
    events: pa.Table,
    asked: pa.Table,
    staged: pa.Table,
    *,
    at: Ints | None = None,
    cut: Sequence[str] = (),
    sample: int = 200,
    seed: int = 0,
    place: Place = "local",
) -> Audit:
    """Draw rows of what was staged for `asked` (key, ``at``: the moments) and compute them blind.

    events: the source's rows, also those to come. at: the rows' own times. cut: columns of the key
    by whose buckets or partitions the events were cut: there a row must not see other values'
    events, of which others would be there if the tables lay otherwise.
    """
    import pyarrow as pa

    moments = microseconds(asked["at"].fill_null(0))
    future = 0 if at is None else int((moments > at).sum())
    drawn = np.sort(np.random.default_rng(seed).permutation(len(moments))[:sample])
    known = microseconds(events[group.at].fill_null(0))
    if group.known_at:
        known = np.maximum(known, microseconds(events[group.known_at].fill_null(0)))
    cut = group.key if group.columns else cut  # a column sees its own key alone
    own = _of_keys(events, asked.take(pa.array(drawn)), cut)
    events, known = events.filter(pa.array(own)), known[own]
    leaks: list[Leak] = []
    for moment in np.unique(moments[drawn]):
        rows = drawn[moments[drawn] == moment]
        some = asked.take(pa.array(rows))
        before = events.filter(pa.array((known < moment) & _of_keys(events, some, cut)))
        blind = compute(group, before, some, place)
        leaks += _different(group, some, staged.take(pa.array(rows)), blind, rows, int(moment))
    return Audit(len(moments), len(drawn), tuple(leaks), future)


def refuse(found: Audit, group: FeatureGroup, where: str) -> None:
    """Raise `LeakageError` for what an audit found. where: the place in the user's words."""
    if found.leaks:
        raise LeakageError(
            f"{group.ref.name} reads the future: {found.leaks[0]}",
            where=where,
            expected="the same values without what came after the row's moment, and without other "
            "keys that lie in the same bucket or partition",
            fix="compare with the asked moment by <, with the asked key by =, or declare known_at=",
        )
    if found.future:
        raise LeakageError(
            f"the moment of {found.future:,} of {found.rows:,} rows lies after the row",
            where=where,
            expected="an alignment by PointInTime or DayBoundary, for rows to train on",
        )


def _of_keys(events: pa.Table, asked: pa.Table, names: Sequence[str]) -> Mask:
    """Which events have, of each of these columns, a value that some asked row has too."""
    import pyarrow.compute as pc

    own = np.ones(events.num_rows, dtype=bool)
    for name in names:
        own &= np.asarray(pc.is_in(events[name], value_set=asked[name].unique()))
    return own


def _different(
    group: FeatureGroup,
    asked: pa.Table,
    staged: pa.Table,
    blind: pa.Table,
    rows: Ints,
    moment: int,
) -> Sequence[Leak]:
    keys = asked.select(list(group.key)).to_pylist()
    found = []
    for name in group.names:
        pairs = zip(staged[name].to_pylist(), blind[name].to_pylist(), strict=True)
        for place, (had, seen) in enumerate(pairs):
            if not same(had, seen):
                found.append(Leak(name, int(rows[place]), keys[place], moment, had, seen))
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, to the rounding of sums in another order."""
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
