"""``bowerbird demo`` and ``bowerbird up``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bowerbird.cli import opening, screen
from bowerbird.cli.commands import EXIT_CODES, Json, apply_until_settled
from bowerbird.cli.main import app
from bowerbird.core.plans import Allowed
from bowerbird.core.runs import RunState


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
    if not json:
        screen.out.print(f"{'made' if fresh else 'found'} the project in {folder}")
    progress = screen.ProgressScreen(quiet=json)
    with opening.opened(listeners=[progress]) as workspace:
        if not json:
            screen.plan(workspace.plan())
        record = apply_until_settled(workspace, Allowed(), progress)
        if record is None:
            screen.out.print("nothing to do") if not json else None
            record = next((r for r in workspace.ledger.runs() if r.state == RunState.DONE), None)
        elif record.state != RunState.DONE:
            screen.run(record)
            raise typer.Exit(EXIT_CODES.get(record.state, 1))
        elif not json:
            screen.run(record)
        from bowerbird.portal.gathering import reached, report_view
        from bowerbird.portal.report import write_report

        view = report_view(workspace)
        page = write_report(view, target / "report")
    if json:
        screen.as_json({"report": str(page), "run": record})
        return
    for line in reached(view.goals):
        screen.out.print(line, markup=False)
    screen.out.print(f"report: {page}\nnext: cd {folder} && bowerbird up", markup=False)


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="of the web server; 0 takes a free one")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
) -> None:
    """Run the project's services until they are stopped: the loop that applies, and the feed."""
    from bowerbird.workspace.services import run_services

    with opening.opened({"port": port, "host": host}) as workspace:
        run_services(workspace, lambda text: screen.err.print(text, markup=False))
