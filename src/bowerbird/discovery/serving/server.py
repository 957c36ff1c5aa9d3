"""The feed's server: opens what the live release pins, and serves it until it is stopped."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

from bowerbird.core.errors import RefError
from bowerbird.core.steps import Home
from bowerbird.discovery.serving.publish import open_reader, published


def serve(
    home: Home,
    made: dict[str, str],
    *,
    host: str,
    port: int,
    say: Callable[[str], None],
) -> None:
    """Serve the first live feed. made: ref -> step kind of what runs have made."""
    import uvicorn

    from bowerbird.discovery.serving.app import create_app

    feeds = [ref for ref in sorted(made) if ref.startswith("feed:")]
    if not feeds:
        raise RefError("there is no feed to serve", fix="bowerbird apply")
    version, job, _ = published(home, feeds[0])
    say(f"opening {feeds[0]} @{version[-12:]}")
    reader = open_reader(job)
    token = access_token(home)
    app = create_app(reader, authorise=lambda request: _check(request, token))
    config = uvicorn.Config(app, host=host, port=port, log_level="warning")
    server = uvicorn.Server(config)
    say(f"listening on http://{host}:{port}/?token={token}")
    server.run()


def access_token(home: Home) -> str:
    """The token of this workspace's servers, made at first start; only its owner can read it."""
    path = Path(home.state) / "token"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text().strip()


def _check(request: object, token: str) -> None:
    """Let in who shows the token: as a bearer, in the query, or in a cookie."""
    from fastapi import HTTPException, Request

    if not isinstance(request, Request):
        raise TypeError("only requests are let in")
    header = request.headers.get("authorization", "")
    shown = header.removeprefix("Bearer ") or request.query_params.get("token", "")
    shown = shown or request.cookies.get("bowerbird_token", "")
    if not hmac.compare_digest(shown, token):
        raise HTTPException(401, "show the token that `bowerbird up` printed: /?token=…")
