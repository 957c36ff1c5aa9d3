"""How well scores put what is relevant first; and the plainest model that gives such scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def auc(scores: Floats, labels: Mask) -> float:
    """The chance that a positive is scored above a negative, ties as half; NaN without both.

    By ranks (Mann and Whitney, 1947). A NaN score counts as the least of all.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    known = np.where(np.isnan(scores), -np.inf, scores)
    _, place, counts = np.unique(known, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float(
        (ranks[place][labels].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def logistic(rows: Floats, labels: Mask, *, ridge: float = 1.0, rounds: int = 25) -> Floats:
    """Weights (columns + 1; the last is the intercept) of a ridge logistic regression.

    rows: (n, columns), standardised by the caller, without NaN. Newton's method (iteratively
    reweighted least squares), which ends when no weight moves by more than 1e-8.
    """
    whole = np.hstack([rows, np.ones((len(rows), 1))])
    penalty = np.diag([ridge] * rows.shape[1] + [1e-9])
    weights = np.zeros(whole.shape[1])
    for _ in range(rounds):
        chance = 1 / (1 + np.exp(-np.clip(whole @ weights, -30, 30)))
        slope = whole.T @ (chance - labels) + penalty @ weights
        curve = (whole * (chance * (1 - chance))[:, None]).T @ whole + penalty
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max(initial=0.0) < 1e-8:
            break
    return np.asarray(weights)
