"""Claims about the backfiller's pages, through a real server over a small lake."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bowerbird.http.door import cookie_of
from bowerbird.lake import Lake, TableLog, read
from bowerbird.portal import backfill_pages
from tests.data.features.shop import put, rows
from tests.portal.backfill_world import (
    HOSTILE,
    Browser,
    made,
    opened,
    plain,
    process,
    served,
    until,
)

pytestmark = pytest.mark.slow
TRAINING = "/features/promotion/shop/training"
SLOW = "/features/backfill/shop/slow"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("backfills") / "shop"
    place.mkdir()
    made(place)
    return place


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    with served(folder) as address:
        asking = Browser(address)
        yield asking
        asking.close()


def lines(browser: Browser) -> dict[str, str]:
    """What the first page says of each."""
    table = browser.get("/features").partition("<tbody>")[2].partition("</tbody>")[0]
    found = [plain(row) for row in table.split("<tr>")[1:]]
    return {row.split()[0]: row for row in found}


def lake(folder: Path) -> Lake:
    return Lake(opened(folder).home)


def ended(browser: Browser, run: httpx.Response) -> str:
    """The page of a run, once it has ended."""
    assert run.status_code == 200, run.text
    assert "/features/runs/" in str(run.url), run.url
    until(lambda: " data-moving>" not in browser.get(run.url.path))
    return browser.read(run.url.path)


def test_the_first_page_shows_every_backfill_and_promotion(browser: Browser) -> None:
    found = lines(browser)
    assert len(found) == 7
    assert "to do" in found["backfill:shop/spend"]
    assert "stale: table:shop/events changed" in found["backfill:shop/spend"]
    assert "reads table:shop/rows, feature_group:shop/spend" in found["backfill:shop/spend"]
    assert "into table:shop/training" in found["promotion:shop/training"]
    assert "0 of 4 4 24 not known Backfill…" in found["backfill:shop/second"]
    assert "a worker that must start first comes on top" in browser.read("/features")
    assert len(browser.get("/features?find=moved").split("<tr>")) == 3  # its head, and it


def test_a_page_of_one_says_how_each_partition_stands_and_why(browser: Browser) -> None:
    page = browser.read("/features/backfill/shop/spend")
    assert "2 stale table:shop/events changed partition rows at_day=1970-01-23 6" in page
    assert "2 current" in page
    versions = page.partition(" Versions ")[2].partition(" Runs ")[0]
    assert "staged" in versions  # nobody reads it yet, so it is not live
    assert "live" not in versions
    assert "user:" in versions
    assert " UTC live " in browser.read(TRAINING).partition(" Versions ")[2]


def gates(page: str) -> str:
    """What a page says of the gates."""
    return plain(page).partition(" What the gates found ")[2].split(" Partitions ")[0]


def test_what_all_gates_found_is_told_the_same_on_both_pages_of_a_promotion(
    browser: Browser,
) -> None:
    one = gates(browser.get(TRAINING))
    assert "passed visits__n Drift PSI" in one
    for of_the_whole in ("RowCount 12 rows, 12 expected", "NoDuplicates no key", "NoLeakage no"):
        assert f"the table {of_the_whole}" in one
    page = browser.get(f"{TRAINING}/statistics")
    assert one.strip() == gates(page).split(" Columns ")[0].strip()
    count = re.findall(r"(\d+) passed ", one)[0]
    assert f"{count} checks passed of what was promoted last." in plain(page)
    taken = browser.read("/features/backfill/shop/more/statistics")
    assert f"{count} checks passed of what was promoted last." in taken


def test_long_lists_say_how_much_more_there_is_and_show_all_if_asked(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_pages, "FEW", 1)
    for path in (
        "/features/backfill/shop/spend",
        f"{TRAINING}/rollback",
        "/features/backfill/shop/second/plan",
    ):
        page = browser.get(path)
        (more,) = set(re.findall(r'more. <a class="link" href="([^"]+)">Show all</a>', page))
        assert re.search(r"and \d more. Show all", plain(page))
        every = browser.get(html.unescape(more))
        assert "Show all" not in every
        assert every.count("at_day=") > page.count("at_day=")


def test_who_does_not_show_the_token_sees_and_does_nothing(browser: Browser, folder: Path) -> None:
    with httpx.Client(base_url=browser.base) as stranger:
        told = plain(stranger.get(TRAINING).text)
        (lies,) = re.findall(rf"open {TRAINING} with \?token=…: .* lies in (\S+)", told)
        assert (folder / lies).read_text() == browser.token
        for path in ("/features", TRAINING, "/v1/features", "/features/runs/last", "/"):
            assert stranger.get(path).status_code == 401
        for path in (f"{TRAINING}/plan", f"{TRAINING}/rollback", "/features/runs/last/stop"):
            sent = stranger.post(f"{path}?token={browser.token}", headers={"origin": browser.base})
            assert sent.status_code == 401
        assert stranger.get("/healthz").status_code == 200


def test_what_another_page_sends_is_refused(browser: Browser, folder: Path) -> None:
    before = len(opened(folder).ledger.runs())
    cookie = {"cookie": "=".join(cookie_of(browser.token))}
    confirmed = re.findall(r'value="(\w{32})"', browser.get("/features/backfill/shop/second/plan"))
    for origin in ({"origin": "http://127.0.0.1:1"}, {"sec-fetch-site": "cross-site"}, {}):
        sent = httpx.post(
            f"{browser.base}/features/backfill/shop/second/plan",
            data={"confirmed": confirmed[0]},
            headers={**cookie, **origin},
        )
        assert sent.status_code == 403
        assert "not asked from a page of this server" in sent.text
    assert len(opened(folder).ledger.runs()) == before


def test_pages_need_no_script_and_allow_none_but_their_own(browser: Browser) -> None:
    for path in ("/features", TRAINING, f"{TRAINING}/plan", f"{TRAINING}/rollback"):
        answer = httpx.get(f"{browser.base}{path}?token={browser.token}")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        scripts = re.findall(r"<script([^>]*)>", answer.text)
        for one in scripts:
            nonce = re.findall(r'nonce="([\w-]+)"', one)[0]
            assert f"script-src 'nonce-{nonce}'" in policy
        assert scripts or "script-src" not in policy
        assert " on" not in "".join(re.findall(r"<[a-z]+ [^>]*?( on\w+=)", answer.text))
        assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "").replace(
            "http-equiv", ""
        )


def test_names_that_are_written_to_be_run_are_only_shown(browser: Browser) -> None:
    for path in ("/features", "/features/backfill/shop/second"):
        page = browser.get(path)
        assert HOSTILE not in page
        assert HOSTILE in plain(page)
        assert "</p><script>" not in page
    strange = httpx.get(
        f"{browser.base}/features?find=%22%3E%3Cscript%3E&show=%3Cb%3E&token={browser.token}"
    )
    assert '"><script>' not in strange.text
    lost = httpx.get(f"{browser.base}/features/backfill/shop/%3Cb%3E?token={browser.token}")
    assert lost.status_code == 404
    assert "<b>" not in lost.text
    assert "the project declares no backfill:shop/<b>" in plain(lost.text)


def test_a_backfill_is_shown_with_its_costs_confirmed_and_carried_out(
    browser: Browser, folder: Path
) -> None:
    page = browser.get("/features/backfill/shop/second/plan")
    assert "Partitions 4" in plain(page).replace("partitions", "Partitions")
    assert "rows 24" in plain(page)
    assert not lake(folder).exists("backfill:shop/second")
    run = ended(browser, browser.press(page))
    assert "done" in run
    assert "by user:ada" in run
    assert "4 of 4 partitions" in run
    assert read(lake(folder), "backfill:shop/second").num_rows == 24
    assert "There is nothing to do" in browser.read("/features/backfill/shop/second/plan")
    again = browser.press(page)
    assert again.status_code == 409
    assert "There is nothing to do" in plain(again.text)


def test_a_plan_that_is_not_the_one_that_was_shown_is_not_carried_out(
    browser: Browser, folder: Path
) -> None:
    page = browser.get("/features/backfill/shop/moved/plan")
    assert "Backfill 4 partitions" in plain(page)
    put(opened(folder), "table:shop/other_rows", rows([24]))
    sent = browser.press(page)
    assert sent.status_code == 409
    assert "something has changed in between" in plain(sent.text)
    assert "Backfill 5 partitions" in plain(sent.text)
    assert not lake(folder).exists("backfill:shop/moved")
    assert "done" in ended(browser, browser.press(sent.text))
    assert read(lake(folder), "backfill:shop/moved").num_rows == 30


def test_an_edited_spec_is_another_plan(browser: Browser, folder: Path) -> None:
    path = folder / "specs" / "shop.py"
    text = path.read_text()
    page = browser.get("/features/backfill/shop/spend/plan")
    path.write_text(text.replace('"n_3d": Count(over="3d")', '"n_2d": Count(over="2d")'))
    try:
        sent = browser.press(page)
        assert sent.status_code == 409
        assert "Backfill 4 partitions" in plain(sent.text)
        path.write_text("import nothing_that_is_there")
        broken = httpx.get(f"{browser.base}{TRAINING}/plan?token={browser.token}")
        assert broken.status_code == 400
        assert "specs/shop.py:1: cannot be imported" in plain(broken.text)
        assert "Traceback" not in broken.text
    finally:
        path.write_text(text)


def test_gates_that_do_not_let_through_are_shown_with_rows(browser: Browser) -> None:
    waits = "planned once backfill:shop/spend is made"
    assert waits in browser.read("/features/promotion/shop/strict/plan")
    ended(browser, browser.press(browser.get("/features/backfill/shop/spend/plan")))
    run = ended(browser, browser.press(browser.get("/features/promotion/shop/strict/plan")))
    assert "failed" in run
    assert "Range spend__sum_7d: values from" in run
    assert "such as row_id=" in run
    assert "nothing was promoted" in run
    strict = "/features/promotion/shop/strict"
    shown = browser.get(strict)
    assert "The newest run was refused by Range." in gates(shown)
    assert "nothing was promoted" in gates(shown)
    assert re.search(r"failed spend__sum_7d Range values from .* row_id=", gates(shown))
    told = plain(browser.get(f"{strict}/statistics"))
    assert "The newest run was refused by Range." in told
    assert gates(shown).strip() in told
    assert "refused by Range" in lines(browser)["promotion:shop/strict"]
    assert f'href="{strict}#gates"' in browser.get("/features")
    assert 'id="gates"' in shown
    assert "1 was refused or failed" in browser.read("/features")
    assert len(browser.get("/features?show=failed").split("<tr>")) == 3  # its head, and it


def test_a_rollback_shows_what_moves_writes_no_data_and_holds(
    browser: Browser, folder: Path
) -> None:
    log = TableLog(lake(folder), "table:shop/training")
    versions = [one.version for one in log.load().entries if one.cells and one.results.get("rows")]
    before = read(lake(folder), "table:shop/training", versions[1]).sort_by("row_id")
    page = browser.get(f"{TRAINING}/rollback")
    assert f"2 partitions of table:shop/training go back to version {versions[1]}" in plain(page)
    assert "0 bytes of data are rewritten" in plain(page)
    assert "at_day=1970-01-23 1, 1 6, 6" in plain(page)
    other = browser.press(page, confirmed="0" * 32)
    assert other.status_code == 409
    run = ended(browser, browser.press(other.text))
    assert "0 bytes written" in run
    assert read(lake(folder), "table:shop/training").sort_by("row_id").equals(before)
    assert log.load().entries[0].results["bytes_written"] == 0
    shown = browser.read(TRAINING)
    assert "rollback to " + versions[1] in shown
    assert "rolled back" in shown.partition(" Versions ")[2]
    assert "2 held" in shown  # what had not moved is free
    old = browser.press(page)
    assert old.status_code == 409


def test_what_is_held_is_made_again_once_it_is_released(browser: Browser, folder: Path) -> None:
    ref = "/features/backfill/shop/more"
    ended(browser, browser.press(browser.get(f"{ref}/rollback")))
    page = browser.read(ref)
    assert "2 held" in page
    assert "it was rolled back; it is not made again by itself" in page
    assert "There is nothing to do" in browser.read(f"{ref}/plan")
    released = browser.get(f"{ref}/plan?release=true")
    assert "Backfill 2 partitions" in plain(released)
    assert "done" in ended(browser, browser.press(released))
    assert "4 current" in browser.read(ref)


def test_a_run_shows_its_progress_is_alone_and_is_stopped(browser: Browser, folder: Path) -> None:
    page = browser.get(f"{SLOW}/plan")
    sent = browser.press(page)
    until((folder / "started").exists)
    run = browser.get(sent.url.path)
    assert " data-moving>" in run
    assert "running" in plain(run)
    assert "0 of 4 partitions" in plain(run)
    assert "0 of 4 partitions" in lines(browser)["backfill:shop/slow"]
    assert "by user:ada" in lines(browser)["backfill:shop/slow"]

    second = browser.press(page)
    assert second.status_code == 409
    assert "run" in plain(second.text)
    assert "writes backfill:shop/slow" in plain(second.text)
    assert "There is one at a time" in plain(second.text)
    assert len(opened(folder).ledger.open_runs()) == 1

    stopped = browser.send(f"{sent.url.path}/stop")
    assert "It was stopped" in ended(browser, stopped)
    assert opened(folder).ledger.open_runs() == []
    assert not lake(folder).exists("backfill:shop/slow")


def test_a_server_that_is_killed_leaves_its_run_open_and_the_next_one_goes_on(
    folder: Path,
) -> None:
    (folder / "started").unlink(missing_ok=True)
    with process(folder) as (server, address):
        browser = Browser(address)
        path = browser.press(browser.get(f"{SLOW}/plan")).url.path
        until((folder / "started").exists)
        browser.close()
        server.kill()
    with served(folder) as address:
        browser = Browser(address)
        row = lines(browser)["backfill:shop/slow"]
        assert "cut off" in row
        assert row.endswith("Go on ")
        assert "0 of 4 partitions" not in row  # nobody is making them
        page = browser.read("/features")
        assert "1 is cut off" in page
        assert "being made" not in page
        assert "cut off 1" in page
        assert "running 1" not in page
        assert "Its process is gone" in browser.read(path)
        for shown in (f"{SLOW}/plan", SLOW):
            assert f'action="{path}/go-on"' in browser.get(shown)
        (folder / "go").touch()
        assert "done" in ended(browser, browser.press(browser.get(f"{SLOW}/plan")))
        browser.close()
    assert read(lake(folder), "backfill:shop/slow").num_rows == 24


def test_statistics_of_what_is_staged_stand_beside_the_live_ones(browser: Browser) -> None:
    page = browser.read(f"{TRAINING}/statistics")
    assert "Against table:shop/training, live" in page
    assert "spend__sum_7d" in page
    assert "PSI" in page


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", f"{TRAINING}/plan?release=perhaps", 400, "release is perhaps"),
        ("GET", f"{TRAINING}/rollback?to=77", 400, "does not descend from a version 77"),
        (
            "GET",
            "/features/backfill/shop/no%00thing",
            404,
            "the project declares no backfill:shop/",
        ),
        ("GET", "/features/backfill/shop/spnd", 404, "Expected: backfill:shop/spend?"),
        (
            "GET",
            "/features/table/shop/rows/rollback",
            404,
            "table:shop/rows is a Table",
        ),
        ("GET", "/features/runs/..%2f..%2fetc", 404, ""),
        ("GET", "/features/runs/zzz", 404, "no run has an id that starts 'zzz'"),
        ("POST", "/features/runs/zzz/stop", 404, "no run has an id that starts 'zzz'"),
        ("POST", "/features/runs/zzz/go-on", 404, "no run has an id that starts 'zzz'"),
        ("POST", f"{TRAINING}/rollback", 409, "look at the new one, and confirm that"),
        ("PUT", f"{TRAINING}/plan", 405, ""),
        ("GET", "/features/a/b/c/d/e", 404, ""),
    ],
)
def test_what_cannot_be_is_told_on_a_page_without_a_traceback(
    browser: Browser, method: str, path: str, status: int, told: str
) -> None:
    bearer = {"authorization": f"Bearer {browser.token}"}
    seen = httpx.request(method, f"{browser.base}{path}", headers=bearer)
    assert seen.status_code == status, plain(seen.text)
    assert told in plain(seen.text)
    assert "Traceback" not in seen.text
    assert "<main" in seen.text


def test_a_form_that_is_too_long_or_no_form_is_refused(browser: Browser) -> None:
    bearer = {"authorization": f"Bearer {browser.token}"}
    to = f"{browser.base}/features/backfill/shop/more/plan"
    assert httpx.post(to, content=b"x" * 5000, headers=bearer).status_code == 413
    for content in (b"", b"confirmed=%ff%00", b"\xff\xfe", b"confirmed=1&confirmed=2"):
        assert httpx.post(to, content=content, headers=bearer).status_code == 409


def test_programs_get_the_same_as_json(browser: Browser) -> None:
    bearer = {"authorization": f"Bearer {browser.token}"}
    board = httpx.get(f"{browser.base}/v1/features", headers=bearer).json()
    assert {one["ref"] for one in board["lines"]} == set(lines(browser))
    one = httpx.get(f"{browser.base}/v1/features/backfill/shop/spend", headers=bearer).json()
    assert one["partitions"][0]["cell"] == "at_day=1970-01-21"
    assert one["line"] in board["lines"]
    lost = httpx.get(f"{browser.base}/v1/features/table/shop/rows", headers=bearer)
    assert (lost.status_code, lost.json()["expected"]) == (
        404, "the ref of a Backfill or of a Promotion",
    )  # fmt: skip
