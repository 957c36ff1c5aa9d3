"""Column types as people write them: ``long``, ``decimal(10,2)``, ``list<string>``, ``… not null``.

The names are Iceberg's. `parse` turns a text into a `Type`, without a library, so that a spec is
checked before anything heavy is imported; `bowerbird.lake.schema` turns a `Type` into Iceberg's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import msgspec

PRIMITIVES = (
    "boolean",
    "int",
    "long",
    "float",
    "double",
    "date",
    "time",
    "timestamptz",
    "string",
    "uuid",
    "binary",
)
PARAMETRIC = ("decimal", "fixed", "list", "map", "struct")

_ALIASES = {
    "bool": "boolean",
    "integer": "int",
    "int32": "int",
    "int64": "long",
    "bigint": "long",
    "float32": "float",
    "float64": "double",
    "str": "string",
    "text": "string",
    "varchar": "string",
    "bytes": "binary",
    "array": "list",
    "datetime": "timestamptz",
}
"""What people from other houses write -> what to suggest to them."""

_TOKEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*|\d+|[<>(),:\[\]])")


class Type(msgspec.Struct, frozen=True):
    """One type: its name, its numbers (precision, scale, length) and the types inside it.

    fields: names of the inner types: ``element``; ``key``, ``value``; a struct's own.
    """

    name: str
    numbers: tuple[int, ...] = ()
    inner: tuple[Type, ...] = ()
    fields: tuple[str, ...] = ()
    required: bool = False

    @property
    def primitive(self) -> bool:
        return not self.inner


class TypeTextError(ValueError):
    """A text that is no type; `expected` says what would be."""

    def __init__(self, problem: str, expected: str) -> None:
        super().__init__(problem)
        self.expected = expected


def parse(text: str) -> Type:
    """The type that a text names. Raises `TypeTextError`."""
    tokens = _Tokens(text)
    found = _type(tokens)
    if rest := list(tokens):
        raise TypeTextError(
            f"{text!r} goes on after the type: {rest[0]!r}", "a type, then nothing or `not null`"
        )
    return found


class _Tokens(Iterator[str]):
    def __init__(self, text: str) -> None:
        self.text = text
        self._at = 0

    def __next__(self) -> str:
        if not self.text[self._at :].strip():
            raise StopIteration
        match = _TOKEN.match(self.text, self._at)
        if match is None:
            raise TypeTextError(
                f"{self.text!r} is no type: {self.text[self._at :].strip()[:1]!r} cannot be read",
                "such as long, decimal(10,2), list<string>",
            )
        self._at = match.end()
        return match.group(1)

    def peek(self) -> str | None:
        was = self._at
        word = next(self, None)
        self._at = was
        return word

    def take(self, wanted: str) -> None:
        if (word := next(self, None)) != wanted:
            raise TypeTextError(
                f"{self.text!r} is no type: {word or 'its end'!r} where {wanted!r} must be",
                "such as long, decimal(10,2), list<string>",
            )


def _type(tokens: _Tokens) -> Type:
    name = next(tokens, "")
    if name in PRIMITIVES:
        found = Type(name)
    elif name in ("decimal", "fixed"):
        found = Type(name, numbers=_numbers(name, tokens))
    elif name == "list":
        tokens.take("<")
        found = Type(name, inner=(_type(tokens),), fields=("element",))
        tokens.take(">")
    elif name == "map":
        tokens.take("<")
        key = _type(tokens)
        tokens.take(",")
        found = Type(name, inner=(key, _type(tokens)), fields=("key", "value"))
        tokens.take(">")
    elif name == "struct":
        found = _struct(tokens)
    else:
        raise _unknown(name)
    if tokens.peek() == "not":
        tokens.take("not")
        tokens.take("null")
        found = msgspec.structs.replace(found, required=True)
    return found


def _struct(tokens: _Tokens) -> Type:
    tokens.take("<")
    names: list[str] = []
    inner: list[Type] = []
    while True:
        names.append(next(tokens, ""))
        tokens.take(":")
        inner.append(_type(tokens))
        if tokens.peek() != ",":
            break
        tokens.take(",")
    tokens.take(">")
    return Type("struct", inner=tuple(inner), fields=tuple(names))


def _numbers(name: str, tokens: _Tokens) -> tuple[int, ...]:
    tokens.take("(")
    numbers = [_number(tokens)]
    if name == "decimal":
        tokens.take(",")
        numbers.append(_number(tokens))
    tokens.take(")")
    if name == "decimal" and not (1 <= numbers[0] <= 38 and numbers[1] <= numbers[0]):
        raise TypeTextError(f"{tokens.text!r} has no room for its digits", "1 to 38 digits in all")
    if name == "fixed" and numbers[0] < 1:
        raise TypeTextError(f"{tokens.text!r} holds nothing", "fixed(n) of at least one byte")
    return tuple(numbers)


def _number(tokens: _Tokens) -> int:
    word = next(tokens, "")
    if not word.isdigit():
        raise TypeTextError(
            f"{tokens.text!r}: {word or 'its end'!r} where a number must be",
            "decimal(precision,scale) or fixed(bytes)",
        )
    return int(word)


def _unknown(name: str) -> TypeTextError:
    if name in ("timestamp", "timestamp_ns", "timestamptz_ns"):
        return TypeTextError(
            f"{name!r} is not taken: times here are UTC microseconds", "timestamptz"
        )
    known = [*PRIMITIVES, *PARAMETRIC]
    near = _ALIASES.get(name.lower())
    if near is None:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        near = close[0] if close else None
    return TypeTextError(
        f"unknown type {name!r}", f"{near}?" if near else f"one of: {', '.join(known)}"
    )
