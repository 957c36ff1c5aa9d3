"""One set, the same batches: in this process, in others, on Ray, in torch; and workers that die."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bowerbird.core.engine import Engine
from bowerbird.core.errors import BowerbirdError, UserError
from bowerbird.core.steps import Home
from bowerbird.data.samples.batches import Ahead, batches
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.sampling import Downsample
from bowerbird.data.samples.transforms import Cast, Custom, FillNull, Hash, Log1p
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Lake
from tests.data.world import SPECS, small_shop, the_set

HERE = "tests.data.test_engines"
ROOT = str(Path(__file__).parents[2])

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return small_shop(str(tmp_path_factory.mktemp("shop")), requests=60)


@pytest.fixture(scope="module")
def processes() -> Iterator[Engine]:
    with contextlib.closing(open_engine(EngineKind.PROCESSES, workers=2, paths=(ROOT,))) as engine:
        yield engine


def plan_of(home: Home, **changes: Any) -> SetPlan:
    words = ("action", "items__brand", "users__country")
    declared = {
        "transforms": (
            Log1p(("past__amount",)),
            Hash(words, 50),
            FillNull(("user_id", "items__size"), -1),
        ),
        "sampling": (Downsample("reward", 0, 0.7),),
        "order": "requests",
        "interleave": 2,
    }
    return plan_set(Lake(home), the_set(**(declared | changes)), SPECS)


def same(one: list[pa.RecordBatch], two: list[pa.RecordBatch]) -> bool:
    return len(one) == len(two) and all(a.equals(b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("order", ["requests", "shuffled"])
def test_processes_make_the_batches_that_this_process_makes(
    home: Home, processes: Engine, order: str
) -> None:
    plan = plan_of(home, order=order)
    here = list(batches(home, plan, batch_size=16))
    assert same(list(batches(home, plan, batch_size=16, engine=processes)), here)


def test_a_reader_with_an_engine_goes_on_where_another_without_stopped(
    home: Home, processes: Engine
) -> None:
    plan = plan_of(home)
    stream = batches(home, plan, batch_size=16)
    some = [next(stream) for _ in range(3)]
    left = list(batches(home, plan, batch_size=16, engine=processes, position=stream.position))
    assert same(some + left, list(batches(home, plan, batch_size=16)))


def test_files_are_gone_when_the_reader_is_done(
    home: Home, processes: Engine, tmp_path: Path
) -> None:
    stream = batches(home, plan_of(home), engine=processes, folder=str(tmp_path))
    assert list(stream)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_ray_makes_the_batches_that_this_process_makes(home: Home) -> None:
    plan = plan_of(home)
    with contextlib.closing(open_engine(EngineKind.RAY, workers=2, paths=(ROOT,))) as engine:
        found = list(batches(home, plan, batch_size=16, engine=engine))
    assert same(found, list(batches(home, plan, batch_size=16)))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_ray_dataset_has_the_rows_of_all_batches(home: Home) -> None:
    import ray

    from bowerbird.data.samples.frames import to_ray

    plan = plan_of(home)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        found = to_ray(home, plan).take_all()
    finally:
        ray.shutdown()
    wanted = [row for batch in batches(home, plan) for row in batch.to_pylist()]
    keys = [
        sorted((row["request_id"], row["item_id"], row["reward"]) for row in rows)
        for rows in (found, wanted)
    ]
    assert keys[0] == keys[1]


def test_polars_has_the_same_batches(home: Home) -> None:
    from bowerbird.data.samples.frames import to_polars

    plan = plan_of(home)
    frames = list(to_polars(home, plan, batch_size=16))
    here = list(batches(home, plan, batch_size=16))
    assert [len(one) for one in frames] == [one.num_rows for one in here]
    assert frames[0]["reward"].to_list() == here[0].column("reward").to_pylist()


def equal(one: dict[str, Any], two: dict[str, Any]) -> bool:
    import torch

    return one.keys() == two.keys() and all(
        torch.equal(torch.nan_to_num(one[name]), torch.nan_to_num(two[name])) for name in one
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_torch_has_the_same_batches_with_any_number_of_workers(home: Home, workers: int) -> None:
    from torch.utils.data import DataLoader

    from bowerbird.data.samples.torch_batches import tensors, to_torch

    plan = plan_of(home)
    here = [tensors(batch, "") for batch in batches(home, plan, batch_size=16)]
    loader = DataLoader(
        to_torch(home, plan, batch_size=16),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    found = list(loader)
    assert len(found) == len(here)
    assert all(equal(one, two) for one, two in zip(found, here, strict=True))


def test_torch_has_the_same_batches_made_by_an_engine(home: Home, processes: Engine) -> None:
    from torch.utils.data import DataLoader

    from bowerbird.data.samples.torch_batches import tensors, to_torch

    plan = plan_of(home)
    here = [tensors(batch, "") for batch in batches(home, plan, batch_size=16)]
    made = to_torch(home, plan, batch_size=16, engine=processes)
    found = list(DataLoader(made, batch_size=None))
    assert len(found) == len(here)
    assert all(equal(one, two) for one, two in zip(found, here, strict=True))
    with pytest.raises(Exception, match=r"workers that would too"):
        next(iter(DataLoader(made, batch_size=None, num_workers=1)))


def test_tensors_hold_lists_times_and_codes(home: Home) -> None:
    import torch

    from bowerbird.data.samples.torch_batches import to_torch

    found = next(iter(to_torch(home, plan_of(home), batch_size=16)))
    offsets = found["past__code__offsets"]
    assert offsets[-1] == len(found["past__code"]) == len(found["past__item_id"])
    assert found["past__code"].dtype == torch.int8
    assert found["past__code"].shape[1:] == (4,)
    assert found["at"].dtype == torch.int64


def test_columns_of_numbers_are_one_tensor_where_that_is_asked(home: Home) -> None:
    import torch

    from bowerbird.data.samples.torch_batches import to_torch

    plan, names = plan_of(home), ("spend__n", "spend__mean_item", "price")
    plain = next(iter(to_torch(home, plan, batch_size=16)))
    found = next(iter(to_torch(home, plan, batch_size=16, stacked={"numbers": names})))
    apart = torch.stack([plain.pop(name).float() for name in names], 1)
    assert equal(found, plain | {"numbers": apart})


@pytest.mark.parametrize(
    ("stacked", "said"),
    [
        ({"numbers": ("spend__mean_item", "prise")}, "no column 'prise' to stack"),
        ({"numbers": ("spend__mean_item", "past__code")}, "'past__code' is large_list"),
        ({"numbers": ("at",)}, "'at' is timestamp"),
        ({"at": ("spend__mean_item",)}, "'at' is a column"),
    ],
)
def test_what_cannot_be_stacked_is_said_before_the_first_batch(
    home: Home, stacked: Any, said: str
) -> None:
    from bowerbird.data.samples.torch_batches import to_torch

    with pytest.raises(UserError, match=said):
        to_torch(home, plan_of(home), stacked=stacked)


@pytest.mark.parametrize(
    ("transforms", "said"),
    [
        ((Hash(("action", "items__brand", "users__country"), 9),), "is null in"),
        ((FillNull(("user_id",), 0),), "'action' is large_string, which no tensor holds"),
        ((FillNull(("user_id",), 0), Cast(("action",), "string")), "'action' is string"),
    ],
)
def test_what_no_tensor_holds_is_said_before_the_first_batch(
    home: Home, transforms: Any, said: str
) -> None:
    from bowerbird.data.samples.torch_batches import to_torch

    with pytest.raises(UserError, match=said):
        to_torch(home, plan_of(home, transforms=transforms))


# -- workers that die --------------------------------------------------------------------------


def dies_once(batch: pa.RecordBatch) -> Any:
    """Kills its worker the first time that a batch of the second kind of rows comes by."""
    mark = Path(os.environ["BOWERBIRD_TEST_MARK"])
    if os.getpid() != int(os.environ["BOWERBIRD_TEST_DRIVER"]):
        with contextlib.suppress(FileExistsError):
            mark.touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
    return {"same": batch.column("price")}


def dies_always(batch: pa.RecordBatch) -> Any:
    if os.getpid() != int(os.environ["BOWERBIRD_TEST_DRIVER"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"same": batch.column("price")}


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("BOWERBIRD_TEST_MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("BOWERBIRD_TEST_DRIVER", str(os.getpid()))
    with contextlib.closing(open_engine(EngineKind.PROCESSES, workers=2, paths=(ROOT,))) as engine:
        yield engine


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing_and_brings_nothing_twice(
    home: Home, marked: Engine, tmp_path: Path
) -> None:
    plan = plan_of(home, transforms=(Custom(f"{HERE}:dies_once", ("price",), ("same",)),))
    found = list(batches(home, plan, batch_size=16, engine=marked))
    assert (tmp_path / "mark").exists()
    assert same(found, list(batches(home, plan, batch_size=16)))


def is_slow(batch: pa.RecordBatch) -> Any:
    if os.getpid() != int(os.environ["BOWERBIRD_TEST_DRIVER"]):
        mark = Path(os.environ["BOWERBIRD_TEST_MARK"])
        mark.touch()
        time.sleep(30)
        mark.with_suffix(".over").touch()
    return {"same": batch.column("price")}


@pytest.mark.slow
def test_who_stops_reading_ahead_does_not_wait_for_a_task(
    home: Home, marked: Engine, tmp_path: Path
) -> None:
    plan = plan_of(home, transforms=(Custom(f"{HERE}:is_slow", ("price",), ("same",)),))
    ahead = Ahead(batches(home, plan, batch_size=16, engine=marked, folder=str(tmp_path)))
    while not (tmp_path / "mark").exists():
        time.sleep(0.02)
    ahead.close()
    assert not (tmp_path / "mark.over").exists()
    assert not list(tmp_path.glob("samples-*"))


@pytest.mark.slow
def test_a_worker_that_dies_each_time_ends_the_reader_with_its_bucket_named(
    home: Home, marked: Engine
) -> None:
    plan = plan_of(home, transforms=(Custom(f"{HERE}:dies_always", ("price",), ("same",)),))
    with pytest.raises(BowerbirdError, match=r"lost|killed|died"):
        list(batches(home, plan, batch_size=16, engine=marked))


@pytest.mark.slow
def test_a_torch_worker_that_is_killed_ends_the_loader_with_an_error(tmp_path: Path) -> None:
    small_shop(str(tmp_path), nulls=False)
    command = [sys.executable, "-m", "tests.data.killed_loader", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert re.match(r"ended: DataLoader worker|ended: .*[Cc]onnection", ran.stdout), ran.stderr
