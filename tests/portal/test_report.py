"""Claims about the report: whole, honest, escaped, and by itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from bowerbird.discovery.serving.page import Product
from bowerbird.portal import plots
from bowerbird.portal.report import render, verdict, write_report
from bowerbird.portal.views import (
    Ablation,
    Comparison,
    CostView,
    CurvePlot,
    Goal,
    ModelRow,
    NeighborsView,
    Protocol,
    ReportView,
    Role,
    Scope,
    Series,
    StepView,
    Verdict,
)
from bowerbird.stats.intervals import Interval
from tests.portal.sample import report

HOSTILE = '<script>alert("1")</script> & \'"><img src=x onerror=y> {{ 7 * 7 }}'
VOID = {"meta", "link", "br", "img", "input"}


class Tags(HTMLParser):
    """Every tag with its attributes, and which were left open or closed twice."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.wrong: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.wrong += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def html() -> str:
    return render(report())


def test_the_report_needs_nothing_from_elsewhere(html: str) -> None:
    namespaces = html.replace("http://www.w3.org/2000/svg", "")
    assert "//" not in re.sub(r"data:[^\"]*", "", namespaces)
    tags = Tags(html).found
    assert not {"script", "iframe", "img", "object", "embed"} & {tag for tag, _ in tags}
    for _, attributes in tags:
        for name in ("href", "src", "srcset", "action"):
            assert (attributes.get(name) or "#")[:5].startswith(("#", "data:"))
    assert "@import" not in html
    assert "url(" not in html


def test_the_report_is_well_formed_and_small(html: str) -> None:
    assert Tags(html).wrong == []
    assert len(html.encode()) < 1_000_000


def test_links_lead_to_what_is_there(html: str) -> None:
    tags = Tags(html).found
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"] for tag, a in tags if tag == "a" and a.get("href")}
    assert {str(link)[1:] for link in links} <= set(map(str, ids))


def test_no_text_becomes_markup() -> None:
    fields = msgspec.to_builtins(report())
    fields["title"] = fields["summary"] = HOSTILE
    for one in fields["households"]:
        one["about"] = HOSTILE
        one["page"]["degraded"] = [HOSTILE]
        for bought in (*one["history"], *one["next_trip"]):
            bought["product"] |= {"name": HOSTILE, "department": HOSTILE, "detail": HOSTILE}
        for item in one["page"]["items"]:
            item["product"] |= {"name": HOSTILE, "department": HOSTILE, "detail": HOSTILE}
            item["reasons"] = [{"kind": "habit", "text": HOSTILE}]
            item["sources"] = [{"source": HOSTILE, "score": 1.0}]
    for one in fields["comparisons"]:
        one["best_baseline"] = HOSTILE
        one["rows"] = [row | {"model": HOSTILE} for row in one["rows"]]
    for one in fields["ablations"]:
        one |= {"against": HOSTILE, "finding": HOSTILE}
        one["rows"] = [row | {"variant": HOSTILE} for row in one["rows"]]
    fields["goals"] = [goal | {"against": HOSTILE} for goal in fields["goals"]]
    fields["numbers"] = [one | {"label": HOSTILE, "note": HOSTILE} for one in fields["numbers"]]
    for one in fields["training"]:
        one["title"] = HOSTILE
        one["series"] = [line | {"name": HOSTILE} for line in one["series"]]
    near = fields["neighbors"]
    near["shortfall"] = HOSTILE
    near["points"] = [p | {"label": HOSTILE, "reason": HOSTILE} for p in near["points"]]
    steps = fields["cost"]["steps"]
    fields["cost"]["steps"] = [one | {"name": HOSTILE, "ref": HOSTILE} for one in steps]
    free = {"ref": HOSTILE, "by": HOSTILE, "principal": HOSTILE, "definition": HOSTILE}
    fields["lineage"] = [fields["lineage"][0] | free | {"version": HOSTILE, "data": HOSTILE}]
    facts = {"machine", "run", "command", "data"}
    fields["facts"] |= dict.fromkeys(facts, HOSTILE) | {"versions": {HOSTILE: HOSTILE}}

    page = Tags(render(msgspec.convert(fields, ReportView)))

    names = {tag for tag, _ in page.found}
    assert not {"script", "img"} & names
    assert not [a for _, a in page.found if "onerror" in a]
    assert page.wrong == []
    assert page.text.count("{{ 7 * 7 }}") > 100


def test_the_json_is_the_view(tmp_path: Path) -> None:
    view = report()
    page = write_report(view, tmp_path / "deep" / "report")
    assert page.name == "report.html"
    kept = (page.parent / "report.json").read_bytes()
    assert msgspec.json.decode(kept, type=ReportView) == view
    assert page.read_text(encoding="utf-8") == render(view)


def test_a_report_of_nothing_says_so_in_every_section() -> None:
    text = Tags(render(ReportView("Nothing yet", "Nothing was done."))).text
    for said in (
        "No household's page was kept",
        "No targets were set",
        "No models were compared",
        "No ablations were run",
        "No training curves were recorded",
        "No neighbours were computed",
        "No steps were measured",
        "No lineage was recorded",
        "The machine and the versions were not recorded",
    ):
        assert said in text


def test_sections_that_are_there_but_hollow_break_nothing() -> None:
    view = ReportView(
        "Hollow",
        "",
        comparisons=(Comparison(Protocol.TRIP, Scope.ALL, "EASE", ()),),
        ablations=(Ablation(Protocol.TRIP, Scope.NEW, "all", ()),),
        goals=(Goal(Protocol.TRIP, Scope.ALL, "EASE", 1.1),),
        training=(CurvePlot("loss", (Series("a", ()), Series("b", (None,)))), CurvePlot("x", ())),
        neighbors=NeighborsView((), 0.95, 10),
        cost=CostView(steps=(StepView("land"),)),
    )
    page = Tags(render(view))
    assert page.wrong == []
    for said in ("No model was judged", "No variant was judged", "Nothing was measured"):
        assert said in page.text
    assert "No index was tried" in page.text
    assert "not measured" in page.text


def test_figures_that_could_not_be_computed_are_a_dash_not_a_crash() -> None:
    nan = float("nan")
    row = ModelRow("odd", Role.OURS, Interval(nan, nan, nan), Interval(nan, nan, nan))
    one = Comparison(Protocol.TRIP, Scope.ALL, "odd", (row,))
    text = Tags(render(ReportView("Odd", "", comparisons=(one,)))).text
    assert "nan" not in text.lower()
    assert "–" in text


def test_one_epoch_one_model_and_one_index_can_be_drawn() -> None:
    sample = report()
    assert sample.neighbors is not None
    flat = tuple(point for point in sample.neighbors.points if point.label == "Flat")
    assert "circle" in plots.scatter(NeighborsView(flat, 0.95, 10))
    assert "circle" in plots.curves(CurvePlot("loss", (Series("a", (0.5,)),)))
    zero = Interval(0.0, 0.0, 0.0)
    assert "circle" in plots.whisker(zero, plots.interval_scale([zero]), "ours")


@pytest.mark.parametrize(
    ("reached", "said"),
    [
        (Interval(1.12, 1.11, 1.13), Verdict.SURELY),
        (Interval(1.12, 1.08, 1.16), Verdict.REACHED),
        (Interval(1.0996, 1.08, 1.16), Verdict.MISSED),
        (Interval(1.02, 1.01, 1.03), Verdict.MISSED),
        (None, Verdict.UNKNOWN),
    ],
)
def test_a_goal_is_reached_only_when_the_estimate_is(
    reached: Interval | None, said: Verdict
) -> None:
    goal = Goal(Protocol.TRIP, Scope.ALL, "EASE", 1.10, reached)
    assert goal.verdict is said


def test_what_was_missed_is_named_at_the_top() -> None:
    assert verdict(report()) == (
        "3 of 4 targets were reached. Reached but not surely (the interval begins below the "
        "target): discovery per trip. Not reached: all products per household."
    )


def test_a_household_s_hits_count_products_not_rows() -> None:
    one = report().households[0]
    assert one.next_trip is not None
    twice = msgspec.structs.replace(one, next_trip=one.next_trip * 2)
    assert (twice.found, len(twice.taken)) == (one.found, len(one.taken))
    assert 0 < one.found < len(one.taken)
    assert {product.product_id for product in one.missed} <= one.taken


def test_over_the_budget_is_said() -> None:
    cost = CostView(seconds=400.0, peak_bytes=2**30)
    text = Tags(render(ReportView("Slow", "", cost=cost))).text
    assert text.count("over the budget") == 1
    assert text.count("within the budget") == 1


def test_labels_stay_apart_and_in_their_order() -> None:
    places = plots.apart([100, 101, 99, 20], 14, 0, 110)
    assert sorted(range(4), key=lambda n: places[n]) == [3, 2, 0, 1]
    ordered = sorted(places)
    assert all(b - a >= 14 for a, b in pairwise(ordered))
    assert ordered[-1] <= 110


def test_ticks_are_round_and_inside() -> None:
    assert plots.Scale(0, 0.26).ticks() == pytest.approx([0, 0.1, 0.2])
    assert plots.Scale(1_000, 100_000, log=True).ticks() == pytest.approx([1e3, 3e3, 1e4, 3e4, 1e5])


def test_a_product_without_department_or_detail_is_shown() -> None:
    view = report()
    one = view.households[0]
    item = msgspec.structs.replace(one.page.items[0], product=Product(1, "Plain"))
    page = msgspec.structs.replace(one.page, items=(item,))
    household = msgspec.structs.replace(one, page=page, history=(), next_trip=None)
    text = Tags(render(msgspec.structs.replace(view, households=(household,)))).text
    assert "Plain" in text
    assert "Its next trip is not known" in text
    assert "No purchases are known" in text
