"""Statistics on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bowerbird.cli import screen, screen_features
from bowerbird.data.features.figures import StatisticsView
from tests.portal.statistics_sample import view

WIDTH = 80


@pytest.fixture(scope="module")
def shown() -> StatisticsView:
    return view(days=2, count=100)


def typed(
    monkeypatch: pytest.MonkeyPatch, show: Callable[[StatisticsView], None], what: StatisticsView
) -> str:
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


def test_shares_are_all_or_nothing_only_when_they_are() -> None:
    found = [screen_features.share(one) for one in (None, 0.0, 0.0001, 0.5, 0.9999, 1.0)]
    assert found == ["-", "0.0%", "<0.1%", "50.0%", ">99.9%", "100.0%"]
