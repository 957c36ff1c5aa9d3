"""Claims about the page of statistics: whole, escaped, by itself; what failed comes first."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from bowerbird.data.features.figures import StatisticsView
from bowerbird.data.features.gates import Finding
from bowerbird.portal.statistics import figure, percent, render, verdict, write_statistics
from tests.portal.statistics_sample import view
from tests.portal.test_report import HOSTILE, Tags


@pytest.fixture(scope="module")
def shown() -> StatisticsView:
    return view(days=3, count=200)


@pytest.fixture(scope="module")
def html(shown: StatisticsView) -> str:
    return render(shown)


def test_the_page_is_well_formed_small_and_needs_nothing_from_elsewhere(html: str) -> None:
    namespaces = html.replace("http://www.w3.org/2000/svg", "")
    assert "//" not in re.sub(r"data:[^\"]*", "", namespaces)
    tags = Tags(html)
    assert tags.wrong == []
    assert not {"script", "iframe", "img", "object", "embed"} & {tag for tag, _ in tags.found}
    assert len(html.encode()) < 500_000
    ids = {attributes["id"] for _, attributes in tags.found if "id" in attributes}
    links = {a["href"] for tag, a in tags.found if tag == "a" and a.get("href")}
    assert {str(link)[1:] for link in links} <= ids


def test_what_failed_is_said_first_and_with_rows_to_look_at(
    shown: StatisticsView, html: str
) -> None:
    failed = [one for one in shown.findings if not one.passed]
    assert verdict(shown) == (
        f"{len(failed)} of {len(shown.findings)} checks failed: not to be promoted as it is."
    )
    text = Tags(html).text
    for one in failed:
        assert text.index(one.text) < text.index("Columns", text.index("What the gates found"))
    assert "household_id=5" in text


def test_every_column_is_there_with_its_kind(shown: StatisticsView, html: str) -> None:
    text = Tags(html).text
    for one in shown.columns:
        assert one.column in text
    for said in ("embedding, norms of 8", "sequence, lengths", "vectors of zeros", "new: organic"):
        assert said in text


def test_no_text_becomes_markup(shown: StatisticsView) -> None:
    fields = msgspec.to_builtins(shown)
    fields |= {"name": HOSTILE, "version": HOSTILE, "against": HOSTILE}
    for one in fields["findings"]:
        one |= {"column": HOSTILE, "text": HOSTILE, "examples": [HOSTILE], "gate": HOSTILE}
    columns = [column for part in fields["parts"] for column in part["columns"]]
    columns += fields["columns"]
    for one in fields["differences"]:
        one |= {"column": HOSTILE, "new": [HOSTILE], "gone": [HOSTILE]}
        columns += [side for side in (one["before"], one["after"]) if side]
    for one in columns:
        one |= {"column": HOSTILE, "type": HOSTILE}
        if one["names"]:
            one["names"]["top"] = [[HOSTILE, 100], [HOSTILE + "2", 50]]
    for part in fields["parts"]:
        part["part"] = HOSTILE
    page = Tags(render(msgspec.convert(fields, StatisticsView)))
    assert not {"script", "img"} & {tag for tag, _ in page.found}
    assert not [a for _, a in page.found if "onerror" in a]
    assert page.wrong == []


def test_the_json_is_the_view(shown: StatisticsView, tmp_path: Path) -> None:
    page = write_statistics(shown, tmp_path / "deep")
    kept = (page.parent / "statistics.json").read_bytes()
    assert msgspec.json.decode(kept, type=StatisticsView) == shown


def test_a_view_of_nothing_says_so_in_every_section() -> None:
    page = Tags(render(StatisticsView("shop/none", "", against="1")))
    for said in (
        "Gates are asked when it is promoted, not here",
        "There are no columns",
        "Neither version has a column",
        "There are no partitions",
    ):
        assert said in page.text
    assert page.wrong == []


def test_the_verdict_counts() -> None:
    well = Finding("RowCount", "", True, "as many")
    assert verdict(StatisticsView("a/b", "1", findings=(well,))) == "The check passed."
    assert verdict(StatisticsView("a/b", "1", findings=(well, well))) == "All 2 checks passed."


def test_a_share_is_all_or_nothing_only_when_it_is() -> None:
    shares = (0.0, 0.0001, 0.5, 0.9999, 1.0)
    found = [percent(share).replace("\N{NO-BREAK SPACE}", " ") for share in shares]
    assert found == ["0 %", "<0.1 %", "50.0 %", ">99.9 %", "100 %"]
    assert [figure(value) for value in (None, 3.0, -1234.5, 0.12345)] == [
        "–",
        "3",
        "−1,234",
        "0.1235",
    ]
