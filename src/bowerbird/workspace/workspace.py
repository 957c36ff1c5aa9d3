"""A workspace: a project's settings, database, rooms and engine, opened together.

`survey` looks (and changes nothing), `make_plan` decides, `apply` does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from functools import cached_property
from getpass import getuser
from pathlib import Path
from threading import Event as Flag
from threading import Lock
from typing import NamedTuple

from bowerbird.core.clock import Clock, SystemClock
from bowerbird.core.engine import Engine
from bowerbird.core.errors import RefError, RunInProgressError, UserError, WorkspaceError
from bowerbird.core.plans import Allowed, Plan, Want, make_plan
from bowerbird.core.registry import Registry
from bowerbird.core.rollback import plan_rollback
from bowerbird.core.runs import Journal, RunRecord, RunState
from bowerbird.core.specs import Spec
from bowerbird.core.steps import TargetKind
from bowerbird.core.targets import WHOLE, History, Read, Target, Version
from bowerbird.workspace.current import Current, Stamp, stamp
from bowerbird.workspace.database import Database, open_database
from bowerbird.workspace.executor import Executor, Ports
from bowerbird.workspace.heartbeat import beating
from bowerbird.workspace.holders import gone, holder
from bowerbird.workspace.journal import WorkspaceJournal
from bowerbird.workspace.ledger import SqlLedger
from bowerbird.workspace.project import Declared, load_specs, put_on_path
from bowerbird.workspace.settings import Loaded


class Look(NamedTuple):
    """wants: of all specs. present: ref -> what it holds. made: ref -> the step kind that wrote."""

    wants: list[Want]
    present: dict[str, Read]
    made: dict[str, str]


OpenEngine = Callable[[Loaded], Engine]

_BEGINNING = Lock()
"""Held from looking for a run to go on with until its lease is taken: all threads of a process take
leases in one name, so a lease tells none of them that another is at it."""


class Workspace:
    """Everything of one project in one environment. Parts are opened when they are first used."""

    def __init__(
        self,
        loaded: Loaded,
        registry: Registry,
        open_engine: OpenEngine,
        *,
        clock: Clock | None = None,
        listeners: Sequence[Journal] = (),
    ) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.registry = registry
        self.home = loaded.home()
        self.clock = clock or SystemClock()
        self._open_engine = open_engine
        self._listeners = listeners
        self._engine: Engine | None = None
        self._opening = Lock()
        self._users = 0
        self._left = False
        self.stamp: Stamp | None = None
        self.current = Current(self)
        put_on_path(Path(loaded.project))

    @cached_property
    def database(self) -> Database:
        return open_database(self.home.metadata)

    @cached_property
    def ledger(self) -> SqlLedger:
        return SqlLedger(self.database)

    @cached_property
    def journal(self) -> WorkspaceJournal:
        return WorkspaceJournal(self.home.state, self.database, self._listeners)

    @property
    def engine(self) -> Engine:
        with self._opening:  # runs of a server's threads share one
            if self._engine is None:
                self._engine = self._open_engine(self.loaded)
            return self._engine

    @cached_property
    def specs(self) -> dict[str, Declared]:
        kinds = self.registry.spec_kinds()
        # Before they are read: what is edited meanwhile counts as edited.
        self.stamp = stamp(Path(self.loaded.project), self.home.warehouse)
        return load_specs(Path(self.loaded.project), self.settings.specs, kinds)

    def by_ref(self) -> dict[str, Spec]:
        """The specs alone, without where each is declared."""
        return {ref: declared.spec for ref, declared in self.specs.items()}

    @property
    def principal(self) -> str:
        return self.settings.principal or f"user:{getuser()}"

    def reread(self) -> Workspace:
        """The same workspace, whose specs are read from disk anew when they are asked for, and
        whose engine imports anew."""
        again = Workspace(
            self.loaded,
            self.registry,
            self._open_engine,
            clock=self.clock,
            listeners=self._listeners,
        )
        again.database, again.ledger, again.journal = self.database, self.ledger, self.journal
        again.current = self.current
        return again

    def leave(self) -> None:
        """Close the engine once nobody uses it: a newer reading of the project has taken over."""
        with self._opening:
            self._left = True
            self._close_idle()

    def close(self) -> None:
        """Close the engine, and that of the reading which has taken over."""
        for one in {self, self.current.held()}:
            if one._engine is not None:
                one._engine.close()

    @contextmanager
    def _using(self) -> Iterator[Engine]:
        """The engine; of a workspace that was left, it lasts as long as it is used."""
        with self._opening:
            self._users += 1
        try:
            yield self.engine
        finally:
            with self._opening:
                self._users -= 1
                self._close_idle()

    def _close_idle(self) -> None:
        if self._left and not self._users and self._engine is not None:
            self._engine.close()
            self._engine = None

    # -- look and decide -----------------------------------------------------------------------

    def wants(self, of: Collection[str] | None = None) -> list[Want]:
        """What specs of the project want made as a whole. of: their refs; None: every one."""
        return self._asked(self.registry.wants, of)

    def cells(self, present: Mapping[str, Read], of: Collection[str] | None = None) -> list[Want]:
        """What specs want of parts of targets, from what is there now."""
        return self._asked(
            lambda spec, all_: self.registry.cells(self.home, spec, all_, present), of
        )

    def _asked(
        self,
        wants_of: Callable[[Spec, Mapping[str, Spec]], Iterable[Want]],
        of: Collection[str] | None,
    ) -> list[Want]:
        specs = self.by_ref()
        wants: list[Want] = []
        for ref, declared in self.specs.items():
            if of is not None and ref not in of:
                continue
            try:
                wants += wants_of(declared.spec, specs)
            except UserError as error:
                error.within(f"{declared.where}: {ref}")
                raise
        return wants

    def survey(self, wants: Sequence[Want], made: Mapping[str, str]) -> dict[str, Read]:
        """What every target holds now: of the wants, and of what earlier runs made."""
        kinds = {ref: kind for ref, kind in made.items() if not kind.endswith(".drop")}
        kinds |= {want.target: want.kind for want in wants}
        return {ref: self._target(kind, ref).read() for ref, kind in kinds.items()}

    def look(self, of: Collection[str] | None = None) -> Look:
        """What is wanted and what is there, of all that the specs and earlier runs name.

        of: refs of specs, with all that they need (`needed`): to look at no others.
        """
        wants, made = self.wants(of), self.ledger.made(self._writes)
        if of is not None:
            made = {ref: kind for ref, kind in made.items() if ref in of}
        present = self.survey(wants, made)
        cells = self.cells(present, of)
        present |= self.survey([want for want in cells if want.target not in present], {})
        return Look([*wants, *cells], present, made)

    def plan(
        self,
        allowed: Allowed = Allowed(),  # noqa: B008 - frozen
        found: Look | None = None,
    ) -> Plan:
        """The plan that makes what is there into what the specs want. Changes nothing.

        found: what was looked at already.
        """
        wants, present, made = found or self.look()
        wanted = {want.target for want in wants}
        for ref in sorted(allowed.replace_outside | allowed.release_held | allowed.drop):
            _known(ref, wanted | made.keys())
        removed = {
            ref: f"{self.registry.step_kind(kind).target}.drop"
            for ref, kind in made.items()
            if ref not in wanted and not kind.endswith(".drop") and not self._waits(ref)
        }
        return make_plan(wants, present, self.ledger.meanings(), allowed, removed)

    def _waits(self, ref: str) -> bool:
        """Whether a spec of that ref wants nothing because what it needs is not there just now."""
        return ref in self.specs and self.registry.by_cells(self.specs[ref].spec)

    def plan_rollback(
        self, ref: str, to: str | None = None, cells: tuple[str, ...] = (WHOLE,)
    ) -> Plan:
        """The plan that puts a target back to an earlier version. Changes nothing."""
        kind = self.step_kind_of(ref)
        target = self.registry.step_kind(kind).target
        back = f"{target}.rollback"
        version = Version(to) if to else None
        return plan_rollback(ref, back, self.history(ref), self.ledger.meanings(), version, cells)

    def history(self, ref: str) -> History:
        """The versions of one target. Raises `RefError` if no run has made it."""
        return self._target(self.step_kind_of(ref), ref).history()

    def step_kind_of(self, ref: str) -> str:
        """The kind of the last step that wrote a target. Raises `RefError` if none did."""
        made = self.ledger.made(self._writes)
        _known(ref, made)
        return made[ref]

    # -- do --------------------------------------------------------------------------------------

    def apply(
        self, plan: Plan, stop: Flag | None = None, on_run: Callable[[str], None] | None = None
    ) -> RunRecord | None:
        """Carry a plan out; None if there is nothing to do.

        A run that was cut off and wanted the same is gone on with; one that wanted something else
        of the same targets is cancelled first. on_run: told the run's id once it is ours to do.
        """
        with _BEGINNING:
            run = self._cut_off(plan)
            if run is None:
                if plan.empty:
                    return None
                run = self.ledger.start(plan, self.principal)
            self._attend(run.id)
        return self._carried(run.id, stop, on_run)

    def carry_out(
        self, run_id: str, stop: Flag | None = None, on_run: Callable[[str], None] | None = None
    ) -> RunRecord:
        """Carry a recorded run on, from wherever it is."""
        self.ledger.run(run_id)  # raises where there is none
        with _BEGINNING:
            if self.attended(run_id):
                raise self._at_work(run_id)
            self._attend(run_id)
        return self._carried(run_id, stop, on_run)

    def _attend(self, run_id: str) -> None:
        """Take the lease of a run."""
        if not self.ledger.take(f"run/{run_id}", holder(), self.settings.lease_seconds, gone):
            raise self._at_work(run_id)

    def _at_work(self, run_id: str) -> RunInProgressError:
        return RunInProgressError(
            f"run {run_id} is being carried out by {self.ledger.keeper(f'run/{run_id}')}",
            fix=f"bowerbird status {run_id[:13]}, or bowerbird cancel {run_id[:13]}",
        )

    def _carried(
        self, run_id: str, stop: Flag | None, on_run: Callable[[str], None] | None
    ) -> RunRecord:
        """Carry out a run whose lease this process holds; given back at the end."""
        name, ttl, me = f"run/{run_id}", self.settings.lease_seconds, holder()
        try:
            if on_run is not None:
                on_run(run_id)
            with (
                self._using() as engine,
                ThreadPoolExecutor(self.settings.parallel_steps, "step") as pool,
            ):
                executor = self._executor(engine, pool)
                with beating(executor, self.ledger, ttl, lambda: self.ledger.take(name, me, ttl)):
                    return executor.carry_out(run_id, stop=stop)
        finally:
            with suppress(WorkspaceError):
                self.ledger.give_back(name, me)

    def attended(self, run_id: str) -> bool:
        """Whether somebody carries the run out, as far as can be known: of another machine, a
        process counts as alive until its lease has run out."""
        keeper = self.ledger.keeper(f"run/{run_id}")
        return keeper is not None and not gone(keeper)

    def cancel(self, run_id: str) -> RunRecord:
        """Cancel a run: when this returns, none of its steps can commit any more."""
        with self._using() as engine:
            return self._executor(engine, None).cancel(run_id)

    def _cut_off(self, plan: Plan) -> RunRecord | None:
        """The run to go on with, if there is one; runs in the way that nobody is at are ended."""
        targets = {step.target for step in plan.steps}
        for run in self.ledger.open_runs():
            if self.attended(run.id):
                continue
            if run.state == RunState.CANCELLING:
                self.cancel(run.id)
            elif run.plan.wants == plan.wants:
                return run
            elif self._touches(run, targets):
                self.cancel(run.id)
        return None

    def _touches(self, run: RunRecord, targets: set[str]) -> bool:
        return not targets.isdisjoint(step.target for step in run.plan.steps)

    def _executor(self, engine: Engine, pool: ThreadPoolExecutor | None) -> Executor:
        ports = Ports(
            ledger=self.ledger,
            kinds=self.registry.step_kind,
            target=lambda kind, step: self.registry.target(
                kind, self.home, self.clock, step.target
            ),
            engine=engine,
            clock=self.clock,
            home=self.home,
            journal=self.journal,
            gone=gone,
        )
        return Executor(ports, holder(), ttl=self.settings.lease_seconds, pool=pool)

    def _writes(self, step_kind: str) -> bool:
        """Whether steps of a kind write their target, or take it away."""
        target = self.registry.step_kind(step_kind).target
        return target is not TargetKind.NONE or step_kind.endswith(".drop")

    def _target(self, step_kind: str, ref: str) -> Target:
        kind = self.registry.step_kind(step_kind).target
        return self.registry.target(kind, self.home, self.clock, ref)


def _known(ref: str, made: Collection[str]) -> None:
    if ref not in made:
        near = get_close_matches(ref, made, n=1)
        known = f"one of: {', '.join(sorted(made)) or '(none)'}"
        raise RefError(
            f"no run has made {ref}",
            expected=f"{near[0]}?" if near else known,
            fix="bowerbird status",
        )
