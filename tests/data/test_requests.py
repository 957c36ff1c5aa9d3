"""Batches at the level of requests: expanded late, masked, and how far from independent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.steps import Home
from bowerbird.data.samples.batches import batches
from bowerbird.data.samples.drift import Meter, drift
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.request_batch import RequestBatch, in_batch_mask_reference
from bowerbird.data.samples.transforms import Custom, FillNull, Log1p
from bowerbird.lake import Lake, Table, bucket
from tests.data.world import SPECS, commit, home_in, small_shop, the_set, times

pytestmark = pytest.mark.slow

HERE = "tests.data.test_requests"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return small_shop(str(tmp_path_factory.mktemp("shop")))


def plan_of(home: Home, **changes: Any) -> SetPlan:
    return plan_set(Lake(home), the_set(**({"order": "requests"} | changes)), SPECS)


def test_the_users_side_is_held_once_a_request(home: Home) -> None:
    for batch in batches(home, plan_of(home), batch_size=20).by_request():
        assert batch.requests * 3 == len(batch)
        assert batch.offsets.tolist() == list(range(0, len(batch) + 1, 3))
        names = set(batch.user.schema.names)
        assert {"user_id", "request_id", "past__item_id", "spend__n", "users__country"} <= names
        assert {"item_id", "items__brand", "of_brand__n", "reward"} <= set(batch.rows.schema.names)


@pytest.mark.parametrize("order", ["requests", "shuffled", "lying"])
def test_expanded_they_are_the_flat_batches(home: Home, order: str) -> None:
    plan = plan_of(home, order=order)
    flat = list(batches(home, plan, batch_size=20))
    late = [b.expand() for b in batches(home, plan, batch_size=20).by_request()]
    assert all(one.equals(two) for one, two in zip(flat, late, strict=True))


def test_a_request_is_never_cut_in_two(home: Home) -> None:
    seen: list[int] = []
    for batch in batches(home, plan_of(home, interleave=2), batch_size=7):
        seen += set(batch.column("request_id").to_pylist())
    assert len(seen) == len(set(seen)) == 40


def test_rows_that_do_not_lie_by_request_have_no_offsets_until_they_do(home: Home) -> None:
    (batch, *_) = batches(home, plan_of(home, order="shuffled"), batch_size=60).by_request()
    with pytest.raises(ValueError, match="declare order='requests'"):
        _ = batch.offsets
    assert batch.by_request().offsets[-1] == 60


def test_it_takes_the_memory_of_the_users_side_once(home: Home) -> None:
    (batch, *_) = batches(home, plan_of(home), batch_size=60).by_request()
    wide = batch.expand().select(batch.user.schema.names)
    assert batch.user.nbytes < wide.nbytes / 2


def doubled(batch: pa.RecordBatch) -> Any:
    return {"twice": np.asarray(batch.column("spend__n")) * 2}


def dearer(batch: pa.RecordBatch) -> Any:
    return {"dear": np.asarray(batch.column("price")) * np.asarray(batch.column("spend__n"))}


def test_transforms_run_once_a_request_on_the_users_side(home: Home) -> None:
    declared = (
        Log1p(("past__amount", "price")),
        Custom(f"{HERE}:doubled", ("spend__n",), ("twice",)),
        Custom(f"{HERE}:dearer", ("price", "spend__n"), ("dear",)),
        FillNull(("dear",), 0.0),
    )
    plan = plan_of(home, transforms=declared)
    (batch, *_) = batches(home, plan, batch_size=60).by_request()
    assert "twice" in batch.user.schema.names
    assert "dear" in batch.rows.schema.names
    flat = batch.expand()
    assert flat.schema.names[-2:] == ["twice", "dear"]
    for row in flat.to_pylist():
        assert row["twice"] == 2 * row["spend__n"]
        assert row["dear"] == pytest.approx(row["price"] * row["spend__n"])


# -- in-batch negatives ------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_mask_is_that_of_all_pairs(rows: list[tuple[int, int]]) -> None:
    users, items = zip(*rows, strict=True)
    distinct, of = np.unique(users, return_inverse=True)
    batch = RequestBatch(
        pa.RecordBatch.from_pydict({"user": distinct}),
        pa.RecordBatch.from_pydict({"item": list(items)}),
        of.astype(np.int64),
        ("user", "item"),
    )
    plain = in_batch_mask_reference(users, items)
    assert batch.in_batch_mask("user", "item").tolist() == plain.tolist()
    without = in_batch_mask_reference(users, None)
    assert batch.in_batch_mask("user").tolist() == without.tolist()


def test_sorted_by_request_half_the_negatives_of_two_users_are_false() -> None:
    batch = RequestBatch(
        pa.RecordBatch.from_pydict({"user": [1, 2]}),
        pa.RecordBatch.from_pydict({"item": [10, 11, 12, 13]}),
        np.array([0, 0, 1, 1]),
        ("user", "item"),
    )
    assert batch.in_batch_mask("user").sum() == 4 + 8


# -- drift -------------------------------------------------------------------------------------


def habits(folder: Path) -> Home:
    """Users whose rows are alike: each clicks always or never."""
    home = home_in(str(folder))
    table = Table(
        "shop/habits",
        schema={"user_id": "long", "at": "timestamptz", "click": "long"},
        partition=(bucket("user_id", 16),),
        sort=("user_id", "at"),
    )
    users = np.repeat(np.arange(400), 25)
    rows = {"user_id": users, "at": times(np.tile(np.arange(25), 400).tolist())}
    commit(Lake(home), table, pa.table(rows | {"click": users * 7919 % 97 % 2}))
    return home


@pytest.mark.slow
def test_interleaving_and_shuffling_are_what_the_meter_says_they_are(tmp_path: Path) -> None:
    from bowerbird.data.samples.specs import TrainingSet

    home = habits(tmp_path)

    def inflation(order: str, interleave: int) -> float:
        spec = TrainingSet(
            "shop/habits",
            rows="table:shop/habits",
            entity="user_id",
            order=order,
            interleave=interleave,
        )
        stream = batches(home, plan_set(Lake(home), spec), batch_size=100)
        (found,) = drift(stream, ["click"]).columns
        return found.inflation

    lying, interleaved = inflation("lying", 1), inflation("lying", 16)
    shuffled, both = inflation("shuffled", 1), inflation("shuffled", 16)
    assert lying > 15  # four users a batch
    assert interleaved < lying
    assert shuffled < lying / 3
    assert both < 2


def test_the_meter_finds_independent_rows_independent() -> None:
    random, meter = np.random.default_rng(0), Meter(["x", "constant"])
    for _ in range(400):
        rows = {"x": random.random(50), "constant": np.ones(50)}
        meter.add(pa.RecordBatch.from_pydict(rows))
    (found,) = meter.drift().columns
    assert found.inflation == pytest.approx(1, abs=0.15)
    assert found.correlation == pytest.approx(0, abs=0.01)
    assert found.effective == pytest.approx(50, rel=0.15)


def test_two_rows_a_user_and_a_user_a_batch_are_worth_one_row() -> None:
    meter = Meter(["x"])
    for value in (0.0, 1.0, 0.0, 1.0):
        meter.add(pa.RecordBatch.from_pydict({"x": [value, value]}))
    (found,) = meter.drift().columns
    assert (found.correlation, found.inflation) == (1.0, float("inf"))
