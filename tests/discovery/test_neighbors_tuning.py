"""Claims about tuning: the decision is pure, and gives a reason for each index refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import UserError
from bowerbird.discovery.neighbors import (
    HNSW,
    IVF,
    Flat,
    IndexParams,
    Measurement,
    Vectors,
    candidates,
    choose,
    measure,
    sample,
)


def measured(
    index: IndexParams, recall: float, speed: float, *, low: float | None = None, size: int = 100
) -> Measurement:
    low = recall if low is None else low
    return Measurement(index, 10, recall, low, recall, speed, 1.0, size)


def test_the_fastest_that_is_surely_good_enough_is_chosen_and_the_others_say_why_not() -> None:
    choice = choose(
        [
            measured(Flat(), 1.0, 100),
            measured(IVF(64, 1), 0.80, 9000),
            measured(IVF(64, 8), 0.955, 5000, low=0.94),
            measured(IVF(64, 16), 0.99, 2000),
            measured(HNSW(16, 64), 0.97, 1000),
        ],
        0.95,
    )
    assert choice.index == IVF(64, 16)
    assert [r.reason for r in choice.refused] == [
        "20.00 times the seconds of IVF64,Flat probes=16",
        "recall 0.800 is below 0.95",
        "recall 0.955 may be 0.940, which is below 0.95",
        "2.00 times the seconds of IVF64,Flat probes=16",
    ]


def test_building_counts_when_few_queries_are_asked() -> None:
    slow_to_build = Measurement(IVF(64, 8), 10, 0.99, 0.99, 0.99, 10_000, 50.0, 1)
    both = [measured(Flat(), 1.0, 100), slow_to_build]
    assert choose(both, 0.9, queries=1000).index == Flat()
    assert choose(both, 0.9, queries=100_000).index == IVF(64, 8)


def test_when_nothing_is_good_enough_the_exact_index_answers_and_says_what_it_lacks() -> None:
    choice = choose([measured(Flat(), 1.0, 10, size=900)], 0.9, max_bytes=500)
    assert choice.index == Flat()
    assert choice.shortfall == "takes 900 bytes of 500"


def test_a_choice_without_the_exact_index_is_refused() -> None:
    with pytest.raises(UserError, match="exact index was not measured"):
        choose([measured(HNSW(), 0.9, 10)], 0.5)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(1, 1e6), st.integers(1, 10**9)), max_size=12),
    st.floats(0, 1),
)
def test_what_is_chosen_reaches_the_target_and_nothing_refused_was_better(
    tried: list[tuple[float, float, int]], target: float
) -> None:
    rows = [measured(IVF(64, n), r, s, size=b) for n, (r, s, b) in enumerate(tried)]
    choice = choose([*rows, measured(Flat(), 1.0, 1.0)], target)
    assert choice.chosen.recall_low >= target
    for refused in choice.refused:
        better = refused.measurement.queries_per_second > choice.chosen.queries_per_second
        assert not better or refused.measurement.recall_low < target
    assert sum(point.chosen for point in choice.points()) == 1
    assert any(point.frontier for point in choice.points())


def test_a_measured_index_says_its_recall_and_flat_is_certain() -> None:
    values = np.random.default_rng(1).standard_normal((1500, 16))
    items = Vectors.of(np.arange(1500), values)
    queries = sample(items, 60, seed=2)
    tried: list[IndexParams] = [Flat(), IVF(32, 1), IVF(32, 16), HNSW(16, 64)]
    rows = measure(tried, items, queries, 5, exclude=queries.ids, seed=1, threads=1, repeats=1)
    assert [row.index for row in rows] == tried
    assert rows[0].recall_low == rows[0].recall == 1.0
    assert rows[1].recall < rows[2].recall
    assert rows[1].recall_low < rows[1].recall < rows[1].recall_high
    assert all(row.queries_per_second > 0 and row.bytes > 0 for row in rows)


@pytest.mark.parametrize("items", [0, 1, 50, 999, 6000, 200_000])
def test_candidates_start_with_the_exact_index_and_have_points_for_their_cells(items: int) -> None:
    tried = candidates(items)
    assert tried[0] == Flat()
    assert all(one.lists * 39 <= items for one in tried if isinstance(one, IVF))
    assert len(set(tried)) == len(tried)
