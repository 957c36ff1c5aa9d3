"""A window's requests, their candidates, labels and features, everything as of each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.data.features.asof import evaluate
from bowerbird.data.features.columns import Column, Count, Decayed
from bowerbird.data.samples.leakage import refuse_leaks
from bowerbird.demo.features import Groups, features
from bowerbird.learning.models.retrieval import (
    Candidates,
    best,
    from_weights,
    had,
    novel,
    popular,
    union,
)

if TYPE_CHECKING:
    from bowerbird.data.features.asof import Timeline
    from bowerbird.data.samples.negatives import Promotions
    from bowerbird.data.samples.requests import Requests
    from bowerbird.demo.shop import Shop
    from bowerbird.learning.models.baselines import ItemToItem

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Chosen on the validation weeks, as the other settings of the baselines; see docs/log.md.
POPULARITY: Final = Decayed("20d")

SOURCES: Final = (
    "history",  # the household's own, by decayed frequency
    "frequent",  # the household's own, by count
    "popular",
    "popular_new",  # popular and never bought by the household
    "ease",
    "ease_new",
    "knn",
    "knn_new",
)


class Drawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How lists are drawn: the settings of the demo's `Examples`.

    A request is a trip, or four weeks of a household. Positives are candidates that were bought;
    negatives are drawn from the others, for a trip some from what was displayed or mailed in that
    store and week.

    judged_on: the four weeks that a model trained on them is judged on; all lies before them.
    size: candidates a list. positives: at most, a trip; period_positives: four weeks.
    shown_share: share of a trip's list that is drawn from what was displayed or mailed, not bought.
    """

    judged_on: Literal["validation", "test"] = "test"
    size: int = 80
    positives: int = 25
    period_positives: int = 40
    shown_share: float = 0.25


class Retrieval(msgspec.Struct, frozen=True):
    """How many candidates each source gives a request."""

    history: int = 150
    frequent: int = 10
    popular: int = 40
    popular_new: int = 40
    best: int = 20
    best_new: int = 40


@dataclass(frozen=True, eq=False)
class Judged:
    """Candidates of requests with what is known of them: a row a candidate.

    `label`: taken at this request; `new`: never taken before it. `taken` and `taken_new` count
    each request's relevant items, retrieved or not.
    """

    requests: Requests
    candidates: Candidates
    label: Mask
    new: Mask
    taken: Ints
    taken_new: Ints


def retrieve(
    house: Shop,
    events: dict[str, Timeline],
    requests: Requests,
    *,
    ease: ItemToItem,
    knn: ItemToItem,
    sizes: Retrieval,
) -> Candidates:
    """The union of the sources; every baseline's own best ten are among them.

    Item weights that may have seen a request's outcome are refused (`LeakageError`).
    """
    refuse_leaks({"EASE": ease.fitted_through, "ItemKNN": knn.fitted_through}, requests.at)
    request, item = had(house.firsts, requests)
    columns: dict[str, Column] = {"d": Decayed("90d"), "n": Count()}
    keys = [requests.user[request], item]
    own = evaluate(columns, events["pair"], keys, requests.at[request])
    parts = [
        (0, *best(request, item, own["d"], sizes.history)),
        (1, *best(request, item, own["n"], sizes.frequent)),
    ]
    # 400 deep: a household knows some of the most popular items, and its new ones lie below.
    request, item, score = popular(events["item"], POPULARITY, requests.at, 400)
    new = novel(house.firsts, requests.user[request], item, requests.at[request])
    parts.append((2, *best(request, item, score, sizes.popular)))
    parts.append((3, *best(request[new], item[new], score[new], sizes.popular_new)))
    for bit, model in ((4, ease), (6, knn)):
        every, fresh, _ = from_weights(
            model, requests, house.firsts, best_all=sizes.best, best_novel=sizes.best_new
        )
        parts += [(bit, *every), (bit + 1, *fresh)]
    return union(parts, len(requests))


def judge(house: Shop, requests: Requests, candidates: Candidates) -> Judged:
    """Label candidates by what each request took."""
    width = len(house)
    owner = np.repeat(np.arange(len(requests)), np.diff(requests.offsets))
    label = np.isin(
        candidates.request * width + candidates.item, owner * width + requests.positives
    )
    taken_new = novel(house.firsts, requests.user[owner], requests.positives, requests.at[owner])
    return Judged(
        requests=requests,
        candidates=candidates,
        label=label,
        new=novel(
            house.firsts,
            requests.user[candidates.request],
            candidates.item,
            requests.at[candidates.request],
        ),
        taken=np.diff(requests.offsets),
        taken_new=np.bincount(owner, weights=taken_new, minlength=len(requests)).astype(np.int64),
    )


def candidate_features(
    house: Shop,
    groups: Groups,
    events: dict[str, Timeline],
    promoted: Promotions,
    judged: Judged,
    rows: Ints,
    *,
    ease: ItemToItem,
    knn: ItemToItem,
    period: bool,
) -> npt.NDArray[np.float32]:
    """The feature matrix of some rows of the candidates (ascending)."""
    request, item = judged.candidates.request[rows], judged.candidates.item[rows]
    household, at = judged.requests.user[request], judged.requests.at[request]
    return features(
        house,
        groups,
        events,
        promoted,
        household=household,
        store=np.maximum(judged.requests.place[request], 0),
        at=at,
        item=item,
        ease=ease.scores(household, item, at),
        knn=knn.scores(household, item, at),
        period=np.full(len(rows), period),
    )
