"""A real server of the backfiller's pages, over a small lake; and a browser's manners."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import httpx

from bowerbird.core.runs import RunState
from bowerbird.data.features.views import only
from bowerbird.engines import EngineKind, open_engine
from bowerbird.http.server import serve_routes
from bowerbird.rooms import registry
from bowerbird.workspace.new import make_project
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace
from tests.cli.conftest import environment
from tests.data.features.shop import SOURCES, events, put, rows, stocked
from tests.data.features.test_promotion import PROMOTED

DAYS = range(20, 24)
ROUTES = ("bowerbird.portal.backfills:routes",)
HOSTILE = "team:<img src=x onerror=alert(1)>"
SLOW = '''
import time
from pathlib import Path

import pyarrow as pa

HERE = Path(__file__).parents[1]

def features(events, asked):
    """Waits until a test lets it go."""
    until = time.monotonic() + 60
    (HERE / "started").touch()
    while not (HERE / "go").exists() and time.monotonic() < until:
        time.sleep(0.02)
    return pa.table({"one": pa.array([1] * asked.num_rows, pa.int64())})
'''
SPECS = (
    PROMOTED
    + f"""
other = Table("shop/other_rows", schema=rows.schema, partition=(day("at"),), sort=("row_id",))
one = FeatureGroup("shop/slow", source=events, key=("user",), function="specs.slow:features",
                   schema={{"one": "long"}})
named = dict(id=("row_id",), features=(spend,))
second = Backfill("shop/second", rows=rows, owner={HOSTILE!r}, description="</p><script>", **named)
moved = Backfill("shop/moved", rows=other, **named)
slow = Backfill("shop/slow", rows=rows, id=("row_id",), features=(one,), cells_a_commit=2, audit=0)
narrow = Table("shop/narrow", schema=rows.schema | {{"spend__sum_7d": "long"}},
               partition=(day("at"),), sort=("row_id",))
strict = Promotion("shop/strict", into=narrow, rows=rows, staged=(staged,),
                   gates=(Range("spend__sum_7d", low=0, high=3),))
"""
)


class Browser:
    """Asks a server as a browser does, which keeps the cookie and says from where it comes."""

    def __init__(self, address: str) -> None:
        self.base, _, self.token = address.partition("/features?token=")
        self._client = httpx.Client(base_url=self.base, follow_redirects=True, timeout=60)
        self._client.get(f"/features?token={self.token}").raise_for_status()

    def get(self, path: str) -> str:
        """A page. What is shown escaped is read as a person reads it."""
        answer = self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def read(self, path: str) -> str:
        """A page as a person reads it."""
        return plain(self.get(path))

    def press(self, page: str, **more: str) -> httpx.Response:
        """The form of a page, sent; after it, wherever it leads."""
        (form,) = re.findall(r'<form method="post".*?</form>', page, re.DOTALL)
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form)) | more
        (to,) = re.findall(r'action="([^"]*)"', form)
        return self.send(to, fields)

    def send(self, path: str, fields: dict[str, str] | None = None) -> httpx.Response:
        return self._client.post(path, data=fields or {}, headers={"origin": self.base})

    def close(self) -> None:
        self._client.close()


def plain(page: str) -> str:
    """The words of a page."""
    text = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def made(folder: Path) -> Workspace:
    """A shop in which one promotion was made, from two backfills, and made again in part."""
    make_project(folder)
    (folder / "specs" / "slow.py").write_text(SLOW)
    shop = stocked(folder, DAYS, SPECS)
    put(shop, "table:shop/other_rows", rows(DAYS))
    for _ in range(2):
        for ref in ("backfill:shop/spend", "backfill:shop/more", "promotion:shop/training"):
            carry(shop, ref)
        put(shop, SOURCES[0], events([22], each=14, seed=8))
    return shop


def carry(shop: Workspace, ref: str) -> None:
    """One's part of the plan, as the command carries it out."""
    run = shop.apply(only(shop.plan(), shop.specs[ref].spec))
    assert run is None or run.state == RunState.DONE, [step.error for step in run.steps]


def opened(folder: Path) -> Workspace:
    loaded = load_settings(folder, flags={"port": 0, "principal": "user:ada"}, variables={})
    return Workspace(
        loaded,
        registry(),
        lambda loaded: open_engine(EngineKind.THREADS, workers=2, paths=(loaded.project,)),
    )


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a server of the project shows its backfills."""
    said: list[str] = []
    stop, heard = Event(), Event()

    def say(text: str) -> None:
        said.append(text)
        heard.set()

    shop = opened(folder)
    server = Thread(target=serve_routes, args=(shop, ROUTES), kwargs={"stop": stop, "say": say})
    server.start()
    try:
        assert heard.wait(30)
        yield said[0].removeprefix("backfills: ")
    finally:
        stop.set()
        server.join(60)
        shop.close()
        assert not server.is_alive()


@contextmanager
def process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, in a process of its own, and the address that it says."""
    command = [sys.executable, "-m", "bowerbird", "features", "page", "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            said = json.loads(server.stdout.readline())["text"]
            yield server, said.removeprefix("backfills: ")
        finally:
            server.kill()


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not true():
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.05)
