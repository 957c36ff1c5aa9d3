"""Backfill: which partitions of rows lack features, and how they get them.

A cell is current as long as what it was computed from is: the groups as declared, the rows of its
partition, the events that could be seen from there. So a plan names the cells that are missing or
stale, and why, and nothing else runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core import codec, inside
from bowerbird.core.engine import Outcome, Resources, Task
from bowerbird.core.errors import RefError, UserError
from bowerbird.core.plans import Cost, Want
from bowerbird.core.specs import Spec, of_kind
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import Change, Read, fields_of
from bowerbird.data.features.alignment import moments, reach
from bowerbird.data.features.columns import duration, longest_window
from bowerbird.data.features.compute import (
    output_schema,
    place_of,
    prepared,
    refuse_elsewhere,
)
from bowerbird.data.features.events import microseconds
from bowerbird.data.features.leakage import audit, refuse
from bowerbird.data.features.offenders import duplicates
from bowerbird.data.features.sources import events_between, source_schema
from bowerbird.data.features.specs import Backfill, FeatureGroup, Place, calls_of
from bowerbird.data.making import want
from bowerbird.lake import Lake, Table, Written, parts, read, write
from bowerbird.lake.log import TableLog
from bowerbird.lake.schema import columns_of, declared_type

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.lake.specs import Transform

ROWS_A_TASK = 2_000_000
"""About so many rows are staged by one task: what it holds in memory, with their features."""

ROWS_A_BLOCK = 250_000
"""So many are computed at a time."""


# -- what is wanted --------------------------------------------------------------------------------


def cells(
    home: Home, spec: Backfill, specs: Mapping[str, Spec], present: Mapping[str, Read]
) -> tuple[Want, ...]:
    """A want for each partition of the rows, with what it would be computed from."""
    groups = groups_of(spec, specs)
    reads = dict.fromkeys([spec.rows, *(ref for group in groups for ref in group.refs().values())])
    whole = _want(spec, groups, tuple(reads))
    rows = present.get(spec.rows, Read())
    lacking = [ref for ref in reads if present.get(ref, Read()).version is None]
    if lacking:
        # Nothing is known of it yet: the plan says so, or makes it first.
        return (msgspec.structs.replace(whole, data=dict.fromkeys(lacking, "")),)
    lake = Lake(home)
    by = parts.split_of(lake, spec.rows)
    splits = {group.source: parts.split_of(lake, group.source) for group in groups}
    seconds = _seconds_a_row(lake, str(spec.ref))
    found = []
    sizes, lying = parts.sizes(lake, spec.rows, rows.version), parts.Lying(rows, by)
    events = {
        (group.source, group.at): parts.Lying(present[group.source], splits[group.source], group.at)
        for group in groups
    }
    for cell, size in (sizes | parts.emptied(present.get(str(spec.ref)), sizes)).items():
        span = parts.span(cell, by, spec.at)
        if not _within(spec, span):
            continue
        data = {spec.rows: lying.data(fields_of(cell) or {}) or parts.NOTHING}
        for group in groups:
            seen = {
                group.source: events[group.source, group.at].data(
                    _alike(spec, group, cell, by, splits[group.source]),
                    _visible(spec, group, span),
                )
            }
            seen |= {group.lookup: present[group.lookup].data} if group.lookup else {}
            # Groups of one source see different times of it, and the rows may be a source too.
            data |= {ref: parts.joined(data.get(ref, ""), one) for ref, one in seen.items()}
        cost = Cost(rows=size.rows, seconds=seconds and round(seconds * size.rows, 3))
        found.append(msgspec.structs.replace(whole, cell=cell, data=data, cost=cost))
    return tuple(found)


def groups_of(spec: Backfill, specs: Mapping[str, Spec]) -> list[FeatureGroup]:
    """The groups of a backfill, whose names tell their columns apart."""
    groups = [of_kind(specs, ref, FeatureGroup) for ref in spec.features]
    names = [group.ref.name for group in groups]
    for n, name in enumerate(names):
        if name in names[:n]:
            raise RefError(
                f"two groups are named {name!r}, so their columns would be named alike",
                where="features",
                expected="groups of different names",
            )
    return groups


def _want(spec: Backfill, groups: Sequence[FeatureGroup], reads: tuple[str, ...]) -> Want:
    # Which partitions are staged says nothing of what is in them.
    settled = Backfill(
        spec.name,
        rows=spec.rows,
        id=spec.id,
        features=spec.features,
        at=spec.at,
        keys=spec.keys,
        alignment=spec.alignment,
    )
    calls = [call for group in groups for call in calls_of(group)]
    whole = want(settled, "features.stage", reads=reads, uses=groups, calls=calls)
    return msgspec.structs.replace(whole, spec=codec.encode(spec), together=spec.cells_a_commit)


def _within(spec: Backfill, span: tuple[int, int] | None) -> bool:
    since, until = spec.between()
    if span is None:
        if spec.since or spec.until:
            raise UserError(
                f"{spec.rows} is not partitioned by the time {spec.at!r}",
                where="since, until",
                expected="a table with day(…), month(…) of it among its partition fields",
            )
        return True
    return (since is None or span[1] > since) and (until is None or span[0] < until)


def _alike(
    spec: Backfill,
    group: FeatureGroup,
    cell: str,
    by: Mapping[str, Transform],
    split: Mapping[str, Transform],
) -> dict[str, str]:
    """The partition fields by which a cell's rows find their events in cells of the same value."""
    has = fields_of(cell) or {}
    same = {name for name in group.key if spec.keys.get(name, name) == name}
    return {
        field: has[field]
        for field in parts.shared(by, split)
        if field in has and by[field].column in same
    }


def _visible(
    spec: Backfill, group: FeatureGroup, span: tuple[int, int] | None
) -> tuple[int | None, int | None]:
    """The times of events that rows of a time span can see."""
    back = reach(spec.alignment)
    if span is None or back is None:
        return None, None
    if not group.columns or group.known_at:
        # How far SQL looks back is not known; a row that came late lies in an older partition.
        return None, span[1]
    longest = longest_window(group.columns.values())
    return None if longest is None else span[0] - back - duration(longest), span[1]


def _seconds_a_row(lake: Lake, ref: str) -> float | None:
    """From the last commits to the table: how long a row took."""
    taken = [
        (entry.results["seconds"], entry.results["rows"])
        for entry in TableLog(lake, ref).load().entries[:20]
        if entry.results.get("seconds") and entry.results.get("rows")
    ]
    rows = sum(count for _, count in taken)
    return sum(seconds for seconds, _ in taken) / rows if rows else None


# -- how it is made --------------------------------------------------------------------------------


class Staging(msgspec.Struct, frozen=True):
    """One task: some partitions of the rows, and where their features go.

    place: where it is computed.
    """

    spec: Backfill
    groups: tuple[FeatureGroup, ...]
    inputs: dict[str, str | None]
    cells: tuple[str, ...]
    layout: Table
    folder: str
    place: Place = "local"


def _tasks(work: Work) -> Iterable[Task]:
    spec = decoded(work.step.spec, Backfill)
    groups = tuple(decoded(work.step.others[ref], FeatureGroup) for ref in spec.features)
    place = place_of(work.engine)
    for group in groups:
        refuse_elsewhere(group, place)
    inputs = {ref: now.version for ref, now in work.inputs.items()}
    lake = Lake(work.home)
    wanted = tuple(work.step.cells) or (work.step.cell,)
    layout = layout_of(lake, spec, groups)
    whole = Staging(spec, groups, dict(inputs), wanted, layout, work.files, place)
    sizes = parts.sizes(lake, spec.rows, inputs[spec.rows])
    by = parts.split_of(lake, spec.rows)
    for n, some in enumerate(divided(wanted, sizes, by, spec.at)):
        one = msgspec.structs.replace(whole, cells=some)
        key = some[0] if len(some) == 1 else f"{some[0]} and {len(some) - 1} more"
        yield Task(
            f"{work.step.target} {n}: {key}",
            "bowerbird.data.features.backfill:stage",
            (work.home, one, work.step.target),
            resources=Resources(cpus=1.0),
        )


def decoded(envelope: dict[str, Any], kind: type[Any]) -> Any:
    """The spec in a step."""
    return codec.decode(envelope, {kind.__name__: kind})


def layout_of(lake: Lake, spec: Backfill, groups: Sequence[FeatureGroup]) -> Table:
    """The staging table: the rows' id and what they are partitioned by, and the features."""
    rows = lake.load(spec.rows)
    known = columns_of(rows.schema())
    by = tuple(parts.split(rows).values())
    kept = dict.fromkeys([*spec.id, spec.at, *(one.column for one in by)])
    for name in [*kept, *(spec.keys.get(k, k) for group in groups for k in group.key)]:
        if name not in known:
            raise UserError(
                f"{spec.rows} has no column {name!r}",
                where=f"{spec.ref}: id, at, keys",
                expected=f"one of: {', '.join(known)}",
                fix="name it in keys={'column of the group': 'column of the rows'}",
            )
    schema = {name: known[name] for name in kept}
    for group in groups:
        for field in output_schema(group, source_schema(lake, group)):
            schema[column_name(group, field.name)] = declared_type(field.type)
    return Table(
        spec.name,
        schema=schema,
        partition=by,
        sort=spec.id,
        owner=spec.owner,
        description=spec.description,
    )


def column_name(group: FeatureGroup, column: str) -> str:
    """``spend__n_30d``: a feature, where those of several groups lie side by side."""
    return f"{group.ref.name}__{column}"


def divided(
    cells: Sequence[str],
    sizes: Mapping[str, parts.Size],
    by: Mapping[str, Transform],
    at: str,
) -> Iterator[tuple[str, ...]]:
    """Cells that are staged together: of one bucket, in order of time, of not too many rows."""

    def place(cell: str) -> tuple[Any, ...]:
        has = fields_of(cell) or {}
        timed = [f for f, one in by.items() if one.column == at]
        return tuple(has.get(f, "") for f in by if f not in timed), parts.span(cell, by, at) or ()

    some: list[str] = []
    rows = 0
    for cell in sorted(cells, key=place):
        count = sizes[cell].rows if cell in sizes else 0
        if some and (place(cell)[0] != place(some[0])[0] or rows + count > ROWS_A_TASK):
            yield tuple(some)
            some, rows = [], 0
        some.append(cell)
        rows += count
    if some:
        yield tuple(some)


def stage(home: Home, job: Staging, ref: str) -> Written:
    """In a worker: compute the features of some partitions, audit them, write them."""
    import pyarrow as pa

    lake, spec = Lake(home), job.spec
    needed = list(job.layout.schema)[: _kept(job)]
    keys = [spec.keys.get(name, name) for group in job.groups for name in group.key]
    rows = read(
        lake,
        spec.rows,
        job.inputs[spec.rows],
        columns=list(dict.fromkeys([*needed, *keys])),
        cells=job.cells,
    )
    _refuse_duplicates(spec, rows)
    at = microseconds(rows[spec.at].fill_null(0))
    asked_at = pa.array(moments(spec.alignment, at), pa.timestamp("us", tz="UTC"))
    columns = {name: rows[name] for name in needed}
    for group in job.groups:
        inside.tell(f"{group.ref.name}: {rows.num_rows:,} rows")
        asked = pa.table({name: rows[spec.keys.get(name, name)] for name in group.key})
        asked = asked.append_column("at", asked_at)
        events, cut = _seen(lake, job, group)
        found = _computed(group, events, asked, job.place)
        if spec.audit:
            seen = audit(
                group,
                events,
                asked,
                found,
                at=at,
                cut=cut,
                sample=spec.audit,
                place=job.place,
            )
            refuse(seen, group, f"{spec.ref}: {group.ref}")
        for name in group.names:
            columns[column_name(group, name)] = found[name]
    return write(lake, job.layout, pa.table(columns), job.folder, ref)


def _kept(job: Staging) -> int:
    return len(job.layout.schema) - sum(len(group.names) for group in job.groups)


def _computed(group: FeatureGroup, events: pa.Table, asked: pa.Table, place: Place) -> pa.Table:
    import pyarrow as pa

    answer = prepared(group, events, place)
    if not group.columns:  # SQL and functions may look at all that is asked
        return answer(asked)
    blocks = range(0, max(asked.num_rows, 1), ROWS_A_BLOCK)
    return pa.concat_tables([answer(asked.slice(start, ROWS_A_BLOCK)) for start in blocks])


def _seen(lake: Lake, job: Staging, group: FeatureGroup) -> tuple[pa.Table, tuple[str, ...]]:
    """The events that the rows of a task's cells can see, and the columns whose partitions, which
    the rows share, these were taken from."""
    by = parts.split_of(lake, job.spec.rows)
    split = parts.split_of(lake, group.source)
    fields = _alike(job.spec, group, job.cells[0], by, split)
    between: tuple[int | None, int | None] = (None, None)
    spans = [parts.span(cell, by, job.spec.at) for cell in job.cells]
    known = [span for span in spans if span is not None]
    if len(known) == len(spans):
        whole = min(span[0] for span in known), max(span[1] for span in known)
        between = _visible(job.spec, group, whole)
    cut = tuple(by[field].column for field in fields)
    return events_between(lake, group, job.inputs, fields, between), cut


def _refuse_duplicates(spec: Backfill, rows: pa.Table) -> None:
    twice, examples = duplicates(rows, spec.id, most=1)
    if twice:
        raise UserError(
            f"rows of {spec.rows} have the same {examples[0]} ({twice:,} such ids among "
            f"{rows.num_rows:,} rows)",
            where=f"{spec.ref}: id",
            expected="columns that tell every row apart",
        )


def change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    """What tasks wrote for some cells takes the place of those cells."""
    written = Written.joined([outcome.result() for outcome in outcomes])
    makes = dict(work.meanings) or {work.step.cell: work.meaning}
    return Change(
        attempt=work.attempt,
        makes=makes,
        overwrites=tuple(makes),
        payload=written,
        results={
            "rows": written.rows,
            "bytes": written.bytes,
            "files": len(written.files),
            "partitions": len(makes),
        },
    )


STAGE = StepKind(target=TargetKind.TABLE, tasks=_tasks, change=change, inverse="table.rollback")
