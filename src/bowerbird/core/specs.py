"""Specs: what people declare. Frozen values; Python and YAML give the same one.

A spec's class is its kind; its module-level name plays no part. In Python::

    purchases = Table("shop/purchases", schema={"household_id": "long"}, owner="team:growth")

and in YAML, with the same field names::

    apiVersion: bowerbird/v1
    kind: Table
    metadata: {name: shop/purchases, owner: team:growth}
    spec: {schema: {household_id: long}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, ClassVar, TypeVar

import msgspec

from bowerbird.core.errors import FunctionError, RefError, SpecError
from bowerbird.core.refs import Ref, kind_of

METADATA = ("name", "owner", "description", "tags")
"""Fields of every spec that say nothing about what is computed: meanings leave them out."""


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class Spec(Named, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The base of every spec.

    name: ``namespace/name``, lower case.
    owner: ``team:growth`` or ``user:ada``.
    """

    owner: str = ""
    description: str = ""
    tags: dict[str, str] = {}

    def __post_init__(self) -> None:
        for field, wanted in _types(type(self)).items():
            value = _as_declared(_by_name(getattr(self, field)), wanted, self, field)
            msgspec.structs.force_setattr(self, field, value)
        Ref.of(kind_of(type(self).__name__), self.name)

    @property
    def ref(self) -> Ref:
        return Ref.of(kind_of(type(self).__name__), self.name)

    def refs(self) -> dict[str, str]:
        """Field -> ref (as text) of every spec that this one reads. Kinds that read override it."""
        return {}

    def check(self) -> None:
        """Raise `SpecError` where fields that decode contradict each other."""


FEW = 8
"""So many names are shown to who asked for one that is not there."""

Wanted = TypeVar("Wanted", bound=Spec)


def of_kind(specs: Mapping[str, Spec], ref: str, kind: type[Wanted]) -> Wanted:
    """The spec at a ref, for whom only one kind will do. Raises `RefError` if it is another, or if
    the project declares none."""
    found = specs.get(ref)
    if found is None:
        raise RefError(f"the project declares no {ref}", expected=_near(ref, list(specs)))
    if not isinstance(found, kind):
        raise RefError(
            f"{ref} is a {type(found).__name__}, not a {kind.__name__}",
            expected=f"the ref of a {kind.__name__}, as in {kind_of(kind.__name__)}:namespace/name",
        )
    return found


def _near(ref: str, known: Sequence[str]) -> str:
    """The name that somebody may have meant; else some that there are."""
    if near := get_close_matches(ref, known, n=1):
        return f"{near[0]}?"
    more = len(known) - FEW
    some = ", ".join(known[:FEW]) or "(none)"
    return f"one of: {some}" + (f", and {more} more" if more > 0 else "")


def needed(specs: Mapping[str, Spec], ref: str) -> frozenset[str]:
    """The ref of a spec, of all that it reads, and of what those read in turn."""
    found: set[str] = set()
    more = [ref]
    while more:
        one = more.pop()
        if one in specs and one not in found:
            found.add(one)
            more += specs[one].refs().values()
    return frozenset(found)


@cache
def _types(kind: type[Spec]) -> dict[str, Any]:
    """Field -> its type: to look it up takes longer than all else that a spec does."""
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _as_declared(value: Any, wanted: Any, spec: Spec, field: str) -> Any:
    """The value that the same field has when it comes from YAML: 1 is 1.0 where a float is
    declared, and a list is a tuple where one is; else the two would not mean the same."""
    where = f"{kind_of(type(spec).__name__)}:{spec.name}: {field}"
    try:
        return msgspec.convert(msgspec.to_builtins(value), wanted)
    except msgspec.ValidationError as error:
        problem, path = said(error)
        raise SpecError(problem, where=where + path) from None
    except TypeError as error:  # what is no data at all: an instance of somebody's class
        raise SpecError(
            f"{error}", where=where, expected="values that YAML can hold as well"
        ) from None


def said(error: msgspec.ValidationError) -> tuple[str, str]:
    """What msgspec found wrong, and the path to it: ``("expected `str`, got `int`", ".a[0]")``."""
    problem, _, at = str(error).partition(" - at `$")
    return problem[:1].lower() + problem[1:], at.rstrip("`")


def _by_name(value: Any) -> Any:
    """A spec given where a ref is meant becomes its ref, a function its name."""
    if isinstance(value, Spec):
        return str(value.ref)
    if callable(value):
        return function_name(value)
    if isinstance(value, (tuple, list)) and any(isinstance(item, Spec) for item in value):
        return tuple(_by_name(item) for item in value)
    return value


class Operator(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """The base of the values inside a spec that name built-in code (``Sum``, ``Bucket``…).

    revision: raise it when the operator's result changes for the same fields; golden results in
      the tests hold it. It is part of every meaning that the operator is in.
    """

    revision: ClassVar[int] = 1


def function_name(function: Callable[..., Any] | str) -> str:
    """``module:name`` of a function; raises `FunctionError` for one without a name of its own."""
    if isinstance(function, str):
        return function
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not module or not name or "<" in name:
        raise FunctionError(
            f"{function!r} has no name that another process could import",
            expected="a function at the top level of a module",
            fix="give it a name with `def` in a module of the project, and pass that",
        )
    return f"{module}:{name}"
