"""AUC counts pairs; the regression finds what its rows were drawn from."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.stats.ranking import auc, logistic


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=20))
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    positives = [score for score, label in rows if label]
    negatives = [score for score, label in rows if not label]
    pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(positives, negatives)]
    found = auc(np.array([float(s) for s, _ in rows]), np.array([b for _, b in rows], dtype=bool))
    if pairs:
        assert math.isclose(found, sum(pairs) / len(pairs))
    else:
        assert math.isnan(found)


def test_a_missing_score_is_the_least() -> None:
    assert auc(np.array([np.nan, 0.0]), np.array([False, True])) == 1.0


def test_the_regression_finds_the_weights_that_rows_were_drawn_from() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(20_000, 2))
    chance = 1 / (1 + np.exp(-(1.5 * rows[:, 0] - 0.5 * rows[:, 1] + 0.3)))
    found = logistic(rows, random.random(20_000) < chance)
    assert np.allclose(found, [1.5, -0.5, 0.3], atol=0.08)
