"""Iceberg tables that are laid out on purpose.

Who comes in: a data engineer who declares a `Table`, and every other room, which reads and writes
rows through here and nowhere else. What leaves: steps that load, roll back and drop tables; pinned
reads as Arrow or DuckDB; `TableLog`, by which any step commits to a table once::

    purchases = Table("shop/purchases", schema={"household_id": "long", "at": "timestamptz"},
                      partition=[bucket("household_id", 16)], sort=["household_id", "at"],
                      source="shop.load:purchases", owner="team:growth")
    lake = Lake(home)
    rows = read(lake, "shop/purchases", where={"household_id": 7})

Importing this loads neither PyIceberg nor Arrow: each function imports what it works with.
"""

from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.changes import Keyed, Ties
from bowerbird.lake.log import TableLog
from bowerbird.lake.merge import merge, merge_into
from bowerbird.lake.read import read, read_batches
from bowerbird.lake.readers import duckdb, polars, ray_dataset, torch_batches
from bowerbird.lake.rollback import rollback
from bowerbird.lake.specs import (
    Bucket,
    Day,
    Hour,
    Identity,
    Month,
    Table,
    Truncate,
    Year,
    bucket,
    day,
    hour,
    identity,
    month,
    truncate,
    year,
)
from bowerbird.lake.write import Written, write

__all__ = [
    "Bucket",
    "Day",
    "Hour",
    "Identity",
    "Keyed",
    "Lake",
    "Month",
    "Table",
    "TableLog",
    "Ties",
    "Truncate",
    "Written",
    "Year",
    "bucket",
    "day",
    "duckdb",
    "hour",
    "identifier",
    "identity",
    "merge",
    "merge_into",
    "month",
    "polars",
    "ray_dataset",
    "read",
    "read_batches",
    "rollback",
    "torch_batches",
    "truncate",
    "write",
    "year",
]
