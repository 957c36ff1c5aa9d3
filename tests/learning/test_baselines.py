"""Baselines and retrieval: as of the query, and the same over candidates as over everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.data.features.asof import timeline
from bowerbird.data.features.columns import DAY, Count, Decayed
from bowerbird.data.samples.requests import trips
from bowerbird.data.samples.sequences import Actions, actions, first_actions
from bowerbird.learning.models.baselines import Blend, ItemColumn, PairColumn, ease, item_knn
from bowerbird.learning.models.retrieval import (
    Candidates,
    best,
    best_columns,
    from_weights,
    novel,
    popular,
    union,
)
from bowerbird.learning.training.evaluation import ndcg


def random_log(seed: int, rows: int = 400, users: int = 12, items: int = 20) -> Actions:
    generator = np.random.default_rng(seed)
    return actions(
        generator.integers(0, users, rows),
        generator.integers(0, items, rows),
        generator.integers(0, 60, rows) * (DAY // 2),
        {"store": np.zeros(rows)},
    )


@pytest.mark.parametrize("fitted", [ease, item_knn])
def test_item_weights_score_a_users_actions_strictly_before_the_query(fitted: object) -> None:
    log = random_log(0)
    model = fitted(log, through=20 * DAY, items=15)  # type: ignore[operator]
    requests = trips(log, 20 * DAY, 30 * DAY)
    for part, scores in model.dense(requests.user, requests.at, block=7):
        for row, request in enumerate(range(part.start, part.stop)):
            past = model.history
            seen = (past.user == requests.user[request]) & (past.at < requests.at[request])
            age = requests.at[request] - past.at[seen]
            weight = past.extra["weight"][seen] * 2.0 ** (-age / model.half_life)
            expected = weight @ model.weights[model.index(past.item[seen])]
            np.testing.assert_allclose(scores[row], expected, rtol=1e-4, atol=1e-5)


def test_item_weights_do_not_change_with_what_comes_after_they_were_fitted() -> None:
    log = random_log(1)
    early = log.take(np.flatnonzero(log.at < 20 * DAY))
    whole, cut = (ease(part, through=20 * DAY, items=15) for part in (log, early))
    np.testing.assert_array_equal(whole.weights, cut.weights)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.5]), min_size=1, max_size=20),
    groups=st.integers(1, 3),
    count=st.integers(1, 6),
)
def test_best_equals_a_stable_sort(scores: list[float], groups: int, count: int) -> None:
    item = np.arange(len(scores), dtype=np.int64)
    group = item % groups
    expected = [
        (which, int(i))
        for which in range(groups)
        for i in sorted(item[group == which], key=lambda i: (-scores[i], i))[:count]
    ]
    found = best(group, item, np.array(scores), count)
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


def test_the_best_columns_of_a_matrix_are_the_best_of_its_rows() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (5, 12)).astype(np.float32)
    row, column = np.indices(scores.shape).reshape(2, -1)
    expected = best(row, column, scores.ravel(), 4)
    found = best_columns(scores, np.arange(12), 4)
    np.testing.assert_array_equal(np.stack(found), np.stack(expected))


def test_popular_items_are_exactly_those_of_a_full_scoring() -> None:
    log = random_log(2, rows=800, items=60)
    events = timeline([log.item], log.at)
    requests = trips(log, 20 * DAY, 30 * DAY)
    column = Decayed("3d")
    found = best(*popular(events, column, requests.at, 8), 8)
    every = np.arange(events.radices[0])
    request = np.repeat(np.arange(len(requests)), len(every))
    item = np.tile(every, len(requests))
    score = ItemColumn(column, events).scores(item, item, requests.at[request])
    np.testing.assert_array_equal(np.stack(found), np.stack(best(request, item, score, 8)))


def test_a_baseline_ranks_the_candidates_as_it_ranks_the_catalogue() -> None:
    log = random_log(3, rows=900, items=80)
    firsts = first_actions(log)
    model = ease(log, through=20 * DAY, items=60)
    requests = trips(log, 20 * DAY, 30 * DAY)
    every, fresh, _ = from_weights(model, requests, firsts, best_all=10, best_novel=10)
    few = union([(0, *every), (1, *fresh)], len(requests))
    request = np.repeat(np.arange(len(requests)), 80)
    item = np.tile(np.arange(80), len(requests))
    everything = union([(0, request, item)], len(requests))
    owner = np.repeat(np.arange(len(requests)), np.diff(requests.offsets))
    taken = np.diff(requests.offsets)

    def judged(candidates: Candidates, only_new: bool) -> np.ndarray:
        user, at = requests.user[candidates.request], requests.at[candidates.request]
        label = np.isin(candidates.request * 80 + candidates.item, owner * 80 + requests.positives)
        allowed = novel(firsts, user, candidates.item, at) if only_new else None
        # EASE has no opinion on items without weights: they stand behind all that have some.
        score = model.scores(user, candidates.item, at)
        score = np.where(model.index(candidates.item) < 0, -1e9, score)
        return ndcg(candidates, score, label, taken, allowed=allowed)

    for only_new in (False, True):
        np.testing.assert_allclose(judged(few, only_new), judged(everything, only_new))


def test_a_blend_adds_what_its_parts_say() -> None:
    log = random_log(4)
    pairs, items = timeline([log.user, log.item], log.at), timeline([log.item], log.at)
    own, everyone = PairColumn(Count(), pairs), ItemColumn(Count(), items)
    asked = log.user[:9], log.item[:9], np.full(9, 25 * DAY)
    np.testing.assert_allclose(
        Blend([(own, 1.0), (everyone, 0.5)]).scores(*asked),
        own.scores(*asked) + 0.5 * everyone.scores(*asked),
    )
