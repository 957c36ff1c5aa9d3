"""The feed's server: opens what the live release pins, and serves it until it is stopped."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING

from bowerbird.core.errors import RefError
from bowerbird.core.steps import Home
from bowerbird.discovery.serving.publish import open_reader, published

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.responses import Response

COOKIE = "bowerbird_token"


def serve(
    home: Home,
    made: dict[str, str],
    *,
    host: str,
    port: int,
    stop: Flag,
    say: Callable[[str], None],
) -> None:
    """Serve the first live feed until `stop`. made: ref -> step kind of what runs have made."""
    from bowerbird.discovery.serving.app import create_app

    feeds = [ref for ref in sorted(made) if ref.startswith("feed:")]
    if not feeds:
        raise RefError("there is no feed to serve", fix="bowerbird apply")
    version, job, _ = published(home, feeds[0])
    say(f"opening {feeds[0]} @{version[-12:]}")
    reader = open_reader(job)
    token = access_token(home)
    app = guarded(create_app(reader, authorise=lambda request: check(request, token)), token)
    say(f"listening on http://{host}:{port}/?token={token}")
    run(app, stop, host=host, port=port)


def run(app: FastAPI, stop: Flag, *, host: str, port: int) -> None:
    """Serve `app` until `stop`, or until a signal ends it."""
    import uvicorn

    async def look() -> None:
        server.should_exit |= stop.is_set()

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            callback_notify=look,
            timeout_notify=0,  # at each tick, which is a second
        )
    )
    server.run()


def guarded(app: FastAPI, token: str) -> FastAPI:
    """Who came with the token in the address keeps it in a cookie, so that links go on working."""

    @app.middleware("http")
    async def keep(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await go_on(request)
        if _same(request.query_params.get("token", ""), token):
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response

    return app


def access_token(home: Home) -> str:
    """The token of this workspace's servers, made at first start; only its owner can read it."""
    path = Path(home.state) / "token"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text().strip()


def check(request: Request, token: str) -> None:
    """Let in who shows the token: as a bearer, in the query, or in a cookie."""
    from fastapi import HTTPException

    header = request.headers.get("authorization", "")
    shown = header.removeprefix("Bearer ") or request.query_params.get("token", "")
    shown = shown or request.cookies.get(COOKIE, "")
    if not _same(shown, token):
        raise HTTPException(401, "show the token that `bowerbird up` printed: /?token=…")


def _same(shown: str, token: str) -> bool:
    return hmac.compare_digest(shown.encode(), token.encode())
