"""Claims about who is let in to the feed's server."""

from __future__ import annotations

import asyncio
import socket
import stat
import time
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from tests.discovery.test_serving_app import OneHousehold

from bowerbird.core.steps import Home
from bowerbird.discovery.serving.app import create_app
from bowerbird.discovery.serving.server import COOKIE, access_token, check, guarded, run

TOKEN = "a-token"


def ask(path: str, **kwargs: object) -> httpx.Response:
    app = guarded(create_app(OneHousehold(), authorise=lambda r: check(r, TOKEN)), TOKEN)

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://feed") as client:
            return await client.get(path, **kwargs)  # type: ignore[arg-type]

    return asyncio.run(go())


@pytest.mark.parametrize("path", ["/feed/1", "/feed/1?token=wrong", "/feed/1?token=%C3%A9"])
def test_nobody_without_the_token_sees_a_page(path: str) -> None:
    assert ask(path).status_code == 401


def test_the_token_in_the_address_lets_in_and_stays_as_a_cookie() -> None:
    seen = ask(f"/feed/1?token={TOKEN}")
    assert seen.status_code == 200
    assert seen.cookies[COOKIE] == TOKEN
    assert ask("/feed/1", headers={"cookie": f"{COOKIE}={TOKEN}"}).status_code == 200


def test_a_program_shows_the_token_as_a_bearer() -> None:
    seen = ask("/v1/feed?household=1", headers={"authorization": f"Bearer {TOKEN}"})
    assert seen.status_code == 200


def test_the_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    home = Home("", "", "", "", str(tmp_path))
    assert access_token(home) == access_token(home)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


@pytest.mark.slow
def test_a_server_ends_when_it_is_asked_to_before_it_began_or_while_it_serves() -> None:
    port, stop = free_port(), Event()
    app = create_app(OneHousehold(), authorise=lambda _: None)
    serving = Thread(target=run, args=(app, stop), kwargs={"host": "127.0.0.1", "port": port})
    serving.start()
    answer = httpx.Client()
    until = time.monotonic() + 30
    while True:
        try:
            assert answer.get(f"http://127.0.0.1:{port}/v1/feed?household=1").status_code == 200
            break
        except httpx.ConnectError:
            assert time.monotonic() < until
            time.sleep(0.05)
    answer.close()
    assert serving.is_alive()
    stop.set()
    serving.join(30)
    assert not serving.is_alive()
    run(app, stop, host="127.0.0.1", port=port)  # returns at once
