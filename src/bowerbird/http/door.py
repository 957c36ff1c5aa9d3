"""Who is let in: who shows the workspace's token, and changes things from our own pages only."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bowerbird.core.errors import SettingsError
from bowerbird.core.steps import Home

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.responses import Response

COOKIE = "bowerbird_token"
ONLY_LOOKS = {"GET", "HEAD", "OPTIONS"}


def access_token(home: Home) -> str:
    """The token of this workspace's servers, made at first start; only its owner can read it.

    Raises `SettingsError` where its file is empty: an empty token would let everybody in.
    """
    path = Path(home.state) / "token"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _put_whole(path, secrets.token_urlsafe(24))
    token = path.read_text().strip()
    if not token:
        raise SettingsError(
            "the file of the access token is empty",
            where=str(path),
            fix="remove it, and start the server again: it makes a new one",
        )
    return token


def _put_whole(path: Path, text: str) -> None:
    """Write a file that only its owner can read, unless it is there: others see it whole or not at
    all, and of several who make it at once, the first one's is kept."""
    number, draft = mkstemp(prefix=".token", dir=path.parent)  # its mode is 0600
    try:
        with os.fdopen(number, "w") as file:
            file.write(text)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()


def check(request: Request, token: str) -> None:
    """Let in who shows the token: as a bearer, in the query, or in a cookie.

    What changes something shows a bearer, or the cookie from one of our own pages. A browser sends
    the cookie with whatever another server of this machine made it send, since a site is a name
    without its port: so the cookie alone says who, and not who asked.
    """
    from fastapi import HTTPException

    looks = request.method in ONLY_LOOKS
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    shown = bearer or (request.query_params.get("token", "") if looks else "")
    if not _same(shown or request.cookies.get(COOKIE, ""), token):
        raise HTTPException(401, "show the token that the server's command printed: /?token=…")
    if not (looks or bearer or _from_here(request)):
        raise HTTPException(403, "this was not asked from a page of this server")


def guarded(app: FastAPI, token: str) -> FastAPI:
    """Who came with the token in the address keeps it in a cookie, so that links go on working."""

    @app.middleware("http")
    async def keep(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await go_on(request)
        looks = request.method in ONLY_LOOKS
        if looks and _same(request.query_params.get("token", ""), token):
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response

    return app


def _from_here(request: Request) -> bool:
    """Whether a browser says that a page of this very server asked. Who says nothing is no one."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host", "-")


def _same(shown: str, token: str) -> bool:
    """Whether this is the token; none is like an empty one."""
    return bool(token) and hmac.compare_digest(shown.encode(), token.encode())
