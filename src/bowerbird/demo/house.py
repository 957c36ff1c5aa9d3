"""The shop as the demo's functions see it: opened from the tables that a job pinned.

Steps that run in one worker one after another share it: it is made once for the same versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.core.inside import tell
from bowerbird.core.specs import Spec
from bowerbird.data.features.columns import DAY
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.making import Job
from bowerbird.data.samples.specs import Examples
from bowerbird.data.samples.splits import TimeSplit, last_windows
from bowerbird.demo.features import Group, Groups, timelines
from bowerbird.demo.shop import promotion_index, shop, week_of
from bowerbird.demo.training_set import Judged, Retrieval, candidate_features, judge, retrieve
from bowerbird.learning.models.baselines import ItemToItem, ease, item_knn

if TYPE_CHECKING:
    import numpy.typing as npt

    from bowerbird.data.samples.requests import Requests

SPAN = 28 * DAY

_KEYS = {
    "household_id": "household",
    "product_id": "item",
    "store_id": "store",
    "product_type": "type",
    "product_category": "category",
    "manufacturer_id": "maker",
    "department": "department",
}


class House:
    """The tables as arrays, the events of every feature group, and models as of each window."""

    def __init__(self, job: Job, tables: Mapping[str, str], groups: Groups) -> None:
        tell("opening the shop")
        self.groups = groups
        self.shop = shop(job.table(tables["purchases"]), job.table(tables["products"]))
        self.split: TimeSplit = last_windows(int(self.shop.log.at.max()))
        first = int(week_of(np.array([self.split.training(2)[0][0]]))[0])
        placed = job.table(tables["placements"], where={"week": (first, None)})
        self.promoted = promotion_index(placed, self.shop)
        self.events = timelines(self.shop, groups)
        self._models: dict[int, tuple[ItemToItem, ItemToItem]] = {}

    def weights(self, at: int) -> tuple[ItemToItem, ItemToItem]:
        """EASE and ItemKNN fitted through the start of the window that `at` lies in."""
        start = self.split.test[0]
        while start > at:
            start -= SPAN
        if start not in self._models:
            while len(self._models) > 1:  # a pair of them takes 200 MB
                del self._models[min(self._models)]
            tell("fitting EASE and ItemKNN")
            log = self.shop.log
            self._models[start] = (ease(log, through=start), item_knn(log, through=start))
        return self._models[start]

    def judged(self, requests: Requests) -> Judged:
        """Candidates of requests, with what is known of each."""
        model, knn = self.weights(int(requests.at.min()))
        found = retrieve(self.shop, self.events, requests, ease=model, knn=knn, sizes=Retrieval())
        return judge(self.shop, requests, found)

    def features(
        self, judged: Judged, rows: npt.NDArray[np.int64], *, period: bool
    ) -> npt.NDArray[np.float32]:
        model, knn = self.weights(int(judged.requests.at.min()))
        return candidate_features(
            self.shop,
            self.groups,
            self.events,
            self.promoted,
            judged,
            rows,
            ease=model,
            knn=knn,
            period=period,
        )


def open_house(job: Job) -> House:
    """The house of a job whose specs include examples and their feature groups."""
    tables = next(spec.tables for spec in specs(job) if isinstance(spec, Examples))
    groups = declared(spec for spec in specs(job) if isinstance(spec, FeatureGroup))
    pins = tuple(job.inputs[ref].version for ref in tables.values())
    return _opened(_Key(job, tables, groups, (pins, repr(groups))))


class _Key:
    """A cache key of what matters, that carries what is needed to open."""

    def __init__(self, job: Job, tables: Mapping[str, str], groups: Groups, key: object) -> None:
        self.job, self.tables, self.groups, self.key = job, tables, groups, key

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.key == self.key


@lru_cache(maxsize=1)
def _opened(key: _Key) -> House:
    return House(key.job, key.tables, key.groups)


def specs(job: Job) -> list[Spec]:
    """The examples and feature groups that a job uses, its own too."""
    found: list[Spec] = []
    for ref, envelope in job.envelopes.items():
        if envelope["kind"] == "Examples":
            found.append(job.spec(Examples, ref))
        elif envelope["kind"] == "FeatureGroup":
            found.append(job.spec(FeatureGroup, ref))
    return found


def declared(groups: Iterable[FeatureGroup]) -> Groups:
    """Feature groups by name, their keys as the shop's arrays are named."""
    return {
        group.ref.name: Group(tuple(_KEYS[part] for part in group.key), group.columns)
        for group in groups
    }
