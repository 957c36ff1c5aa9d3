"""Wide rows into training: 512-long sequences joined when they are read, against stored wide rows.

    python -m benchmarks.training_input [--size 1.0] [--rounds 3]

Rows of 34 columns and two sequences of 512, at size 1 a hundred thousand. *Reading*: until the
tensors are there. *Training*: a ranker that pools the sequences and crosses the numbers, whose rate
on one frozen batch is the roofline; it is about as light as a ranker can be, and on two CPUs it and
its input take the same cores. *Attending*: one that attends over what the user did, as rankers of
today do. Ours joins the sequences from the log of actions as it reads
(or reads the set that it kept); the others are given wide rows, joined and stored before. Each in
a process of its own, two CPUs.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks import _apart
from benchmarks.lake_join import LAKE, commit, home
from bowerbird.data.samples.batches import Ahead, batches
from bowerbird.data.samples.kept import keep, kept_plan
from bowerbird.data.samples.labels import Reward
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.roofline import measure
from bowerbird.data.samples.specs import SequenceOf, TrainingSet
from bowerbird.data.samples.torch_batches import tensors
from bowerbird.data.samples.views import explain
from bowerbird.lake import Lake, Table, bucket

LENGTH, BATCH, NUMBERS = 512, 2048, [f"n{at}" for at in range(32)]
SEQUENCES = ("past__item", "past__amount")
COLUMNS, STACKED = [*NUMBERS, *SEQUENCES, "y"], {"numbers": NUMBERS}
HOUR = 3_600_000_000

ROWS = Table(
    "bench/impressions",
    schema={"user": "long", "at": "timestamptz", "item": "int", "click": "int"}
    | dict.fromkeys(NUMBERS, "float"),
    partition=(bucket("user", 16),),
    sort=("user", "at"),
)
LOG = Table(
    "bench/actions",
    schema={"user": "long", "at": "timestamptz", "item": "int", "amount": "float"},
    partition=(bucket("user", 16),),
    sort=("user", "at"),
)
SET = TrainingSet(
    "bench/clicks",
    rows="table:bench/impressions",
    entity="user",
    labels={"y": Reward({"click": 1})},
    sequences={"past": SequenceOf("table:bench/actions", ("item", "amount"), last=LENGTH)},
)


def prepare(folder: str, size: float, buckets: int = 16) -> None:
    """The tables, and the joined rows as Parquet for who wants them so."""
    import pyarrow.parquet as pq

    random = np.random.default_rng(3)
    rows, users = int(100_000 * size), max(4, int(2_000 * size))
    actions = users * 900
    lake = Lake(home(folder))

    def times(count: int, start: int) -> pa.Array:
        hours = random.integers(start, start + 2000, count)
        return pa.array(hours * HOUR, pa.timestamp("us", "UTC"))

    numbers = {name: random.random(rows, dtype=np.float32) for name in NUMBERS}
    made = {
        "user": random.integers(0, users, rows),
        "at": times(rows, 1500),
        "item": random.integers(0, 5000, rows).astype(np.int32),
        "click": (random.random(rows) < 0.2).astype(np.int32),
    }
    split = (bucket("user", buckets),)
    commit(lake, msgspec.structs.replace(ROWS, partition=split), pa.table(made | numbers))
    log = {
        "user": random.integers(0, users, actions),
        "at": times(actions, 0),
        "item": random.integers(0, 5000, actions).astype(np.int32),
        "amount": random.random(actions, dtype=np.float32),
    }
    commit(lake, msgspec.structs.replace(LOG, partition=split), pa.table(log))
    keep(home(folder), plan(folder))
    wide = pa.Table.from_batches(list(batches(home(folder), plan(folder))))
    wide = wide.select([*NUMBERS, *SEQUENCES, "y"])
    for at, start in enumerate(range(0, wide.num_rows, 8192)):
        part = wide.slice(start, 8192)
        pq.write_table(part, f"{folder}/wide-{at:03}.parquet", row_group_size=BATCH)


def plan(folder: str) -> SetPlan:
    return plan_set(Lake(home(folder)), SET)


def wide_files(folder: str) -> list[str]:
    return sorted(map(str, Path(folder).glob("wide-*.parquet")))


# -- where rows come from: batches of tensors --------------------------------------------------

Tensors = dict[str, Any]


def ours(folder: str) -> Iterator[Tensors]:
    return _tensors(batches(home(folder), plan(folder), batch_size=BATCH))


def ours_ahead(folder: str) -> Iterator[Tensors]:
    return _tensors(Ahead(batches(home(folder), plan(folder), batch_size=BATCH)))


def ours_kept(folder: str) -> Iterator[Tensors]:
    stored = kept_plan(Lake(home(folder)), plan(folder), None)
    return _tensors(batches(home(folder), stored, batch_size=BATCH))


def _tensors(found: Iterable[pa.RecordBatch]) -> Iterator[Tensors]:
    for batch in found:
        yield tensors(batch.select(COLUMNS), "set", STACKED)


class Files:
    """Rows of Parquet files, as the usual `IterableDataset` yields them: one dict a row."""

    def __init__(self, files: list[str], *, single: bool) -> None:
        self.files, self.single = files, single

    def batches(self, worker: int, workers: int) -> Iterator[Any]:
        import pyarrow.parquet as pq
        import torch

        for path in self.files[worker::workers]:
            for batch in pq.ParquetFile(path).iter_batches(BATCH):
                if not self.single:
                    yield tensors(batch, "rows", STACKED)
                    continue
                columns = [batch.column(name).to_numpy() for name in NUMBERS]
                past = [batch.column(name) for name in SEQUENCES]
                labels = batch.column("y").to_numpy()
                for row in range(batch.num_rows):
                    one = {
                        name: torch.from_numpy(lists[row].values.to_numpy().copy())
                        for name, lists in zip(SEQUENCES, past, strict=True)
                    }
                    numbers = torch.tensor([column[row] for column in columns])
                    yield one | {"numbers": numbers, "y": torch.tensor(labels[row])}


def _loader(folder: str, *, single: bool, workers: int) -> Iterator[Tensors]:
    from torch.utils.data import DataLoader

    found = dataset(wide_files(folder), single=single)
    if not single:
        yield from DataLoader(found, batch_size=None, num_workers=workers)
        return
    yield from DataLoader(found, batch_size=BATCH, num_workers=workers, collate_fn=collated)


def collated(rows: list[Tensors]) -> Tensors:
    """Rows as a batch: the numbers stacked, the sequences one after another."""
    import torch

    found = {name: torch.cat([row[name] for row in rows]) for name in SEQUENCES}
    for name in SEQUENCES:
        lengths = torch.tensor([0, *(len(row[name]) for row in rows)])
        found[f"{name}__offsets"] = lengths.cumsum(0)
    found["numbers"] = torch.stack([row["numbers"] for row in rows])
    return found | {"y": torch.stack([row["y"] for row in rows])}


def dataset(files: list[str], *, single: bool) -> Any:
    from torch.utils.data import IterableDataset, get_worker_info

    class Rows(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            worker = get_worker_info()
            at, count = (worker.id, worker.num_workers) if worker else (0, 1)
            return Files(files, single=single).batches(at, count)

    return Rows()


def ray_data(folder: str) -> Iterator[Tensors]:
    import ray.data

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    found: Any = ray.data
    rows = found.read_parquet(wide_files(folder))
    for batch in rows.iter_batches(batch_size=BATCH, batch_format="pyarrow"):
        for part in batch.combine_chunks().to_batches():
            yield tensors(part, "rows", STACKED)


def ray_join(folder: str) -> Iterator[Tensors]:
    """Rows and, for each, its sequences, as two tables of Parquet files, joined by Ray Data."""
    import pyarrow.parquet as pq
    import ray.data

    rows = pa.concat_tables([pq.read_table(path) for path in wide_files(folder)])
    numbered = rows.append_column("id", pa.array(range(rows.num_rows)))
    Path(f"{folder}/ray").mkdir(exist_ok=True)
    pq.write_table(numbered.drop_columns(list(SEQUENCES)), f"{folder}/ray/rows.parquet")
    pq.write_table(numbered.select(["id", *SEQUENCES]), f"{folder}/ray/past.parquet")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    found: Any = ray.data
    left, right = (found.read_parquet(f"{folder}/ray/{name}.parquet") for name in ("rows", "past"))
    joined = left.join(right, join_type="inner", num_partitions=16, on=("id",))
    for batch in joined.iter_batches(batch_size=BATCH, batch_format="pyarrow"):
        for part in batch.drop_columns(["id"]).combine_chunks().to_batches():
            yield tensors(part, "rows", STACKED)


def frozen(folder: str) -> Iterator[Tensors]:
    """One batch, again and again, of as many rows as the others read."""
    rows = explain(plan(folder)).rows
    first = next(ours(folder))
    yield from itertools.repeat(first, -(-rows // BATCH))


SOURCES: dict[str, tuple[Callable[[str], Iterator[Tensors]], tuple[str, ...]]] = {
    "ours, joined as read": (ours, (*LAKE, "torch")),
    "ours, a thread ahead": (ours_ahead, (*LAKE, "torch")),
    "ours, the kept set": (ours_kept, (*LAKE, "torch")),
    "DataLoader, a row each": (partial(_loader, single=True, workers=0), ("torch",)),
    "DataLoader, 2 workers": (partial(_loader, single=True, workers=2), ("torch",)),
    "DataLoader, Arrow batches": (partial(_loader, single=False, workers=2), ("torch",)),
    "Ray Data, wide rows": (ray_data, ("torch", "ray.data")),
    "Ray Data, join": (ray_join, ("torch", "ray.data")),
}


ATTENDING = ("ours, joined as read", "ours, a thread ahead", "DataLoader, 2 workers")


# -- what is done with them --------------------------------------------------------------------


def read_all(source: Callable[[str], Iterator[Tensors]], folder: str) -> tuple[int, float]:
    rows, check = 0, 0.0
    for batch in source(folder):
        rows += len(batch["y"])
        check += float(batch["y"].sum()) + float(batch["past__item"].sum())
    return rows, check


def train_all(
    source: Callable[[str], Iterator[Tensors]], folder: str, *, attends: bool = False
) -> tuple[int, float]:
    import torch

    torch.set_num_threads(2)
    step, rows = trainer(attends=attends), 0
    for batch in source(folder):
        step(batch)
        rows += len(batch["y"])
    return rows, 0.0


def trainer(*, attends: bool = False) -> Callable[[Tensors], float]:
    """A ranker: both sequences pooled by item, or attended over; numbers crossed, two layers."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Ranker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = nn.EmbeddingBag(5000, 32, mode="sum", include_last_offset=True)
            self.seen, self.asks = nn.Linear(32, 64), nn.Linear(32, 32)
            self.cross = nn.Linear(64, 64)
            self.deep = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1))

        def forward(self, batch: Tensors) -> Any:
            numbers = batch["numbers"]
            past = self.attended(batch, numbers) if attends else self.pooled(batch)
            whole = torch.cat([past, numbers], 1)
            return self.deep(whole * self.cross(whole) + whole).squeeze(1)

        def pooled(self, batch: Tensors) -> Any:
            items, offsets = batch["past__item"].long(), batch["past__item__offsets"]
            return self.items(items, offsets, per_sample_weights=batch["past__amount"]) / LENGTH

        def attended(self, batch: Tensors, numbers: Any) -> Any:
            ends = batch["past__item__offsets"]
            lengths = ends[1:] - ends[:-1]
            there = torch.arange(LENGTH) < lengths[:, None]
            places = torch.zeros(len(lengths), LENGTH, dtype=torch.long)
            places[there] = batch["past__item"].long()
            seen = self.seen(nn.functional.embedding(places, self.items.weight))
            keys, values = seen.chunk(2, -1)
            asks = self.asks(numbers)[:, None]
            mask = there[:, None]
            found = nn.functional.scaled_dot_product_attention(asks, keys, values, attn_mask=mask)
            return found[:, 0]

    ranker = Ranker()
    optimiser = torch.optim.Adam(ranker.parameters())

    def step(batch: Tensors) -> float:
        loss = nn.functional.binary_cross_entropy_with_logits(ranker(batch), batch["y"])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return float(loss.detach())

    return step


CONTENDERS: dict[str, tuple[_apart.Contender, tuple[str, ...]]] = {
    **{f"read: {name}": (partial(read_all, one), uses) for name, (one, uses) in SOURCES.items()},
    **{f"train: {name}": (partial(train_all, one), uses) for name, (one, uses) in SOURCES.items()},
    **{
        f"attend: {name}": (partial(train_all, SOURCES[name][0], attends=True), SOURCES[name][1])
        for name in ATTENDING
    },
    "train: a frozen batch": (partial(train_all, frozen), (*LAKE, "torch")),
    "attend: a frozen batch": (partial(train_all, frozen, attends=True), (*LAKE, "torch")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = _apart.asked(parser, CONTENDERS)
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, asked.size)
        print(explain(plan(folder)))
        for kind in ("read", "train", "attend"):
            names = [name for name in CONTENDERS if name.startswith(f"{kind}: ")]
            rounds = [
                {n: _apart.run("benchmarks.training_input", n, folder) for n in names}
                for _ in range(asked.rounds)
            ]
            best = _apart.best(rounds)
            roof = best.pop(f"{kind}: a frozen batch", {}).get("seconds")
            _apart.report(f"{kind} at size {asked.size}", best, f"{kind}: ours")
            if roof is not None:
                for name, told in best.items():
                    if "error" not in told:
                        print(f"{name:36}{roof / told['seconds']:6.0%} of the roofline")
        step = trainer()
        roofline = measure(
            home(folder),
            plan(folder),
            lambda batch: step(tensors(batch.select(COLUMNS), "set", STACKED)),
            batch_size=BATCH,
        )
        print(roofline)


if __name__ == "__main__":
    main()
