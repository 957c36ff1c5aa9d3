"""A feature group's table: its values at regular moments, for every key seen by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bowerbird.core.inside import tell
from bowerbird.data.features.asof import evaluate, timeline
from bowerbird.data.features.columns import duration, fields_of
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.making import Job, makes_table
from bowerbird.lake import Table

if TYPE_CHECKING:
    import pyarrow as pa

Ints = npt.NDArray[np.int64]

FILL = makes_table("bowerbird.data.features.fill:fill")


def fill(job: Job) -> tuple[Table, pa.Table]:
    """The table of a group: its key, `at`, and a column a feature."""
    import pyarrow as pa

    spec = job.spec(FeatureGroup)
    events = _events(job, spec)
    at = _microseconds(events[spec.at])
    parts = [_codes(events[column]) for column in spec.key]
    fields = sorted({field for column in spec.columns.values() for field in fields_of(column)})
    numbers = {field: np.asarray(events[field].to_numpy(), dtype=np.float64) for field in fields}
    codes = [part for part, _ in parts]
    known = timeline(codes, at, numbers)
    keys, first = _first(codes, at)
    moments = _moments(at, duration(spec.every))
    which, when = np.nonzero(first[:, None] < moments[None, :])
    tell(f"{len(keys):,} keys at {len(moments)} moments")
    asked = [keys[which, place] for place in range(len(codes))]
    values = evaluate(spec.columns, known, asked, moments[when])
    columns: dict[str, Any] = {
        column: names.take(pa.array(asked[place]))
        for place, (column, (_, names)) in enumerate(zip(spec.key, parts, strict=True))
    }
    columns["at"] = pa.array(moments[when]).cast(pa.timestamp("us", tz="UTC"))
    columns |= {name: pa.array(found, from_pandas=True) for name, found in values.items()}
    rows = pa.table(columns)
    return _layout(spec, rows), rows


def _layout(spec: FeatureGroup, rows: pa.Table) -> Table:
    import pyarrow as pa

    def text(kind: pa.DataType) -> str:
        if pa.types.is_integer(kind):
            return "long"
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return "string"
        return "double"

    schema = {name: text(rows.schema.field(name).type) for name in rows.column_names}
    return Table(
        spec.name,
        schema=schema | {"at": "timestamptz"},
        sort=(*spec.key, "at"),
        owner=spec.owner,
        description=spec.description,
    )


def _events(job: Job, spec: FeatureGroup) -> pa.Table:
    """The source's rows, with the attributes that the key names."""
    import pyarrow as pa

    events = job.table(spec.source)
    lacking = [column for column in spec.key if column not in events.column_names]
    if not lacking:
        return events
    attributes = job.table(spec.lookup, columns=[spec.lookup_by, *lacking])
    known = np.asarray(attributes[spec.lookup_by].to_numpy(), dtype=np.int64)
    order = np.argsort(known, kind="stable")
    wanted = np.asarray(events[spec.lookup_by].to_numpy(), dtype=np.int64)
    rows = order[np.searchsorted(known[order], wanted).clip(max=len(known) - 1)]
    for column in lacking:
        events = events.append_column(column, attributes[column].take(pa.array(rows)))
    return events


def _codes(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """A column's values numbered densely, and the values by number."""
    coded = column.combine_chunks().dictionary_encode()
    return np.asarray(coded.indices.fill_null(len(coded.dictionary)), dtype=np.int64), _with_null(
        coded.dictionary
    )


def _with_null(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.concat_arrays([values, pa.nulls(1, values.type)])


def _microseconds(column: pa.ChunkedArray) -> Ints:
    import pyarrow as pa

    return np.asarray(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy())


def _first(codes: list[Ints], at: Ints) -> tuple[Ints, Ints]:
    """The distinct keys, and when each was first seen."""
    keys, owner = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    first = np.full(len(keys), np.iinfo(np.int64).max)
    np.minimum.at(first, owner, at)
    return keys, first


def _moments(at: Ints, every: int) -> Ints:
    """Multiples of `every` after the first event, up to the first one after the last event."""
    if not len(at):
        return np.empty(0, dtype=np.int64)
    low, high = int(at.min()) // every + 1, int(at.max()) // every + 1
    return np.arange(low, high + 1, dtype=np.int64) * every
