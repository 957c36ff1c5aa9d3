"""trivago's log as two tables: what users did, and the lists of hotels that they clicked out of.

What a log has, it has: several actions in one second, whose order is their step; references that
are no item; and one list without the hotel that was clicked.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks._real import real
from benchmarks.lake_join import commit, home
from bowerbird.lake import Lake, Table, bucket

FILE = "trivago/trivago_val_100k.parquet.snappy"
WHO = {"user_id": "string", "session_id": "string", "at": "timestamptz", "step": "int"}
ACTIONS = Table(
    "bench/actions",
    schema=WHO | {"kind": "string", "reference": "string", "item": "int", "clickout": "int"},
    partition=(bucket("user_id", 16),),
    sort=("user_id", "at", "session_id", "step"),
)
LISTS = Table(
    "bench/lists",
    schema=WHO
    | {"platform": "string", "city": "string", "device": "string", "filters": "string"}
    | {"item": "int", "price": "int", "position": "int", "clicked": "int"},
    partition=(bucket("user_id", 16),),
    sort=("user_id", "at", "session_id", "step", "position"),
)
SESSION = ("user_id", "session_id")
ABOUT = ("deals", "image", "info", "rating")
ITEM_ACTIONS = ("clickout item", "search for item", *(f"interaction item {one}" for one in ABOUT))


def real_rows(*, by_step: bool) -> tuple[pa.Table, pa.Table, pa.Array]:
    """The rows of `ACTIONS` and of `LISTS`, and the ids of the items that they number from 0.

    by_step: actions of one second are one after another, in the order of their steps.
    """
    rows = pq.read_table(real(FILE)).combine_chunks()
    kind, step = rows["action_type"], rows["step"].to_numpy()
    moment = rows["timestamp"].to_numpy() * 1_000_000 + (step if by_step else 0)
    # Filters, cities and the word "unknown" are references too.
    about = pc.and_(pc.is_in(kind, pa.array(ITEM_ACTIONS)), pc.utf8_is_decimal(rows["reference"]))
    item = pc.if_else(about, rows["reference"], None).cast(pa.int64())
    lists = pc.split_pattern(rows["impressions"], "|").combine_chunks()
    of = pc.list_parent_indices(lists)
    shown = pc.list_flatten(lists).cast(pa.int64())
    price = pc.list_flatten(pc.split_pattern(rows["prices"], "|").combine_chunks())
    ids = pc.unique(pa.chunked_array([*item.drop_null().chunks, shown]))
    who = {
        "user_id": rows["user_id"],
        "session_id": rows["session_id"],
        "at": pa.array(moment).cast(pa.timestamp("us", tz="UTC")),
        "step": rows["step"].cast(pa.int32()),
    }
    actions = pa.table(
        who
        | {"kind": kind, "reference": rows["reference"], "item": pc.index_in(item, ids)}
        | {"clickout": pc.equal(kind, "clickout item").cast(pa.int32())}
    )
    page = {name: rows[name] for name in ("platform", "city", "device")}
    page["filters"] = rows["current_filters"]
    wide = pa.table(who | page).take(of)
    starts = lists.offsets.to_numpy()[of.to_numpy()]
    each = {
        "item": pc.index_in(shown, ids),
        "price": price.cast(pa.int32()),
        "position": pa.array(np.arange(len(of)) - starts + 1, pa.int32()),
        "clicked": pc.equal(shown, item.take(of)).cast(pa.int32()),
    }
    made = dict(zip(wide.column_names, wide.columns, strict=True)) | each
    return actions, pa.table(made), ids


def prepare(folder: str, *, by_step: bool) -> int:
    """The two tables; returns how many items they name."""
    actions, lists, ids = real_rows(by_step=by_step)
    commit(Lake(home(folder)), ACTIONS, actions)
    commit(Lake(home(folder)), LISTS, lists)
    return len(ids)
