"""Which partitions a question reaches, and what version of the data it sees."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.targets import WHOLE, CellState, Read, Version
from bowerbird.lake import day, parts
from bowerbird.lake.specs import Bucket, Transform

BY: dict[str, Transform] = {"at_day": day("at"), "user_bucket": Bucket("user", 4)}
DAY = 86_400_000_000

days = st.integers(0, 5).map(lambda n: f"at_day=1970-01-0{n + 1}") | st.just("at_day=null")
buckets = st.integers(0, 3).map(lambda n: f"user_bucket={n}")
cell = days | buckets | st.tuples(days, buckets).map("/".join) | st.just(WHOLE) | st.just("#burnt")
times = st.none() | st.integers(-1, 13).map(lambda half: half * DAY // 2)


@given(
    cells=st.dictionaries(cell, st.sampled_from("vwxyz"), max_size=12),
    told=st.dictionaries(cell, st.tuples(st.integers(0, 3), st.integers(3, 6)), max_size=3),
    fields=st.dictionaries(st.just("user_bucket"), st.sampled_from("0123"))
    | st.fixed_dictionaries({"at_day": st.just("1970-01-02")}),
    column=st.sampled_from(["at", ""]),
    between=st.tuples(times, times),
    pinned=st.sampled_from([None, "p"]),
)
def test_the_data_of_a_part_is_that_of_every_cell_compared(
    cells: dict[str, str],
    told: dict[str, tuple[int, int]],
    fields: dict[str, str],
    column: str,
    between: tuple[int | None, int | None],
    pinned: str | None,
) -> None:
    states = {name: CellState(meaning="m", data=data) for name, data in cells.items()}
    now = Read(Version("1"), states, pinned)
    known = {name: (start * DAY, end * DAY) for name, (start, end) in told.items()}
    plain = parts.data_of(now, BY, fields, column, between, known)
    lying = parts.Lying(now, BY, column, known)
    assert lying.data(fields, between) == plain
    assert lying.data(fields, between) == plain
