"""What went wrong, as a value (RFC 9457): JSON for programs, a page for people; no traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from bowerbird.core.errors import (
    BowerbirdError,
    ConflictError,
    RefError,
    RunError,
    UserError,
    WorkspaceError,
)
from bowerbird.http.headers import SECURITY

_logger = logging.getLogger("bowerbird.http")

_FOR_PROGRAMS = ("/v1/", "/healthz", "/readyz", "/openapi.json")
_STATUS = (
    (RefError, 404),
    (UserError, 400),
    (ConflictError, 409),
    (WorkspaceError, 503),
    (RunError, 500),
)


Refused = Callable[[Request, HTTPException], Response]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error in a response, with the parameter or place that it is about, and what to do."""

    title: str
    status: int
    detail: str
    parameter: str = ""
    expected: str = ""
    fix: str = ""


def problem_of(error: BowerbirdError) -> Problem:
    """An error of the house, as a response tells it."""
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    title = HTTPStatus(status).phrase
    told = (error.where or "", error.expected or "", error.fix or "")
    return Problem(title, status, error.problem, *told)


def answer(problem: Problem) -> Response:
    """For programs."""
    content = msgspec.json.encode(problem)
    return Response(content, problem.status, media_type="application/problem+json")


def add_problems(
    app: FastAPI, page: Callable[[Request, Problem], str], expected: Mapping[str, str]
) -> Refused:
    """Let everything that a request can raise end as a problem. page: for people.

    expected: parameter -> what it must be, in words. Returns the answer to an `HTTPException`, for
    who stands before the routes.
    """

    def shown(request: Request, problem: Problem) -> Response:
        if request.url.path.startswith(_FOR_PROGRAMS):
            return answer(problem)
        return HTMLResponse(page(request, problem), status_code=problem.status)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = str(first["loc"][-1])
        given = "is missing" if first["type"] == "missing" else f"is {short(first.get('input'))}"
        wanted = expected.get(name, first["msg"])
        return shown(request, Problem("Bad request", 400, f"{name} {given}", name, wanted))

    @app.exception_handler(BowerbirdError)
    def refused(request: Request, error: BowerbirdError) -> Response:
        return shown(request, problem_of(error))

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        title = HTTPStatus(error.status_code).phrase
        detail = error.detail if error.detail != title else f"{request.method} {request.url.path}"
        response = shown(request, Problem(title, error.status_code, detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        _logger.error("%s failed", request.url.path, exc_info=error)
        detail = "something is wrong with the server; its log says what"
        response = shown(request, Problem("Server error", 500, detail))
        response.headers.update(SECURITY)
        return response

    return http


def short(given: object) -> str:
    """What somebody gave, in so few letters that a line holds it."""
    text = str(given)
    return text if len(text) <= 60 else f"{text[:57]}..."
