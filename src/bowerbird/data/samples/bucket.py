"""One bucket of a training set, opened: what stands beside its rows is matched, and all is put in
the order in which it is trained on.

A row's values of other tables are held as places there, and gathered for the rows of a batch. Any
run of the rows can be taken, in any process, and is the same there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.core.errors import UserError
from bowerbird.data.features.alignment import moments
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples import sides as beside
from bowerbird.data.samples.arrays import one_batch, taken
from bowerbird.data.samples.planning import WEIGHT
from bowerbird.data.samples.request_batch import RequestBatch
from bowerbird.data.samples.rows import EVERYTHING, Reader, Rows, at_places, open_rows
from bowerbird.data.samples.specs import Beside
from bowerbird.data.samples.transforms import apply_apart
from bowerbird.lake.arrays import one_piece

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from bowerbird.data.samples.planning import SetPlan, SidePlan
    from bowerbird.data.samples.sides import Side
    from bowerbird.data.samples.splits import Window
    from bowerbird.data.samples.stages import Stages
    from bowerbird.lake.joins.buckets import Bucket

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


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
class Columns:
    """Columns of rows, in an order. narrow: put in it. wide: lists, as they lie, and the place of
    each: they are copied once, for a batch."""

    narrow: pa.RecordBatch
    wide: dict[str, pa.Array]
    places: Ints

    @property
    def nbytes(self) -> int:
        wide = sum(int(one.nbytes) for one in self.wide.values())
        return int(self.narrow.nbytes) + wide + self.places.nbytes

    def some(self, rows: Ints | slice) -> dict[str, pa.Array]:
        found = _some(self.narrow, rows)
        return found | {name: taken(one, self.places[rows]) for name, one in self.wide.items()}


@dataclass(frozen=True, eq=False)
class Ordered:
    """A bucket's rows in the order in which they are trained on, so that a batch's are slices.

    once: the columns of a request, a row for each, numbered as they first come; each: the others, a
    row for each row; told: labels and weight. of: each row's request. together: whether the rows of
    each request are.
    """

    plan: SetPlan
    once: Columns
    each: Columns
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
        once, each = self.once.some(requests), self.each.some(rows)
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
    requests, of = rows.of[order], np.arange(len(order))
    if len(rows.first) < len(rows):  # several rows of a request
        requests, of = dense(requests)
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


def _kept(plan: SetPlan, table: pa.Table, places: Ints) -> Columns:
    """The columns that come out, of the rows at these places."""
    import pyarrow.types as of

    names = [name for name in plan.keeps if name in table.column_names]
    types = {name: table.schema.field(name).type for name in names}
    wide = [name for name, kind in types.items() if of.is_list(kind) or of.is_large_list(kind)]
    return Columns(
        one_batch(at_places(table, [name for name in names if name not in wide], places)),
        {name: one_piece(table.column(name)) for name in wide},
        places,
    )


def _some(batch: pa.RecordBatch, places: Ints | slice) -> dict[str, pa.Array]:
    if not batch.num_columns:
        return {}
    if isinstance(places, slice):
        columns = batch.slice(places.start, places.stop - places.start).columns
    else:
        columns = [taken(column, places) for column in batch.columns]
    return dict(zip(batch.schema.names, columns, strict=True))


def read_bucket(
    reader: Reader, plan: SetPlan, bucket: Bucket, window: Window = EVERYTHING
) -> Lying:
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
    found = read_bucket(reader, plan, bucket, window)
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
