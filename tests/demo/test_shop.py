"""The demo's functions on a tiny shop: nothing looks ahead."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from bowerbird.data.features.columns import DAY
from bowerbird.data.samples.leakage import LeakageError
from bowerbird.data.samples.requests import trips
from bowerbird.data.samples.splits import last_windows
from bowerbird.demo.features import names, personal, timelines
from bowerbird.demo.house import declared
from bowerbird.demo.project.specs import feed
from bowerbird.demo.ranking import baseline_scores, compare, per_request
from bowerbird.demo.shop import WEEK_TWO, Shop, promotion_index, shop, week_of
from bowerbird.demo.training_set import Judged, Retrieval, candidate_features, judge, retrieve
from bowerbird.learning.models.baselines import ease, item_knn

GROUPS = declared(feed.GROUPS)
FEW = Retrieval(history=8, frequent=3, popular=5, popular_new=5, best=3, best_new=3)


def transactions(seed: int = 0, rows: int = 1500) -> pa.Table:
    generator = np.random.default_rng(seed)
    household = generator.integers(1, 20, rows)
    day = generator.integers(0, 90, rows)
    at = WEEK_TWO + day * DAY + household * 3_600_000_000
    item = (household * 3 + generator.integers(0, 12, rows)) % 40
    return pa.table(
        {
            "household_id": household,
            "store_id": household % 3 + 300,
            "product_id": 1000 + item * 7,
            "quantity": generator.integers(1, 3, rows),
            "sales_value": generator.uniform(1, 9, rows).round(2),
            "retail_disc": generator.uniform(0, 1, rows).round(2),
            "at": pa.array(at).cast(pa.timestamp("us", tz="UTC")),
        }
    )


PRODUCTS = pa.table(
    {
        "product_id": 1000 + np.arange(40) * 7,
        "product_type": [f"type {i % 9}" for i in range(40)],
        "product_category": [None if i == 0 else f"category {i % 4}" for i in range(40)],
        "manufacturer_id": np.arange(40) % 5,
        "department": ["GROCERY"] * 40,
        "brand": ["National"] * 40,
    }
)
PROMOTIONS = pa.table(
    {
        "product_id": [1000, 1007, 999],
        "store_id": [300, 301, 300],
        "display_location": ["0", "5", "1"],
        "mailer_location": ["A", "0", "0"],
        "week": [10, 11, 10],
    }
)


def judged_rows(table: pa.Table, start: int) -> tuple[Shop, Judged, np.ndarray]:
    house = shop(table, PRODUCTS)
    events = timelines(house, GROUPS)
    requests = trips(house.log, start, start + 10 * DAY)
    models = [fitted(house.log, through=start, items=30) for fitted in (ease, item_knn)]
    found = retrieve(house, events, requests, ease=models[0], knn=models[1], sizes=FEW)
    judged = judge(house, requests, found)
    matrix = candidate_features(
        house,
        GROUPS,
        events,
        promotion_index(PROMOTIONS, house),
        judged,
        np.arange(len(judged.label)),
        ease=models[0],
        knn=models[1],
        period=False,
    )
    return house, judged, matrix


def test_what_comes_after_a_window_changes_no_candidate_and_no_feature_in_it() -> None:
    table = transactions()
    start = WEEK_TWO + 60 * DAY
    at = table["at"].cast(pa.int64()).to_numpy()
    # Every product keeps a first purchase, so that both shops number their items alike.
    before = table.filter(pa.array(at < start + 10 * DAY))
    _, whole, features = judged_rows(table, start)
    _, cut, features_cut = judged_rows(before, start)
    np.testing.assert_array_equal(whole.candidates.item, cut.candidates.item)
    np.testing.assert_array_equal(whole.label, cut.label)
    np.testing.assert_allclose(features, features_cut, rtol=1e-5, atol=1e-5)


def test_item_weights_fitted_through_the_label_window_are_refused() -> None:
    house = shop(transactions(), PRODUCTS)
    start = WEEK_TWO + 60 * DAY
    requests = trips(house.log, start, start + 10 * DAY)
    knn = item_knn(house.log, through=start, items=30)
    leaking = ease(house.log, through=start + 10 * DAY, items=30)
    with pytest.raises(LeakageError, match="EASE was fitted through"):
        retrieve(house, timelines(house, GROUPS), requests, ease=leaking, knn=knn, sizes=FEW)


def test_every_model_is_judged_on_every_request_and_compared_by_household() -> None:
    house, judged, _ = judged_rows(transactions(), WEEK_TWO + 60 * DAY)
    zero = np.zeros(len(judged.label))
    scores = baseline_scores(timelines(house, GROUPS), judged, zero, zero)
    found = {name: per_request(judged, score, score) for name, score in scores.items()}
    assert {len(one.every) for one in found.values()} == {len(judged.requests)}
    assert len(found) == 6
    every = {name: values.every for name, values in found.items()}
    rows = compare("trip", every, judged.requests.user, against="popular")
    (popular,) = [row for row in rows if row.model == "popular"]
    assert (popular.ratio.estimate, popular.difference.high) == (1.0, 0.0)


def test_a_promotion_week_begins_at_midnight_in_new_york_and_the_last_one_does_not_end() -> None:
    moments = np.array([WEEK_TWO - 1, WEEK_TWO, WEEK_TWO + 7 * DAY, WEEK_TWO + 400 * DAY])
    assert week_of(moments).tolist() == [1, 2, 3, 53]


def test_personal_features_are_those_of_a_household_and_an_item_or_its_groups() -> None:
    kept = {name.split(".")[0] for name in names(GROUPS) if not personal(name)}
    assert kept == {
        "household", "item", "kind", "promo", "request", "score", "store", "store_item",
    }  # fmt: skip


def test_the_test_window_ends_with_the_latest_purchase() -> None:
    house = shop(transactions(), PRODUCTS)
    split = last_windows(int(house.log.at.max()), "28d")
    assert split.test[1] == int(house.log.at.max()) + 1


def test_a_product_that_nobody_bought_has_no_number() -> None:
    house = shop(transactions(), PRODUCTS)
    assert house.items(np.array([1000, 1001])).tolist() == [0, -1]
    with pytest.raises(IndexError):
        house.product_ids[len(house)]
