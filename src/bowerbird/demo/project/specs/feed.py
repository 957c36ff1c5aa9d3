"""From purchases to a ranked feed: training sets, a ranker, what it is judged on, the pages."""

from __future__ import annotations

from bowerbird.data.samples.labels import Reward
from bowerbird.data.samples.specs import Examples, TrainingSet
from bowerbird.demo import pipeline, reader
from bowerbird.discovery.neighbors.specs import Neighbors
from bowerbird.discovery.serving.specs import Feed
from bowerbird.learning.training.config import Fit
from bowerbird.learning.training.specs import Embeddings, Evaluation, Model

from . import features
from .tables import placements, products, purchases

GROUPS = (
    features.pair,
    features.pair_store,
    features.of_type,
    features.category,
    features.type_maker,
    features.maker,
    features.department,
    features.household,
    features.item,
    features.store_item,
    features.store,
    features.kind,
)

SHOP = {"purchases": purchases, "products": products, "placements": placements}

earlier_lists = Examples(
    "shop/earlier_lists",
    tables=SHOP,
    features=GROUPS,
    function=pipeline.training_set,
    settings={"judged_on": "validation"},
    owner="team:feed",
    description="Lists of candidates, all before the validation weeks",
)

lists = Examples(
    "shop/lists",
    tables=SHOP,
    features=GROUPS,
    function=pipeline.training_set,
    settings={"judged_on": "test"},
    owner="team:feed",
    description="Lists of candidates, all before the test weeks",
)


def to_train_on(name: str, rows: Examples, description: str) -> TrainingSet:
    return TrainingSet(
        name,
        rows=rows,
        entity="household_id",
        request=("period", "list"),
        labels={"relevant": Reward({"label": 1})},
        order="lying",
        owner="team:feed",
        description=description,
    )


earlier_trips = to_train_on(
    "shop/earlier_trips", earlier_lists, "Lists to train on, judged in the validation weeks"
)

trips = to_train_on("shop/trips", lists, "Lists to train on, judged in the test weeks")

ranker = Model(
    "shop/ranker",
    training=trips,
    validation=earlier_trips,
    function=pipeline.ranker,
    fit=Fit(seed=0, threads=2),
    owner="team:feed",
    description="One score a candidate and head: next trip, next four weeks, and what is new",
)

judged = Evaluation(
    "shop/ranker",
    model=ranker,
    function=pipeline.evaluation,
    owner="team:feed",
    description="The ranker beside the baselines, on the last four weeks",
)

vectors = Embeddings(
    "shop/products",
    purchases=purchases,
    products=products,
    function=pipeline.embeddings,
    owner="team:feed",
    description="Who buys a product, and what it is",
)

similar = Neighbors(
    "shop/similar",
    vectors=vectors,
    k=50,
    target_recall=0.95,
    owner="team:feed",
    description="The products nearest to each product",
)

home = Feed(
    "shop/home",
    model=ranker,
    neighbors=similar,
    evaluation=judged,
    function=reader.open_feed,
    owner="team:feed",
    description="The page of a household",
)
