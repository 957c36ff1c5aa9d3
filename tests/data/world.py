"""A small shop: impressions, actions, users, items, and a lake that they lie in."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa

from bowerbird.core.clock import SystemClock
from bowerbird.core.specs import Spec
from bowerbird.core.steps import Home
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.data.features.columns import Count, Mean, Since
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.labels import Reward
from bowerbird.data.samples.specs import Beside, SequenceOf, TrainingSet
from bowerbird.lake import Lake, Table, TableLog, bucket, write

HOUR = 3_600_000_000

IMPRESSIONS = Table(
    "shop/impressions",
    schema={"user_id": "long", "request_id": "long", "at": "timestamptz"}
    | {"item_id": "long", "action": "string", "price": "double"},
    partition=(bucket("user_id", 4),),
    sort=("user_id", "at"),
)
ACTIONS = Table(
    "shop/actions",
    schema={"user_id": "long", "at": "timestamptz", "item_id": "long"}
    | {"kind": "string", "amount": "double", "code": "fixed(4)"},
    partition=(bucket("user_id", 8),),
    sort=("user_id", "at"),
)
USERS = Table(
    "shop/users",
    schema={"id": "long", "country": "string"},
    partition=(bucket("id", 4),),
    sort=("id",),
)
ITEMS = Table("shop/items", schema={"item_id": "long", "brand": "string", "size": "int"})

SPEND = FeatureGroup(
    "shop/spend",
    source=ACTIONS,
    key=("user_id",),
    columns={"n": Count(), "n_9h": Count("9h"), "mean_item": Mean("item_id"), "since": Since()},
)
OF_BRAND = FeatureGroup(
    "shop/of_brand",
    source=ACTIONS,
    key=("user_id", "brand"),
    lookup=ITEMS,
    lookup_by="item_id",
    columns={"n": Count()},
)
SPECS: dict[str, Spec] = {str(one.ref): one for one in (SPEND, OF_BRAND)}


def the_set(**changes: Any) -> TrainingSet:
    fields: dict[str, Any] = {
        "rows": IMPRESSIONS,
        "entity": "user_id",
        "request": ("request_id",),
        "features": (
            Beside(ITEMS, on=("item_id",)),
            Beside(USERS, key=("id",)),
            SPEND,
            OF_BRAND,
        ),
        "labels": {"reward": Reward({"click": 1, "save": 5}, "action")},
        "sequences": {
            "past": SequenceOf(ACTIONS, ("item_id", "amount", "code"), last=3),
            "saved": SequenceOf(ACTIONS, ("item_id",), last=2, where={"kind": ("save",)}),
        },
    }
    return TrainingSet("shop/clicks", **{**fields, **changes})


_tokens = itertools.count(1)


def commit(lake: Lake, spec: Table, rows: pa.Table) -> None:
    """Put rows into a table, beside those that are there."""
    log, token = TableLog(lake, spec.ref), Token(f"r{next(_tokens)}/s")
    written = write(lake, spec, rows, log.files(token, "a1"))
    LogTarget(log, SystemClock()).commit(token, None, Change("a1", payload=written))


def times(hours: Any) -> pa.Array:
    micros = [None if hour is None else int(hour * HOUR) for hour in hours]
    return pa.array(micros, pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def home_in(folder: str) -> Home:
    return Home(f"sqlite:///{folder}/m.db", f"{folder}/warehouse", "test", folder, folder)


def small_shop(folder: str, seed: int = 0, requests: int = 40, nulls: bool = True) -> Home:
    """Users 0..11 of whom some are null, items 0..7, 3 impressions a request."""
    random, home = np.random.default_rng(seed), home_in(folder)
    lake = Lake(home)
    users = random.integers(0, 12, requests)
    hours = random.integers(0, 40, requests)
    known = [None if nulls and user == 11 else int(user) for user in users]
    rows = 3 * requests
    commit(
        lake,
        IMPRESSIONS,
        pa.table(
            {
                "user_id": pa.array(np.repeat(known, 3).tolist(), pa.int64()),
                "request_id": np.repeat(np.arange(requests), 3),
                "at": times(np.repeat(hours, 3).tolist()),
                "item_id": random.integers(0, 9, rows),
                "action": random.choice(["click", "save", "hide"], rows).tolist(),
                "price": random.random(rows).round(3),
            }
        ),
    )
    count = 6 * requests
    commit(
        lake,
        ACTIONS,
        pa.table(
            {
                "user_id": _some_null(random.integers(0, 12, count), nulls, 10),
                "at": times(_some_null(random.integers(0, 40, count), nulls, 3).to_pylist()),
                "item_id": random.integers(0, 8, count),
                "kind": random.choice(["click", "save"], count).tolist(),
                "amount": _some_null(random.integers(1, 9, count), nulls, 5).cast(pa.float64()),
                "code": pa.array([bytes([n % 128] * 4) for n in range(count)], pa.binary(4)),
            }
        ),
    )
    commit(
        lake,
        USERS,
        pa.table({"id": np.arange(11), "country": ["nl", "fr", "de", "es"] * 2 + ["x"] * 3}),
    )
    commit(
        lake,
        ITEMS,
        pa.table(
            {
                "item_id": np.arange(8),
                "brand": list("aabbccdd"),
                "size": pa.array(range(8), pa.int32()),
            }
        ),
    )
    return home


def _some_null(values: Any, nulls: bool, which: int) -> pa.Array:
    return pa.array(values, mask=(values == which) & nulls)
