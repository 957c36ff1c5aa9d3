"""``bowerbird demo`` and ``bowerbird up``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bowerbird.cli import opening, screen
from bowerbird.cli.commands import (
    Host,
    Json,
    Port,
    apply_until_settled,
    interruptible,
    report,
    sayer,
)
from bowerbird.cli.main import app
from bowerbird.core.plans import Allowed
from bowerbird.core.runs import RunRecord, RunState

if TYPE_CHECKING:
    from bowerbird.workspace.views import RunView
    from bowerbird.workspace.workspace import Workspace


@app.command()
def demo(
    folder: Annotated[str, typer.Argument(help="where the project goes")] = "demo",
    json: Json = False,
) -> None:
    """A project with real data, from tables to a ranked feed; then its report."""
    from bowerbird.demo.making import make_demo

    target = Path(folder)
    fresh = make_demo(target)
    opening.WHERE.project = target.resolve()
    progress = screen.ProgressScreen(quiet=json)
    with opening.opened(listeners=[progress]) as workspace:
        if not json:
            screen.out.print(f"{'made' if fresh else 'found'} the project in {folder}")
            screen.plan(workspace.plan())
        record = apply_until_settled(workspace, Allowed(), progress)
        if record is not None and record.state != RunState.DONE:
            report(workspace, record, json=json)
        made = _reported(workspace, record, target / "report")
    screen.show(made, partial(_show, folder), json=json)


class Demo(msgspec.Struct, frozen=True):
    """What came of the demo: the run that made what is live, the goals, the page of its report."""

    run: RunView | None
    goals: tuple[str, ...]
    report: str


def _reported(workspace: Workspace, record: RunRecord | None, folder: Path) -> Demo:
    from bowerbird.portal.gathering import reached, report_view
    from bowerbird.portal.report import write_report
    from bowerbird.workspace import views

    shown = report_view(workspace)
    page = write_report(shown, folder)
    if record is None:
        record = next((r for r in workspace.ledger.runs() if r.state == RunState.DONE), None)
    run = None if record is None else views.view(workspace, record)
    return Demo(run, tuple(reached(shown.goals)), str(page))


def _show(folder: str, shown: Demo) -> None:
    if shown.run is not None:
        screen.run(shown.run)
    for line in shown.goals:
        screen.out.print(line, markup=False)
    screen.out.print(f"report: {shown.report}\nnext: cd {folder} && bowerbird up", markup=False)


@app.command()
def up(
    port: Port = None,
    host: Host = None,
    json: Json = False,
) -> None:
    """Run the project's services until they are stopped: the loop that applies, and the pages."""
    from bowerbird.workspace.services import run_services

    with interruptible() as stop, opening.opened({"port": port, "host": host}) as workspace:
        run_services(workspace, stop, sayer(json=json))
