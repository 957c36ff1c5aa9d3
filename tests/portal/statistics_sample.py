"""A group's statistics in two versions, for the tests and to look at: made up, with every oddity.

``python -m tests.portal.statistics_sample FOLDER`` writes the page.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from bowerbird.data.features.figures import StatisticsView, statistics_view
from bowerbird.data.features.gates import DEFAULT, Coverage, Facts, Nulls, Range, judge
from bowerbird.data.features.kinds import Kind
from bowerbird.data.features.offenders import offenders
from bowerbird.data.features.statistics import merged_columns, summarise_exactly
from bowerbird.portal.statistics import write_statistics

KINDS = {"store_id": Kind.CATEGORY, "pin_embedding": Kind.EMBEDDING}


def rows(seed: int, count: int, *, later: bool) -> pa.Table:
    """A day of rows."""
    generator = np.random.default_rng(seed)
    spend = np.round(generator.lognormal(3.4 if later else 3.0, 0.9, count), 2)
    trips = generator.poisson(2.5, count)
    vectors = generator.normal(size=(count, 8)) * (1.3 if later else 1)
    if later:
        vectors[:3] = 0
        vectors[3, 0] = np.inf
        spend[5] = -4.0
    age = pa.array([None if n % 7 == 0 else float(n % 60 + 18) for n in range(count)])
    brands = ["private", "national", "import"] + (["organic"] if later else [])
    weights = [0.5, 0.35, 0.15] if not later else [0.3, 0.35, 0.15, 0.2]
    return pa.table(
        {
            "household_id": np.arange(count) + seed * 10_000,
            "spend_30d": spend,
            "n_trips_30d": trips,
            "age": age,
            "brand": generator.choice(brands, count, p=weights),
            "store_id": generator.choice([292, 317, 324, 343, 367, 381], count),
            "pin_embedding": pa.array(vectors.tolist(), pa.list_(pa.float32())),
            "last_products": pa.array(
                [generator.integers(0, 40, n % 6).tolist() for n in range(count)],
                pa.list_(pa.int64()),
            ),
            "never": pa.nulls(count, pa.float64()),
        }
    )


def view(days: int = 12, count: int = 400) -> StatisticsView:
    """The view of the page."""
    names = [f"at_day=2017-03-{day + 1:02}" for day in range(days)]
    tables = [rows(day, count, later=True) for day in range(days)]
    was = [rows(day + 100, count, later=False) for day in range(days)]
    kept = {n: summarise_exactly(t, KINDS) for n, t in zip(names, tables, strict=True)}
    before = {n: summarise_exactly(t, KINDS) for n, t in zip(names, was, strict=True)}
    staged, live = merged_columns(kept.values()), merged_columns(before.values())
    gates = (*DEFAULT, Range("spend_30d", 0, 10_000), Nulls("age", at_most=0.2))
    gates += (Coverage("brand", at_least=0.99),)
    facts = Facts(rows_found=days * count, rows_expected=days * count, duplicates=0, leaks=0)
    kinds = {name: one.kind for name, one in staged.items()}
    first = judge(gates, staged, live, facts)
    bad = offenders(gates, first, tables[0], ["household_id"], kinds)
    facts = Facts(days * count, days * count, 0, 0, bad)
    return statistics_view(
        "shop/spend",
        "8315502849669926320",
        kept,
        against="1537949202101043960",
        before=before,
        findings=judge(gates, staged, live, facts),
    )


if __name__ == "__main__":
    print(write_statistics(view(), Path(sys.argv[1])))
