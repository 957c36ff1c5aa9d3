"""Windows folded from tiles are what they are from events."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.data.features.columns import (
    DAY,
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
    Windowed,
    duration,
)
from bowerbird.data.features.events import events_of, values
from bowerbird.data.features.keys import distinct
from bowerbird.data.features.tiles import (
    HOUR,
    Grain,
    accumulators,
    by_of,
    cover,
    distinct_error,
    fold,
    grains_of,
    roll,
    rolls,
    spans,
    tile,
)
from bowerbird.lake.parts import EPOCH
from tests.data.features.test_parity import alike, event, rows_of

KEY = ["user", "place"]
WINDOWS = (None, "1d", "3d", "1w")


def kinds(over: str | None) -> dict[str, Column]:
    return {
        "count": Count(over),
        "count_of": Count(over, "amount"),
        "occasions": Occasions(over),
        "whole": Sum("units", over),
        "sum": Sum("amount", over),
        "mean": Mean("amount", over),
        "min": Min("units", over),
        "max": Max("amount", over),
        "due": Max("due", over),
        "distinct": Distinct("shop", over),
        "distinct_amount": Distinct("amount", over),
        "last": Last("shop", over=over),
        "last_3": Last("units", n=3, over=over),
        "last_2": Last("units", n=2, over=over),
    }


EVERY: dict[str, Column] = {
    "first": First("shop"),
    "since": Since(),
    "age": Age(),
    "interval": Interval(),
    "decayed": Decayed("2d"),
    "decayed_amount": Decayed("36h", field="amount"),
    "ratio": Ratio(Sum("units", over="1d"), Count()),
} | {f"{n}_{over or 'ever'}": c for over in WINDOWS for n, c in kinds(over).items()}


def tiled(columns: dict[str, Column], rows: pa.Table, wanted: list[Any]) -> pa.Table:
    kept, by = accumulators(columns), by_of(columns) or ""
    return pa.concat_tables([tile(kept, rows, KEY, "at", span, by=by) for span in wanted])


def within(tiles: pa.Table, moment: int) -> Callable[[str | None], pa.Table]:
    """The tiles of each window before a moment."""
    start = tiles["start"].cast(pa.int64()).to_numpy()

    def of(over: str | None) -> pa.Table:
        return tiles.filter(pa.array(start >= (moment - duration(over) if over else 0)))

    return of


def by(field: str) -> dict[str, Column]:
    """Columns by a second key, and beside them all that tiles so split make up."""
    inner = {
        f"{name}_{over}": column
        for over in WINDOWS
        for name, column in kinds(over).items()
        if isinstance(column, Windowed) and not getattr(column, "n", None)
    }
    return (
        {f"{name}_by": By(column, field) for name, column in inner.items()}
        | {
            f"{name}_{over}": column
            for over in WINDOWS
            for name, column in kinds(over).items()
            if isinstance(column, (Count, Sum, Mean, Min, Max))
        }
        | {"since": Since(), "age": Age(), "ratio": Ratio(Sum("units", "1d"), Count())}
    )


@settings(max_examples=60)
@given(
    st.sampled_from([EVERY, by("shop"), by("units"), by("amount"), by("due")]),
    st.lists(event, max_size=30),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab")), min_size=1, max_size=5),
    st.integers(1, 10),
)
def test_a_window_of_days_is_what_it_is_from_events(
    columns: dict[str, Column], drawn: list[tuple[Any, ...]], keys: list[tuple[int, str]], day: int
) -> None:
    rows = rows_of(drawn)
    types = {field.name: field.type for field in rows.schema}
    users, places = zip(*keys, strict=True)
    asked = pa.table(
        {
            "user": pa.array(users, pa.int64()),
            "place": pa.array(places),
            "at": pa.array([day * DAY] * len(keys), pa.timestamp("us", "UTC")),
        }
    )
    tiles = tiled(columns, rows, list(spans(Grain.DAY, 0, day * DAY)))
    found = fold(columns, within(tiles, day * DAY), KEY, types, asked, day * DAY)
    expected = values(columns, events_of(rows, KEY, "at", columns), asked)
    for name in columns:
        mine, theirs = found[name].to_pylist(), expected[name].to_pylist()
        assert found.schema.field(name).type == expected.schema.field(name).type, name
        assert all(map(alike, mine, theirs)), (name, mine, theirs)


def test_months_weeks_and_days_make_up_a_year() -> None:
    start = 17 * DAY + 365 * 40 * DAY
    found = cover(tuple(Grain), start, start + 365 * DAY)
    assert found[0].start == start
    assert found[-1].end == start + 365 * DAY
    assert all(one.end == other.start for one, other in itertools.pairwise(found))
    assert len([span for span in found if span.grain is Grain.MONTH]) == 11
    assert len(found) < 11 + 2 * 15


def test_a_week_begins_on_monday() -> None:
    for span in spans(Grain.WEEK, 0, 1000 * DAY):
        assert (EPOCH + timedelta(microseconds=span.start)).weekday() == 0
        assert span.end - span.start == 7 * DAY


@given(st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 3))
def test_a_cover_leaves_no_gap_and_overlaps_nowhere(first: int, hours: int, skip: int) -> None:
    start, end = first * HOUR, (first + hours) * HOUR
    edges = [start]
    for span in cover(tuple(Grain)[skip:], start, end):
        assert span.start == edges[-1]
        edges.append(span.end)
    assert edges[-1] == end


@pytest.mark.parametrize(
    ("columns", "every", "grains"),
    [
        ({"n": Count("7d")}, "1d", "day"),
        ({"n": Count("30d")}, "1d", "week day"),
        ({"n": Count("30d"), "m": Count("90d")}, "1d", "month week day"),
        ({"n": Count("30d"), "m": Sum("x", "6h")}, "1d", "week day hour"),
        ({"n": Count("30d")}, "1h", "week day hour"),
        ({"n": Count("6h")}, "1h", "hour"),
        ({"n": Count("45m")}, "1d", ""),
        ({"n": By(Count("30d"), "shop")}, "1d", "week day"),
        ({"n": By(Count("30d"), "shop"), "m": By(Count("3d"), "till")}, "1d", ""),
        ({"n": By(Count("30d"), "shop"), "last": Last("shop")}, "1d", ""),
        ({"n": Count()}, "1w", "month week day"),
    ],
)
def test_grains_make_up_every_window_and_are_worth_it(
    columns: dict[str, Column], every: str, grains: str
) -> None:
    assert " ".join(grains_of(columns, every)) == grains


def test_windows_of_hours_are_made_of_hours() -> None:
    columns: dict[str, Column] = {"n": Count("6h"), "s": Sum("x", "1d")}
    random = np.random.default_rng(0)
    rows = pa.table(
        {
            "user": random.integers(0, 3, 500),
            "at": pa.array(random.integers(0, 3 * DAY, 500), pa.timestamp("us", "UTC")),
            "x": random.integers(0, 9, 500),
        }
    )
    moment = 2 * DAY + 7 * HOUR
    asked = pa.table({"user": [0, 1, 2], "at": pa.array([moment] * 3, pa.timestamp("us", "UTC"))})
    kept = accumulators(columns)
    wanted = spans(Grain.HOUR, moment - DAY, moment)
    tiles = pa.concat_tables([tile(kept, rows, ["user"], "at", span) for span in wanted])
    types = {field.name: field.type for field in rows.schema}
    found = fold(columns, within(tiles, moment), ["user"], types, asked, moment)
    expected = values(columns, events_of(rows, ["user"], "at", columns), asked)
    assert found.to_pylist() == expected.to_pylist()


def test_sketches_count_within_the_error_that_is_stated() -> None:
    columns: dict[str, Column] = {
        "sketched": Distinct("item", "30d", sketch=12),
        "exact": Distinct("item", "30d"),
    }
    random = np.random.default_rng(3)
    rows = pa.table(
        {
            "user": random.integers(0, 20, 40_000),
            "at": pa.array(random.integers(0, 30 * DAY, 40_000), pa.timestamp("us", "UTC")),
            "item": random.integers(0, 3000, 40_000),
        }
    )
    asked = pa.table(
        {"user": np.arange(20), "at": pa.array([30 * DAY] * 20, pa.timestamp("us", "UTC"))}
    )
    kept = accumulators(columns)
    wanted = spans(Grain.DAY, 0, 30 * DAY)
    tiles = pa.concat_tables([tile(kept, rows, ["user"], "at", span) for span in wanted])
    types = {field.name: field.type for field in rows.schema}
    found = fold(columns, within(tiles, 30 * DAY), ["user"], types, asked, 30 * DAY)
    exact, sketched = found["exact"].to_numpy(), found["sketched"].to_numpy()
    assert (exact > 1000).all()
    assert np.sqrt(np.mean((sketched / exact - 1) ** 2)) < 1.5 * distinct_error(12)


def test_tiles_of_an_event_that_came_late_are_those_of_when_it_could_be_read() -> None:
    columns: dict[str, Column] = {"n": Count("1d")}
    rows = pa.table(
        {
            "user": [1],
            "at": pa.array([DAY // 2], pa.timestamp("us", "UTC")),
            "read_at": pa.array([3 * DAY + 5], pa.timestamp("us", "UTC")),
        }
    )
    made = [
        tile(accumulators(columns), rows, ["user"], "at", span, "read_at").num_rows
        for span in spans(Grain.DAY, 0, 5 * DAY)
    ]
    assert made == [0, 0, 0, 1, 0]


@settings(max_examples=40)
@given(
    st.lists(event, max_size=30),
    st.integers(2, 10),
)
def test_a_moment_rolled_on_from_the_one_before_is_what_its_tiles_give(
    drawn: list[tuple[Any, ...]], day: int
) -> None:
    columns: dict[str, Column] = {
        "n": Count("3d"),
        "of": Count("3d", "amount"),
        "short": Count("1d"),
        "sum": Sum("units", "2d"),
        "trips": Occasions("3d"),
    }
    rows = rows_of(drawn)
    types = {field.name: field.type for field in rows.schema}
    assert rolls(columns, types)
    days = tiled(columns, rows, list(spans(Grain.DAY, 0, day * DAY)))
    start = days["start"].cast(pa.int64()).to_numpy()

    def between(low: int, high: int) -> pa.Table:
        return days.filter(pa.array((start >= low * DAY) & (start < high * DAY)))

    def at(moment: int) -> pa.Table:
        of = {w: between(moment - int(w[0]), moment) for w in ("3d", "2d", "1d")}
        keys = distinct(of["3d"], KEY)
        found = fold(columns, lambda over: of[str(over)], KEY, types, keys, moment * DAY)
        return pa.table([*keys.columns, *found.columns], names=[*KEY, *found.column_names])

    gone = {w: between(day - 1 - int(w[0]), day - int(w[0])) for w in ("3d", "2d", "1d")}
    rolled = roll(columns, at(day - 1), between(day - 1, day), gone, KEY)
    order = [(name, "ascending") for name in KEY]
    assert rolled.sort_by(order).to_pylist() == at(day).sort_by(order).to_pylist()


def test_only_whole_numbers_with_a_count_of_the_longest_window_roll() -> None:
    types = {"units": pa.int32(), "amount": pa.float64()}
    assert rolls({"n": Count("3d"), "s": Sum("units", "2d")}, types)
    assert rolls({"n": Count(), "s": Sum("units", "2d")}, types)
    assert not rolls({"n": Count("2d"), "s": Sum("units", "3d")}, types)
    assert not rolls({"n": Count("3d"), "s": Sum("amount", "2d")}, types)
    assert not rolls({"n": Count("3d"), "s": Max("units", "2d")}, types)
