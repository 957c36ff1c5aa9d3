"""Nearest neighbours, found offline and looked up online.

Who comes in: vectors of items and of queries, with ids (`Vectors`). What leaves: a folder that
maps each query's key to its k best items, looked up in a few microseconds, and numbers that say
how much of the exact answer it holds. A plain scan (`exact`) is the reference; every faster index
is held to it by property tests, and gives the same score for the same pair.

::

    items, set_aside = Vectors.from_table(table, id_column="product_id", vector_column="vector")
    queries = sample(items, 500, seed=1)
    measured = measure(candidates(len(items)), items, queries, 10, seed=1, threads=2)
    index = build(items, choose(measured, target_recall=0.95).index, seed=1, threads=2)
    write_store(folder, items.ids, index.search(items, 10, exclude=items.ids))
    open_store(folder).get(1082185)

Heavy libraries (faiss, lmdb) load when they are first used, not when this is imported.
"""

from bowerbird.discovery.neighbors.recall import RecallReport, check
from bowerbird.discovery.neighbors.search import (
    HNSW,
    IVF,
    Codes,
    Flat,
    Index,
    IndexParams,
    Metric,
    Neighbors,
    build,
    exact,
)
from bowerbird.discovery.neighbors.store import (
    Found,
    StoreReader,
    open_store,
    shard_of,
    write_manifest,
    write_shard,
    write_store,
)
from bowerbird.discovery.neighbors.tuning import Choice, Measurement, candidates, choose, measure
from bowerbird.discovery.neighbors.vectors import SetAside, Vectors, sample

__all__ = [
    "HNSW",
    "IVF",
    "Choice",
    "Codes",
    "Flat",
    "Found",
    "Index",
    "IndexParams",
    "Measurement",
    "Metric",
    "Neighbors",
    "RecallReport",
    "SetAside",
    "StoreReader",
    "Vectors",
    "build",
    "candidates",
    "check",
    "choose",
    "exact",
    "measure",
    "open_store",
    "sample",
    "shard_of",
    "write_manifest",
    "write_shard",
    "write_store",
]
