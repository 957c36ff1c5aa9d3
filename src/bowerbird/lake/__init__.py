"""Iceberg tables that are laid out on purpose.

Who comes in: a data engineer who declares a `Table`, and every other room, which reads and writes
rows through here and nowhere else. What leaves: steps that load, merge, join, roll back, publish
and look after tables; pinned reads in Arrow, DuckDB, Polars, Ray and torch; `TableLog`, by which
any step commits to a table once::

    purchases = Table("shop/purchases", schema={"household_id": "long", "at": "timestamptz"},
                      partition=[bucket("household_id", 16)], sort=["household_id", "at"],
                      source="shop.load:purchases", owner="team:growth")
    lake = Lake(home)
    rows = read(lake, "shop/purchases", where={"household_id": 7})

Rows come in by `write` (`ordering`, `spill`, `encodings`), go out by `read` (`streams`), and become
part of a table by `log` (`exchange`, `snapshots`). On these stand `joins`, `merges`, `versions` and
`upkeep`, each a package with a door of its own. Importing this loads neither PyIceberg nor Arrow:
each function imports what it works with.
"""

from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.joins.join import bucket_join, join_rows
from bowerbird.lake.joins.sample import bucket_sample, sample_rows
from bowerbird.lake.joins.specs import AsOf, Side, With
from bowerbird.lake.log import TableLog
from bowerbird.lake.merges.changes import Keyed, Mode, Ties
from bowerbird.lake.merges.merge import merge, merge_into
from bowerbird.lake.read import read, read_batches
from bowerbird.lake.readers import duckdb, polars, ray_dataset, torch_batches
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
from bowerbird.lake.upkeep.compaction import plan_compaction
from bowerbird.lake.upkeep.expiry import plan_expiry
from bowerbird.lake.upkeep.health import health
from bowerbird.lake.upkeep.orphans import plan_clean
from bowerbird.lake.versions.diff import diff
from bowerbird.lake.versions.rollback import rollback
from bowerbird.lake.write import Written, write

__all__ = [
    "AsOf",
    "Bucket",
    "Day",
    "Hour",
    "Identity",
    "Keyed",
    "Lake",
    "Mode",
    "Month",
    "Side",
    "Table",
    "TableLog",
    "Ties",
    "Truncate",
    "With",
    "Written",
    "Year",
    "bucket",
    "bucket_join",
    "bucket_sample",
    "day",
    "diff",
    "duckdb",
    "health",
    "hour",
    "identifier",
    "identity",
    "join_rows",
    "merge",
    "merge_into",
    "month",
    "plan_clean",
    "plan_compaction",
    "plan_expiry",
    "polars",
    "ray_dataset",
    "read",
    "read_batches",
    "rollback",
    "sample_rows",
    "torch_batches",
    "truncate",
    "write",
    "year",
]
