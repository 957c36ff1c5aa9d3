"""What is declared over purchases, once: training sets and the feed compute it by one function.

A column is a value as of any moment, from purchases strictly before it. The groups' names are part
of the features' names; what is derived from several groups (bowerbird/demo/features.py) looks for
the columns that stand here.
"""

from __future__ import annotations

from bowerbird.data.features.columns import (
    Age,
    Count,
    Decayed,
    First,
    Interval,
    Last,
    Mean,
    Occasions,
    Ratio,
    Since,
    Sum,
)
from bowerbird.data.features.specs import FeatureGroup

from .tables import products, purchases

pair = FeatureGroup(
    "shop/pair",
    source=purchases,
    key=(
        "household_id",
        "product_id",
    ),
    columns={
        "n": Count(),
        "n_30d": Count(over="30d"),
        "n_90d": Count(over="90d"),
        "d_10d": Decayed("10d"),
        "d_30d": Decayed("30d"),
        "d_90d": Decayed("90d"),
        "since": Since(),
        "age": Age(),
        "interval": Interval(),
        "quantity": Mean("quantity"),
        "discount": Mean("discount"),
        "first_trip": First("trip"),
        "last_trip": Last("trip"),
    },
    owner="team:feed",
    description="A household and a product: how often, how lately, at which rhythm",
)

pair_store = FeatureGroup(
    "shop/pair_store",
    source=purchases,
    key=(
        "household_id",
        "store_id",
        "product_id",
    ),
    columns={
        "n": Count(),
        "d_90d": Decayed("90d"),
        "since": Since(),
    },
    owner="team:feed",
    description="The same, in one store",
)

of_type = FeatureGroup(
    "shop/type",
    source=purchases,
    key=(
        "household_id",
        "product_type",
    ),
    lookup=products,
    lookup_by="product_id",
    columns={
        "n": Count(),
        "n_30d": Count(over="30d"),
        "d_10d": Decayed("10d"),
        "d_30d": Decayed("30d"),
        "d_90d": Decayed("90d"),
        "since": Since(),
        "age": Age(),
        "interval": Interval(),
        "new": Sum("first"),
    },
    owner="team:feed",
    description="A household and a type of product",
)

category = FeatureGroup(
    "shop/category",
    source=purchases,
    key=(
        "household_id",
        "product_category",
    ),
    lookup=products,
    lookup_by="product_id",
    columns={
        "n": Count(),
        "d_30d": Decayed("30d"),
        "d_90d": Decayed("90d"),
        "since": Since(),
    },
    owner="team:feed",
    description="A household and a category",
)

type_maker = FeatureGroup(
    "shop/type_maker",
    source=purchases,
    key=(
        "household_id",
        "product_type",
        "manufacturer_id",
    ),
    lookup=products,
    lookup_by="product_id",
    columns={
        "n": Count(),
        "d_90d": Decayed("90d"),
        "since": Since(),
    },
    owner="team:feed",
    description="A household, a type and a maker",
)

maker = FeatureGroup(
    "shop/maker",
    source=purchases,
    key=(
        "household_id",
        "manufacturer_id",
    ),
    lookup=products,
    lookup_by="product_id",
    columns={
        "n": Count(),
        "d_90d": Decayed("90d"),
    },
    owner="team:feed",
    description="A household and a maker",
)

department = FeatureGroup(
    "shop/department",
    source=purchases,
    key=(
        "household_id",
        "department",
    ),
    lookup=products,
    lookup_by="product_id",
    columns={
        "n": Count(),
        "d_90d": Decayed("90d"),
    },
    owner="team:feed",
    description="A household and a department",
)

household = FeatureGroup(
    "shop/household",
    source=purchases,
    key=("household_id",),
    columns={
        "trips": Occasions(),
        "trips_30d": Occasions(over="30d"),
        "n": Count(),
        "d_90d": Decayed("90d"),
        "since": Since(),
        "basket": Ratio(Count(over="90d"), Occasions(over="90d")),
        "new": Ratio(Sum("first", over="90d"), Count(over="90d")),
        "discount": Mean("discount", over="90d"),
    },
    every="7d",
    owner="team:feed",
    description="A household alone: trips, basket, taste for the new and the cheap",
)

item = FeatureGroup(
    "shop/item",
    source=purchases,
    key=("product_id",),
    columns={
        "d_2d": Decayed("2d"),
        "d_7d": Decayed("7d"),
        "d_28d": Decayed("28d"),
        "d_90d": Decayed("90d"),
        "age": Age(),
        "reach": Sum("first"),
        "reach_28d": Sum("first", over="28d"),
        "repeat": Mean("again"),
        "gap": Ratio(Sum("gap"), Sum("again")),
        "price": Mean("price", over="28d"),
        "discount_7d": Mean("discount", over="7d"),
        "discount": Mean("discount"),
    },
    every="28d",
    owner="team:feed",
    description="A product: popularity at four speeds, reach, repeat rate, price",
)

store_item = FeatureGroup(
    "shop/store_item",
    source=purchases,
    key=(
        "store_id",
        "product_id",
    ),
    columns={
        "d_7d": Decayed("7d"),
        "d_28d": Decayed("28d"),
        "since": Since(),
    },
    owner="team:feed",
    description="A product in one store",
)

store = FeatureGroup(
    "shop/store",
    source=purchases,
    key=("store_id",),
    columns={
        "d_7d": Decayed("7d"),
        "d_28d": Decayed("28d"),
    },
    every="7d",
    owner="team:feed",
    description="A store alone",
)

kind = FeatureGroup(
    "shop/kind",
    source=purchases,
    key=("product_type",),
    lookup=products,
    lookup_by="product_id",
    columns={
        "d_7d": Decayed("7d"),
        "d_28d": Decayed("28d"),
        "reach": Sum("first"),
    },
    every="7d",
    owner="team:feed",
    description="A type of product over all households",
)
