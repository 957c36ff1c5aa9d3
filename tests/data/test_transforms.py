"""Transforms: one code in training and at serving, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import SpecError, UserError
from bowerbird.data.samples.transforms import (
    Bucketize,
    Cast,
    Clip,
    Custom,
    FillNull,
    Fitted,
    Hash,
    Log1p,
    Standardize,
    Transform,
    apply,
    apply_reference,
    check,
    fit,
    to_fit,
)

DECLARED: tuple[Transform, ...] = (
    FillNull(("price",), 0.0),
    Log1p(("price", "count")),
    Standardize(("price",)),
    Clip(("price", "count"), -2.0, 3.0),
    Bucketize(("age",), (18.0, 30.0, 65.0)),
    Hash(("word",), 50, seed=3),
    Cast(("day",), "float32"),
)

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "price": st.none() | st.floats(-1e6, 1e6),
            "count": st.none() | st.integers(0, 10_000),
            "age": st.none() | st.floats(0, 120),
            "word": st.none() | st.text(max_size=5),
            "day": st.integers(-5, 5),
        }
    ),
    min_size=1,
    max_size=20,
)
TYPES = pa.schema(
    {"price": pa.float64(), "count": pa.int64(), "age": pa.float64()}
    | {"word": pa.string(), "day": pa.int64()}
)


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, TYPES)


@given(ROWS)
def test_the_fused_pass_says_what_a_value_at_a_time_says(rows: list[dict[str, Any]]) -> None:
    known = fit(DECLARED, [batch_of(rows)])
    found = apply(DECLARED, batch_of(rows), known).to_pylist()
    for mine, plain in zip(found, apply_reference(DECLARED, rows, known), strict=True):
        for name, value in plain.items():
            assert mine[name] == (None if value is None else pytest.approx(value, 1e-6, 1e-6))


@given(ROWS)
def test_a_single_request_is_transformed_as_it_was_in_its_training_batch(
    rows: list[dict[str, Any]],
) -> None:
    known = fit(DECLARED, [batch_of(rows)])
    trained = apply(DECLARED, batch_of(rows), known).to_pylist()
    served = [apply(DECLARED, batch_of([row]), known).to_pylist()[0] for row in rows]
    assert served == trained


@given(ROWS, st.integers(1, 5))
def test_what_is_fitted_does_not_depend_on_how_rows_are_cut(
    rows: list[dict[str, Any]], size: int
) -> None:
    whole = fit(DECLARED, [batch_of(rows)]).constants
    parts = fit(DECLARED, [batch_of(rows[n : n + size]) for n in range(0, len(rows), size)])
    for name, constants in parts.constants.items():
        assert constants.mean == pytest.approx(whole[name].mean, 1e-9, 1e-9)
        assert constants.deviation == pytest.approx(whole[name].deviation, 1e-6, 1e-6)


def test_constants_are_of_the_values_as_they_arrive_at_the_step() -> None:
    declared = (Log1p(("price",)), Standardize(("price",)))
    rows = pa.RecordBatch.from_pydict({"price": [math.e - 1, math.e**3 - 1]})
    (constants,) = fit(declared, [rows]).constants.values()
    assert (constants.mean, constants.deviation) == (pytest.approx(2.0), pytest.approx(1.0))
    assert apply(declared, rows, fit(declared, [rows])).column("price").to_pylist() == [-1, 1]


def test_fitted_constants_travel_as_plain_data() -> None:
    import msgspec

    known = fit(DECLARED, [batch_of([{"price": 1.0, "day": 1}, {"price": 5.0, "day": 2}])])
    assert msgspec.json.decode(msgspec.json.encode(known), type=Fitted) == known
    assert to_fit(DECLARED)
    assert not to_fit((Standardize(("a",), 0.0, 1.0),))


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_a_column_of_lists_is_transformed_as_its_values_also_where_it_is_a_slice(kind: Any) -> None:
    lists = pa.array([[9.0], [1.0, 3.0], [], [7.0]], kind(pa.float64()))
    batch = pa.RecordBatch.from_pydict({"prices": lists.slice(1, 3)})
    found = apply((Clip(("prices",), 2.0, 5.0),), batch).column("prices")
    assert found.to_pylist() == [[2.0, 3.0], [], [5.0]]


def test_a_hash_is_the_same_for_ever_and_null_is_nobody() -> None:
    batch = pa.RecordBatch.from_pydict({"w": ["tea", None, "milk", "tea"]})
    assert apply((Hash(("w",), 1000),), batch).column("w").to_pylist() == [55, 0, 881, 55]
    numbers = pa.RecordBatch.from_pydict({"w": [1, -1, None]})
    assert apply((Hash(("w",), 1000),), numbers).column("w").to_pylist() == [374, 664, 0]


def halves(batch: pa.RecordBatch) -> dict[str, Any]:
    return {"half": np.asarray(batch.column("n")) / 2}


def filters(batch: pa.RecordBatch) -> dict[str, Any]:
    return {"half": np.asarray(batch.column("n"))[1:]}


def fails(batch: pa.RecordBatch) -> dict[str, Any]:
    raise KeyError("colour")


HERE = "tests.data.test_transforms"


def test_a_function_of_ones_own_stands_among_the_others() -> None:
    declared = (Custom(f"{HERE}:halves", ("n",), ("half",)), Clip(("half",), None, 1.0))
    batch = pa.RecordBatch.from_pydict({"n": [1.0, 8.0]})
    check(declared, ["n"])
    assert apply(declared, batch).to_pydict() == {"n": [1.0, 8.0], "half": [0.5, 1.0]}


def test_a_transform_that_changes_the_count_of_rows_is_named() -> None:
    batch = pa.RecordBatch.from_pydict({"n": [1.0, 2.0]})
    with pytest.raises(
        UserError, match=r"transforms\[0\] .*:filters: it gave 1 rows of 'half' for 2"
    ):
        apply((Custom(f"{HERE}:filters", ("n",), ("half",)),), batch)


def test_a_transform_that_raises_is_named_with_what_it_said() -> None:
    batch = pa.RecordBatch.from_pydict({"n": [1.0]})
    with pytest.raises(UserError, match=r"fails: it raised KeyError: 'colour'"):
        apply((Custom(f"{HERE}:fails", ("n",), ("half",)),), batch)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ((Log1p(("nothing",)),), "no column 'nothing'"),
        ((Clip(("n",)),), "no bound"),
        ((Clip(("n",), 2.0, 1.0),), "above high"),
        ((Standardize(("n",), 1.0),), "one constant of two"),
        ((Standardize(("n",), 1.0, 0.0),), "a deviation of 0.0"),
        ((Bucketize(("n",), (2.0, 1.0)),), "edges"),
        ((Hash(("n",), 1),), "a vocabulary of 1"),
        ((Cast(("n",), "integer"),), "'integer' is no type"),
        ((Standardize(("n",)), Standardize(("n",))), "fitted twice"),
        ((Custom("a:b", ("n",), ()),), "nothing"),
    ],
)
def test_what_cannot_be_is_said_before_a_row_is_read(
    declared: tuple[Transform, ...], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        check(declared, ["n"])


def test_what_was_not_fitted_is_not_applied() -> None:
    batch = pa.RecordBatch.from_pydict({"n": [1.0]})
    with pytest.raises(UserError, match="the mean of 'n' was not fitted"):
        apply((Standardize(("n",)),), batch)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (Log1p(("w",)), r"transforms\[0\] Log1p: 'w' is string, not a number"),
        (Cast(("w",), "int32"), r"transforms\[0\] Cast: 'w'"),
        (FillNull(("n",), "x"), r"transforms\[0\] FillNull: 'n'"),
        (Hash(("n",), 9), r"transforms\[0\] Hash: 'n' is double"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_column(one: Transform, said: str) -> None:
    batch = pa.RecordBatch.from_pydict({"w": ["tea"], "n": [1.0]})
    with pytest.raises(UserError, match=said):
        apply((one,), batch)
