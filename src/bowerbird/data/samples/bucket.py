"""One bucket of a training set, opened: its rows chosen, labelled and ordered, its sides matched.

What is held is narrow: the rows as they were read, what is the same for all rows of a request once
a request, a label and a place a row. Any run of its rows can then be taken, in any process, and is
the same there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.core.errors import UserError
from bowerbird.data.features.alignment import moments
from bowerbird.data.features.compute import with_lookup
from bowerbird.data.features.events import microseconds
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples import sides as beside
from bowerbird.data.samples.arrays import joint_codes, numbers, one_batch, taken
from bowerbird.data.samples.labels import labelled
from bowerbird.data.samples.planning import WEIGHT
from bowerbird.data.samples.request_batch import RequestBatch
from bowerbird.data.samples.sampling import Downsample, Sampled, sampled
from bowerbird.data.samples.specs import Beside
from bowerbird.data.samples.stages import Stages
from bowerbird.data.samples.transforms import apply_apart
from bowerbird.lake import Lake, partitions, streams
from bowerbird.lake.arrays import one_piece

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa
    from pyiceberg.table import Table as IcebergTable

    from bowerbird.data.samples.planning import SetPlan, SidePlan
    from bowerbird.data.samples.sides import OpenGroup, Side
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
        once=_at(table, [n for n in table.column_names if n in once], chosen.kept[first]),
        each=_at(table, [n for n in table.column_names if n not in once], chosen.kept),
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


def _at(table: pa.Table, names: Sequence[str], places: Ints) -> pa.Table:
    """Some columns of the rows at these places, in one piece each: rows are taken of them often."""
    import pyarrow as pa

    every = np.array_equal(places, np.arange(table.num_rows))
    pieces = {name: one_piece(table.column(name)) for name in names}
    return pa.table({n: one if every else taken(one, places) for n, one in pieces.items()})


def _requests(plan: SetPlan, table: pa.Table, kept: Ints) -> tuple[Ints, Ints]:
    """Of the rows that are kept each request's first, and each row's request: equal entity, request
    columns and time."""
    spec = plan.spec
    names = list(dict.fromkeys((spec.entity, *spec.request, spec.at)))
    columns = [_with_null(one_piece(one)) for one in _at(table, names, kept).columns]
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


class Lying:
    """A bucket's rows as they lie, and what stands beside them, which is matched once it is asked
    for: of the workers of a loader, each takes rows of some buckets alone, and asks the others for
    their length."""

    def __init__(self, reader: Reader, plan: SetPlan, bucket: Bucket, rows: Rows) -> None:
        self.reader, self.plan, self.bucket, self.rows = reader, plan, bucket, rows
        self._sides: tuple[Side, ...] | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """In the plan's order. Raises `UserError` for what contradicts the rows."""
        if self._sides is None:
            reader = self.reader
            found: list[Side] = []
            for side in self.plan.sides:
                with reader.stages.stage(f"match {side.name}"):
                    one = _open_side(reader, self.plan, self.bucket, self.rows, side, found)
                found.append(one)
            self._sides = tuple(found)
        return self._sides

    @property
    def nbytes(self) -> int:
        """The bytes that are held by now."""
        return self.rows.nbytes + sum(side.nbytes for side in self._sides or ())


@dataclass(frozen=True, eq=False)
class Ordered:
    """A bucket's rows in the order in which they are trained on, so that a batch's are slices.

    once: the columns of a request, a row for each, numbered as they first come; each: the others, a
    row for each row; told: labels and weight. of: each row's request. together: whether the rows of
    each request are.
    """

    plan: SetPlan
    once: pa.RecordBatch
    each: pa.RecordBatch
    told: pa.RecordBatch
    sides: tuple[Side, ...]
    of: Ints
    together: bool

    @property
    def nbytes(self) -> int:
        own = sum(int(part.nbytes) for part in (self.once, self.each, self.told))
        return own + self.of.nbytes + sum(side.nbytes for side in self.sides)

    def piece(self, start: int, end: int) -> RequestBatch:
        rows, of = slice(start, end), self.of[start:end]
        requests: Ints | slice
        if self.together and len(of):
            requests, of = slice(int(of[0]), int(of[-1]) + 1), of - of[0]
        else:
            requests, of = dense(of)
        once, each = _some(self.once, requests), _some(self.each, rows)
        for side, opened in zip(self.plan.sides, self.sides, strict=True):
            if side.user:
                once |= opened.gather(requests)
            else:
                each |= opened.gather(rows)
        each |= _some(self.told, rows)
        return RequestBatch(_batch(once), _batch(each, len(of)), of, ())


def ordered(lying: Lying, order: Ints) -> Ordered:
    """The rows at these places, in their order."""
    plan, rows, sides = lying.plan, lying.rows, lying.sides
    requests, of = dense(rows.of[order])
    told = {name: _numbers(values[order]) for name, values in rows.labels.items()}
    if rows.weight is not None:
        told[WEIGHT] = _numbers(rows.weight[order])
    return Ordered(
        plan,
        once=_kept(plan, rows.once, requests),
        each=_kept(plan, rows.each, order),
        told=_batch(told),
        sides=tuple(
            opened.at(requests if side.user else order)
            for side, opened in zip(plan.sides, sides, strict=True)
        ),
        of=of,
        together=bool((np.diff(of) >= 0).all()),
    )


class Opened:
    """A bucket that rows can be taken from; they are put in their order when the first are.

    order: the rows in the order in which they are trained on. cuts: where that order may be cut,
    ascending, the last is the count of rows; None: anywhere.
    """

    def __init__(self, lying: Lying, order: Ints, cuts: Ints | None) -> None:
        self.cuts, self.stages = cuts, lying.reader.stages
        self._lying: Lying | None = lying
        self._order, self._plan = order, lying.plan
        self._ordered: Ordered | None = None

    def __len__(self) -> int:
        return len(self._order)

    @property
    def nbytes(self) -> int:
        """The bytes that are held while it is open."""
        held = self._ordered or self._lying
        return self._order.nbytes + (held.nbytes if held is not None else 0)

    def take(self, start: int, end: int) -> RequestBatch:
        """Rows ``start:end`` of the order, with all that is beside them, transformed."""
        return transformed(self._plan, self.piece(start, end), self.stages)

    def piece(self, start: int, end: int) -> RequestBatch:
        """Rows ``start:end`` of the order, with all that is beside them. It has no `names`, and is
        not expanded, before it is `transformed`."""
        if self._lying is not None:
            _ = self._lying.sides  # a stage of their own
            with self.stages.stage("order"):
                self._ordered, self._lying = ordered(self._lying, self._order), None
        assert self._ordered is not None  # noqa: S101 - set with the rows as they lie gone
        with self.stages.stage("gather"):
            return self._ordered.piece(start, end)

    def close(self) -> None:
        """Nothing is open: what is held goes with it."""


def transformed(plan: SetPlan, piece: RequestBatch, stages: Stages) -> RequestBatch:
    """A piece, or several joined, as they are trained on: a transform takes as long for a hundred
    rows as for a thousand."""
    with stages.stage("transform"):
        user, rows = apply_apart(
            plan.spec.transforms, piece.user, piece.rows, piece.of, plan.fitted
        )
    return RequestBatch(user, rows, piece.of, _names(plan, user, rows))


def _names(plan: SetPlan, user: pa.RecordBatch, rows: pa.RecordBatch) -> tuple[str, ...]:
    """The columns of a batch in their order: the rows' own, sides, labels, weight, new ones."""
    made = [*user.schema.names, *rows.schema.names]
    declared = [*plan.keeps, *(c for side in plan.sides for c in side.made), *plan.spec.labels]
    there = [name for name in [*declared, WEIGHT] if name in made]
    return (*there, *(name for name in made if name not in there and name != _NOBODY))


def dense(of: Ints) -> tuple[Ints, Ints]:
    """The distinct requests in the order in which they come, and which of them each row has."""
    import pyarrow as pa

    coded = pa.array(of).dictionary_encode()
    return coded.dictionary.to_numpy(), coded.indices.to_numpy().astype(np.int64)


def _kept(plan: SetPlan, table: pa.Table, places: Ints) -> pa.RecordBatch:
    """The columns that come out, of the rows at these places."""
    names = [name for name in plan.keeps if name in table.column_names]
    return one_batch(_at(table, names, places))


def _some(batch: pa.RecordBatch, places: Ints | slice) -> dict[str, pa.Array]:
    if not batch.num_columns:
        return {}
    if isinstance(places, slice):
        columns = batch.slice(places.start, places.stop - places.start).columns
    else:
        columns = [taken(column, places) for column in batch.columns]
    return dict(zip(batch.schema.names, columns, strict=True))


def lying(reader: Reader, plan: SetPlan, bucket: Bucket, window: Window = EVERYTHING) -> Lying:
    """Read one bucket's rows, as they lie."""
    known, reader.only = reader.only, None
    if known is not None and (known.plan, known.bucket) == (plan, bucket):
        return known
    with reader.stages.stage("label and sample"):
        rows = open_rows(reader, plan, bucket, window)
    return Lying(reader, plan, bucket, rows)


def open_bucket(
    reader: Reader,
    plan: SetPlan,
    bucket: Bucket,
    *,
    window: Window = EVERYTHING,
    epoch: int = 0,
    seed: int | None = None,
) -> Opened:
    """Read one bucket. seed: of the order; None: the spec's."""
    found = lying(reader, plan, bucket, window)
    number = [plan.spec.seed if seed is None else seed, epoch, 0 if bucket is None else bucket + 1]
    order, cuts = _order(plan, found.rows, np.random.default_rng(number))
    return Opened(found, order, cuts)


def match(reader: Reader, plan: SetPlan, bucket: Bucket, rows: Rows) -> None:
    """Match the tables whose rows can contradict one another (`checks`), reading keys and times
    alone, and whole only what keys of others come from."""
    known = {*rows.once.column_names, *rows.each.column_names}
    keyed = {name for side in plan.sides for name in side.on} - known
    before: list[Side] = []
    for side in plan.sides:
        needed = any(name in keyed for name in (*side.columns, *side.made))
        can_be_wrong = isinstance(side.kind, Beside) and (not side.kind.at or side.kind.through)
        if needed:
            before.append(_open_side(reader, plan, bucket, rows, side, before))
            continue
        before.append(_NONE)
        if can_be_wrong:
            _open_side(reader, plan, bucket, rows, _narrowed(side), before)


def _narrowed(side: SidePlan) -> SidePlan:
    """The side without a column that comes out."""
    times = [side.kind.at, side.kind.through] if isinstance(side.kind, Beside) else []
    names = dict.fromkeys([*side.key, *(name for name in times if name)])
    table = msgspec.structs.replace(side.table, schema=side.table.schema.select(*names))
    return msgspec.structs.replace(side, table=table, columns=())


def _open_side(
    reader: Reader, plan: SetPlan, bucket: Bucket, rows: Rows, side: SidePlan, before: list[Side]
) -> Side:
    asked = [_asked(plan, rows, side, name, before) for name in side.on]
    at = rows.at[rows.first] if side.user else rows.at
    try:
        if isinstance(side.kind, FeatureGroup):
            moment = _time(moments(plan.spec.alignment, at))
            given = _table([*zip(side.key, asked, strict=True), ("at", moment)])
            group = reader.group(side, side.kind, bucket)
            return beside.computed(group, side.name, given, at, plan.spec.audit)
        table = reader.side(side, bucket)
        if isinstance(side.kind, Beside):
            return beside.matched(side.kind, side.name, side.columns, table, side.key, asked, at)
        return beside.earlier(side.kind, side.name, table, side.key, asked, at)
    except UserError as error:
        error.within(f"bucket {bucket}" if isinstance(side.kind, FeatureGroup) else side.name)
        error.within(str(plan.spec.ref))
        raise


_NONE = beside.Matched(None, np.empty(0, dtype=np.int64))
_NOBODY = "\0"


def _asked(plan: SetPlan, rows: Rows, side: SidePlan, name: str, before: list[Side]) -> pa.Array:
    """A column of the key, for each asker: of the rows, or of a side that was opened before."""
    if name in rows.once.column_names:
        column = one_piece(rows.once.column(name))
        return column if side.user else taken(column, rows.of)
    if name in rows.each.column_names:
        return one_piece(rows.each.column(name))
    for earlier, opened in zip(plan.sides, before, strict=False):
        for column, made in zip(earlier.columns, earlier.made, strict=True):
            if name in (column, made):
                askers = (
                    rows.of
                    if earlier.user and not side.user
                    else np.arange(len(rows.first) if earlier.user else len(rows), dtype=np.int64)
                )
                return opened.gather(askers)[made]
    raise AssertionError(name)  # planning holds that it is there


def _order(plan: SetPlan, rows: Rows, random: np.random.Generator) -> tuple[Ints, Ints | None]:
    """The order of a bucket's rows, and where it may be cut."""
    if plan.spec.order == "lying":
        return np.arange(len(rows), dtype=np.int64), None
    if plan.spec.order == "shuffled":
        return random.permutation(len(rows)), None
    rank = random.permutation(len(rows.first))
    order = np.argsort(rank[rows.of], kind="stable")
    return order, np.cumsum(np.bincount(rank[rows.of], minlength=len(rank))).astype(np.int64)


def _batch(columns: dict[str, pa.Array], rows: int = 0) -> pa.RecordBatch:
    import pyarrow as pa

    if not columns and rows:
        # A batch without a column has no rows either; one that nobody sees keeps the count.
        columns = {_NOBODY: pa.nulls(rows)}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _table(columns: Iterable[tuple[str, pa.Array]]) -> pa.Table:
    import pyarrow as pa

    return pa.table(dict(columns))


def _time(at: Ints) -> pa.Array:
    import pyarrow as pa

    return pa.array(at).cast(pa.timestamp("us", tz="UTC"))


def _numbers(values: Floats) -> pa.Array:
    import pyarrow as pa

    return pa.array(values)


def _mask(values: npt.NDArray[np.bool_]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values)
