"""A set stored: its batches' rows as a bucketed table, found again by what they were made of.

Twenty runs of a search read one set: joined and labelled once, it costs the reading alone. The
table is the set's own (``shop.clicks__training_set``); a commit carries the set's fingerprint: of
the spec, the groups, and the versions of all that was read. The same fingerprint is not made twice,
and another is another version. A kept set gives the very batches of the set it was made of.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core import codec
from bowerbird.core.clock import SystemClock
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.errors import UserError
from bowerbird.core.specs import Spec
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import WHOLE, Change, LogTarget, Token
from bowerbird.data.features.compute import place_of
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples import transforms
from bowerbird.data.samples.batches import fitted
from bowerbird.data.samples.bucket import open_bucket
from bowerbird.data.samples.checks import check
from bowerbird.data.samples.order import Length
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.rows import Reader
from bowerbird.data.samples.specs import TrainingSet
from bowerbird.data.samples.transforms import Fitted
from bowerbird.lake import Lake, Table, TableLog, Written, bucket, write
from bowerbird.lake.schema import declared_type

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.core.engine import Engine
    from bowerbird.lake.joins.buckets import Bucket

BLOCK = 4096
"""Rows that are made at a time."""


class Kept(msgspec.Struct, frozen=True):
    """A set's table at the version that holds it. made: now, or found. fitted: the transforms'
    constants, which serving needs."""

    ref: str
    version: str
    fingerprint: str
    rows: int
    made: bool
    fitted: Fitted


def keep(home: Home, plan: SetPlan, engine: Engine | None = None) -> Kept:
    """Store a set, unless its very fingerprint is stored. engine: a task a bucket; None: here.

    Raises what `checks.check` does, and `UserError` for transforms of the columns that batches are
    ordered by.
    """
    _refuse_moved(plan)
    if engine is not None:
        plan.refuse_elsewhere(place_of(engine.name))
    ref, lake = str(plan.spec.ref), Lake(home)
    token = Token(f"samples/{plan.fingerprint}")
    target = LogTarget(TableLog(lake, ref), SystemClock())
    history = target.history()
    if any(entry.token == token for entry in history.entries):
        return _kept(plan, target, token, made=False)
    plan = fitted(home, plan)
    check(home, plan)
    attempt = uuid.uuid4().hex
    folder = target.files(token, attempt)
    if engine is None:
        reader, layout = Reader(lake), _layout(home, plan)
        parts = [_written(reader, plan, one, layout, folder) for one in plan.buckets]
    else:
        tasks = keep_tasks(home, plan, folder)
        parts = [outcome.result() for outcome in engine.run(tasks)]
    target.commit(token, history.head, _change(plan, attempt, parts))
    return _kept(plan, target, token, made=True)


def _kept(plan: SetPlan, target: LogTarget, token: Token, *, made: bool) -> Kept:
    entry = next(entry for entry in target.history().entries if entry.token == token)
    known = msgspec.convert(entry.results.get("fitted", {}), Fitted)
    rows = int(entry.results["rows"])
    return Kept(str(plan.spec.ref), entry.version, plan.fingerprint, rows, made, known)


def kept_plan(lake: Lake, plan: SetPlan, version: str | None) -> SetPlan:
    """The plan that reads a kept set: the same batches, in the same order."""
    return plan_set(lake, _stored(plan), versions={str(plan.spec.ref): version} if version else {})


def _stored(plan: SetPlan) -> TrainingSet:
    """The set as one that reads its own table, in which all is done."""
    spec = plan.spec
    return TrainingSet(
        spec.name,
        rows=str(spec.ref),
        entity=spec.entity,
        at=spec.at,
        request=spec.request,
        user=_user(plan),
        splits=spec.splits,
        order=spec.order,
        interleave=spec.interleave,
        seed=spec.seed,
    )


def _user(plan: SetPlan) -> tuple[str, ...]:
    """The columns of a request, those too that a function made of them alone."""
    once = list(plan.user_columns)
    for one in plan.spec.transforms:
        if isinstance(one, transforms.Custom):
            of_user = all(column in once for column in one.reads)
            once = [column for column in once if column not in one.makes]
            once += list(one.makes) if of_user else []
    return tuple(once)


def _refuse_moved(plan: SetPlan) -> None:
    spec = plan.spec
    fixed = (spec.entity, *spec.request, spec.at)
    for place, one in enumerate(spec.transforms):
        for column in set(transforms.makes(one)) & set(fixed):
            raise UserError(
                f"it changes {column!r}, by which a kept set is bucketed and ordered",
                where=f"{spec.ref}: transforms[{place}] {type(one).__name__}",
                expected="transforms of other columns",
                fix="a Custom that makes a column of another name of it",
            )


def keep_tasks(home: Home, plan: SetPlan, folder: str) -> list[Task]:
    """One task a bucket; each answers a `Written`."""
    layout, call = _layout(home, plan), "bowerbird.data.samples.kept:write_bucket"
    return [
        Task(f"{plan.spec.ref} {one}", call, (home, plan.only(one), one, layout, folder))
        for one in plan.buckets
    ]


def write_bucket(home: Home, plan: SetPlan, one: Bucket, layout: Table, folder: str) -> Written:
    """Make one bucket's rows, as they lie, and write them as data files."""
    return _written(Reader(Lake(home)), plan, one, layout, folder)


def _written(reader: Reader, plan: SetPlan, one: Bucket, layout: Table, folder: str) -> Written:
    rows = _rows(reader, plan, one, layout)
    return write(reader.lake, layout, rows, folder, str(plan.spec.ref))


def _rows(reader: Reader, plan: SetPlan, one: Bucket, layout: Table) -> Iterator[pa.RecordBatch]:
    lying = msgspec.structs.replace(plan.spec, order="lying")
    opened = open_bucket(reader, msgspec.structs.replace(plan, spec=lying), one)
    length = Length(len(opened))
    start = 0
    while start < len(opened):
        end = length.end(start, BLOCK)
        yield opened.take(start, end).expand().select(list(layout.schema))
        start = end


def _layout(home: Home, plan: SetPlan) -> Table:
    """The table: bucketed as the rows are, and in their order, which is not sorted again."""
    empty = msgspec.structs.replace(plan.spec, order="lying")
    reader = Reader(Lake(home))
    for one in plan.buckets:
        opened = open_bucket(reader, msgspec.structs.replace(plan, spec=empty), one)
        if len(opened):
            schema = opened.take(0, 1).expand().schema
            break
    # All rows are replaced, so what an earlier version of the set had may go.
    present = reader.lake.find(str(plan.spec.ref))
    had = present.schema().column_names if present else []
    by_entity = plan.rows.by == (plan.spec.entity,)
    return Table(
        plan.spec.name,
        schema={field.name: declared_type(field.type) for field in schema},
        partition=(bucket(plan.spec.entity, plan.count),) if by_entity else (),
        dropped=tuple(n for n in had if n not in schema.names and "." not in n),
        owner=plan.spec.owner,
        description=plan.spec.description,
    )


def _change(plan: SetPlan, attempt: str, parts: Sequence[Written]) -> Change:
    written = Written.joined(parts)
    told = {"rows": written.rows, "bytes": written.bytes, "files": len(written.files)}
    return Change(
        attempt=attempt,
        makes={WHOLE: plan.fingerprint},
        overwrites=(WHOLE,),
        payload=written,
        results=told | {"fitted": msgspec.to_builtins(plan.fitted)},
    )


def _step_plan(work: Work) -> SetPlan:
    """The set of a step, at the versions that the step has pinned."""
    kinds: dict[str, type[Spec]] = {"TrainingSet": TrainingSet, "FeatureGroup": FeatureGroup}
    spec = codec.decode(work.step.spec, kinds)
    groups = {
        ref: codec.decode(envelope, kinds)
        for ref, envelope in work.step.others.items()
        if envelope["kind"] == "FeatureGroup"
    }
    assert isinstance(spec, TrainingSet)  # noqa: S101 - the step is of this kind
    versions = {ref: read.version for ref, read in work.inputs.items() if read.version}
    return plan_set(Lake(work.home), spec, groups, versions)


def _tasks(work: Work) -> Iterable[Task]:
    plan = _step_plan(work)
    plan.refuse_elsewhere(place_of(work.engine))
    plan = fitted(work.home, plan)
    _refuse_moved(plan)
    check(work.home, plan)
    return keep_tasks(work.home, plan, work.files)


def _step_change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    # The same constants again: what they are of is pinned.
    plan = fitted(work.home, _step_plan(work))
    change = _change(plan, work.attempt, [outcome.result() for outcome in outcomes])
    return msgspec.structs.replace(change, makes={work.step.cell: work.meaning})


KEEP = StepKind(
    target=TargetKind.TABLE, tasks=_tasks, change=_step_change, inverse="table.rollback"
)
