"""Claims about the search: one order, and fast answers that are the plain ones."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.core.errors import UserError
from bowerbird.discovery.neighbors import (
    HNSW,
    IVF,
    Codes,
    Flat,
    Metric,
    SetAside,
    Vectors,
    build,
    exact,
)

metrics = st.sampled_from(list(Metric))


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Vectors, Vectors, int]:
    """Small whole numbers, many of them equal, so that ties are the rule."""
    width = draw(st.integers(1, 6))
    n, asked = draw(st.integers(0, 60)), draw(st.integers(1, 8))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    span = draw(st.integers(1, 3))
    ids = numbers.choice(1000, n, replace=False) - 1001
    items = Vectors.of(ids, numbers.integers(-span, span + 1, (n, width)).astype(np.float32))
    queries = numbers.integers(-span, span + 1, (asked, width)).astype(np.float32)
    return items, Vectors.of(np.arange(asked), queries), draw(st.integers(1, 70))


def clouds(n: int, asked: int, width: int = 24, seed: int = 5) -> tuple[Vectors, Vectors]:
    numbers = np.random.default_rng(seed)
    middles = numbers.standard_normal((40, width))
    values = middles[numbers.integers(0, 40, n + asked)] + 0.4 * numbers.standard_normal(
        (n + asked, width)
    )
    return Vectors.of(np.arange(n) * 3, values[:n]), Vectors.of(np.arange(asked), values[n:])


@given(crowds(), metrics)
@settings(max_examples=60, deadline=None)
def test_the_reference_orders_by_score_and_then_by_lower_id(
    crowd: tuple[Vectors, Vectors, int], metric: Metric
) -> None:
    items, queries, k = crowd
    found = exact(items, queries, k, metric=metric, block=3)
    points, asked = (_ready(vectors.values, metric) for vectors in (items, queries))
    for query, ids, scores in zip(asked, found.ids, found.scores, strict=True):
        pairs = sorted(
            (-_score(query, point, points, metric), int(id_))
            for id_, point in zip(items.ids, points, strict=True)
        )[:k]
        assert [int(i) for i in ids if i != -1] == [id_ for _, id_ in pairs]
        assert scores[: len(pairs)].tolist() == [float(-score) for score, _ in pairs]


@given(crowds(), metrics)
@settings(max_examples=60, deadline=None)
def test_a_flat_index_gives_the_reference_answer(
    crowd: tuple[Vectors, Vectors, int], metric: Metric
) -> None:
    items, queries, k = crowd
    plain = exact(items, queries, k, metric=metric)
    fast = build(items, Flat(), metric=metric, seed=0).search(queries, k, block=3)
    assert np.array_equal(plain.ids, fast.ids)
    assert np.array_equal(plain.scores, fast.scores)


@pytest.mark.parametrize("metric", Metric)
def test_a_flat_index_gives_the_reference_answer_for_real_numbers_too(metric: Metric) -> None:
    items, queries = clouds(3000, 200)
    plain = exact(items, queries, 10, metric=metric)
    fast = build(items, Flat(), metric=metric, seed=0, threads=2).search(queries, 10, threads=2)
    assert np.array_equal(plain.ids, fast.ids)
    assert np.array_equal(plain.scores, fast.scores)


@pytest.mark.parametrize("metric", Metric)
def test_float_noise_near_zero_does_not_tell_the_two_apart(metric: Metric) -> None:
    items, queries = clouds(300, 100)  # k is all of them: scores of every size, summed in two ways
    plain = exact(items, queries, 300, metric=metric)
    fast = build(items, Flat(), metric=metric, seed=0).search(queries, 300)
    assert np.array_equal(plain.ids, fast.ids)
    assert np.array_equal(plain.scores, fast.scores)


def test_equal_items_are_ordered_by_id_however_many_there_are() -> None:
    one = np.random.default_rng(3).standard_normal((1, 17)).astype(np.float32)
    items = Vectors.of(np.arange(500)[::-1], np.repeat(one, 500, axis=0))
    fast = build(items, Flat(), seed=0).search(Vectors.of(np.array([0]), one), 12)
    assert fast.ids[0].tolist() == list(range(12))


@given(crowds(), metrics)
@settings(max_examples=40, deadline=None)
def test_an_excluded_id_is_never_a_neighbour_and_nothing_else_moves(
    crowd: tuple[Vectors, Vectors, int], metric: Metric
) -> None:
    items, queries, k = crowd
    exclude = np.resize(items.ids[:3] if len(items) else np.array([7]), len(queries))
    full = exact(items, queries, k + 1, metric=metric)
    without = exact(items, queries, k, metric=metric, exclude=exclude)
    fast = build(items, Flat(), metric=metric, seed=0).search(queries, k, exclude=exclude)
    for row, own in enumerate(exclude):
        expected = [i for i in full.ids[row] if i not in (own, -1)][:k]
        assert [i for i in without.ids[row] if i != -1] == expected
    assert np.array_equal(without.ids, fast.ids)


@pytest.mark.parametrize(
    "params", [IVF(32, 8), IVF(32, 8, Codes.SQ8), HNSW(16, 64)], ids=lambda p: str(p)
)
def test_an_index_scores_its_pairs_as_the_reference_does(params: IVF | HNSW) -> None:
    items, queries = clouds(2000, 100)
    truth = exact(items, queries, len(items))
    found = build(items, params, seed=1, threads=2).search(queries, 10, threads=2)
    for row in range(len(queries)):
        known = dict(zip(truth.ids[row].tolist(), truth.scores[row].tolist(), strict=True))
        assert [known[i] for i in found.ids[row].tolist()] == found.scores[row].tolist()
    assert np.mean(found.ids == truth.ids[:, :10]) > 0.8


@pytest.mark.parametrize(
    "params", [Flat(), IVF(32, 4), IVF(32, 4, Codes.SQ8), HNSW(16, 32)], ids=lambda p: str(p)
)
def test_the_same_seed_and_threads_give_the_same_neighbours(params: Flat | IVF | HNSW) -> None:
    items, queries = clouds(2000, 100)
    first, second = (
        build(items, params, seed=4, threads=2).search(queries, 10, threads=2) for _ in range(2)
    )
    assert np.array_equal(first.ids, second.ids)
    assert np.array_equal(first.scores, second.scores)


def test_more_probes_find_more_without_building_again() -> None:
    items, queries = clouds(2000, 100)
    index = build(items, IVF(32, 1), seed=1)
    truth = exact(items, queries, 10).ids
    few = index.search(queries, 10).ids
    many = index.search(queries, 10, params=IVF(32, 32)).ids
    assert np.mean(few == truth) < np.mean(many == truth) == 1.0


def test_an_index_refuses_to_be_searched_as_another() -> None:
    items, queries = clouds(500, 1)
    with pytest.raises(UserError, match="cannot be searched as HNSW16"):
        build(items, IVF(8, 1), seed=1).search(queries, 3, params=HNSW())


def test_rows_that_make_no_vector_are_set_aside_with_their_reason() -> None:
    table = pa.table(
        {
            "id": [5, None, 3, 4, 6, 3, 7],
            "v": [[1.0, 2.0], [1.0, 1.0], [3.0, 4.0], None, [1.0], [9.0, 9.0], [1.0, float("nan")]],
        }
    )
    vectors, aside = Vectors.from_table(table, id_column="id", vector_column="v")
    assert vectors.ids.tolist() == [3, 5]
    assert vectors.values.tolist() == [[3, 4], [1, 2]]
    assert aside == SetAside(1, 1, 1, 1, 1)


def test_vectors_that_are_not_finite_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="the first of id 9"):
        Vectors.of(np.array([9, 2]), np.array([[np.inf], [1.0]]))


def test_the_id_that_means_nobody_is_refused() -> None:
    with pytest.raises(UserError, match="id -1"):
        Vectors.of(np.array([-1]), np.array([[1.0]]))


def test_importing_the_room_loads_no_heavy_library() -> None:
    code = (
        "import sys, bowerbird.discovery.neighbors, bowerbird.discovery.serving;"
        "print([m for m in ('faiss', 'lmdb', 'fastapi', 'jinja2', 'pyarrow') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def _ready(values: np.ndarray, metric: Metric) -> np.ndarray:
    if metric is not Metric.COSINE:
        return values
    lengths = np.linalg.norm(values.astype(float), axis=1, keepdims=True)
    return (values / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _score(query: np.ndarray, point: np.ndarray, points: np.ndarray, metric: Metric) -> Fraction:
    """In fractions, rounded as the module's docstring says."""
    a, b = ([Fraction(float(x)) for x in vector] for vector in (query, point))
    length = float(np.linalg.norm(query.astype(float)))
    longest = float(np.linalg.norm(points.astype(float), axis=1).max())
    if metric is Metric.L2:
        exactly = -sum(((x - y) ** 2 for x, y in zip(a, b, strict=True)), Fraction(0))
        reach = (length + longest) ** 2
    else:
        exactly = sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))
        reach = length * longest
    unit = Fraction(2) ** (math.ceil(math.log2(reach or 1.0)) - 24)
    return round(exactly / unit) * unit
