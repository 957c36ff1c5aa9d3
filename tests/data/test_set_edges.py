"""The rare shapes of a set: giants, long lists, keys of two columns, kept features, examples."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import UserError
from bowerbird.core.steps import Home
from bowerbird.data.features.columns import Count
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples import Position, batches, plan_set
from bowerbird.data.samples.arrays import NULL, joint_codes, ranges_of, taken
from bowerbird.data.samples.labels import Reward
from bowerbird.data.samples.sides import Earlier, only, open_group
from bowerbird.data.samples.specs import Beside, Examples, SequenceOf, TrainingSet
from bowerbird.lake import Lake, Table, bucket
from tests.data.world import HOUR, commit, home_in, small_shop, the_set, times


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_in(str(tmp_path))


def rows_of(found: Iterator[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in found for row in batch.to_pylist()]


def log_of(users: Any, hours: Any, **more: Any) -> pa.Table:
    return pa.table({"user": users, "at": times(hours), **more})


LOG = Table(
    "test/log",
    schema={"user": "long", "at": "timestamptz", "item": "long"},
    partition=(bucket("user", 4),),
    sort=("user", "at"),
)


@pytest.mark.slow
def test_an_entity_with_a_million_events_is_one_of_many(home: Home) -> None:
    count = 1_000_000
    giant = log_of(np.full(count, 1), np.arange(count), item=np.arange(count))
    commit(Lake(home), LOG, giant)
    asked = Table(
        "test/asked", schema={"user": "long", "at": "timestamptz"}, partition=(bucket("user", 4),)
    )
    hours = [0, 3, 999_999.5, 5]
    commit(Lake(home), asked, log_of([1, 1, 1, 2], hours))
    n = FeatureGroup("test/n", source=LOG, key=("user",), columns={"n": Count()})
    spec = TrainingSet(
        "test/giant",
        rows=asked,
        entity="user",
        features=(n,),
        sequences={"past": SequenceOf(LOG, ("item",), last=3)},
    )
    plan = plan_set(Lake(home), spec, {str(n.ref): n})
    found = {(row["user"], row["n__n"]): row["past__item"] for row in rows_of(batches(home, plan))}
    assert found == {
        (1, 0): [],
        (1, 3): [0, 1, 2],
        (1, count): [count - 3, count - 2, count - 1],
        (2, 0): [],
    }


def test_sequences_have_64_bit_offsets_and_never_overflow() -> None:
    """Where 32 bits would: 2^31 values are too many for a test, their offsets are not."""
    rows = pa.table({"x": pa.array([1, 2, 3], pa.int8())})
    found = Earlier(rows, np.array([0, 1]), np.array([2, 3])).gather(np.array([1, 0]))
    assert found["x"].type == pa.large_list(pa.int8())
    assert found["x"].to_pylist() == [[2, 3], [1, 2]]


VALUES = (
    pa.array([1, None, 3, 4, 5, 6, 7, 8, 9], pa.int8()),
    pa.array([str(n) if n % 3 else None for n in range(9)]),
    pa.array([bytes([n, n]) for n in range(9)], pa.binary(2)),
    pa.array([n % 2 == 0 for n in range(9)]),
    pa.array([[n] * n for n in range(9)]),
    pa.array([{"a": n} for n in range(9)]),
    pa.array(["a", "b", "a", None, "c", "b", "a", "a", "c"]).dictionary_encode(),
)


@given(
    values=st.sampled_from(VALUES),
    cut=st.integers(0, 3),
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=9),
    places=st.lists(st.integers(0, 8), max_size=12),
    long=st.sampled_from([0, 10**9]),
)
def test_long_ranges_and_short_ones_are_the_same_values(
    values: pa.Array, cut: int, pairs: list[tuple[int, int]], places: list[int], long: int
) -> None:
    values = values.slice(cut)
    start = np.array([min(pair) for pair in pairs], dtype=np.int64)
    end = np.array([max(pair) for pair in pairs], dtype=np.int64)
    lists = [values[a:b].to_pylist() for a, b in zip(start.tolist(), end.tolist(), strict=True)]
    found = ranges_of(values, start, end, long)
    assert found.type == values.type
    assert found.to_pylist() == list(itertools.chain(*lists))
    for kind in (pa.large_list(values.type), pa.list_(values.type)):
        many = pa.array(lists, kind).slice(min(cut, len(lists)))
        some = np.array([place % len(many) for place in places if len(many)], dtype=np.int64)
        assert taken(many, some, long).equals(many.take(pa.array(some)))


def test_rows_without_any_table_beside_them_are_a_set(home: Home) -> None:
    commit(Lake(home), LOG, log_of([1, 2, 3], [1, 2, 3], item=[4, 5, 6]))
    plan = plan_set(Lake(home), TrainingSet("test/plain", rows=LOG, entity="user"))
    assert len(rows_of(batches(home, plan))) == 3


def test_a_table_without_buckets_is_one_bucket(home: Home) -> None:
    flat = Table("test/flat", schema={"user": "long", "at": "timestamptz", "item": "long"})
    commit(Lake(home), flat, log_of([1, 2, 3], [1, 2, 3], item=[4, 5, 6]))
    commit(Lake(home), LOG, log_of([1, 3], [0, 0], item=[7, 8]))
    spec = TrainingSet(
        "test/flat",
        rows=flat,
        entity="user",
        sequences={"past": SequenceOf(LOG, ("item",), last=5)},
    )
    plan = plan_set(Lake(home), spec)
    assert plan.count == 1
    assert {r["user"]: r["past__item"] for r in rows_of(batches(home, plan))} == {
        1: [7],
        2: [],
        3: [8],
    }


def test_the_last_known_row_is_put_beside_and_a_later_one_is_not(home: Home) -> None:
    commit(Lake(home), LOG, log_of([1, 1, 1], [5, 10, 15], item=[0, 0, 0]))
    tiers = Table("test/tiers", schema={"user": "long", "since": "timestamptz", "tier": "string"})
    rows = {"user": [1, 1], "since": times([5, 12]), "tier": ["new", "gold"]}
    commit(Lake(home), tiers, pa.table(rows))

    def tiers_of(known: str) -> list[str | None]:
        beside = Beside(tiers, at="since", known=known)
        plan = plan_set(
            Lake(home), TrainingSet("test/t", rows=LOG, entity="user", features=(beside,))
        )
        found = {row["at"]: row["tiers__tier"] for row in rows_of(batches(home, plan))}
        return [found[at] for at in sorted(found)]

    assert tiers_of("before") == [None, "new", "gold"]
    assert tiers_of("at") == ["new", "new", "gold"]


def test_the_kept_table_of_a_group_says_what_the_group_says_at_its_moments(home: Home) -> None:
    """Computed while read, and read from the table that is kept of it: one line apart."""
    group = FeatureGroup("test/n", source=LOG, key=("user",), columns={"n": Count()}, every="5h")
    commit(Lake(home), LOG, log_of([1, 1, 2, 2, 2], [1, 7, 2, 3, 11], item=[0] * 5))
    kept = Table("test/n_kept", schema={"user": "long", "at": "timestamptz", "n": "double"})
    moments = {"user": [1, 1, 1, 2, 2, 2], "at": times([5, 10, 15] * 2), "n": [1.0, 2, 2, 2, 2, 3]}
    commit(Lake(home), kept, pa.table(moments))
    asked = Table("test/asked", schema={"user": "long", "at": "timestamptz"})
    commit(Lake(home), asked, log_of([1, 1, 2, 2], [5, 10, 10, 15]))

    def counts(feature: Any) -> set[tuple[int, Any, float]]:
        spec = TrainingSet("test/s", rows=asked, entity="user", features=(feature,))
        plan = plan_set(Lake(home), spec, {str(group.ref): group})
        return {(r["user"], r["at"], r["n__n"]) for r in rows_of(batches(home, plan))}

    assert counts(group) == counts(Beside(kept, at="at", known="at", name="n"))


def test_a_group_without_columns_is_not_read_as_one_with_none(home: Home) -> None:
    commit(Lake(home), LOG, log_of([1], [1], item=[0]))
    group = FeatureGroup("test/n", source=LOG, key=("user",), columns={})
    spec = TrainingSet("test/s", rows=LOG, entity="user", features=(group,))
    with pytest.raises(UserError, match=r"feature_group:test/n: .*nothing to compute is given"):
        plan_set(Lake(home), spec, {str(group.ref): group})


def test_rows_that_a_function_made_are_rows(home: Home) -> None:
    """A set over the table of `Examples`, which lies under their own ref."""
    examples = Examples("test/pairs", tables={"log": LOG}, function="tests.data.world:commit")
    assert examples.refs() == {"tables.log": "table:test/log"}
    made = Table("test/pairs__examples", schema={"user": "long", "at": "timestamptz", "y": "int"})
    spec = TrainingSet("test/s", rows=examples, entity="user", labels={"label": Reward({"y": 1})})
    assert spec.rows == "examples:test/pairs"
    rows = log_of([1, 2], [1, 2], y=pa.array([0, 1], pa.int32()))
    from bowerbird.core.clock import SystemClock
    from bowerbird.core.targets import Change, LogTarget, Token
    from bowerbird.lake import TableLog, write

    layout = Table("test/pairs", schema=made.schema)
    log = TableLog(Lake(home), spec.rows)
    written = write(Lake(home), layout, rows, log.files(Token("r/s"), "a"), spec.rows)
    LogTarget(log, SystemClock()).commit(Token("r/s"), None, Change("a", payload=written))
    found = rows_of(batches(home, plan_set(Lake(home), spec)))
    assert sorted((row["user"], row["label"]) for row in found) == [(1, 0.0), (2, 1.0)]


@pytest.mark.slow
def test_another_seed_is_another_order_and_the_same_one_the_same(tmp_path: Path) -> None:
    home = small_shop(str(tmp_path))
    from tests.data.world import SPECS

    plan = plan_set(Lake(home), the_set(), SPECS)
    orders = [rows_of(batches(home, plan, seed=seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    later = rows_of(batches(home, plan, seed=1, position=Position(epoch=3)))
    assert later != orders[0]


# -- keys ----------------------------------------------------------------------------------------

KEY = st.tuples(st.none() | st.integers(0, 3), st.none() | st.sampled_from(["a", "b"]))


def columns(keys: list[Any]) -> list[pa.Array]:
    return [
        pa.array([key[0] for key in keys], pa.int64()),
        pa.array([key[1] for key in keys], pa.string()),
    ]


@given(st.lists(KEY, max_size=12), st.lists(KEY, max_size=12))
def test_keys_have_one_code_exactly_if_they_are_equal(left: list[Any], right: list[Any]) -> None:
    one, two = joint_codes([columns(left), columns(right)])
    codes, keys = [*one.tolist(), *two.tolist()], [*left, *right]
    for a, first in zip(codes, keys, strict=True):
        assert (a == NULL) == (None in first)
        for b, second in zip(codes, keys, strict=True):
            assert (a == b) == (first == second) or NULL in (a, b)


@given(
    st.lists(st.integers(-1, 5), max_size=9), st.lists(st.integers(-1, 5), unique=True, max_size=7)
)
def test_the_only_row_of_a_key_is_found_as_by_looking(asked: list[int], known: list[int]) -> None:
    found = only(np.array(asked, np.int64), np.array(known, np.int64), "t", "k").tolist()
    assert found == [known.index(k) if k in known and k != NULL else -1 for k in asked]


def test_events_without_a_time_or_a_key_belong_to_nobody() -> None:
    group = FeatureGroup("test/n", source="table:test/log", key=("user",), columns={"n": Count()})
    events = log_of(pa.array([1, None, 1], pa.int64()), [1, 1, None], item=[0, 0, 0])
    asked = pa.table({"user": [1, 2], "at": times([2, 2])})
    assert open_group(group, events).answer(asked).to_pydict() == {"n": [1, 0]}
    assert HOUR == 3_600_000_000
