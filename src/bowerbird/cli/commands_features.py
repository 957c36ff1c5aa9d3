"""``bowerbird features``: what is in features, and where they may come from."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.cli import opening, screen, screen_features
from bowerbird.cli.commands import Host, Json, Port, interruptible, sayer
from bowerbird.cli.commands_table import At, Cells, DryRun, Name, carry, opened_lake
from bowerbird.cli.main import app
from bowerbird.core.errors import UserError

if TYPE_CHECKING:
    from bowerbird.core.plans import Plan
    from bowerbird.data.features.interop.module import Imported
    from bowerbird.data.features.specs import FeatureGroup
    from bowerbird.data.features.views import GroupView
    from bowerbird.lake import Lake
    from bowerbird.workspace.workspace import Workspace

features = typer.Typer(
    help="Look at features, and bring them from elsewhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(features, name="features")


@features.command(name="list")
def list_(json: Json = False) -> None:
    """Every backfill and promotion, and what there is to do."""
    with opening.opened() as workspace:
        from bowerbird.data.features.desk import Desk

        with closing(Desk(workspace)) as desk:
            screen.show(desk.board().lines, screen_features.standing, json=json)


@features.command()
def show(
    ref: Annotated[str, typer.Argument(help="a group, a backfill or a promotion, by its ref")],
    json: Json = False,
) -> None:
    """One group, backfill or promotion.

    Of a group, its columns, and the same as SQL; of the others, how all of it stands.
    """
    with opening.opened() as workspace:
        from bowerbird.core.specs import Spec, of_kind
        from bowerbird.data.features.desk import Desk
        from bowerbird.data.features.specs import Backfill, FeatureGroup, Promotion

        specs = workspace.by_ref()
        if isinstance(of_kind(specs, ref, Spec), (Backfill, Promotion)):
            with closing(Desk(workspace)) as desk:
                screen.show(desk.one(ref), screen_features.one, json=json)
        else:
            found = of_kind(specs, ref, FeatureGroup)
            screen.show(_group(workspace, found), screen_features.group, json=json)


def _group(workspace: Workspace, group: FeatureGroup) -> GroupView:
    from bowerbird.data.features import sources, sql, views
    from bowerbird.data.features.compute import output_schema
    from bowerbird.lake import Lake
    from bowerbird.lake.schema import declared_type

    specs = workspace.by_ref()
    schema = sources.source_schema(Lake(workspace.home), group)
    types = {f.name: declared_type(f.type) for f in output_schema(group, schema)}
    query = group.sql
    if group.columns:
        query = sql.query(group.columns, group.key, group.at, schema, group.known_at)
    return views.group(group, specs, types, query)


@features.command()
def backfill(
    ref: Annotated[str, typer.Argument(help="a backfill, or a promotion of several")],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Carry out one backfill or promotion alone."""
    from bowerbird.data.features.views import declared, plan_of

    def make(workspace: Workspace, _: Lake) -> Plan:
        return plan_of(workspace, declared(workspace.by_ref(), ref))

    carry(make, dry_run=dry_run, json=json)


@features.command()
def statistics(
    name: Name,
    at: At = "",
    against: Annotated[str, typer.Option(help="a version to set beside it")] = "",
    cell: Cells = None,
    column: Annotated[list[str] | None, typer.Option(help="only these columns")] = None,
    parts: Annotated[bool, typer.Option("--parts", help="partition by partition")] = False,
    page: Annotated[str, typer.Option(help="write a page into this folder")] = "",
    json: Json = False,
) -> None:
    """Statistics of each column by its kind; what has moved since."""
    with opened_lake() as lake:
        from bowerbird.data.features.tables import view_of

        found = view_of(
            lake,
            name,
            at or None,
            against or None,
            tuple(cell) if cell else None,
            tuple(column) if column else None,
        )
    if page:
        from bowerbird.portal.statistics import write_statistics

        written = write_statistics(found, Path(page))
        if not json:
            screen.out.print(f"wrote {written}", markup=False)
            return
    shown = screen_features.parts if parts else screen_features.statistics
    screen.show(found, shown, json=json)


@features.command()
def page(port: Port = None, host: Host = None, json: Json = False) -> None:
    """The same in a browser: look, carry out, stop, roll back."""
    from bowerbird.http.server import serve_routes

    routes = ("bowerbird.portal.backfills:routes",)
    with interruptible() as stop, opening.opened({"port": port, "host": host}) as workspace:
        serve_routes(workspace, routes, stop=stop, say=sayer(json=json))


@features.command()
def push(
    name: Annotated[str, typer.Argument(help="of an Online spec: shop/spend")],
    url: Annotated[str, typer.Argument(help="redis://host:6379/0, or ${env:NAME}")],
    json: Json = False,
) -> None:
    """Put the live release of online features into Redis."""
    from bowerbird.workspace.settings import resolve_secrets

    with opened_lake() as lake:
        from bowerbird.data.features.online import open_online
        from bowerbird.data.features.online.redis import connected, mirror_redis
        from bowerbird.workspace.releases import open_log

        ref = name if name.startswith("online:") else f"online:{name}"
        release = open_log(lake.home, ref).pinned()
        with (
            connected(resolve_secrets(url)) as client,
            open_online(Path(release.files.folder)) as online,
        ):
            contents = mirror_redis(client, online)
    screen.show(contents, screen_features.pushed, json=json)


@features.command(name="import")
def import_(
    place: Annotated[
        str, typer.Argument(help="a folder of CSV or Parquet, a Feast repository, or its dump")
    ],
    namespace: Annotated[str, typer.Option(help="of the specs: shop")],
    to: Annotated[str, typer.Option(help="write the module here; none: print it")] = "",
    root: Annotated[str, typer.Option(help="where a dump's relative paths begin")] = "",
    json: Json = False,
) -> None:
    """Specs of what is declared elsewhere. Reads only; what is left out is said."""
    found = _imported(Path(place), namespace, Path(root) if root else None)
    if to:
        _write(Path(to), found.text)
    if json:
        screen.as_json(found)
        return
    if not to:
        sys.stdout.write(found.text)
    screen_features.imported(found, to)


def _imported(place: Path, namespace: str, root: Path | None) -> Imported:
    from bowerbird.core.refs import Ref

    Ref.of("table", f"{namespace}/x")  # says what is wrong with it, if something is
    if place.is_file() or (place / "feature_store.yaml").is_file():
        from bowerbird.data.features.interop.feast import from_feast

        return from_feast(place, namespace, root)
    from bowerbird.data.features.interop.files import from_files

    return from_files(place, namespace)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError("is there already", where=str(path), fix="another --to") from None
    except OSError as error:
        raise UserError(f"cannot be written: {error}", where=str(path)) from error
