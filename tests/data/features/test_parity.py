"""A declared column has the same values wherever it is computed: plain loops, arrays, DuckDB."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.core.engine import Task
from bowerbird.data.features import sql
from bowerbird.data.features.columns import (
    MICROSECONDS,
    Age,
    By,
    Column,
    Count,
    Decayed,
    Distinct,
    First,
    Interval,
    Last,
    Max,
    Mean,
    Min,
    Occasions,
    Ratio,
    Since,
    Sum,
)
from bowerbird.data.features.compute import compute
from bowerbird.data.features.events import events_of, values
from bowerbird.data.features.reference import reference
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.engines import EngineKind, open_engine

HALF_DAY = MICROSECONDS["d"] // 2
WINDOWS = (None, "1d", "36h", "4d")


def kinds(over: str | None) -> dict[str, Column]:
    """Every kind that has a window, over fields of whole numbers, fractions, texts and times."""
    return {
        "count": Count(over),
        "count_of": Count(over, "amount"),
        "occasions": Occasions(over),
        "sum_whole": Sum("units", over),
        "sum": Sum("amount", over),
        "sum_truth": Sum("paid", over),
        "mean": Mean("amount", over),
        "min": Min("units", over),
        "max": Max("amount", over),
        "latest": Max("due", over),
        "distinct": Distinct("shop", over),
        "distinct_whole": Distinct("units", over),
        "last": Last("shop", over=over),
        "last_3": Last("shop", n=3, over=over),
        "last_numbers": Last("units", n=2, over=over),
        "by_sum": By(Sum("units", over), by="shop"),
        "by_count": By(Count(over), by="shop"),
        "by_mean": By(Mean("amount", over), by="units"),
        "by_min": By(Min("amount", over), by="shop"),
        "by_distinct": By(Distinct("units", over), by="shop"),
    }


ALWAYS: dict[str, Column] = {
    "first": First("shop"),
    "first_amount": First("amount"),
    "since": Since(),
    "age": Age(),
    "interval": Interval(),
    "decayed": Decayed("2d"),
    "decayed_amount": Decayed("36h", field="amount"),
    "ratio": Ratio(Sum("units", over="1d"), Count()),
    "ratio_of_means": Ratio(Mean("amount"), Max("units")),
}
EVERY = ALWAYS | {f"{n}_{over or 'ever'}": c for over in WINDOWS for n, c in kinds(over).items()}

TYPES = {
    "user": pa.int64(),
    "place": pa.string(),
    "at": pa.timestamp("us", "UTC"),
    "units": pa.int32(),
    "amount": pa.float64(),
    "paid": pa.bool_(),
    "shop": pa.string(),
    "due": pa.date32(),
}


def rows_of(events: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*events, strict=True)) if events else [()] * len(TYPES)
    arrays = [
        pa.array([v if v is None else int(v) * HALF_DAY for v in c] if n == "at" else list(c), t)
        for (n, t), c in zip(TYPES.items(), columns, strict=True)
    ]
    return pa.table(arrays, list(TYPES))


def asked_of(questions: list[tuple[Any, ...]]) -> pa.Table:
    users, places, at = zip(*questions, strict=True)
    return pa.table(
        {
            "user": pa.array(users, pa.int64()),
            "place": pa.array(places, pa.string()),
            "at": pa.array([a * HALF_DAY for a in at], pa.timestamp("us", "UTC")),
        }
    )


def plain(columns: dict[str, Column], rows: pa.Table, asked: pa.Table) -> list[dict[str, Any]]:
    """`reference`, fed from Arrow."""
    moments = rows["at"].cast(pa.int64()).to_pylist()
    days = rows["due"].cast(pa.int32()).to_pylist()
    events = [
        ((row["user"], row["place"]), {**row, "at": at, "due": day})
        for row, at, day in zip(rows.to_pylist(), moments, days, strict=True)
        if at is not None
    ]
    when = asked["at"].cast(pa.int64()).to_pylist()
    questions = [
        ((row["user"], row["place"]), at) for row, at in zip(asked.to_pylist(), when, strict=True)
    ]
    return reference(columns, events, questions)


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, (float, int)):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return type(one) is type(other) and bool(one == other)


def answers(columns: dict[str, Column], table: pa.Table) -> list[dict[str, Any]]:
    for name in columns:
        if pa.types.is_date(table.schema.field(name).type):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table[name].cast(pa.int32()))
    return table.to_pylist()


def same(found: pa.Table, expected: list[dict[str, Any]], where: str) -> None:
    got = answers(EVERY, found)
    assert len(got) == len(expected)
    for row, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
        for name, value in theirs.items():
            wanted = list(value.items()) if isinstance(value, dict) else value
            assert alike(mine[name], wanted), (where, row, name, mine[name], wanted)


user = st.none() | st.integers(0, 2)
place = st.none() | st.sampled_from("ab")
amount = st.none() | st.sampled_from([float("nan"), float("inf"), 1e15, 0.1, -2.5, 0.0, 7.25])
event = st.tuples(
    user,
    place,
    st.none() | st.integers(0, 14),
    st.none() | st.integers(-5, 5),
    amount,
    st.none() | st.booleans(),
    st.none() | st.sampled_from(["x", "y", "z"]),
    st.none() | st.integers(0, 40000),
)
question = st.tuples(user, place, st.integers(-1, 16))


@settings(max_examples=40, deadline=None)
@given(st.lists(event, max_size=30), st.lists(question, min_size=1, max_size=10))
def test_arrays_give_what_plain_loops_define(
    events: list[tuple[Any, ...]], questions: list[tuple[Any, ...]]
) -> None:
    rows, asked = rows_of(events), asked_of(questions)
    found = values(EVERY, events_of(rows, ["user", "place"], "at", EVERY), asked)
    same(found, plain(EVERY, rows, asked), "arrays")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(event, st.none() | st.integers(0, 14)), max_size=20),
    st.lists(question, min_size=1, max_size=6),
)
def test_an_event_counts_from_when_it_could_be_read(
    events: list[tuple[tuple[Any, ...], int | None]], questions: list[tuple[Any, ...]]
) -> None:
    columns: dict[str, Column] = {"n": Count(), "n_1d": Count("1d"), "last": Last("units", n=2)}
    rows, asked = rows_of([one for one, _ in events]), asked_of(questions)
    known = pa.array(
        [None if k is None else k * HALF_DAY for _, k in events], pa.timestamp("us", "UTC")
    )
    later = [
        (*one[:2], None if None in (one[2], k) else max(one[2], k), *one[3:]) for one, k in events
    ]
    expected = plain(columns, rows_of(later), asked)
    rows = rows.append_column("read_at", known)
    ready = events_of(rows, ["user", "place"], "at", columns, "read_at")
    assert values(columns, ready, asked).to_pylist() == expected
    by_sql = sql.run(columns, ["user", "place"], "at", rows, asked, known_at="read_at")
    assert by_sql.to_pylist() == expected


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(event, max_size=20), st.lists(question, min_size=1, max_size=6))
def test_duckdb_gives_what_plain_loops_define(
    events: list[tuple[Any, ...]], questions: list[tuple[Any, ...]]
) -> None:
    rows, asked = rows_of(events), asked_of(questions)
    found = sql.run(EVERY, ["user", "place"], "at", rows, asked)
    same(found, plain(EVERY, rows, asked), "duckdb")


@settings(max_examples=20, deadline=None)
@given(st.lists(event, max_size=30), st.lists(question, min_size=1, max_size=4))
def test_a_single_request_gives_what_plain_loops_define(
    events: list[tuple[Any, ...]], questions: list[tuple[Any, ...]]
) -> None:
    """Online: the events of one key, as a store holds them, and one moment."""
    rows, group = rows_of(events), group_of(EVERY)
    found = []
    for one in questions:
        own = [event for event in events if event[:2] == one[:2]]
        found.append(compute(group, rows_of(own), asked_of([one]), "online"))
    same(pa.concat_tables(found), plain(EVERY, rows, asked_of(questions)), "online")


@pytest.mark.slow
def test_ray_gives_what_plain_loops_define() -> None:
    rows, asked = drawn(4), asked_of([(u, p, t) for u in (0, 1) for p in "ab" for t in (3, 9, 15)])
    asked_tasks = [
        Task(
            f"{n}", "bowerbird.data.features.compute:compute", (group_of(EVERY), rows, some, "ray")
        )
        for n, some in enumerate((asked.slice(0, 5), asked.slice(5)))
    ]
    engine = open_engine(EngineKind.RAY, workers=2, paths=())
    try:
        ended = {outcome.key: outcome.result() for outcome in engine.run(asked_tasks)}
    finally:
        engine.close()
    same(pa.concat_tables([ended["0"], ended["1"]]), plain(EVERY, rows, asked), "ray")


def group_of(columns: dict[str, Column]) -> FeatureGroup:
    return FeatureGroup("shop/all", source="table:shop/x", key=("user", "place"), columns=columns)


def drawn(seed: int, count: int = 60) -> pa.Table:
    """Events with a null here and there."""
    random = np.random.default_rng(seed)

    def pick(values: list[Any]) -> Any:
        return values[random.integers(0, len(values))]

    return rows_of(
        [
            (
                pick([0, 1, None]),
                pick(["a", "b"]),
                pick([*range(15), None]),
                pick([-3, 1, 4, None]),
                pick([0.5, float("nan"), 2.25, None, -1.0]),
                pick([True, False, None]),
                pick(["x", "y", None]),
                pick([3, 400, None]),
            )
            for _ in range(count)
        ]
    )
