"""In-batch negatives on real boards: how many are false, and what a mask of the user's own mends.

    python -m benchmarks.real_negatives [--users 8000] [--epochs 3]

Pinterest's pins: 37,501 users, of whom the first so many are taken, have 12 to 109 each. They have
no times, and the order of a line says nothing: all rows have one moment, no sequence is made of
them, and the pin of each user that is held out is drawn by a seed, not its last. So a user is a
request.

*False*: of the items of a batch's other rows, those that the row's user has among its own; *left*:
the same, of those that `in_batch_mask` leaves, which sees the batch and not all that users have.
By how rows come (a user's together, from one bucket or sixteen; all drawn) and the size of a batch.
*Recall@10* of the pin that was held out among all that the user has not: a table of users and one
of items, a softmax over a batch of 128, with and without the mask, and with and without taking from
each score how often its item comes as a negative (logQ; Yi et al., RecSys 2019).
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from benchmarks._real import real
from benchmarks.lake_join import commit, home
from bowerbird.data.samples.batches import batches
from bowerbird.data.samples.order import Position
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.request_batch import RequestBatch
from bowerbird.data.samples.specs import TrainingSet
from bowerbird.lake import Lake, Table, bucket

SIZES, BATCH, WIDTH, TOP, LOOKED = (64, 128, 512, 2048), 128, 32, 10, 10

PINS = Table(
    "bench/pins",
    schema={"user": "long", "at": "timestamptz", "item": "int"},
    partition=(bucket("user", 64),),
    sort=("user",),
)


def prepare(folder: str, users: int) -> tuple[Any, Any, Any]:
    """The table to train on; (its users, ascending, their items, the item of each held out)."""
    text = real("pinterest/train.txt").read_text()
    pins = [np.array(line.split()[1:], dtype=np.int64) for line in text.splitlines()[:users]]
    random = np.random.default_rng(7)
    held = np.array([random.choice(one) for one in pins])
    own = [one[one != out] for one, out in zip(pins, held, strict=True)]
    user, item = np.repeat(np.arange(len(own)), [len(one) for one in own]), np.concatenate(own)
    rows = {
        "user": user,
        "at": pa.array(np.zeros(len(user), np.int64)).cast(pa.timestamp("us", "UTC")),
        "item": item.astype(np.int32),
    }
    commit(Lake(home(folder)), PINS, pa.table(rows))
    return user, item, held


def plan(folder: str, order: Literal["shuffled", "requests"], interleave: int) -> SetPlan:
    spec = TrainingSet(
        "bench/pins", rows=str(PINS.ref), entity="user", order=order, interleave=interleave
    )
    return plan_set(Lake(home(folder)), spec)


def stream(folder: str, one: SetPlan, size: int, epoch: int = 0) -> Iterator[RequestBatch]:
    position = Position(epoch=epoch)
    return batches(home(folder), one, batch_size=size, position=position).by_request()


def sides(batch: RequestBatch) -> tuple[Any, Any]:
    """Each row's user and its item."""
    user = batch.user["user"].to_numpy()[batch.of]
    return user, batch.rows["item"].to_numpy().astype(np.int64)


def false(found: Iterator[RequestBatch], pairs: Any, items: int) -> tuple[float, float]:
    """Shares of negatives that are the user's own: of all, and of those that a mask leaves."""
    counts = np.zeros(4)
    for batch in itertools.islice(found, LOOKED):
        user, item = sides(batch)
        asked = user[:, None] * items + item
        own = pairs[np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)] == asked
        left = batch.in_batch_mask("user", "item")
        others = ~np.eye(len(user), dtype=bool)
        told = (own & others, others, own & left & others, left & others)
        counts += [int(one.sum()) for one in told]
    return counts[0] / counts[1], counts[2] / counts[3]


def trained(
    folder: str, one: SetPlan, counts: tuple[int, int], epochs: int, often: Any, *, masked: bool
) -> tuple[Any, Any]:
    """(users, WIDTH) and (items, WIDTH). often: the logarithm of each item's share of the rows."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    users, items = (nn.Embedding(count, WIDTH, sparse=True) for count in counts)
    for table in (users, items):
        nn.init.normal_(table.weight, std=0.1)
    optimiser = torch.optim.SparseAdam([users.weight, items.weight], lr=0.01)
    for epoch in range(epochs):
        for batch in stream(folder, one, BATCH, epoch):
            user, item = map(torch.from_numpy, sides(batch))
            scores = users(user) @ items(item).T - often[item]
            if masked:
                mask = torch.from_numpy(batch.in_batch_mask("user", "item"))
                scores = scores.masked_fill(~mask, -1e9)
            loss = nn.functional.cross_entropy(scores, torch.arange(len(item)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()  # type: ignore[no-untyped-call]
    return users.weight.detach(), items.weight.detach()


def recall(users: Any, items: Any, rows: tuple[Any, Any], held: Any) -> float:
    """Share of the items held out that are among the `TOP` of all that their user has not."""
    import torch

    hits, ends = 0, np.searchsorted(rows[0], np.arange(len(held) + 1))
    for start in range(0, len(held), 1000):
        end = min(start + 1000, len(held))
        scores = users[start:end] @ items.T
        own = slice(ends[start], ends[end])
        scores[rows[0][own] - start, rows[1][own]] = -torch.inf
        found = scores.topk(TOP).indices == torch.from_numpy(held[start:end, None])
        hits += int(found.any(1).sum())
    return hits / len(held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=3)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        user, item, held = prepare(folder, asked.users)
        items = int(max(item.max(), held.max())) + 1
        pairs, counts = np.sort(user * items + item), (len(held), items)
        share = torch.from_numpy(np.bincount(item, minlength=items)).float() / len(item)
        often = torch.log(share.clamp(min=1e-9))
        popular = recall(torch.ones(len(held), 1), share[:, None], (user, item), held)
        print(f"{len(held):,} users, {len(item):,} rows; what is popular: recall@10 {popular:.4f}")
        for name, one in {
            "a user's rows, 1 bucket": plan(folder, "requests", 1),
            "a user's rows, 16 buckets": plan(folder, "requests", 16),
            "all drawn": plan(folder, "shuffled", 64),
        }.items():
            for size in SIZES:
                all_, left = false(stream(folder, one, size), pairs, items)
                print(f"{name:26} batch of {size:5,}: {all_:6.2%} false, masked {left:6.2%}")
            told = [
                recall(
                    *trained(folder, one, counts, asked.epochs, taken, masked=masked),
                    (user, item),
                    held,
                )
                for taken in (torch.zeros(items), often)
                for masked in (False, True)
            ]
            print(
                f"{name:26} recall@10 {told[0]:.4f}, masked {told[1]:.4f}; logQ {told[2]:.4f}, "
                f"masked {told[3]:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
