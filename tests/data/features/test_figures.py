"""Figures: what is shown of statistics, plain and for programs."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.data.features.figures import (
    ColumnFigures,
    StatisticsView,
    figures,
    statistics_view,
)
from bowerbird.data.features.kinds import Kind
from bowerbird.data.features.statistics import summarise_exactly


def shown(values: object, kind: Kind, type_: pa.DataType | None = None) -> ColumnFigures:
    return figures(summarise_exactly(pa.table({"x": pa.array(values, type_)}), {"x": kind})["x"])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_bars_hold_every_value_over_a_range_that_has_a_width(values: list[float]) -> None:
    numbers = shown(values, Kind.REAL).numbers
    assert numbers is not None
    assert numbers.bars is not None
    assert sum(numbers.bars.shares) == pytest.approx(1)
    assert numbers.bars.low < numbers.bars.high


def test_whole_numbers_get_bars_of_as_many_each() -> None:
    numbers = shown(np.arange(60), Kind.COUNT).numbers
    assert numbers is not None
    assert numbers.bars is not None
    assert numbers.bars.shares == pytest.approx([3 / 60] * 20)
    few = shown([0, 0, 1, 2], Kind.COUNT).numbers
    assert few is not None
    assert few.bars is not None
    assert few.bars.shares == pytest.approx([0.5, 0.25, 0.25])


def test_one_value_far_out_does_not_make_one_bar_of_all_others() -> None:
    numbers = shown([*np.linspace(0, 1, 500), 1e9], Kind.REAL).numbers
    assert numbers is not None
    assert numbers.bars is not None
    assert max(numbers.bars.shares) < 0.1
    assert numbers.high == 1e9


def test_two_versions_count_the_same_names_and_have_bars_over_one_range() -> None:
    before = {"all": summarise_exactly(pa.table({"b": ["a", "a", "b"], "x": [0.0, 1.0, 1.0]}))}
    after = {"all": summarise_exactly(pa.table({"b": ["c", "a", "c"], "x": [5.0, 9.5, 9.0]}))}
    view = statistics_view("shop/x", "2", after, against="1", before=before)
    names, numbers = view.differences
    assert names.before is not None
    assert names.after is not None
    assert names.before.names is not None
    assert names.after.names is not None
    assert dict(names.before.names.top) == {"c": 0, "a": 2, "b": 1}
    assert dict(names.after.names.top) == {"c": 2, "a": 1, "b": 0}
    bars = [one.numbers.bars for one in (numbers.before, numbers.after) if one and one.numbers]
    assert {(one.low, one.high) for one in bars if one} == {(0.0, 9.5)}


@pytest.mark.parametrize(
    ("values", "kind", "type_"),
    [
        ([], Kind.REAL, pa.float64()),
        ([None], Kind.CATEGORY, pa.string()),
        ([None], Kind.EMBEDDING, pa.list_(pa.float32())),
        ([[]], Kind.SEQUENCE, pa.list_(pa.int64())),
        ([float("nan"), float("inf")], Kind.REAL, pa.float64()),
        ([1e308, -1e308, 1e308], Kind.REAL, pa.float64()),
    ],
)
def test_a_column_of_nothing_much_has_figures(
    values: object, kind: Kind, type_: pa.DataType
) -> None:
    found = shown(values, kind, type_)
    back = msgspec.json.decode(msgspec.json.encode(found), type=ColumnFigures)
    assert back == found


def test_the_view_is_the_same_after_json() -> None:
    parts = {"day=1": summarise_exactly(pa.table({"x": [1.0, 2.0]}))}
    view = statistics_view("shop/x", "1", parts, against="0", before=parts)
    assert msgspec.json.decode(msgspec.json.encode(view), type=StatisticsView) == view
    assert view.rows == 2
