"""A set stored and found again; what reading costs, told before and measured after."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bowerbird.core.errors import UserError
from bowerbird.core.steps import Home
from bowerbird.data.samples.batches import Ahead, batches, fitted
from bowerbird.data.samples.kept import keep, kept_plan
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.roofline import measure
from bowerbird.data.samples.rows import Reader, open_rows
from bowerbird.data.samples.sampling import Downsample
from bowerbird.data.samples.splits import Windows
from bowerbird.data.samples.transforms import FillNull, Hash, Log1p, Standardize
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Lake
from tests.data.test_batches import impressions_of
from tests.data.world import IMPRESSIONS, SPECS, commit, small_shop, the_set

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return small_shop(str(tmp_path))


def plan_of(home: Home, **changes: Any) -> SetPlan:
    return plan_set(Lake(home), the_set(**changes), SPECS)


@pytest.mark.parametrize("order", ["requests", "shuffled"])
def test_a_kept_set_gives_the_very_batches(home: Home, order: str) -> None:
    declared = (Log1p(("price",)), Hash(("items__brand",), 50), FillNull(("past__amount",), 0.0))
    plan = plan_of(home, order=order, transforms=declared, sampling=(Downsample("reward", 0, 0.5),))
    kept = keep(home, plan)
    stored = kept_plan(Lake(home), plan, kept.version)
    found, wanted = (list(batches(home, one, batch_size=16)) for one in (stored, plan))
    assert [b.to_pylist() for b in found] == [b.to_pylist() for b in wanted]
    (first, *_) = batches(home, stored, batch_size=16).by_request()
    (same, *_) = batches(home, plan, batch_size=16).by_request()
    assert set(first.user.schema.names) == set(same.user.schema.names)


def test_of_a_kept_set_a_reader_holds_once_what_is_the_same_for_a_request(home: Home) -> None:
    plan = plan_of(home, order="requests")
    stored = kept_plan(Lake(home), plan, keep(home, plan).version)
    rows = open_rows(Reader(Lake(home)), stored, 0)
    assert len(rows) == 3 * rows.once.num_rows == 3 * len(rows.first)
    assert {"past__item_id", "spend__n", "user_id"} <= set(rows.once.column_names)
    assert set(rows.once.column_names).isdisjoint(rows.each.column_names)


def test_a_kept_set_has_the_rows_of_each_split(home: Home) -> None:
    plan = plan_of(home, splits=Windows("9h"), sampling=(Downsample("reward", 0, 0.5),))
    stored = kept_plan(Lake(home), plan, keep(home, plan).version)
    for split in ("train", "validation", "test"):
        found, wanted = (
            sorted(
                (row["request_id"], row["item_id"], row["weight"])
                for batch in batches(home, one, split=split)
                for row in batch.to_pylist()
            )
            for one in (stored, plan)
        )
        assert found == wanted


def test_a_set_is_kept_once_and_anew_when_what_it_reads_changes(home: Home) -> None:
    first = keep(home, plan_of(home))
    again = keep(home, plan_of(home))
    assert (first.made, again.made) == (True, False)
    assert again.version == first.version
    commit(Lake(home), IMPRESSIONS, impressions_of([(1, 3)]))
    other = keep(home, plan_of(home))
    assert (other.made, other.rows) == (True, first.rows + 1)
    changed = keep(home, plan_of(home, labels={}))
    assert changed.made
    assert keep(home, plan_of(home)).version == other.version


def test_constants_are_kept_with_the_set(home: Home) -> None:
    plan = plan_of(home, transforms=(Standardize(("price",)),))
    kept = keep(home, plan)
    assert kept.fitted == fitted(home, plan).fitted
    assert keep(home, plan).fitted == kept.fitted


def test_a_transform_of_what_batches_are_ordered_by_is_not_kept(home: Home) -> None:
    plan = plan_of(home, transforms=(FillNull(("user_id",), 0),))
    with pytest.raises(UserError, match=r"transforms\[0\] FillNull: it changes 'user_id'"):
        keep(home, plan)


@pytest.mark.slow
def test_an_engine_keeps_the_same(home: Home) -> None:
    plan = plan_of(home)
    with contextlib.closing(
        open_engine(EngineKind.PROCESSES, workers=2, paths=(str(ROOT),))
    ) as engine:
        kept = keep(home, plan, engine)
    stored = kept_plan(Lake(home), plan, kept.version)
    found, wanted = (list(batches(home, one, batch_size=16)) for one in (stored, plan))
    assert [b.to_pylist() for b in found] == [b.to_pylist() for b in wanted]


# -- ahead, fitted, measured -------------------------------------------------------------------


def test_a_thread_ahead_hands_out_the_same_and_knows_its_place(home: Home) -> None:
    plan = plan_of(home)
    wanted = list(batches(home, plan, batch_size=16))
    with contextlib.closing(Ahead(batches(home, plan, batch_size=16))) as ahead:
        some = [next(ahead) for _ in range(3)]
        position = ahead.position
    assert position.batch == 3
    left = list(batches(home, plan, batch_size=16, position=position))
    assert all(a.equals(b) for a, b in zip([*some, *left], wanted, strict=True))
    with contextlib.closing(Ahead(batches(home, plan, batch_size=16))) as ahead:
        assert len(list(ahead)) == len(wanted)


def test_constants_are_fitted_on_the_rows_that_are_trained_on(home: Home) -> None:
    plan = fitted(home, plan_of(home, transforms=(Standardize(("price", "past__amount")),)))
    found = pa.Table.from_batches(list(batches(home, plan)))
    price = found.column("price").to_numpy()
    assert (float(price.mean()), float(price.std())) == (
        pytest.approx(0, abs=1e-6),
        pytest.approx(1, abs=1e-5),
    )


def test_the_roofline_names_each_stage_and_the_slowest(home: Home) -> None:
    told = measure(home, plan_of(home), lambda batch: batch.num_rows, batches=5, batch_size=16)
    names = {stage.name for stage in told.stages}
    assert {"read shop.impressions", "match spend", "gather", "transform"} <= names
    assert sum(stage.share for stage in told.stages) == pytest.approx(1)
    assert told.slowest == max(told.stages, key=lambda stage: stage.seconds).name
    assert told.bytes_used > 0
    assert "of its roofline" in str(told)


@pytest.mark.slow
def test_a_reader_stays_within_its_memory(tmp_path: Path) -> None:
    """A set of ten times the bound, in a process of its own."""
    memory = 64 * 2**20
    command = [sys.executable, "-m", "tests.data.large_read", str(tmp_path), str(memory)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    grew, came = map(int, ran.stdout.split())
    assert came > 10 * memory
    assert grew < memory
