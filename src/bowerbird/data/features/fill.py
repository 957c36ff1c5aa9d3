"""A feature group's table made whole: its values at regular moments, for every key of which a
column sees an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bowerbird.core.inside import tell
from bowerbird.data.features.columns import Count, duration, longest_window
from bowerbird.data.features.compute import compute
from bowerbird.data.features.events import counted_from, events_of, values
from bowerbird.data.features.sources import events_between
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.making import Job, makes_table
from bowerbird.lake import Lake, Table
from bowerbird.lake.schema import declared_type

if TYPE_CHECKING:
    import pyarrow as pa

Ints = npt.NDArray[np.int64]

FILL = makes_table("bowerbird.data.features.fill:fill")


def fill(job: Job) -> tuple[Table, pa.Table]:
    """The table of a group: its key, `at`, and a column a feature."""
    import pyarrow as pa

    spec = job.spec(FeatureGroup)
    versions = {ref: job.inputs[ref].version for ref in spec.refs().values()}
    rows = events_between(Lake(job.home), spec, versions, None, (None, None))
    keys, first, at = _keys(spec, rows)
    moments = _moments(at, duration(spec.every))
    which, when = np.nonzero(first[:, None] < moments[None, :])
    tell(f"{keys.num_rows:,} keys at {len(moments)} moments")
    asked = keys.take(pa.array(which)).append_column(
        "at", pa.array(moments[when]).cast(pa.timestamp("us", tz="UTC"))
    )
    asked = _seen_lately(spec, rows, asked)
    found = compute(spec, rows, asked)
    made = pa.table(
        [*asked.columns, *found.columns], names=[*asked.column_names, *found.column_names]
    )
    return layout(spec, made.schema), made


def _seen_lately(spec: FeatureGroup, rows: pa.Table, asked: pa.Table) -> pa.Table:
    """Without the keys of which no column sees an event: where all have windows, these are many."""
    import pyarrow.compute as pc

    longest = longest_window(spec.columns.values())
    if longest is None:
        return asked
    seen = {"n": Count(over=longest)}
    counts = values(seen, events_of(rows, spec.key, spec.at, seen, spec.known_at), asked)
    return asked.filter(pc.greater(counts["n"], 0))


def layout(spec: FeatureGroup, schema: pa.Schema) -> Table:
    """How the table of a group lies: by key and time."""
    return Table(
        spec.name,
        schema={field.name: declared_type(field.type) for field in schema},
        sort=(*spec.key, "at"),
        owner=spec.owner,
        description=spec.description,
    )


def _keys(spec: FeatureGroup, rows: pa.Table) -> tuple[pa.Table, Ints, Ints]:
    """The distinct keys, when each was first seen, and the moment of every event."""
    import pyarrow as pa

    rows, at = counted_from(rows, spec.key, spec.at, spec.known_at)
    timed = rows.select(spec.key).append_column("first", pa.array(at))
    keys = timed.group_by(list(spec.key), use_threads=False).aggregate([("first", "min")])
    return keys.select(spec.key), np.asarray(keys["first_min"].to_numpy()), at


def _moments(at: Ints, every: int) -> Ints:
    """Multiples of `every` after the first event, up to the first one after the last event."""
    if not len(at):
        return np.empty(0, dtype=np.int64)
    low, high = int(at.min()) // every + 1, int(at.max()) // every + 1
    return np.arange(low, high + 1, dtype=np.int64) * every
