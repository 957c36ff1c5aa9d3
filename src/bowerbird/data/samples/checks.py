"""What can be wrong with a training set, said before the first step of training.

A pass over the narrow columns: keys, times, actions. Nothing wide is read, and no feature computed,
but for a few rows of one bucket that go all the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bowerbird.core.errors import UserError
from bowerbird.data.samples.bucket import Lying, Opened, match, read_bucket
from bowerbird.data.samples.labels import columns_of
from bowerbird.data.samples.rows import EVERYTHING, Reader, open_rows
from bowerbird.data.samples.sampling import Downsample
from bowerbird.data.samples.views import explain
from bowerbird.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from bowerbird.core.steps import Home
    from bowerbird.data.samples.planning import SetPlan
    from bowerbird.data.samples.splits import Window
    from bowerbird.lake.joins.buckets import Bucket

REHEARSED = 64
"""Rows that go all the way before the first batch."""


class Counted(msgspec.Struct, frozen=True):
    """What a check saw. rows: that are trained on, of those read. dropped: operator -> rows.
    width: bytes of a row of a batch."""

    rows: int
    read: int
    requests: int
    dropped: dict[str, int]
    columns: tuple[str, ...]
    width: int = 0


def check(
    home: Home,
    plan: SetPlan,
    *,
    window: Window = EVERYTHING,
    memory: int | None = None,
    batch_size: int = 0,
    look: Callable[[pa.RecordBatch], object] | None = None,
    reader: Reader | None = None,
) -> Counted:
    """Read what is narrow of each bucket, and a few rows whole.

    look: at the few rows, as they will come. reader: of the same plan and window afterwards; what
    was opened whole stays with it. Raises `UserError` for a set without a row, a label
    that is null or raises, two rows of one key beside a row, more memory than there is, a transform
    that changes the count of rows; and `LeakageError` for what was computed later than the row it
    stands beside.
    """
    if memory is not None:
        _refuse_more(plan, memory, 0, 0)
    reader = reader or Reader(Lake(home))
    rows = read = requests = width = 0
    dropped: dict[str, int] = {}
    full: dict[Bucket, int] = {}
    narrow = narrowed(plan)
    alone = len(plan.buckets) == 1
    # What is read narrow of a table that all buckets share is not kept beside what is read whole.
    narrowly = Reader(Lake(home))
    for bucket in plan.buckets:
        if alone:  # read whole at once: there is nothing to spare by a narrow look before
            reader.only = Lying(reader, plan, bucket, open_rows(reader, plan, bucket, window))
            found = reader.only.rows
        else:
            found = open_rows(narrowly, narrow, bucket, window)
            match(narrowly, plan, bucket, found)
        rows, read, requests = rows + len(found), read + found.read, requests + len(found.first)
        for name, count in found.dropped.items():
            dropped[name] = dropped.get(name, 0) + count
        full |= {bucket: len(found)} if len(found) else {}
    if not rows:
        told = ", ".join(f"{count:,} by {name}" for name, count in dropped.items() if count)
        told = told or f"{plan.rows.name} is empty, or all of it lies outside the windows"
        raise UserError(
            f"no row is left of {read:,} that were read: {told}",
            where=str(plan.spec.ref),
            expected="at least one row to train on",
            fix="look at sampling, splits and the table's version",
        )
    # The last is that of the rows whose entity is null, if there are such.
    held = 0
    for bucket in dict.fromkeys((max(full, key=lambda b: full[b]), list(full)[-1])):
        known = read_bucket(reader, plan, bucket, window) if reader.only is None else reader.only
        few = np.arange(min(REHEARSED, len(known.rows)))
        rehearsed = Opened(known, few, None).take(0, len(few))
        held = max(held, known.nbytes)
        flat = rehearsed.expand()
        width = max(width, int(flat.nbytes) // len(rehearsed))
        if look is not None:
            look(flat)
    if memory is not None:
        most = min(plan.spec.interleave + 1, len(plan.buckets)) * held + reader.nbytes
        _refuse_more(plan, memory, batch_size * width, most)
    return Counted(rows, read, requests, dropped, rehearsed.names, width)


def narrowed(plan: SetPlan) -> SetPlan:
    """The plan without the rows' columns that say nothing of which rows are trained on, or how."""
    spec = plan.spec
    names = [spec.entity, *spec.request, spec.at, spec.until]
    names += [name for label in spec.labels.values() for name in columns_of(label)]
    names += [one.column for one in spec.sampling if isinstance(one, Downsample)]
    names += [name for side in plan.sides for name in side.on]
    kept = [name for name in plan.reads if name in names]
    rows = msgspec.structs.replace(plan.rows, schema=plan.rows.schema.select(*kept))
    return msgspec.structs.replace(plan, rows=rows, reads=tuple(kept), keeps=())


def _refuse_more(plan: SetPlan, memory: int, batch: int, held: int) -> None:
    """batch: the bytes of one. A reader holds its parts, and them as one. held: by buckets, as the
    largest one shows; 0: as the tables' statistics say."""
    told = explain(plan)
    whole = (held or told.memory) + 2 * batch
    if whole > memory:
        most = max(told.tables, key=lambda table: table.held)
        raise UserError(
            f"it would hold about {whole:,} bytes: {2 * batch:,} for a batch, and of {most.table} "
            f"{most.held:,}",
            where=str(plan.spec.ref),
            expected=f"at most memory={memory:,}",
            fix=f"more buckets for {most.table}, a lower interleave, fewer columns, smaller "
            "batches, or more memory",
        )
