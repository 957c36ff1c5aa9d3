"""The application: health, the door, what the rooms mount behind it, and problems as values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from bowerbird.http.headers import Headers
from bowerbird.http.pages import problem_page
from bowerbird.http.problems import Problem, add_problems, answer

_logger = logging.getLogger("bowerbird.http")

Authorise = Callable[[Request], None]


class Mount(msgspec.Struct, frozen=True):
    """What a room puts into the application.

    title: what it shows, in a few words. home: the path of its first page.
    expected: parameter -> what it must be, in words. ready: facts of a room that can answer; raises
    where it cannot. close: called once the server has ended.
    """

    title: str
    home: str
    router: APIRouter
    expected: Mapping[str, str] = {}
    ready: Callable[[], Mapping[str, Any]] = dict
    close: Callable[[], None] = lambda: None


def application(mounts: Sequence[Mount], authorise: Authorise | None) -> FastAPI:
    """The web application over what the rooms mount.

    authorise: called with each request but those for health; it raises an `HTTPException` to
      refuse. None lets everybody in, which is for tests and for a machine of one's own.
    """
    # FastAPI's own documentation pages load scripts from elsewhere; /openapi.json stays.
    app = FastAPI(title="Bowerbird", docs_url=None, redoc_url=None)
    door = [Depends(_door(authorise))]
    _add_health(app, mounts)
    for mount in mounts:
        app.include_router(mount.router, dependencies=door)
    if mounts and all(mount.home != "/" for mount in mounts):
        app.get("/", dependencies=door, include_in_schema=False)(lambda: _to(mounts[0].home))
    expected = {name: told for mount in mounts for name, told in mount.expected.items()}
    add_problems(app, lambda request, one: problem_page(one, _home(mounts, request)), expected)
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


def _door(authorise: Authorise | None) -> Authorise:
    def door(request: Request) -> None:
        if authorise is not None:
            authorise(request)

    return door


def _home(mounts: Sequence[Mount], request: Request) -> str:
    """The first page of whose path this is."""
    ours = [one.home for one in mounts if request.url.path.startswith(one.home)]
    return max(ours, key=len, default="/")


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303)
