"""``bowerbird table``: what a data engineer asks of tables, and does to them.

A command loads a view and prints it, or makes a plan and carries it out; what is what is decided in
`bowerbird.lake`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.cli import opening, screen, screen_table
from bowerbird.cli.commands import Json, interruptible, report
from bowerbird.cli.main import app

if TYPE_CHECKING:
    from bowerbird.core.plans import Plan
    from bowerbird.lake import Lake
    from bowerbird.workspace.workspace import Workspace

tables = typer.Typer(
    help="Look at tables, and keep them in order.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(tables, name="table")

Name = Annotated[str, typer.Argument(help="a table: shop/purchases")]
Cells = Annotated[list[str] | None, typer.Option("--cell", help="only these partitions")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only show the plan")]
At = Annotated[str, typer.Option("--at", help="a version, branch or tag; none: as it is now")]


@contextmanager
def opened_lake() -> Iterator[Lake]:
    from bowerbird.lake import Lake

    with opening.opened() as workspace:
        yield Lake(workspace.home)


@tables.command("list")
def list_tables(json: Json = False) -> None:
    """Every table: rows, files, bytes."""
    with opened_lake() as lake:
        from bowerbird.lake import views

        screen.show(views.tables(lake), screen_table.tables, json=json)


@tables.command()
def show(name: Name, json: Json = False) -> None:
    """One table: columns, layout, size."""
    with opened_lake() as lake:
        from bowerbird.lake import views

        screen.show(views.table(lake, name), screen_table.table, json=json)


@tables.command()
def files(name: Name, at: At = "", cell: Cells = None, json: Json = False) -> None:
    """The data files of a version, by partition."""
    with opened_lake() as lake:
        from bowerbird.lake import views

        found = views.files(lake, name, at or None, tuple(cell) if cell else None)
        screen.show(found, screen_table.files, json=json)


@tables.command()
def snapshots(name: Name, json: Json = False) -> None:
    """The versions of a table, newest first, and the names that are given to some."""
    with opened_lake() as lake:
        from bowerbird.lake import views

        screen.show(views.versions(lake, name), screen_table.versions, json=json)


@tables.command()
def diff(
    name: Name,
    before: Annotated[str, typer.Argument(help="a version, branch or tag")],
    after: Annotated[str, typer.Argument(help="another; main is the present one")] = "main",
    json: Json = False,
) -> None:
    """What is different between two versions: partitions, files, rows, columns."""
    with opened_lake() as lake:
        from bowerbird.lake.versions.diff import diff as between

        screen.show(between(lake, name, before, after), screen_table.diff, json=json)


@tables.command()
def query(
    sql: Annotated[str, typer.Argument(help="SELECT … FROM shop.purchases")],
    rows: Annotated[int, typer.Option(help="how many are shown")] = 20,
    json: Json = False,
) -> None:
    """Ask tables in SQL (DuckDB). Nothing can be written by it."""
    with opened_lake() as lake:
        from bowerbird.lake.query import query as answer

        screen.show(answer(lake, sql, rows), screen_table.answer, json=json)


@tables.command()
def sample(
    name: Name,
    key: Annotated[str, typer.Option(help="the column that the table is bucketed by")],
    share: Annotated[float, typer.Option(help="of the keys: 0.01 is 1 %")] = 0.01,
    rows: Annotated[int, typer.Option(help="how many are shown")] = 20,
    json: Json = False,
) -> None:
    """A sample by key: the same keys every time, and in every table bucketed by them."""
    with opened_lake() as lake:
        from bowerbird.lake.query import sampled

        screen.show(sampled(lake, name, key, share, rows), screen_table.sampled, json=json)


@tables.command()
def health(name: Name, json: Json = False) -> None:
    """Small files, overlap, order, old versions; and what to type."""
    with opened_lake() as lake:
        from bowerbird.lake.upkeep.health import health as found

        screen.show(found(lake, name), screen_table.health, json=json)


@tables.command()
def statistics(name: Name, at: At = "", cell: Cells = None, json: Json = False) -> None:
    """Each column of each partition: nulls, bounds, bytes."""
    with opened_lake() as lake:
        from bowerbird.lake.upkeep.statistics import statistics as found

        shown = found(lake, name, cells=tuple(cell or ("*",)), version=at or None)
        screen.show(shown, screen_table.statistics, json=json)


# -- what changes a table --------------------------------------------------------------------------


def carry(make: Callable[[Workspace, Lake], Plan], *, dry_run: bool, json: bool) -> None:
    """Make a plan, and carry it out unless it is only to be shown."""
    from bowerbird.lake import Lake

    progress = screen.ProgressScreen(quiet=json)
    with opening.opened(listeners=[progress]) as workspace:
        made = make(workspace, Lake(workspace.home))
        if dry_run or made.empty:
            screen.show(made, screen.plan, json=json)
            return
        with progress, interruptible() as stop:
            record = workspace.apply(made, stop)
        report(workspace, record, json=json)


@tables.command()
def rollback(
    name: Name,
    to: Annotated[str, typer.Option(help="a version")],
    cell: Cells = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show the files")] = False,
    json: Json = False,
) -> None:
    """Put partitions back to an earlier version. No byte of data is written."""
    from bowerbird.lake.catalog import target_ref

    cells = tuple(cell or ("*",))
    if dry_run:
        with opened_lake() as lake:
            from bowerbird.lake.versions.rollback import preview

            screen.show(preview(lake, name, to, cells), screen_table.rollback, json=json)
        return
    ref = target_ref(name)
    carry(lambda workspace, _: workspace.plan_rollback(ref, to, cells), dry_run=False, json=json)


@tables.command()
def compact(name: Name, cell: Cells = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Rewrite files that are small, out of order or have rows deleted. No row changes."""
    from bowerbird.lake.upkeep.compaction import plan_compaction

    cells = tuple(cell or ("*",))
    carry(lambda _, lake: plan_compaction(lake, name, cells=cells), dry_run=dry_run, json=json)


Days = Annotated[float, typer.Option("--days", help="what is younger stays", min=0)]


@tables.command()
def expire(
    name: Name,
    days: Days = 7.0,
    keep: Annotated[int, typer.Option(help="versions of each branch that stay", min=1)] = 1,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take old versions out, and delete the files that only they needed."""
    from bowerbird.lake.upkeep.expiry import plan_expiry

    since = datetime.now(UTC) - timedelta(days=days)
    carry(
        lambda workspace, lake: plan_expiry(lake, name, since, keep, workspace.ledger.spared),
        dry_run=dry_run,
        json=json,
    )


@tables.command()
def clean(name: Name, days: Days = 3.0, dry_run: DryRun = False, json: Json = False) -> None:
    """Delete files in the table's folder that nothing names."""
    from bowerbird.lake.upkeep.orphans import plan_clean

    since = datetime.now(UTC) - timedelta(days=days)
    carry(
        lambda workspace, lake: plan_clean(lake, name, since, workspace.ledger.spared),
        dry_run=dry_run,
        json=json,
    )


# -- names of versions -----------------------------------------------------------------------------

Given = Annotated[str, typer.Argument(help="the name of a branch or tag")]


@tables.command()
def branch(name: Name, given: Given, at: At = "", json: Json = False) -> None:
    """Make a branch, to be written to and looked at before it is published."""
    _name("branch", name, given, at, json=json)


@tables.command()
def tag(name: Name, given: Given, at: At = "", json: Json = False) -> None:
    """Give a version a name: it stays until the name is taken away."""
    _name("tag", name, given, at, json=json)


def _name(kind: str, name: str, given: str, at: str, *, json: bool) -> None:
    from bowerbird.lake.catalog import target_ref
    from bowerbird.lake.versions.branches import NameKind, examine, plan_name

    def make(_: Workspace, lake: Lake) -> Plan:
        found = examine(lake, name, given, NameKind(kind), at or None)
        return plan_name(NameKind(kind), target_ref(name), given, found.version)

    carry(make, dry_run=False, json=json)


@tables.command()
def unname(name: Name, given: Given, json: Json = False) -> None:
    """Take a branch or a tag away; expiry then sees to its versions."""
    from bowerbird.lake.catalog import target_ref
    from bowerbird.lake.read import pinned
    from bowerbird.lake.versions.branches import plan_removal

    carry(
        lambda _, lake: plan_removal(target_ref(name), given, str(pinned(lake.load(name), given))),
        dry_run=False,
        json=json,
    )


@tables.command()
def publish(name: Name, given: Given, dry_run: DryRun = False, json: Json = False) -> None:
    """Make what a branch holds the table, in one commit."""
    from bowerbird.lake.catalog import target_ref
    from bowerbird.lake.versions.branches import plan_publish

    ref = target_ref(name)
    carry(lambda _, lake: plan_publish(lake, ref, given), dry_run=dry_run, json=json)
