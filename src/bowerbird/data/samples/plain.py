"""A training set's rows, said plainly: one after another, in loops, all in memory.

The fast way (`bucket`) is held to this by `tests/data/test_batches.py`, and with groups by SQL and
by functions by `test_computed_groups.py`. No order, no transforms, no labels by functions: what
lies beside each row, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bowerbird.data.features.alignment import moments
from bowerbird.data.features.compute import compute
from bowerbird.data.features.events import counted_from, microseconds
from bowerbird.data.features.reference import value
from bowerbird.data.features.sources import events_between
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.labels import Reward
from bowerbird.data.samples.specs import Beside, SequenceOf
from bowerbird.lake import Lake, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from bowerbird.data.samples.planning import SetPlan, SidePlan
    from bowerbird.lake.joins.buckets import Bucketed

Row = dict[str, Any]


def plain_rows(lake: Lake, plan: SetPlan) -> list[Row]:
    """Every row of the set with what is beside it, without sampling, as the table has them."""
    spec = plan.spec
    rows = _read(lake, plan.rows, (spec.at,))
    for side in plan.sides:
        if isinstance(side.kind, FeatureGroup):
            events = events_between(lake, side.kind, _versions(side, side.kind), None, (None, None))
            for row in rows:
                moment = int(moments(spec.alignment, np.array([row[f"\0{spec.at}"]]))[0])
                row |= _computed(side, side.kind, events, row, moment)
            continue
        beside = _read(lake, side.table, (side.kind.at,) if side.kind.at else ())
        for row in rows:
            row |= _beside(side, row, beside, spec.at)
    for row in rows:
        for name, label in spec.labels.items():
            if isinstance(label, Reward):
                row[name] = _worth(label, row)
    made = [*plan.keeps, *(c for side in plan.sides for c in side.made), *spec.labels]
    return [{name: row[name] for name in made} for row in rows]


def _read(lake: Lake, table: Bucketed, times: Sequence[str]) -> list[Row]:
    """Rows as plain values; times in microseconds, beside the values as the table has them."""
    found = read(lake, table.name, version=None if table.version is None else str(table.version))
    rows: list[Row] = found.to_pylist()
    for name in times:
        column = found.column(name)
        valid = column.is_valid().to_pylist()
        for row, moment, known in zip(
            rows, microseconds(column.fill_null(0)).tolist(), valid, strict=True
        ):
            row[f"\0{name}"] = moment if known else None
    return rows


def _beside(side: SidePlan, row: Row, beside: list[Row], at: str) -> Row:
    asked = [_key(row, name) for name in side.on]
    mine = [
        one for one in beside if None not in asked and [one.get(name) for name in side.key] == asked
    ]
    moment = row[f"\0{at}"]
    match side.kind:
        case SequenceOf(at=time, last=last, where=where):
            known = [one for one in mine if _before(one, time, moment)]
            known = [o for o in known if all(o[name] in values for name, values in where.items())]
            known.sort(key=lambda one: one[f"\0{time}"])
            return {
                made: [one[column] for one in known[-last:]]
                for column, made in zip(side.columns, side.made, strict=True)
            }
        case Beside(at=time, known=upto):
            if time:
                mine = [o for o in mine if _before(o, time, moment + (upto == "at"))]
                mine.sort(key=lambda one: one[f"\0{time}"])
            found = mine[-1] if mine else {}
            return {
                made: found.get(column)
                for column, made in zip(side.columns, side.made, strict=True)
            }
    raise AssertionError(side)


def _key(row: Row, name: str) -> Any:
    """A column of the row, or of a side that stands beside it already."""
    if name in row:
        return row[name]
    return next(value for column, value in row.items() if column.endswith(f"__{name}"))


def _before(one: Row, time: str, moment: int) -> bool:
    known = one[f"\0{time}"]
    return known is not None and known < moment


def _versions(side: SidePlan, group: FeatureGroup) -> dict[str, str | None]:
    pinned = {group.source: side.table} | ({group.lookup: side.lookup} if side.lookup else {})
    return {ref: None if t.version is None else str(t.version) for ref, t in pinned.items()}


def _computed(side: SidePlan, group: FeatureGroup, events: pa.Table, row: Row, moment: int) -> Row:
    """A group of one row, from the events alone that were known before its moment."""
    import pyarrow as pa

    events, at = counted_from(events, (), group.at, group.known_at)
    known = events.filter(pa.array(at < moment))
    if group.columns:
        asked = [_key(row, name) for name in side.on]
        times = at[at < moment].tolist()
        timed = [event | {"at": t} for event, t in zip(known.to_pylist(), times, strict=True)]
        mine = [e for e in timed if None not in asked and [e[name] for name in side.key] == asked]
        mine.sort(key=lambda event: event["at"])
        found = {name: value(column, mine, moment) for name, column in group.columns.items()}
    else:
        key = {
            name: pa.array([_key(row, on)], events.schema.field(name).type)
            for name, on in zip(side.key, side.on, strict=True)
        }
        at_moment = pa.array([moment], pa.timestamp("us", tz="UTC"))
        (found,) = compute(group, known, pa.table({**key, "at": at_moment})).to_pylist()
    return {made: found[column] for column, made in zip(side.columns, side.made, strict=True)}


def _worth(label: Reward, row: Row) -> float:
    if label.column:
        return label.rewards.get(row[label.column], 0.0)
    return float(sum(worth * row[column] for column, worth in label.rewards.items()))
