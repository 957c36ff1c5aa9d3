"""How kept groups are made: tiles from events, values from tiles or from the moment before.

Tiles and values are split by bucket where the source is split by a part of the key (`bucket_of`):
a task then holds some buckets' tiles of a window, not all keys'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core import inside
from bowerbird.core.engine import Task
from bowerbird.core.meaning import digest
from bowerbird.core.plans import meaning
from bowerbird.core.rollback import at
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import WHOLE, Version, fields_of
from bowerbird.data.features import tiles
from bowerbird.data.features.backfill import change, decoded
from bowerbird.data.features.columns import DAY, duration, longest_window
from bowerbird.data.features.compute import output_schema
from bowerbird.data.features.keeping import (
    START,
    Events,
    bucket_of,
    daily,
    data_of_moment,
    first_of,
    moment_cell,
    second_key,
    span_of,
    tile_cell,
    tiles_ref,
    window,
)
from bowerbird.data.features.keys import distinct
from bowerbird.data.features.sources import events_between, source_schema
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.features.tiles import END, Grain, Span
from bowerbird.lake import Day, Hour, Lake, Table, TableLog, Written, identity, parts, read, write
from bowerbird.lake.read import read_by_cell
from bowerbird.lake.schema import declared_type
from bowerbird.lake.specs import Bucket

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.lake.specs import Transform

MANY = 8_000_000
"""Events, or rows of tiles, that a task may hold at once; of more, it holds some buckets'."""


# -- tiles -----------------------------------------------------------------------------------------


class Tiling(msgspec.Struct, frozen=True):
    """One task: tiles of some spans. apart: the source's buckets, one after another; none: all its
    events at once."""

    group: FeatureGroup
    inputs: dict[str, str | None]
    spans: tuple[Span, ...]
    layout: Table
    folder: str
    apart: tuple[str, ...] = ()


def _tile_tasks(work: Work) -> Iterable[Task]:
    group: FeatureGroup = decoded(work.step.spec, FeatureGroup)
    lake = Lake(work.home)
    inputs: dict[str, str | None] = {ref: now.version for ref, now in work.inputs.items()}
    layout, wanted = tile_layout(lake, group), sorted(map(span_of, _cells(work)))
    by = parts.split_of(lake, group.source)
    sizes = parts.sizes(lake, group.source, inputs[group.source])
    lie = {cell: span for cell in sizes if (span := parts.span(cell, by, group.at))}
    events = Events(lie, sizes)
    for some in _chunks(wanted, 16):
        many = max(map(events.within, some)) > MANY
        apart = _buckets(group, by, sizes) if many else ()
        job = Tiling(group, inputs, some, layout, work.files, apart)
        call = "bowerbird.data.features.kept:tile"
        yield Task(f"{work.step.target} {tile_cell(some[0])}", call, (work.home, job))


def _buckets(
    group: FeatureGroup, by: Mapping[str, Transform], lies: Iterable[str]
) -> tuple[str, ...]:
    """The cells that are the buckets of a source; none where older files do not lie in them."""
    split = bucket_of(group, by)
    for field, transform in by.items():
        if transform == split and all(field in (fields_of(cell) or {}) for cell in lies):
            return tuple(f"{field}={number}" for number in range(transform.n))
    return ()


def _cells(work: Work) -> tuple[str, ...]:
    return tuple(work.step.cells) or (work.step.cell,)


def _chunks(spans: Sequence[Span], size: int) -> Iterator[tuple[Span, ...]]:
    for start in range(0, len(spans), size):
        yield tuple(spans[start : start + size])


def tile_layout(lake: Lake, group: FeatureGroup) -> Table:
    """How a group's tiles lie: by grain, time and bucket, the keys in order."""
    empty = source_schema(lake, group).empty_table()
    keeps = tiles.accumulators(group.columns)
    hour, by = Span(Grain.HOUR, 0, 1), second_key(group)
    made = tiles.tile(keeps, empty, group.key, group.at, hour, group.known_at, by)
    schema = {field.name: declared_type(field.type) for field in made.schema}
    return Table(
        group.name,
        schema={**{name: schema[name] for name in group.key}, "grain": "string", **schema},
        partition=(identity("grain"), START, *_split(lake, group)),
        sort=group.key,
        owner=group.owner,
        description=f"What {group.ref} is folded from",
    )


def _split(lake: Lake, group: FeatureGroup) -> tuple[Bucket, ...]:
    found = bucket_of(group, parts.split_of(lake, group.source))
    return (found,) if found else ()


def tile(home: Home, job: Tiling, ref: str = "") -> Written:
    """In a worker: the tiles of some spans from their events alone."""
    import pyarrow as pa

    group, keeps = job.group, tiles.accumulators(job.group.columns)
    by = second_key(group)
    made = []
    for some in _read_together(job.spans):
        for rows in _events(Lake(home), job, some):
            for span in some:
                found = tiles.tile(keeps, rows, group.key, group.at, span, group.known_at, by)
                grain = pa.array([str(span.grain)] * found.num_rows, pa.string())
                made.append(found.append_column("grain", grain))
    inside.tell(f"{len(job.spans)} tiles")
    rows = pa.concat_tables(made).select(list(job.layout.schema))
    return write(Lake(home), job.layout, rows, job.folder, ref or tiles_ref(group))


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


def _events(lake: Lake, job: Tiling, spans: Sequence[Span]) -> Iterator[pa.Table]:
    """The events of spans that follow one another; bucket by bucket where they are many."""
    group = job.group
    between = (spans[0].start, spans[-1].end)
    for cell in job.apart or (WHOLE,):
        yield events_between(lake, group, job.inputs, fields_of(cell), between)


# -- values ----------------------------------------------------------------------------------------


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
    only: the buckets whose keys are looked at; none: all keys.
    """

    group: FeatureGroup
    version: str | None
    moments: tuple[Moment, ...]
    types: dict[str, Any]
    layout: Table
    folder: str
    before: tuple[str, str] | None = None
    only: tuple[int, ...] = ()


def _keep_tasks(work: Work) -> Iterable[Task]:
    group: FeatureGroup = decoded(work.step.spec, FeatureGroup)
    lake, ref = Lake(work.home), tiles_ref(group)
    layout, version = values_layout(lake, group), work.inputs[ref].version
    field, there = layout.partition[0], tile_rows(lake, group, version)
    spans = [parts.span(cell, {field.field: field}, "at") for cell in _cells(work)]
    wanted = sorted(_at(group, span) for span in spans if span)
    types = {one.name: one.type for one in source_schema(lake, group)}
    for start in range(0, len(wanted), 8):
        some = wanted[start : start + 8]
        before = _before(work, lake, group, some[0]) if tiles.rolls(group.columns, types) else None
        moments = moments_of(group, types, there, some, first_rolls=before is not None)
        rows = sum(there[cell] for cell in {cell for one in moments for cell in one.cells})
        for place, only in enumerate(_shares(_split(lake, group), rows)):
            job = Keeping(group, version, moments, types, layout, work.files, before, only)
            call = "bowerbird.data.features.kept:keep"
            yield Task(f"{work.step.target} {start}.{place}", call, (work.home, job))


def _shares(split: Sequence[Bucket], rows: int) -> Iterator[tuple[int, ...]]:
    """The buckets of each task, of tiles of so many rows; none: all."""
    for one in split:
        count = min(one.n, 1 + rows // MANY)
        if count > 1:
            yield from (tuple(range(place, one.n, count)) for place in range(count))
            return
    yield ()


def _within(lake: Lake, ref: str, cells: Iterable[str], only: Sequence[int]) -> list[str]:
    """The buckets of cells that are looked at, as the table names them."""
    if not only:
        return [*cells]
    by = parts.split_of(lake, ref)
    (field,) = (name for name, transform in by.items() if isinstance(transform, Bucket))
    return [f"{cell}/{field}={number}" for cell in cells for number in only]


def tile_rows(lake: Lake, group: FeatureGroup, version: str | None) -> dict[str, int]:
    """The tiles that are there, and the rows of each."""
    found: dict[str, int] = {}
    for part, size in parts.sizes(lake, tiles_ref(group), version).items():
        cell = _cell_of(part, 2)
        found[cell] = found.get(cell, 0) + size.rows
    return found


def _cell_of(part: str, fields: int) -> str:
    """The cell that a partition is a bucket of: its first fields."""
    return "/".join(part.split("/")[:fields])


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
    data = data_of_moment(group, earlier, first_of(known), known, known)
    if state is None or state.meaning != digest(meaning(work.step.definition, {ref: data})):
        return None
    return str(work.step.base), cell


def moments_of(
    group: FeatureGroup,
    types: Mapping[str, Any],
    there: Mapping[str, int],
    wanted: Sequence[int],
    *,
    first_rolls: bool = False,
) -> tuple[Moment, ...]:
    """Which tiles of those that are there make up each window at each moment; where one follows
    the other and the columns allow it, what came and what left."""
    grains, first = tiles.grains_of(group.columns, group.every), first_of(there)
    windows, every, fine = tiles.windows_of(group.columns), duration(group.every), grains[-1]
    lengths = {over: duration(over) for over in windows if over}

    def cells(spans: Iterable[Span]) -> tuple[str, ...]:
        return tuple(cell for cell in map(tile_cell, spans) if cell in there)

    found = []
    for place, moment in enumerate(wanted):
        follows = first_rolls if place == 0 else wanted[place - 1] == moment - every
        gone = {
            over: cells(tiles.spans(fine, moment - every - length, moment - length))
            for over, length in lengths.items()
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
    """How a group's values lie: by moment and bucket, the keys in order."""
    source = source_schema(lake, group)
    schema = {name: declared_type(source.field(name).type) for name in group.key}
    features = output_schema(group, source)
    return Table(
        group.name,
        schema=schema
        | {"at": "timestamptz"}
        | {field.name: declared_type(field.type) for field in features},
        partition=(Day("at") if daily(group) else Hour("at"), *_split(lake, group)),
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
    held, empty = _held(lake, job)

    def of(own: Iterable[str]) -> pa.Table:
        return pa.concat_tables([empty, *(rows for cell in own for rows in held.get(cell, ()))])

    values: pa.Table = None
    if job.before is not None:
        version, cell = job.before
        columns = [*key, *group.names]
        some = _within(lake, str(group.ref), [cell], job.only)
        values = read(lake, str(group.ref), version, columns, cells=some)
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


def _held(lake: Lake, job: Keeping) -> tuple[dict[str, list[pa.Table]], pa.Table]:
    """The tiles that are read: cell -> its buckets' rows; and a table of them without a row."""
    ref = tiles_ref(job.group)
    key = [name for name in (*job.group.key, second_key(job.group)) if name]
    needed = [*key, END, *tiles.accumulators(job.group.columns)]
    cells = _within(lake, ref, {cell for one in job.moments for cell in one.cells}, job.only)
    found = read_by_cell(lake, ref, job.version, needed, cells)
    held: dict[str, list[pa.Table]] = {}
    for part, rows in found.items():
        held.setdefault(_cell_of(part, 2), []).append(rows)
    if found:
        return held, next(iter(found.values())).slice(0, 0)
    return held, read(lake, ref, job.version, needed, cells=())


TILE = StepKind(target=TargetKind.TABLE, tasks=_tile_tasks, change=change, inverse="table.rollback")
KEEP = StepKind(target=TargetKind.TABLE, tasks=_keep_tasks, change=change, inverse="table.rollback")
