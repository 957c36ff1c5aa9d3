"""The feed server: `/v1/feed`, `/v1/related`, health, and the pages that a person looks at.

Importing this module loads FastAPI and Jinja2. Errors are problem values (RFC 9457) that name the
parameter and what was expected: as JSON under `/v1`, as a page elsewhere. Nothing that a request
can hold makes a traceback.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bowerbird.core.errors import UserError
from bowerbird.discovery.serving import views
from bowerbird.discovery.serving.page import MAX_K, FeedReader, Problem

_logger = logging.getLogger("bowerbird.serving")

Authorise = Callable[[Request], None]

_LARGEST = 2**63 - 1
_EXPECTED = {
    "household": "a household's number, as in household=1823",
    "product": "a product's number, as in product=1082185",
    "k": f"a whole number from 1 to {MAX_K}",
}
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}

Household = Annotated[int, Query(ge=0, le=_LARGEST, description="Whose feed.")]
ProductId = Annotated[int, Query(ge=0, le=_LARGEST, description="Whose neighbours.")]
K = Annotated[int, Query(ge=1, le=MAX_K, description="How many items.")]


def create_app(feed: FeedReader, authorise: Authorise | None) -> FastAPI:
    """The web application over one feed.

    authorise: called with each request but those for health; it raises an `HTTPException` to
      refuse. None lets everybody in, which is for tests and for a machine of one's own.
    """
    # FastAPI's own documentation pages load scripts from elsewhere; /openapi.json stays.
    app = FastAPI(title="Bowerbird feed", docs_url=None, redoc_url=None)
    door = [Depends(_door(authorise))]
    _add_health(app, feed)
    _add_api(app, feed, door)
    _add_pages(app, feed, door)
    _add_problems(app)

    app.add_middleware(_Headers)
    return app


class _Headers:
    """Adds the security headers and how long it took. Plain ASGI: Starlette's own base class for
    middleware costs a task and two queues a request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_SECURITY)
                took = (time.perf_counter() - start) * 1000
                headers["Server-Timing"] = f"total;dur={took:.1f}"
            await send(message)

        await self.app(scope, receive, stamped)


def _add_health(app: FastAPI, feed: FeedReader) -> None:
    @app.get("/healthz", summary="The process lives")
    def healthz() -> Response:
        return _json({"status": "ok"})

    @app.get("/readyz", summary="Feeds can be served")
    def readyz() -> Response:
        try:
            households = len(feed.households())
        except Exception:
            _logger.exception("the feed is not ready")
            detail = "the feed's data cannot be read; the server's log says why"
            return _problem(Problem("Not ready", 503, detail))
        return _json({"status": "ready", "households": households})


def _add_api(app: FastAPI, feed: FeedReader, door: list[Any]) -> None:
    @app.get("/v1/feed", dependencies=door, summary="The ranked page of a household")
    def feed_page(household: Household, k: K = 20) -> Response:
        return _json(feed.page(household, k))

    @app.get("/v1/related", dependencies=door, summary="The neighbours of a product")
    def related(product: ProductId, k: K = 20) -> Response:
        found = feed.related(product, k)
        if found is None:
            detail = f"product {product} is not known"
            problem = Problem("Not found", 404, detail, "product", _EXPECTED["product"])
            return _problem(problem)
        return _json(found)


def _add_pages(app: FastAPI, feed: FeedReader, door: list[Any]) -> None:
    @app.get("/", dependencies=door, include_in_schema=False)
    def home(household: str | None = None) -> Response:
        if household is not None:
            return RedirectResponse(f"/feed/{_searched(household)}", status_code=303)
        return HTMLResponse(views.home(feed))

    @app.get("/feed/{household}", dependencies=door, include_in_schema=False)
    def household_page(household: Annotated[int, Path(ge=0, le=_LARGEST)], k: K = 24) -> Response:
        return HTMLResponse(views.household(feed, household, k))

    @app.get("/product/{product}", dependencies=door, include_in_schema=False)
    def product_page(product: Annotated[int, Path(ge=0, le=_LARGEST)], k: K = 24) -> Response:
        found = feed.related(product, k)
        if found is None:
            raise HTTPException(404, f"product {product} is not known")
        return HTMLResponse(views.product(found))


def _add_problems(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = str(first["loc"][-1])
        given = "is missing" if first["type"] == "missing" else f"is {_short(first.get('input'))}"
        problem = Problem(
            "Bad request", 400, f"{name} {given}", name, _EXPECTED.get(name, first["msg"])
        )
        return _shown(request, problem)

    @app.exception_handler(UserError)
    def refused(request: Request, error: UserError) -> Response:
        problem = Problem(
            "Bad request", 400, error.problem, error.where or "", error.expected or ""
        )
        return _shown(request, problem)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        title = HTTPStatus(error.status_code).phrase
        detail = error.detail if error.detail != title else f"{request.method} {request.url.path}"
        response = _shown(request, Problem(title, error.status_code, detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        _logger.error("%s failed", request.url.path, exc_info=error)
        detail = "something is wrong with the server; its log says what"
        response = _shown(request, Problem("Server error", 500, detail))
        response.headers.update(_SECURITY)
        return response


def _door(authorise: Authorise | None) -> Authorise:
    def door(request: Request) -> None:
        if authorise is not None:
            authorise(request)

    return door


def _searched(text: str) -> int:
    """The number in what somebody typed into the search box."""
    known = text.strip().lstrip("#").strip()
    if not (known.isascii() and known.isdigit() and len(known) <= len(str(_LARGEST))):
        problem = f"household is {_short(text)}"
        raise UserError(problem, where="household", expected=_EXPECTED["household"])
    return int(known)


def _shown(request: Request, problem: Problem) -> Response:
    if request.url.path.startswith(("/v1/", "/healthz", "/readyz", "/openapi.json")):
        return _problem(problem)
    return HTMLResponse(views.problem(problem), status_code=problem.status)


def _problem(problem: Problem) -> Response:
    return Response(
        msgspec.json.encode(problem), problem.status, media_type="application/problem+json"
    )


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _short(given: object) -> str:
    text = str(given)
    return text if len(text) <= 60 else f"{text[:57]}..."
