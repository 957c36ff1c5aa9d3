"""From judged candidates to training lists, scores a request, and the table of figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from bowerbird.data.features.asof import evaluate
from bowerbird.data.features.columns import Count, Decayed
from bowerbird.data.features.timeline import ranges
from bowerbird.data.samples.negatives import sample_lists
from bowerbird.demo.training_set import POPULARITY, Judged
from bowerbird.learning.models.retrieval import Candidates
from bowerbird.learning.training.evaluation import ndcg
from bowerbird.stats import intervals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bowerbird.data.features.asof import Timeline
    from bowerbird.learning.training.lists import Lists, Rows

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

HEADS: Final = ("trip", "trip_new", "period", "period_new")

# Chosen on the four validation weeks; see docs/log.md.
POPULARITY_WEIGHT: Final = 0.001


def baseline_scores(
    events: dict[str, Timeline], judged: Judged, ease: Floats, knn: Floats
) -> dict[str, Floats]:
    """Each baseline's score of each candidate, everything as of the request."""
    request, item = judged.candidates.request, judged.candidates.item
    at = judged.requests.at[request]
    keys = [judged.requests.user[request], item]
    own = evaluate({"n": Count(), "d": Decayed("90d")}, events["pair"], keys, at)
    popularity = evaluate({"d": POPULARITY}, events["item"], [item], at)["d"]
    return {
        "popular": popularity,
        "personal frequency": own["n"],
        "decayed frequency": own["d"],
        "decayed + popularity": own["d"] + POPULARITY_WEIGHT * popularity,
        "ItemKNN": knn,
        "EASE": ease,
    }


@dataclass(frozen=True)
class PerRequest:
    """NDCG@10 of each request over all items and over new ones; NaN where nothing is relevant."""

    every: Floats
    new: Floats


def per_request(judged: Judged, every: npt.ArrayLike, new: npt.ArrayLike) -> PerRequest:
    """Judge one score over all candidates and one over those that the household never had."""
    return PerRequest(
        every=ndcg(judged.candidates, every, judged.label, judged.taken),
        new=ndcg(judged.candidates, new, judged.label, judged.taken_new, allowed=judged.new),
    )


def part(judged: Judged, requests: Ints) -> tuple[Judged, Ints]:
    """Only some requests (ascending), and which rows of the candidates they keep."""
    rows, owner = ranges(
        judged.candidates.offsets[requests], judged.candidates.offsets[requests + 1]
    )
    return (
        Judged(
            requests=judged.requests.take(requests),
            candidates=Candidates(
                request=owner,
                item=judged.candidates.item[rows],
                source=judged.candidates.source[rows],
                offsets=np.searchsorted(owner, np.arange(len(requests) + 1)).astype(np.int64),
            ),
            label=judged.label[rows],
            new=judged.new[rows],
            taken=judged.taken[requests],
            taken_new=judged.taken_new[requests],
        ),
        rows,
    )


def training_rows(
    judged: Judged,
    shown: npt.NDArray[np.bool_],
    *,
    size: int,
    positives: int,
    shown_share: float,
    seed: int,
) -> tuple[Ints, Ints]:
    """The sampled candidates (ascending rows), and lists of places among them, -1 missing."""
    lists = sample_lists(
        judged.candidates.offsets,
        judged.label,
        shown,
        size=size,
        positives=positives,
        shown_share=shown_share,
        seed=seed,
    )
    rows = np.unique(lists[lists >= 0])
    return rows, np.where(lists >= 0, np.searchsorted(rows, lists), -1)


def training_lists(rows: Rows, index: Ints, label: Mask, new: Mask, *, period: bool) -> Lists:
    """Lists that train the heads of their kind: what is taken, and what is taken anew.

    label, new: of each row; `index` (lists, size) names rows, -1 missing.

    Trips learn list-wise. Periods learn point-wise: their lists have a score of positives, and on
    the validation weeks that gave .437 where the list-wise loss gave .414 (docs/log.md,
    2026-11-24); for trips it is the other way round.
    """
    from bowerbird.learning.training.lists import Lists, Loss, Target

    stands = index >= 0
    taken, anew = label[index] & stands, new[index] & stands
    name, loss = ("period", Loss.POINTWISE) if period else ("trip", Loss.LISTWISE)
    return Lists(
        rows=rows,
        index=index,
        targets={name: Target(taken, stands, loss), f"{name}_new": Target(taken, anew, loss)},
    )


@dataclass(frozen=True)
class Row:
    """One line of the table of figures: a model under one protocol."""

    protocol: str
    model: str
    ndcg: intervals.Interval
    difference: intervals.Interval
    ratio: intervals.Interval


def compare(
    protocol: str,
    values: Mapping[str, Floats],
    households: Ints,
    *,
    against: str,
    seed: int = 0,
) -> list[Row]:
    """Each model with its interval, and its difference and ratio to `against`, by household."""
    baseline = values[against]
    return [
        Row(
            protocol=protocol,
            model=name,
            ndcg=intervals.mean(found, households, seed=seed),
            difference=intervals.difference(found, baseline, households, seed=seed),
            ratio=intervals.ratio(found, baseline, households, seed=seed),
        )
        for name, found in values.items()
    ]
