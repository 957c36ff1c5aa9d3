"""What another alignment would do: to the values of a group, and to a model that is given them.

A lag costs freshness and takes away what serving could not have known. How much of a metric was the
second, and how much is lost by the first, is seen here before anything is backfilled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bowerbird.data.features.alignment import Alignment, moments
from bowerbird.data.features.comparison import compare
from bowerbird.data.features.compute import prepared
from bowerbird.data.features.events import microseconds
from bowerbird.data.features.leakage import same
from bowerbird.data.features.statistics import doubles, summarise
from bowerbird.stats.ranking import auc, logistic

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from bowerbird.data.features.specs import FeatureGroup

    Metric = Callable[[pa.Table, np.typing.NDArray[np.bool_], np.typing.NDArray[np.int64]], float]
    """(features, labels, times of the rows) -> a figure."""


class Moved(msgspec.Struct, frozen=True):
    """One feature under two alignments. changed: the share of rows with another value.

    mean_before, mean_after: of numbers. psi: how far the whole distribution moved.
    auc_before, auc_after: of the feature alone, against the label; None without one.
    """

    column: str
    changed: float
    mean_before: float | None = None
    mean_after: float | None = None
    psi: float | None = None
    auc_before: float | None = None
    auc_after: float | None = None


class Realigned(msgspec.Struct, frozen=True):
    """A group under two alignments. metric_before, metric_after: of a model of all its features."""

    rows: int
    columns: tuple[Moved, ...]
    metric_before: float | None = None
    metric_after: float | None = None


def realigned(
    group: FeatureGroup,
    events: pa.Table,
    rows: pa.Table,
    before: Alignment,
    after: Alignment,
    *,
    at: str = "at",
    label: str = "",
    metric: Metric | None = None,
) -> Realigned:
    """Compute a group for rows (the key, `at`) under two alignments, and set them side by side.

    label: a column of truth values. metric: by default the AUC, on the latest three tenths of the
    rows, of a logistic regression fitted on the earlier ones.
    """
    answer, times = prepared(group, events), microseconds(rows[at])
    one, other = (answer(_asked(group, rows, moments(how, times))) for how in (before, after))
    labels = None if not label else np.asarray(rows[label].to_numpy(), dtype=bool)
    drift = {found.column: found for found in compare(summarise(one), summarise(other))}
    columns = []
    for name in group.names:
        pairs = zip(one[name].to_pylist(), other[name].to_pylist(), strict=True)
        changed = sum(not same(a, b) for a, b in pairs) / max(rows.num_rows, 1)
        psi = drift[name].drift.psi if name in drift else None
        columns.append(_moved(name, changed, psi, one, other, labels))
    figures: tuple[float | None, float | None] = (None, None)
    if labels is not None:
        how = metric or fitted_auc
        figures = how(one, labels, times), how(other, labels, times)
    return Realigned(rows.num_rows, tuple(columns), *figures)


def _asked(group: FeatureGroup, rows: pa.Table, moment: np.typing.NDArray[np.int64]) -> pa.Table:
    import pyarrow as pa

    return rows.select(list(group.key)).append_column(
        "at", pa.array(moment, pa.timestamp("us", tz="UTC"))
    )


def _moved(
    name: str,
    changed: float,
    psi: float | None,
    one: pa.Table,
    other: pa.Table,
    labels: np.typing.NDArray[np.bool_] | None,
) -> Moved:
    if not _is_number(one[name].type):
        return Moved(name, changed, psi=psi)
    values = [numbers(found[name]) for found in (one, other)]
    mean = [float(np.nanmean(v)) if np.isfinite(v).any() else None for v in values]
    score = [None if labels is None else auc(v, labels) for v in values]
    return Moved(name, changed, mean[0], mean[1], psi, score[0], score[1])


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as at

    return bool(at.is_integer(kind) or at.is_floating(kind) or at.is_boolean(kind))


def numbers(column: pa.ChunkedArray) -> np.typing.NDArray[np.float64]:
    """A column of numbers as float64, NaN for null."""
    return np.asarray(doubles(column.combine_chunks()).to_numpy(zero_copy_only=False))


def fitted_auc(
    features: pa.Table, labels: np.typing.NDArray[np.bool_], times: np.typing.NDArray[np.int64]
) -> float:
    """The AUC on the latest three tenths of a logistic regression fitted on the earlier rows."""
    names = [name for name in features.column_names if _is_number(features[name].type)]
    if not names or len(labels) < 10:
        return float("nan")
    matrix = np.stack([numbers(features[name]) for name in names], axis=1)
    missing = np.isnan(matrix)
    matrix = np.hstack(
        [np.where(missing, 0.0, np.sign(matrix) * np.log1p(np.abs(matrix))), missing]
    )
    cut = np.quantile(times, 0.7)
    early, late = times < cut, times >= cut
    mean, spread = matrix[early].mean(axis=0), matrix[early].std(axis=0)
    matrix = (matrix - mean) / np.where(spread > 0, spread, 1.0)
    weights = logistic(matrix[early], labels[early])
    return auc(matrix[late] @ weights[:-1] + weights[-1], labels[late])
