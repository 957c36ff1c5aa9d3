"""Functions that a spec names: how they are found, and what their meaning is.

The meaning of a function is the source of itself and of every function, class and constant of its
project that it reaches by name, each reduced to its syntax tree (so comments, layout and quotes
play no part), plus the versions of the libraries that the spec lists under ``uses``. The reduction
leaves out empty fields and position, so it is the same on every Python version.

What it cannot see: names made at run time (``getattr``, ``globals()[…]``), files and environment
variables that the code reads, decorators' side effects, libraries that ``uses`` does not list,
values of mutable globals that other code fills, and what instances hold (but for plain data, dates,
patterns, enums, dataclasses and structs; paths are left out, since they differ between machines). A
spec whose function depends on such a thing says so by changing its ``revision`` field, where its
kind has one, or an argument.
"""

from __future__ import annotations

import ast
import dataclasses
import datetime
import functools
import importlib
import importlib.metadata
import inspect
import re
import textwrap
import types
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from threading import RLock
from typing import Any

import msgspec

from bowerbird.core.errors import FunctionError
from bowerbird.core.meaning import Tree, digest

_PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, range, Decimal, Fraction, uuid.UUID),
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo),
)
"""Types whose `repr` tells all of a value, and the same everywhere."""


IMPORTING = RLock()
"""Held while a project's modules are imported, or forgotten to be read anew: one that is forgotten
while another thread imports it is an error there."""


def load(name: str) -> Any:
    """The object that ``module:name`` names. Raises `FunctionError`, with what was tried."""
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise FunctionError(
            f"{name!r} names no function", expected="module:name, as in specs.load:purchases"
        )
    try:
        with IMPORTING:
            found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise FunctionError(
            f"module {module_name!r} of {name!r} cannot be imported: "
            f"{type(error).__name__}: {error}",
            expected="a module on the project's path, or one that is installed",
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise FunctionError(
                f"{name!r}: there is no {part!r} in {getattr(found, '__name__', found)!s}",
                expected=f"one of: {', '.join(_offers(found)) or 'nothing public'}",
            )
        found = getattr(found, part)
    return found


def _offers(found: Any) -> list[str]:
    return [name for name in vars(found) if not name.startswith("_")][:12]


def function_tree(name: str, uses: Iterable[str] = ()) -> Tree:
    """The meaning of the function that ``module:name`` names."""
    function = load(name)
    if not callable(function) or not hasattr(inspect.unwrap(function), "__qualname__"):
        raise FunctionError(
            f"{name!r} is {_a(function)}, not a function", expected="a function made by `def`"
        )
    reach = _Reach(_project_of(function))
    reach.code(function)
    tree: dict[str, Tree] = {"kind": "function", "name": name, "code": digest(reach.reached)}
    libraries = {library: _version(library, name) for library in sorted(uses)}
    if libraries:
        tree["uses"] = libraries
    tree["reaches"] = {key: digest(value) for key, value in sorted(reach.reached.items())}
    return tree


def _a(thing: Any) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"


def _project_of(function: Any) -> str:
    """The package that a function's meaning follows names through: its own, the outermost.

    Of this house, only the room: what other rooms do is held by their operators' revisions and by
    golden results, or else every change anywhere in it would make every table anew.
    """
    parts = str(function.__module__).split(".")
    return ".".join(parts[:2] if parts[0] == "bowerbird" else parts[:1])


def _version(library: str, name: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError as error:
        raise FunctionError(
            f"{name!r} lists {library!r} under uses=, which is not installed",
            expected="the name of an installed distribution",
        ) from error


class _Reach:
    """Gathers what a function reaches of its project, by qualified name."""

    def __init__(self, project: str) -> None:
        self.reached: dict[str, Tree] = {}
        self._project = project
        self._seen: dict[str, Any] = {}

    def code(self, thing: Any) -> None:
        """Add a function or class, and all that it reaches."""
        thing = inspect.unwrap(thing)
        if thing.__name__ == "<lambda>":
            raise FunctionError(
                f"a lambda in {thing.__module__}, line {thing.__code__.co_firstlineno}: its source "
                "cannot be told from its neighbours on the line",
                expected="a function made by `def`",
            )
        key = self._key(thing)
        if key in self._seen:
            return
        self._seen[key] = thing
        node = _parsed(thing, key)
        self.reached[key] = syntax_tree(node)
        module = inspect.getmodule(thing)
        scope: dict[str, Any] = dict(vars(module)) if module else {}
        if isinstance(thing, types.FunctionType):
            scope |= inspect.getclosurevars(thing).nonlocals
        for path in sorted(_names(node)):
            if path[0] in scope:
                self._value(_followed(scope[path[0]], path), f"{key}→{'.'.join(path)}")

    def _key(self, thing: Any) -> str:
        """A name of its own: all functions that one function makes have the same."""
        name = key = f"{thing.__module__}:{thing.__qualname__}"
        number = 1
        while self._seen.get(key, thing) is not thing:
            number += 1
            key = f"{name}#{number}"
        return key

    def _value(self, value: Any, key: str) -> None:
        """Add what a name stands for."""
        if isinstance(value, types.ModuleType):
            return
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, (types.FunctionType, type)):
            if self._ours(value):
                self.code(value)
        elif isinstance(value, functools.partial):
            self._value([value.func, value.args, value.keywords], key)
        elif (plain := _constant(value)) is not None:
            self.reached[key] = plain
            if self._ours(type(value)):
                self.code(type(value))
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                self._value(item, f"{key}[{index}]")
        elif isinstance(value, dict):
            for name, item in value.items():
                self._value(item, f"{key}[{name!r}]")
        elif self._ours(type(value)):
            self.code(type(value))

    def _ours(self, thing: Any) -> bool:
        module = str(thing.__module__)
        return module == self._project or module.startswith(f"{self._project}.")


def _followed(found: Any, path: tuple[str, ...]) -> Any:
    """What ``a.b.c`` stands for, as far as it goes through modules: an attribute of an instance is
    data, not a name in the source."""
    for part in path[1:]:
        if not isinstance(found, types.ModuleType) or not hasattr(found, part):
            break
        found = getattr(found, part)
    return found


def _constant(value: Any) -> Tree | None:
    """A constant's tree; None for what is not plain data (an instance of a library, say)."""
    if isinstance(value, Enum):
        return [type(value).__name__, value.name]
    if isinstance(value, _PLAIN):
        return [type(value).__name__, repr(value)]
    if isinstance(value, re.Pattern):
        return ["Pattern", _constant(value.pattern), value.flags]
    if isinstance(value, (tuple, list)):
        parts = [_constant(item) for item in value]
        return None if None in parts else [type(value).__name__, parts]
    if isinstance(value, (set, frozenset)):
        parts = sorted((_constant(item) for item in value), key=repr)
        return None if None in parts else [type(value).__name__, parts]
    if isinstance(value, dict):
        pairs = [[_constant(key), _constant(item)] for key, item in value.items()]
        return None if any(None in pair for pair in pairs) else ["dict", pairs]
    if isinstance(value, type):
        return None
    fields = [f.name for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    fields = list(value.__struct_fields__) if isinstance(value, msgspec.Struct) else fields
    held = {name: _constant(getattr(value, name, None)) for name in fields}
    return None if not held or None in held.values() else [type(value).__name__, held]


def _parsed(thing: Callable[..., Any], key: str) -> ast.AST:
    try:
        source = textwrap.dedent(inspect.getsource(thing))
        return ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise FunctionError(
            f"the source of {key} cannot be read: {error}",
            expected="a function or class made by `def` or `class` in a Python file",
        ) from error


def _names(node: ast.AST) -> set[tuple[str, ...]]:
    """Every dotted name that is read in a piece of source: ``a.b.c`` -> ("a", "b", "c")."""
    names: set[tuple[str, ...]] = set()
    for child in ast.walk(node):
        parts: list[str] = []
        inner = child
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            names.add((inner.id, *reversed(parts)))
    return names


def syntax_tree(node: ast.AST) -> Tree:
    """A syntax tree as plain data, the same on every Python version: no positions, no contexts, no
    empty fields (newer versions add fields, empty where the syntax is not used), no docstrings."""
    fields = {}
    for name, value in ast.iter_fields(node):
        if name in ("ctx", "type_comment", "kind"):
            continue
        if name == "body" and isinstance(value, list):
            value = value[1:] if _is_docstring(value) else value
        if isinstance(node, ast.JoinedStr):
            value = [part for part in value if not _is_empty(part)]
        plain = _field(value)
        if plain is not None and plain != []:
            fields[name] = plain
    return [type(node).__name__, fields] if fields else [type(node).__name__]


def _is_empty(part: ast.expr) -> bool:
    """A piece of an f-string that says nothing: Python 3.12.0 and 3.12.1 put some in."""
    return isinstance(part, ast.Constant) and part.value == ""


def _is_docstring(body: list[ast.stmt]) -> bool:
    first = body[0] if body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def _field(value: Any) -> Tree:
    if isinstance(value, ast.AST):
        return syntax_tree(value)
    if isinstance(value, list):
        return [_field(item) for item in value]
    if value is None or isinstance(value, (str, bool)):
        return value
    return [type(value).__name__, repr(value)]
