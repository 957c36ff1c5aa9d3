"""Change rows: of each key the last one, or a refusal that names what cannot be told."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import SpecError, UserError
from bowerbird.lake import Table
from bowerbird.lake.merges.changes import Changes, Keyed, Keys, Ties, resolve
from bowerbird.lake.schema import spec_arrow_schema

USERS = Table(
    "test/users", schema={"id": "long", "part": "string", "name": "string", "score": "double"}
)
ARROW = spec_arrow_schema(USERS)


def changes(rows: list[dict[str, Any]], **more: pa.DataType) -> pa.Table:
    kinds = {field.name: field.type for field in ARROW} | {
        "op": pa.string(),
        "lsn": pa.int64(),
        **more,
    }
    names = rows[0] if rows else kinds
    return pa.table({c: pa.array([row[c] for row in rows], kinds[c]) for c in names})


def resolved(rows: pa.Table, **how: Any) -> Changes:
    return resolve("test/users", USERS, rows, Keyed(**how), ARROW)


def row(key: int | None, name: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "part": "a", "name": name, "score": 1.0, **more}


values = st.one_of(st.none(), st.integers(-3, 3))
texts = st.sampled_from(["a", "b", "", "ä", None])


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.sampled_from("abc"), st.booleans()), max_size=20),
    st.lists(st.tuples(values, texts, st.none() | st.booleans()), max_size=30),
)
def test_keys_are_found_as_a_dictionary_finds_them(
    keys: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]
) -> None:
    kinds = {"n": pa.int64(), "t": pa.string(), "b": pa.bool_()}

    def table(of: list[tuple[Any, ...]]) -> pa.Table:
        columns = list(zip(*of, strict=True)) if of else [(), (), ()]
        pairs = zip(kinds.items(), columns, strict=True)
        return pa.table({name: pa.array(column, kind) for (name, kind), column in pairs})

    distinct = list(dict.fromkeys(keys))
    found = Keys(table(distinct)).find(table(rows)).to_pylist()
    places = {key: place for place, key in enumerate(distinct)}
    assert found == [places.get(one) for one in rows]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.integers(0, 4),
            st.sampled_from(["insert", "update", "delete"]),
        ),
        max_size=25,
    )
)
def test_the_last_change_of_a_key_is_that_of_a_loop(came: list[tuple[int, int, str]]) -> None:
    rows = changes([row(k, f"{n}", op=op, lsn=lsn) for n, (k, lsn, op) in enumerate(came)])
    last: dict[int, tuple[int, int, str]] = {}
    for place, (key, lsn, op) in enumerate(came):
        if key not in last or lsn >= last[key][0]:
            last[key] = (lsn, place, op)
    found = resolved(rows, key=("id",), op="op", order=("lsn",), ties=Ties.LAST)
    names = dict(zip(*(found.upserts.column(c).to_pylist() for c in ("id", "name")), strict=True))
    assert names == {k: f"{place}" for k, (_, place, op) in last.items() if op != "delete"}
    gone = found.deletes.column("id").to_pylist()
    assert sorted(gone) == sorted(k for k, (_, _, op) in last.items() if op == "delete")
    assert found.superseded == len(came) - len(last)


def test_two_last_changes_of_a_key_are_refused_by_name() -> None:
    rows = changes([row(1, "x", lsn=3), row(2, "z", lsn=3), row(1, "y", lsn=3)])
    with pytest.raises(UserError, match=r"1 keys have several last .* equal in lsn, such as id=1"):
        resolved(rows, key=("id",), order=("lsn",))


def test_a_tie_of_changes_that_a_later_one_supersedes_is_none() -> None:
    rows = changes([row(1, "x", lsn=3), row(1, "y", lsn=3), row(1, "z", lsn=4)])
    found = resolved(rows, key=("id",), order=("lsn",))
    assert found.upserts.column("name").to_pylist() == ["z"]


def test_a_key_that_came_twice_without_an_order_is_refused() -> None:
    with pytest.raises(UserError, match="several last changes without order") as caught:
        resolved(changes([row(1, "x"), row(1, "y")]), key=("id",))
    assert "Ties.LAST" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("rows", "how", "says"),
    [
        ([row(1, "x"), row(None, "y")], {"key": ("id",)}, "column 'id' is null in 1 of 2 changes"),
        (
            [row(1, "x") | {"score": float("nan")}],
            {"key": ("id", "score")},
            "column 'score' is NaN in 1 of 1",
        ),
        ([row(1, "x", op="drop")], {"key": ("id",), "op": "op"}, "says 'drop' in 1 of 1 changes"),
        ([row(1, "x", op=None)], {"key": ("id",), "op": "op"}, "says None in 1 of 1 changes"),
        ([row(1, "x")], {"key": ("id",), "op": "op"}, "column 'op' of the changes is missing"),
        ([row(1, "x", lsn=None)], {"key": ("id",), "order": ("lsn",)}, "no value in 1 of 1"),
        ([row(1, "x", op="insert")], {"key": ("id",)}, "'op' is in the data and not in the spec"),
        ([{"id": 1, "name": "x"}], {"key": ("id",)}, "column 'part' is missing from the data"),
        (
            [row(1, "x", op="insert")],
            {"key": ("id",), "op": "op", "columns": ("name",)},
            "1 changes insert a row of which only name came",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(
    rows: list[dict[str, Any]], how: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        resolved(changes(rows), **how)
    assert caught.value.expected


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"key": ()}, "key: no column"),
        ({"key": ("ID",)}, "there is no column 'ID'"),
        ({"key": ("id",), "columns": ("nam",)}, "there is no column 'nam'"),
        ({"key": ("id",), "columns": ("id",)}, "'id' is of the key"),
        ({"key": ("tags",)}, "'tags' is a list"),
    ],
)
def test_a_key_that_does_not_fit_the_table_is_refused(how: dict[str, Any], says: str) -> None:
    spec = Table("test/users", schema={**USERS.schema, "tags": "list<int>"})
    with pytest.raises(SpecError, match=says):
        Keyed(**how).check(spec)


def test_a_delete_needs_no_more_than_its_key() -> None:
    rows = pa.table({"id": pa.array([1], pa.int64()), "op": ["delete"]})
    assert resolved(rows, key=("id",), op="op").deletes.column("id").to_pylist() == [1]


def test_zero_and_minus_zero_are_one_key() -> None:
    keys = Keys(pa.table({"x": [0.0, 1.0]}))
    found = keys.find(pa.table({"x": [-0.0, float("nan"), None, 1.0]}))
    assert found.to_pylist() == [0, None, None, 1]


def test_no_changes_are_no_changes() -> None:
    empty = changes([]).select(ARROW.names)
    assert resolved(empty, key=("id",)).rows == 0
