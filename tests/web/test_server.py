"""One server shows what every room has, whether there is a feed or not."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import LETTERS, Project


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
