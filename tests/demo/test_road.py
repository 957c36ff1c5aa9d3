"""The whole road on a part of the households: tables to feed and report, killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bowerbird.demo.making import make_demo


def small_project(folder: Path) -> None:
    """The demo's project, its sources cut to a tenth of the households and the late weeks."""
    make_demo(folder)
    tables = folder / "specs" / "tables.py"
    text = tables.read_text()
    whole = 'rows = pq.read_table(DATA / "transactions.parquet")'
    assert whole in text
    text = text.replace(whole, f"{whole}\n    rows = rows.filter(pc.field('household_id') < 250)")
    whole = 'return pq.read_table(DATA / "promotions.parquet")'
    assert whole in text
    text = text.replace(whole, whole[:-1] + ", filters=pc.field('week') > 36)")
    tables.write_text(text)


def bowerbird(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bowerbird", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def killed_in(folder: Path, step: str) -> None:
    """Start an apply, and kill it once the step runs."""
    started = subprocess.Popen(
        [sys.executable, "-m", "bowerbird", "apply"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    logs = folder / ".bowerbird" / "state" / "logs"
    until = time.monotonic() + 200
    while time.monotonic() < until and started.poll() is None:
        if any(step in path.read_text() for path in logs.rglob("*.log")):
            break
        time.sleep(0.2)
    assert started.poll() is None, "it ended before it could be killed"
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was killed in the fit of its ranker, and then carried to its end."""
    folder = tmp_path_factory.mktemp("road") / "shop"
    small_project(folder)
    killed_in(folder, "model.fit model:shop/ranker attempt a1")
    ended = bowerbird(folder.parent, "demo", "shop")
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_was_killed_goes_on_to_the_report(shop: Path) -> None:
    view = json.loads((shop / "report" / "report.json").read_text())
    assert [one["page"]["items"] != [] for one in view["households"]] == [True] * 3
    assert {(c["protocol"], c["scope"]) for c in view["comparisons"]} == {
        (protocol, scope) for protocol in ("trip", "household") for scope in ("all", "new")
    }
    assert view["lineage"][0]["ref"] == "feed:shop/home"
    (run,) = json.loads(bowerbird(shop, "status", "--json").stdout)
    fitted = next(s for s in run["steps"] if s["attempts"] == 2)
    assert fitted["state"] == "done"


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(shop: Path) -> None:
    ended = bowerbird(shop, "apply")
    assert (ended.returncode, ended.stdout.strip()) == (0, "nothing to do")


@pytest.mark.slow
def test_a_changed_spec_makes_only_what_it_affects(shop: Path) -> None:
    feed = shop / "specs" / "feed.py"
    before = feed.read_text()
    feed.write_text(before.replace("k=50,", "k=40,"))
    plan = json.loads(bowerbird(shop, "plan", "--json").stdout)
    feed.write_text(before)
    targets = [step["target"] for step in plan["steps"]]
    assert targets == ["neighbors:shop/similar", "feed:shop/home"]
    assert plan["steps"][0]["reason"] == "stale: Neighbors.k: (default) → 40"


@pytest.mark.slow
def test_why_leads_from_the_feed_to_the_tables(shop: Path) -> None:
    told = bowerbird(shop, "why", "feed:shop/home")
    assert told.returncode == 0
    for ref in ("model:shop/ranker", "training_set:shop/trips", "table:shop/purchases"):
        assert ref in told.stdout
    assert len(told.stdout.splitlines()) <= 40
