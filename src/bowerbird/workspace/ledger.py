"""The ledger: runs, steps, leases and meanings in the metadata database.

Each method is one transaction: it reads a row under a lock, applies a pure transition of
`core.transitions`, and writes the row back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import msgspec
import sqlalchemy as sa

from bowerbird.core import transitions
from bowerbird.core.errors import RefError, RunInProgressError
from bowerbird.core.ids import uuid7
from bowerbird.core.meaning import Tree, canonical, digest
from bowerbird.core.plans import Plan
from bowerbird.core.runs import (
    Done,
    Lease,
    Result,
    RunRecord,
    RunState,
    StepRecord,
)
from bowerbird.core.targets import Token
from bowerbird.workspace.database import Database, from_micros, to_micros
from bowerbird.workspace.schema import LEASES, MEANINGS, RUNS, STEPS

_OPEN = (RunState.RUNNING, RunState.WAITING, RunState.CANCELLING)


class SqlLedger:
    """The ledger port over SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- the port ----------------------------------------------------------------------------

    def start(self, plan: Plan, principal: str) -> RunRecord:
        with self._database.write() as connection:
            self._database.alone(connection)
            self._refuse_overlap(connection, plan)
            now = self._database.now(connection)
            run_id = uuid7(now)
            connection.execute(
                RUNS.insert().values(
                    id=run_id,
                    state=RunState.RUNNING,
                    principal=principal,
                    wants=plan.wants,
                    plan=msgspec.json.encode(plan).decode(),
                    created=to_micros(now),
                )
            )
            rows = [
                {
                    "run": run_id,
                    "step": step.id,
                    "position": position,
                    "kind": step.kind,
                    "target": step.target,
                    **_columns(StepRecord(step.id)),
                }
                for position, step in enumerate(plan.steps)
            ]
            if rows:
                connection.execute(STEPS.insert(), rows)
            return _run(connection, run_id)

    def run(self, run_id: str) -> RunRecord:
        with self._database.read() as connection:
            return _run(connection, run_id)

    def begin(
        self,
        run_id: str,
        step_id: str,
        holder: str,
        ttl: float,
        gone: Callable[[str], bool] = lambda _holder: False,
    ) -> Lease | None:
        with self._locked(run_id, step_id) as (connection, state, step):
            now = self._database.now(connection)
            dead = step.holder is not None and gone(step.holder)
            begun = transitions.begin(state, step, holder, now, ttl, gone=dead)
            if begun is None:
                return None
            _put(connection, run_id, begun)
            return Lease(f"{run_id}/{step_id}", holder, begun.attempts)

    def renew(self, lease: Lease, ttl: float) -> bool:
        run_id, _, step_id = lease.name.rpartition("/")
        with self._locked(run_id, step_id) as (connection, state, step):
            now = self._database.now(connection)
            return _put(connection, run_id, transitions.renew(state, step, lease, now, ttl))

    def finish(self, lease: Lease, result: Result) -> bool:
        run_id, _, step_id = lease.name.rpartition("/")
        with self._locked(run_id, step_id) as (connection, state, step):
            now = self._database.now(connection)
            return _put(connection, run_id, transitions.finish(state, step, lease, result, now))

    def keep_meaning(self, tree: Tree) -> str:
        hashed = digest(tree)
        with self._database.write() as connection:
            known = sa.select(MEANINGS.c.hash).where(MEANINGS.c.hash == hashed)
            if connection.execute(known).first() is None:
                # Two may get here at once on PostgreSQL; the same text is kept either way.
                connection.execute(
                    sa.text(
                        "INSERT INTO meanings (hash, tree) VALUES (:h, :t) ON CONFLICT DO NOTHING"
                    ),
                    {"h": hashed, "t": canonical(tree)},
                )
        return hashed

    def skip(self, run_id: str, step_id: str, why: str) -> None:
        with self._locked(run_id, step_id) as (connection, _, step):
            _put(connection, run_id, transitions.skip(step, why))

    def ask_cancel(self, run_id: str) -> RunRecord:
        with self._database.write() as connection:
            _run_state(connection, run_id)
            connection.execute(
                RUNS.update()
                .where(RUNS.c.id == run_id, RUNS.c.state.in_(_OPEN))
                .values(state=RunState.CANCELLING)
            )
            return _run(connection, run_id)

    def settle(self, run_id: str, step_id: str, result: Done | None) -> None:
        with self._locked(run_id, step_id) as (connection, _, step):
            now = self._database.now(connection)
            _put(connection, run_id, transitions.settle(step, result, now))

    def end(self, run_id: str, state: RunState) -> None:
        with self._database.write() as connection:
            present = _run_state(connection, run_id)
            if present.ended:
                return
            ended = to_micros(self._database.now(connection)) if state.ended else None
            connection.execute(
                RUNS.update().where(RUNS.c.id == run_id).values(state=state, ended=ended)
            )

    def spared(self) -> frozenset[Token]:
        query = (
            sa.select(STEPS.c.run, STEPS.c.step, STEPS.c.record)
            .join(RUNS, RUNS.c.id == STEPS.c.run)
            .where(RUNS.c.state.in_(_OPEN))
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return frozenset(
            Token(f"{run}/{step}") for run, step, record in rows if _step(record).attempts
        )

    # -- what else is asked of it --------------------------------------------------------------

    def find(self, start: str) -> str:
        """The id of the one run whose id starts so; ``last`` is the newest."""
        query = sa.select(RUNS.c.id).order_by(RUNS.c.number.desc())
        if start != "last":
            query = query.where(RUNS.c.id.startswith(start, autoescape=True))
        with self._database.read() as connection:
            found = connection.execute(query.limit(2)).scalars().all()
        if not found or (len(found) > 1 and start != "last"):
            raise RefError(
                f"{'no run' if not found else 'more than one run'} has an id that starts {start!r}",
                expected="the first letters of one run's id, or last",
                fix="bowerbird status",
            )
        return str(found[0])

    def runs(self, limit: int = 20) -> list[RunRecord]:
        """The newest runs, newest first."""
        query = sa.select(RUNS.c.id).order_by(RUNS.c.number.desc()).limit(limit)
        with self._database.read() as connection:
            return [_run(connection, run_id) for run_id in connection.execute(query).scalars()]

    def open_runs(self) -> list[RunRecord]:
        """The runs that have not ended, oldest first."""
        query = sa.select(RUNS.c.id).where(RUNS.c.state.in_(_OPEN)).order_by(RUNS.c.number)
        with self._database.read() as connection:
            return [_run(connection, run_id) for run_id in connection.execute(query).scalars()]

    def runs_of(self, target: str, limit: int = 20) -> list[RunRecord]:
        """The newest runs that have a step of this target, newest first."""
        query = (
            sa.select(RUNS.c.id)
            .where(sa.exists().where(STEPS.c.run == RUNS.c.id, STEPS.c.target == target))
            .order_by(RUNS.c.number.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_run(connection, run_id) for run_id in connection.execute(query).scalars()]

    def failures(self, kinds: Collection[str]) -> dict[str, tuple[str, StepRecord]]:
        """Targets whose newest run failed there -> that run's id, and the step that failed. Looked
        at are steps of these kinds: a table is also rolled back, compacted, and expired."""
        newest = (
            sa.select(STEPS.c.target, sa.func.max(RUNS.c.number).label("number"))
            .join(RUNS, RUNS.c.id == STEPS.c.run)
            .where(STEPS.c.kind.in_(kinds))
            .group_by(STEPS.c.target)
            .subquery()
        )
        query = (
            sa.select(STEPS.c.target, STEPS.c.run, STEPS.c.record)
            .join(RUNS, RUNS.c.id == STEPS.c.run)
            .join(newest, (newest.c.target == STEPS.c.target) & (newest.c.number == RUNS.c.number))
            .where(STEPS.c.state == "failed", STEPS.c.kind.in_(kinds))
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return {row.target: (row.run, _step(row.record)) for row in rows}

    def meanings(self) -> Mapping[str, Tree]:
        """Every meaning tree that is kept, by hash; each is read when it is asked for."""
        return _Meanings(self._database)

    def made(self, counts: Callable[[str], bool] = lambda _kind: True) -> dict[str, str]:
        """Ref of every target that a run ever wrote -> kind of the last step that did.

        A step without a version wrote nothing there (it deleted old files), but for one that drops.
        counts: whether a step of a kind writes its target; one that names a version of it does not.
        """
        query = (
            sa.select(STEPS.c.target, STEPS.c.kind, STEPS.c.record)
            .join(RUNS, RUNS.c.id == STEPS.c.run)
            .where(STEPS.c.state == "done")
            .order_by(RUNS.c.number, STEPS.c.position)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return {
            row.target: row.kind
            for row in rows
            if counts(row.kind)
            and (row.kind.endswith(".drop") or _step(row.record).version is not None)
        }

    def take(
        self,
        name: str,
        holder: str,
        ttl: float,
        gone: Callable[[str], bool] = lambda _holder: False,
    ) -> bool:
        """Take, or go on holding, a named lease (a run's, a loop's). False: another holds it."""
        with self._database.write() as connection:
            self._database.alone(connection)
            now = self._database.now(connection)
            held = connection.execute(sa.select(LEASES).where(LEASES.c.name == name)).first()
            alive = held is not None and held.until > to_micros(now) and not gone(held.holder)
            if held is not None and alive and held.holder != holder:
                return False
            connection.execute(LEASES.delete().where(LEASES.c.name == name))
            until = to_micros(now + timedelta(seconds=ttl))
            connection.execute(LEASES.insert().values(name=name, holder=holder, until=until))
        return True

    def keeper(self, name: str) -> str | None:
        """Who holds a named lease that has not run out."""
        with self._database.read() as connection:
            now = to_micros(self._database.now(connection))
            query = sa.select(LEASES.c.holder).where(LEASES.c.name == name, LEASES.c.until > now)
            return connection.execute(query).scalar()

    def give_back(self, name: str, holder: str) -> None:
        with self._database.write() as connection:
            mine = (LEASES.c.name == name) & (LEASES.c.holder == holder)
            connection.execute(LEASES.delete().where(mine))

    # -- inside ------------------------------------------------------------------------------

    @contextmanager
    def _locked(
        self, run_id: str, step_id: str
    ) -> Iterator[tuple[sa.Connection, RunState, StepRecord]]:
        """A transaction in which nobody else changes this run."""
        with self._database.write() as connection:
            state = _run_state(connection, run_id)
            query = sa.select(STEPS.c.record).where(STEPS.c.run == run_id, STEPS.c.step == step_id)
            yield connection, state, _step(connection.execute(query).scalar_one())

    def _refuse_overlap(self, connection: sa.Connection, plan: Plan) -> None:
        targets = sorted({step.target for step in plan.steps})
        query = (
            sa.select(RUNS.c.id, RUNS.c.principal, STEPS.c.target, RUNS.c.created)
            .join(STEPS, STEPS.c.run == RUNS.c.id)
            .where(RUNS.c.state.in_(_OPEN), STEPS.c.target.in_(targets))
        )
        found = connection.execute(query).first()
        if found is not None:
            since = from_micros(found.created).isoformat(timespec="seconds")
            raise RunInProgressError(
                f"run {found.id} of {found.principal} (since {since}) writes {found.target}",
                expected="no other open run that writes what this one would",
                fix=f"bowerbird status {found.id[:13]}, or bowerbird cancel {found.id[:13]}",
            )


def _run_state(connection: sa.Connection, run_id: str) -> RunState:
    """The state of a run, its row locked until the transaction ends."""
    query = sa.select(RUNS.c.state).where(RUNS.c.id == run_id).with_for_update()
    found = connection.execute(query).scalar_one_or_none()
    if found is None:
        raise RefError(f"there is no run {run_id}", fix="bowerbird status")
    return RunState(found)


def _run(connection: sa.Connection, run_id: str) -> RunRecord:
    row = connection.execute(sa.select(RUNS).where(RUNS.c.id == run_id)).first()
    if row is None:
        raise RefError(f"there is no run {run_id}", fix="bowerbird status")
    query = sa.select(STEPS.c.record).where(STEPS.c.run == run_id).order_by(STEPS.c.position)
    return RunRecord(
        id=row.id,
        plan=msgspec.json.decode(row.plan, type=Plan),
        principal=row.principal,
        state=RunState(row.state),
        steps=tuple(_step(record) for record in connection.execute(query).scalars()),
        created=from_micros(row.created),
        ended=from_micros(row.ended) if row.ended is not None else None,
    )


def _step(record: str) -> StepRecord:
    return msgspec.json.decode(record, type=StepRecord)


def _columns(step: StepRecord) -> dict[str, str]:
    return {"state": step.state, "record": msgspec.json.encode(step).decode()}


def _put(connection: sa.Connection, run_id: str, step: StepRecord | None) -> bool:
    if step is None:
        return False
    connection.execute(
        STEPS.update()
        .where(STEPS.c.run == run_id, STEPS.c.step == step.id)
        .values(**_columns(step))
    )
    return True


FEW = 64
"""Meanings that are read one by one; who asks for more gets all at once."""


class _Meanings(Mapping[str, Tree]):
    """All meanings that the ledger keeps: years of them, of which a plan looks at some."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, str | None] = {}
        self._all = False

    def __getitem__(self, hashed: str) -> Tree:
        if hashed not in self._known and not self._all:
            self._read(MEANINGS.c.hash == hashed if len(self._known) < FEW else sa.true())
        text = self._known.setdefault(hashed, None)
        if text is None:
            raise KeyError(hashed)
        found: Tree = json.loads(text)
        return found

    def __iter__(self) -> Iterator[str]:
        self._read(sa.true())
        return iter([hashed for hashed, text in self._known.items() if text is not None])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _read(self, which: sa.ColumnElement[bool]) -> None:
        query = sa.select(MEANINGS.c.hash, MEANINGS.c.tree).where(which)
        with self._database.read() as connection:
            self._known |= {row.hash: row.tree for row in connection.execute(query)}
        self._all |= isinstance(which, sa.True_)
