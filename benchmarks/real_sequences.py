"""What each event's user did before it, on real logs: few did much, and most next to nothing.

    python -m benchmarks.real_sequences [--times 10] [--rounds 3]

Wikipedia's 157,474 edits of 8,227 users, half of whom made two at most and one 1,603, come in order
and without a clock: a line is a second here. LastFM's 52,551 of 1,090 users come user by user: the
place in the list is the time. `--times`: Wikipedia so often, under other users, to see what grows;
that makes more users, not longer ones.

Of each event the last 50 and 200 items. *As Arrow*: ours joins them from the log as batches are
read, in an order that a seed draws; DuckDB and Polars read the same files and give rows in the
order that suits them. *As tensors*: DataLoaders are given wide rows, joined and stored before, and
what their two workers hold is not counted. *Stored*: the log, against the wide rows in the order of
the log's files, where Parquet and zstd find what repeats, and as they are drawn. Each contender in
a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from benchmarks import _apart
from benchmarks._real import real
from benchmarks.lake_join import LAKE, commit, files, home
from bowerbird.data.samples.batches import batches
from bowerbird.data.samples.planning import plan_set
from bowerbird.data.samples.specs import SequenceOf, TrainingSet
from bowerbird.data.samples.splits import Windows
from bowerbird.data.samples.torch_batches import tensors
from bowerbird.lake import Lake, Table, bucket

BATCH, LENGTHS, SECOND = 2048, (50, 200), 1_000_000
PAST, ENDS = "past__item", "past__item__offsets"

EVENTS = Table(
    "bench/events",
    schema={"user": "long", "at": "timestamptz", "item": "int"},
    partition=(bucket("user", 16),),
    sort=("user", "at"),
)

Found = Iterator[pa.RecordBatch]
Log = tuple[Any, Any, Any]
"""Users, items, times."""


def wikipedia() -> Log:
    found = np.loadtxt(real("wikipedia/wikipedia.txt"), dtype=np.int64)
    return found[:, 0], found[:, 1], np.arange(len(found)) * SECOND


def lastfm() -> Log:
    text = real("lastfm/LastFM.txt").read_text()
    lines = [np.array(line.split(), dtype=np.int64) for line in text.splitlines()]
    user = np.repeat([one[0] for one in lines], [len(one) - 1 for one in lines])
    place = np.concatenate([np.arange(len(one) - 1) for one in lines])
    return user, np.concatenate([one[1:] for one in lines]), place * SECOND


def prepare(folder: str, log: Log, times: int = 1) -> None:
    """The log as a table; so often, under other users."""
    user, item, at = log
    ids = np.arange(times)[:, None] * (int(user.max()) + 1) + user
    rows = {
        "user": ids.ravel(),
        "at": pa.array(np.tile(at, times)).cast(pa.timestamp("us", "UTC")),
        "item": np.tile(item, times).astype(np.int32),
    }
    commit(Lake(home(folder)), EVENTS, pa.table(rows))


def of_duckdb(folder: str, query: str, last: int = 0) -> Found:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")
    listed = files(folder, EVENTS.name)
    found = connection.sql(query.format(last=last), params={"files": listed})
    yield from found.to_arrow_reader(32768)


def sequences(
    folder: str, last: int, order: Literal["shuffled", "lying"] = "shuffled", **reading: Any
) -> Found:
    spec = TrainingSet(
        "bench/next",
        rows=str(EVENTS.ref),
        entity="user",
        sequences={"past": SequenceOf(str(EVENTS.ref), ("item",), last=last)},
        splits=Windows("15747s"),
        order=order,
    )
    reading = {"batch_size": BATCH, **reading}
    return batches(home(folder), plan_set(Lake(home(folder)), spec), **reading)


WINDOW = """
SELECT "user", item, coalesce(list(item) OVER (
  PARTITION BY "user" ORDER BY "at" ROWS BETWEEN {last} PRECEDING AND 1 PRECEDING), []) past__item
FROM read_parquet($files)
"""
SLICES = """
WITH e AS (SELECT *, row_number() OVER (PARTITION BY "user" ORDER BY "at") n
           FROM read_parquet($files)),
  whole AS (SELECT "user", list(item ORDER BY n) items FROM e GROUP BY "user")
SELECT "user", item, items[greatest(1, n - {last}):n - 1] past__item
FROM e JOIN whole USING ("user")
"""


def rolled(folder: str, last: int) -> Found:
    import polars as pl

    rows = pl.scan_parquet(files(folder, EVENTS.name)).sort("user", "at")
    rows = rows.with_columns(n=pl.int_range(pl.len()).over("user"))
    past = rows.rolling("n", period=f"{last}i", closed="left", group_by="user")
    wide = [rows, past.agg(pl.col("item").alias(PAST)).select(PAST)]
    for part in pl.concat(wide, how="horizontal").collect().iter_slices(32768):
        yield from part.to_arrow().to_batches()


def seen(folder: str, found: Callable[..., Found], **told: Any) -> tuple[int, float]:
    import pyarrow.compute as pc

    rows, check = 0, 0
    for batch in found(folder, **told):
        rows += batch.num_rows
        check += pc.sum(batch["item"]).as_py() + (pc.sum(pc.list_flatten(batch[PAST])).as_py() or 0)
    return rows, float(check)


def wide_file(folder: str, last: int, order: Literal["shuffled", "lying"]) -> str:
    return f"{folder}/{last}-{order}.parquet"


def store(folder: str, last: int, order: Literal["shuffled", "lying"]) -> int:
    """Joined rows as a file, and its bytes."""
    import pyarrow.parquet as pq

    path = Path(wide_file(folder, last, order))
    found = sequences(folder, last, order, batch_size=8 * BATCH)
    first = next(found)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        for batch in itertools.chain([first], found):
            writer.write_batch(batch)
    return path.stat().st_size


def loaded(folder: str, last: int, *, single: bool) -> Iterator[Any]:
    """A DataLoader of two workers over the wide rows: a row at a time, or a batch."""
    import torch
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    class Rows(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            import pyarrow.parquet as pq

            worker: Any = get_worker_info()
            file = pq.ParquetFile(wide_file(folder, last, "shuffled"))
            mine = list(range(worker.id, file.num_row_groups, worker.num_workers))
            for batch in file.iter_batches(BATCH, row_groups=mine) if mine else ():
                if not single:
                    yield tensors(batch, "rows")
                    continue
                items, past = batch["item"].to_numpy(), batch[PAST]
                for row in range(len(items)):
                    each = torch.from_numpy(past[row].values.to_numpy().copy())
                    yield {"item": torch.tensor(items[row]), PAST: each}

    if single:
        return iter(DataLoader(Rows(), batch_size=BATCH, num_workers=2, collate_fn=collated))
    return iter(DataLoader(Rows(), batch_size=None, num_workers=2))


def collated(rows: list[Any]) -> Any:
    import torch

    ends = torch.tensor([0, *(len(row[PAST]) for row in rows)]).cumsum(0)
    items = torch.stack([row["item"] for row in rows])
    return {"item": items, PAST: torch.cat([row[PAST] for row in rows]), ENDS: ends}


def read(folder: str, last: int) -> Iterator[Any]:
    for batch in sequences(folder, last):
        yield tensors(batch, "set")


def fed(folder: str, found: Callable[..., Iterator[Any]], **told: Any) -> tuple[int, float]:
    rows, check = 0, 0
    for batch in found(folder, **told):
        rows += len(batch["item"])
        check += int(batch["item"].numpy().sum()) + int(batch[PAST].numpy().sum())
    return rows, float(check)


ARROW: dict[str, tuple[Callable[..., Found], tuple[str, ...]]] = {
    "ours": (sequences, LAKE),
    "duckdb, list over": (partial(of_duckdb, query=WINDOW), (*LAKE, "duckdb")),
    "duckdb, slices": (partial(of_duckdb, query=SLICES), (*LAKE, "duckdb")),
    "polars, rolling": (rolled, (*LAKE, "polars")),
}
TENSORS: dict[str, tuple[Callable[..., Iterator[Any]], tuple[str, ...]]] = {
    "ours": (read, (*LAKE, "torch")),
    "a row each": (partial(loaded, single=True), (*LAKE, "torch")),
    "Arrow batches": (partial(loaded, single=False), (*LAKE, "torch")),
}
CONTENDERS: dict[str, tuple[_apart.Contender, tuple[str, ...]]] = {
    f"{kind} {last}: {name}": (partial(summed, found=found, last=last), uses)
    for kind, summed, contenders in (("arrow", seen, ARROW), ("tensors", fed, TENSORS))
    for last in LENGTHS
    for name, (found, uses) in contenders.items()
}


def stored(folder: str, last: int) -> None:
    log = sum(Path(one).stat().st_size for one in files(folder, EVENTS.name))
    lying, drawn = (store(folder, last, order) for order in ("lying", "shuffled"))
    print(
        f"stored, last {last}: the log {log:,} bytes; wide rows as they lie {lying:,} "
        f"({lying / log:.1f}x), drawn {drawn:,} ({drawn / log:.1f}x)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = _apart.asked(parser, CONTENDERS)
    logs = {"lastfm": (lastfm(), 1), "wikipedia": (wikipedia(), 1)}
    if asked.times > 1:
        logs[f"wikipedia x {asked.times}"] = (wikipedia(), asked.times)
    told: dict[str, dict[str, Any]] = {}
    for title, (log, times) in logs.items():
        with tempfile.TemporaryDirectory() as folder:
            prepare(folder, log, times)
            for last in LENGTHS:
                stored(folder, last)
            rounds = [
                {name: _apart.run("benchmarks.real_sequences", name, folder) for name in CONTENDERS}
                for _ in range(asked.rounds)
            ]
        told[title] = _apart.best(rounds)
        for kind in ("arrow", "tensors"):
            for last in LENGTHS:
                start = f"{kind} {last}: "
                part = {name: one for name, one in told[title].items() if name.startswith(start)}
                _apart.report(title, part, f"{start}ours")
    if asked.times > 1:
        grown(told["wikipedia"], told[title])


def grown(one: dict[str, Any], many: dict[str, Any]) -> None:
    for name in (name for name in one if "seconds" in one[name] and "seconds" in many[name]):
        above = [told[name]["peak"] - told[name]["base"] for told in (one, many)]
        print(
            f"{name:28}{many[name]['rows'] / one[name]['rows']:4.0f} times the rows: "
            f"{many[name]['seconds'] / one[name]['seconds']:5.1f} the seconds, "
            f"{above[1] / above[0]:5.1f} the memory above imports"
        )


if __name__ == "__main__":
    main()
