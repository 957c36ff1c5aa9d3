"""On the fly, staged, promoted: one line of the training set apart, and the same batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bowerbird.data.samples import batches, fitted, plan_set
from bowerbird.data.samples.specs import TrainingSet
from bowerbird.lake import Lake
from bowerbird.workspace.workspace import Workspace
from tests.data.features.shop import SPECS, apply, stocked

KINDS = (
    SPECS
    + '''
import pyarrow as pa
from bowerbird.data.features.specs import Promotion

gives = {"n": "long", "mean": "double", "last": "list<long>"}


def told(events, asked):
    """In loops, what the columns say."""
    found = []
    for user, moment in zip(asked["user"].to_pylist(), asked["at"].to_pylist()):
        seen = [one for one in events.to_pylist() if one["user"] == user and one["at"] < moment]
        amounts = [one["amount"] for one in sorted(seen, key=lambda one: one["at"])]
        mean = sum(amounts) / len(amounts) if amounts else None
        found.append({"n": len(amounts), "mean": mean, "last": amounts[-2:]})
    return pa.Table.from_pylist(found)


by_columns = FeatureGroup("shop/by_columns", source=events, key=("user",),
                          columns={"n": Count(), "mean": Mean("amount"),
                                   "last": Last("amount", n=2)})
by_sql = FeatureGroup("shop/by_sql", source=events, key=("user",), schema=gives, sql="""
SELECT asked.row, count(e."at") AS n, avg(e.amount) AS mean,
    coalesce((list(e.amount ORDER BY e."at") FILTER (e."at" IS NOT NULL))[-2:], []) AS last
FROM asked LEFT JOIN events e ON e."user" = asked."user" AND e."at" < asked."at"
GROUP BY asked.row
""")
by_function = FeatureGroup("shop/by_function", source=events, key=("user",), schema=gives,
                           function=told)
kinds = Backfill("shop/kinds", rows=rows, id=("row_id",),
                 features=(by_columns, by_sql, by_function), alignment=PointInTime("3h"))
training = Table(
    "shop/training",
    schema=rows.schema | {f"{group}__{name}": kind for name, kind in gives.items()
                          for group in ("by_columns", "by_sql", "by_function")},
    partition=(day("at"),),
    sort=("row_id",),
)
promotion = Promotion("shop/training", into=training, rows=rows, staged=(kinds,))
'''
)
GROUPS = ("by_columns", "by_sql", "by_function")
GIVES = ("n", "mean", "last")


def batch_of(shop: Workspace, **declared: Any) -> pa.Table:
    """All rows of a set, by their ids."""
    found = TrainingSet("shop/set", entity="user", owner="team:x", **declared)
    specs = {ref: one.spec for ref, one in shop.specs.items()}
    plan = fitted(shop.home, plan_set(Lake(shop.home), found, specs))
    names = ["row_id", *(f"{group}__{name}" for group in GROUPS for name in GIVES)]
    read = pa.Table.from_batches(list(batches(shop.home, plan, batch_size=16)))
    return read.select(names).sort_by("row_id").combine_chunks()


@pytest.mark.slow
def test_a_feature_on_the_fly_staged_and_promoted_differs_by_one_line(tmp_path: Path) -> None:
    """Groups by columns, by SQL and by a function: of equal types, and equal to the last bit."""
    shop = stocked(tmp_path, range(20, 26), KINDS)
    apply(shop)
    rows, columns, lag = "table:shop/rows", ("row_id",), shop.specs["backfill:shop/kinds"].spec
    groups = tuple(f"feature_group:shop/{name}" for name in GROUPS)
    given: dict[str, Any] = {"rows": rows, "columns": columns, "alignment": lag.alignment}
    computed = batch_of(shop, features=groups, **given)
    staged = batch_of(shop, features=("backfill:shop/kinds",), **given)
    promoted = batch_of(shop, rows="table:shop/training")
    assert computed.num_rows == 36
    assert any(computed["by_sql__last"].to_pylist())
    assert computed.schema.to_string() == staged.schema.to_string() == promoted.schema.to_string()
    assert computed.equals(staged)
    assert staged.equals(promoted)
    for name in GIVES:
        for group in GROUPS[1:]:
            assert computed[f"{group}__{name}"].equals(computed[f"by_columns__{name}"])
