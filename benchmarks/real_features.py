"""Features as of each event of a real log, and whether they tell what comes next.

    python -m benchmarks.real_features [--times 10] [--rounds 3]

Wikipedia's edits, where a line is a second (`real_sequences`). Ten features of the user, of the
item (how popular it was at that moment) and of both, strictly before each edit: ours as a training
set computes them while it is read, against DuckDB's windows and Polars' rolling sums over the same
files, each in a process of its own; all values are compared, whole numbers exactly.

Then which of the 1,000 pages comes next, in the last tenth: plain rules, and networks that read the
user's last 200, with and without what the user did to each page.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import _apart
from benchmarks.lake_join import LAKE, files, home
from benchmarks.real_sequences import (
    BATCH,
    ENDS,
    EVENTS,
    PAST,
    SECOND,
    Found,
    of_duckdb,
    prepare,
    sequences,
    wikipedia,
)
from bowerbird.core.specs import Spec
from bowerbird.data.features.columns import Count, Decayed, Distinct, Last
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.batches import batches
from bowerbird.data.samples.order import Position
from bowerbird.data.samples.planning import plan_set
from bowerbird.data.samples.specs import TrainingSet
from bowerbird.data.samples.torch_batches import tensors
from bowerbird.lake import Lake

ITEMS = 1001

# -- values ------------------------------------------------------------------------------------


def group(name: str, key: tuple[str, ...], **columns: Any) -> FeatureGroup:
    return FeatureGroup(f"bench/{name}", source=str(EVENTS.ref), key=key, columns=columns)


LATELY = Count("1000s")
USER = {"pages": Distinct("item"), "last": Last("item"), "decayed": Decayed("10000s")}
GROUPS = {
    str(one.ref): one
    for one in (
        group("user", ("user",), n=Count(), lately=LATELY, **USER),
        group("item", ("item",), n=Count(), lately=LATELY, day=Count("16000s")),
        group("pair", ("user", "item"), n=Count(), lately=LATELY),
    )
}
WHOLE = tuple(
    f"{one.name.partition('/')[2]}__{name}"
    for one in GROUPS.values()
    for name, column in one.columns.items()
    if not isinstance(column, Decayed)
)


def features(folder: str) -> Found:
    spec = TrainingSet(
        "bench/asof", rows=str(EVENTS.ref), entity="user", features=tuple(GROUPS), order="lying"
    )
    plan = plan_set(Lake(home(folder)), spec, dict[str, Spec](GROUPS))
    return batches(home(folder), plan, batch_size=BATCH)


# Times of one user differ; of one item, `--times` makes as many events of each moment.
ASOF = """
WITH e AS (SELECT "user", item, epoch("at")::BIGINT t FROM read_parquet($files)),
  f AS (SELECT *, row_number() OVER (PARTITION BY "user", item ORDER BY t) = 1 AS fresh FROM e)
SELECT "user", item, t,
  count(*) OVER (u ROWS {before}) user__n, count(*) OVER (u {lately}) user__lately,
  count(*) FILTER (WHERE fresh) OVER (u ROWS {before}) user__pages, lag(item) OVER u user__last,
  coalesce(sum(pow(2, t / 1e4)) OVER (u ROWS {before}), 0) * pow(2, -t / 1e4) user__decayed,
  count(*) OVER (i RANGE {before}) item__n, count(*) OVER (i {lately}) item__lately,
  count(*) OVER (i RANGE BETWEEN 16000 PRECEDING AND 1 PRECEDING) item__day,
  count(*) OVER (p ROWS {before}) pair__n, count(*) OVER (p {lately}) pair__lately
FROM f WINDOW u AS (PARTITION BY "user" ORDER BY t), i AS (PARTITION BY item ORDER BY t),
  p AS (PARTITION BY "user", item ORDER BY t)
""".format(
    before="BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING",
    lately="RANGE BETWEEN 1000 PRECEDING AND 1 PRECEDING",
)


def asof_polars(folder: str) -> Found:
    import polars as pl

    t, pair = pl.col("t"), ("user", "item")
    rows = pl.scan_parquet(files(folder, EVENTS.name)).sort("at")
    rows = rows.with_columns(t=pl.col("at").dt.epoch("s"), one=pl.lit(1, pl.Int64))
    rows = rows.with_columns(fresh=pl.struct(pair).is_first_distinct().cast(pl.Int64))

    def lately(window: int, *key: str) -> pl.Expr:
        each = pl.col("one").rolling_sum_by("t", f"{window}i", closed="left", min_samples=0)
        return each.over(key)

    weight, nth = 2.0 ** (t / 1e4), pl.int_range(pl.len())
    found = rows.with_columns(
        user__n=nth.over("user"),
        user__lately=lately(1000, "user"),
        user__pages=pl.col("fresh").cum_sum().over("user") - pl.col("fresh"),
        user__last=pl.col("item").shift(1).over("user"),
        user__decayed=(weight.cum_sum().over("user") - weight) / weight,
        item__n=t.rank("min").over("item").cast(pl.Int64) - 1,
        item__lately=lately(1000, "item"),
        item__day=lately(16_000, "item"),
        pair__n=nth.over(pair),
        pair__lately=lately(1000, *pair),
    )
    for part in found.collect().iter_slices(32768):
        yield from part.to_arrow().to_batches()


ASKED: dict[str, Callable[[str], Found]] = {
    "ours": features,
    "duckdb, windows": partial(of_duckdb, query=ASOF),
    "polars, rolling and over": asof_polars,
}


def summed(folder: str, found: Callable[[str], Found]) -> tuple[int, float]:
    import pyarrow.compute as pc

    rows, check = 0, 0.0
    for batch in found(folder):
        rows += batch.num_rows
        check += sum(pc.sum(batch[name]).as_py() or 0 for name in (*WHOLE, "user__decayed"))
    return rows, check


def compare(folder: str) -> None:
    """All values of all contenders, ordered alike."""
    tables = {name: pa.Table.from_batches(list(found(folder))) for name, found in ASKED.items()}
    told: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        order = np.lexsort([table[column].to_numpy() for column in ("user__n", "user")])
        columns = (*WHOLE, "user__decayed")
        told[name] = {column: table[column].to_numpy()[order] for column in columns}
    mine = told.pop("ours")
    for name, theirs in told.items():
        wrong = [one for one in WHOLE if not np.array_equal(mine[one], theirs[one], equal_nan=True)]
        apart = np.abs(mine["user__decayed"] - theirs["user__decayed"]).max()
        values = len(WHOLE) * len(mine["user__n"])
        print(f"{name}: {values:,} whole values {wrong or 'equal'}, decayed {apart:.0e} apart")


# -- model -------------------------------------------------------------------------------------


def past(batch: Any) -> tuple[Any, Any, Any]:
    """Of each row and item, how often it was in the user's last 200; lately; last: (n, ITEMS)."""
    import torch

    items, ends = batch[PAST].long(), batch[ENDS]
    row = torch.repeat_interleave(torch.arange(len(ends) - 1), ends.diff())
    ago = ends[1:][row] - torch.arange(len(items))

    def told(weight: Any) -> Any:
        empty = torch.zeros((len(ends) - 1) * ITEMS)
        return empty.index_add_(0, row * ITEMS + items, weight).view(-1, ITEMS)

    return told(torch.ones(len(items))), told(0.8**ago), told((ago == 1).float())


def network(*, pair: bool) -> tuple[Any, Any]:
    """(its parameters, scores of a batch): what was there lately and last, embedded; with `pair`,
    also three weights of what the user did to each item."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    lately, last, out = (nn.Linear(n, m) for n, m in ((ITEMS, 32), (ITEMS, 32), (64, ITEMS)))
    weights = nn.Parameter(torch.full((3,), 3.0))  # about the rules, to begin with
    parts = nn.ModuleList([lately, last, out])

    def scores(batch: Any) -> Any:
        told = past(batch)
        found = out(torch.cat([lately(told[1]), last(told[2])], 1))
        if pair:
            found = found + sum(w * torch.log1p(one) for w, one in zip(weights, told, strict=True))
        return found

    return [*parts.parameters(), weights], scores


def judged(test: list[Any], scores: Callable[[Any], Any]) -> str:
    """Recall@20 and mean reciprocal rank; equals share their places."""
    import torch

    ranks = []
    with torch.no_grad():
        for batch in test:
            found = scores(batch)
            mine = found.gather(1, batch["item"].long()[:, None])
            ranks.append((found > mine).sum(1) + ((found == mine).sum(1) + 1) / 2)
    rank = torch.cat(ranks)
    return f"recall@20 {(rank <= 20).float().mean():.3f}  MRR {(1 / rank).mean():.3f}"


def model(folder: str) -> None:
    import torch
    from torch import nn

    torch.set_num_threads(2)
    began = time.perf_counter()
    _, item, _ = wikipedia()

    def stream(split: str, epoch: int = 0) -> Iterator[Any]:
        found = sequences(folder, 200, batch_size=512, split=split, position=Position(epoch=epoch))
        return (tensors(batch, "set") for batch in found)

    def popular(batch: Any, window: int) -> Any:
        counts = [
            np.bincount(item[max(0, at - window) : at], minlength=ITEMS)
            for at in (batch["at"] // SECOND).tolist()
        ]
        return torch.from_numpy(np.array(counts, np.float32))

    rules: dict[str, Callable[[Any], Any]] = {
        "popular so far": lambda batch: popular(batch, len(item)),
        "popular in the last 1,000": lambda batch: popular(batch, 1000),
        "repeat the last": lambda batch: past(batch)[2],
        "the user's most often": lambda batch: past(batch)[0],
        "the user's latest, popular": lambda batch: past(batch)[1] + 1e-9 * popular(batch, 1000),
    }
    test = list(stream("test"))
    for name, rule in rules.items():
        print(f"{name:30}{judged(test, rule)}", flush=True)
    for pair in (False, True):
        parameters, scores = network(pair=pair)
        optimiser = torch.optim.Adam(parameters, 5e-3)
        for epoch in range(2):
            for batch in stream("train", epoch):
                loss = nn.functional.cross_entropy(scores(batch), batch["item"].long())
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        name = f"network with{'' if pair else 'out'} the pair"
        print(f"{name:30}{judged(test, scores)}", flush=True)
    print(f"{time.perf_counter() - began:.0f} s in all")


CONTENDERS: dict[str, tuple[_apart.Contender, tuple[str, ...]]] = {
    name: (partial(summed, found=found), (*LAKE, *uses))
    for (name, found), uses in zip(ASKED.items(), ((), ("duckdb",), ("polars",)), strict=True)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = _apart.asked(parser, CONTENDERS)
    for times in dict.fromkeys((1, asked.times)):
        with tempfile.TemporaryDirectory() as folder:
            prepare(folder, wikipedia(), times)
            compare(folder)
            rounds = [
                {name: _apart.run("benchmarks.real_features", name, folder) for name in CONTENDERS}
                for _ in range(asked.rounds)
            ]
            _apart.report(f"ten features, wikipedia x {times}", _apart.best(rounds), "ours")
            if times == 1:
                model(folder)


if __name__ == "__main__":
    main()
