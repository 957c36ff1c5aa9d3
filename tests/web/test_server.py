"""One server shows what every room has, whether there is a feed or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event

import httpx
import pytest
from fastapi import APIRouter

from bowerbird.engines import EngineKind, open_engine
from bowerbird.http.app import Mount
from bowerbird.http.server import serve_routes
from bowerbird.rooms import registry
from bowerbird.workspace.new import make_project
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace
from tests.cli.conftest import LETTERS, Project


def front(workspace: Workspace, say: Callable[[str], None]) -> Mount:
    return Mount("the feed", "/", APIRouter())


def back(workspace: Workspace, say: Callable[[str], None]) -> Mount:
    return Mount("backfills", "/features", APIRouter())


def test_the_front_page_is_said_first(tmp_path: Path) -> None:
    make_project(tmp_path)
    loaded = load_settings(tmp_path, flags={"port": 0}, variables={})
    workspace = Workspace(loaded, registry(), lambda _: open_engine(EngineKind.THREADS))
    said: list[str] = []
    stop = Event()
    stop.set()
    routes = [f"{__name__}:back", f"{__name__}:front"]
    serve_routes(workspace, routes, stop=stop, say=said.append)
    workspace.close()
    assert [one.partition(":")[0] for one in said] == ["the feed", "backfills"]


@pytest.mark.slow
def test_a_project_without_a_feed_has_the_backfillers_page(tmp_path: Path) -> None:
    project = Project(tmp_path / "shop")
    project.specs(tables_py=LETTERS)
    server = project.start("up", "--port", "0", "--json")
    try:
        assert server.stdout is not None
        said = ""
        while "token=" not in said:
            said = json.loads(server.stdout.readline())["text"]
        assert said.startswith("backfills: http://127.0.0.1:")
        base, _, token = said.removeprefix("backfills: ").partition("/features?token=")
        with httpx.Client(base_url=base, follow_redirects=True) as browser:
            page = browser.get(f"/?token={token}")
            assert page.url.path == "/features"
            assert "No backfill and no promotion is declared." in page.text
            assert browser.get("/readyz").json()["status"] == "ready"
    finally:
        server.terminate()
        server.communicate(timeout=30)
