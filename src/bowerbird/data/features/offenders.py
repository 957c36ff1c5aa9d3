"""Rows that a gate would not let through, by their keys: what a person looks at next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bowerbird.data.features.gates import EVERY, Coverage, Finding, Finite, Gate, Nulls, Range
from bowerbird.data.features.kinds import Kind
from bowerbird.lake.arrays import one_piece

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 5


def offenders(
    gates: Iterable[Gate],
    findings: Iterable[Finding],
    rows: pa.Table,
    keys: Sequence[str],
    kinds: dict[str, Kind],
    most: int = MOST,
) -> dict[str, tuple[str, ...]]:
    """Column -> some rows of it that failed, each as ``key=value, key=value``; for `Facts`.

    rows: the staged ones, or a part of them. Only columns that a finding says have failed are read.
    """
    failed = {(one.gate, one.column) for one in findings if not one.passed}
    found: dict[str, tuple[str, ...]] = {}
    for gate in gates:
        named = getattr(gate, "column", "")
        for column in rows.column_names if named == EVERY else [named]:
            if (type(gate).__name__, column) in failed and column in rows.column_names:
                bad = _bad(gate, _values(rows, column), kinds[column])
                if bad is not None and column not in found:
                    found[column] = _named(rows, bad, keys, most)
    return found


def duplicates(
    rows: pa.Table, keys: Sequence[str], most: int = MOST
) -> tuple[int, tuple[str, ...]]:
    """How many keys are there more than once, and some of them."""
    import pyarrow.compute as pc

    counted = rows.select(list(keys)).group_by(list(keys)).aggregate([([], "count_all")])
    twice = counted.filter(pc.greater(counted["count_all"], 1))
    return len(twice), _texts(twice.slice(0, most), keys)


def _values(rows: pa.Table, column: str) -> pa.Array:
    from bowerbird.data.features.statistics import plain

    return plain(one_piece(rows[column]))


def _bad(gate: Gate, values: pa.Array, kind: Kind) -> Any:
    """A mask of the rows that a gate is about; None for a gate that is not about rows."""
    import pyarrow.compute as pc

    match gate:
        case Nulls():
            return pc.is_null(values, nan_is_null=kind in (Kind.COUNT, Kind.REAL))
        case Coverage():
            return pc.invert(_covered(values, kind))
        case Range(_, low, high):
            size = _sizes(values, kind)
            if size is None:
                return None
            outside = [pc.less(size, low)] if low is not None else []
            outside += [pc.greater(size, high)] if high is not None else []
            return outside[0] if len(outside) == 1 else pc.or_(*outside)
        case Finite() if kind in (Kind.COUNT, Kind.REAL):
            return pc.is_inf(_doubles(values))
        case Finite() if kind is Kind.EMBEDDING:
            return _broken(values)
    return None


def _covered(values: pa.Array, kind: Kind) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind in (Kind.COUNT, Kind.REAL):
        numbers = _doubles(values)
        says = pc.and_(pc.not_equal(numbers, 0), pc.invert(pc.is_nan(numbers)))
    elif kind is Kind.SEQUENCE:
        says = pc.greater(pc.list_value_length(values), 0)
    elif kind is Kind.EMBEDDING:
        says = pc.not_equal(_sizes(values, kind), 0)
    elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        says = pc.not_equal(values, "")
    else:
        says = pc.is_valid(values)
    return pc.fill_null(says, False)


def _sizes(values: pa.Array, kind: Kind) -> Any:
    """What a range is about: a number itself, a vector's norm, a list's length."""
    import math

    import pyarrow as pa
    import pyarrow.compute as pc

    if kind in (Kind.COUNT, Kind.REAL):
        return _doubles(values)
    if kind is Kind.SEQUENCE:
        return pc.list_value_length(values)
    if kind is Kind.EMBEDDING:
        norms = [
            None if one is None else math.hypot(*(part or 0.0 for part in one))
            for one in values.to_pylist()
        ]
        return pa.array(norms, pa.float64())
    return None


def _broken(values: pa.Array) -> Any:
    import math

    import pyarrow as pa

    given = values.to_pylist()
    lengths = [len(one) for one in given if one is not None]
    usual = max(set(lengths), key=lengths.count, default=0)
    bad = [
        one is not None
        and (len(one) != usual or any(part is None or not math.isfinite(part) for part in one))
        for one in given
    ]
    return pa.array(bad, pa.bool_())


def _doubles(values: pa.Array) -> pa.Array:
    from bowerbird.data.features.statistics import doubles

    return doubles(values)


def _named(rows: pa.Table, bad: Any, keys: Sequence[str], most: int) -> tuple[str, ...]:
    return _texts(rows.select(list(keys)).filter(bad).slice(0, most), keys)


def _texts(rows: pa.Table, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        ", ".join(f"{key}={_text(row[key])}" for key in keys)
        for row in rows.select(list(keys)).to_pylist()
    )


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
