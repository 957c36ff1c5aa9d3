"""The application: health, the door, what the rooms mount behind it, and problems as values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from bowerbird.http.headers import Headers
from bowerbird.http.pages import PLACES, Place, problem_page
from bowerbird.http.problems import Problem, Refused, add_problems, answer

_logger = logging.getLogger("bowerbird.http")

Authorise = Callable[[Request], None]

HEALTH = {"/healthz", "/readyz"}
"""What anybody may ask, as those who watch over servers do."""


class Mount(msgspec.Struct, frozen=True):
    """What a room puts into the application.

    title: what it shows, in a few words. home: the path of its first page, to which the pages of
    every room lead. expected: parameter -> what it must be, in words. ready: facts of a room that
    can answer; raises where it cannot. close: called once the server has ended.
    """

    title: str
    home: str
    router: APIRouter
    expected: Mapping[str, str] = {}
    ready: Callable[[], Mapping[str, Any]] = dict
    close: Callable[[], None] = lambda: None


def application(mounts: Sequence[Mount], authorise: Authorise | None) -> FastAPI:
    """The web application over what the rooms mount.

    authorise: called with each request but those for health, whether anything is there or not; it
      raises an `HTTPException` to refuse, and does not wait for anything. None lets everybody in,
      which is for tests and for a machine of one's own.
    """
    # FastAPI's own documentation pages load scripts from elsewhere; /openapi.json stays.
    app = FastAPI(title="Bowerbird", docs_url=None, redoc_url=None)
    _add_health(app, mounts)
    for mount in mounts:
        app.include_router(mount.router)
    if mounts and all(mount.home != "/" for mount in mounts):
        app.get("/", include_in_schema=False)(lambda: _to(mounts[0].home))
    expected = {name: told for mount in mounts for name, told in mount.expected.items()}
    page = partial(_page, mounts)
    refused = add_problems(app, page, expected)
    app.add_middleware(Places, places=tuple(Place(mount.title, mount.home) for mount in mounts))
    if authorise is not None:
        app.add_middleware(Door, authorise=authorise, refused=refused)
    app.add_middleware(Headers)
    return app


def as_json(value: object) -> Response:
    """A view, for programs."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def _add_health(app: FastAPI, mounts: Sequence[Mount]) -> None:
    @app.get("/healthz", summary="The process lives")
    def healthz() -> Response:
        return as_json({"status": "ok"})

    @app.get("/readyz", summary="Every room can answer")
    def readyz() -> Response:
        try:
            facts = {name: fact for one in mounts for name, fact in one.ready().items()}
        except Exception:
            _logger.exception("the server is not ready")
            detail = "what it shows cannot be read; the server's log says why"
            return answer(Problem("Not ready", 503, detail))
        return as_json({"status": "ready", **facts})


class Door:
    """Stands before all that the application has, but health. Plain ASGI, as `Headers`."""

    def __init__(self, app: ASGIApp, authorise: Authorise, refused: Refused) -> None:
        self.app = app
        self._authorise = authorise
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in HEALTH:
            request = Request(scope)
            try:
                self._authorise(request)
            except HTTPException as error:
                await self._refused(request, error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class Places:
    """Tells the pages of rooms where each room's first page is. Plain ASGI, as `Headers`."""

    def __init__(self, app: ASGIApp, places: tuple[Place, ...]) -> None:
        self.app = app
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        before = PLACES.set(self._places)
        try:
            await self.app(scope, receive, send)
        finally:
            PLACES.reset(before)


def _page(mounts: Sequence[Mount], request: Request, problem: Problem) -> str:
    return problem_page(problem, _home(mounts, request))


def _home(mounts: Sequence[Mount], request: Request) -> str:
    """The first page of whose path this is."""
    ours = [one.home for one in mounts if request.url.path.startswith(one.home)]
    return max(ours, key=len, default="/")


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303)
