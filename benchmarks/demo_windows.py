"""The demo's ranker on earlier windows: ``python -m benchmarks.demo_windows [--windows 4]``.

The protocol of the test weeks, as of every fourth week before them: a ranker is fitted on what lies
before a window, and judged on the window. So one sees whether a figure of the test weeks is one of
the model or one of those weeks. Two rows of figures that no model is in: how much the sales of
products in the window resemble those of the four weeks before it, and the share of what households
bought that they never bought before.

Trips are sampled (``--trips``); households are all judged. `prepare` and `fitted` are for whoever
tries other settings: to be chosen on the windows before the last, never on the last.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from bowerbird.data.making import Job
from bowerbird.data.samples.requests import Requests, periods, trips
from bowerbird.demo.house import SPAN, House, declared
from bowerbird.demo.pipeline import TRIPS, sampled, training_requests
from bowerbird.demo.project.specs import feed, tables
from bowerbird.demo.ranking import HEADS, baseline_scores, per_request, training_lists
from bowerbird.demo.shop import promotion_index
from bowerbird.demo.training_set import Drawn, Judged
from bowerbird.learning.models.config import TransAct
from bowerbird.learning.models.transact import Ranker
from bowerbird.learning.training.config import Fit
from bowerbird.learning.training.fit import fit, predict
from bowerbird.learning.training.lists import Lists, Rows
from bowerbird.stats import intervals

BASELINE = "decayed + popularity"
Floats = npt.NDArray[np.float64]


class Sources:
    """The demo's tables as a job would read them, from the package's files."""

    def table(self, ref: str, columns: Any = None, where: Any = None) -> Any:
        load = {
            str(tables.purchases.ref): tables.load_purchases,
            str(tables.products.ref): tables.load_products,
            str(tables.placements.ref): tables.load_placements,
        }
        return load[ref]()


def open_shop() -> House:
    """The house as of every window: placements of the whole year."""
    sources = cast("Job", Sources())
    house = House(sources, feed.lists.tables, declared(feed.GROUPS))
    house.promoted = promotion_index(sources.table(str(tables.placements.ref)), house.shop)
    return house


@dataclass(frozen=True)
class Held:
    """Requests that a ranker is judged on, with all that any score needs."""

    judged: Judged
    rows: Rows
    baselines: dict[str, Floats]


@dataclass(frozen=True)
class Window:
    """What a ranker is fitted on, and what it is judged on: by trip and by household."""

    start: int
    sets: tuple[Lists, Lists]
    trip: Held
    household: Held


def prepare(house: House, start: int, most: int) -> Window:
    """The window that begins at `start`; of its trips at most `most`."""
    sets = []
    # The oldest first: its item weights are then dropped for the newer ones.
    for period, requests in training_requests(house, start - SPAN, TRIPS, feed.lists.seed):
        judged, rows, index = sampled(house, Drawn(), requests, feed.lists.seed, period=period)
        matrix = Rows(house.features(judged, rows, period=period))
        label, new = judged.label[rows], judged.new[rows]
        sets.append(training_lists(matrix, index, label, new, period=period))
    visits = trips(house.shop.log, start, start + SPAN)
    some = np.sort(np.random.default_rng(0).permutation(len(visits))[:most])
    return Window(
        start=start,
        sets=(sets[1], sets[0]),
        trip=_held(house, visits.take(some), period=False),
        household=_held(house, periods(house.shop.log, start, SPAN), period=True),
    )


def _held(house: House, requests: Requests, *, period: bool) -> Held:
    judged = house.judged(requests)
    request, item = judged.candidates.request, judged.candidates.item
    model, knn = house.weights(int(requests.at.min()))
    found = [one.scores(requests.user[request], item, requests.at[request]) for one in (model, knn)]
    return Held(
        judged=judged,
        rows=Rows(house.features(judged, np.arange(len(item)), period=period)),
        baselines=baseline_scores(house.events, judged, *found),
    )


def fitted(window: Window, how: Fit) -> Ranker:
    """The published ranker's shape and settings, on what lies before the window."""
    features, spec = window.sets[0].rows.features.shape[1], feed.ranker
    config = TransAct(
        features=features,
        heads=HEADS,
        cross_layers=spec.cross_layers,
        cross_rank=spec.cross_rank,
        deep=spec.deep,
        dropout=spec.dropout,
    )
    return fit(config, window.sets, how)[0]


def against(held: Held, scores: npt.NDArray[np.float32]) -> tuple[float, float, intervals.Interval]:
    """NDCG@10 over all products of the baseline and of the ranker, and their ratio."""
    plain = held.baselines[BASELINE]
    below = per_request(held.judged, plain, plain).every
    above = per_request(held.judged, scores, scores).every
    ratio = intervals.ratio(above, below, held.judged.requests.user, seed=0)
    return float(np.nanmean(below)), float(np.nanmean(above)), ratio


def likeness(house: House, start: int) -> tuple[float, float]:
    """How alike sales of products are in the window and just before it, and what is new in it."""
    log = house.shop.log
    before = np.bincount(
        log.item[(log.at >= start - SPAN) & (log.at < start)], minlength=len(house.shop)
    )
    within = np.bincount(
        log.item[(log.at >= start) & (log.at < start + SPAN)], minlength=len(house.shop)
    )
    cosine = before @ within / np.sqrt(float(before @ before) * float(within @ within))
    bought = periods(log, start, SPAN)
    owner = np.repeat(np.arange(len(bought)), np.diff(bought.offsets))
    firsts = house.shop.firsts
    width = len(house.shop)
    kept = np.flatnonzero(firsts.at < start)
    had = np.isin(
        bought.user[owner] * width + bought.positives,
        firsts.user[kept] * width + firsts.item[kept],
    )
    return float(cosine), float(1 - had.mean())


def windows(house: House, count: int) -> Iterator[int]:
    """Where each window begins, the earliest first; the last is that of the test weeks."""
    last = house.split.test[0]
    yield from range(last - (count - 1) * SPAN, last + 1, SPAN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--trips", type=int, default=3000, help="judged, of each window's")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    house = open_shop()
    print(f"NDCG@10, all products: {BASELINE}, the ranker, and their ratio with its interval")
    print(f"{'from':10}  {'a list a household':35}  {'a list a trip':35}  alike  new    seconds")
    for start in windows(house, options.windows):
        begun = time.perf_counter()
        window = prepare(house, start, options.trips)
        ranker = fitted(window, Fit(threads=options.threads))
        line = str(np.datetime64(start, "us").astype("datetime64[D]"))
        for held, head in ((window.household, 2), (window.trip, 0)):
            low, high, ratio = against(held, predict(ranker, held.rows)[:, head])
            found = f"{ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
            line += f"  {f'{low:.4f} {high:.4f} {found}':35}"
        cosine, new = likeness(house, start)
        print(f"{line}  {cosine:.3f}  {new:.3f}  {time.perf_counter() - begun:.0f}", flush=True)


if __name__ == "__main__":
    main()
