"""The commands that every project has."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.cli import opening, screen
from bowerbird.cli.main import app
from bowerbird.core.errors import RefError, UserError
from bowerbird.core.plans import Allowed, Plan
from bowerbird.core.runs import RunRecord, RunState, StepState

if TYPE_CHECKING:
    from bowerbird.workspace.workspace import Workspace

if TYPE_CHECKING:
    from bowerbird.discovery.serving.page import PageItem

Json = Annotated[bool, typer.Option("--json", help="print for programs")]
Refs = Annotated[list[str] | None, typer.Option(help="a ref; may be given several times")]

REPLANS = 3
"""So many times a plan that the world overtook is made again before we give up."""


@app.command()
def init(folder: Annotated[str, typer.Argument(help="where")] = ".") -> None:
    """Make a new, empty project."""
    from bowerbird.workspace.new import make_project

    for path in make_project(Path(folder)):
        screen.out.print(f"made {path}")
    screen.out.print("next: declare specs in specs/, then: bowerbird plan")


@app.command()
def plan(json: Json = False, replace: Refs = None, release: Refs = None, drop: Refs = None) -> None:
    """Show what would be done, and why. Changes nothing."""
    with opening.opened() as workspace:
        made = workspace.plan(_allowed(replace, release, drop))
        screen.as_json(made) if json else screen.plan(made)


@app.command()
def explain(json: Json = False) -> None:
    """The plan, with what each step reads and writes."""
    with opening.opened() as workspace:
        made = workspace.plan()
        screen.as_json(made) if json else screen.explained(made)


@app.command()
def apply(
    json: Json = False, replace: Refs = None, release: Refs = None, drop: Refs = None
) -> None:
    """Carry the plan out. Cut off at any point, the same command goes on.

    --replace REF: write over what somebody changed outside. --release REF: make again what was
    rolled back. --drop REF: drop what no spec declares any more, data and all.
    """
    allowed = _allowed(replace, release, drop)
    progress = screen.ProgressScreen(quiet=json)
    with opening.opened(listeners=[progress]) as workspace:
        record = apply_until_settled(workspace, allowed, progress)
    _report(record, json)


def apply_until_settled(
    workspace: Workspace, allowed: Allowed, progress: screen.ProgressScreen
) -> RunRecord | None:
    """Plan and apply; and again, where the world overtook the plan."""
    record: RunRecord | None = None
    for _ in range(REPLANS):
        with progress, interruptible() as stop:
            record = workspace.apply(workspace.plan(allowed), stop)
        if stop.is_set():
            raise KeyboardInterrupt
        if record is None or not _overtaken(record):
            return record
    return record


@contextmanager
def interruptible() -> Iterator[Flag]:
    """Ctrl-C asks to stop and gives leases back; a second one ends at once."""
    stop = Flag()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _overtaken(record: RunRecord) -> bool:
    failed = [step for step in record.steps if step.state == StepState.FAILED]
    return bool(failed) and all(step.error_kind == "PlanAgainError" for step in failed)


def _allowed(replace: Refs, release: Refs, drop: Refs) -> Allowed:
    return Allowed(frozenset(replace or ()), frozenset(release or ()), frozenset(drop or ()))


EXIT_CODES = {RunState.DONE: 0, RunState.FAILED: 1, RunState.CANCELLED: 1, RunState.WAITING: 4}


def _report(record: RunRecord | None, json: bool) -> None:
    if json:
        screen.as_json(record)
    elif record is None:
        screen.out.print("nothing to do")
    else:
        screen.run(record)
        for step in record.steps:
            if step.state == StepState.FAILED:
                screen.err.print(f"\n{step.id} failed:\n{step.error}", markup=False)
                screen.err.print(f"  log: bowerbird logs {record.id[:13]} {step.id}", markup=False)
    if record is not None:
        raise typer.Exit(EXIT_CODES.get(record.state, 1))


@app.command()
def status(
    of: Annotated[str, typer.Argument(help="a run, last, or a ref; none: all runs")] = "",
    json: Json = False,
) -> None:
    """Runs, one run, or the versions of one target."""
    with opening.opened() as workspace:
        if ":" in of:
            kind = workspace.registry.step_kind(workspace.step_kind_of(of)).target
            history = workspace.registry.target(kind, workspace.home, workspace.clock, of).history()
            if json:
                screen.as_json(history)
                return
            rows = [
                [e.version, e.token or e.author, "burnt" if e.burnt else ", ".join(e.changed)]
                for e in history.entries
            ]
            screen.table(of, ["version", "by", "changed"], rows)
        elif of:
            record = workspace.ledger.run(workspace.ledger.find(of))
            screen.as_json(record) if json else screen.run(record)
        else:
            runs = workspace.ledger.runs()
            if json:
                screen.as_json(runs)
                return
            rows = [
                [run.id, str(run.state), screen.ago(run.created), run.principal, _done(run)]
                for run in runs
            ]
            screen.table("", ["run", "state", "started", "by", "steps"], rows)
            if not rows:
                screen.out.print("no runs yet; try: bowerbird apply")


def _done(run: RunRecord) -> str:
    done = sum(step.state == StepState.DONE for step in run.steps)
    return f"{done}/{len(run.steps)}"


@app.command()
def logs(
    run: Annotated[str, typer.Argument(help="a run, or last")] = "last",
    step: Annotated[str, typer.Argument(help="a step; none: all of them")] = "",
) -> None:
    """What the steps of a run said."""
    with opening.opened() as workspace:
        record = workspace.ledger.run(workspace.ledger.find(run))
        if step and step not in {known.id for known in record.steps}:
            known = ", ".join(known.id for known in record.steps)
            raise RefError(f"run {record.id} has no step {step}", expected=f"one of: {known}")
        for known_step in record.steps:
            path = workspace.journal.log(record.id, known_step.id)
            if step in ("", known_step.id) and path.exists():
                sys.stdout.write(path.read_text())


@app.command()
def cancel(run: Annotated[str, typer.Argument(help="a run, or last")], json: Json = False) -> None:
    """Cancel a run: when this returns, none of its steps can commit any more."""
    with opening.opened() as workspace:
        record = workspace.cancel(workspace.ledger.find(run))
        screen.as_json(record) if json else screen.run(record)


@app.command()
def rollback(
    ref: Annotated[str, typer.Argument(help="a target: table:shop/purchases")],
    to: Annotated[str, typer.Option(help="a version; none: the one before")] = "",
    cell: Annotated[list[str] | None, typer.Option(help="only these partitions")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show the plan")] = False,
    json: Json = False,
) -> None:
    """Put a target back to an earlier version. What is rolled back is held until released."""
    progress = screen.ProgressScreen(quiet=json)
    with opening.opened(listeners=[progress]) as workspace:
        made: Plan = workspace.plan_rollback(ref, to or None, tuple(cell or ("*",)))
        if dry_run:
            screen.as_json(made) if json else screen.plan(made)
            return
        with progress, interruptible() as stop:
            record = workspace.apply(made, stop)
    _report(record, json)


@app.command()
def why(
    of: Annotated[str, typer.Argument(help="a ref, a run, or feed:…#household/product")],
    json: Json = False,
) -> None:
    """Walk back from what is live to the source snapshots it was made from."""
    from bowerbird.cli.reasons import show_item, show_reason
    from bowerbird.workspace.why import why as reason_of

    with opening.opened() as workspace:
        ref, _, item = of.partition("#")
        if ":" not in ref:
            record = workspace.ledger.run(workspace.ledger.find(ref))
            screen.as_json(record.plan) if json else screen.explained(record.plan)
            return
        shown = _feed_item(workspace, ref, item) if item else None
        found = reason_of(workspace, ref)
        if json:
            screen.as_json({"item": shown, "reason": found} if item else found)
            return
        if shown is not None:
            show_item(shown)
        show_reason(found)


def _feed_item(workspace: Workspace, ref: str, item: str) -> PageItem:
    """The item that ``household/product`` names on a feed's page."""
    from bowerbird.discovery.serving.publish import item_of

    household, _, product = item.partition("/")
    if not ref.startswith("feed:") or not household.isdigit() or not product.isdigit():
        raise UserError(
            f"{ref}#{item} names no item of a feed",
            expected="feed:namespace/name#household/product, both as numbers",
        )
    return item_of(workspace.home, ref, int(household), int(product))


@app.command()
def config(json: Json = False) -> None:
    """Every setting, its value and where it came from."""
    loaded = opening.settings()
    if json:
        screen.as_json(loaded)
        return
    screen.out.print(f"project {loaded.project}, environment {loaded.environment}", markup=False)
    rows = [[o.name, str(o.value), o.origin, o.description] for o in loaded.origins]
    screen.table("", ["setting", "value", "from", "what it is"], rows)


@app.command()
def schema() -> None:
    """The JSON Schema of every kind of spec, for editors."""
    from bowerbird.core.codec import json_schema
    from bowerbird.rooms import registry

    screen.as_json(json_schema(registry().spec_kinds()))


@app.command()
def migrate() -> None:
    """Bring the metadata database up to this version (SQLite does it by itself)."""
    from bowerbird.core.clock import SystemClock
    from bowerbird.workspace.database import Database

    Database(opening.settings().home().metadata, SystemClock(), migrate=True).close()
    screen.out.print("the metadata database is up to date")
