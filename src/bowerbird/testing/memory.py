"""Plain ledger and log in this process's memory: the references that the real ones are held to.

They pass the same conformance suites as the database's ledger and the lake's tables, and the
simulation explores the protocol on them. Each method is atomic, as the port demands.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import msgspec
from msgspec.structs import replace

from bowerbird.core import transitions
from bowerbird.core.clock import Clock
from bowerbird.core.errors import CommitConflictError, RefError, RunInProgressError
from bowerbird.core.meaning import Tree, digest
from bowerbird.core.plans import Plan
from bowerbird.core.runs import (
    Done,
    Lease,
    Result,
    RunRecord,
    RunState,
    StepRecord,
)
from bowerbird.core.targets import (
    Change,
    Entry,
    History,
    Token,
    Version,
    overlap,
)


class MemoryLedger:
    """A ledger in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs: dict[str, RunRecord] = {}
        self.meanings: dict[str, Tree] = {}

    def start(self, plan: Plan, principal: str) -> RunRecord:
        targets = {step.target for step in plan.steps}
        for other in self._runs.values():
            shared = targets & {step.target for step in other.plan.steps}
            if shared and not other.state.ended:
                raise RunInProgressError(f"run {other.id} writes {min(shared)}")
        run_id = f"run-{len(self._runs) + 1}"
        steps = tuple(StepRecord(step.id) for step in plan.steps)
        run = RunRecord(run_id, plan, principal, RunState.RUNNING, steps, self._clock.now())
        self._runs[run_id] = run
        return run

    def run(self, run_id: str) -> RunRecord:
        if run_id not in self._runs:
            raise RefError(f"there is no run {run_id}")
        return self._runs[run_id]

    def begin(
        self,
        run_id: str,
        step_id: str,
        holder: str,
        ttl: float,
        gone: Callable[[str], bool] = lambda _holder: False,
    ) -> Lease | None:
        run = self.run(run_id)
        step = run.step(step_id)
        dead = step.holder is not None and gone(step.holder)
        started = transitions.begin(run.state, step, holder, self._clock.now(), ttl, gone=dead)
        if started is None:
            return None
        self._put(run_id, started)
        return Lease(f"{run_id}/{step_id}", holder, started.attempts)

    def renew(self, lease: Lease, ttl: float) -> bool:
        run_id, _, step_id = lease.name.rpartition("/")
        run = self.run(run_id)
        step = run.step(step_id)
        now = self._clock.now()
        return self._put(run_id, transitions.renew(run.state, step, lease, now, ttl))

    def finish(self, lease: Lease, result: Result) -> bool:
        run_id, _, step_id = lease.name.rpartition("/")
        run, now = self.run(run_id), self._clock.now()
        ended = transitions.finish(run.state, run.step(step_id), lease, result, now)
        return self._put(run_id, ended)

    def keep_meaning(self, tree: Tree) -> str:
        self.meanings[digest(tree)] = tree
        return digest(tree)

    def skip(self, run_id: str, step_id: str, why: str) -> None:
        step = self.run(run_id).step(step_id)
        self._put(run_id, transitions.skip(step, why))

    def ask_cancel(self, run_id: str) -> RunRecord:
        run = self.run(run_id)
        if not run.state.ended:
            self._runs[run_id] = run = replace(run, state=RunState.CANCELLING)
        return run

    def settle(self, run_id: str, step_id: str, result: Done | None) -> None:
        step = self.run(run_id).step(step_id)
        self._put(run_id, transitions.settle(step, result, self._clock.now()))

    def end(self, run_id: str, state: RunState) -> None:
        run = self.run(run_id)
        if not run.state.ended:
            self._runs[run_id] = replace(run, state=state)

    def spared(self) -> frozenset[Token]:
        return frozenset(
            run.token(step.id)
            for run in self._runs.values()
            for step in run.steps
            if step.attempts and not run.state.ended
        )

    def _put(self, run_id: str, step: StepRecord | None) -> bool:
        if step is None:
            return False
        run = self._runs[run_id]
        steps = tuple(step if other.id == step.id else other for other in run.steps)
        self._runs[run_id] = replace(run, steps=steps)
        return True


class Snapshot(msgspec.Struct, frozen=True):
    """One commit of a `MemoryLog`. rows: cell -> the rows in it; a row is (token or name, file)."""

    parent: Version | None
    entry: Entry
    rows: Mapping[str, tuple[tuple[str, str], ...]]


class MemoryLog:
    """A table in memory. A change's payload is {cell: names of the rows}."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.snapshots: dict[Version, Snapshot] = {}
        self.head: Version | None = None
        self.attempts: set[tuple[Token, str]] = set()
        self.committed: set[tuple[Token, str]] = set()
        self._count = itertools.count(1)

    def load(self) -> History:
        entries: list[Entry] = []
        at = self.head
        while at is not None and at in self.snapshots:
            entries.append(self.snapshots[at].entry)
            at = self.snapshots[at].parent
        known = {entry.token for entry in entries}
        others = {s.entry.token for s in self.snapshots.values()} - known - {None}
        return History(tuple(entries), complete=at is None, elsewhere=frozenset(others))  # type: ignore[arg-type]

    def append(self, onto: History, token: Token, change: Change | None) -> Version:
        if self.head != onto.head:
            raise CommitConflictError(f"{self.name}: the head is {self.head}, not {onto.head}")
        return self.put(onto, token, change)

    def put(self, onto: History, token: Token, change: Change | None) -> Version:
        """Commit on top of the present head, whatever it is."""
        rows = dict(self.rows())
        if change is None:
            entry = Entry(Version(""), token, None, burnt=True, cells=onto.cells())
        else:
            for cell in [c for c in rows if overlap((c,), change.overwrites)]:
                del rows[cell]
            for cell, names in (change.payload or {}).items():
                rows[cell] = rows.get(cell, ()) + tuple((name, change.attempt) for name in names)
            changed = frozenset(change.payload or {}) | frozenset(change.overwrites)
            cells = change.cells_after(onto, token)
            entry = Entry(
                Version(""), token, change.attempt, change.meaning, {}, changed=changed, cells=cells
            )
            self.committed.add((token, change.attempt))
        return self.add(entry, rows)

    def add(self, entry: Entry, rows: Mapping[str, tuple[tuple[str, str], ...]]) -> Version:
        """A commit by anybody, on top of the head."""
        version = Version(f"v{next(self._count)}")
        self.snapshots[version] = Snapshot(self.head, replace(entry, version=version), rows)
        self.head = version
        return version

    def rows(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        return self.snapshots[self.head].rows if self.head in self.snapshots else {}

    def expire(self, spare: frozenset[Token]) -> None:
        """Forget old commits: all but the head, or but those from the oldest spared one on.

        What lies between a spared commit and the head stays too: without it the head would no
        longer be seen to descend from that commit.
        """
        chain = [entry.version for entry in self.load().entries]
        needed = [i for i, v in enumerate(chain) if self.snapshots[v].entry.token in spare]
        keep = set(chain[: max(needed, default=0) + 1])
        self.snapshots = {v: s for v, s in self.snapshots.items() if v in keep}

    def files(self, token: Token, attempt: str) -> str:
        return f"{self.name}/{token}/{attempt}"

    def sweep(self, token: Token, keep: str | None) -> None:
        self.attempts = {(t, a) for t, a in self.attempts if t != token or a == keep}

    def discard(self, token: Token, attempt: str) -> None:
        self.attempts.discard((token, attempt))
