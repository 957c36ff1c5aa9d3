"""Drift: what the distances are, what chance alone makes of them, and what they do at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.stats import drift

finite = st.floats(-1e6, 1e6)
samples = st.lists(finite, min_size=1, max_size=60)
counts = st.integers(2, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 500), min_size=n, max_size=n)] * 2)
)


@given(samples, samples)
def test_the_ks_distance_is_scipys(before: list[float], after: list[float]) -> None:
    stats = pytest.importorskip("scipy.stats")
    every = np.concatenate([before, after])
    theirs = np.abs(
        stats.ecdf(before).cdf.evaluate(every) - stats.ecdf(after).cdf.evaluate(every)
    ).max()
    assert drift.ks(before, after) == pytest.approx(theirs)


def test_a_small_p_value_is_close_to_the_exact_one() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    for n, m in ((20, 20), (50, 400), (1000, 1000)):
        for shift in (0.0, 0.1, 0.5):
            before, after = generator.normal(size=n), generator.normal(shift, size=m)
            exact = stats.ks_2samp(before, after, method="exact")
            found = drift.ks_p_value(exact.statistic, n, m)
            assert found == pytest.approx(exact.pvalue, abs=0.025 if exact.pvalue < 0.1 else 0.09)


def test_chance_alone_stays_below_the_critical_values_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    under_ks, under_psi, tries = 0, 0, 400
    for _ in range(tries):
        before, after = generator.normal(size=300), generator.normal(size=200)
        inner = drift.edges(generator.normal(size=2000))
        moved = drift.psi(drift.binned(before, inner), drift.binned(after, inner))
        under_psi += moved <= drift.psi_noise(300, 200, len(inner) + 1)
        under_ks += drift.ks(before, after) <= drift.ks_critical(300, 200)
    assert under_ks / tries > 0.975
    assert 0.97 < under_psi / tries <= 1.0


@given(counts)
def test_psi_is_the_same_in_both_directions_never_negative_and_zero_of_the_same(
    pair: tuple[list[int], list[int]],
) -> None:
    before, after = pair
    found = drift.psi(before, after)
    if not sum(before) or not sum(after):
        assert math.isnan(found)
        return
    assert found == pytest.approx(drift.psi(after, before))
    assert 0 <= found < math.inf
    assert drift.psi(before, before) == pytest.approx(0)


@given(counts)
def test_total_variation_is_between_none_and_all(pair: tuple[list[int], list[int]]) -> None:
    before, after = pair
    found = drift.total_variation(before, after)
    if not sum(before) or not sum(after):
        assert math.isnan(found)
        return
    assert 0 <= found <= 1 + 1e-12
    assert found == pytest.approx(drift.total_variation(after, before))


def test_psi_without_smoothing_is_the_textbooks() -> None:
    before, after = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    textbook = 0.1 * math.log(0.3 / 0.2) + -0.1 * math.log(0.4 / 0.5)
    assert drift.psi(before, after, smoothing=0.0) == pytest.approx(textbook)


@given(samples)
def test_every_value_is_in_one_bin(values: list[float]) -> None:
    inner = drift.edges(values)
    assert drift.binned(values, inner).sum() == len(values)
    assert np.all(np.diff(inner) > 0)


def test_a_constant_that_stays_has_not_moved_and_one_that_changes_has() -> None:
    inner = drift.edges(np.zeros(1000))
    before = drift.binned(np.zeros(1000), inner)
    assert drift.psi(before, drift.binned(np.zeros(900), inner)) == pytest.approx(0, abs=1e-3)
    for other in (1.0, -1.0, 1e-9):
        assert drift.psi(before, drift.binned(np.full(900, other), inner)) > 5


def test_mass_at_one_value_is_told_from_what_is_next_to_it() -> None:
    before = np.concatenate([np.zeros(800), np.linspace(1, 2, 200)])
    after = np.concatenate([np.full(800, 0.5), np.linspace(1, 2, 200)])
    inner = drift.edges(before)
    assert drift.psi(drift.binned(before, inner), drift.binned(after, inner)) > 1


def test_nothing_to_compare_is_nan_not_zero() -> None:
    assert len(drift.edges([])) == 0
    assert len(drift.edges([math.nan, math.inf])) == 0
    assert math.isnan(drift.psi([0, 0], [1, 2]))
    assert math.isnan(drift.ks([math.nan], [1.0]))
    assert math.isnan(drift.ks_p_value(math.nan, 1, 1))
    assert drift.psi_noise(0, 10, 3) == math.inf
    assert drift.ks_critical(0, 10) == math.inf


def test_a_category_that_is_new_counts_as_drift_and_stays_finite() -> None:
    before, after = drift.aligned({"a": 900, "b": 100}, {"a": 500, "b": 100, "new": 400})
    assert list(before) == [900, 100, 0]
    assert drift.LARGE < drift.psi(before, after) < math.inf
    assert drift.total_variation(before, after) == pytest.approx(0.4)


def test_bins_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="same bins"):
        drift.psi([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="negative"):
        drift.psi([1, -2], [1, 2])
