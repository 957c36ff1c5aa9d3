"""What is put beside the rows of one bucket: features, staged columns, sequences.

Each side is first matched: which of its rows belong to each row of the set, as places (whole
numbers, eight bytes a row). Values are gathered late, for the rows of a batch: nothing else is ever
wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from bowerbird.core.errors import UserError
from bowerbird.data.features.compute import prepared
from bowerbird.data.features.events import microseconds
from bowerbird.data.features.leakage import Audit, audit, refuse
from bowerbird.data.samples.arrays import NULL, all_in_order, joint_codes, lists_of
from bowerbird.data.samples.leakage import refuse_leaks
from bowerbird.data.samples.sequences import actions
from bowerbird.data.samples.specs import batch_name
from bowerbird.lake.arrays import one_piece
from bowerbird.lake.schema import as_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from bowerbird.data.features.specs import FeatureGroup
    from bowerbird.data.samples.specs import Beside, SequenceOf

Ints = npt.NDArray[np.int64]


class Side(Protocol):
    """A table matched to n askers (rows, or requests)."""

    @property
    def nbytes(self) -> int: ...

    def at(self, askers: Ints) -> Side:
        """Matched to these askers, in their order."""
        ...

    def gather(self, askers: Ints | slice) -> dict[str, pa.Array]:
        """Column -> the values of some askers, in their order."""
        ...


@dataclass(frozen=True, eq=False)
class Computed:
    """A feature group's values: a row an asker."""

    values: pa.Table

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes)

    def at(self, askers: Ints) -> Computed:
        import pyarrow as pa

        return (
            self
            if all_in_order(askers, len(self.values))
            else Computed(pa.table(self.gather(askers)))
        )

    def gather(self, askers: Ints | slice) -> dict[str, pa.Array]:
        if not isinstance(askers, slice):
            return _taken(self.values, askers)
        names, length = self.values.column_names, askers.stop - askers.start
        return {n: one_piece(self.values.column(n)).slice(askers.start, length) for n in names}


@dataclass(frozen=True, eq=False)
class Matched:
    """A table's rows; `places` (n,) is each asker's row, -1 where it has none."""

    rows: pa.Table
    places: Ints

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes) + self.places.nbytes

    def at(self, askers: Ints) -> Matched:
        return Matched(self.rows, self.places[askers])

    def gather(self, askers: Ints | slice) -> dict[str, pa.Array]:
        return _taken(self.rows, self.places[askers])


@dataclass(frozen=True, eq=False)
class Earlier:
    """A log's rows by key and time; asker i's sequence is ``start[i]:end[i]`` of them."""

    rows: pa.Table
    start: Ints
    end: Ints

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes) + self.start.nbytes + self.end.nbytes

    def at(self, askers: Ints) -> Earlier:
        return Earlier(self.rows, self.start[askers], self.end[askers])

    def gather(self, askers: Ints | slice) -> dict[str, pa.Array]:
        start, end = self.start[askers], self.end[askers]
        return {
            name: lists_of(one_piece(self.rows.column(name)), start, end)
            for name in self.rows.column_names
        }


def _taken(rows: pa.Table, places: Ints) -> dict[str, pa.Array]:
    """The rows at some places; null at -1."""
    import pyarrow as pa

    missing = places < 0
    index = pa.array(places, mask=missing) if missing.any() else pa.array(places)
    return {name: one_piece(rows.column(name)).take(index) for name in rows.column_names}


@dataclass(frozen=True, eq=False)
class OpenGroup:
    """A group's events, to be asked many times. nbytes: about what is held of them.

    events: of SQL and of a function, whose answers are audited; None: columns, which cannot leak.
    cut: the column of the key by whose buckets the events were cut.
    """

    group: FeatureGroup
    answer: Callable[[pa.Table], pa.Table]
    events: pa.Table | None
    cut: tuple[str, ...]
    nbytes: int

    def audited(self, asked: pa.Table, found: pa.Table, at: Ints, sample: int) -> Audit:
        """What an audit of an answer finds. at: the askers' own times."""
        if self.events is None:
            moments = microseconds(asked.column("at"))
            return Audit(len(at), 0, future=int((moments > at).sum()))
        return audit(self.group, self.events, asked, found, at=at, cut=self.cut, sample=sample)


def open_group(group: FeatureGroup, events: pa.Table, cut: tuple[str, ...] = ()) -> OpenGroup:
    """Sort a group's events once; keys, places and times of them are held, and sums a column."""
    held = events.num_rows * 8 * (4 + 2 * len(group.columns)) if group.columns else 0
    kept = None if group.columns else events
    return OpenGroup(group, prepared(group, events), kept, cut, int(events.nbytes) + held)


def computed(opened: OpenGroup, name: str, asked: pa.Table, at: Ints, sample: int) -> Computed:
    """A feature group's values, its columns named for the batch.

    Of the types that a table of them would have: staged and promoted, a fraction is a double and
    stays one, for nobody can tell a promoted column from the rows' own, of which some must not be
    rounded. Who wants less says ``Cast((…), "float32")``; what scales gives float32 by itself.

    asked: its key, and ``at``: the moments that the values are of. at: the askers' own times.
    sample: so many answers are audited. Raises `LeakageError` for values from after their moment.
    """
    values = opened.answer(asked)
    if sample:
        refuse(opened.audited(asked, values, at, sample), opened.group, str(opened.group.ref))
    names = [batch_name(name, column) for column in values.column_names]
    return Computed(values.cast(as_stored(values.schema)).rename_columns(names).combine_chunks())


def only(asked: Ints, known: Ints, what: str, key: str) -> Ints:
    """The place of each asked key's only row, -1 where it has none.

    Raises `UserError` for a key that is asked for and has several.
    """
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], asked)
    inside = np.minimum(place, max(len(known) - 1, 0))
    if not len(known):
        return np.full(len(asked), -1, dtype=np.int64)
    found = (known[order][inside] == asked) & (asked != NULL)
    following = np.minimum(inside + 1, len(known) - 1)
    twice = found & (following > inside) & (known[order][following] == asked)
    if twice.any():
        raise UserError(
            f"{what} has several rows of one {key} for {int(twice.sum()):,} rows of the set",
            expected="one row a key, or a time by which one of them is taken",
            fix="Beside(…, at=…), or a table without the other rows",
        )
    return np.where(found, order[inside], -1)


def matched(
    side: Beside,
    name: str,
    columns: Sequence[str],
    rows: pa.Table,
    key: Sequence[str],
    asked: Sequence[pa.Array],
    at: Ints,
) -> Matched:
    """A table beside askers, by the only row of their key, or the last one known by their time.

    rows: of the table. asked: the askers' key columns; at: their times. Raises `LeakageError` where
    what is put beside them was computed through a later moment than theirs.
    """
    mine, known = joint_codes([asked, [rows.column(column) for column in key]])
    if side.at:
        places = _latest(mine, known, rows.column(side.at), at + (side.known == "at"))
    else:
        places = only(mine, known, side.table, ", ".join(key))
    if side.through:
        there = np.flatnonzero(places >= 0)
        through = microseconds(rows.column(side.through).fill_null(0))[places[there]]
        refuse_leaks({f"{side.table}: {side.through}": through}, at[there])
    kept = rows.select(list(columns)).rename_columns(
        [batch_name(name, column) for column in columns]
    )
    return Matched(kept.combine_chunks(), places)  # once, not each time that rows are gathered


def _latest(asked: Ints, known: Ints, times: pa.ChunkedArray, before: Ints) -> Ints:
    """The place of each key's last row strictly before a moment, -1 where it has none."""
    valid = np.asarray(one_piece(times.is_valid()).to_numpy(zero_copy_only=False), dtype=bool)
    kept = np.flatnonzero(valid & (known != NULL))
    log = actions(known[kept], np.zeros(len(kept)), microseconds(times.fill_null(0))[kept])
    start, end = log.before(np.where(asked == NULL, known.max(initial=0) + 1, asked), before)
    found = end > start
    if not len(kept):
        return np.full(len(asked), -1, dtype=np.int64)
    return np.where(found, kept[log.order[np.where(found, end - 1, 0)]], -1)


def earlier(
    side: SequenceOf,
    name: str,
    rows: pa.Table,
    key: Sequence[str],
    asked: Sequence[pa.Array],
    at: Ints,
) -> Earlier:
    """The last rows of each asker's key strictly before its time.

    Rows without a time, or of which a part of the key is null, belong to nobody.
    """
    rows = _of_kind(rows, side.where)
    rows = rows.filter(one_piece(rows.column(side.at)).is_valid())
    # Numbered as they first lie there: a log that lies by key and time is not moved.
    known, mine = joint_codes([[rows.column(column) for column in key], asked])
    kept = np.flatnonzero(known != NULL)
    log = actions(known[kept], np.zeros(len(kept)), microseconds(rows.column(side.at))[kept])
    start, end = log.before(np.where(mine == NULL, known.max(initial=0) + 1, mine), at)
    columns = rows.select(list(side.columns))
    lying = (
        columns if _ascending(kept[log.order], len(columns)) else _moved(columns, kept[log.order])
    )
    return Earlier(
        lying.rename_columns(
            [batch_name(name, column) for column in side.columns]
        ).combine_chunks(),
        np.maximum(start, end - side.last),
        end,
    )


def _ascending(places: Ints, count: int) -> bool:
    return len(places) == count and bool((np.diff(places) > 0).all())


def _moved(rows: pa.Table, places: Ints) -> pa.Table:
    import pyarrow as pa

    return pa.table(_taken(rows, places)) if rows.column_names else rows


def _of_kind(rows: pa.Table, where: Mapping[str, Sequence[str | int]]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    for column, values in where.items():
        wanted = pa.array(list(values)).cast(rows.schema.field(column).type)
        rows = rows.filter(pc.is_in(rows.column(column), value_set=wanted))
    return rows
