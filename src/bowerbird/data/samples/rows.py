"""The rows of one bucket, as they lie: read, labelled, sampled.

What is held is narrow: the rows as they were read, what is the same for all rows of a request once
a request, a label a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bowerbird.core.errors import UserError
from bowerbird.data.features.compute import with_lookup
from bowerbird.data.features.events import microseconds
from bowerbird.data.samples import sides as beside
from bowerbird.data.samples.arrays import all_in_order, joint_codes, numbers, taken
from bowerbird.data.samples.labels import labelled
from bowerbird.data.samples.sampling import Downsample, Sampled, sampled
from bowerbird.data.samples.stages import Stages
from bowerbird.lake import Lake, partitions, streams
from bowerbird.lake.arrays import one_piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from pyiceberg.table import Table as IcebergTable

    from bowerbird.data.features.specs import FeatureGroup
    from bowerbird.data.samples.bucket import Lying
    from bowerbird.data.samples.planning import SetPlan, SidePlan
    from bowerbird.data.samples.sides import OpenGroup
    from bowerbird.data.samples.splits import Window
    from bowerbird.lake.joins.buckets import Bucket, Bucketed

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

EVERYTHING: Window = (None, None)


@dataclass(eq=False)
class Reader:
    """A lake, the tables that were loaded from it, and those that were read whole.

    only: the bucket of a set that has no other, once it was read: for who reads it next.
    """

    lake: Lake
    tables: dict[str, IcebergTable] = field(default_factory=dict)
    shared: dict[tuple[str, tuple[str, ...]], pa.Table] = field(default_factory=dict)
    groups: dict[str, OpenGroup] = field(default_factory=dict)
    stages: Stages = field(default_factory=Stages)
    only: Lying | None = None

    def read(self, table: Bucketed, bucket: Bucket) -> pa.Table:
        """A bucket's rows, in the order of its files and of the rows in them."""
        import pyarrow as pa

        if table.name not in self.tables:
            self.tables[table.name] = self.lake.load(table.name)
        found = table.found(self.tables[table.name], bucket)
        empty = found.arrow_schema().empty_table()
        with self.stages.stage(f"read {table.name}"):
            return pa.concat_tables([empty, *streams.blocks(found)])

    def whole(self, table: Bucketed) -> pa.Table:
        """All rows of a table that is not read by bucket; once for all buckets."""
        key = (table.name, tuple(table.schema.column_names))
        if key not in self.shared:
            self.shared[key] = self.read(table, 0)
        return self.shared[key]

    def side(self, side: SidePlan, bucket: Bucket) -> pa.Table:
        """The rows of a side that a bucket may need."""
        return self.whole(side.table) if side.shared else self.read(side.table, bucket)

    def group(self, side: SidePlan, group: FeatureGroup, bucket: Bucket) -> OpenGroup:
        """A group's events in order: a bucket's, or all, which are put in order once."""
        if side.name in self.groups:
            return self.groups[side.name]
        events = self.read(side.table, 0 if side.shared else bucket)
        if side.lookup is not None:
            events = with_lookup(group, events, self.whole(side.lookup))
        opened = beside.open_group(group, events, () if side.shared else side.table.by)
        if side.shared:
            self.groups[side.name] = opened
        return opened

    @property
    def nbytes(self) -> int:
        """The bytes that are held for all buckets."""
        tables = sum(int(rows.nbytes) for rows in self.shared.values())
        only = 0 if self.only is None else self.only.nbytes
        return tables + only + sum(opened.nbytes for opened in self.groups.values())


@dataclass(frozen=True, eq=False)
class Rows:
    """A bucket's rows after sampling, as they lie: `at` (microseconds), labels and weight (n,).

    once: the columns of a request, a row for each; each: the others, a row for each row.
    of: each row's request; first: each request's first row. dropped: operator -> rows left out.
    """

    once: pa.Table
    each: pa.Table
    at: Ints
    labels: dict[str, Floats]
    weight: Floats | None
    of: Ints
    first: Ints
    dropped: dict[str, int]
    read: int

    def __len__(self) -> int:
        return len(self.at)

    @property
    def nbytes(self) -> int:
        held = int(self.once.nbytes) + int(self.each.nbytes) + self.first.nbytes
        return held + len(self) * 8 * (3 + len(self.labels))


def open_rows(reader: Reader, plan: SetPlan, bucket: Bucket, window: Window = EVERYTHING) -> Rows:
    """Read, label and sample one bucket's rows. Raises `UserError` for a row without a time."""
    spec = plan.spec
    table = reader.read(plan.rows, bucket)
    read = table.num_rows
    nulls = table.column(spec.at).null_count
    if nulls:
        raise UserError(
            f"{plan.rows.name}: {nulls:,} rows have no {spec.at!r}",
            where=f"{spec.ref}: at",
            expected="a time for each row: all else is as of it",
        )
    dropped = {}
    inside = _inside(plan, table, window)
    if not inside.all():
        dropped["outside the split"] = int((~inside).sum())
        table = table.filter(_mask(inside))
    at = microseconds(table.column(spec.at))
    found = _labelled(plan, table)
    chosen = _sampled(plan, table, at, found)
    weighs = any(isinstance(one, Downsample) for one in spec.sampling)
    first, of = _requests(plan, table, chosen.kept)
    once = (spec.entity, *spec.request, spec.at, *spec.user)
    return Rows(
        once=at_places(table, [n for n in table.column_names if n in once], chosen.kept[first]),
        each=at_places(table, [n for n in table.column_names if n not in once], chosen.kept),
        at=at[chosen.kept],
        labels={name: values[chosen.kept] for name, values in found.items()},
        weight=chosen.weight.astype(np.float32) if weighs else None,
        of=of,
        first=first,
        dropped=dropped | chosen.dropped,
        read=read,
    )


def _labelled(plan: SetPlan, table: pa.Table) -> dict[str, Floats]:
    try:
        return labelled(plan.spec.labels, table)
    except UserError as error:
        error.within(str(plan.spec.ref))
        raise


def _sampled(plan: SetPlan, table: pa.Table, at: Ints, labels: dict[str, Floats]) -> Sampled:
    spec = plan.spec
    if not spec.sampling:  # neither entities nor their hashes are looked at
        return Sampled(np.arange(len(at)), np.ones(len(at)), {})
    (entity,) = joint_codes([[table.column(spec.entity)]])
    return sampled(
        spec.sampling,
        at=at,
        entity=entity,
        hashes=_hashes(plan, table),
        values={
            one.column: labels[one.column].astype(np.float64)
            if one.column in labels
            else numbers(table.column(one.column))
            for one in spec.sampling
            if isinstance(one, Downsample)
        },
        seed=spec.seed,
    )


def _inside(plan: SetPlan, table: pa.Table, window: Window) -> npt.NDArray[np.bool_]:
    """Rows of a split: those of its window whose label was known by its end."""
    start, end = window
    at = microseconds(table.column(plan.spec.at))
    inside = np.ones(len(at), dtype=bool)
    if start is not None:
        inside &= at >= start
    if end is not None:
        inside &= at < end
        # Only what is trained on: a label of the test window may well be known after it.
        if plan.spec.until and start is None:
            known = table.column(plan.spec.until)
            inside &= microseconds(known.fill_null(_never(known))) <= end
    return inside


def _never(column: pa.ChunkedArray) -> pa.Scalar:
    import pyarrow as pa

    return pa.scalar(2**62, pa.int64()).cast(column.type)


def _hashes(plan: SetPlan, table: pa.Table) -> npt.NDArray[np.uint32]:
    """The entity's bucket hash; of null the last of all, which no share but the whole has."""
    import pyarrow.compute as pc

    column = table.column(plan.spec.entity)
    kind = plan.rows.schema.find_type(plan.spec.entity)
    valid = one_piece(column.is_valid()).to_numpy(zero_copy_only=False)
    found = np.full(len(column), 2**31 - 1, dtype=np.uint32)
    found[valid] = partitions.hashes(pc.drop_null(column), kind)
    return found


def at_places(table: pa.Table, names: Sequence[str], places: Ints) -> pa.Table:
    """Some columns of the rows at these places, in one piece each: rows are taken of them often."""
    import pyarrow as pa

    every = all_in_order(places, table.num_rows)
    pieces = {name: one_piece(table.column(name)) for name in names}
    return pa.table({n: one if every else taken(one, places) for n, one in pieces.items()})


def _requests(plan: SetPlan, table: pa.Table, kept: Ints) -> tuple[Ints, Ints]:
    """Of the rows that are kept each request's first, and each row's request: equal entity, request
    columns and time."""
    spec = plan.spec
    names = list(dict.fromkeys((spec.entity, *spec.request, spec.at)))
    columns = [_with_null(one_piece(one)) for one in at_places(table, names, kept).columns]
    (codes,) = joint_codes([columns])
    _, first, of = np.unique(codes, return_index=True, return_inverse=True)
    return first.astype(np.int64), of.astype(np.int64)


def _with_null(array: pa.Array) -> pa.Array:
    """The column, or codes in which null is a value like any other: rows of nobody are requests
    too."""
    import pyarrow as pa

    if not array.null_count:
        return array
    indices = array.dictionary_encode(null_encoding="encode").indices
    return indices.cast(pa.int64())


def _mask(values: npt.NDArray[np.bool_]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values)
