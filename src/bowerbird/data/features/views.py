"""What people and programs are shown of groups, backfills and promotions: pure queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bowerbird.core.errors import RefError
from bowerbird.core.plans import Plan, Want
from bowerbird.core.runs import RunRecord, StepState
from bowerbird.core.specs import Spec
from bowerbird.core.targets import Read
from bowerbird.data.features.specs import Backfill, FeatureGroup, Place, Promotion


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


class CellsView(msgspec.Struct, frozen=True):
    """A backfill or a promotion: how its partitions stand.

    todo: partitions that the next plan makes; reasons: why -> how many steps say so.
    rows, seconds: what is left to do, as far as it is known. running: (run, done steps, steps).
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
    running: tuple[str, int, int] | None = None


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
    runs: Iterable[RunRecord],
) -> tuple[CellsView, ...]:
    """Every backfill and promotion, as the plan sees it.

    wants: of parts of targets. runs: those that are open.
    """
    open_runs = list(runs)
    shown = []
    for ref, spec in specs.items():
        if not isinstance(spec, (Backfill, Promotion)):
            continue
        target = spec.into if isinstance(spec, Promotion) else ref
        wanted = [
            want.cell
            for want in wants
            if want.target == target and want.data and all(want.data.values())
        ]
        steps = [step for step in plan.steps if step.target == target and step.cells]
        todo = {cell for step in steps for cell in step.cells}
        known = present.get(target, Read()).cells
        held = sum(known[cell].held is not None for cell in wanted if cell in known)
        current = sum(cell in known and cell not in todo for cell in wanted) - held
        costs = [step.cost for step in steps]
        seconds = [cost.seconds for cost in costs if cost.seconds is not None]
        shown.append(
            CellsView(
                ref=ref,
                owner=spec.owner,
                target=target,
                reads=tuple(spec.refs().values()),
                cells=len(wanted),
                current=current,
                todo=len(todo),
                held=held,
                rows=sum(cost.rows or 0 for cost in costs) if costs else 0,
                seconds=sum(seconds) if seconds else None,
                reasons=tuple(Counter(step.reason for step in steps)),
                running=_running(open_runs, target),
            )
        )
    return tuple(shown)


def _running(runs: Iterable[RunRecord], target: str) -> tuple[str, int, int] | None:
    for run in runs:
        mine = {step.id for step in run.plan.steps if step.target == target}
        if mine:
            done = sum(s.id in mine and s.state == StepState.DONE for s in run.steps)
            return run.id, done, len(mine)
    return None


def only(plan: Plan, spec: Spec) -> Plan:
    """The steps of a plan that are one backfill's, or one promotion's.

    Raises `RefError` for a spec that is neither.
    """
    if not isinstance(spec, (Backfill, Promotion)):
        raise RefError(
            f"{spec.ref} is a {type(spec).__name__}",
            expected="the ref of a Backfill or of a Promotion",
        )
    targets = {str(spec.ref), spec.into} if isinstance(spec, Promotion) else {str(spec.ref)}
    steps = tuple(step for step in plan.steps if step.target in targets)
    notes = tuple(note for note in plan.notes if note.ref in targets)
    return Plan(steps=steps, notes=notes, wants=plan.wants + "/" + str(spec.ref))
