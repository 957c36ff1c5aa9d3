"""What the lake does in a plan: load a table, make an empty one, roll one back, drop one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bowerbird.core import codec, functions
from bowerbird.core.clock import Clock
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.errors import UserError
from bowerbird.core.meaning import tree_of
from bowerbird.core.plans import Want
from bowerbird.core.specs import Spec
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import SHAPE, WHOLE, Change, LogTarget
from bowerbird.lake.catalog import Lake
from bowerbird.lake.log import TableLog
from bowerbird.lake.overwrite import overwrite_partitions
from bowerbird.lake.specs import Table
from bowerbird.lake.versions import branches
from bowerbird.lake.versions.rollback import rollback
from bowerbird.lake.write import Written, write


def target(home: Home, clock: Clock, ref: str) -> LogTarget:
    """The table in which steps on `ref` commit."""
    return LogTarget(TableLog(Lake(home), ref), clock)


def wants(spec: Table, _specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    """A table with a source wants its rows; one without wants to be there, with its columns."""
    envelope = codec.encode(spec)
    # How the table comes to its columns says nothing of what they are.
    settled = msgspec.structs.replace(spec, renamed={}, dropped=())
    definition: dict[str, Any] = {"spec": tree_of(settled)}
    ref = str(spec.ref)
    if not spec.source:
        return (Want(ref, "table.create", definition, envelope, cell=SHAPE),)
    definition["source"] = functions.function_tree(spec.source, spec.uses)
    return (Want(ref, "table.load", definition, envelope, cell=WHOLE),)


def table_of(envelope: dict[str, Any]) -> Table:
    """The spec in a step."""
    spec = codec.decode(envelope, {"Table": Table})
    assert isinstance(spec, Table)  # noqa: S101 - it is the only kind that was offered
    return spec


def _load_tasks(work: Work) -> Iterable[Task]:
    return [
        Task(
            key=work.step.target,
            call="bowerbird.lake.steps:load",
            args=(work.home, work.step.spec, work.step.target, work.files),
        )
    ]


def load(home: Home, envelope: dict[str, Any], ref: str, folder: str) -> Written:
    """Call a table's source and write what it gives."""
    spec = table_of(envelope)
    rows = functions.load(spec.source)()
    if rows is None:
        raise UserError(
            f"{ref}: its source {spec.source} returned nothing",
            expected="a pyarrow Table, a RecordBatchReader, or RecordBatches one by one",
        )
    return write(Lake(home), spec, rows, folder, ref)


def _load_change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    written = Written.joined([outcome.result() for outcome in outcomes])
    return Change(
        attempt=work.attempt,
        makes={work.step.cell: work.meaning},
        overwrites=(work.step.cell,),
        payload=written,
        results={"rows": written.rows, "bytes": written.bytes, "files": len(written.files)},
    )


def _overwrite_change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    written = Written.joined([outcome.result() for outcome in outcomes])
    lake = Lake(work.home)
    return overwrite_partitions(lake, written, work.attempt, work.meaning, work.step.target)


def _no_tasks(_: Work) -> Iterable[Task]:
    return ()


def _create_change(work: Work, _: Sequence[Outcome]) -> Change:
    return Change(
        attempt=work.attempt,
        makes={work.step.cell: work.meaning},
        payload=Written(spec=table_of(work.step.spec)),
    )


def _rollback_change(work: Work, _: Sequence[Outcome]) -> Change:
    wanted = work.step.definition
    return rollback(
        Lake(work.home),
        work.step.target,
        wanted["to"],
        work.attempt,
        wanted["cells"],
        wanted["holds"],
    )


def _drop_tasks(work: Work) -> Iterable[Task]:
    call = "bowerbird.lake.steps:drop"
    return [Task(work.step.target, call, (work.home, work.step.target, work.step.base))]


def drop(home: Home, ref: str, base: str | None) -> bool:
    """Drop the table if it is still the one that the plan saw; done before: nothing to do."""
    return Lake(home).drop(ref, head=base)


def _drop_change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    return Change(attempt=work.attempt, results={"dropped": outcomes[0].result()})


def _name_tasks(work: Work) -> Iterable[Task]:
    call = "bowerbird.lake.steps:place_name"
    kind = work.step.kind.rpartition(".")[2]
    return [Task(work.step.target, call, (work.home, work.step.target, kind, work.step.definition))]


def place_name(home: Home, ref: str, kind: str, wanted: dict[str, Any]) -> branches.Placement:
    """Make a branch or a tag; made before: nothing to do."""
    keep = msgspec.convert(wanted["keep"], branches.Retention)
    name_kind = branches.NameKind(kind)
    return branches.place(Lake(home), ref, wanted["name"], name_kind, wanted["at"], keep)


def _removal_tasks(work: Work) -> Iterable[Task]:
    call = "bowerbird.lake.steps:remove_name"
    return [Task(work.step.target, call, (work.home, work.step.target, work.step.definition))]


def remove_name(home: Home, ref: str, wanted: dict[str, Any]) -> bool:
    """Take a branch or a tag away; gone before: nothing to do."""
    return branches.remove(Lake(home), ref, wanted["name"], wanted["head"])


def _name_change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    placed = outcomes[0].result()
    return Change(attempt=work.attempt, results={"result": msgspec.to_builtins(placed)})


def _publish_change(work: Work, _: Sequence[Outcome]) -> Change:
    wanted = work.step.definition
    return branches.published(work.attempt, wanted["branch"], wanted["head"])


LOAD = StepKind(
    target=TargetKind.TABLE, tasks=_load_tasks, change=_load_change, inverse="table.rollback"
)
OVERWRITE = StepKind(
    target=TargetKind.TABLE, tasks=_load_tasks, change=_overwrite_change, inverse="table.rollback"
)
CREATE = StepKind(target=TargetKind.TABLE, tasks=_no_tasks, change=_create_change)
ROLLBACK = StepKind(target=TargetKind.TABLE, tasks=_no_tasks, change=_rollback_change)
DROP = StepKind(target=TargetKind.NONE, tasks=_drop_tasks, change=_drop_change, repeatable=True)
BRANCH = TAG = StepKind(
    target=TargetKind.NONE, tasks=_name_tasks, change=_name_change, repeatable=True
)
UNNAME = StepKind(
    target=TargetKind.NONE, tasks=_removal_tasks, change=_name_change, repeatable=True
)
PUBLISH = StepKind(
    target=TargetKind.TABLE, tasks=_no_tasks, change=_publish_change, inverse="table.rollback"
)
