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
from bowerbird.lake.read import duckdb, read, read_batches
from bowerbird.lake.rollback import rollback
from bowerbird.lake.specs import (
    Bucket,
    Day,
    Identity,
    Month,
    Table,
    bucket,
    day,
    identity,
    month,
)
from bowerbird.lake.write import Written, write

__all__ = [
    "Bucket",
    "Day",
    "Identity",
    "Keyed",
    "Lake",
    "Month",
    "Table",
    "TableLog",
    "Ties",
    "Written",
    "bucket",
    "day",
    "duckdb",
    "identifier",
    "identity",
    "merge",
    "merge_into",
    "month",
    "read",
    "read_batches",
    "rollback",
    "write",
]
