"""A training set's rows, said plainly: one after another, in loops, all in memory.

The fast way (`bucket`) is held to this by `tests/data/test_batches.py`. No order, no transforms, no
labels by functions: what lies beside each row, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bowerbird.data.features.reference import value
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.arrays import microseconds
from bowerbird.data.samples.labels import Reward
from bowerbird.data.samples.specs import Beside, SequenceOf
from bowerbird.lake import Lake, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bowerbird.data.samples.planning import SetPlan, SidePlan
    from bowerbird.lake.joins.buckets import Bucketed

Row = dict[str, Any]


def plain_rows(lake: Lake, plan: SetPlan) -> list[Row]:
    """Every row of the set with what is beside it, without sampling, as the table has them."""
    spec = plan.spec
    rows = _read(lake, plan.rows, (spec.at,))
    for side in plan.sides:
        beside = _read(lake, side.table, _times(side))
        if side.lookup is not None and isinstance(side.kind, FeatureGroup):
            known = {row[side.kind.lookup_by]: row for row in _read(lake, side.lookup, ())}
            beside = [known.get(row[side.kind.lookup_by], {}) | row for row in beside]
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


def _times(side: SidePlan) -> tuple[str, ...]:
    return (side.kind.at,) if side.kind.at else ()


def _beside(side: SidePlan, row: Row, beside: list[Row], at: str) -> Row:
    asked = [_key(row, name) for name in side.on]
    mine = [
        one for one in beside if None not in asked and [one.get(name) for name in side.key] == asked
    ]
    moment = row[f"\0{at}"]
    match side.kind:
        case FeatureGroup():
            return _computed(side, side.kind, mine, moment)
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


def _computed(side: SidePlan, group: FeatureGroup, mine: list[Row], moment: int) -> Row:
    timed = [one | {"at": one[f"\0{group.at}"]} for one in mine]
    known = [one for one in timed if one["at"] is not None and one["at"] < moment]
    known.sort(key=lambda one: one["at"])
    return {
        made: _narrow(value(group.columns[column], known, moment))
        for column, made in zip(side.columns, side.made, strict=True)
    }


def _narrow(found: Any) -> Any:
    """Fractions are read as float32."""
    return float(np.float32(found)) if isinstance(found, float) else found


def _worth(label: Reward, row: Row) -> float:
    if label.column:
        return label.rewards.get(row[label.column], 0.0)
    return float(sum(worth * row[column] for column, worth in label.rewards.items()))
