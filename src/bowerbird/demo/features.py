"""What is declared over the shop's purchases, and its value for candidates as of their requests.

Groups of columns share a key; each group's events are sorted once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.data.features.asof import Timeline, evaluate, timeline
from bowerbird.data.features.columns import (
    Column,
    Count,
    Occasions,
    Since,
    fields_of,
)
from bowerbird.data.samples.negatives import DISPLAYED, MAILED
from bowerbird.demo.shop import week_of

if TYPE_CHECKING:
    from bowerbird.data.samples.negatives import Promotions
    from bowerbird.demo.shop import Shop

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]


Groups = dict[str, "Group"]
"""Name -> group. `DERIVED` features are computed from columns of the groups pair, pair_store, type,
item, kind, store, store_item and household, as specs/features.py of the demo declares them."""


class Group(msgspec.Struct, frozen=True):
    """Columns over the purchases that share a key; each part names a column of the query."""

    key: tuple[str, ...]
    columns: dict[str, Column]


def personal(name: str) -> bool:
    """Whether a feature is hand-made from the household's own purchases of the item or its groups.

    These are what a lifelong sequence may replace. What remains: the household alone, the item,
    the store, the week's promotions, and the scores of EASE and ItemKNN.
    """
    return name.split(".")[0] in PERSONAL_GROUPS


PERSONAL_GROUPS: Final = frozenset(
    {"pair", "pair_store", "type", "category", "type_maker", "maker", "department", "due"}
)


def timelines(house: Shop, groups: Groups) -> dict[str, Timeline]:
    """Every group's events, sorted once; both training and serving ask these."""
    log = house.log
    columns = _columns(house, log.user, log.item, log.extra["store"].astype(np.int64))
    pair = timeline([log.user, log.item], log.at)
    before = evaluate({"n": Count(), "since": Since()}, pair, [log.user, log.item], log.at)
    trips = evaluate({"n": Occasions()}, timeline([log.user], log.at), [log.user], log.at)["n"]
    fields = {
        "quantity": log.extra["quantity"],
        "price": log.extra["price"],
        "discount": log.extra["discount"],
        "trip": trips,
        "first": (before["n"] == 0).astype(np.float64),
        "again": (before["n"] > 0).astype(np.float64),
        "gap": np.nan_to_num(before["since"]),
        "new": (before["n"] == 0).astype(np.float64),
    }
    found = {}
    for name, group in groups.items():
        asked = {part for column in group.columns.values() for part in fields_of(column)}
        found[name] = timeline(
            [columns[part] for part in group.key],
            log.at,
            {field: fields[field] for field in sorted(asked)},
        )
    return found


def names(groups: Groups) -> list[str]:
    """The feature columns of `features`, in order: "group.column"."""
    declared = [f"{name}.{column}" for name, group in groups.items() for column in group.columns]
    return declared + list(DERIVED) + list(MODEL_SCORES) + list(REQUEST)


DERIVED: Final = (
    "due.pair",  # days since the last purchase over the household's usual interval
    "due.item",  # the same over the usual interval of all households
    "due.type",
    "due.trips",  # trips since the last purchase over the usual number between two
    "due.trips_since",
    "due.rate",  # purchases a trip since the first
    "due.share",  # the item's share of the household's purchases of its type
    "due.type_rate",
    "due.store_share",
    "item.trend",
    "item.trend_2d",
    "item.share",  # of its type
    "store_item.share",
    "store_item.lift",
    "promo.displayed",
    "promo.mailed",
    "promo.deal",
)
MODEL_SCORES: Final = ("score.ease", "score.knn")
REQUEST: Final = ("request.period", "request.hour", "request.weekend")


def features(
    house: Shop,
    groups: Groups,
    events: dict[str, Timeline],
    promoted: Promotions,
    *,
    household: Ints,
    store: Ints,
    at: Ints,
    item: Ints,
    ease: npt.NDArray[np.float64],
    knn: npt.NDArray[np.float64],
    period: npt.NDArray[np.bool_],
    block: int = 150_000,
) -> Matrix:
    """float32 (rows, len(names(groups))): each row is one candidate item of one request.

    Missing values (never bought: no recency) stay NaN; the ranker's input layer fills them.
    """
    matrix = np.empty((len(item), len(names(groups))), dtype=np.float32)
    for low in range(0, len(item), block):
        rows = slice(low, low + block)
        keys = _columns(house, household[rows], item[rows], store[rows])
        values: dict[str, npt.NDArray[np.float64]] = {}
        for name, group in groups.items():
            asked = [keys[part] for part in group.key]
            for column, found in evaluate(group.columns, events[name], asked, at[rows]).items():
                values[f"{name}.{column}"] = found
        kind = promoted.kinds(week_of(at[rows]), store[rows], item[rows])
        values["promo.displayed"] = ((kind & DISPLAYED) > 0).astype(np.float64)
        values["promo.mailed"] = ((kind & MAILED) > 0).astype(np.float64)
        values["score.ease"] = ease[rows]
        values["score.knn"] = knn[rows]
        values["request.period"] = period[rows].astype(np.float64)
        local = at[rows] // 3_600_000_000 - 5
        values["request.hour"] = (local % 24).astype(np.float64)
        values["request.weekend"] = ((local // 24 + 3) % 7 >= 5).astype(np.float64)
        _derive(values)
        for place, name in enumerate(names(groups)):
            matrix[rows, place] = values[name]
    return matrix


def _derive(values: dict[str, npt.NDArray[np.float64]]) -> None:
    def over(above: str, below: str, floor: float = 1e-3) -> npt.NDArray[np.float64]:
        return np.asarray(values[above] / np.maximum(values[below], floor))

    trips_since = values["household.trips"] - values["pair.last_trip"]
    trips_between = (values["pair.last_trip"] - values["pair.first_trip"]) / np.maximum(
        values["pair.n"] - 1, 1
    )
    values["due.pair"] = over("pair.since", "pair.interval", 0.5)
    values["due.item"] = over("pair.since", "item.gap", 0.5)
    values["due.type"] = over("type.since", "type.interval", 0.5)
    values["due.trips_since"] = trips_since
    values["due.trips"] = np.where(
        values["pair.n"] > 1, trips_since / np.maximum(trips_between, 0.5), np.nan
    )
    values["due.rate"] = values["pair.n"] / (
        values["household.trips"] - values["pair.first_trip"] + 1
    )
    values["due.share"] = over("pair.d_90d", "type.d_90d")
    values["due.type_rate"] = over("type.n", "household.trips", 1.0)
    values["due.store_share"] = over("pair_store.d_90d", "pair.d_90d")
    values["item.trend"] = over("item.d_7d", "item.d_28d", 0.1)
    values["item.trend_2d"] = over("item.d_2d", "item.d_7d", 0.1)
    values["item.share"] = over("item.d_28d", "kind.d_28d", 0.1)
    values["store_item.share"] = over("store_item.d_28d", "store.d_28d", 1.0)
    values["store_item.lift"] = over("store_item.d_7d", "item.d_7d", 0.1)
    values["promo.deal"] = values["item.discount_7d"] - values["item.discount"]


def _columns(house: Shop, household: Ints, item: Ints, store: Ints) -> dict[str, Ints]:
    return {
        "household": household,
        "item": item,
        "store": store,
        "type": house.item_type[item],
        "category": house.item_category[item],
        "maker": house.item_maker[item],
        "department": house.item_department[item],
    }
