"""Kept groups: tiles a day (an hour, a week, a month) of events, and values a moment, each a cell.

A new day is one more tile and one more moment. Late events restate the tiles of their time, and the
moments whose windows reach back to them. What tiles keep does not depend on windows, so a window
that is declared anew costs its moments and no event is read.

Where events do not lie by time, or a column cannot be folded from tiles, the group is computed
whole (`fill`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bowerbird.core.meaning import digest, tree_of
from bowerbird.core.plans import Cost, Want
from bowerbird.core.refs import Ref
from bowerbird.core.specs import Spec
from bowerbird.core.steps import Home
from bowerbird.core.targets import CellState, Read
from bowerbird.data.features import tiles
from bowerbird.data.features.columns import DAY, duration
from bowerbird.data.features.specs import FeatureGroup, calls_of
from bowerbird.data.features.tiles import Grain, Span
from bowerbird.data.making import want
from bowerbird.lake import Day, Hour, Lake, Table, hour, parts
from bowerbird.lake.specs import Bucket

if TYPE_CHECKING:
    from bowerbird.lake.specs import Transform

START = hour("start")
"""How tiles lie, of whatever grain."""
TOGETHER = 64
"""Tiles, or moments, that are committed together."""


def tiles_ref(group: FeatureGroup) -> str:
    return str(Ref("tiles", group.ref.namespace, group.ref.name))


def grains(group: FeatureGroup, specs: Mapping[str, Spec]) -> tuple[Grain, ...]:
    """The grains of a group's tiles, the coarsest first; none: it is computed whole."""
    source = specs.get(group.source)
    if not group.every or not group.columns or not isinstance(source, Table):
        return ()
    timed = any(isinstance(one, (Day, Hour)) and one.column == group.at for one in source.partition)
    return tiles.grains_of(group.columns, group.every) if timed else ()


def wants(spec: FeatureGroup, specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    """A kept group that cannot be folded from tiles wants its table whole."""
    if not spec.every or grains(spec, specs):
        return ()
    return (want(spec, "features.fill", reads=spec.refs().values(), calls=calls_of(spec)),)


def cells(
    home: Home, spec: FeatureGroup, specs: Mapping[str, Spec], present: Mapping[str, Read]
) -> tuple[Want, ...]:
    """A want a tile and a want a moment."""
    if not grains(spec, specs):
        return ()
    reads = tuple(dict.fromkeys(spec.refs().values()))
    lacking = [ref for ref in reads if present.get(ref, Read()).version is None]
    if lacking:
        tile = _tile_want(spec, reads, {})
        return (msgspec.structs.replace(tile, data=dict.fromkeys(lacking, "")),)
    lake = Lake(home)
    by = parts.split_of(lake, spec.source)
    tile = _tile_want(spec, reads, by)
    sizes = parts.sizes(lake, spec.source, present[spec.source].version)
    lie = {cell: span for cell in sizes if (span := parts.span(cell, by, spec.at))}
    # A tile whose events are gone is made anew, without a row.
    tiled = {cell for cell in present.get(tile.target, Read()).cells if cell.startswith("grain=")}
    edges = [*lie.values(), *((span.start, span.end) for span in map(span_of, tiled))]
    if not edges:
        return ()
    first, last = min(start for start, _ in edges), max(end for _, end in edges)
    if spec.known_at:
        lie = _known(lake, spec, by, present[spec.source])
    lookup = {spec.lookup: present[spec.lookup].data} if spec.lookup else {}
    tile = msgspec.structs.replace(tile, data=lookup)
    lying = parts.Lying(present[spec.source], by, spec.at, lie)
    events = Events(lie, sizes)
    made = [_tile(tile, spec, span, events, lying) for span in _spans(spec, first, last)]
    there = {one.cell for one in made if one.cost.rows or one.cell in tiled}
    value = want(spec, "features.keep", reads=(tiles_ref(spec),), calls=())
    value = msgspec.structs.replace(value, together=TOGETHER)
    moments = (
        _moment(value, spec, moment, first, there, present)
        for moment in _moments(spec, first, last)
    )
    return (*(one for one in made if one.cell in there), *moments)


def bucket_of(spec: FeatureGroup, by: Mapping[str, Transform]) -> Bucket | None:
    """How tiles and values are split besides by time: as the source is by a part of the key."""
    found = (one for one in by.values() if isinstance(one, Bucket) and one.column in spec.key)
    return next(found, None)


def second_key(group: FeatureGroup) -> str:
    """The field that splits the tiles of a kept group besides its key; empty: none does."""
    return tiles.by_of(group.columns) or ""


def _tile_want(spec: FeatureGroup, reads: tuple[str, ...], by: Mapping[str, Transform]) -> Want:
    whole = want(spec, "features.tile", reads=reads)
    keeps = tiles.accumulators(spec.columns)
    source = {name: tree_of(getattr(spec, name)) for name in ("source", "key", "at", "known_at")}
    lookup = {"lookup": spec.lookup, "lookup_by": spec.lookup_by} if spec.lookup else {}
    split = bucket_of(spec, by)
    bucketed = {"bucket": tree_of(split)} if split else {}
    field = second_key(spec)
    parted = {"by": field} if field else {}
    return msgspec.structs.replace(
        whole,
        target=tiles_ref(spec),
        definition={"keeps": tree_of(keeps), **source, **lookup, **bucketed, **parted},
        together=TOGETHER,
    )


def _spans(spec: FeatureGroup, first: int, last: int) -> Iterator[Span]:
    """All tiles of a group; the finest reach beyond the last event, the others end before it."""
    *coarse, fine = tiles.grains_of(spec.columns, spec.every)
    yield from tiles.spans(fine, _floor(first), _ceil(last))
    for grain in coarse:
        yield from tiles.spans(grain, _floor(first), last)


def _floor(at: int) -> int:
    return at // DAY * DAY


def _ceil(at: int) -> int:
    return -(-at // DAY) * DAY


class Events:
    """How many events a source has in a stretch of time, of which many are asked for."""

    def __init__(self, lie: Mapping[str, tuple[int, int]], sizes: Mapping[str, parts.Size]) -> None:
        """lie: cell -> the time of its events. sizes: cell -> what lies in it."""
        rows = [(*span, sizes[cell].rows) for cell, span in lie.items() if cell in sizes]
        self._start, self._end, self._rows = np.array(rows, dtype=np.int64).reshape(-1, 3).T

    def within(self, span: Span) -> int:
        """Those of all cells that reach into it."""
        return int(self._rows[(self._start < span.end) & (self._end > span.start)].sum())


def _tile(whole: Want, spec: FeatureGroup, span: Span, events: Events, lying: parts.Lying) -> Want:
    seen = lying.data({}, (span.start, span.end)) or parts.NOTHING
    return msgspec.structs.replace(
        whole,
        cell=tile_cell(span),
        data={spec.source: seen, **whole.data},
        cost=Cost(rows=events.within(span)),
    )


def _known(
    lake: Lake, spec: FeatureGroup, by: Mapping[str, Transform], source: Read
) -> dict[str, tuple[int, int]]:
    """cell -> the time in which its events began to count: one that came late lies in an older
    partition. To the end of time where no statistics say when they were known."""
    told = parts.bounds(lake, spec.source, source.version, spec.known_at)
    found = {}
    for cell in {*told, *source.cells}:
        lies = parts.span(cell, by, spec.at)
        if lies is not None:
            low, high = told.get(cell, (0, parts.micros(parts.END)))
            found[cell] = max(lies[0], low), max(lies[1], high + 1)
    return found


def tile_cell(span: Span) -> str:
    """The partition that a tile lies in."""
    at = parts.EPOCH + timedelta(microseconds=span.start)
    return f"grain={span.grain}/start_hour={at:%Y-%m-%d-%H}"


def span_of(cell: str) -> Span:
    """The tile of a cell; the inverse of `tile_cell`."""
    of, _, when = cell.partition("/")
    found = Grain(of.removeprefix("grain="))
    spanned = parts.span(when, {START.field: START}, "start")
    assert spanned is not None  # noqa: S101 - `tile_cell` wrote it
    return next(tiles.spans(found, spanned[0], spanned[0] + 32 * DAY))


def _moments(spec: FeatureGroup, first: int, last: int) -> range:
    """Multiples of `every` after the first event, up to the first one after the last."""
    every = duration(spec.every)
    return range((first // every + 1) * every, -(-last // every) * every + 1, every)


def _moment(
    whole: Want,
    spec: FeatureGroup,
    moment: int,
    first: int,
    there: set[str],
    present: Mapping[str, Read],
) -> Want:
    ref = tiles_ref(spec)
    data = data_of_moment(spec, moment, first, there, present.get(ref, Read()).cells)
    cell = moment_cell(spec, moment)
    return msgspec.structs.replace(whole, cell=cell, data={ref: data})


def data_of_moment(
    spec: FeatureGroup,
    moment: int,
    first: int,
    there: Container[str],
    known: Mapping[str, CellState],
) -> str:
    """The data version of the tiles that a moment is folded from; empty: some are not made yet."""
    grains = tiles.grains_of(spec.columns, spec.every)
    wanted = {
        tile_cell(span)
        for over in tiles.windows_of(spec.columns)
        for span in window(grains, over, moment, first, there)
    }
    if wanted - known.keys():
        return ""
    return digest(sorted({known[cell].data for cell in wanted}))


def moment_cell(spec: FeatureGroup, moment: int) -> str:
    """The partition that a moment's values lie in."""
    at = parts.EPOCH + timedelta(microseconds=moment)
    return f"at_day={at:%Y-%m-%d}" if daily(spec) else f"at_hour={at:%Y-%m-%d-%H}"


def daily(spec: FeatureGroup) -> bool:
    return duration(spec.every) % DAY == 0


def window(
    grains: Sequence[Grain], over: str | None, moment: int, first: int, there: Container[str]
) -> list[Span]:
    """The tiles of those that are there that make up a window before a moment; without a window,
    all since the first."""
    start = _floor(first) if over is None else max(moment - duration(over), _floor(first))
    return list(_made_of(tiles.cover(grains, start, moment), grains, there))


def _made_of(
    spans: Iterable[Span], grains: Sequence[Grain], there: Container[str]
) -> Iterator[Span]:
    """A month that is not over is made of its weeks and days."""
    for span in spans:
        finer = grains[grains.index(span.grain) + 1 :]
        if tile_cell(span) in there:
            yield span
        elif finer:
            yield from _made_of(tiles.cover(finer, span.start, span.end), finer, there)


def first_of(cells: Iterable[str]) -> int:
    """Where the first of some tiles begins."""
    return min((span_of(cell).start for cell in cells), default=0)
