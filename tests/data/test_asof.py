"""The fast as-of evaluator computes what the plain one defines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.data.features.asof import evaluate, evaluate_reference, timeline
from bowerbird.data.features.columns import (
    DAY,
    Age,
    Count,
    Decayed,
    First,
    Interval,
    Last,
    Mean,
    Occasions,
    Ratio,
    Since,
    Sum,
    duration,
)

EVERY_KIND = {
    "count": Count(),
    "count_3d": Count(over="3d"),
    "occasions": Occasions(),
    "occasions_3d": Occasions(over="3d"),
    "sum": Sum("amount"),
    "sum_2d": Sum("amount", over="2d"),
    "mean": Mean("amount", over="5d"),
    "first": First("amount"),
    "last": Last("amount"),
    "since": Since(),
    "age": Age(),
    "interval": Interval(),
    "decayed": Decayed("2d"),
    "decayed_amount": Decayed("36h", field="amount"),
    "ratio": Ratio(Count(over="3d"), Count()),
}

event = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.integers(0, 20), st.integers(0, 100).map(float)
)
query = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-1, 22))


@settings(max_examples=60, deadline=None)
@given(st.lists(event, max_size=25), st.lists(query, min_size=1, max_size=12))
def test_the_fast_evaluator_equals_the_plain_one(
    events: list[tuple[int, int, int, float]], queries: list[tuple[int, int, int]]
) -> None:
    households, products, days, amounts = (
        np.array([row[i] for row in events], dtype=np.int64) for i in range(4)
    )
    at = days * (DAY // 2)
    asked = [np.array([row[i] for row in queries], dtype=np.int64) for i in range(3)]
    fields = {"amount": amounts}
    fast = evaluate(
        EVERY_KIND, timeline([households, products], at, fields), asked[:2], asked[2] * (DAY // 2)
    )
    plain = evaluate_reference(
        EVERY_KIND, [households, products], at, fields, asked[:2], asked[2] * (DAY // 2)
    )
    for name in EVERY_KIND:
        np.testing.assert_allclose(fast[name], plain[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_an_event_at_the_moment_of_the_query_is_not_seen() -> None:
    events = timeline([[1]], [5 * DAY])
    assert evaluate({"n": Count()}, events, [[1, 1]], [5 * DAY, 5 * DAY + 1])["n"].tolist() == [
        0,
        1,
    ]


def test_a_window_includes_its_start() -> None:
    events = timeline([[1]], [5 * DAY])
    found = evaluate({"n": Count(over="1d")}, events, [[1, 1]], [6 * DAY, 6 * DAY + 1])
    assert found["n"].tolist() == [1, 0]


def test_a_key_too_wide_for_its_packing_is_refused() -> None:
    with pytest.raises(ValueError, match="62 bits"):
        timeline([[2**40], [2**40]], [0])


def test_a_duration_without_a_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="not a duration"):
        duration("30")
