"""The demo's feed: a reader over what a release pinned, ranked by the published model.

The moment is the start of the test weeks: nothing after it is read, but to say what was bought.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bowerbird.core.inside import tell
from bowerbird.data.features.asof import evaluate
from bowerbird.data.features.columns import DAY, Decayed
from bowerbird.data.making import Job
from bowerbird.data.samples.requests import usual_place
from bowerbird.demo.features import features
from bowerbird.demo.house import House, open_house
from bowerbird.demo.names import department_name, detail, product_name
from bowerbird.demo.pipeline import load_ranker
from bowerbird.demo.shop import week_of
from bowerbird.discovery.neighbors.store import open_store
from bowerbird.discovery.serving import Histories, PinnedFeed, Popular, Products, Promotions
from bowerbird.discovery.serving.history import moment
from bowerbird.discovery.serving.page import Purchase
from bowerbird.discovery.serving.specs import Feed
from bowerbird.learning.training.specs import Model

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from bowerbird.learning.models.transact import Ranker

_NOT_FOR_A_FEED = {
    "FUEL",
    "COUPON",
    "MISCELLANEOUS",
    "POSTAL CENTER",
    "CNTRL/STORE SUP",
    "PROD-WHS SALES",
}


@dataclass(frozen=True, eq=False)
class ShopFeed(PinnedFeed):
    """A `PinnedFeed` that can also choose households to show, and say what they bought next."""

    house: House | None = None

    def examples(self, count: int) -> list[int]:
        """Households of different habits: of many, middling and few purchases before now."""
        house = self._house()
        start = house.split.test[0]
        before, counts = np.unique(
            house.shop.log.user[house.shop.log.at < start], return_counts=True
        )
        later = np.unique(house.shop.log.user[house.shop.log.at >= start])
        kept = np.isin(before, later)
        order = before[kept][np.argsort(-counts[kept], kind="stable")]
        places = [int(len(order) * share) for share in np.linspace(0.08, 0.75, count)]
        return [int(order[place]) for place in places]

    def next_trip(self, household: int) -> list[Purchase]:
        """What the household bought on its first trip after the page was made."""
        house = self._house()
        start, log = house.split.test[0], house.shop.log
        later = np.flatnonzero((log.user == household) & (log.at >= start))
        if not len(later):
            return []
        first = log.at[later].min()
        items = np.unique(log.item[later[log.at[later] == first]])
        return [
            Purchase(self.products[int(house.shop.product_ids[item])], moment(int(first)))
            for item in items
        ]

    def _house(self) -> House:
        if self.house is None:
            raise ValueError("this feed was opened without its house")
        return self.house


def open_feed(job: Job) -> ShopFeed:
    """Open everything that a page needs, from the job's pins."""
    spec = job.spec(Feed)
    house = open_house(job)
    now = house.split.test[0]
    tables = _tables(job, spec)
    tell("opening the feed")
    purchases = job.table(
        tables["purchases"], columns=["household_id", "product_id", "store_id", "at"]
    )
    catalogue = job.table(tables["products"])
    store = open_store(Path(job.release(spec.neighbors).files.folder))
    fitted = load_ranker(job.release(spec.model).files)
    return ShopFeed(
        products=_products(catalogue),
        histories=Histories.from_table(purchases),
        neighbors=store,
        popular=Popular.from_table(_popular(house, now)),
        promotions=Promotions.from_table(_promoted(job, tables["placements"], now)),
        ranker=_Scorer(house, fitted, now),
        now=lambda: moment(now),
        exclude=_hidden(catalogue),
        release=str(job.inputs[spec.model].version or ""),
        house=house,
    )


def _tables(job: Job, spec: Feed) -> dict[str, str]:
    from bowerbird.data.samples.specs import Examples, TrainingSet

    model = job.spec(Model, spec.model)
    training = job.spec(TrainingSet, model.training)
    return job.spec(Examples, training.rows).tables


class _Scorer:
    """Scores candidates as they were scored in training: the same features, the same model."""

    def __init__(self, house: House, fitted: Ranker, now: int) -> None:
        import pyarrow as pa
        import torch

        self._house, self._fitted, self._now = house, fitted, now
        # What a request would wait for, done once: item weights, and where households shop.
        house.weights(now)
        self._users = np.unique(house.shop.log.user)
        self._places = np.maximum(usual_place(house.shop.log, self._users, now), 0)
        # A page's few hundred rows are scored sooner by one thread than by several that wait for
        # one another, and requests come side by side.
        torch.set_num_threads(1)
        # The first scores also compute each column's sums over all events.
        one = {"household_id": self._users[:1], "product_id": house.shop.product_ids[:1]}
        self(pa.table(one))

    def __call__(self, candidates: pa.Table) -> npt.NDArray[np.floating[Any]]:
        from bowerbird.learning.training.fit import predict
        from bowerbird.learning.training.lists import Rows

        house = self._house
        household = np.asarray(candidates["household_id"].to_numpy(), dtype=np.int64)
        item = house.shop.items(np.asarray(candidates["product_id"].to_numpy(), dtype=np.int64))
        known = np.flatnonzero(item >= 0)
        users = household[known]
        at = np.full(len(known), self._now, dtype=np.int64)
        model, knn = house.weights(self._now)
        row = np.searchsorted(self._users, users).clip(max=len(self._users) - 1)
        place = np.where(self._users[row] == users, self._places[row], 0)
        matrix = features(
            house.shop,
            house.groups,
            house.events,
            house.promoted,
            household=users,
            store=place,
            at=at,
            item=item[known],
            ease=model.scores(users, item[known], at),
            knn=knn.scores(users, item[known], at),
            period=np.zeros(len(known), dtype=bool),
        )
        scores = np.full(len(item), np.nan)
        scores[known] = predict(self._fitted, Rows(matrix))[:, 0]
        return scores


def _products(catalogue: pa.Table) -> Products:
    import pyarrow as pa

    rows = catalogue.to_pylist()
    names = [product_name(row["product_type"], row["product_category"]) for row in rows]
    return Products.from_table(
        pa.table(
            {
                "product_id": [row["product_id"] for row in rows],
                "name": names,
                "department": [
                    department_name(row["department"], row["product_category"]) for row in rows
                ],
                "detail": [
                    detail(row["brand"], row["package_size"], row["department"]) for row in rows
                ],
            }
        )
    )


def _hidden(catalogue: pa.Table) -> npt.NDArray[np.int64]:
    """Coupons, fuel, tobacco and the like."""
    hidden = [
        row["product_id"]
        for row in catalogue.select(
            ["product_id", "product_type", "department", "product_category"]
        ).to_pylist()
        if row["product_type"] is None
        or row["department"] in _NOT_FOR_A_FEED
        or row["product_category"] in ("COUPON/MISC ITEMS", "CIGARETTES")
    ]
    return np.asarray(hidden, dtype=np.int64)


def _popular(house: House, now: int) -> pa.Table:
    """The 2,000 products most wanted lately."""
    import pyarrow as pa

    item = np.arange(len(house.shop))
    at = np.full(len(item), now, dtype=np.int64)
    score = evaluate({"d": Decayed("28d")}, house.events["item"], [item], at)["d"]
    best = np.lexsort((item, -score))[:2000]
    return pa.table({"product_id": house.shop.product_ids[best], "score": score[best]})


def _promoted(job: Job, placements: str, now: int) -> pa.Table:
    """What each store displayed or mailed in the week of `now`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    week = int(week_of(np.array([now + DAY // 24]))[0])  # the week rolls over an hour after `now`
    rows = job.table(placements, where={"week": week})
    displayed = pc.not_equal(rows["display_location"], "0")
    mailed = pc.not_equal(rows["mailer_location"], "0")
    rows = rows.append_column(
        "placement", pc.if_else(displayed, pa.scalar("display"), pa.scalar("mailer"))
    )
    return rows.filter(pc.or_(displayed, mailed))
