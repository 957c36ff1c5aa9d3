"""Who is let in: who shows the workspace's token, and changes things from our own pages only."""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from bowerbird.core.errors import SettingsError
from bowerbird.core.steps import Home

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ONLY_LOOKS = {"GET", "HEAD", "OPTIONS"}


def access_token(home: Home) -> str:
    """The token of this workspace's servers, made at first start; only its owner can read it.

    Raises `SettingsError` where its file is empty: an empty token would let everybody in.
    """
    path = token_file(home)
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


def token_file(home: Home) -> Path:
    """Where the token lies."""
    return Path(home.state) / "token"


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


def cookie_of(token: str) -> tuple[str, str]:
    """The name and the value of the cookie that stands for a token.

    A browser keeps one cookie of a name for all ports of a machine, so each workspace has a name of
    its own. The value shows that somebody had the token, and is not the token.
    """
    return f"bowerbird_{_derived(token, 'name')[:12]}", _derived(token, "value")


def check(request: Request, token: str, place: str = "the project's state") -> None:
    """Let in who shows the token: as a bearer, in the query, or in a cookie. place: where it is
    found, for who does not.

    What changes something shows a bearer, or the cookie from one of our own pages. A browser sends
    the cookie with whatever another server of this machine made it send, since a site is a name
    without its port: so the cookie alone says who, and not who asked.
    """
    from fastapi import HTTPException

    from bowerbird.http.problems import short

    looks = request.method in ONLY_LOOKS
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    bearer = bearer if scheme == "Bearer" else ""
    shown = bearer or (request.query_params.get("token", "") if looks else "")
    name, value = cookie_of(token)
    known = _same(shown, token) if shown else _same(request.cookies.get(name, ""), value)
    if not (token and known):  # an empty token lets nobody in
        raise HTTPException(401, _wanted(short(request.url.path), place, looks=looks))
    if not (looks or bearer or _from_here(request)):
        raise HTTPException(403, "this was not asked from a page of this server")


def _wanted(path: str, place: str, *, looks: bool) -> str:
    """What to do for who did not show the token."""
    how = f"open {path}" if looks else f"ask for {path} from a page that was opened"
    return f"{how} with ?token=…: the server's command printed the token, and it lies in {place}"


def guarded(app: FastAPI, token: str) -> FastAPI:
    """Who came with the token in the address keeps a cookie, so that links go on working."""
    app.add_middleware(Kept, token=token)
    return app


class Kept:
    """Gives the cookie to who shows the token in the address. Plain ASGI, as `headers.Headers`."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._token = token
        self._cookie = "{}={}; HttpOnly; Path=/; SameSite=strict".format(*cookie_of(token)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def kept(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"set-cookie", self._cookie)]
            await send(message)

        await self.app(scope, receive, kept if self._shown(scope) else send)

    def _shown(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] not in ONLY_LOOKS:
            return False
        asked = parse_qs(scope["query_string"].decode("latin-1"))
        return bool(self._token) and _same(asked.get("token", [""])[-1], self._token)


def _from_here(request: Request) -> bool:
    """Whether a browser says that a page of this very server asked. Who says nothing is no one."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        origin = urlsplit(request.headers.get("origin", ""))
    except ValueError:  # half an address, as "http://["
        return False
    return origin.netloc == request.headers.get("host", "-")


def _same(shown: str, wanted: str) -> bool:
    return hmac.compare_digest(shown.encode(), wanted.encode())


def _derived(token: str, what: str) -> str:
    return hmac.new(token.encode(), f"cookie's {what}".encode(), "sha256").hexdigest()
