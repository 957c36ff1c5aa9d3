"""Bootstrap intervals: what they cover, and what they are drawn over."""

from __future__ import annotations

import numpy as np
import pytest

from bowerbird.stats.intervals import difference, mean, ratio


def test_an_interval_is_the_same_for_the_same_seed() -> None:
    values = np.random.default_rng(0).normal(size=100)
    assert mean(values, seed=1) == mean(values, seed=1)
    assert mean(values, seed=1) != mean(values, seed=2)


def test_the_mean_is_covered_about_as_often_as_the_level_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        found = mean(generator.normal(3.0, 1.0, size=80), seed=0, draws=300)
        covered += found.low <= 3.0 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


def test_copies_within_a_cluster_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    copied = np.repeat(values, 10)
    clustered = mean(copied, np.repeat(np.arange(50), 10), seed=0)
    alone = mean(values, seed=0)
    naive = mean(copied, seed=0)
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high))
    assert naive.high - naive.low < 0.5 * (clustered.high - clustered.low)


def test_a_paired_difference_ignores_what_both_share() -> None:
    shared = np.random.default_rng(0).normal(0, 100, size=200)
    found = difference(shared + 1.0, shared, seed=0)
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))


def test_a_ratio_is_of_means_not_the_mean_of_ratios() -> None:
    assert ratio([1.0, 3.0], [1.0, 1.0], seed=0).estimate == 2.0
    assert ratio([2.0, 4.0], [1.0, 2.0], seed=0).low == pytest.approx(2.0)


def test_units_with_nothing_to_judge_are_left_out() -> None:
    assert mean([1.0, np.nan, 3.0], seed=0).estimate == 2.0


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        mean([np.nan], seed=0)
