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
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core import inside
from bowerbird.core.engine import Task
from bowerbird.core.meaning import digest, tree_of
from bowerbird.core.plans import Cost, Want, meaning
from bowerbird.core.refs import Ref
from bowerbird.core.rollback import at
from bowerbird.core.specs import Spec
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import CellState, Read, Version
from bowerbird.data.features import tiles
from bowerbird.data.features.backfill import change, decoded
from bowerbird.data.features.columns import DAY, duration, longest_window
from bowerbird.data.features.compute import output_schema
from bowerbird.data.features.keys import distinct
from bowerbird.data.features.sources import events_between, source_schema
from bowerbird.data.features.specs import FeatureGroup, calls_of
from bowerbird.data.features.tiles import END, Grain, Span
from bowerbird.data.making import want
from bowerbird.lake import (
    Day,
    Hour,
    Lake,
    Table,
    TableLog,
    Written,
    day,
    hour,
    identity,
    parts,
    read,
    write,
)
from bowerbird.lake.read import read_by_cell
from bowerbird.lake.schema import declared_type

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
    tile = _tile_want(spec, reads)
    lacking = [ref for ref in reads if present.get(ref, Read()).version is None]
    if lacking:
        return (msgspec.structs.replace(tile, data=dict.fromkeys(lacking, "")),)
    lake = Lake(home)
    by = parts.split_of(lake, spec.source)
    sizes = parts.sizes(lake, spec.source, present[spec.source].version)
    lie = {cell: span for cell in sizes if (span := parts.span(cell, by, spec.at))}
    if not lie:
        return ()
    first, last = min(s[0] for s in lie.values()), max(s[1] for s in lie.values())
    made = [_tile(tile, spec, span, sizes, lie, by, present) for span in _spans(spec, first, last)]
    there = {one.cell for one in made if one.cost.rows or spec.known_at}
    value = want(spec, "features.keep", reads=(tiles_ref(spec),), calls=())
    value = msgspec.structs.replace(value, together=TOGETHER)
    moments = (
        _moment(value, spec, moment, first, there, present)
        for moment in _moments(spec, first, last)
    )
    return (*(one for one in made if one.cell in there), *moments)


def _tile_want(spec: FeatureGroup, reads: tuple[str, ...]) -> Want:
    whole = want(spec, "features.tile", reads=reads)
    keeps = tiles.accumulators(spec.columns)
    source = {name: tree_of(getattr(spec, name)) for name in ("source", "key", "at", "known_at")}
    lookup = {"lookup": spec.lookup, "lookup_by": spec.lookup_by} if spec.lookup else {}
    return msgspec.structs.replace(
        whole,
        target=tiles_ref(spec),
        definition={"keeps": tree_of(keeps), **source, **lookup},
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


def _tile(
    whole: Want,
    spec: FeatureGroup,
    span: Span,
    sizes: Mapping[str, parts.Size],
    lie: Mapping[str, tuple[int, int]],
    by: Mapping[str, Transform],
    present: Mapping[str, Read],
) -> Want:
    # An event that came late lies in an older partition.
    start = None if spec.known_at else span.start
    between = (start, span.end)
    data = {spec.source: parts.data_of(present[spec.source], by, {}, spec.at, between)}
    if spec.lookup:
        data[spec.lookup] = present[spec.lookup].data
    inside_it = [c for c, (a, b) in lie.items() if a < span.end and b > span.start]
    rows = sum(sizes[cell].rows for cell in inside_it)
    return msgspec.structs.replace(whole, cell=tile_cell(span), data=data, cost=Cost(rows=rows))


def tile_cell(span: Span) -> str:
    """The partition that a tile lies in."""
    at = parts.EPOCH + timedelta(microseconds=span.start)
    return f"grain={span.grain}/start_hour={at:%Y-%m-%d-%H}"


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
    data = _data_of_moment(spec, moment, first, there, present.get(ref, Read()).cells)
    cell = moment_cell(spec, moment)
    return msgspec.structs.replace(whole, cell=cell, data={ref: data})


def _data_of_moment(
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
    return f"at_day={at:%Y-%m-%d}" if _daily(spec) else f"at_hour={at:%Y-%m-%d-%H}"


def _daily(spec: FeatureGroup) -> bool:
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


# -- how they are made -----------------------------------------------------------------------------


class Tiling(msgspec.Struct, frozen=True):
    """One task: tiles of some spans."""

    group: FeatureGroup
    inputs: dict[str, str | None]
    spans: tuple[Span, ...]
    layout: Table
    folder: str


def _tile_tasks(work: Work) -> Iterable[Task]:
    group: FeatureGroup = decoded(work.step.spec, FeatureGroup)
    lake = Lake(work.home)
    inputs: dict[str, str | None] = {ref: now.version for ref, now in work.inputs.items()}
    layout = tile_layout(lake, group)
    wanted = sorted(map(span_of, work.step.cells or (work.step.cell,)))
    for some in _chunks(wanted, 16):
        job = Tiling(group, inputs, some, layout, work.files)
        call = "bowerbird.data.features.keeping:tile"
        yield Task(f"{work.step.target} {tile_cell(some[0])}", call, (work.home, job))


def _chunks(spans: Sequence[Span], size: int) -> Iterator[tuple[Span, ...]]:
    for start in range(0, len(spans), size):
        yield tuple(spans[start : start + size])


def span_of(cell: str) -> Span:
    """The tile of a cell; the inverse of `tile_cell`."""
    of, _, when = cell.partition("/")
    found = Grain(of.removeprefix("grain="))
    spanned = parts.span(when, {START.field: START}, "start")
    assert spanned is not None  # noqa: S101 - `tile_cell` wrote it
    return next(tiles.spans(found, spanned[0], spanned[0] + 32 * DAY))


def tile_layout(lake: Lake, group: FeatureGroup) -> Table:
    """How a group's tiles lie: by grain and time, the keys in order."""
    empty = source_schema(lake, group).empty_table()
    keeps = tiles.accumulators(group.columns)
    made = tiles.tile(keeps, empty, group.key, group.at, Span(Grain.HOUR, 0, 1), group.known_at)
    schema = {field.name: declared_type(field.type) for field in made.schema}
    return Table(
        group.name,
        schema={**{name: schema[name] for name in group.key}, "grain": "string", **schema},
        partition=(identity("grain"), START),
        sort=group.key,
        owner=group.owner,
        description=f"What {group.ref} is folded from",
    )


def tile(home: Home, job: Tiling, ref: str = "") -> Written:
    """In a worker: the tiles of some spans from their events alone."""
    import pyarrow as pa

    lake, group = Lake(home), job.group
    keeps = tiles.accumulators(group.columns)
    made = []
    for some in _read_together(job.spans):
        between = (None if group.known_at else some[0].start, some[-1].end)
        rows = events_between(lake, group, job.inputs, None, between)
        for span in some:
            found = tiles.tile(keeps, rows, group.key, group.at, span, group.known_at)
            grain = pa.array([str(span.grain)] * found.num_rows, pa.string())
            made.append(found.append_column("grain", grain))
    inside.tell(f"{len(job.spans)} tiles")
    rows = pa.concat_tables(made).select(list(job.layout.schema))
    return write(lake, job.layout, rows, job.folder, ref or tiles_ref(group))


def _read_together(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Spans in their order, those that follow one another together: a day's hours, a week's days.

    A read of a table with many files costs more than a day's events do.
    """
    some: list[Span] = []
    for span in spans:
        if some and (span.start != some[-1].end or span.end - some[0].start > 7 * DAY):
            yield some
            some = []
        some.append(span)
    if some:
        yield some


class Moment(msgspec.Struct, frozen=True):
    """windows: window -> the tiles that it is made of. came, gone: what has come since the moment
    before, and what has left each window, where the values are made from those of the moment
    before."""

    at: int
    windows: dict[str | None, tuple[str, ...]]
    came: tuple[str, ...] = ()
    gone: dict[str, tuple[str, ...]] = {}
    rolls: bool = False

    @property
    def cells(self) -> set[str]:
        """The tiles that are read."""
        read = [self.came, *self.gone.values()] if self.rolls else self.windows.values()
        return {cell for own in read for cell in own}


class Keeping(msgspec.Struct, frozen=True):
    """One task: the values of some moments, one after another. types: of the source's fields.

    before: the version of the values, and the cell in it, that the first moment rolls on from.
    """

    group: FeatureGroup
    version: str | None
    moments: tuple[Moment, ...]
    types: dict[str, Any]
    layout: Table
    folder: str
    before: tuple[str, str] | None = None


def _keep_tasks(work: Work) -> Iterable[Task]:
    group: FeatureGroup = decoded(work.step.spec, FeatureGroup)
    lake, ref = Lake(work.home), tiles_ref(group)
    field = Day("at") if _daily(group) else Hour("at")
    spans = [
        parts.span(c, {field.field: field}, "at") for c in work.step.cells or (work.step.cell,)
    ]
    wanted = sorted(_at(group, span) for span in spans if span)
    version = work.inputs[ref].version
    types = {one.name: one.type for one in source_schema(lake, group)}
    for start in range(0, len(wanted), 8):
        some = wanted[start : start + 8]
        before = _before(work, lake, group, some[0]) if tiles.rolls(group.columns, types) else None
        moments = moments_of(lake, group, types, version, some, first_rolls=before is not None)
        layout = values_layout(lake, group)
        job = Keeping(group, version, moments, types, layout, work.files, before)
        call = "bowerbird.data.features.keeping:keep"
        yield Task(f"{work.step.target} {start}", call, (work.home, job))


def _before(work: Work, lake: Lake, group: FeatureGroup, moment: int) -> tuple[str, str] | None:
    """The version and cell of the moment before, if what lies there is what it would be now."""
    if work.step.base is None:
        return None
    ref, earlier = tiles_ref(group), moment - duration(group.every)
    cell = moment_cell(group, earlier)
    values = at(str(group.ref), TableLog(lake, group.ref).load(), work.step.base)
    version = work.inputs[ref].version
    made = at(ref, TableLog(lake, ref).load(), Version(version or ""))
    state = values.cells().get(cell)
    known = {c: one for c, one in made.cells().items() if not c.startswith("#")}
    data = _data_of_moment(group, earlier, _first(known), known, known)
    if state is None or state.meaning != digest(meaning(work.step.definition, {ref: data})):
        return None
    return str(work.step.base), cell


def _first(cells: Iterable[str]) -> int:
    """Where the first of some tiles begins."""
    return min((span_of(cell).start for cell in cells), default=0)


def moments_of(
    lake: Lake,
    group: FeatureGroup,
    types: Mapping[str, Any],
    version: str | None,
    wanted: Sequence[int],
    *,
    first_rolls: bool = False,
) -> tuple[Moment, ...]:
    """Which tiles of those that are there make up each window at each moment; where one follows
    the other and the columns allow it, what came and what left."""
    there = parts.sizes(lake, tiles_ref(group), version)
    grains, first = tiles.grains_of(group.columns, group.every), _first(there)
    windows, every, fine = tiles.windows_of(group.columns), duration(group.every), grains[-1]

    def cells(spans: Iterable[Span]) -> tuple[str, ...]:
        return tuple(cell for cell in map(tile_cell, spans) if cell in there)

    found = []
    for place, moment in enumerate(wanted):
        follows = first_rolls if place == 0 else wanted[place - 1] == moment - every
        gone = {
            over: cells(
                tiles.spans(grains[-1], moment - every - duration(over), moment - duration(over))
            )
            for over in windows
            if over
        }
        found.append(
            Moment(
                at=moment,
                windows={w: cells(window(grains, w, moment, first, there)) for w in windows},
                came=cells(tiles.spans(fine, moment - every, moment)),
                gone=gone,
                rolls=follows and tiles.rolls(group.columns, types),
            )
        )
    return tuple(found)


def values_layout(lake: Lake, group: FeatureGroup) -> Table:
    """How a group's values lie: by moment, the keys in order."""
    source = source_schema(lake, group)
    schema = {name: declared_type(source.field(name).type) for name in group.key}
    features = output_schema(group, source)
    return Table(
        group.name,
        schema=schema
        | {"at": "timestamptz"}
        | {field.name: declared_type(field.type) for field in features},
        partition=(day("at") if _daily(group) else hour("at"),),
        sort=group.key,
        owner=group.owner,
        description=group.description,
    )


def _at(group: FeatureGroup, span: tuple[int, int]) -> int:
    """The moment in a partition: the multiple of `every` that lies there."""
    every = duration(group.every)
    return -(-span[0] // every) * every


def keep(home: Home, job: Keeping) -> Written:
    """In a worker: the values of every key at some moments, folded from all tiles of each window,
    or rolled on from the moment before."""
    import pyarrow as pa

    lake, group, key = Lake(home), job.group, list(job.group.key)
    needed = [*key, END, *tiles.accumulators(group.columns)]
    cells = {cell for one in job.moments for cell in one.cells}
    held = read_by_cell(lake, tiles_ref(group), job.version, needed, cells)
    empty = next(iter(held.values())).slice(0, 0)

    def of(own: Iterable[str]) -> pa.Table:
        return pa.concat_tables([empty, *(held[cell] for cell in own)])

    values: pa.Table = None
    if job.before is not None:
        version, cell = job.before
        values = read(lake, str(group.ref), version, [*key, *group.names], cells=[cell])
    made = []
    for one in job.moments:
        if one.rolls:
            gone = {over: of(own) for over, own in one.gone.items()}
            values = tiles.roll(group.columns, values, of(one.came), gone, key)
        else:
            windows = {over: of(own) for over, own in one.windows.items()}
            keys = distinct(windows[longest_window(group.columns.values())], key)
            found = tiles.fold(group.columns, windows.__getitem__, key, job.types, keys, one.at)
            values = pa.table([*keys.columns, *found.columns], names=[*key, *group.names])
        moment = pa.array([one.at] * values.num_rows, pa.timestamp("us", tz="UTC"))
        made.append(values.add_column(len(key), "at", moment))
    inside.tell(f"{len(made)} moments")
    return write(lake, job.layout, pa.concat_tables(made), job.folder, str(group.ref))


TILE = StepKind(target=TargetKind.TABLE, tasks=_tile_tasks, change=change, inverse="table.rollback")
KEEP = StepKind(target=TargetKind.TABLE, tasks=_keep_tasks, change=change, inverse="table.rollback")
