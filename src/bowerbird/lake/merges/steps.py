"""A merge as a step of a plan: changes from a table at a pinned version, or from a function.

The driver reads the changes once and stages the last of each key in the attempt's folder; tasks, a
group of whole partitions each, apply them; what was staged is gone before the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bowerbird.core import codec, functions
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.errors import UserError
from bowerbird.core.faults import point
from bowerbird.core.meaning import digest, tree_of
from bowerbird.core.plans import Cost, Input, Pinned, Plan, Step
from bowerbird.core.refs import Ref
from bowerbird.core.specs import function_name
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import Change, Read
from bowerbird.lake.catalog import Lake
from bowerbird.lake.failures import translated
from bowerbird.lake.log import TableLog
from bowerbird.lake.merges.candidates import Part
from bowerbird.lake.merges.changes import Changes, Keyed
from bowerbird.lake.merges.merge import Rewritten, change, prepare
from bowerbird.lake.merges.merge import rewrite as rewrite_part
from bowerbird.lake.read import plan, read_batches
from bowerbird.lake.specs import Table
from bowerbird.lake.steps import table_of

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.lake.write import Rows

UPSERTS, DELETES = "upserts.arrow", "deletes.arrow"


def plan_merge(
    lake: Lake, spec: Table, changes: Callable[[], Any] | Ref | str, keyed: Keyed
) -> Plan:
    """A plan of one step that merges changes into the table of `spec`.

    changes: ref of a table, all rows of which (as it is now) are changes; or a function that
    returns or yields Arrow data, itself or as ``module:name``.
    """
    keyed.check(spec)
    ref = str(spec.ref)
    base = TableLog(lake, ref).load().head
    named = function_name(changes) if callable(changes) else str(changes)
    inputs: dict[str, Input] = {}
    rows = None
    definition: dict[str, Any] = {
        "merge": tree_of(msgspec.to_builtins(keyed)),
        "into": tree_of(spec),
    }
    if "/" in named:
        source = str(Ref.parse(named if ":" in named else f"table:{named}"))
        history = TableLog(lake, source).load()
        if history.head is None:
            lake.load(source)  # names the tables that there are, if this is not one
        inputs[source] = Pinned(history.head, Read(history.head, history.cells()).data)
        rows = sum(task.file.record_count for task in plan(lake, source, history.head).tasks)
        definition["from"] = source
    else:
        definition["from"] = functions.function_tree(named, spec.uses)
    step = Step(
        id="s1",
        kind="table.merge",
        target=ref,
        reason=f"changes of {named}, by {', '.join(keyed.key)}",
        spec=codec.encode(spec),
        definition={**definition, "call": named},
        inputs=inputs,
        base=base,
        cost=Cost(rows=rows),
    )
    return Plan(steps=(step,), wants=digest([ref, definition, base, sorted(inputs)]))


def _keyed(work: Work) -> Keyed:
    return msgspec.convert(work.step.definition["merge"], Keyed)


def _rows(work: Work, lake: Lake) -> Rows:
    called: str = work.step.definition["call"]
    if work.inputs:
        ((source, pinned),) = work.inputs.items()
        return read_batches(lake, source, pinned.version)
    rows = functions.load(called)()
    if rows is None:
        raise UserError(
            f"{work.step.target}: {called} returned nothing to merge",
            expected="a pyarrow Table, a RecordBatchReader, or RecordBatches one by one",
        )
    return cast("Rows", rows)  # what else it is, is told where it is looked at


def _tasks(work: Work) -> Iterable[Task]:
    lake, keyed, spec = Lake(work.home), _keyed(work), table_of(work.step.spec)
    prepared = prepare(lake, spec, _rows(work, lake), keyed, work.step.base, work.step.target)
    stage(lake, prepared.changes, work.files)
    point("lake.merge.staged")
    named = (work.home, work.step.spec, work.step.target, work.step.base, keyed, work.files)
    return [
        Task(f"{work.step.target} {place}", "bowerbird.lake.merges.steps:rewrite", (*named, part))
        for place, part in enumerate(prepared.parts())
    ]


def rewrite(
    home: Home,
    envelope: dict[str, Any],
    ref: str,
    base: str | None,
    keyed: Keyed,
    folder: str,
    part: Part,
) -> Rewritten:
    """One part of a merge, with the changes as they were staged."""
    lake = Lake(home)
    changes = staged(lake, folder)
    prepared = prepare(lake, table_of(envelope), changes, keyed, base, ref)
    return rewrite_part(lake, prepared, part, folder)


def _change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    lake, keyed, spec = Lake(work.home), _keyed(work), table_of(work.step.spec)
    done = [outcome.result() for outcome in outcomes]
    changes = staged(lake, work.files)
    prepared = prepare(lake, spec, changes, keyed, work.step.base, work.step.target)
    made = change(changes, keyed, spec, prepared.guards(), done, work.attempt)
    lake.files.delete(f"{work.files}/{name}" for name in (UPSERTS, DELETES))
    return made


def stage(lake: Lake, changes: Changes, folder: str) -> None:
    """Put changes where tasks find them."""
    import pyarrow as pa

    for name, rows in ((UPSERTS, changes.upserts), (DELETES, changes.deletes)):
        path = f"{folder}/{name}"
        with translated(f"writing {path}"), lake.io().new_output(path).create() as sink:
            told = rows.replace_schema_metadata({"superseded": str(changes.superseded)})
            with pa.ipc.new_file(sink, told.schema) as writer:
                writer.write_table(told)


def staged(lake: Lake, folder: str) -> Changes:
    """The changes that `stage` put there."""
    import pyarrow as pa

    found: list[pa.Table] = []
    for name in (UPSERTS, DELETES):
        path = f"{folder}/{name}"
        with translated(f"reading {path}"), lake.io().new_input(path).open() as source:
            found.append(pa.ipc.open_file(source).read_all())
    superseded = int(found[0].schema.metadata[b"superseded"])
    return Changes(found[0], found[1], superseded)


MERGE = StepKind(target=TargetKind.TABLE, tasks=_tasks, change=_change, inverse="table.rollback")
