"""What a lag does is seen before anything is backfilled."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from bowerbird.data.features.alignment import DayBoundary, PointInTime
from bowerbird.data.features.columns import DAY, Count, Last
from bowerbird.data.features.realigned import realigned
from bowerbird.data.features.specs import FeatureGroup

GROUP = FeatureGroup(
    "shop/visits",
    source="table:shop/visits",
    key=("user",),
    columns={"today": Count(over="1d"), "ever": Count(), "places": Last("place", n=2)},
)


def visits_and_rows() -> tuple[pa.Table, pa.Table]:
    """Who came within the last hours buys: what a day's lag would not know."""
    random = np.random.default_rng(5)
    at = random.integers(0, 20 * DAY, 4000)
    users = random.integers(0, 100, 4000)
    events = pa.table(
        {
            "user": users,
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "place": random.integers(0, 5, 4000),
        }
    )
    bought = random.integers(0, 4000, 600)
    moment = np.concatenate([at[bought] + DAY // 10, random.integers(0, 20 * DAY, 600)])
    rows = pa.table(
        {
            "user": np.concatenate([users[bought], random.integers(0, 100, 600)]),
            "at": pa.array(moment, pa.timestamp("us", "UTC")),
            "label": np.arange(1200) < 600,
        }
    )
    return events, rows


def test_a_lag_changes_fresh_features_and_the_metric_that_lived_on_them() -> None:
    events, rows = visits_and_rows()
    found = realigned(GROUP, events, rows, PointInTime(), DayBoundary(1), label="label")
    today, ever, places = found.columns
    assert found.rows == 1200
    assert today.changed > 0.5
    assert today.auc_before is not None
    assert today.auc_after is not None
    assert today.auc_before > today.auc_after + 0.1
    assert ever.mean_before is not None
    assert ever.mean_after is not None
    assert ever.mean_before > ever.mean_after
    assert places.mean_before is None
    assert places.changed > 0
    assert found.metric_before is not None
    assert found.metric_after is not None
    assert found.metric_before > found.metric_after + 0.1


def test_the_same_alignment_changes_nothing() -> None:
    events, rows = visits_and_rows()
    found = realigned(GROUP, events, rows, DayBoundary(1), DayBoundary(1), label="label")
    assert [column.changed for column in found.columns] == [0, 0, 0]
    assert found.metric_before == found.metric_after
