"""Kinds of columns: what a column's values are to a model, which says what statistics mean.

A whole number may be an id, a count or a category, and only its owner knows; where nobody has said,
`guess` goes by the Arrow type and the name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from bowerbird.core.errors import SpecError

if TYPE_CHECKING:
    import pyarrow as pa


class Kind(StrEnum):
    """What a column's values are."""

    ID = "id"
    """A name of something: equal or not, and nothing else."""
    COUNT = "count"
    """A whole number of things, 0 where there is none."""
    REAL = "real"
    """A number on a scale. A moment is one: days since 1970."""
    CATEGORY = "category"
    """One of not very many names."""
    EMBEDDING = "embedding"
    """A vector of numbers, of one dimension."""
    SEQUENCE = "sequence"
    """A list of any length, in an order. A map is one, of its keys."""


_ID = re.compile(r"((^|_)(id|key|uuid|hash|upc|sku)|(user|item|product|session)id)$")
_COUNT = re.compile(r"^(n|num|count|cnt)_|_(count|cnt)$|^(count|n)$")
_EMBEDDING = re.compile(r"(^|_)(emb|embedding|embeddings|vec|vector)(_|$)")


def guess(name: str, type_: pa.DataType) -> Kind:
    """The kind of a column that nobody has declared.

    Raises `SpecError` for a type that no kind is for (a struct, a map).
    """
    import pyarrow.types as at

    type_ = _plain(type_)
    if at.is_map(type_):
        return Kind.SEQUENCE
    if _is_list(type_):
        number = at.is_floating(type_.value_type)
        fixed = at.is_fixed_size_list(type_)
        return Kind.EMBEDDING if number and (fixed or _EMBEDDING.search(name)) else Kind.SEQUENCE
    if at.is_integer(type_):
        return Kind.ID if _ID.search(name) else Kind.COUNT
    if at.is_floating(type_) or at.is_decimal(type_):
        return Kind.COUNT if _COUNT.search(name) else Kind.REAL
    if at.is_temporal(type_):
        return Kind.REAL
    if _is_name(type_):
        return Kind.ID if _ID.search(name) else Kind.CATEGORY
    raise SpecError(
        f"a column of {type_} has no kind",
        where=name,
        expected="a number, a text, a moment, a truth value, or a list of such",
        fix="make a column of each of its fields",
    )


def kinds_of(schema: pa.Schema, declared: Mapping[str, Kind] | None = None) -> dict[str, Kind]:
    """Column -> kind, declared or guessed.

    Raises `SpecError` where a declared column is not there, or is of a type that its kind is not.
    """
    declared = declared or {}
    for name, kind in declared.items():
        if name not in schema.names:
            raise SpecError(
                f"{name!r} is declared as {kind} and is no column",
                where="kinds",
                expected=f"one of: {', '.join(schema.names)}",
            )
        type_ = schema.field(name).type
        if not fits(kind, type_):
            raise SpecError(
                f"a column of {type_} is declared as {kind}",
                where=name,
                expected=f"one of: {', '.join(_fitting(type_)) or 'a column of another type'}",
            )
    return {
        field.name: declared[field.name]
        if field.name in declared
        else guess(field.name, field.type)
        for field in schema
    }


def fits(kind: Kind, type_: pa.DataType) -> bool:
    """Whether values of a type can be of a kind."""
    import pyarrow.types as at

    type_ = _plain(type_)
    match kind:
        case Kind.SEQUENCE:
            return _is_list(type_) or bool(at.is_map(type_))
        case Kind.EMBEDDING:
            return _is_list(type_) and _is_number(type_.value_type)
        case Kind.COUNT | Kind.REAL:
            return _is_number(type_) or at.is_temporal(type_) or at.is_boolean(type_)
        case _:
            return _is_name(type_) or _is_number(type_) or at.is_temporal(type_)


def _fitting(type_: pa.DataType) -> list[str]:
    return [str(kind) for kind in Kind if fits(kind, type_)]


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type of the values themselves: not of a dictionary of them, nor Arrow's name for them."""
    import pyarrow as pa

    if isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _is_list(type_: pa.DataType) -> bool:
    import pyarrow.types as at

    return bool(at.is_list(type_) or at.is_large_list(type_) or at.is_fixed_size_list(type_))


def _is_number(type_: pa.DataType) -> bool:
    import pyarrow.types as at

    return bool(at.is_integer(type_) or at.is_floating(type_) or at.is_decimal(type_))


def _is_name(type_: pa.DataType) -> bool:
    import pyarrow.types as at

    text = at.is_string(type_) or at.is_large_string(type_) or at.is_string_view(type_)
    raw = at.is_binary(type_) or at.is_large_binary(type_) or at.is_fixed_size_binary(type_)
    return bool(text or raw or at.is_boolean(type_))
