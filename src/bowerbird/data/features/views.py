"""What people and programs are shown of groups, backfills and promotions: pure queries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from bowerbird.core.errors import RefError
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Allowed, Input, OutputOf, Plan, Step, Want, counted, total_cost
from bowerbird.core.runs import RunRecord, RunState, StepState
from bowerbird.core.specs import Spec, needed, of_kind
from bowerbird.core.targets import CellState, Read
from bowerbird.data.features.specs import Backfill, FeatureGroup, Place, Promotion
from bowerbird.data.features.verdicts import FailedRun, Failure, failure
from bowerbird.workspace.views import CUT_OFF, RunView
from bowerbird.workspace.workspace import Workspace


class GroupView(msgspec.Struct, frozen=True):
    """One group: what it computes, where it runs, and the same as SQL."""

    ref: str
    owner: str
    description: str
    source: str
    key: tuple[str, ...]
    columns: dict[str, str]
    places: tuple[Place, ...]
    kept: str
    used_by: tuple[str, ...]
    sql: str


class Running(msgspec.Struct, frozen=True):
    """An open run of a target. state: its state, or that it is cut off. cells: that it makes."""

    run: str
    by: str
    since: datetime
    state: str
    done: int
    steps: int
    cells_done: int
    cells: int

    @property
    def share(self) -> float:
        return share(self.cells_done, self.cells, self.done, self.steps)

    @property
    def cut_off(self) -> bool:
        """Whether its process is gone."""
        return self.state == CUT_OFF

    @property
    def moving(self) -> bool:
        """Whether somebody is at it."""
        return self.state in (RunState.RUNNING, RunState.CANCELLING)


class CellsView(msgspec.Struct, frozen=True):
    """A backfill or a promotion: how its partitions stand.

    todo: partitions that the next plan makes; reasons: why, the most frequent first.
    rows, seconds: what is left to do, as far as it is known. running: an open run that makes it.
    waits: for what it must be planned again, where a plan can not say yet what there is to do.
    failure: of its newest run, while something is left of what it was to do.
    """

    ref: str
    owner: str
    target: str
    reads: tuple[str, ...]
    cells: int
    current: int
    todo: int
    held: int
    rows: int | None
    seconds: float | None
    reasons: tuple[str, ...]
    running: Running | None = None
    waits: str = ""
    failure: Failure | None = None


class Standing(StrEnum):
    """How a partition stands."""

    CURRENT = "current"
    STALE = "stale"
    MISSING = "missing"
    HELD = "held"
    OUTSIDE = "outside"


class PartitionView(msgspec.Struct, frozen=True):
    """A partition of a target: how it stands and why, and what it takes to make it."""

    cell: str
    standing: Standing
    why: str = ""
    rows: int | None = None
    seconds: float | None = None


def share(cells_done: int, cells: int, done: int, steps: int) -> float:
    """How much of a run is done, by partitions where it makes some, else by steps."""
    return cells_done / cells if cells else done / max(steps, 1)


def group(
    spec: FeatureGroup, specs: Mapping[str, Spec], types: Mapping[str, str], sql: str
) -> GroupView:
    """One group. types: column -> type. sql: its query."""
    ref = str(spec.ref)
    users = (str(other.ref) for other in specs.values() if ref in other.refs().values())
    return GroupView(
        ref=ref,
        owner=spec.owner,
        description=spec.description,
        source=spec.source,
        key=spec.key,
        columns=dict(types),
        places=spec.places,
        kept=f"every {spec.every}" if spec.every else "",
        used_by=tuple(sorted(users)),
        sql=sql,
    )


def standing(
    specs: Mapping[str, Spec],
    wants: Sequence[Want],
    plan: Plan,
    present: Mapping[str, Read],
    runs: Sequence[RunView],
    failed: Mapping[str, FailedRun],
) -> tuple[CellsView, ...]:
    """Every backfill and promotion, as the plan sees it.

    plan: of wants that are each carried out alone (`apart`). wants: of parts of targets.
    runs: those that are open. failed: target -> its newest run, where that failed.
    """
    wanted, steps = _by_target(wants), _steps_by_target(plan)
    waits = {note.ref: note.text for note in plan.notes if note.later}
    return tuple(
        _line(spec, wanted, steps, present, runs, waits, failed)
        for spec in specs.values()
        if isinstance(spec, (Backfill, Promotion))
    )


def target_of(spec: Backfill | Promotion) -> str:
    """The ref of the table that it makes."""
    return spec.into if isinstance(spec, Promotion) else str(spec.ref)


def _line(
    spec: Backfill | Promotion,
    wants: Mapping[str, Sequence[Want]],
    steps_of: Mapping[str, Sequence[Step]],
    present: Mapping[str, Read],
    runs: Iterable[RunView],
    waits: Mapping[str, str],
    failed: Mapping[str, FailedRun],
) -> CellsView:
    target = target_of(spec)
    wanted = [want.cell for want in wants.get(target, ())]
    steps = steps_of.get(target, ())
    todo = {cell for step in steps for cell in step.cells}
    known = present.get(target, Read()).cells
    stay = [known[cell] for cell in wanted if cell in known and cell not in todo]
    held = sum(state.held is not None for state in stay)
    # What somebody outside the house wrote there stays, and is not what is wanted.
    current = sum(state.held is None and state.meaning is not None for state in stay)
    cost = total_cost([step.cost for step in steps])
    return CellsView(
        ref=str(spec.ref),
        owner=spec.owner,
        target=target,
        reads=tuple(ref for ref in spec.refs().values() if ref != target),
        cells=len(wanted),
        current=current,
        todo=len(todo),
        held=held,
        rows=cost.rows or 0,
        seconds=cost.seconds,
        reasons=tuple(counted(step.reason for step in steps)),
        running=next((running(run, target) for run in runs if makes_yet(run, target)), None),
        waits=waits.get(target, ""),
        failure=None if wanted and current == len(wanted) else failure(failed_of(spec, failed)),
    )


def failed_of(spec: Backfill | Promotion, failed: Mapping[str, FailedRun]) -> FailedRun | None:
    """The newest run of one, if it failed: at its table, or at the check that comes after."""
    found = [failed[ref] for ref in {target_of(spec), str(spec.ref)} if ref in failed]
    return max(found, key=lambda one: one[0], default=None)


def _by_target(wants: Iterable[Want]) -> dict[str, list[Want]]:
    """Target -> what is wanted of parts of it, where that is known."""
    found: dict[str, list[Want]] = {}
    for want in wants:
        if want.data and all(want.data.values()):
            found.setdefault(want.target, []).append(want)
    return found


def _steps_by_target(plan: Plan) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in plan.steps:
        if step.cells:
            found.setdefault(step.target, []).append(step)
    return found


def makes(run: RunRecord, target: str) -> bool:
    """Whether a run has a step of a target."""
    return any(step.target == target for step in run.plan.steps)


def makes_yet(run: RunRecord, target: str) -> bool:
    """Whether a run has something left to do to a target."""
    mine = {step.id for step in run.plan.steps if step.target == target}
    return any(step.id in mine and not step.state.ended for step in run.steps)


def running(run: RunView, target: str) -> Running:
    """How far a run is with one target."""
    mine = {step.id: len(step.cells) for step in run.plan.steps if step.target == target}
    done = [step.id for step in run.steps if step.id in mine and step.state == StepState.DONE]
    return Running(
        run=run.id,
        by=run.principal,
        since=run.created,
        state=run.stands,
        done=len(done),
        steps=len(mine),
        cells_done=sum(mine[step] for step in done),
        cells=sum(mine.values()),
    )


def partitions(
    spec: Backfill | Promotion,
    wants: Sequence[Want],
    plan: Plan,
    present: Mapping[str, Read],
) -> tuple[PartitionView, ...]:
    """Every partition of one. plan: made of wants that are each carried out alone (`apart`)."""
    target = target_of(spec)
    steps = {cell: step for step in _steps_by_target(plan).get(target, ()) for cell in step.cells}
    known = present.get(target, Read()).cells
    return tuple(
        _partition(want, steps.get(want.cell), known.get(want.cell))
        for want in _by_target(wants).get(target, ())
    )


class Alike(msgspec.Struct, frozen=True):
    """Partitions that stand alike, for the same reason."""

    standing: Standing
    why: str
    partitions: tuple[PartitionView, ...]


def alike(partitions: Iterable[PartitionView]) -> list[Alike]:
    """Partitions by how they stand and why: what is current is last."""
    order = (Standing.STALE, Standing.MISSING, Standing.HELD, Standing.OUTSIDE, Standing.CURRENT)
    found: dict[tuple[Standing, str], list[PartitionView]] = {}
    for one in partitions:
        found.setdefault((one.standing, one.why), []).append(one)
    alike = [Alike(standing, why, tuple(some)) for (standing, why), some in found.items()]
    return sorted(alike, key=lambda one: order.index(one.standing))


def apart(wants: Iterable[Want], targets: Collection[str]) -> list[Want]:
    """The same wants; those of some targets each in a step of its own, so that a plan says of each
    partition why it is to be made."""
    return [
        msgspec.structs.replace(want, together=1) if want.target in targets else want
        for want in wants
    ]


def _partition(want: Want, step: Step | None, state: CellState | None) -> PartitionView:
    rows = want.cost.rows
    if step is not None:
        standing = Standing.STALE if state else Standing.MISSING
        why = "" if step.reason == standing else step.reason.removeprefix(f"{standing}: ")
        return PartitionView(want.cell, standing, why, rows, want.cost.seconds)
    if state is None:
        return PartitionView(
            want.cell, Standing.MISSING, "planned once what it reads is made", rows
        )
    if state.held is not None:
        why = "it was rolled back; it is not made again by itself"
        return PartitionView(want.cell, Standing.HELD, why, rows)
    if state.meaning is None:
        why = "somebody else wrote it; it is left as it is"
        return PartitionView(want.cell, Standing.OUTSIDE, why, rows)
    return PartitionView(want.cell, Standing.CURRENT, "", rows)


def fingerprint(plan: Plan) -> str:
    """Of what a plan does: two that have the same do the same.

    A step's number is left out, for it depends on what others have to do.
    """
    numbers = {step.id: f"s{n}" for n, step in enumerate(plan.steps, 1)}
    steps = []
    for step in plan.steps:
        inputs: dict[str, Input] = {
            ref: OutputOf(tuple(numbers.get(one, one) for one in given.steps))
            if isinstance(given, OutputOf)
            else given
            for ref, given in step.inputs.items()
        }
        steps.append(msgspec.structs.replace(step, id=numbers[step.id], inputs=inputs))
    return digest(msgspec.to_builtins(steps))


def plan_of(
    workspace: Workspace,
    spec: Backfill | Promotion,
    allowed: Allowed = Allowed(),  # noqa: B008 - frozen
) -> Plan:
    """The plan of one backfill, or of one promotion. Nothing is looked at but what it needs."""
    found = workspace.look(needed(workspace.by_ref(), str(spec.ref)))
    return only(workspace.plan(allowed, found), spec)


def declared(specs: Mapping[str, Spec], ref: str) -> Backfill | Promotion:
    """The backfill or promotion at a ref. Raises `RefError` where there is none."""
    found = of_kind(specs, ref, Spec)
    if not isinstance(found, (Backfill, Promotion)):
        raise RefError(
            f"{ref} is a {type(found).__name__}",
            expected="the ref of a Backfill or of a Promotion",
        )
    return found


def only(plan: Plan, spec: Backfill | Promotion) -> Plan:
    """The steps of a plan that are one backfill's, or one promotion's."""
    targets = {str(spec.ref), spec.into} if isinstance(spec, Promotion) else {str(spec.ref)}
    steps = tuple(step for step in plan.steps if step.target in targets)
    notes = tuple(note for note in plan.notes if note.ref in targets)
    return Plan(steps=steps, notes=notes, wants=plan.wants + "/" + str(spec.ref))
