"""Meanings: what a cell's content is computed from, as a tree, and as the hash of that tree.

The tree is plain data (dicts, lists, strings, numbers), so it is kept in the ledger, compared
("stale: `Sum.over` 30d → 60d") and walked by ``bowerbird why``. Left out: owner, description and
tags; fields at their default, so that a new field with a default changes no meaning; the version of
Bowerbird itself, which operators' `revision` numbers stand in for.

What a meaning cannot see: see `bowerbird.core.functions`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec

from bowerbird.core.specs import METADATA, Operator, Spec

Tree = Any
"""JSON data: None, bool, int, float, str, list of trees, dict of str to trees."""


def tree_of(value: Any) -> Tree:
    """The meaning of a spec, an operator or a plain value."""
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): tree_of(item) for key, item in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted((tree_of(item) for item in value), key=canonical)
    if isinstance(value, (list, tuple)):
        return [tree_of(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a meaning is made of plain data, not of {type(value).__name__}: {value!r}")


def _struct(value: msgspec.Struct) -> Tree:
    tree: dict[str, Tree] = {"kind": type(value).__name__}
    if isinstance(value, Operator) and value.revision != 1:
        tree["revision"] = value.revision
    for field in msgspec.structs.fields(value):
        if isinstance(value, Spec) and field.name in METADATA:
            continue
        item = getattr(value, field.name)
        if not _is_default(field, item):
            tree[field.name] = tree_of(item)
    return tree


def _is_default(field: msgspec.structs.FieldInfo, item: Any) -> bool:
    if field.default is not msgspec.NODEFAULT:
        return bool(item == field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return bool(item == field.default_factory())
    return False


def canonical(tree: Tree) -> str:
    """One text for one tree: keys sorted, no spaces, floats in their shortest exact form."""
    return json.dumps(
        tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(tree: Tree) -> str:
    """The hash by which cells are compared: 32 hexadecimal digits."""
    return hashlib.sha256(canonical(tree).encode()).hexdigest()[:32]


def changes(old: Tree, new: Tree) -> tuple[str, ...]:
    """What differs, each as ``Sum.over: 30d → 60d``, the places named by kind and field."""
    return tuple(_changes(old, new, ""))


def _changes(old: Tree, new: Tree, place: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        if old.get("kind") != new.get("kind"):
            yield f"{place or 'kind'}: {_short(old)} → {_short(new)}"
            return
        if new.get("kind") == "function":
            yield from _function_changes(old, new)
            return
        inside = str(new.get("kind", place))
        for key in sorted(old.keys() | new.keys()):
            spot = f"{inside}.{key}" if inside else key
            if key not in old:
                yield f"{spot}: (default) → {_short(new[key])}"
            elif key not in new:
                yield f"{spot}: {_short(old[key])} → (default)"
            else:
                yield from _changes(old[key], new[key], spot)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changes(before, after, f"{place}[{index}]")
    elif old != new:
        yield f"{place}: {_short(old)} → {_short(new)}"


def _function_changes(old: Tree, new: Tree) -> Iterator[str]:
    """Which function, constant or library is another: their hashes would tell a reader nothing."""
    if old["name"] != new["name"]:
        yield f"function: {old['name']} → {new['name']}"
        return
    before, after = old.get("reaches", {}), new.get("reaches", {})
    changed = [name for name in after if before.get(name) not in (None, after[name])]
    yield from (f"{name} was changed" for name in changed)
    yield from (f"{new['name']} now reaches {name}" for name in after.keys() - before.keys())
    yield from (f"{new['name']} no longer reaches {n}" for n in before.keys() - after.keys())
    yield from _changes(old.get("uses", {}), new.get("uses", {}), "uses")


def _short(tree: Tree, width: int = 48) -> str:
    if isinstance(tree, dict) and "kind" in tree:
        inside = ", ".join(f"{k}={_short(v, 16)}" for k, v in tree.items() if k != "kind")
        text = f"{tree['kind']}({inside})"
    elif isinstance(tree, str):
        text = tree
    elif isinstance(tree, Sequence):
        text = f"[{', '.join(_short(item, 16) for item in tree)}]"
    else:
        text = canonical(tree)
    return text if len(text) <= width else text[: width - 1] + "…"
