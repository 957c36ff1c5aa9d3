"""Statistics on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from bowerbird.cli import screen, screen_features
from bowerbird.cli.commands_features import features
from bowerbird.core.plans import Note
from bowerbird.data.features.desk import OneView
from bowerbird.data.features.figures import StatisticsView
from bowerbird.data.features.history import CommitView
from bowerbird.data.features.verdicts import Failure, Verdict
from bowerbird.data.features.views import CellsView, PartitionView, Running, Standing
from tests.portal.statistics_sample import view

WIDTH = 80
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def shown() -> StatisticsView:
    return view(days=2, count=100)


def typed(monkeypatch: pytest.MonkeyPatch, show: Callable[[Any], None], what: Any) -> str:
    narrow = screen.Screen()
    narrow.width, narrow.soft_wrap = WIDTH, False
    monkeypatch.setattr(screen, "out", narrow)
    monkeypatch.setattr(screen_features, "out", narrow)
    with narrow.capture() as kept:
        show(what)
    return kept.get()


def test_statistics_fit_and_say_what_is_odd(
    shown: StatisticsView, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = typed(monkeypatch, screen_features.statistics, shown)
    assert max(map(len, text.splitlines())) <= WIDTH
    for one in shown.columns:
        assert one.column in text
    assert "pin_embedding: 2 vectors with a part that is no number" in text
    assert "checks failed" in text
    assert "new: organic" in text


def test_what_failed_comes_before_what_passed(
    shown: StatisticsView, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = typed(monkeypatch, lambda one: screen_features.findings(one.findings), shown)
    assert text.rindex("failed  ") < text.index("passed  ")
    assert "household_id=5" in text


def test_a_line_a_column_of_a_partition(
    shown: StatisticsView, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = typed(monkeypatch, screen_features.parts, shown)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.count("at_day=2017-03-0") == len(shown.parts)
    assert text.count("n_trips_30d") == len(shown.parts)


LONG = "promotion:shop/training_of_ranker"
FAILED = Failure("01a2", "3 gates do not\n  Drift a: PSI 5", ("Drift", "Range"))
CUT_OFF = Running("01a21a36-5cd9-7822-8ddb", "user:ada", NOW, "cut off", 1, 2, 64, 120)
LINE = CellsView(
    ref=LONG,
    owner="team:growth",
    target="table:shop/training",
    reads=(),
    cells=120,
    current=0,
    todo=120,
    held=0,
    rows=1_200_000,
    seconds=90.0,
    reasons=("120 cells stale: backfill:shop/spend changed; backfill:shop/often changed",),
)
ONE = OneView(
    at=NOW,
    line=replace(LINE, failure=FAILED),
    description="",
    facts={"gates": ", ".join(["NoDuplicates"] * 9)},
    notes=(Note("x", "held: this definition was rolled back here, and stays so until released"),),
    partitions=tuple(
        PartitionView(f"at_day=2017-10-{n:02}", Standing.STALE, "backfill:shop/spend changed " * 3)
        for n in range(1, 31)
    ),
    commits=(CommitView("339585", NOW, "user:ada", "01a2", 120, 10, 10, 1.0),),
    runs=(),
    verdict=Verdict(LONG),
    staged_in=(),
    newest="live",
)


def test_backfills_fit_eighty_columns_and_what_goes_on_is_indented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_off = replace(LINE, running=CUT_OFF)
    listed = typed(monkeypatch, screen_features.standing, [ONE.line, cut_off])
    one = typed(monkeypatch, screen_features.one, ONE)
    heads = ["promotion:", "what", "takes:", "gates:", "30", "version", "339585", "3"]
    for text in (listed, one):
        assert max(map(len, text.splitlines())) <= WIDTH
        begun = {line.split(" ")[0] for line in text.splitlines()}
        assert begun <= {LONG, "", *heads}
    assert "its newest run was refused by Drift, Range" in " ".join(listed.split())
    assert "bowerbird apply goes on with it" in " ".join(listed.split())
    assert "a worker that must start first comes on top" in listed
    assert one.count("at_day=") == screen_features.FEW
    assert "and 18 more (--json shows all)" in " ".join(one.split())
    assert "  Drift a: PSI 5" in one.splitlines()


def test_every_command_of_features_says_what_it_does_in_eighty_columns() -> None:
    told = CliRunner().invoke(features, ["--help"], env={"COLUMNS": "80"}).output
    assert "import " in told
    assert "..." not in told.partition("Commands:")[2]


def test_shares_are_all_or_nothing_only_when_they_are() -> None:
    found = [screen_features.share(one) for one in (None, 0.0, 0.0001, 0.5, 0.9999, 1.0)]
    assert found == ["-", "0.0%", "<0.1%", "50.0%", ">99.9%", "100.0%"]
