"""The backfiller's pages in the web application: look, confirm, carry out, stop, roll back.

A page loads a view of `Desk` and shows it. A form carries the fingerprint of what was shown, so
that nothing else is done than what somebody has seen. Importing this module loads FastAPI.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from bowerbird.core.errors import ConflictError
from bowerbird.data.features.desk import Desk
from bowerbird.http.app import Mount, as_json
from bowerbird.http.headers import new_nonce, scripted
from bowerbird.http.problems import problem_of
from bowerbird.portal import backfill_pages as pages
from bowerbird.workspace.workspace import Workspace

HOME = "/features"
LARGEST_FORM = 4096


def routes(workspace: Workspace, say: Callable[[str], None]) -> Mount:
    """Every backfill and promotion of a workspace, to be mounted."""
    del say
    desk, router = Desk(workspace), APIRouter()
    desk.look_ahead()
    _add_views(router, desk)
    _add_looks(router, desk)
    _add_plans(router, desk)
    _add_rollbacks(router, desk)
    _add_runs(router, desk)
    return Mount("backfills", HOME, router, close=desk.close)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form of ours: a few short texts. A library would bring files with it."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > LARGEST_FORM:
            raise HTTPException(413, f"a form of more than {LARGEST_FORM} bytes")
    return dict(parse_qsl(content.decode("utf-8", "replace")))


Form = Annotated[dict[str, str], Depends(_form)]


def _many(all_: Annotated[bool, Query(alias="all")] = False) -> int | None:
    """How many of a long list are shown."""
    return None if all_ else pages.FEW


Many = Annotated[int | None, Depends(_many)]


def _add_views(router: APIRouter, desk: Desk) -> None:
    """The same values for programs."""

    @router.get("/v1/features", summary="Every backfill and promotion")
    def board() -> Response:
        return as_json(desk.board())

    @router.get("/v1/features/{kind}/{namespace}/{name}", summary="One, with its partitions")
    def one(kind: str, namespace: str, name: str) -> Response:
        return as_json(desk.one(f"{kind}:{namespace}/{name}"))


def _add_looks(router: APIRouter, desk: Desk) -> None:
    @router.get(HOME, include_in_schema=False)
    def board(find: str = "", show: str = "") -> Response:
        nonce = new_nonce()
        return scripted(pages.board(desk.board(), find, show, nonce), nonce)

    @router.get(HOME + "/{kind}/{namespace}/{name}", include_in_schema=False)
    def one(kind: str, namespace: str, name: str, many: Many) -> Response:
        nonce, found = new_nonce(), desk.one(f"{kind}:{namespace}/{name}")
        return scripted(pages.one(found, nonce, many=many), nonce)

    @router.get(HOME + "/{kind}/{namespace}/{name}/statistics", include_in_schema=False)
    def statistics(kind: str, namespace: str, name: str) -> Response:
        return HTMLResponse(pages.statistics(*desk.statistics(f"{kind}:{namespace}/{name}")))


def _add_plans(router: APIRouter, desk: Desk) -> None:
    path = HOME + "/{kind}/{namespace}/{name}/plan"

    @router.get(path, include_in_schema=False)
    def plan(kind: str, namespace: str, name: str, many: Many, release: bool = False) -> Response:
        found = desk.plan(f"{kind}:{namespace}/{name}", release=release)
        return HTMLResponse(pages.plan(found, many=many))

    @router.post(path, include_in_schema=False)
    def carry(kind: str, namespace: str, name: str, form: Form) -> Response:
        ref, release = f"{kind}:{namespace}/{name}", "release" in form
        try:
            run = desk.carry(ref, form.get("confirmed", ""), release=release)
        except ConflictError as error:
            again = desk.plan(ref, release=release)
            return HTMLResponse(pages.plan(again, problem_of(error)), status_code=409)
        return _to_run(run, ref)


def _add_rollbacks(router: APIRouter, desk: Desk) -> None:
    path = HOME + "/{kind}/{namespace}/{name}/rollback"

    @router.get(path, include_in_schema=False)
    def way_back(kind: str, namespace: str, name: str, many: Many, to: str = "") -> Response:
        found = desk.way_back(f"{kind}:{namespace}/{name}", to)
        return HTMLResponse(pages.way_back(found, many=many))

    @router.post(path, include_in_schema=False)
    def roll_back(kind: str, namespace: str, name: str, form: Form) -> Response:
        ref, to = f"{kind}:{namespace}/{name}", form.get("to", "")
        try:
            run = desk.roll_back(ref, to, form.get("confirmed", ""))
        except ConflictError as error:
            again = desk.way_back(ref, to)
            return HTMLResponse(pages.way_back(again, problem_of(error)), status_code=409)
        return _to_run(run, ref)


def _add_runs(router: APIRouter, desk: Desk) -> None:
    @router.get(HOME + "/runs/{run_id}", include_in_schema=False)
    def run(run_id: str) -> Response:
        nonce = new_nonce()
        return scripted(pages.run(desk.run(run_id), nonce), nonce)

    @router.post(HOME + "/runs/{run_id}/stop", include_in_schema=False)
    def stop(run_id: str) -> Response:
        desk.stop(run_id)
        return _to(f"{HOME}/runs/{run_id}")

    @router.post(HOME + "/runs/{run_id}/go-on", include_in_schema=False)
    def go_on(run_id: str) -> Response:
        desk.go_on(run_id)
        return _to(f"{HOME}/runs/{run_id}")


def _to_run(run: str | None, ref: str) -> Response:
    return _to(pages.path_of(ref) if run is None else f"{HOME}/runs/{run}")


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303)
