"""Requests, sequences, negatives and splits: what each sees, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.data.features.columns import DAY
from bowerbird.data.features.timeline import ranges
from bowerbird.data.samples.leakage import LeakageError, audit, refuse_leaks
from bowerbird.data.samples.negatives import (
    DISPLAYED,
    MAILED,
    promotions,
    sample_lists,
)
from bowerbird.data.samples.requests import concatenate, periods, staggered, trips
from bowerbird.data.samples.sequences import Actions, actions, sequences
from bowerbird.data.samples.splits import last_windows
from bowerbird.learning.models.baselines import ease


def log_of(rows: list[tuple[int, int, int]]) -> Actions:
    """Rows (user, item, day), all in store 7."""
    user, item, day = (np.array(column) for column in zip(*rows, strict=True))
    return actions(user, item, day * DAY, {"store": np.full(len(user), 7)})


LOG = log_of([(1, 5, 1), (1, 6, 1), (1, 5, 3), (2, 6, 2), (1, 9, 8), (2, 5, 8), (1, 5, 9)])


def test_a_trip_is_one_request_with_the_distinct_items_bought_on_it() -> None:
    found = trips(LOG, 0, 4 * DAY)
    assert found.user.tolist() == [1, 1, 2]
    assert [
        found.positives[a:b].tolist()
        for a, b in zip(found.offsets, found.offsets[1:], strict=False)
    ] == [
        [5, 6],
        [5],
        [6],
    ]


def test_a_period_asks_once_and_takes_everything_in_its_horizon() -> None:
    found = periods(LOG, 3 * DAY, 6 * DAY)
    assert found.user.tolist() == [1, 2]
    assert found.positives.tolist() == [5, 9, 5]
    assert found.place.tolist() == [7, 7]


def test_a_sequence_ends_strictly_before_its_request_and_is_capped_from_its_start() -> None:
    found = sequences(LOG, np.array([1, 1, 2]), np.array([3, 9, 2]) * DAY, cap=3)
    assert [LOG.item[a:b].tolist() for a, b in zip(found.start, found.end, strict=False)] == [
        [5, 6],
        [6, 5, 9],
        [],
    ]


def test_staggered_periods_spread_users_over_moments() -> None:
    log = log_of([(user, 1, day) for user in range(8) for day in range(0, 30, 2)])
    found = staggered(log, np.arange(4, 12, 2) * DAY, 4 * DAY, each=2)
    assert len(found) == 16
    assert len(np.unique(found.at)) == 4


def test_joined_requests_keep_their_own_positives() -> None:
    parts = [periods(LOG, 3 * DAY, 6 * DAY), trips(LOG, 0, 4 * DAY)]
    joined = concatenate(parts)
    assert joined.user.tolist() == [1, 1, 1, 2, 2]
    assert np.diff(joined.offsets).sum() == sum(len(part.positives) for part in parts)
    at_three = np.flatnonzero((joined.user == 1) & (joined.at == 3 * DAY))
    sizes = np.diff(joined.offsets)[at_three].tolist()
    assert sizes == [2, 1]


def test_windows_of_a_split_touch_and_do_not_overlap() -> None:
    split = last_windows(100 * DAY, "28d")
    assert split.test == (72 * DAY + 1, 100 * DAY + 1)
    assert split.validation[1] == split.test[0]
    assert split.training(2)[-1][1] == split.validation[0]


def test_an_item_is_shown_only_in_its_week_and_store() -> None:
    index = promotions(
        np.array([3, 3, 4]), np.array([7, 7, 7]), np.array([1, 1, 2]),
        np.array([DISPLAYED, MAILED, MAILED], dtype=np.int8), items=5,
    )  # fmt: skip
    asked = np.array([3, 3, 4, 3]), np.array([7, 8, 7, 7]), np.array([1, 1, 1, 2])
    assert index.kinds(*asked).tolist() == [DISPLAYED | MAILED, 0, 0, 0]
    pair, item = index.shown(np.array([4, 3]), np.array([7, 7]))
    assert (pair.tolist(), item.tolist()) == ([0, 1], [2, 1])


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    size=st.integers(1, 8),
    positives=st.integers(0, 4),
    seed=st.integers(0, 5),
)
def test_a_sampled_list_holds_each_candidate_once_and_at_most_its_positives(
    sizes: list[int], size: int, positives: int, seed: int
) -> None:
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    generator = np.random.default_rng(seed)
    label, shown = generator.random((2, offsets[-1])) < 0.4
    lists = sample_lists(
        offsets, label, shown, size=size, positives=positives, shown_share=0.5, seed=seed
    )
    for request, row in enumerate(lists):
        kept = row[row >= 0]
        assert len(set(kept.tolist())) == len(kept)
        assert ((kept >= offsets[request]) & (kept < offsets[request + 1])).all()
        assert label[kept].sum() == min(
            positives, size, label[offsets[request] : offsets[request + 1]].sum()
        )


def test_item_weights_fitted_through_the_label_window_are_caught() -> None:
    requests = trips(LOG, 8 * DAY, 10 * DAY)
    honest = ease(LOG, through=8 * DAY, items=5, penalty=1.0)
    leaking = ease(LOG, through=10 * DAY, items=5, penalty=1.0)
    assert audit({"ease": honest.fitted_through}, requests.at) == []
    with pytest.raises(LeakageError, match=r"ease was fitted through .* 3 of 3 queries"):
        refuse_leaks({"ease": leaking.fitted_through}, requests.at)


def test_a_refit_is_judged_query_by_query() -> None:
    at = np.array([5, 10], dtype=np.int64)
    assert audit({"weekly": np.array([5, 8], dtype=np.int64)}, at) == []
    (leak,) = audit({"weekly": np.array([5, 11], dtype=np.int64)}, at)
    assert (leak.queries, leak.by) == (1, 1)


def test_ranges_name_their_owners() -> None:
    rows, owner = ranges(np.array([3, 5, 5]), np.array([5, 5, 7]))
    assert rows.tolist() == [3, 4, 5, 6]
    assert owner.tolist() == [0, 0, 2, 2]
