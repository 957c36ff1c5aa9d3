"""Joins the plain way: a dict, two loops, Python's own sort. The reference of the fast ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bowerbird.lake.joins.asof import Rule, Tie, Upto
from bowerbird.lake.joins.merging import How

Row = Mapping[str, Any]


def key_of(row: Row, on: Sequence[str]) -> tuple[Any, ...] | None:
    """None for a key with a null in it, which matches nothing."""
    key = tuple(row[name] for name in on)
    return None if None in key else key


def join(
    left: Sequence[Row], right: Sequence[Row], on: Sequence[str], how: How, adds: Sequence[str]
) -> list[dict[str, Any]]:
    by_key: dict[Any, list[Row]] = {}
    for row in right:
        if (key := key_of(row, on)) is not None:
            by_key.setdefault(key, []).append(row)
    out: list[dict[str, Any]] = []
    hit = set()
    for row in left:
        key = key_of(row, on)
        found = by_key.get(key, []) if key is not None else []
        hit.add(key)
        if how in (How.SEMI, How.ANTI):
            if bool(found) == (how is How.SEMI):
                out.append(dict(row))
            continue
        out += [{**row, **{name: other[name] for name in adds}} for other in found]
        if not found and how is not How.INNER:
            out.append({**row, **dict.fromkeys(adds)})
    if how is How.FULL:
        names = list(left[0]) if left else []
        for row in right:
            key = key_of(row, on)
            if key is None or key not in hit:
                alone = {**dict.fromkeys(names), **{name: row[name] for name in on}}
                out.append({**alone, **{name: row[name] for name in adds}})
    return out


def _nulls_last(value: Any) -> tuple[bool, Any]:
    return (value is None, 0 if value is None else value)


def asof(
    left: Sequence[Row], right: Sequence[Row], on: Sequence[str], how: How, rule: Rule,
    adds: Sequence[str],
) -> list[dict[str, Any]]:  # fmt: skip
    out: list[dict[str, Any]] = []
    for row in left:
        key, time = key_of(row, on), row[rule.left_at]
        known: list[Row] = []
        for other in right:
            theirs = other[rule.right_at]
            if key is None or time is None or theirs is None or key_of(other, on) != key:
                continue
            late = time - rule.lag
            if theirs > late or (theirs == late and rule.upto is Upto.BEFORE):
                continue
            known.append(other)
        if known:
            newest = max(other[rule.right_at] for other in known)
            same = [other for other in known if other[rule.right_at] == newest]
            if rule.tie:
                same = sorted(
                    same, key=lambda other: (other[rule.tie] is None, other[rule.tie] or 0)
                )
            found = same[0 if rule.take is Tie.FIRST else -1]
            if rule.tolerance is None or time - newest <= rule.tolerance:
                out.append({**row, **{name: found[name] for name in adds}})
                continue
        if how is not How.INNER:
            out.append({**row, **dict.fromkeys(adds)})
    return out
