"""Two versions side by side: what drifted is said, what chance did is not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.data.features.comparison import Difference, compare, ks
from bowerbird.data.features.kinds import Kind
from bowerbird.data.features.spreads import counted_numbers
from bowerbird.data.features.statistics import summarise, summarise_exactly
from bowerbird.stats import drift

pytest.importorskip("datasketches")

GENERATOR = np.random.default_rng(0)


def moved(before: object, after: object, kind: Kind = Kind.REAL) -> Difference:
    tables = [summarise_exactly(pa.table({"x": pa.array(x)}), {"x": kind}) for x in (before, after)]
    (found,) = compare(*tables)
    return found


def test_the_same_values_have_not_moved() -> None:
    values = GENERATOR.normal(size=1000)
    found = moved(values, values).drift
    assert (found.psi, found.ks) == (pytest.approx(0), 0)
    assert found.p == 1


def test_another_scale_is_a_large_drift() -> None:
    values = GENERATOR.normal(size=1000)
    found = moved(values, values * 10).drift
    assert found.psi is not None
    assert found.noise is not None
    assert found.psi > drift.LARGE > found.noise
    assert found.p is not None
    assert found.p < 1e-6


def test_a_column_that_loses_its_values_has_drifted() -> None:
    values = GENERATOR.normal(size=1000)
    lost = np.where(np.arange(1000) < 500, np.nan, values)
    found = moved(values, pa.array(lost, from_pandas=True)).drift
    assert found.psi is not None
    assert found.psi > drift.LARGE
    assert found.ks is not None
    assert found.ks < 0.1


def test_names_that_come_and_go_are_told() -> None:
    found = moved(["a"] * 70 + ["b"] * 30, ["a"] * 70 + ["c"] * 30, Kind.CATEGORY)
    assert (found.new, found.gone) == (("c",), ("b",))
    assert found.drift.total_variation == pytest.approx(0.3)


def test_ids_that_are_all_different_have_not_moved() -> None:
    found = moved(np.arange(5000), np.arange(5000, 10_000), Kind.ID)
    assert found.drift.psi == pytest.approx(0, abs=1e-3)
    assert found.new == ()


def test_embeddings_that_turn_are_told_by_the_angle_of_their_means() -> None:
    found = moved([[1.0, 0.0]] * 50, [[0.0, 1.0]] * 50, Kind.EMBEDDING)
    assert found.drift.psi == pytest.approx(0)
    assert found.drift.cosine == pytest.approx(1)


def test_sequences_are_compared_by_their_lengths() -> None:
    found = moved([[1, 2]] * 50, [[1]] * 50, Kind.SEQUENCE)
    assert found.drift.ks == 1


def test_what_cannot_be_compared_says_why() -> None:
    one = summarise_exactly(pa.table({"x": [1.0], "gone": ["a"]}))
    other = summarise_exactly(pa.table({"x": ["a"], "new": [1.0]}))
    assert [(found.column, found.note) for found in compare(one, other)] == [
        ("x", "was real, is category"),
        ("new", "new"),
        ("gone", "gone"),
    ]
    none = summarise_exactly(pa.table({"x": pa.array([], pa.float64())}))
    assert compare(one, none)[0].note == "no rows to compare"


def test_a_column_without_any_value_before_has_no_ks_and_a_large_psi() -> None:
    found = moved(pa.array([None] * 200, pa.float64()), GENERATOR.normal(size=200)).drift
    assert found.ks is None
    assert found.psi is not None
    assert found.psi > drift.LARGE


@given(st.lists(st.floats(-9, 9), min_size=1), st.lists(st.floats(-9, 9), min_size=1))
def test_the_ks_distance_of_counts_is_that_of_the_values(
    before: list[float], after: list[float]
) -> None:
    counted = [counted_numbers(np.array(values)) for values in (before, after)]
    assert ks(*counted) == pytest.approx(drift.ks(before, after))


def test_sketches_give_nearly_the_drift_of_the_counts() -> None:
    before = GENERATOR.lognormal(size=40_000)
    after = GENERATOR.lognormal(0.3, size=40_000)
    (exact,) = compare(*[summarise_exactly(pa.table({"x": x})) for x in (before, after)])
    (quick,) = compare(*[summarise(pa.table({"x": x})) for x in (before, after)])
    assert quick.drift.psi == pytest.approx(exact.drift.psi, abs=0.05)
    assert quick.drift.ks == pytest.approx(exact.drift.ks, abs=2 * 0.0133 + 0.005)
