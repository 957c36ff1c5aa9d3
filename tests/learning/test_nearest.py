"""Nearest-neighbour selection: the fast version and the plain one agree exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.learning.models.ops.nearest import (
    CLAMP,
    dequantise,
    quantise,
    select,
    select_reference,
)


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(st.integers(0, 9), max_size=30),
    candidates=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    nearest=st.integers(0, 6),
    recent=st.integers(0, 4),
    seed=st.integers(0, 3),
)
def test_the_fast_selection_equals_the_plain_one(
    history: list[int], candidates: list[int], nearest: int, recent: int, seed: int
) -> None:
    # Few distinct values, so that ties between different items are common.
    codes = np.random.default_rng(seed).integers(-2, 3, size=(10, 4)).astype(np.int8)
    asked = np.array(history, dtype=np.int64), np.array(candidates, dtype=np.int64)
    np.testing.assert_array_equal(
        select(codes, *asked, nearest=nearest, recent=recent),
        select_reference(codes, *asked, nearest=nearest, recent=recent),
    )


def test_the_latest_actions_are_kept_however_unlike_the_candidate() -> None:
    codes = np.array([[127, 0], [0, 127]], dtype=np.int8)
    history = np.array([0, 0, 0, 1, 1], dtype=np.int64)
    chosen = select(codes, history, np.array([0]), nearest=2, recent=2)
    assert chosen.tolist() == [[1, 2, 3, 4]]


def test_quantising_inside_the_clamp_is_off_by_at_most_half_a_step() -> None:
    embeddings = np.random.default_rng(0).uniform(-CLAMP, CLAMP, (50, 8)).astype(np.float32)
    error = np.abs(dequantise(quantise(embeddings)) - embeddings)
    assert error.max() <= CLAMP / 254 + 1e-6
