"""Sorted streams joined, held to a dict and two loops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.lake.joins import merging
from bowerbird.lake.joins.asof import Rule, Tie, Upto, asof_sorted
from bowerbird.lake.joins.merging import How, Shape, join_sorted
from bowerbird.lake.ordering import is_sorted, ordered
from tests.lake import plain_join

LEFT = pa.schema([("k", pa.int64()), ("s", pa.string()), ("at", pa.int64()), ("n", pa.int64())])
RIGHT = pa.schema([("k", pa.int64()), ("s", pa.string()), ("since", pa.int64()), ("m", pa.int64())])
WIDE = 2**61
keys = st.one_of(st.none(), st.integers(-2, 3), st.sampled_from([2**62, -(2**62)]))
times = st.one_of(st.none(), st.integers(0, 5), st.sampled_from([WIDE, -WIDE]))
rows = st.lists(
    st.tuples(keys, st.one_of(st.none(), st.sampled_from(["", "a", "é"])), times), max_size=25
)
ons = st.sampled_from([("k",), ("s",), ("s", "k"), ("k", "s")])


def table(found: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    numbered = [(*row, number) for number, row in enumerate(found)]
    columns = list(zip(*numbered, strict=True)) if found else [()] * 4
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema)


def cut(rows: pa.Table, size: int) -> list[pa.Table]:
    return [rows.slice(at, size) for at in range(0, rows.num_rows, size)]


def lines(rows: Sequence[Any]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


@given(rows, rows, ons, st.sampled_from(list(How)), st.integers(1, 9), st.integers(1, 9))
def test_a_merge_is_the_plain_join(
    left: list, right: list, on: tuple[str, ...], how: How, one: int, other: int
) -> None:
    mine, theirs = ordered(table(left, LEFT), on), ordered(table(right, RIGHT), on)
    other_columns = tuple(f"r_{n}" if n not in on else n for n in RIGHT.names)
    theirs = theirs.rename_columns(list(other_columns))
    adds = () if how in (How.SEMI, How.ANTI) else tuple(n for n in other_columns if n not in on)
    shape = Shape.of(on, how, LEFT, theirs.schema, adds)
    with TemporaryDirectory() as folder:
        parts = list(join_sorted(cut(mine, one), cut(theirs, other), shape, folder, run_bytes=64))
        assert not list(Path(folder).iterdir())
    found = pa.concat_tables([shape.result.empty_table(), *parts])
    plain = plain_join.join(mine.to_pylist(), theirs.to_pylist(), on, how, adds)
    if not left:
        names = dict.fromkeys(LEFT.names)
        plain = [{**names, **row} for row in plain]
    assert lines(found.to_pylist()) == lines(plain)
    assert is_sorted(found, on)
    assert all(part.num_rows for part in parts)


rules = st.builds(
    Rule,
    left_at=st.just("at"),
    right_at=st.just("r_since"),
    upto=st.sampled_from(list(Upto)),
    lag=st.integers(0, 2),
    tolerance=st.sampled_from([None, 0, 2]),
    tie=st.sampled_from(["", "r_m"]),
    take=st.sampled_from(list(Tie)),
)


@given(
    rows, rows, ons, st.sampled_from([How.LEFT, How.INNER]), rules, st.integers(1, 9),
    st.integers(1, 9), st.randoms(),
)  # fmt: skip
def test_an_asof_join_is_the_plain_one(
    left: list, right: list, on: tuple[str, ...], how: How, rule: Rule, one: int, other: int,
    random: Any,
) -> None:  # fmt: skip
    mine = ordered(table(left, LEFT), [*on, "at"])
    random.shuffle(right)
    theirs = ordered(table(right, RIGHT), [*on, "since"])
    names = [f"r_{n}" if n not in on else n for n in RIGHT.names]
    theirs = theirs.rename_columns(names)
    adds = tuple(n for n in names if n not in on)
    shape = Shape.of(on, how, LEFT, theirs.schema, adds)
    parts = list(asof_sorted(cut(mine, one), cut(theirs, other), shape, rule))
    found = pa.concat_tables([shape.result.empty_table(), *parts])
    plain = plain_join.asof(mine.to_pylist(), theirs.to_pylist(), on, how, rule, adds)
    assert found.to_pylist() == plain


@pytest.mark.parametrize("how", [How.INNER, How.FULL])
def test_a_key_with_very_many_rows_on_both_sides_comes_out_in_blocks(
    how: How, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "ROWS", 100)
    many = [(7, "a", n) for n in range(150)]
    mine, theirs = table(many, LEFT), table(many, RIGHT).rename_columns(["k", "rs", "since", "m"])
    shape = Shape.of(("k",), how, LEFT, theirs.schema, ("m",))
    parts = list(join_sorted(cut(mine, 40), cut(theirs, 40), shape, run_bytes=1000))
    assert sum(part.num_rows for part in parts) == 150 * 150
    assert max(part.num_rows for part in parts) <= 100
    pairs = {(row["n"], row["m"]) for part in parts for row in part.to_pylist()}
    assert len(pairs) == 150 * 150
