"""Tiles: what a key's events of an hour, a day, a week or a month come to; windows add them up.

A window of ninety days is made of two months, some weeks and a dozen days; a new day is one more
tile.
Tiles keep what can be merged: counts, sums, least and greatest values, last values, distinct values
(or a sketch of them). They are computed by the very code that computes columns, from the events of
their time alone, and folded by it too: whole numbers come out bit for bit as from the events,
fractions to the rounding of sums in another order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from bowerbird.data.features import asof, events
from bowerbird.data.features.asof import Found
from bowerbird.data.features.columns import (
    DAY,
    Age,
    By,
    Column,
    Count,
    Decayed,
    Distinct,
    First,
    Interval,
    Last,
    Max,
    Mean,
    Min,
    Occasions,
    Ratio,
    Since,
    Sum,
    duration,
    longest_window,
    walk,
)
from bowerbird.data.features.events import type_of
from bowerbird.data.features.keys import distinct, places
from bowerbird.data.features.timeline import rows_of
from bowerbird.lake.parts import EPOCH, micros

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.data.features.timeline import Ints

HOUR: Final = DAY // 24

TIME = "\0time"
"""The moment from which an event counts, among a tile's events."""
END = "end"
"""A tile's end, among its columns."""
ROW = "\0row"
"""A tile's place, where it is asked which tiles a window has."""


class Grain(StrEnum):
    """The coarsest first. A week begins on Monday."""

    MONTH = "month"
    WEEK = "week"
    DAY = "day"
    HOUR = "hour"


_WIDTHS: Final = {Grain.WEEK: 7 * DAY, Grain.DAY: DAY, Grain.HOUR: HOUR}
_MONDAY: Final = 4 * DAY
"""The first one after 1970 began, which was on a Thursday."""
_WORTH: Final = {Grain.MONTH: 60 * DAY, Grain.WEEK: 14 * DAY, Grain.DAY: 2 * DAY}
"""The shortest window that a grain is worth its tiles for, where there is a finer one."""


class Span(NamedTuple):
    """The time `[start, end)` of a tile, in microseconds."""

    grain: Grain
    start: int
    end: int


# -- which tiles -----------------------------------------------------------------------------------


def grains_of(columns: Mapping[str, Column], every: str) -> tuple[Grain, ...]:
    """The grains whose tiles make up every window at every moment, the coarsest first; none: no
    tiles do."""
    if by_of(columns) is None:
        return ()
    parts = [part for column in columns.values() for part in walk(column)]
    lengths = [duration(over) for part in parts if (over := getattr(part, "over", None))]
    lengths.append(duration(every))
    fitting = (
        grain
        for grain in (Grain.DAY, Grain.HOUR)
        if all(length % _WIDTHS[grain] == 0 for length in lengths)
    )
    finest = next(fitting, None)
    if finest is None:
        return ()
    longest = longest_window(columns.values())
    coarser = itertools.takewhile(lambda grain: grain is not finest, Grain)
    worth = (one for one in coarser if longest is None or duration(longest) >= _WORTH[one])
    return (*worth, finest)


def by_of(columns: Mapping[str, Column]) -> str | None:
    """The field by which tiles are split besides by key; empty: by none.

    None: no tiles make up these columns. They are split by one field, and what is not by it must
    come out of the parts: of the last of several values of a day no part knows which it is.
    """
    fields = {column.by for column in columns.values() if isinstance(column, By)}
    if len(fields) > 1:
        return None
    others = [
        part
        for column in columns.values()
        if fields and not isinstance(column, By)
        for part in walk(column)
    ]
    whole = (Count, Sum, Mean, Min, Max, Since, Age, Ratio)
    return next(iter(fields), "") if all(isinstance(part, whole) for part in others) else None


def spans(grain: Grain, start: int, end: int) -> Iterator[Span]:
    """The tiles of a grain that lie wholly in `[start, end)`."""
    if grain is not Grain.MONTH:
        width, first = _WIDTHS[grain], _MONDAY if grain is Grain.WEEK else 0
        for at in range(-(-(start - first) // width) * width + first, end - width + 1, width):
            yield Span(grain, at, at + width)
        return
    at = _month(start)
    at = at if at == start else _next_month(at)
    while (after := _next_month(at)) <= end:
        yield Span(grain, at, after)
        at = after


def cover(grains: Sequence[Grain], start: int, end: int) -> list[Span]:
    """Tiles that make up `[start, end)`: of the coarsest grain as many as there is room for, of the
    next ones at both ends. grains: the coarsest first."""
    if not grains:
        return []
    whole = list(spans(grains[0], start, end))
    if not whole:
        return cover(grains[1:], start, end)
    before, after = (start, whole[0].start), (whole[-1].end, end)
    return [*cover(grains[1:], *before), *whole, *cover(grains[1:], *after)]


def _month(at: int) -> int:
    moment = EPOCH + timedelta(microseconds=at)
    return micros(moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def _next_month(at: int) -> int:
    moment = EPOCH + timedelta(microseconds=at)
    return micros((moment.replace(day=1) + timedelta(days=32)).replace(day=1))


# -- what a tile keeps -----------------------------------------------------------------------------


def accumulators(columns: Mapping[str, Column]) -> dict[str, Column]:
    """What tiles keep for these columns: name -> the column that it is of the tile's events.

    A window says nothing of a tile, so columns that differ by their window share accumulators.
    """
    kept: dict[str, Column] = {"n": Count()}
    lists: dict[str, int] = {}
    for column in columns.values():
        for part in walk(column):
            match part:
                case Occasions():
                    kept["occasions"] = Occasions()
                case Since() | Age() | Interval():
                    kept["first_at"], kept["last_at"] = Min(TIME), Max(TIME)
                    kept["occasions"] = Occasions()
                case Count(_, str() as name):
                    kept[f"n__{name}"] = Count(None, name)
                case Sum(name, _):
                    kept[f"sum__{name}"] = Sum(name)
                case Mean(name, _):
                    kept[f"sum__{name}"], kept[f"n__{name}"] = Sum(name), Count(None, name)
                case Min(name, _):
                    kept[f"min__{name}"] = Min(name)
                case Max(name, _):
                    kept[f"max__{name}"] = Max(name)
                case First(name):
                    kept[f"first__{name}"] = First(name)
                case Last(name, n, _):
                    lists[name] = max(lists.get(name, 1), n or 1)
                case Distinct(name, _, None):
                    kept[f"distinct__{name}"] = Distinct(name)
                case Distinct(name, _, int() as size):
                    kept[f"sketch{size}__{name}"] = Distinct(name, None, size)
                case Decayed(half_life, field):
                    kept[_decayed_name(half_life, field)] = Decayed(half_life, field)
    return kept | {f"last__{name}": Last(name, n=n) for name, n in lists.items()}


def _decayed_name(half_life: str, field: str | None) -> str:
    return f"decayed{half_life}__{field or ''}"


def distinct_error(sketch: int) -> float:
    """The relative standard error of a distinct count from sketches of ``2^sketch`` slots.

    HyperLogLog's 1.04 / sqrt(slots) (Flajolet et al., 2007); `datasketches` stays a little below.
    """
    return 1.04 / math.sqrt(2**sketch)


def tile(
    kept: Mapping[str, Column],
    rows: pa.Table,
    key: Sequence[str],
    at: str,
    span: Span,
    known_at: str = "",
    by: str = "",
) -> pa.Table:
    """A row a key with events in a span: the key, ``start``, ``end`` and what is kept of them.

    rows: the source's; those outside the span are left out here. by: a field that splits a key's
    events into several rows; those without a value of it are a row too.
    """
    import pyarrow as pa

    rows, times = events.counted_from(rows, key, at, known_at)
    key = [*key, by] if by else key
    inside = (times >= span.start) & (times < span.end)
    rows = rows.filter(pa.array(inside)).append_column(TIME, _moments(times[inside]))
    plain = {n: column for n, column in kept.items() if not isinstance(column, Distinct)}
    events.events_of(rows.slice(0, 0), key, TIME, plain)  # what cannot be computed is said first
    asked, found = _grouped(plain, rows, key)
    asked = asked.append_column("at", _moments(_full(span.end, asked)))
    rest = {name: column for name, column in plain.items() if name not in found}
    if rest:
        ready = events.events_of(rows, key, TIME, rest)
        answer = events.values(rest, ready, asked)
        found |= {name: answer[name] for name in rest}
    made = {name: asked[name] for name in key}
    made["start"], made[END] = _moments(_full(span.start, asked)), asked["at"]
    for name, column in kept.items():
        if isinstance(column, Distinct):
            made[name] = _sets(column, rows, key, asked)
        else:
            made[name] = found[name]
    return pa.table(made)


def _grouped(
    columns: Mapping[str, Column], rows: pa.Table, key: Sequence[str]
) -> tuple[pa.Table, dict[str, pa.Array]]:
    """The distinct keys, in order, and of each what one grouping gives: counts, sums, extremes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted: dict[str, tuple[str, str]] = {}
    for name, column in columns.items():
        match column:
            case Count(None, field):
                wanted[name] = (field or "", "count" if field else "count_all")
            case Sum(field, None) | Min(field, None) | Max(field, None):
                wanted[name] = (field, type(column).__name__.lower())
    fields = list(dict.fromkeys(field for field, _ in wanted.values() if field))
    types = {field: rows.schema.field(field).type for field in fields}
    narrow = rows.select(list(key))
    for field in fields:  # under a name of its own: a key may be a field too
        narrow = narrow.append_column(f"\0{field}", _cleaned(rows[field]))
    hows = [(f"\0{field}" if field else [], how) for field, how in dict.fromkeys(wanted.values())]
    # One thread adds in one order: fractions come out the same each time.
    grouped = narrow.group_by(list(key), use_threads=False).aggregate(hows)
    grouped = grouped.sort_by([(name, "ascending") for name in key])
    found = {}
    for name, (field, how) in wanted.items():
        kind = type_of(columns[name], types)
        values = grouped[f"\0{field}_{how}" if field else how].cast(kind)
        found[name] = pc.coalesce(values, pa.scalar(0, kind)) if how == "sum" else values
    return grouped.select(list(key)), found


def _cleaned(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A field with what is no number as null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
    if pa.types.is_decimal(values.type):
        return values.cast(pa.float64())
    return values.cast(pa.int64()) if pa.types.is_boolean(values.type) else values


def _full(value: int, asked: pa.Table) -> Ints:
    return np.full(asked.num_rows, value, dtype=np.int64)


def _moments(times: Ints) -> pa.Array:
    import pyarrow as pa

    return pa.array(times, pa.timestamp("us", tz="UTC"))


_VALUE = "\0value"


def _sets(column: Distinct, rows: pa.Table, key: Sequence[str], asked: pa.Table) -> pa.Array:
    """The distinct values of a field by key: a list of them, or a sketch, in the asked order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = rows[column.field]
    there = pc.is_valid(values)
    if pa.types.is_floating(values.type):
        there = pc.and_(there, pc.is_finite(values))
    # Under a name of its own: a key may be a field too.
    some = rows.select(list(key)).append_column(_VALUE, values).filter(there)
    grouped = some.group_by([*key, _VALUE], use_threads=False).aggregate([])
    listed = grouped.group_by(list(key), use_threads=False).aggregate([(_VALUE, "list")])
    place = places(asked.select(list(key)), listed.select(list(key)))
    kind = pa.list_(values.type)
    empty = pa.scalar([], kind)
    found = listed[f"{_VALUE}_list"].cast(kind).take(pa.array(place, mask=place < 0))
    lists = pc.coalesce(found, empty)
    if column.sketch is None:
        return lists
    return pa.array([_sketched(one, column.sketch) for one in lists.to_pylist()], pa.binary())


def _sketched(values: Iterable[object], size: int) -> bytes:
    from datasketches import hll_sketch

    sketch = hll_sketch(size)
    for value in values:
        sketch.update(value if isinstance(value, (int, float, str)) else str(value))
    return bytes(sketch.serialize_compact())


# -- windows from tiles ----------------------------------------------------------------------------


def windows_of(columns: Mapping[str, Column]) -> tuple[str | None, ...]:
    """The windows whose tiles the columns are folded from; None: all there are."""
    found: dict[str | None, None] = {}
    for column in columns.values():
        for part in walk(column):
            if not isinstance(part, (Ratio, By)):
                found[getattr(part, "over", None)] = None
    return tuple(found)


def fold(
    columns: Mapping[str, Column],
    tiles: Callable[[str | None], pa.Table],
    key: Sequence[str],
    types: Mapping[str, pa.DataType],
    keys: pa.Table,
    moment: int,
) -> pa.Table:
    """The columns of some keys at one moment, in the order of the keys.

    tiles: window -> the tiles that make it up before the moment, none of which overlap.
    types: of the source's fields.
    """
    import pyarrow as pa

    plain = {name: column for name, column in columns.items() if not isinstance(column, By)}
    folded = _Folded(plain, tiles, key, keys.select(list(key)), moment)
    made = {}
    for name, column in columns.items():
        if isinstance(column, By):
            made[name] = _mapped(column, tiles(column.column.over), key, types, keys, moment)
            continue
        found = folded.value(column)
        made[name] = events.arrow(column, found, types, folded.texts(column))
    return pa.table(made)


def _mapped(
    column: By,
    tiles: pa.Table,
    key: Sequence[str],
    types: Mapping[str, pa.DataType],
    keys: pa.Table,
    moment: int,
) -> pa.Array:
    """A column by its second key: folded for each value of that, and put into maps."""
    import pyarrow as pa

    both = [*key, column.by]
    tiles = tiles.filter(_cleaned(tiles[column.by]).is_valid())
    pairs = distinct(tiles, both)
    counted = pairs.group_by(list(key), use_threads=False).aggregate([([], "count_all")])
    ends = np.concatenate([[0], np.cumsum(counted["count_all"].to_numpy())])
    place = places(keys.select(list(key)), counted.select(list(key)))
    start, end = ends[place], np.where(place < 0, ends[place], ends[place + 1])
    values = fold({"": column.column}, lambda _: tiles, both, types, pairs, moment)[""]
    kind = type_of(column, types)
    offsets = pa.array(np.concatenate([[0], np.cumsum(end - start)]), pa.int32())
    inside = pa.array(rows_of(start, end))
    names = pairs[column.by].combine_chunks().take(inside).cast(kind.key_type)
    items = values.combine_chunks().take(inside)
    return pa.MapArray.from_arrays(offsets, names, items, type=kind)


def rolls(columns: Mapping[str, Column], types: Mapping[str, pa.DataType]) -> bool:
    """Whether a moment's values are those of the moment before, with what came added and what left
    a window taken away: counts and sums of whole numbers alone, bit for bit as from all tiles.

    One of them counts the events of the longest window: a key that has none is left out.
    """
    import pyarrow as pa

    for column in columns.values():
        if not isinstance(column, (Count, Occasions, Sum)) or type_of(column, types) != pa.int64():
            return False
    return Count(longest_window(columns.values())) in columns.values()


def roll(
    columns: Mapping[str, Column],
    before: pa.Table,
    came: pa.Table,
    gone: Mapping[str, pa.Table],
    key: Sequence[str],
) -> pa.Table:
    """The key and the columns of every key that has an event, from those of the moment before.

    came: the tiles since then. gone: window -> the tiles that have left it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    def part(rows: pa.Table, sign: int, over: object) -> pa.Table:
        made = {name: rows[name] for name in key}
        for name, column in columns.items():
            ((kept, _),) = totals_of(column)[column.over]  # type: ignore[union-attr] # all have one
            mine = over is Ellipsis or column.over == over  # type: ignore[union-attr]
            zero = pa.scalar(0, pa.int64())
            made[name] = pc.multiply(rows[kept], sign if mine else zero)
        return pa.table(made)

    left = [part(rows, -1, over) for over, rows in gone.items()]
    whole = pa.concat_tables([before.select([*key, *columns]), part(came, 1, Ellipsis), *left])
    sums = [(name, "sum") for name in columns]
    added = whole.group_by(list(key), use_threads=False).aggregate(sums)
    found = added.select([*key, *(f"{name}_sum" for name in columns)])
    found = found.rename_columns([*key, *columns])
    count = next(
        n for n, column in columns.items() if column == Count(longest_window(columns.values()))
    )
    return found.filter(pc.greater(found[count], 0))


Total = tuple[str, str]
"""What is kept, and how it is merged over tiles: ``("sum__amount", "sum")``."""


def totals_of(column: Column) -> dict[str | None, list[Total]]:
    """What a column needs of the tiles of each window, of what is merged by a sum or an extreme."""
    found: dict[str | None, list[Total]] = {}
    for part in walk(column):
        over = getattr(part, "over", None)
        wanted: list[Total] = []
        match part:
            case Count(_, name):
                wanted = [(f"n__{name}" if name else "n", "sum")]
            case Occasions():
                wanted = [("occasions", "sum")]
            case Sum(name, _):
                wanted = [(f"sum__{name}", "sum")]
            case Mean(name, _):
                wanted = [(f"sum__{name}", "sum"), (f"n__{name}", "sum")]
            case Min(name, _):
                wanted = [(f"min__{name}", "min")]
            case Max(name, _):
                wanted = [(f"max__{name}", "max")]
            case Since() | Age() | Interval():
                wanted = [("first_at", "min"), ("last_at", "max"), ("occasions", "sum")]
            case Decayed(half_life, name):
                wanted = [(_decayed_name(half_life, name), half_life)]
        found.setdefault(over, []).extend(wanted)
    return found


class _Window:
    """The tiles of one window, and what a key's tiles come to."""

    def __init__(self, tiles: pa.Table, key: Sequence[str], keys: pa.Table, moment: int) -> None:
        self.tiles = tiles.append_column(TIME, _moments(events.microseconds(tiles[END]) - 1))
        self._key, self._keys, self._moment = list(key), keys, moment
        self._ready: dict[str, tuple[events.Events, Ints]] = {}
        self._totals: dict[Total, Found] = {}

    def add_up(self, wanted: Iterable[Total]) -> None:
        """Merge what is wanted of the tiles, all of it in one pass over them."""
        totals = list(dict.fromkeys(wanted))
        rows = self.tiles.select([*self._key, *dict.fromkeys(name for name, _ in totals)])
        for name, how in totals:
            if how not in ("sum", "min", "max"):
                rows = rows.set_column(
                    rows.schema.get_field_index(name), name, self._weighed(name, how)
                )
        hows = [(name, how if how in ("min", "max") else "sum") for name, how in totals]
        # One thread adds in one order: fractions come out the same each time.
        grouped = rows.group_by(self._key, use_threads=False).aggregate(hows)
        place = places(self._keys, grouped.select(self._key))
        lacking = place < 0
        for total, (name, how) in zip(totals, hows, strict=True):
            numbers, mask, _ = events.numbers_of(grouped[f"{name}_{how}"], name)
            values = (
                numbers[np.maximum(place, 0)]
                if len(numbers)
                else np.zeros(len(place), numbers.dtype)
            )
            missing = lacking if mask is None else lacking | ~mask[np.maximum(place, 0)]
            self._totals[total] = Found(np.where(missing, 0, values), missing)

    def _weighed(self, name: str, half_life: str) -> pa.Array:
        """Decayed sums as of the moment, from those as of the tiles' ends."""
        import pyarrow as pa

        age = self._moment - events.microseconds(self.tiles[END])
        return pa.array(self.tiles[name].to_numpy() * np.exp2(-age / duration(half_life)))

    def total(self, name: str, how: str = "sum") -> Found:
        found = self._totals[name, how]
        return found if how in ("min", "max") else Found(found.values)

    def look(self, column: Column, ready: events.Events, place: Ints) -> Found:
        at = np.full(self._keys.num_rows, self._moment, dtype=np.int64)
        return asof.find({"": column}, ready.line, place, at)[""]

    def kept(self, name: str) -> tuple[events.Events, Ints]:
        """What the tiles keep under a name as events: each just before its tile's end; of a list,
        one a value, in the order of the tiles and of the list."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if name not in self._ready:
            if name == ROW:
                values = pa.array(np.arange(self.tiles.num_rows))
                rows = self.tiles.select([*self._key, TIME])
            elif pa.types.is_nested(self.tiles.schema.field(name).type):
                lists = self.tiles[name].combine_chunks()
                rows = self.tiles.select([*self._key, TIME]).take(pc.list_parent_indices(lists))
                values = pc.list_flatten(lists)
            else:
                rows, values = self.tiles.select([*self._key, TIME]), self.tiles[name]
            ready = events.events_of(
                rows.append_column(name, values), self._key, TIME, {name: Count(None, name)}
            )
            self._ready[name] = ready, ready.find(self._keys)
        return self._ready[name]


class _Folded:
    """Each column as one of the tiles of its window."""

    def __init__(
        self,
        columns: Mapping[str, Column],
        tiles: Callable[[str | None], pa.Table],
        key: Sequence[str],
        keys: pa.Table,
        moment: int,
    ) -> None:
        wanted: dict[str | None, list[Total]] = {over: [] for over in windows_of(columns)}
        for column in columns.values():
            for over, totals in totals_of(column).items():
                wanted[over] = wanted.get(over, []) + totals
        self._windows = {over: _Window(tiles(over), key, keys, moment) for over in wanted}
        for over, totals in wanted.items():
            if totals:
                self._windows[over].add_up(totals)
        self._rows, self._moment = keys.num_rows, moment

    def texts(self, column: Column) -> dict[str, pa.Array]:
        """What the numbers of a field of texts stand for, in the answer of a column."""
        match column:
            case Last(field, _, over):
                name = f"last__{field}"
            case First(field):
                name, over = f"first__{field}", None
            case _:
                return {}
        found = self._windows[over].kept(name)[0].texts.get(name)
        return {} if found is None else {field: found}

    def value(self, column: Column) -> Found:
        match column:
            case Count(over, name):
                return self._windows[over].total(f"n__{name}" if name else "n")
            case Occasions(over):
                return self._windows[over].total("occasions")
            case Sum(name, over):
                return self._windows[over].total(f"sum__{name}")
            case Mean(name, over):
                return asof.quotient(self.value(Sum(name, over)), self.value(Count(over, name)))
            case Min(name, over):
                return self._windows[over].total(f"min__{name}", "min")
            case Max(name, over):
                return self._windows[over].total(f"max__{name}", "max")
            case First(name):
                return self._kept(None, f"first__{name}", First(f"first__{name}"))
            case Last(name, n, over):
                return self._kept(over, f"last__{name}", Last(f"last__{name}", n))
            case Distinct(name, over, None):
                return self._kept(over, f"distinct__{name}", Distinct(f"distinct__{name}"))
            case Distinct(name, over, int() as size):
                return self._union(over, f"sketch{size}__{name}", size)
            case Since():
                return self._days("last_at", "max")
            case Age():
                return self._days("first_at", "min")
            case Interval():
                between = self.value(Age()).values - self.value(Since()).values
                gaps = np.maximum(self.value(Occasions()).values - 1, 0)
                return asof.quotient(Found(between), Found(gaps))
            case Decayed(half_life, name):
                return self._windows[None].total(_decayed_name(half_life, name), half_life)
            case Ratio(above, below):
                return asof.quotient(self.value(above), self.value(below))
        raise TypeError(f"no tiles are kept for {column!r}")

    def _kept(self, over: str | None, name: str, column: Column) -> Found:
        window = self._windows[over]
        return window.look(column, *window.kept(name))

    def _days(self, name: str, how: str) -> Found:
        found = self._windows[None].total(name, how)
        return Found((self._moment - found.values) / DAY, found.missing)

    def _union(self, over: str | None, name: str, size: int) -> Found:
        """Sketches of each key's tiles merged."""
        from datasketches import hll_sketch, hll_union

        rows = self._kept(over, ROW, Last(ROW, n=100_000))
        assert rows.offsets is not None  # noqa: S101 - it is a list
        sketches = self._windows[over].tiles[name].to_pylist()
        counts = np.zeros(self._rows, dtype=np.int64)
        for place, (start, end) in enumerate(itertools.pairwise(rows.offsets)):
            union = hll_union(size)
            for row in rows.values[start:end]:
                union.update(hll_sketch.deserialize(sketches[row]))
            counts[place] = round(union.get_estimate()) if end > start else 0
        return Found(counts)
