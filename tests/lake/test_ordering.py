"""Sorting rows and merging sorted streams, held to the plain way: Python's sort of all rows."""

from __future__ import annotations

import math

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.lake.ordering import is_sorted, keys, merged, ordered

NAN = float("nan")
rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([2**62, -(2**62)])),
        st.one_of(st.none(), st.sampled_from([0.0, -1.5, 2.0, NAN, math.inf])),
        st.one_of(st.none(), st.sampled_from(["", "a", "b", "é", "\U0001f99c"])),
    ),
    max_size=30,
)
orders = st.sampled_from([("n",), ("n", "f"), ("s", "n"), ("f", "s", "n")])


def table(found: list[tuple[object, ...]], stream: int = 0, first: int = 0) -> pa.Table:
    columns = list(zip(*found, strict=True)) if found else [(), (), ()]
    names = dict(zip(("n", "f", "s"), columns, strict=True))
    made = pa.table(
        {
            "n": pa.array(names["n"], pa.int64()),
            "f": pa.array(names["f"], pa.float64()),
            "s": pa.array(names["s"], pa.string()),
        }
    )
    came = pa.array([f"{stream}/{first + place:04d}" for place in range(len(found))], pa.string())
    return made.append_column("came", came)


def plain(rows: pa.Table, by: tuple[str, ...]) -> list[str]:
    """The plain way: which row comes where, by Python's own stable sort."""
    key = keys(rows.combine_chunks(), by)
    places = sorted(range(rows.num_rows), key=key)
    return [rows["came"][place].as_py() for place in places]


@given(rows, orders)
def test_rows_are_sorted_as_python_sorts_them(found: list, by: tuple[str, ...]) -> None:
    made = table(found)
    assert ordered(made, by)["came"].to_pylist() == plain(made, by)


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(0, 5)), max_size=40))
def test_integers_that_fit_into_one_sort_as_columns_do(found: list) -> None:
    made = table([(a, None, None) for a, _ in found])
    made = made.append_column("m", pa.array([b for _, b in found], pa.int32()))
    assert ordered(made, ("m", "n"))["came"].to_pylist() == plain(made, ("m", "n"))


@given(st.lists(rows, max_size=4), orders, st.integers(1, 7))
def test_merged_streams_are_what_sorting_all_of_them_gives(
    streams: list[list], by: tuple[str, ...], block: int
) -> None:
    tables = [ordered(table(found, stream), by) for stream, found in enumerate(streams)]
    cut = [[one.slice(at, block) for at in range(0, one.num_rows, block)] for one in tables]
    together = list(merged(cut, by))
    assert all(part.num_rows for part in together)
    found = pa.concat_tables([table([]), *together])
    assert found["came"].to_pylist() == plain(pa.concat_tables([table([]), *tables]), by)


@given(rows, orders)
def test_whether_rows_are_in_order_is_seen(found: list, by: tuple[str, ...]) -> None:
    made = table(found)
    in_order = plain(made, by) == made["came"].to_pylist()
    assert is_sorted(made, by) == in_order
