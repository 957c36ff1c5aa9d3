"""Lists that were really shown: what they weigh, how fast they train, and what a leak does to them.

    python -m benchmarks.impressions [--epochs 4] [--seeds 3]

trivago's 100,003 actions of two days. A click out of a list of hotels is a request, and the list
its rows: hotel, price, position, and whether it was the one. Nothing is modelled or drawn.

1. Bytes of the user's columns, in Arrow and in Parquet with zstd: once a request and flat, in order
   of time, as they were logged (a list is one line of the log: its rows lie together), and by user
   and time, as our tables lie.
2. Training of a ranker that reads the history with attention: flat, and expanded after the history
   is read (`request_batches` has the network).
3. The mean reciprocal rank of the click within its list, of the last twelve hours: as shown, by
   clicks, by small networks over features as of the click; and with two leaks, features of the end
   of the data and `<=` for `<`, which the audit is asked to name. The log has whole seconds, and a
   click does not see what was done within its own; with the step as microseconds it does.
4. Of the clicks in a batch that an in-batch softmax takes as negatives: how many are the user's own
   or the same hotel.
"""

from __future__ import annotations

import argparse
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from benchmarks._trivago import ACTIONS, ITEM_ACTIONS, LISTS, SESSION, prepare
from benchmarks.lake_join import home
from benchmarks.request_batches import Shape, sides, stored, stream, train
from bowerbird.core.specs import Spec
from bowerbird.data.features.alignment import Latest
from bowerbird.data.features.columns import Age, Count, Distinct, Last, Mean, Ratio, Since, Sum
from bowerbird.data.features.leakage import LeakageError
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.batches import batches, fitted
from bowerbird.data.samples.labels import Reward
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.request_batch import RequestBatch
from bowerbird.data.samples.specs import SequenceOf, TrainingSet
from bowerbird.data.samples.splits import Windows
from bowerbird.data.samples.torch_batches import tensors
from bowerbird.data.samples.transforms import Custom, FillNull, Log1p, Standardize
from bowerbird.lake import Lake, Table

LENGTH = 64
"""The longest history; half of the users have three actions, one in a hundred 184."""


def group(name: str, source: Table, *key: str, **columns: Any) -> FeatureGroup:
    return FeatureGroup(f"bench/{name}", source=str(source.ref), key=key, columns=columns)


RATE = Ratio(Sum("clicked"), Count())
ITEM = group(
    "item", LISTS, "item", shown=Count(), clicks=Sum("clicked"), rate=RATE, price=Mean("price")
)
USER = group("user", ACTIONS, "user_id", n=Count(), items=Distinct("item"), since=Since())
DONE = {"n": Count(), "clickouts": Sum("clickout")}
IN_SESSION = group(
    "session", ACTIONS, *SESSION, **DONE, n_5m=Count("5m"), age=Age(), last=Last("item")
)
PAIR = group("pair", ACTIONS, *SESSION, "item", **DONE, since=Since())
AGAIN = group("again", LISTS, *SESSION, "item", shown=Count(), price=Mean("price"))
GROUPS = (ITEM, USER, IN_SESSION, PAIR, AGAIN)
# What the strict comparison is there for: the click is an action of its own moment.
UPTO = FeatureGroup(
    "bench/upto",
    source=str(ACTIONS.ref),
    key=PAIR.key,
    sql="""
        SELECT asked.row, count(e."at") AS n
        FROM asked LEFT JOIN events e ON e.user_id = asked.user_id AND e.item = asked.item
          AND e.session_id = asked.session_id AND e."at" <= asked."at"
        GROUP BY asked.row
    """,
    schema={"n": "long"},
)
SPECS: dict[str, Spec] = {str(one.ref): one for one in (*GROUPS, UPTO)}


def names(*groups: FeatureGroup) -> tuple[str, ...]:
    return tuple(f"{one.ref.name}__{n}" for one in groups for n in one.names if n != "last")


OF_USER = names(USER, IN_SESSION)
OF_PAIR = ("position", "price", "same", *names(ITEM, PAIR, AGAIN))
EVERY = (*OF_PAIR, *OF_USER)


def same(batch: pa.RecordBatch) -> dict[str, Any]:
    """Whether the row's item is the last one that the session did something with."""
    equal = pc.equal(batch.column("item"), batch.column("session__last"))
    return {"same": equal.cast(pa.float32()).fill_null(0.0)}


def lists_set(*more: str, **changes: Any) -> TrainingSet:
    """more: numbers that `changes` add."""
    numbers = (*EVERY, *more)
    past = SequenceOf(str(ACTIONS.ref), ("item",), LENGTH, where={"kind": ITEM_ACTIONS})
    fields: dict[str, Any] = {
        "rows": LISTS,
        "entity": "user_id",
        "request": ("session_id", "step"),
        "user": ("platform", "city", "device", "filters"),
        "columns": ("item", "price", "position"),
        "features": GROUPS,
        "labels": {"label": Reward({"clicked": 1})},
        "sequences": {"past": past},
        "transforms": (
            Custom("benchmarks.impressions:same", ("item", "session__last"), ("same",)),
            Log1p(numbers),
            Standardize(numbers),
            FillNull(numbers, 0.0),
            FillNull(("past__item",), -1),  # an item that is "unknown"
        ),
        "splits": Windows("12h"),
        "order": "requests",
    }
    return TrainingSet("bench/lists", **{**fields, **changes})


def plan(folder: str, *more: str, **changes: Any) -> SetPlan:
    return fitted(home(folder), plan_set(Lake(home(folder)), lists_set(*more, **changes), SPECS))


# -- 1: bytes ----------------------------------------------------------------------------------


def storage(folder: str, one: SetPlan) -> None:
    parts = list(stream(folder, one, ""))
    user = pa.Table.from_batches([part.user for part in parts])
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    print(f"{len(counts):,} lists of {counts.mean():.1f} items, {counts.sum():,} rows")
    at = user["at"].cast(pa.int64()).to_numpy()
    orders = {
        "as logged": np.argsort(at, kind="stable"),
        "by user": np.lexsort((at, user["user_id"].to_numpy(zero_copy_only=False))),
    }
    print(f"{'user columns, bytes':22}Arrow: once         flat         Parquet: once      flat")
    for name, order in orders.items():
        held, written = stored(user, order)
        flat, spelt = stored(user, np.repeat(order, counts[order]))
        print(
            f"  {name:16}{held:15,}{flat:13,} {flat / held:5.1f}x"
            f"{written:14,}{spelt:10,} {spelt / written:5.2f}x"
        )


# -- 2: training -------------------------------------------------------------------------------


def throughput(folder: str, one: SetPlan, shape: Shape) -> None:
    rates = {late: train(folder, one, shape, 1, late=late)[1] for late in (False, True)}
    print(
        f"training: {rates[False]:,.0f} rows/s flat, {rates[True]:,.0f} once a request: "
        f"{rates[True] / rates[False]:.1f}x"
    )


# -- 3: the metric -----------------------------------------------------------------------------

Scores = Callable[[RequestBatch], Any]


def judged(parts: Sequence[RequestBatch], scores: Scores) -> npt.NDArray[np.float64]:
    """The reciprocal rank of each click within its list; of equal scores the first shown leads."""
    found = []
    for part in parts:
        shown, label = (part.rows.column(n).to_numpy() for n in ("position", "label"))
        order = np.lexsort((shown, -np.asarray(scores(part)), part.of))
        rank = np.arange(len(part)) - part.offsets[part.of[order]] + 1
        found.append(1.0 / rank[label[order] > 0])
    return np.concatenate(found)


def told(name: str, *runs: npt.NDArray[np.float64]) -> None:
    """runs: of several seeds; the spread is that of lists, as if they were independent."""
    found = np.mean(runs, axis=0)
    print(
        f"  {name:42} {found.mean():.4f} ± {1.96 * found.std() / len(found) ** 0.5:.4f}", flush=True
    )


def by(name: str) -> Scores:
    return lambda part: part.rows.column(name).to_numpy()


def numbers(part: RequestBatch, columns: Sequence[str]) -> Any:
    """(n, columns): of either side, a row each."""
    import torch

    of_user = [name for name in columns if name in part.user.schema.names]
    once = tensors(part.user.select(of_user), "")
    each = tensors(part.rows.select([name for name in columns if name not in once]), "")
    wide = each | {name: values[part.of] for name, values in once.items()}
    return torch.stack([wide[name] for name in columns], 1)


def network(
    parts: Sequence[RequestBatch], columns: Sequence[str], epochs: int, seed: int
) -> Scores:
    """A small network over numbers, whose scores of a list are a softmax over its items."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    deep = nn.Sequential(nn.Linear(len(columns), 32), nn.ReLU(), nn.Linear(32, 1))
    optimiser = torch.optim.Adam(deep.parameters(), 3e-3)
    ready = []
    for part in parts:
        place = np.arange(len(part)) - part.offsets[part.of]
        clicked = np.flatnonzero(part.rows.column("label").to_numpy())
        click = torch.full((part.requests,), -100)  # not learnt from: what was clicked is not there
        click[part.of[clicked]] = torch.from_numpy(place[clicked])
        ready.append((numbers(part, columns), part.of, place, click))
    for _ in range(epochs):
        for values, of, place, click in ready:
            lists = torch.full((len(click), int(place.max()) + 1), -torch.inf)
            lists[of, place] = deep(values)[:, 0]
            loss = nn.functional.cross_entropy(lists, click)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def scores(part: RequestBatch) -> Any:
        with torch.no_grad():
            return deep(numbers(part, columns))[:, 0].numpy()

    return scores


def attention(folder: str, one: SetPlan, shape: Shape, epochs: int) -> Scores:
    import torch

    trained, _ = train(folder, one, shape, epochs, late=True)

    def scores(part: RequestBatch) -> Any:
        past, of_user, item, pair, _ = sides(part, shape)
        with torch.no_grad():
            user = trained.user(past, of_user)[torch.from_numpy(part.of)]
            return trained(user, item, pair).numpy()

    return scores


def metric(
    folder: str, name: str, columns: Sequence[str], asked: argparse.Namespace, **changes: Any
) -> None:
    """A network over features as of the click, or as `changes` say."""
    one = plan(folder, *(name for name in columns if name not in EVERY), **changes)
    fit, test = (list(stream(folder, one, split)) for split in ("train", "test"))
    told(name, *(judged(test, network(fit, columns, asked.epochs, s)) for s in range(asked.seeds)))


def named(folder: str, **changes: Any) -> None:
    """What the audit says of a set, a bucket at a time: a reader stops at the first."""
    one = plan_set(Lake(home(folder)), replace(lists_set(**changes), transforms=()), SPECS)
    said = []
    for which in one.buckets:
        try:
            next(batches(home(folder), replace(one, buckets=(which,))))
        except LeakageError as error:
            said.append(str(error).splitlines()[0])
    print(f"  the audit refuses {len(said)} of {len(one.buckets)} buckets")
    print(textwrap.indent(textwrap.fill(said[0] if said else "", 92), "    "))


def metrics(folder: str, stepped: str, shape: Shape, asked: argparse.Namespace) -> None:
    one = plan(folder)
    test = list(stream(folder, one, "test"))
    print(f"MRR of {sum(part.requests for part in test):,} lists of the last 12 hours")
    told("as shown", judged(test, lambda part: np.zeros(len(part))))
    told("clicks of the item so far", judged(test, by("item__clicks")))
    told("actions with the item in the session", judged(test, by("pair__n")))
    metric(folder, "position and price", ("position", "price"), asked)
    metric(folder, "network: all features", EVERY, asked)
    metric(stepped, "network: the same, ties by step", EVERY, asked)
    told("attention over the history", judged(test, attention(folder, one, shape, asked.epochs)))
    # The leaks: nothing of the test window may be known, and here it is.
    late = {"alignment": Latest("2018-11-09T00:00:00Z")}
    leaking = list(stream(folder, plan(folder, audit=0, **late), "test"))
    told("LEAK: clicks of the item, of all days", judged(leaking, by("item__clicks")))
    metric(folder, "LEAK: features of the end of the data", EVERY, asked, audit=0, **late)
    named(folder, **late)
    upto = {"features": (*GROUPS, UPTO)}
    metric(folder, "LEAK: <= for <", (*EVERY, "upto__n"), asked, audit=0, **upto)
    named(folder, **upto)


# -- 4: in-batch negatives ---------------------------------------------------------------------


def negatives(folder: str) -> None:
    ways: dict[str, dict[str, Any]] = {
        "by request, 1 bucket": {"interleave": 1},
        "by request, 16 buckets": {"interleave": 16},
        "rows shuffled": {"order": "shuffled", "interleave": 16},
    }
    for name, changes in ways.items():
        own = same_item = pairs = 0
        one = plan(folder, features=(), transforms=(), **changes)
        for part in stream(folder, one, "train"):
            clicked = np.flatnonzero(part.rows.column("label").to_numpy())
            taken = np.ix_(clicked, clicked)
            pairs += len(clicked) * (len(clicked) - 1)
            mine = int((~part.in_batch_mask("user_id")[taken]).sum())
            own += mine
            same_item += int((~part.in_batch_mask("user_id", "item")[taken]).sum()) - mine
        print(
            f"negatives, {name:22}: {own / pairs:.2%} the user's own clicks, "
            f"{same_item / pairs:.3%} others' of the same item"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)  # the networks are small: two threads wait for one another
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as stepped:
        shape = Shape(prepare(folder, by_step=False), OF_USER, OF_PAIR, LENGTH)
        prepare(stepped, by_step=True)
        one = plan(folder)
        storage(folder, one)
        throughput(folder, one, shape)
        metrics(folder, stepped, shape, asked)
        negatives(folder)


if __name__ == "__main__":
    main()
