"""Joins as tasks, one a bucket, on any engine; and as a step that fills a table with one commit."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core import codec
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.errors import UserError
from bowerbird.core.meaning import tree_of
from bowerbird.core.plans import Cost, Plan, Want, make_plan
from bowerbird.core.refs import Ref
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import WHOLE, Change, Read
from bowerbird.lake.catalog import Lake
from bowerbird.lake.failures import translated
from bowerbird.lake.joins.buckets import Bucket
from bowerbird.lake.joins.join import JoinPlan, bucket_join, bucket_rows
from bowerbird.lake.joins.specs import Join, Side
from bowerbird.lake.joins.views import explain
from bowerbird.lake.specs import Table
from bowerbird.lake.steps import table_of
from bowerbird.lake.write import Written, write

if TYPE_CHECKING:
    import pyarrow as pa


class JoinFile(msgspec.Struct, frozen=True):
    """One bucket's rows in a Parquet file, in the order of the key."""

    path: str
    bucket: Bucket
    rows: int


def join_tasks(home: Home, plan: JoinPlan, spec: Table, folder: str, ref: str = "") -> list[Task]:
    """One task a bucket; each answers a `Written` for a table of `spec`.

    ``Written.joined`` of the outcomes is the payload of one commit. folder: for the data files.
    """
    call = "bowerbird.lake.joins.steps:write_bucket"
    ref = ref or str(spec.ref)
    return [
        Task(f"{ref} {bucket}", call, (home, plan.only(bucket), bucket, spec, folder, ref))
        for bucket in plan.buckets
    ]


def write_bucket(
    home: Home, plan: JoinPlan, bucket: Bucket, spec: Table, folder: str, ref: str
) -> Written:
    """Join one bucket and write it as data files."""
    lake = Lake(home)
    return write(lake, spec, _batches(bucket_rows(lake, plan, bucket)), folder, ref)


def _batches(blocks: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    for block in blocks:
        yield from block.to_batches()


def file_tasks(home: Home, plan: JoinPlan, folder: str) -> list[Task]:
    """One task a bucket; each answers a `JoinFile`, below a local folder."""
    call = "bowerbird.lake.joins.steps:write_file"
    return [
        Task(f"join {bucket}", call, (home, plan.only(bucket), bucket, folder))
        for bucket in plan.buckets
    ]


def write_file(home: Home, plan: JoinPlan, bucket: Bucket, folder: str) -> JoinFile:
    """Join one bucket into a Parquet file of its own."""
    import pyarrow.parquet as pq

    name = "null" if bucket is None else f"{bucket:05}"
    path = Path(folder) / f"bucket-{name}-{uuid.uuid4().hex[:8]}.parquet"
    rows = 0
    with translated(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(path, plan.schema(), compression="zstd") as out:
            for block in bucket_rows(Lake(home), plan, bucket):
                out.write_table(block)
                rows += block.num_rows
    return JoinFile(str(path), bucket, rows)


def plan_join(lake: Lake, spec: Table, join: Join, present: Mapping[str, Read]) -> Plan:
    """The step that makes a table of a join's rows; an empty plan, if it holds them already.

    present: what the tables are now, by ref: the new one too, if it is there. Raises what
    `bucket_join` does, and `UserError` for a join that cannot be kept in a ledger.
    """
    sides: list[Side] = [join.left, *join.others]
    if any(side.where for side in sides):
        raise UserError(
            f"{spec.ref}: a join with where= is not made by a step: Python's values are not kept",
            expected="the filtered rows as a table of their own, or the join read with join_rows()",
        )
    told = explain(bucket_join(lake, join.left, *join.others))
    want = Want(
        target=str(spec.ref),
        kind="table.join",
        definition={"spec": tree_of(spec), "join": msgspec.to_builtins(join)},
        spec=codec.encode(spec),
        cell=WHOLE,
        reads=tuple(dict.fromkeys(_ref(side) for side in sides)),
        cost=Cost(rows=told.rows, bytes=told.bytes),
    )
    return make_plan([want], present, {})


def _ref(side: Side) -> str:
    return side.ref if ":" in side.ref else str(Ref.parse(f"table:{side.ref.replace('.', '/')}"))


def _pinned(work: Work) -> Join:
    """The join of a step, its versions those that the step has pinned."""
    join = msgspec.convert(work.step.definition["join"], Join)

    def at(side: Side) -> Side:
        version = side.version or work.inputs[_ref(side)].version
        return msgspec.structs.replace(side, version=version)

    left, *others = (at(side) for side in (join.left, *join.others))
    return msgspec.structs.replace(join, left=left, others=tuple(others))


def _tasks(work: Work) -> Iterable[Task]:
    join = _pinned(work)
    plan = bucket_join(Lake(work.home), join.left, *join.others)
    return join_tasks(work.home, plan, table_of(work.step.spec), work.files, work.step.target)


def _change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    parts: list[Written] = [outcome.result() for outcome in outcomes]
    written = Written.joined(parts) if parts else Written(table_of(work.step.spec))
    return Change(
        attempt=work.attempt,
        makes={work.step.cell: work.meaning},
        overwrites=(work.step.cell,),
        payload=written,
        results={"rows": written.rows, "bytes": written.bytes, "files": len(written.files)},
    )


JOIN = StepKind(target=TargetKind.TABLE, tasks=_tasks, change=_change, inverse="table.rollback")
