"""The commands that every project has."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event as Flag
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bowerbird import __version__
from bowerbird.cli import opening, screen
from bowerbird.cli.main import app
from bowerbird.core.errors import UserError
from bowerbird.core.plans import Allowed, Plan
from bowerbird.core.runs import RunRecord, RunState, StepState

if TYPE_CHECKING:
    from bowerbird.discovery.serving.page import PageItem
    from bowerbird.workspace.workspace import Workspace

Json = Annotated[bool, typer.Option("--json", help="print for programs")]
Refs = Annotated[list[str] | None, typer.Option(help="a ref; may be given several times")]

Port = Annotated[int | None, typer.Option(help="of the web server; 0 takes a free one")]
Host = Annotated[str | None, typer.Option(help="address to listen on")]

REPLANS = 3
"""So many times a plan that the world overtook is made again before we give up."""


@app.command()
def init(folder: Annotated[str, typer.Argument(help="where")] = ".", json: Json = False) -> None:
    """Make a new, empty project."""
    from bowerbird.workspace.new import make_project

    screen.show(make_project(Path(folder)), screen.made, json=json)


@app.command()
def plan(json: Json = False, replace: Refs = None, release: Refs = None, drop: Refs = None) -> None:
    """Show what would be done, and why. Changes nothing."""
    with opening.opened() as workspace:
        screen.show(workspace.plan(_allowed(replace, release, drop)), screen.plan, json=json)


@app.command()
def explain(json: Json = False) -> None:
    """The plan, with what each step reads and writes."""
    with opening.opened() as workspace:
        screen.show(workspace.plan(), screen.explained, json=json)


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
        report(workspace, apply_until_settled(workspace, allowed, progress), json=json)


def apply_until_settled(
    workspace: Workspace, allowed: Allowed, progress: screen.ProgressScreen
) -> RunRecord | None:
    """Plan and apply; and again, where the world overtook the plan, or where it could say only of
    a part what comes after it."""
    record: RunRecord | None = None
    replans = 0
    while replans < REPLANS:
        made = workspace.plan(allowed)
        with progress, interruptible() as stop:
            carried = workspace.apply(made, stop)
        record = carried or record
        if carried is not None and _overtaken(carried):
            replans += 1
        elif carried is None or carried.state != RunState.DONE or not _goes_on(made):
            break
    return record


def _goes_on(made: Plan) -> bool:
    """Whether there is more to plan once this plan is carried out."""
    return not made.empty and any(note.later for note in made.notes)


@contextmanager
def interruptible() -> Iterator[Flag]:
    """Ctrl-C asks to stop and gives leases back, and is told of after that; a second one ends at
    once."""
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
    if stop.is_set():
        raise KeyboardInterrupt


def _overtaken(record: RunRecord) -> bool:
    failed = [step for step in record.steps if step.state == StepState.FAILED]
    return bool(failed) and all(step.error_kind == "PlanAgainError" for step in failed)


def _allowed(replace: Refs, release: Refs, drop: Refs) -> Allowed:
    return Allowed(frozenset(replace or ()), frozenset(release or ()), frozenset(drop or ()))


EXIT_CODES = {RunState.DONE: 0, RunState.FAILED: 1, RunState.CANCELLED: 1, RunState.WAITING: 4}


def report(workspace: Workspace, record: RunRecord | None, *, json: bool) -> None:
    """Show how a run ended (None: there was nothing to do), and end so."""
    from bowerbird.workspace import views

    ended = None if record is None else views.view(workspace, record)
    screen.show(ended, screen.outcome, json=json)
    if ended is not None:
        raise typer.Exit(EXIT_CODES.get(ended.state, 1))


@app.command()
def status(
    of: Annotated[str, typer.Argument(help="a run, last, or a ref; none: all runs")] = "",
    json: Json = False,
) -> None:
    """Runs, one run, or the versions of one target."""
    with opening.opened() as workspace:
        from bowerbird.workspace import views

        if ":" in of:
            screen.show(workspace.history(of), partial(screen.versions, of), json=json)
        elif of:
            screen.show(views.run(workspace, of), screen.run, json=json)
        else:
            screen.show(views.runs(workspace), screen.runs, json=json)


@app.command()
def logs(
    run: Annotated[str, typer.Argument(help="a run, or last")] = "last",
    step: Annotated[str, typer.Argument(help="a step; none: all of them")] = "",
    json: Json = False,
) -> None:
    """What the steps of a run said."""
    with opening.opened() as workspace:
        from bowerbird.workspace import views

        screen.show(views.logs(workspace, run, step), screen.logs, json=json)


@app.command()
def cancel(run: Annotated[str, typer.Argument(help="a run, or last")], json: Json = False) -> None:
    """Cancel a run: when this returns, none of its steps can commit any more."""
    with opening.opened() as workspace:
        from bowerbird.workspace import views

        cancelled = workspace.cancel(workspace.ledger.find(run))
        screen.show(views.view(workspace, cancelled), screen.run, json=json)


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
            screen.show(made, screen.plan, json=json)
            return
        with progress, interruptible() as stop:
            record = workspace.apply(made, stop)
        report(workspace, record, json=json)


@app.command()
def why(
    of: Annotated[str, typer.Argument(help="a ref, a run, or feed:…#household/product")],
    json: Json = False,
) -> None:
    """Walk back from what is live to the source snapshots it was made from."""
    from bowerbird.cli.reasons import ItemReason, show_item, show_reason
    from bowerbird.workspace import views
    from bowerbird.workspace.why import why as reason_of

    with opening.opened() as workspace:
        ref, _, item = of.partition("#")
        if ":" not in ref:
            screen.show(views.run(workspace, ref).plan, screen.explained, json=json)
        elif item:
            asked = _feed_item(workspace, ref, item)
            screen.show(ItemReason(asked, reason_of(workspace, ref)), show_item, json=json)
        else:
            screen.show(reason_of(workspace, ref), show_reason, json=json)


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


class Said(msgspec.Struct, frozen=True):
    """Something that a server said; one a line, since it does not end by itself."""

    at: datetime
    text: str


def sayer(*, json: bool) -> Callable[[str], None]:
    """How a server says something: to people on standard error, to programs a line of JSON."""
    if json:
        return lambda text: screen.as_json_line(Said(datetime.now(UTC), text))
    return lambda text: screen.err.print(text, markup=False)


@app.command()
def config(json: Json = False) -> None:
    """Every setting, its value and where it came from."""
    screen.show(opening.settings(), screen.settings, json=json)


@app.command()
def schema(json: Json = True) -> None:  # noqa: ARG001 - it is JSON in any case
    """The JSON Schema of every kind of spec, for editors."""
    from bowerbird.core.codec import json_schema
    from bowerbird.rooms import registry

    screen.as_json(json_schema(registry().spec_kinds()))


@app.command()
def migrate(json: Json = False) -> None:
    """Bring the metadata database up to this version (SQLite does it by itself)."""
    from bowerbird.workspace.database import migrated

    screen.show(migrated(opening.settings().home().metadata), screen.migrated, json=json)


class Version(msgspec.Struct, frozen=True):
    """Which Bowerbird this is."""

    version: str


@app.command()
def version(json: Json = False) -> None:
    """Print the version."""
    screen.show(Version(__version__), lambda it: screen.out.print(it.version), json=json)
