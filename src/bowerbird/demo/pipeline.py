"""What the demo's specs name: building training sets, fitting, judging, serving.

Each function takes a `Job` and reads nothing but what the plan pinned.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.core.inside import tell
from bowerbird.data.features.columns import DAY
from bowerbird.data.making import Job, Made
from bowerbird.data.samples import batches, explain, plan_set
from bowerbird.data.samples.leakage import refuse_leaks
from bowerbird.data.samples.requests import Requests, periods, staggered, trips
from bowerbird.data.samples.sequences import sequences
from bowerbird.data.samples.specs import Examples, TrainingSet
from bowerbird.demo.features import names, personal
from bowerbird.demo.house import SPAN, House, open_house
from bowerbird.demo.ranking import (
    HEADS,
    PerRequest,
    baseline_scores,
    compare,
    part,
    per_request,
    training_lists,
    training_rows,
)
from bowerbird.demo.shop import shop, week_of
from bowerbird.demo.training_set import Drawn, Judged
from bowerbird.lake import Lake, Table, bucket
from bowerbird.learning.models.config import History, TransAct
from bowerbird.learning.models.embeddings import item_embeddings
from bowerbird.learning.training.config import Curve, Fit
from bowerbird.learning.training.specs import Embeddings, Evaluation, Model

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from bowerbird.learning.models.transact import Ranker
    from bowerbird.learning.training.lists import Lists, Rows

TRIPS = 8000
"""Trips sampled for training, of about 12,000 in four weeks."""
BATCH = 16_384
"""Rows of a training set that are in memory twice while they are put in place."""
BLOCK = 2000
"""Requests whose features are in memory at once."""


# -- training sets -------------------------------------------------------------------------------


def training_set(job: Job) -> tuple[Table, pa.Table]:
    """A table of lists: a row a candidate, with its label and its features; those of four weeks
    first. row: where it lay when the lists were drawn, whichever bucket it lies in."""
    import pyarrow as pa

    spec = job.spec(Examples)
    drawn = msgspec.convert(spec.settings, Drawn)
    house = open_house(job)
    windows = house.split.training(1)[0], house.split.validation
    start = windows[drawn.judged_on == "test"][0]
    parts = []
    for period, requests in training_requests(house, start, TRIPS, spec.seed):
        tell(f"{len(requests):,} requests, {'four weeks' if period else 'a trip'} each")
        parts.append(_rows_of_lists(house, drawn, requests, spec.seed, period=period))
    rows = pa.concat_tables(parts)
    rows = rows.append_column("row", pa.array(np.arange(rows.num_rows)))
    floats = {name: "float" for name in rows.column_names if "__" in name}
    schema = {"row": "long", "period": "boolean", "list": "long", "place": "int"}
    schema |= {"household_id": "long"}
    schema |= {"store_id": "long", "at": "timestamptz", "product_id": "long", "label": "boolean"}
    layout = Table(
        spec.name,
        schema=schema | {"new": "boolean"} | floats,
        partition=(bucket("household_id", 16),),
        owner=spec.owner,
        description=spec.description,
    )
    return layout, rows.select(list(layout.schema))


def training_requests(
    house: House, start: int, most: int, seed: int
) -> tuple[tuple[bool, Requests], ...]:
    """What to train on before the window that begins a span after `start`: a list a household for
    four weeks (True), and a list a trip, at most `most`.

    The oldest first: its item weights are then dropped for the newer ones.
    """
    visits = trips(house.shop.log, start, start + SPAN)
    kept = np.sort(np.random.default_rng(seed).permutation(len(visits))[:most])
    moments = np.arange(start - SPAN + 2 * DAY, start + 1, 2 * DAY)
    spread = staggered(house.shop.log, moments, SPAN, each=4)
    refuse_leaks({"labels": spread.until}, np.full(len(spread), start + SPAN))
    return (True, spread), (False, visits.take(kept))


def sampled(
    house: House, drawn: Drawn, requests: Requests, seed: int, *, period: bool
) -> tuple[Judged, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The candidates of requests, the rows of them that are kept, and lists of these."""
    judged = house.judged(requests)
    request, item = judged.candidates.request, judged.candidates.item
    shown = house.promoted.kinds(week_of(requests.at[request]), requests.place[request], item)
    rows, index = training_rows(
        judged,
        shown > 0,
        size=drawn.size,
        positives=drawn.period_positives if period else drawn.positives,
        # Drawing promoted ones more often would tell a point-wise loss that they sell less.
        shown_share=0.0 if period else drawn.shown_share,
        seed=seed + period,
    )
    return judged, rows, index


def _rows_of_lists(
    house: House, drawn: Drawn, requests: Requests, seed: int, *, period: bool
) -> pa.Table:
    import pyarrow as pa

    judged, rows, index = sampled(house, drawn, requests, seed, period=period)
    request, item = judged.candidates.request, judged.candidates.item
    where, place = np.nonzero(index >= 0)
    owner = np.empty((2, len(rows)), dtype=np.int64)
    owner[:, index[where, place]] = where, place
    matrix = house.features(judged, rows, period=period)
    of = request[rows]
    columns: dict[str, Any] = {
        "period": np.full(len(rows), period),
        "list": owner[0],
        "place": owner[1].astype(np.int32),
        "household_id": requests.user[of],
        "store_id": requests.place[of],
        "at": pa.array(requests.at[of]).cast(pa.timestamp("us", tz="UTC")),
        "product_id": house.shop.product_ids[item[rows]],
        "label": judged.label[rows],
        "new": judged.new[rows],
    }
    for column, name in enumerate(names(house.groups)):
        columns[name.replace(".", "__")] = pa.array(matrix[:, column], from_pandas=True)
    return pa.table(columns)


def _lists(job: Job, ref: str) -> list[Lists]:
    """A training set's batches as lists of each kind: a trip, four weeks. Each value is put where
    it belongs as it comes, so that all is held once: features are large."""
    from bowerbird.learning.training.lists import Rows

    spec = job.spec(TrainingSet, ref)
    versions = {one: str(job.inputs[one].version) for one in spec.refs().values()}
    plan = plan_set(Lake(job.home), spec, versions=versions)
    count = explain(plan).rows
    features = [name for name in plan.keeps if "__" in name]
    matrix = np.empty((count, len(features)), dtype=np.float32)
    found: dict[str, npt.NDArray[Any]] = {
        name: np.empty(count, dtype=kind)
        for name, kind in {
            "period": np.bool_,
            "list": np.int64,
            "place": np.int64,
            "relevant": np.bool_,
            "new": np.bool_,
        }.items()
    }
    for batch in batches(job.home, plan, batch_size=BATCH):
        row = batch.column("row").to_numpy()
        for column, name in enumerate(features):
            matrix[row, column] = batch.column(name).to_numpy(zero_copy_only=False)
        for name, values in found.items():
            values[row] = batch.column(name).to_numpy(zero_copy_only=False)
    periods_end = int(found["period"].sum())
    kinds = {False: slice(periods_end, count), True: slice(0, periods_end)}
    return [_lists_of(Rows(matrix[kinds[p]]), found, kinds[p], period=p) for p in (False, True)]


def _lists_of(
    rows: Rows, found: dict[str, npt.NDArray[Any]], kind: slice, *, period: bool
) -> Lists:
    """The lists of one kind: a row a list, a column a place."""
    where, place = found["list"][kind], found["place"][kind]
    size = int(place.max(initial=-1)) + 1
    index = np.full((int(where.max(initial=-1)) + 1, size), -1, dtype=np.int64)
    index[where, place] = np.arange(len(where))
    label, new = found["relevant"][kind], found["new"][kind]
    return training_lists(rows, index, label, new, period=period)


# -- the ranker ------------------------------------------------------------------------------------


def ranker(job: Job) -> Made:
    """Fit twice: a window earlier, judged by epoch; then for the test weeks, as published."""
    import torch

    from bowerbird.learning.training.fit import fit

    spec = job.spec(Model)
    house = open_house(job)
    config = TransAct(
        features=len(names(house.groups)),
        heads=HEADS,
        cross_layers=spec.cross_layers,
        cross_rank=spec.cross_rank,
        deep=spec.deep,
        dropout=spec.dropout,
    )
    measure = _validation(house)
    told = _told("validation fit")
    sets = _lists(job, spec.validation)
    _, validated = fit(config, sets, spec.fit, validate=measure, on_progress=told)
    del sets, measure
    sets = _lists(job, spec.training)
    fitted, curves = fit(config, sets, spec.fit, on_progress=_told("fit"))
    folder = Path(job.folder)
    torch.save(fitted.state_dict(), folder / "weights.pt")
    (folder / "config.json").write_bytes(msgspec.json.encode(config))
    return Made(
        note={
            "validated": _curves(validated),
            "curves": _curves(curves),
            "seed": spec.fit.seed,
            "threads": spec.fit.threads,
        },
        results={
            "rows": sum(len(lists.rows) for lists in sets),
            **{f"validation_{k}": round(v, 4) for k, v in validated[-1].metrics.items()},
        },
    )


def _curves(curves: list[Curve]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(curve) for curve in curves]


def _told(what: str) -> Callable[[int, int, Any], None]:
    def on_progress(done: int, total: int, metrics: Any) -> None:
        tell(f"{what}: loss {metrics['loss']:.4f}", done=done, total=total)

    return on_progress


def _validation(house: House) -> Callable[[Ranker], dict[str, float]]:
    """Scores a sample of the validation window's requests."""
    from bowerbird.learning.training.fit import predict
    from bowerbird.learning.training.lists import Rows

    start, end = house.split.validation
    generator = np.random.default_rng(0)
    held = []
    for period, requests in (
        (False, trips(house.shop.log, start, end)),
        (True, periods(house.shop.log, start, SPAN)),
    ):
        kept = np.sort(generator.permutation(len(requests))[:1500])
        judged = house.judged(requests.take(kept))
        matrix = house.features(judged, np.arange(len(judged.label)), period=period)
        held.append((period, judged, Rows(matrix)))

    def measure(fitted: Ranker) -> dict[str, float]:
        found = {}
        for period, judged, rows in held:
            scores = predict(fitted, rows)
            shift = 2 if period else 0
            values = per_request(judged, scores[:, shift], scores[:, shift + 1])
            found[HEADS[shift]] = float(np.nanmean(values.every))
            found[HEADS[shift + 1]] = float(np.nanmean(values.new))
        return found

    return measure


def load_ranker(files: Any) -> Ranker:
    """The ranker of a release's files."""
    import torch

    from bowerbird.learning.models.transact import Ranker

    config = msgspec.json.decode(files.path("config.json").read_bytes(), type=TransAct)
    loaded = Ranker(config)
    loaded.load_state_dict(torch.load(files.path("weights.pt"), weights_only=True))
    loaded.eval()
    return loaded


def embeddings(job: Job) -> Made:
    """A vector an item, of purchases before the test weeks."""
    from bowerbird.data.samples.splits import last_windows

    spec = job.spec(Embeddings)
    house = shop(job.table(spec.purchases), job.table(spec.products))
    through = last_windows(int(house.log.at.max())).test[0]
    vectors = item_embeddings(
        house.log,
        [house.item_type, house.item_category],
        through=through,
        items=len(house),
        widths=spec.widths,
        weights=spec.weights,
        seed=spec.seed,
    )
    bought = np.bincount(house.log.item[house.log.at < through], minlength=len(house))
    kept = bought >= 15
    np.save(Path(job.folder) / "ids.npy", house.product_ids[kept])
    np.save(Path(job.folder) / "vectors.npy", vectors[kept])
    return Made(note={"through": through}, results={"rows": int(kept.sum())})


# -- judging ---------------------------------------------------------------------------------------


def evaluation(job: Job) -> Made:
    """The ranker beside the baselines on the test weeks, per trip and per household."""
    import torch

    spec = job.spec(Evaluation)
    # Not what an earlier step in this worker left: the same figures, whichever worker it is.
    torch.set_num_threads(job.spec(Model, spec.model).fit.threads)
    house = open_house(job)
    fitted = load_ranker(job.release(spec.model).files)
    start, end = house.split.test
    protocols = {
        "trip": (trips(house.shop.log, start, end), False),
        "household": (periods(house.shop.log, start, SPAN), True),
    }
    lines: list[dict[str, Any]] = []
    kept: dict[str, Any] = {}
    for name, (requests, period) in protocols.items():
        found = _judge_window(house, fitted, requests, period=period)
        lines += _compared(name, found, requests.user, spec)
        for model, values in found.items():
            kept[f"{name}|{model}|all"] = values.every
            kept[f"{name}|{model}|new"] = values.new
    lines += _compared_ablations(house, spec)
    folder = Path(job.folder)
    (folder / "figures.json").write_text(json.dumps(lines, indent=1))
    np.savez_compressed(folder / "per_request.npz", **kept)
    best = {
        f"{line['protocol']}_{line['kind']}": line["ratio"]["estimate"]
        for line in lines
        if line["model"] == "ranker"
    }
    return Made(note={"figures": lines}, results={k: round(v, 3) for k, v in best.items()})


def _judge_window(
    house: House, fitted: Ranker, requests: Requests, *, period: bool
) -> dict[str, PerRequest]:
    from bowerbird.learning.training.fit import predict
    from bowerbird.learning.training.lists import Rows

    tell(f"baselines on {len(requests):,} requests")
    judged = house.judged(requests)
    request, item = judged.candidates.request, judged.candidates.item
    user, at = requests.user[request], requests.at[request]
    model, knn = house.weights(int(requests.at.min()))
    scores = baseline_scores(
        house.events, judged, model.scores(user, item, at), knn.scores(user, item, at)
    )
    found = {name: per_request(judged, score, score) for name, score in scores.items()}
    ranked = np.empty((len(item), len(HEADS)), dtype=np.float32)
    for low in range(0, len(requests), BLOCK):
        tell("ranking", done=low, total=len(requests))
        some, rows = part(judged, np.arange(low, min(low + BLOCK, len(requests))))
        matrix = house.features(some, np.arange(len(rows)), period=period)
        ranked[rows] = predict(fitted, Rows(matrix))
    shift = 2 if period else 0
    found["ranker"] = per_request(judged, ranked[:, shift], ranked[:, shift + 1])
    return found


def _compared(
    protocol: str,
    found: dict[str, PerRequest],
    households: npt.NDArray[np.int64],
    spec: Evaluation,
    against: str | None = None,
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for kind, label in (("every", "all"), ("new", "discovery")):
        values = {model: getattr(result, kind) for model, result in found.items()}
        means = {m: float(np.nanmean(v)) for m, v in values.items() if m != "ranker"}
        best = against or max(means, key=lambda name: means[name])
        rows = compare(protocol, values, households, against=best, seed=spec.seed)
        lines += [
            {
                "protocol": protocol,
                "kind": label,
                "model": row.model,
                "against": best,
                "requests": int(np.isfinite(values[row.model]).sum()),
                "households": len(np.unique(households)),
                "ndcg": _interval(row.ndcg),
                "difference": _interval(row.difference),
                "ratio": _interval(row.ratio),
            }
            for row in rows
        ]
    return lines


def _interval(found: Any) -> dict[str, float]:
    return {"estimate": found.estimate, "low": found.low, "high": found.high}


ABLATION_TRIPS, ABLATION_SIZE, ABLATION_TEST = 4000, 32, 1500
"""Of the ablations: trips trained on, candidates a list, test trips."""


def _compared_ablations(house: House, spec: Evaluation) -> list[dict[str, Any]]:
    """Features and a lifelong sequence, each with and without the other, on the same lists.

    A part of the trips, each with a part of the candidates, for each of the four, and a smaller
    encoder than `History`'s own, to fit the demo's minutes: their differences are the claim, not
    their levels.
    """
    start, end = house.split.test
    visits = trips(house.shop.log, start, end)
    some = np.sort(np.random.default_rng(2).permutation(len(visits))[:ABLATION_TEST])
    test = visits.take(some)
    found = _ablations(house, house.split.validation[0], test)
    return [
        line
        for against in ("neither", "personal features")
        for line in _compared("ablation", found, test.user, spec, against=against)
    ]


def _ablations(house: House, start: int, test: Requests) -> dict[str, PerRequest]:
    from bowerbird.learning.models.ops.nearest import quantise
    from bowerbird.learning.training.fit import fit, predict
    from bowerbird.learning.training.lists import ActionTable

    log, history = house.shop.log, History(nearest=12, recent=4, layers=1)
    vectors = item_embeddings(
        log,
        [house.shop.item_type, house.shop.item_category],
        through=start,
        items=len(house.shop),
    )
    codes = quantise(vectors)
    table = ActionTable.of(log, codes)
    visits = trips(log, start, start + SPAN)
    kept = np.sort(np.random.default_rng(1).permutation(len(visits))[:ABLATION_TRIPS])
    judged = house.judged(visits.take(kept))
    none = np.zeros(len(judged.label), dtype=bool)
    chosen, index = training_rows(
        judged, none, size=ABLATION_SIZE, positives=12, shown_share=0.0, seed=0
    )
    tell("ablations: selecting actions to train on")
    train = _with_positions(house, judged, chosen, codes, history)
    lists = training_lists(train, index, judged.label[chosen], judged.new[chosen], period=False)
    tested = house.judged(test)
    tell("ablations: selecting actions to judge on")
    held = _with_positions(house, tested, np.arange(len(tested.label)), codes, history)
    every = np.arange(train.features.shape[1])
    plain = np.array([at for at, name in enumerate(names(house.groups)) if not personal(name)])
    found = {}
    for name, columns, sequence in (
        ("neither", plain, None),
        ("sequence", plain, history),
        ("personal features", every, None),
        ("both", every, history),
    ):
        config = TransAct(features=len(columns), heads=HEADS[:2], history=sequence)
        fitted, _ = fit(
            config,
            [replace(lists, rows=replace(train, features=train.features[:, columns]))],
            Fit(epochs=3),
            table=table,
            on_progress=_told(f"ablation: {name}"),
        )
        some = replace(held, features=held.features[:, columns])
        scores = predict(fitted, some, table=table, block=8192)
        found[name] = per_request(tested, scores[:, 0], scores[:, 1])
    return found


def _with_positions(
    house: House, judged: Judged, rows: npt.NDArray[np.int64], codes: Any, history: History
) -> Rows:
    """Rows with their selected actions."""
    from bowerbird.learning.training.lists import Rows, select_positions

    request, item = judged.candidates.request[rows], judged.candidates.item[rows]
    requests = judged.requests
    past = sequences(house.shop.log, requests.user, requests.at, cap=4193)
    return Rows(
        features=house.features(judged, rows, period=False),
        item=item,
        at=requests.at[request],
        place=requests.place[request],
        positions=select_positions(house.shop.log, codes, past, request, item, history),
    )
