"""Kinds: guessed from type and name, declared against type."""

from __future__ import annotations

import pyarrow as pa
import pytest

from bowerbird.core.errors import SpecError
from bowerbird.data.features.kinds import Kind, fits, guess, kinds_of

GUESSED = [
    ("household_id", pa.int64(), Kind.ID),
    ("id", pa.string(), Kind.ID),
    ("userid", pa.int64(), Kind.ID),
    ("paid", pa.int64(), Kind.COUNT),
    ("quantity", pa.int32(), Kind.COUNT),
    ("n_30d", pa.float64(), Kind.COUNT),
    ("view_count", pa.float64(), Kind.COUNT),
    ("amount", pa.decimal128(10, 2), Kind.REAL),
    ("spend", pa.float32(), Kind.REAL),
    ("at", pa.timestamp("us", tz="UTC"), Kind.REAL),
    ("brand", pa.dictionary(pa.int32(), pa.string()), Kind.CATEGORY),
    ("is_new", pa.bool_(), Kind.CATEGORY),
    ("pin_embedding", pa.list_(pa.float32()), Kind.EMBEDDING),
    ("anything", pa.list_(pa.float32(), 64), Kind.EMBEDDING),
    ("prices", pa.list_(pa.float64()), Kind.SEQUENCE),
    ("last_products", pa.list_(pa.int64()), Kind.SEQUENCE),
    ("events", pa.list_(pa.struct({"a": pa.int64()})), Kind.SEQUENCE),
]


@pytest.mark.parametrize(("name", "type_", "kind"), GUESSED)
def test_a_kind_is_guessed_from_type_and_name(name: str, type_: pa.DataType, kind: Kind) -> None:
    assert guess(name, type_) is kind
    assert fits(kind, type_)


def test_what_is_declared_wins_over_the_guess() -> None:
    schema = pa.schema({"store_id": pa.int64(), "amount": pa.float64()})
    kinds = kinds_of(schema, {"store_id": Kind.CATEGORY})
    assert kinds == {"store_id": Kind.CATEGORY, "amount": Kind.REAL}


def test_a_kind_that_does_not_fit_the_type_is_refused_with_those_that_do() -> None:
    schema = pa.schema({"brand": pa.string()})
    with pytest.raises(SpecError, match="declared as embedding") as raised:
        kinds_of(schema, {"brand": Kind.EMBEDDING})
    assert raised.value.expected == "one of: id, category"
    with pytest.raises(SpecError, match="is no column"):
        kinds_of(schema, {"brnd": Kind.CATEGORY})


def test_a_type_without_a_kind_is_named() -> None:
    with pytest.raises(SpecError, match="has no kind"):
        guess("address", pa.struct({"street": pa.string()}))
