"""Edges of as-of questions, and the ways of answering them that depend on how much is asked."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.data.features import windows
from bowerbird.data.features.asof import evaluate, prefixes
from bowerbird.data.features.columns import DAY, Count, Last, Ratio, Sum, duration, problem_of
from bowerbird.data.features.timeline import timeline


def test_an_event_at_the_moment_of_the_query_is_not_seen() -> None:
    events = timeline([[1]], [5 * DAY])
    found = evaluate({"n": Count()}, events, [[1, 1]], [5 * DAY, 5 * DAY + 1])
    assert found["n"].tolist() == [0, 1]


def test_a_window_includes_its_start() -> None:
    events = timeline([[1]], [5 * DAY])
    found = evaluate({"n": Count(over="1d")}, events, [[1, 1]], [6 * DAY, 6 * DAY + 1])
    assert found["n"].tolist() == [1, 0]


def test_a_key_too_wide_for_its_packing_is_refused() -> None:
    with pytest.raises(ValueError, match="62 bits"):
        timeline([[2**40], [2**40]], [0])


@pytest.mark.parametrize("text", ["30", "0d", "-1d", "1.5h", "", "d"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        duration(text)


def test_a_window_of_ten_thousand_years_is_refused() -> None:
    assert "100 years" in problem_of(Sum("amount", over="10000y"))
    assert "100 years" in problem_of(Ratio(Count(), Count(over="10000y")))


def test_a_list_of_no_values_is_refused() -> None:
    assert "1 to 100,000" in problem_of(Last("product", n=0))


def test_a_large_sum_before_a_window_takes_nothing_from_it() -> None:
    values = np.array([1e16, 0.1, 0.2, -1e16, 0.3])
    events = timeline([[0, 0, 0, 1, 1]], [1, 2 * DAY, 2 * DAY, 1, 2 * DAY], {"x": values})
    found = evaluate({"s": Sum("x", over="1d")}, events, [[0, 1]], [2 * DAY + 5] * 2)
    assert found["s"].tolist() == [0.1 + 0.2, 0.3]


def test_whole_numbers_are_summed_exactly_beyond_what_a_fraction_holds() -> None:
    total, rest = prefixes(np.array([2**60, 3, -(2**60), 2**53 + 1]))
    assert rest is None
    assert int(total[2] - total[1]) == 3
    assert int(total[4] - total[3]) == 2**53 + 1


ranges_of = st.integers(0, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 6), min_size=n, max_size=n),
        st.lists(st.tuples(st.integers(0, n), st.integers(0, n)), min_size=1, max_size=80),
    )
)


@settings(max_examples=60, deadline=None)
@given(ranges_of, st.booleans())
def test_many_ranges_answered_from_what_they_share_are_as_one_by_one(
    drawn: tuple[list[int], list[tuple[int, int]]], least: bool
) -> None:
    values = np.array(drawn[0], dtype=np.int64)
    pairs = np.array([sorted(pair) for pair in drawn[1]], dtype=np.int64)
    start, end = np.tile(pairs[:, 0], 40), np.tile(pairs[:, 1], 40)
    shared = windows.extreme(values, start, end, least=least)
    alone = windows.extreme_one_by_one(values, start, end, least=least)
    assert shared.tolist() == alone.tolist()
    bound = (start * 7) % 9
    expected = [int((values[a:b] < c).sum()) for a, b, c in zip(start, end, bound, strict=True)]
    assert windows.count_below(values, start, end, bound).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=25), st.integers(1, 30))
def test_distinct_values_are_counted_alike_for_few_questions_and_for_many(
    rows: list[tuple[int, int]], times: int
) -> None:
    keys = np.array([row[0] for row in rows], dtype=np.int64)
    values = np.array([row[1] for row in rows], dtype=np.int64)
    events = timeline([keys], np.arange(len(rows)), {"x": values})
    bounds = events.starts
    pairs = [
        (a, b)
        for low, high in itertools.pairwise(bounds)
        for a in range(low, high + 1)
        for b in range(a, high + 1)
    ] or [(0, 0)]
    start, end = np.tile(np.array(pairs, dtype=np.int64).T, times)
    expected = [len(set(events.fields["x"][a:b].tolist())) for a, b in pairs] * times
    assert windows.distinct(events, "x", start, end).tolist() == expected
