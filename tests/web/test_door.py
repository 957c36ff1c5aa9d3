"""Claims about who is let in, and who may change something."""

from __future__ import annotations

import asyncio
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from bowerbird.core.errors import SettingsError
from bowerbird.core.steps import Home
from bowerbird.discovery.serving.app import create_app
from bowerbird.discovery.serving.app import mount as feed
from bowerbird.http.app import Mount, application
from bowerbird.http.door import access_token, check, cookie_of, guarded
from bowerbird.http.server import listening, run
from tests.discovery.test_serving_app import OneHousehold

TOKEN = "a-token"
COOKIE, VALUE = cookie_of(TOKEN)


def ask(path: str, method: str = "GET", **kwargs: object) -> httpx.Response:
    app = guarded(create_app(OneHousehold(), authorise=lambda r: check(r, TOKEN)), TOKEN)
    return asked(app, method, path, **kwargs)


def change(**headers: str) -> int:
    """How a request that changes something ends."""
    router = APIRouter()
    router.post("/changed")(lambda: "changed")
    app = application([Mount("one", "/one", router)], lambda r: check(r, TOKEN))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asked(app, "POST", "/changed?token=" + TOKEN, headers=named).status_code


def asked(app: FastAPI, method: str, path: str, **kwargs: object) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://feed") as client:
            return await client.request(method, path, **kwargs)  # type: ignore[arg-type]

    return asyncio.run(go())


@pytest.mark.parametrize("path", ["/feed/1", "/feed/1?token=wrong", "/feed/1?token=%C3%A9"])
def test_nobody_without_the_token_sees_a_page(path: str) -> None:
    assert ask(path).status_code == 401


def test_the_token_in_the_address_lets_in_and_stays_as_a_cookie() -> None:
    seen = ask(f"/feed/1?token={TOKEN}")
    assert seen.status_code == 200
    assert seen.cookies[COOKIE] == VALUE
    assert ask("/feed/1", headers={"cookie": f"{COOKIE}={VALUE}"}).status_code == 200


def test_the_cookie_is_not_the_token_and_is_given_to_nobody_without_it() -> None:
    given = ask(f"/feed/1?token={TOKEN}").headers["set-cookie"]
    assert TOKEN not in given
    assert given.endswith("; HttpOnly; Path=/; SameSite=strict")
    assert "set-cookie" not in ask("/feed/1?token=wrong").headers


def test_two_workspaces_on_one_machine_do_not_sign_each_other_out() -> None:
    jar = httpx.Cookies()  # a browser keeps cookies of a host, whatever the port
    for token in (TOKEN, "another"):
        app = guarded(create_app(OneHousehold(), lambda r, at=token: check(r, at)), token)
        jar.update(asked(app, "GET", f"/feed/1?token={token}").cookies)
    assert len(jar) == 2
    shown = "; ".join(f"{name}={value}" for name, value in jar.items())
    assert ask("/feed/1", headers={"cookie": shown}).status_code == 200


@pytest.mark.parametrize("path", ["/openapi.json", "/nothing", "/v1/nothing", "/", "/healthz/more"])
def test_nobody_without_the_token_learns_what_is_there(path: str) -> None:
    refused = ask(path)
    assert refused.status_code == 401
    assert "default-src 'none'" in refused.headers["content-security-policy"]
    assert ask(path, "POST").status_code == 401


def test_who_is_refused_is_told_for_which_address_and_where_the_token_lies() -> None:
    app = create_app(OneHousehold(), authorise=lambda r: check(r, TOKEN, ".state/token"))
    told = asked(app, "GET", "/v1/feed?household=1").json()["detail"]
    assert told == (
        "open /v1/feed with ?token=…: the server's command printed the token, and it lies in "
        ".state/token"
    )
    changed = asked(app, "POST", "/feed/1").text
    assert "ask for /feed/1 from a page that was opened with ?token=…" in changed
    assert "Whose feed?" not in changed
    assert ">The feed<" not in changed  # nor what else there is


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_anybody_may_ask_for_health(path: str) -> None:
    assert ask(path).status_code == 200


def test_a_program_shows_the_token_as_a_bearer() -> None:
    seen = ask("/v1/feed?household=1", headers={"authorization": f"Bearer {TOKEN}"})
    assert seen.status_code == 200


def test_the_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    home = Home("", "", "", "", str(tmp_path))
    assert access_token(home) == access_token(home)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_of_servers_that_start_at_once_all_have_the_same_token(tmp_path: Path) -> None:
    def start(_: int) -> str:
        meet.wait(10)
        return access_token(home)

    for n in range(20):
        meet, home = Barrier(4), Home("", "", "", "", str(tmp_path / str(n)))
        with ThreadPoolExecutor(4) as pool:
            (token,) = set(pool.map(start, range(4)))
        assert token
        assert [path.name for path in (tmp_path / str(n)).iterdir()] == ["token"]


def test_an_empty_token_is_refused_and_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    with pytest.raises(SettingsError, match="empty"):
        access_token(Home("", "", "", "", str(tmp_path)))
    app = create_app(OneHousehold(), authorise=lambda request: check(request, ""))
    assert asked(app, "GET", "/feed/1").status_code == 401


KEPT = f"{COOKIE}={VALUE}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),  # the token in the address lets nobody change anything
        ({"cookie": KEPT}, 403),
        ({"cookie": KEPT, "origin": "http://feed"}, 200),
        ({"cookie": KEPT, "origin": "http://feed:81"}, 403),  # the same site to a browser
        ({"cookie": KEPT, "origin": "null"}, 403),
        ({"cookie": KEPT, "sec_fetch_site": "same-origin"}, 200),
        ({"cookie": KEPT, "sec_fetch_site": "same-site", "origin": "http://feed"}, 403),
        ({"cookie": KEPT, "sec_fetch_site": "cross-site"}, 403),
        ({"cookie": KEPT, "origin": "http://["}, 403),  # half an address
        ({"cookie": f"{COOKIE}={TOKEN}", "origin": "http://feed"}, 401),
        ({"cookie": f"{COOKIE}=wrong", "origin": "http://feed"}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": "Basic YTpi", "cookie": KEPT, "origin": "http://feed"}, 200),
        ({"authorization": TOKEN}, 401),
        ({"authorization": "Bearer wrong", "cookie": KEPT, "origin": "http://feed"}, 401),
    ],
)
def test_only_a_program_with_the_token_or_a_page_of_this_server_changes_something(
    headers: dict[str, str], status: int
) -> None:
    assert change(**headers) == status


def test_rooms_share_one_application_and_a_problem_leads_back_to_the_right_one() -> None:
    router = APIRouter()
    router.get("/features")(lambda: "all of them")
    app = application([feed(OneHousehold()), Mount("backfills", "/features", router)], None)
    assert "Whose feed?" in asked(app, "GET", "/").text
    for path in ("/", "/feed/1", "/product/8", "/features/nothing"):  # from each to the others
        page = asked(app, "GET", path).text
        assert re.search(
            r'<a href="/"[^>]*>The feed</a><a href="/features"[^>]*>Backfills</a>', page
        )
    assert '<a href="/" aria-current="page">The feed' in asked(app, "GET", "/feed/1").text
    assert asked(app, "GET", "/features").json() == "all of them"
    assert asked(app, "GET", "/readyz").json() == {"status": "ready", "households": 1}
    assert 'href="/features">Back' in asked(app, "GET", "/features/nothing").text
    assert 'href="/">Back' in asked(app, "GET", "/product/8").text


def test_a_port_that_is_taken_is_told_and_none_is_a_free_one() -> None:
    with listening("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with pytest.raises(SettingsError, match=f"listen on 127.0.0.1:{port}"):
            listening("127.0.0.1", port)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_number_that_is_no_port_is_told_with_those_that_are(port: int) -> None:
    with pytest.raises(SettingsError, match=f"{port} is no port") as refused:
        listening("127.0.0.1", port)
    assert refused.value.expected == "0 to 65535"


@pytest.mark.slow
def test_a_server_ends_when_it_is_asked_to_before_it_began_or_while_it_serves() -> None:
    stop, held = Event(), listening("127.0.0.1", 0)
    port = held.getsockname()[1]
    app = create_app(OneHousehold(), authorise=lambda _: None)
    serving = Thread(target=run, args=(app, stop, held))
    serving.start()
    with httpx.Client() as answer:
        seen = answer.get(f"http://127.0.0.1:{port}/v1/feed?household=1", timeout=30)
        assert seen.status_code == 200
    assert serving.is_alive()
    stop.set()
    serving.join(30)
    assert not serving.is_alive()
    with listening("127.0.0.1", 0) as other:
        run(app, stop, other)  # returns at once
