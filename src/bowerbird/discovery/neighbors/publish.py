"""Tune, search, write the store, and check what was written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from bowerbird.core.inside import tell
from bowerbird.data.making import Job, Made
from bowerbird.discovery.neighbors.recall import check
from bowerbird.discovery.neighbors.search import build
from bowerbird.discovery.neighbors.specs import Neighbors
from bowerbird.discovery.neighbors.store import open_store, write_store
from bowerbird.discovery.neighbors.tuning import candidates, choose, measure
from bowerbird.discovery.neighbors.vectors import Vectors, sample


def publish(job: Job) -> Made:
    """A release of one store: every item's k nearest other items."""
    spec = job.spec(Neighbors)
    source = job.release(spec.vectors).files
    items = Vectors.of(np.load(source.path("ids.npy")), np.load(source.path("vectors.npy")))
    queries = sample(items, spec.queries, seed=spec.seed)
    tried = candidates(len(items))
    measured = measure(
        tried,
        items,
        queries,
        spec.k,
        seed=spec.seed,
        threads=spec.threads,
        on_measured=lambda one: tell(f"{one.index}: recall {one.recall:.3f}"),
    )
    choice = choose(measured, spec.target_recall, queries=len(items))
    index = build(items, choice.index, seed=spec.seed, threads=spec.threads)
    found = index.search(items, spec.k, exclude=items.ids, threads=spec.threads)
    write_store(Path(job.folder), items.ids, found)
    with open_store(Path(job.folder)) as store:
        recall = check(store, items, items, spec.k, own_ids_excluded=True, seed=spec.seed)
    return Made(
        note={
            "points": msgspec.to_builtins(choice.points()),
            "chosen": msgspec.to_builtins(choice.index),
            "recall": msgspec.to_builtins(recall),
            "items": len(items),
            "queries": spec.queries,
            "k": spec.k,
            "target_recall": spec.target_recall,
        },
        results={"rows": len(items), "recall": recall.recall},
    )
