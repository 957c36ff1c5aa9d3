"""On the fly, staged, promoted: one line of the training set apart, and the same batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bowerbird.data.samples import batches, fitted, plan_set
from bowerbird.data.samples.specs import TrainingSet
from bowerbird.lake import Lake
from bowerbird.workspace.workspace import Workspace
from tests.data.features.shop import apply, stocked
from tests.data.features.test_promotion import PROMOTED

NAMES = ("row_id", "spend__sum_7d", "visits__n", "visits__last")


def rows_of(shop: Workspace, **declared: Any) -> list[dict[str, Any]]:
    found = TrainingSet("shop/set", entity="user", owner="team:x", **declared)
    specs = {ref: one.spec for ref, one in shop.specs.items()}
    plan = fitted(shop.home, plan_set(Lake(shop.home), found, specs))
    rows = [row for batch in batches(shop.home, plan, batch_size=16) for row in batch.to_pylist()]
    return sorted(
        ({name: row[name] for name in NAMES} for row in rows), key=lambda row: str(row["row_id"])
    )


@pytest.mark.slow
def test_a_feature_on_the_fly_staged_and_promoted_differs_by_one_line(tmp_path: Path) -> None:
    shop = stocked(tmp_path, range(20, 26), PROMOTED)
    apply(shop)
    rows, columns = "table:shop/rows", ("row_id",)
    groups = ("feature_group:shop/spend", "feature_group:shop/visits")
    computed = rows_of(shop, rows=rows, columns=columns, features=groups)
    staged = rows_of(
        shop, rows=rows, columns=columns, features=("backfill:shop/spend", "backfill:shop/more")
    )
    promoted = rows_of(shop, rows="table:shop/training")
    assert len(computed) == 36
    assert any(row["visits__last"] for row in computed)
    assert computed == staged == promoted
