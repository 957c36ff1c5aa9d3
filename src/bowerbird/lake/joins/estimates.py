"""What a sample says of the whole table: counts, sums, means and ratios, each with its error.

A sample takes keys, each with all of its rows, so rows are not drawn one by one and the error comes
from the keys' totals: that of a ratio ``sum(y) / sum(x)`` is, by linearisation, the root of
``(1 - p) * sum(e_k ** 2)`` over ``sum(x)``, with ``e_k = y_k - ratio * x_k`` of key `k` and `p` the
share of keys (Särndal, Swensson, Wretman: Model Assisted Survey Sampling, 5.6 and 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.lake.catalog import Lake
from bowerbird.lake.joins import buckets
from bowerbird.lake.joins.sample import Sample, sample_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Totals = NDArray[np.float64]


class Estimate(msgspec.Struct, frozen=True):
    """A figure of the whole table. error: one standard error; 0 where the figure is known."""

    value: float
    error: float

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.value - 1.96 * self.error

    @property
    def high(self) -> float:
        return self.value + 1.96 * self.error


class Estimates(msgspec.Struct, frozen=True):
    """Of the rows that have a key. keys, rows: in the sample. exact_rows: `count` is known."""

    share: float
    keys: int
    rows: int
    exact_rows: bool
    count: Estimate
    means: dict[str, Estimate]
    sums: dict[str, Estimate]
    ratios: dict[str, Estimate]


def estimate(
    lake: Lake,
    sample: Sample,
    columns: Sequence[str] = (),
    ratios: Sequence[tuple[str, str]] = (),
) -> Estimates:
    """Estimate the count of rows, columns' means and sums, and ratios of two columns' sums.

    Holds the sample's numbers in memory. Nulls count as in SQL: a mean is of those that are there.
    """
    names = list(dict.fromkeys([*columns, *(name for pair in ratios for name in pair)]))
    totals, counts, rows = _by_key(lake, sample, names)
    p = float(sample.of.part)
    known = _known_rows(sample)
    total = float(rows.sum())
    count = Estimate(total / p, float(((1 - p) * (rows**2).sum()) ** 0.5) / p)
    if known is not None:
        count = Estimate(float(known), 0.0)
    per_row = {name: ratio(totals[name], rows, p) for name in columns}
    return Estimates(
        share=p,
        keys=len(rows),
        rows=int(total),
        exact_rows=known is not None,
        count=count,
        means={name: ratio(totals[name], counts[name], p) for name in columns},
        sums={name: _times(per_row[name], count) for name in columns},
        ratios={f"{a}/{b}": ratio(totals[a], totals[b], p) for a, b in ratios},
    )


def ratio(above: Totals, below: Totals, p: float) -> Estimate:
    """The ratio of two sums over all keys, from the totals of each key of a sample."""
    whole = float(below.sum())
    if whole == 0:
        return Estimate(float("nan"), float("nan"))
    value = float(above.sum()) / whole
    spread = float(((above - value * below) ** 2).sum())
    return Estimate(value, ((1 - p) * spread) ** 0.5 / abs(whole))


def _times(one: Estimate, count: Estimate) -> Estimate:
    value = one.value * count.value
    parts = (one.error * count.value) ** 2 + (one.value * count.error) ** 2
    return Estimate(value, float(parts**0.5))


def _known_rows(sample: Sample) -> int | None:
    """The rows that have a key, as the files' statistics say; None where those do not tell."""
    from pyiceberg.expressions import AlwaysTrue

    table = sample.table
    tasks = [task for bucket, them in table.files.items() if bucket is not None for task in them]
    if any(task.delete_files for task in tasks) or not isinstance(table.where, AlwaysTrue):
        return None
    return buckets.total(table, tasks)[1]


def _by_key(
    lake: Lake, sample: Sample, names: list[str]
) -> tuple[dict[str, Totals], dict[str, Totals], Totals]:
    """Of each key: the columns' sums, how many values they have, and its rows."""
    import pyarrow as pa

    _check_numbers(sample, names)
    wanted = [sample.key, *(name for name in names if name != sample.key)]
    parts = [rows.select(wanted) for rows in sample_rows(lake, sample)]
    if not parts:
        raise UserError(
            f"{sample.table.name}: no row is in a sample of {float(sample.of.part):g}",
            expected="a larger share",
        )
    asked = [(name, how) for name in names for how in ("sum", "count")]
    found = pa.concat_tables(parts).group_by(sample.key).aggregate([*asked, ([], "count_all")])

    def numbers(column: str) -> Totals:
        values: Totals = found.column(column).cast(pa.float64()).fill_null(0.0).to_numpy()
        return values

    sums = {name: numbers(f"{name}_sum") for name in names}
    counts = {name: numbers(f"{name}_count") for name in names}
    return sums, counts, numbers("count_all")


def _check_numbers(sample: Sample, names: list[str]) -> None:
    from pyiceberg.types import DecimalType, DoubleType, FloatType, IntegerType, LongType

    schema = sample.table.schema
    for name in names:
        kind = schema.find_type(name) if name in schema.column_names else None
        if not isinstance(kind, (DecimalType, DoubleType, FloatType, IntegerType, LongType)):
            raise UserError(
                f"{sample.table.name}: {name!r} is {kind or 'no column that was read'}",
                expected="a column of numbers, among the sample's columns",
            )
