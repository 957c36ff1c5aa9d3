"""Groups by columns, by SQL and by a function, computed while batches are read."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.types import LongType

from bowerbird.core.errors import UserError
from bowerbird.core.specs import Spec
from bowerbird.core.steps import Home
from bowerbird.data.features.alignment import Alignment, DayBoundary, Latest, PointInTime
from bowerbird.data.features.columns import Count, Mean, Sum
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.batches import batches
from bowerbird.data.samples.checks import check
from bowerbird.data.samples.kept import keep, kept_plan
from bowerbird.data.samples.leakage import LeakageError
from bowerbird.data.samples.plain import plain_rows
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.sampling import Share
from bowerbird.data.samples.specs import Beside, TrainingSet
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Lake, Table, bucket, partitions
from tests.data.world import HOUR, commit, home_in, times

HERE = "tests.data.test_computed_groups"
ROOT = str(Path(__file__).parents[2])

pytestmark = pytest.mark.slow

ROWS = Table(
    "shop/rows",
    schema={"row_id": "long", "user_id": "long", "at": "timestamptz", "item": "long"},
    partition=(bucket("user_id", 4),),
    sort=("user_id", "at"),
)
LOG = {"user": "long", "when": "timestamptz", "read_at": "timestamptz"} | {
    "item": "long",
    "amount": "double",
}
BUCKETED = Table("shop/log", schema=LOG, partition=(bucket("user", 8),), sort=("user", "when"))
WHOLE = Table("shop/log", schema=LOG)
ITEMS = Table("shop/items", schema={"item": "long", "brand": "string"})

GIVES = {"n": "long", "day": "double", "mean": "double"}
COLUMNS = {"n": Count(), "day": Sum("amount", over="1d"), "mean": Mean("amount")}
SQL = """
WITH e AS (SELECT *, {known} AS known FROM events)
SELECT asked.row, count(e.known) AS n, avg(e.amount) AS mean, coalesce(
    sum(e.amount) FILTER (e.known >= asked."at" - INTERVAL 1 DAY), 0) AS day
FROM asked LEFT JOIN e ON {match} AND e.known < asked."at"
GROUP BY asked.row
"""
OF_USER = SQL.format(known='"when"', match='e."user" = asked."user"')
KNOWN = SQL.format(known='greatest("when", read_at)', match='e."user" = asked."user"')
OF_ITEM = SQL.format(known='"when"', match="e.item = asked.item")
OF_BRAND = SQL.format(known='"when"', match="e.brand = asked.brand")
OF_ALL = SQL.format(known='"when"', match="true")
AHEAD = OF_USER.replace('e.known < asked."at"', 'e.known < asked."at" + INTERVAL 3 HOUR')


def spent(events: pa.Table, asked: pa.Table) -> pa.Table:
    """What `COLUMNS` say of users, in loops."""
    return _spent(events, asked, "user", ahead=0)


def spent_on(events: pa.Table, asked: pa.Table) -> pa.Table:
    return _spent(events, asked, "item", ahead=0)


def foreseen(events: pa.Table, asked: pa.Table) -> pa.Table:
    """Planted: it looks three hours ahead."""
    return _spent(events, asked, "user", ahead=3 * HOUR)


def _spent(events: pa.Table, asked: pa.Table, key: str, ahead: int) -> pa.Table:
    columns = events[key].to_pylist(), _micros(events["when"]), events["amount"].to_pylist()
    known = list(zip(*columns, strict=True))
    found = []
    for value, moment in zip(asked[key].to_pylist(), _micros(asked["at"]), strict=True):
        seen = [
            (at, amount)
            for one, at, amount in known
            if None is not value == one and at < moment + ahead
        ]
        amounts = [amount for _, amount in seen if amount is not None]
        day = [amount for at, amount in seen if amount is not None and at >= moment - 24 * HOUR]
        mean = sum(amounts) / len(amounts) if amounts else None
        found.append({"n": len(seen), "day": sum(day), "mean": mean})
    return pa.Table.from_pylist(found, pa.schema([("n", "int64"), ("day", "f8"), ("mean", "f8")]))


def _micros(column: Any) -> list[int]:
    found: list[int] = column.cast(pa.int64()).to_pylist()
    return found


def raises(events: pa.Table, asked: pa.Table) -> pa.Table:
    raise KeyError("amuont")


def none(events: pa.Table, asked: pa.Table) -> Any:
    return None


def half(events: pa.Table, asked: pa.Table) -> pa.Table:
    return spent(events, asked).slice(1)


def nameless(events: pa.Table, asked: pa.Table) -> pa.Table:
    return spent(events, asked).drop_columns(["mean"])


def shuffled(events: pa.Table, asked: pa.Table) -> pa.Table:
    found = spent(events, asked)
    return found.take(pa.array(range(found.num_rows - 1, -1, -1)))


def group(source: Table = BUCKETED, key: tuple[str, ...] = ("user",), **how: Any) -> FeatureGroup:
    given = {"schema": GIVES} if "columns" not in how else {}
    return FeatureGroup("shop/spent", source=source, key=key, at="when", **given, **how)


def world(folder: str, source: Table = BUCKETED, seed: int = 0, rows: int = 40) -> Home:
    """Users 0..6 of whom some are null, items 0..5; amounts are whole, so that sums are exact."""
    random, home = np.random.default_rng(seed), home_in(folder)
    count = 4 * rows
    users = random.integers(0, 7, rows)
    asked = {
        "row_id": np.arange(rows),
        "user_id": pa.array(users, mask=users == 6),
        "at": times((random.integers(0, 80, rows) / 2).tolist()),
        "item": random.integers(0, 7, rows),
    }
    who, when = random.integers(0, 7, count), random.integers(0, 40, count)
    amount = random.integers(1, 9, count).astype(float)
    log = {
        "user": pa.array(who, mask=who == 6),
        "when": times(when.tolist()),
        "read_at": times((when + random.integers(0, 5, count)).tolist()),
        "item": random.integers(0, 7, count),
        "amount": pa.array(amount, mask=amount == 3),
    }
    commit(Lake(home), ROWS, pa.table(asked))
    commit(Lake(home), source, pa.table(log))
    commit(Lake(home), ITEMS, pa.table({"item": range(6), "brand": list("aabbcc")}))
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return world(str(tmp_path_factory.mktemp("shop")))


def plan_of(home: Home, one: FeatureGroup, **changes: Any) -> SetPlan:
    fields: dict[str, Any] = {"keys": {"user": "user_id"}, "features": (one,)} | changes
    spec = TrainingSet("shop/set", rows=ROWS, entity="user_id", request=("row_id",), **fields)
    specs: dict[str, Spec] = {str(one.ref): one}
    return plan_set(Lake(home), spec, specs)


def rows_of(found: Iterator[pa.RecordBatch]) -> list[dict[str, Any]]:
    rows = [row for batch in found for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: int(row["row_id"]))


# -- the values ------------------------------------------------------------------------------------

WAYS = {
    "columns": {"columns": COLUMNS},
    "sql": {"sql": OF_USER},
    "function": {"function": f"{HERE}:spent"},
    "columns, read later": {"columns": COLUMNS, "known_at": "read_at"},
    "sql, read later": {"sql": KNOWN, "known_at": "read_at"},
    "columns of an item": {"columns": COLUMNS, "key": ("item",)},
    "sql of an item": {"sql": OF_ITEM, "key": ("item",)},
    "function of an item": {"function": f"{HERE}:spent_on", "key": ("item",)},
}
ALIKE = (
    ("columns", "sql", "function"),
    ("columns, read later", "sql, read later"),
    ("columns of an item", "sql of an item", "function of an item"),
)


@settings(max_examples=12)
@given(
    st.integers(0, 1000),
    st.sampled_from([BUCKETED, WHOLE]),
    st.sampled_from([PointInTime(), PointInTime("2h"), DayBoundary(1)]),
    st.sampled_from(ALIKE),
)
def test_batches_say_what_loops_say_and_all_kinds_of_groups_say_the_same(
    seed: int, source: Table, alignment: Alignment, alike: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = world(folder, source, seed, rows=15)
        found = []
        for way in alike:
            plan = plan_of(home, group(source, **WAYS[way]), alignment=alignment)
            rows = rows_of(batches(home, plan, batch_size=7))
            plain = sorted(plain_rows(Lake(home), plan), key=lambda row: int(row["row_id"]))
            assert rows == plain
            found.append(rows)
        assert all(rows == found[0] for rows in found)


def test_what_a_key_lacks_comes_from_the_lookup(home: Home) -> None:
    brand = {"key": ("user", "brand"), "lookup": ITEMS, "lookup_by": "item"}
    of_both = OF_USER.replace('= asked."user"', '= asked."user" AND e.brand = asked.brand')
    found = []
    for how in ({"columns": COLUMNS}, {"sql": of_both}):
        one = group(**brand, **how)
        plan = plan_of(home, one, features=(Beside(ITEMS, on=("item",)), one))
        found.append(rows_of(batches(home, plan, batch_size=9)))
    assert found[0] == found[1]
    assert any(row["spent__n"] for row in found[0])


def test_fractions_keep_the_type_that_is_declared(home: Home) -> None:
    for way in ALIKE[0]:
        schema = next(batches(home, plan_of(home, group(**WAYS[way])))).schema
        told = [schema.field(f"spent__{name}").type for name in GIVES]
        assert told == [pa.int64(), pa.float64(), pa.float64()]


def test_only_the_sampled_rows_are_asked(home: Home) -> None:
    plan = plan_of(home, group(sql=OF_USER), sampling=(Share(0.5),))
    every = {
        row["row_id"]: row for row in rows_of(batches(home, plan_of(home, group(sql=OF_USER))))
    }
    some = rows_of(batches(home, plan))
    assert 0 < len(some) < len(every)
    assert all(row == every[row["row_id"]] for row in some)


@pytest.mark.parametrize("how", [{"sql": OF_USER}, {"function": f"{HERE}:spent"}])
def test_other_processes_and_a_kept_set_have_the_same_batches(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    home = world(str(tmp_path))
    plan = plan_of(home, group(**how))
    here = list(batches(home, plan, batch_size=7))
    with contextlib.closing(open_engine(EngineKind.PROCESSES, workers=2, paths=(ROOT,))) as engine:
        there = list(batches(home, plan, batch_size=7, engine=engine))
    stored = list(
        batches(home, kept_plan(Lake(home), plan, keep(home, plan).version), batch_size=7)
    )
    assert [one.to_pylist() for one in there] == [one.to_pylist() for one in here]
    assert [one.to_pylist() for one in stored] == [one.to_pylist() for one in here]


def test_a_set_is_kept_anew_when_its_function_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = world(str(tmp_path))
    plan = plan_of(home, group(function=f"{HERE}:spent"))
    before = plan.fingerprint
    monkeypatch.setattr(f"{HERE}.spent", spent_on)
    assert plan.fingerprint != before


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"sql": AHEAD}, {"function": f"{HERE}:foreseen"}])
@pytest.mark.parametrize("source", [BUCKETED, WHOLE])
def test_a_planted_leak_does_not_reach_the_first_batch(
    tmp_path: Path, how: dict[str, Any], source: Table
) -> None:
    home = world(str(tmp_path), source)
    said = r"shop/set: bucket \d: feature_group:shop/spent: spent reads the future: \w+ of user="
    with pytest.raises(LeakageError, match=said):
        batches(home, plan_of(home, group(source, **how)))
    if how == {"sql": AHEAD}:
        assert list(batches(home, plan_of(home, group(source, **how), audit=0)))


def test_each_bucket_is_audited_before_a_row_of_it_comes(tmp_path: Path) -> None:
    """The leak is planted for one user, of another bucket than the one that is rehearsed."""
    home = world(str(tmp_path), rows=400)
    plan = plan_of(home, group(sql=OF_USER), audit=200, interleave=1)
    sizes = {b: sum(t.file.record_count for t in plan.rows.of(b)) for b in plan.buckets}
    rehearsed = {max(plan.buckets, key=lambda b: sizes[b]), plan.buckets[-1]}
    users = {row["user_id"] for row in plain_rows(Lake(home), plan)} - {None}
    planted = next(
        user
        for user in sorted(users)
        if partitions.hashes(_one(user), LongType())[0] % 4 not in rehearsed
    )
    rare = OF_USER.replace(
        'e.known < asked."at"',
        f'e.known < asked."at" + CASE WHEN asked."user" = {planted} THEN INTERVAL 3 HOUR '
        "ELSE INTERVAL 0 HOUR END",
    )
    stream = batches(home, plan_of(home, group(sql=rare), audit=200, interleave=1), batch_size=9)
    seen: set[int] = set()
    with pytest.raises(LeakageError, match=f"of user={planted} at"):
        seen.update(user for batch in stream for user in batch.column("user_id").to_pylist())
    assert planted not in seen


def _one(user: int) -> pa.ChunkedArray:
    return pa.chunked_array([[user]])


def test_what_looks_at_other_keys_is_refused_where_these_lie_in_other_buckets(
    tmp_path: Path, home: Home
) -> None:
    """A bucket has the events of some keys only: which ones is the layout's to say."""
    with pytest.raises(LeakageError, match="without other keys"):
        batches(home, plan_of(home, group(sql=OF_ALL)))
    whole = world(str(tmp_path), WHOLE)
    plan = plan_of(whole, group(WHOLE, sql=OF_ALL))
    assert rows_of(batches(whole, plan)) == sorted(
        plain_rows(Lake(whole), plan), key=lambda row: int(row["row_id"])
    )


@pytest.mark.parametrize("way", ALIKE[0])
def test_a_moment_after_its_row_is_a_leak(home: Home, way: str) -> None:
    plan = plan_of(home, group(**WAYS[way]), alignment=Latest("1970-01-02T00:00:00Z"))
    with pytest.raises(LeakageError, match=r"the moment of \d+ of \d+ rows lies after the row"):
        batches(home, plan)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"function": f"{HERE}:raises"}, f"function: {HERE}:raises raised KeyError: 'amuont'"),
        ({"function": f"{HERE}:none"}, f"function: {HERE}:none gave NoneType"),
        ({"function": f"{HERE}:half"}, r"function: \d+ rows came back for \d+ that were asked"),
        ({"function": f"{HERE}:nameless"}, "function: the answer has no column 'mean'"),
        ({"function": f"{HERE}:shuffled"}, "spent reads the future"),
        ({"sql": OF_USER.replace("LEFT JOIN", "JOIN")}, "sql: .* rows came back for"),
        ({"sql": OF_USER.replace("amount", "amuont")}, "sql: DuckDB: .*amuont"),
        ({"sql": OF_USER.replace("count(e.known)", "'x'")}, "sql: .*\n.*the types of schema="),
    ],
)
def test_what_goes_wrong_in_a_group_is_named_with_it_and_its_bucket(
    home: Home, how: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as refused:
        batches(home, plan_of(home, group(**how)))
    named = r"training_set:shop/set: bucket \d: feature_group:shop/spent"
    assert re.match(named, str(refused.value))


def test_a_group_that_does_not_run_where_batches_are_made_is_refused_before_a_row_is_read(
    home: Home,
) -> None:
    class Cluster:
        name = "ray (2 actors)"

    plan = plan_of(home, group(function=f"{HERE}:raises", runs=("local",)))
    engine: Any = Cluster()
    for make in (batches, keep):
        with pytest.raises(UserError, match=r"shop/spent is computed by a function, .* run in ray"):
            make(home, plan, engine=engine)
    with pytest.raises(UserError, match="by SQL, which does not run in local"):
        plan_of(home, group(sql=OF_USER, runs=("duckdb",)))


def test_a_column_that_the_events_lack_is_named_when_the_set_is_planned(home: Home) -> None:
    with pytest.raises(UserError, match=r"features\[0\]: table:shop/log has no column 'red_at'"):
        plan_of(home, group(sql=KNOWN, known_at="red_at"))


def test_events_that_are_held_whole_count_against_the_bound(tmp_path: Path) -> None:
    home = world(str(tmp_path), WHOLE, rows=2000)
    plan = plan_of(home, group(WHOLE, sql=OF_USER), audit=0)
    held = check(home, plan).read
    assert held == 2000
    with pytest.raises(UserError, match="at most memory=200,000"):
        batches(home, plan, memory=200_000)
