"""The headers of every answer: nothing from elsewhere, no frame around it, no copy kept."""

from __future__ import annotations

import secrets
import time

from fastapi.responses import HTMLResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": POLICY,
    # To ourselves the origin is told: what changes something is known by it (`door.check`).
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}


class Headers:
    """Adds the security headers and how long it took. Plain ASGI: Starlette's own base class for
    middleware costs a task and two queues a request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                took = (time.perf_counter() - start) * 1000
                headers["Server-Timing"] = f"total;dur={took:.1f}"
            await send(message)

        await self.app(scope, receive, stamped)


def new_nonce() -> str:
    """A word that only this answer's own script bears."""
    return secrets.token_urlsafe(16)


def scripted(html: str, nonce: str, status: int = 200) -> HTMLResponse:
    """A page with a script of its own, which may ask this server and nobody else."""
    policy = f"{POLICY}; script-src 'nonce-{nonce}'; connect-src 'self'"
    return HTMLResponse(html, status, {"Content-Security-Policy": policy})
