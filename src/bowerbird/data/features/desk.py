"""Where a backfiller stands: every backfill and promotion, and what can be done to each.

What changes something is shown first, and carried out only while it is what was shown. Runs go on
in the background; the ledger keeps them, so a desk that dies is sat down at again::

    desk = Desk(workspace)
    shown = desk.plan("backfill:shop/spend")
    desk.carry("backfill:shop/spend", shown.fingerprint)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from bowerbird.core.errors import PlanAgainError
from bowerbird.core.plans import Allowed, Cost, Note, Plan, total_cost
from bowerbird.core.runs import StepState
from bowerbird.core.specs import Spec
from bowerbird.data.features import history
from bowerbird.data.features.beside import Beside, beside
from bowerbird.data.features.check import findings
from bowerbird.data.features.history import Back, CommitView, Move, RunLine, RunPage, WayBack
from bowerbird.data.features.looks import Looks, Seen
from bowerbird.data.features.specs import Backfill, Promotion
from bowerbird.data.features.verdicts import KINDS, Verdict, verdict
from bowerbird.data.features.views import (
    CellsView,
    PartitionView,
    Running,
    Standing,
    declared,
    failed_of,
    fingerprint,
    makes,
    only,
    plan_of,
    running,
    standing,
    target_of,
)
from bowerbird.lake import Lake
from bowerbird.workspace import views as runs_view
from bowerbird.workspace.background import Background
from bowerbird.workspace.views import RunView
from bowerbird.workspace.workspace import Workspace


class Board(msgspec.Struct, frozen=True):
    """Every backfill and promotion, as of a moment; looking took so many seconds."""

    at: datetime
    took: float
    lines: tuple[CellsView, ...]


class OneView(msgspec.Struct, frozen=True):
    """One backfill or promotion.

    facts: what it declares, in words. notes: what the plan leaves, and why. verdict: of the gates
    of its promotion. staged_in: the promotions that take a backfill. newest: what the newest
    version is, in a word.
    """

    at: datetime
    line: CellsView
    description: str
    facts: dict[str, str]
    notes: tuple[Note, ...]
    partitions: tuple[PartitionView, ...]
    commits: tuple[CommitView, ...]
    runs: tuple[RunLine, ...]
    verdict: Verdict
    staged_in: tuple[str, ...]
    newest: str


class Shown(msgspec.Struct, frozen=True):
    """A plan to look at before it is carried out. cost: of all its partitions together.

    running: a run that makes the same table, so that this one cannot begin.
    """

    ref: str
    plan: Plan
    fingerprint: str
    cells: int
    cost: Cost
    running: Running | None = None
    release: bool = False


class Desk:
    """One workspace, as whoever backfills looks at it and acts on it. For several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._looks = Looks(workspace)
        self._background = Background(workspace)

    def look_ahead(self) -> None:
        """Begin to look at all of them, before anybody asks."""
        self._looks.begin()

    def close(self) -> None:
        """Let go of the runs that go on here; they stay open."""
        self._background.close()
        self._looks.close()

    # -- what is shown -----------------------------------------------------------------------

    def board(self) -> Board:
        seen = self._looks.all()
        return Board(seen.at, seen.took, self._lines(seen, seen.specs))

    def one(self, ref: str) -> OneView:
        """Raises `RefError` where no backfill or promotion is declared by that ref."""
        spec = self._declared(ref)
        seen, target = self._looks.around(ref), target_of(spec)
        runs = self._workspace.ledger.runs_of(target)
        (line,) = self._lines(seen, {ref: spec})
        return OneView(
            at=seen.at,
            line=line,
            description=spec.description,
            facts=facts(spec),
            notes=only(seen.plan, spec).notes,
            partitions=seen.partitions(spec),
            commits=history.commits(Lake(self._workspace.home), target, runs),
            runs=history.runs_of([runs_view.view(self._workspace, run) for run in runs], target),
            verdict=self._verdict(spec, seen.specs),
            staged_in=tuple(str(one.ref) for one in _promotions(seen.specs, ref)),
            newest=newest(spec),
        )

    def run(self, run_id: str) -> RunPage:
        """Raises `RefError` where there is no such run."""
        run = runs_view.run(self._workspace, run_id)
        targets = {step.target for step in run.plan.steps}
        of = [
            ref
            for ref, spec in self._specs().items()
            if isinstance(spec, (Backfill, Promotion)) and target_of(spec) in targets
        ]
        return RunPage(run, tuple(of), self._said(run), history.steps_of(run))

    def _said(self, run: RunView) -> str:
        """The last line that a step which is under way has said."""
        at_work = [step.id for step in run.steps if step.state == StepState.RUNNING]
        if not at_work:
            return ""
        (said,) = runs_view.logs(self._workspace, run.id, at_work[0]).steps
        told = [line.partition(" ")[2] for line in said.lines]
        return next((line for line in reversed(told) if not line.startswith("---")), "")

    def statistics(self, ref: str) -> tuple[Beside, Verdict]:
        """What is staged beside what is live, and what the gates say. Reads rows of a few
        partitions."""
        specs = self._specs()
        spec = declared(specs, ref)
        taker = _taker(spec, specs)
        known = self._looks.around(str(taker.ref)).partitions(taker) if taker else ()
        waiting = {one.cell for one in known if one.standing != Standing.CURRENT}
        shown = beside(Lake(self._workspace.home), spec, taker, specs, waiting)
        return shown, self._verdict(spec, specs)

    def _verdict(self, spec: Backfill | Promotion, specs: Mapping[str, Spec]) -> Verdict:
        """What the gates of a promotion say, or of the one that takes a backfill."""
        taker = _taker(spec, specs)
        if taker is None:
            return Verdict()
        ref, failed = str(taker.ref), failed_of(taker, self._workspace.ledger.failures(KINDS))
        return verdict(ref, failed, findings(self._workspace.home, ref))

    # -- what is done ------------------------------------------------------------------------

    def plan(self, ref: str, *, release: bool = False) -> Shown:
        """The part of the plan that is one's. release: with what is held, too."""
        return self._shown(self._looks.workspace(), ref, release=release)

    def _shown(self, workspace: Workspace, ref: str, *, release: bool) -> Shown:
        spec = declared(workspace.by_ref(), ref)
        leave = Allowed(release_held=frozenset({target_of(spec)}) if release else frozenset())
        plan = plan_of(workspace, spec, leave)
        targets = {target_of(spec), *(step.target for step in plan.steps)}
        at_work = [running(run, one) for run in self._open() for one in targets if makes(run, one)]
        cells = sum(len(step.cells) for step in plan.steps)
        first = at_work[0] if at_work else None
        cost = total_cost([step.cost for step in plan.steps if step.cells])
        return Shown(ref, plan, fingerprint(plan), cells, cost, first, release)

    def carry(self, ref: str, confirmed: str, *, release: bool = False) -> str | None:
        """Begin what was shown: the run's id, or None if there is nothing to do any more.

        Raises `PlanAgainError` where the plan is not the one that was confirmed.
        """
        workspace = self._looks.workspace()
        shown = self._shown(workspace, ref, release=release)
        _same(shown.fingerprint, confirmed)
        return self._background.start(shown.plan, workspace)

    def way_back(self, ref: str, to: str = "") -> Back:
        """What rolling its table back would move. to: a version; none: the one before."""
        lake, spec = Lake(self._workspace.home), self._declared(ref)
        target = target_of(spec)
        plan, moves = self._plan_back(lake, target, to)
        version = plan.steps[0].definition["to"]
        way = WayBack(target, version, moves, fingerprint(plan))
        made = history.commits(lake, target, self._workspace.ledger.runs_of(target))
        return Back(ref, way, made, newest(spec))

    def roll_back(self, ref: str, to: str, confirmed: str) -> str | None:
        """Begin the rollback that was shown. Raises `PlanAgainError` where it would be another."""
        lake, target = Lake(self._workspace.home), target_of(self._declared(ref))
        plan, moves = self._plan_back(lake, target, to)
        _same(fingerprint(plan), confirmed)
        return self._background.start(plan) if moves else None

    def stop(self, run_id: str) -> None:
        """Cancel a run. What it has committed stays."""
        self._background.stop(self._workspace.ledger.find(run_id))

    def go_on(self, run_id: str) -> None:
        """Go on with a run that was cut off."""
        self._background.go_on(self._workspace.ledger.find(run_id))

    def _plan_back(self, lake: Lake, target: str, to: str) -> tuple[Plan, tuple[Move, ...]]:
        """The plan that puts back what is not as it was; and what that is."""
        whole = self._workspace.plan_rollback(target, to or None)
        moves = history.moves(lake, target, whole.steps[0].definition["to"])
        if not moves:
            return whole, moves
        cells = tuple(move.cell for move in moves)
        version = whole.steps[0].definition["to"]
        return self._workspace.plan_rollback(target, version, cells), moves

    def _specs(self) -> dict[str, Spec]:
        return self._looks.workspace().by_ref()

    def _declared(self, ref: str) -> Backfill | Promotion:
        return declared(self._specs(), ref)

    def _lines(self, seen: Seen, of: Mapping[str, Spec]) -> tuple[CellsView, ...]:
        found, failed = seen.found, self._workspace.ledger.failures(KINDS)
        return standing(of, found.wants, seen.plan, found.present, self._open(), failed)

    def _open(self) -> list[RunView]:
        """The open runs as they are now: they move, and it is quick."""
        runs = self._workspace.ledger.open_runs()
        return [runs_view.view(self._workspace, one) for one in runs]


def facts(spec: Backfill | Promotion) -> dict[str, str]:
    """What one declares, in words."""
    if isinstance(spec, Promotion):
        gates = [type(gate).__name__ for gate in spec.gates]
        told = {"beside": spec.rows, "into": spec.into}
        return told | {"gates": ", ".join(dict.fromkeys(gates)), "checks": ", ".join(spec.checks)}
    when = " to ".join([spec.since or "the first", spec.until or "the last"])
    fields = {
        name: value for name, value in msgspec.to_builtins(spec.alignment).items() if name != "type"
    }
    aligned = type(spec.alignment).__name__
    aligned += f" ({', '.join(f'{name} {value}' for name, value in fields.items())})" * bool(fields)
    return {
        "groups": ", ".join(spec.features),
        "beside": spec.rows,
        "as of": aligned,
        "partitions": when if spec.since or spec.until else "all",
    }


def newest(spec: Backfill | Promotion) -> str:
    """What the newest version of its table is, in a word: trainers read it, or it is to be judged
    first."""
    return "live" if isinstance(spec, Promotion) else "staged"


def _taker(spec: Backfill | Promotion, specs: Mapping[str, Spec]) -> Promotion | None:
    """A promotion itself; of a backfill, the first that takes it."""
    if isinstance(spec, Promotion):
        return spec
    return next(iter(_promotions(specs, str(spec.ref))), None)


def _promotions(specs: Mapping[str, Spec], ref: str) -> list[Promotion]:
    """The promotions that take a backfill."""
    found = [one for one in specs.values() if isinstance(one, Promotion)]
    return [one for one in found if ref in one.staged]


def _same(now: str, confirmed: str) -> None:
    if now != confirmed:
        raise PlanAgainError(
            "what is to be done is not what was shown: something has changed in between",
            expected="the plan as it was confirmed",
            fix="look at the new one, and confirm that",
        )
