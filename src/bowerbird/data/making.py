"""How a room of the wings makes a table or a release: it names a function, this does the rest.

A room writes one function of a `Job` and wraps its name by `makes_table` or `makes_release`. The
function runs in a worker; it reads what the plan pinned and nothing else, so the same inputs give
the same output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bowerbird.core import codec, functions
from bowerbird.core.engine import Outcome, Resources, Task
from bowerbird.core.meaning import Tree, tree_of
from bowerbird.core.plans import Cost, Want
from bowerbird.core.specs import Spec
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import WHOLE, Change, Read
from bowerbird.lake import Lake, Table, Written, read, write
from bowerbird.workspace.releases import Release, ReleaseFiles, open_log

if TYPE_CHECKING:
    import pyarrow as pa

S = TypeVar("S", bound=Spec)


class Job(msgspec.Struct, frozen=True):
    """What a function that makes something is given.

    envelopes: ref -> the spec's envelope, of the spec itself and of those that it uses.
    inputs: ref -> the version to read. folder: for files, of a release.
    """

    home: Home
    ref: str
    envelopes: dict[str, dict[str, Any]]
    inputs: dict[str, Read]
    folder: str

    def spec(self, kind: type[S], ref: str | None = None) -> S:
        """The spec of this job, or of another that it uses."""
        found = codec.decode(self.envelopes[ref or self.ref], {kind.__name__: kind})
        if not isinstance(found, kind):
            raise TypeError(f"{ref or self.ref} is a {type(found).__name__}")
        return found

    def table(self, ref: str, columns: Sequence[str] | None = None, where: Any = None) -> pa.Table:
        """An input's rows, at the pinned version."""
        return read(
            Lake(self.home), ref, version=self.inputs[ref].version, columns=columns, where=where
        )

    def release(self, ref: str) -> Release:
        """An input's release, at the pinned version."""
        return open_log(self.home, ref).pinned(self.inputs[ref].version)


class Made(msgspec.Struct, frozen=True):
    """What a function that makes a release returns: facts that readers and reports need.

    note: kept with the release. results: figures of the step.
    """

    note: dict[str, Any] = {}
    results: dict[str, Any] = {}


def want(
    spec: Spec,
    kind: str,
    *,
    reads: Iterable[str] = (),
    uses: Iterable[Spec] = (),
    calls: Iterable[str] = (),
    cost: Cost = Cost(),  # noqa: B008 - frozen
) -> Want:
    """What a spec wants, with a meaning of the spec, of those it uses and of functions it names."""
    others = {str(other.ref): other for other in uses}
    definition: dict[str, Tree] = {"spec": tree_of(spec)}
    if others:
        definition["uses"] = {ref: tree_of(other) for ref, other in others.items()}
    for name in calls:
        definition[name] = functions.function_tree(name)
    return Want(
        target=str(spec.ref),
        kind=kind,
        definition=definition,
        spec=codec.encode(spec),
        others={ref: codec.encode(other) for ref, other in others.items()},
        reads=tuple(dict.fromkeys(reads)),
        cost=cost,
    )


def makes_table(call: str, cpus: float = 1.0) -> StepKind:
    """A step kind whose function returns (`Table` layout, Arrow rows). cpus: that it keeps busy."""
    return StepKind(
        target=TargetKind.TABLE,
        tasks=lambda work: [_task("bowerbird.data.making:run_table", call, work, cpus)],
        change=_table_change,
        inverse="table.rollback",
    )


def makes_release(call: str, cpus: float = 1.0) -> StepKind:
    """A step kind whose function writes files into ``job.folder`` and returns `Made`."""
    return StepKind(
        target=TargetKind.RELEASE,
        tasks=lambda work: [_task("bowerbird.data.making:run_release", call, work, cpus)],
        change=_release_change,
        inverse="release.rollback",
    )


def _task(runner: str, call: str, work: Work, cpus: float) -> Task:
    step = work.step
    envelopes = {**step.others, step.target: step.spec}
    job = Job(work.home, step.target, envelopes, dict(work.inputs), work.files)
    return Task(step.target, runner, (call, job), resources=Resources(cpus=cpus))


def run_table(call: str, job: Job) -> Written:
    """In a worker: call the function, write its rows."""
    made: tuple[Table, Any] = functions.load(call)(job)
    layout, rows = made
    return write(Lake(job.home), layout, rows, job.folder, job.ref)


def run_release(call: str, job: Job) -> tuple[ReleaseFiles, dict[str, Any]]:
    """In a worker: call the function, hash the files that it wrote."""
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    function: Callable[[Job], Made] = functions.load(call)
    made = function(job)
    return ReleaseFiles.of(job.folder, made.note), made.results


def _table_change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    written: Written = outcomes[0].result()
    return Change(
        attempt=work.attempt,
        makes={WHOLE: work.meaning},
        overwrites=(WHOLE,),
        payload=written,
        results={"rows": written.rows, "bytes": written.bytes, "files": len(written.files)},
    )


def _release_change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    files, results = outcomes[0].result()
    size = sum(size for size, _ in files.files.values())
    return Change(
        attempt=work.attempt,
        makes={WHOLE: work.meaning},
        overwrites=(WHOLE,),
        payload=files,
        results={"bytes": size, "files": len(files.files), **results},
    )
