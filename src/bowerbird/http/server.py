"""The server of a workspace: what the rooms mount, on one address, until it is stopped."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from threading import Event as Flag
from typing import TYPE_CHECKING

from bowerbird.core.errors import SettingsError, UserError
from bowerbird.core.functions import load
from bowerbird.http.door import access_token, check, guarded, token_file
from bowerbird.workspace.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI

    from bowerbird.http.app import Mount

Say = Callable[[str], None]


def serve(workspace: Workspace, *, stop: Flag, say: Say) -> None:
    """Serve what every room mounts until `stop`."""
    serve_routes(workspace, workspace.registry.routes(), stop=stop, say=say)


def serve_routes(workspace: Workspace, routes: Iterable[str], *, stop: Flag, say: Say) -> None:
    """Serve what these functions of rooms mount (``module:name``) until `stop`."""
    # The address first: where it is taken, nothing was opened for nothing.
    with listening(workspace.settings.host, workspace.settings.port) as listener:
        mounts: list[Mount] = []
        try:
            for name in routes:
                mount = load(name)(workspace, say)
                mounts += [] if mount is None else [mount]
            mounts.sort(key=lambda mount: mount.home)  # the first page of all comes first
            _serve(workspace, mounts, listener, stop, say)
        finally:
            for opened in mounts:
                opened.close()


def _serve(
    workspace: Workspace, mounts: list[Mount], listener: socket.socket, stop: Flag, say: Say
) -> None:
    from bowerbird.http.app import application

    if not mounts:
        raise UserError("no room has anything to show yet", fix="bowerbird apply")
    token = access_token(workspace.home)
    place = os.path.relpath(token_file(workspace.home), workspace.loaded.project)
    app = application(mounts, authorise=lambda request: check(request, token, place))
    host, port = listener.getsockname()[:2]
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    for mount in mounts:
        say(f"{mount.title}: http://{at}{mount.home}?token={token}")
    run(guarded(app, token), stop, listener)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises `SettingsError`."""
    if not 0 <= port <= 65535:
        raise SettingsError(
            f"{port} is no port", expected="0 to 65535", fix="--port 0, for a free one"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise SettingsError(
            f"nothing can listen on {host}:{port}: {error.strerror}",
            expected="an address of this machine, and a port that nobody has",
            fix="--port 0, for a free one",
        ) from None


def run(app: FastAPI, stop: Flag, listener: socket.socket) -> None:
    """Serve `app` until `stop`, or until a signal ends it."""
    import uvicorn

    async def look() -> None:
        server.should_exit |= stop.is_set()

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            callback_notify=look,
            timeout_notify=0,  # at each tick, which is a second
            timeout_graceful_shutdown=5,  # a browser may keep its connection for ever
        )
    )
    server.run(sockets=[listener])
