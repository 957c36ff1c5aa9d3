"""Groups by SQL and by functions, alignments, and the audit that no leak passes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.core.errors import SpecError, UserError
from bowerbird.data.features.alignment import (
    DayBoundary,
    Latest,
    PointInTime,
    moments,
    problem_of,
    reach,
)
from bowerbird.data.features.columns import DAY, Count, Last, Sum
from bowerbird.data.features.compute import compute, with_lookup
from bowerbird.data.features.leakage import audit
from bowerbird.data.features.specs import FeatureGroup

HOUR = DAY // 24


def group(**fields: Any) -> FeatureGroup:
    found = FeatureGroup(
        "shop/spend", source="table:shop/purchases", key=("user",), owner="team:x", **fields
    )
    found.check()
    return found


def events(count: int = 400, seed: int = 1) -> pa.Table:
    random = np.random.default_rng(seed)
    at = np.sort(random.integers(0, 60 * DAY, count))
    return pa.table(
        {
            "user": random.integers(0, 5, count),
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "read_at": pa.array(at + random.integers(0, 3 * DAY, count), pa.timestamp("us", "UTC")),
            "amount": random.integers(1, 9, count),
        }
    )


def asked(count: int = 80, seed: int = 2) -> pa.Table:
    random = np.random.default_rng(seed)
    at = random.integers(10 * DAY, 50 * DAY, count)
    return pa.table(
        {"user": random.integers(0, 6, count), "at": pa.array(at, pa.timestamp("us", "UTC"))}
    )


BY_COLUMNS = {"week": Sum("amount", over="7d"), "n": Count(), "last": Last("amount", n=3)}
BY_SQL = """
SELECT asked.row, coalesce(sum(e.amount), 0)::BIGINT AS week
FROM asked LEFT JOIN events e
  ON e."user" = asked."user" AND e."at" < asked."at" AND e."at" >= asked."at" - INTERVAL 7 DAY
GROUP BY asked.row
"""
READS_THE_FUTURE = BY_SQL.replace('e."at" < asked."at"', 'e."at" < asked."at" + INTERVAL 1 DAY')


def week(rows: pa.Table, questions: pa.Table) -> pa.Table:
    return compute(group(columns={"week": BY_COLUMNS["week"]}), rows, questions)


def week_and_to_come(rows: pa.Table, questions: pa.Table) -> pa.Table:
    """Planted: it looks two hours ahead."""
    later = pa.array(questions["at"].cast(pa.int64()).to_numpy() + 2 * HOUR)
    moved = questions.set_column(1, "at", later.cast(pa.timestamp("us", "UTC")))
    return week(rows, moved)


def half(rows: pa.Table, questions: pa.Table) -> pa.Table:
    return week(rows, questions).slice(0, 3)


def test_a_group_by_sql_and_one_by_a_function_give_what_columns_give() -> None:
    rows, questions = events(), asked()
    expected = compute(group(columns=BY_COLUMNS), rows, questions)["week"].to_pylist()
    by_sql = group(sql=BY_SQL, schema={"week": "long"})
    by_function = group(function=f"{__name__}:week", schema={"week": "long"})
    assert compute(by_sql, rows, questions)["week"].to_pylist() == expected
    assert compute(by_function, rows, questions)["week"].to_pylist() == expected


def test_columns_run_everywhere_and_the_others_say_where() -> None:
    assert group(columns=BY_COLUMNS).places == ("local", "ray", "duckdb", "online")
    assert group(sql=BY_SQL, schema={"week": "long"}).places == ("local", "ray", "duckdb")
    by_function = group(function=f"{__name__}:week", schema={"week": "long"})
    with pytest.raises(UserError, match="does not run in online") as refused:
        compute(by_function, events(), asked(), "online")
    assert "columns=" in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "nothing to compute"),
        ({"columns": BY_COLUMNS, "sql": BY_SQL}, "columns and sql are given"),
        ({"sql": BY_SQL}, "schema: what it gives"),
        ({"sql": BY_SQL, "schema": {"week": "longg"}}, "schema.week"),
        ({"sql": BY_SQL, "schema": {"week": "long"}, "runs": ("online",)}, "SQL does not run"),
        ({"columns": {"x": Sum("amount", over="0d")}}, "columns.x: not a duration"),
        ({"columns": {"x": Sum("amount", over="10000y")}}, "100 years"),
        ({"columns": {"user": Count()}}, "names a key"),
    ],
)
def test_a_group_that_cannot_be_computed_is_refused_by_name(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        group(**fields)


def test_sql_that_gives_other_rows_than_asked_is_refused() -> None:
    only_some = BY_SQL.replace("LEFT JOIN", "JOIN")
    with pytest.raises(UserError, match="rows came back for 80") as refused:
        compute(group(sql=only_some, schema={"week": "long"}), events(20), asked())
    assert "LEFT JOIN" in str(refused.value)


def test_sql_that_duckdb_does_not_understand_is_told_with_what_duckdb_says() -> None:
    with pytest.raises(UserError, match="feature_group:shop/spend: sql: DuckDB"):
        compute(group(sql="SELEC 1", schema={"week": "long"}), events(), asked())


def test_a_function_that_changes_the_row_count_is_refused() -> None:
    with pytest.raises(UserError, match="3 rows came back for 80"):
        compute(group(function=f"{__name__}:half", schema={"week": "long"}), events(), asked())


def test_a_key_of_another_type_is_named() -> None:
    texts = asked().set_column(0, "user", pa.array([str(i) for i in range(80)]))
    with pytest.raises(UserError, match="'user' is string where it is asked for, and int64"):
        compute(group(columns=BY_COLUMNS), events(), texts)


@pytest.mark.parametrize(
    "fields",
    [
        {"columns": BY_COLUMNS},
        {"sql": BY_SQL, "schema": {"week": "long"}},
        {"function": f"{__name__}:week", "schema": {"week": "long"}},
    ],
)
def test_an_honest_group_passes_the_audit(fields: dict[str, Any]) -> None:
    rows, questions = events(), asked()
    staged = compute(group(**fields), rows, questions)
    assert audit(group(**fields), rows, questions, staged, sample=20).clean


@pytest.mark.parametrize(
    "fields",
    [
        {"sql": READS_THE_FUTURE, "schema": {"week": "long"}},
        {"function": f"{__name__}:week_and_to_come", "schema": {"week": "long"}},
    ],
)
def test_a_group_that_reads_the_future_is_found(fields: dict[str, Any]) -> None:
    rows, questions = events(4000), asked()
    staged = compute(group(**fields), rows, questions)
    found = audit(group(**fields), rows, questions, staged, sample=30)
    assert found.leaks
    leak = found.leaks[0]
    assert "week of user=" in str(leak)
    assert "without its future" in str(leak)
    assert leak.found > leak.blind


def test_events_that_could_not_be_read_yet_are_a_leak_too() -> None:
    rows, questions = events(4000), asked()
    staged = compute(group(columns=BY_COLUMNS), rows, questions)
    assert audit(group(columns=BY_COLUMNS), rows, questions, staged).clean
    known = group(columns=BY_COLUMNS, known_at="read_at")
    assert not audit(known, rows, questions, staged).clean
    assert audit(known, rows, questions, compute(known, rows, questions)).clean


def test_a_table_that_somebody_else_made_is_audited_the_same_way() -> None:
    rows, questions = events(), asked()
    staged = compute(group(columns=BY_COLUMNS), rows, questions)
    shifted = staged.set_column(1, "n", pa.array(np.asarray(staged["n"]) + 1))
    found = audit(group(columns=BY_COLUMNS), rows, questions, shifted)
    assert {leak.column for leak in found.leaks} == {"n"}
    assert len(found.leaks) == 80


def test_rows_before_the_moment_of_latest_are_counted_as_future() -> None:
    at = np.array([DAY, 3 * DAY])
    moment = moments(Latest("1970-01-03T00:00:00Z"), at)
    questions = pa.table({"user": [1, 1], "at": pa.array(moment, pa.timestamp("us", "UTC"))})
    staged = compute(group(columns=BY_COLUMNS), events(), questions)
    found = audit(group(columns=BY_COLUMNS), events(), questions, staged, at=at)
    assert (found.future, found.clean) == (1, False)


@settings(max_examples=50)
@given(st.integers(0, 400 * DAY), st.integers(1, 40), st.sampled_from(["1h", "30m", "2d", None]))
def test_no_alignment_for_training_lies_after_its_row(at: int, days: int, lag: str | None) -> None:
    for alignment in (PointInTime(lag), DayBoundary(days)):
        moment = int(moments(alignment, np.array([at]))[0])
        assert moment <= at
        back = reach(alignment)
        assert back is not None
        assert at - moment <= back


def test_a_day_boundary_is_the_midnight_before() -> None:
    at = datetime(2017, 10, 2, 14, tzinfo=UTC)
    found = moments(DayBoundary(1), np.array([round(at.timestamp() * 1e6)]))[0]
    assert datetime.fromtimestamp(found / 1e6, UTC) == datetime(2017, 10, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "alignment", [DayBoundary(0), PointInTime("0d"), Latest("2017-10-02T00:00:00"), Latest("soon")]
)
def test_an_alignment_that_is_none_is_told(alignment: Any) -> None:
    assert problem_of(alignment)


# -- attributes of a lookup ----------------------------------------------------------------------

BY_BRAND = FeatureGroup(
    "shop/of_brand",
    source="table:shop/purchases",
    key=("brand",),
    lookup="table:shop/items",
    lookup_by="item",
    columns={"n": Count()},
)


def bought(items: list[int | None]) -> pa.Table:
    return pa.table({"item": pa.array(items, pa.int32())})


def test_an_event_gets_the_attributes_of_its_own_row_and_a_null_gets_none() -> None:
    items = pa.table({"item": [7, 8, None, None], "brand": ["tea", "pot", "of nobody", "nor this"]})
    found = with_lookup(BY_BRAND, bought([8, None, 9, 7]), items)
    assert found["brand"].to_pylist() == ["pot", None, None, "tea"]


def test_two_rows_of_attributes_for_one_event_are_refused_and_others_are_not() -> None:
    items = pa.table({"item": [7, 8, 8, 9], "brand": ["tea", "pot", "pan", "mug"]})
    assert with_lookup(BY_BRAND, bought([7, 9]), items)["brand"].to_pylist() == ["tea", "mug"]
    with pytest.raises(UserError) as refused:
        with_lookup(BY_BRAND, bought([7, 8, 8]), items)
    told = str(refused.value)
    assert "feature_group:shop/of_brand: lookup: 2 rows of table:shop/items have item=8" in told
    assert "2 events" in told
    assert "expected: one row of attributes for each item" in told


def test_a_lookup_without_a_row_has_no_attributes() -> None:
    items = pa.table({"item": pa.array([], pa.int64()), "brand": pa.array([], pa.string())})
    assert with_lookup(BY_BRAND, bought([7]), items)["brand"].to_pylist() == [None]


# -- SQL and functions ---------------------------------------------------------------------------


@pytest.mark.parametrize("sql", ["CREATE TABLE kept AS SELECT 1", "SELECT 1; SELECT 2", "-- none"])
def test_sql_that_is_not_one_select_is_not_run(sql: str) -> None:
    with pytest.raises(UserError, match="feature_group:shop/spend: sql: it is not one SELECT"):
        compute(group(sql=sql, schema={"week": "long"}), events(), asked())


def test_questions_of_several_threads_do_not_see_one_another() -> None:
    by_columns = group(columns={"week": BY_COLUMNS["week"]})
    by_sql = group(sql=BY_SQL, schema={"week": "long"})

    def same(seed: int) -> bool:
        rows, questions = events(200, seed), asked(30, seed)
        found, wanted = (compute(one, rows, questions)["week"] for one in (by_sql, by_columns))
        return bool(found.to_pylist() == wanted.to_pylist())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, range(24)))


def test_where_nothing_is_asked_nothing_is_run() -> None:
    nothing = asked().slice(0, 0)
    broken = group(function=f"{__name__}:raises", schema={"week": "long"})
    assert compute(broken, events(), nothing)["week"].to_pylist() == []
    with pytest.raises(UserError, match=r"function: .*:raises raised KeyError: 'amuont'"):
        compute(broken, events(), asked())


def raises(rows: pa.Table, questions: pa.Table) -> pa.Table:
    raise KeyError("amuont")


def test_what_looks_at_other_keys_is_found_where_events_are_cut_by_the_key() -> None:
    of_all = BY_SQL.replace('e."user" = asked."user"', "true")
    rows, questions = events(), asked()
    one = group(sql=of_all, schema={"week": "long"})
    staged = compute(one, rows, questions)
    assert audit(one, rows, questions, staged).clean
    assert not audit(one, rows, questions, staged, cut=("user",)).clean
