"""A point-in-time join of 2M rows with the values of five feature groups, 1M rows each.

    python -m benchmarks.features_join [--size 1.0] [--rounds 3]

Against DuckDB's ASOF, Polars' join_asof, and Feast's historical retrieval over its DuckDB store.
Feast is another environment's: BOWERBIRD_FEAST_PYTHON names a Python that has ``feast[duckdb]``.
All read the same data files (16 buckets, sorted by key and time) and give all rows, which are
counted and summed and thrown away; each in a process of its own.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import pyarrow as pa

from benchmarks import _apart, _feast
from benchmarks.lake_join import LAKE, commit, consumed, files, home, two_at_once
from bowerbird.lake import Lake, Table, bucket
from bowerbird.lake.joins.join import bucket_join, join_rows
from bowerbird.lake.joins.specs import AsOf, Side

ROWS = Table(
    "bench/rows",
    schema={"user_id": "long", "at": "timestamptz", "n0": "double"},
    partition=(bucket("user_id", 16),),
    sort=("user_id", "at"),
)
GROUPS = tuple(
    Table(
        f"bench/group{n}",
        schema={"user_id": "long", f"since{n}": "timestamptz", f"a{n}": "double", f"b{n}": "long"},
        partition=(bucket("user_id", 16),),
        sort=("user_id", f"since{n}"),
    )
    for n in range(5)
)
SIDES: tuple[Side, *tuple[AsOf, ...]] = (
    Side("bench/rows", "user_id"),
    *(AsOf(one.name, at=f"since{n}", to="at") for n, one in enumerate(GROUPS)),
)
CHECKED = tuple(f"a{n}" for n in range(5))


def prepare(folder: str, size: float) -> None:
    random = np.random.default_rng(5)
    rows, values, users = int(2e6 * size), int(1e6 * size), max(1, int(50_000 * size))
    for n, spec in enumerate((ROWS, *GROUPS)):
        count = values if n else rows
        times = random.integers(0, 365 * 86_400_000_000, count) + 17_532 * 86_400_000_000
        columns = [
            pa.array(random.integers(0, users, count)),
            pa.array(times, pa.timestamp("us", "UTC")),
            pa.array(random.random(count).round(3)),
        ]
        columns += [pa.array(random.integers(0, 1000, count))] if n else []
        commit(Lake(home(folder)), spec, pa.table(columns, list(spec.schema)))


def ours(folder: str) -> tuple[int, float]:
    lake = Lake(home(folder))
    return consumed(join_rows(lake, bucket_join(lake, *SIDES)), CHECKED)


def ours_two(folder: str) -> tuple[int, float]:
    return two_at_once(folder, SIDES, CHECKED)


def duckdb(folder: str) -> tuple[int, float]:
    import duckdb as duck

    connection = duck.connect()
    connection.execute("SET preserve_insertion_order = false")
    params = {"rows": files(folder, ROWS.name)}
    query = "SELECT r.*"
    for n, spec in enumerate(GROUPS):
        params[f"g{n}"] = files(folder, spec.name)
        query += f", g{n}.a{n}, g{n}.b{n}"
    query += " FROM read_parquet($rows) r"
    for n in range(len(GROUPS)):
        query += (
            f" ASOF LEFT JOIN read_parquet($g{n}) g{n} "
            f'ON r.user_id = g{n}.user_id AND r."at" >= g{n}.since{n}'
        )
    found = connection.sql(query, params=params)
    return consumed(found.to_arrow_reader(32768), CHECKED)


def polars(folder: str) -> tuple[int, float]:
    import polars as pl

    joined = pl.scan_parquet(files(folder, ROWS.name)).sort("at")
    for n, spec in enumerate(GROUPS):
        right = pl.scan_parquet(files(folder, spec.name)).sort(f"since{n}")
        joined = joined.join_asof(right, left_on="at", right_on=f"since{n}", by="user_id")
    frames = joined.collect_batches(chunk_size=32768, maintain_order=False)
    assert frames is not None
    return consumed((frame.to_arrow() for frame in frames), CHECKED)


CONTENDERS: dict[str, tuple[_apart.Contender, tuple[str, ...]]] = {
    "ours": (ours, LAKE),
    "ours, two buckets at once": (ours_two, LAKE),
    "duckdb ASOF": (duckdb, (*LAKE, "duckdb")),
    "polars join_asof": (polars, (*LAKE, "polars")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = _apart.asked(parser, CONTENDERS)
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, asked.size)
        listed = {n: files(folder, spec.name) for n, spec in enumerate(GROUPS)}
        feast = _feast.Join(files(folder, ROWS.name), listed)
        rounds = []
        for _ in range(asked.rounds):
            one = {
                name: _apart.run("benchmarks.features_join", name, folder) for name in CONTENDERS
            }
            if (found := _feast.run("join", feast, folder)) is not None:
                one["feast, duckdb store"] = found
            rounds.append(one)
        _apart.report(f"point-in-time join at size {asked.size}", _apart.best(rounds), "ours")
        if not _feast.python():
            print("Feast was left out: BOWERBIRD_FEAST_PYTHON names no Python that has it")


if __name__ == "__main__":
    main()
