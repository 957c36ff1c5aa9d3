"""Lists that were really shown: what is declared over them has one value wherever it is computed.

trivago's log has what made-up rows seldom do: several actions in one second, whose order is their
step; references that are no item; sessions whose steps begin again; users with several sessions;
lists of one item; two lists of one session in one second.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from benchmarks._trivago import ACTIONS, FILE, ITEM_ACTIONS, LISTS, SESSION, real_rows
from benchmarks.impressions import GROUPS, LENGTH, SPECS, UPTO, lists_set

from bowerbird.core.steps import Home
from bowerbird.data.features.alignment import Latest
from bowerbird.data.features.columns import (
    Age,
    By,
    Column,
    Count,
    Decayed,
    Distinct,
    First,
    Interval,
    Last,
    Mean,
    Occasions,
    Ratio,
    Since,
    Sum,
    duration,
)
from bowerbird.data.features.compute import compute
from bowerbird.data.features.events import events_of, values
from bowerbird.data.features.reference import reference
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.features.tiles import Grain, accumulators, fold, spans, tile
from bowerbird.data.samples.batches import batches
from bowerbird.data.samples.leakage import LeakageError
from bowerbird.data.samples.plain import plain_rows
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.lake import Lake, read
from tests.data.features.test_parity import alike
from tests.data.real import real
from tests.data.world import HOUR, commit, home_in, times

EVERY: dict[str, Column] = {
    "n": Count(),
    "n_5m": Count("5m"),
    "of_items": Count(field="item"),
    "occasions": Occasions("1h"),
    "kinds": By(Count(), by="kind"),
    "references": Distinct("reference"),
    "mean_step": Mean("step", over="10m"),
    "first": First("reference"),
    "last": Last("reference"),
    "last_kinds": Last("kind", n=5),
    "last_items": Last("item", n=5, over="1h"),
    "since": Since(),
    "age": Age(),
    "interval": Interval(),
    "decayed": Decayed("30m"),
    "rate": Ratio(Sum("clickout"), Count("1h")),
}


class Rows(NamedTuple):
    """ids: of the items that the rows have numbers of."""

    actions: pa.Table
    lists: pa.Table
    ids: pa.Array


@pytest.fixture(scope="module")
def whole() -> Rows:
    """All actions and all rows of lists, in the order of the file."""
    real(FILE)
    return Rows(*real_rows(by_step=False))


ODD = {
    "steps begin again": "count(*) OVER (PARTITION BY session_id, step) > 1",
    "a reference that is no item": f"kind IN {ITEM_ACTIONS} AND item IS NULL",
    "two lists in a second": 'sum(clickout) OVER (PARTITION BY user_id, "at") > 1',
    "a click among others": 'clickout = 1 AND count(*) OVER (PARTITION BY user_id, "at") > 1',
    "several sessions": "session_id <> min(session_id) OVER (PARTITION BY user_id)",
    "any": "true",
}


@pytest.fixture(scope="module")
def some(whole: Rows) -> Rows:
    """Those of a few users for each of what is odd, and of a few others."""
    users: set[str] = set()
    with duckdb.connect() as connection:
        connection.register("actions", whole.actions)
        for name, odd in ODD.items():
            told = connection.execute(
                f"SELECT user_id FROM (SELECT user_id, {odd} AS odd FROM actions) GROUP BY user_id "
                "HAVING bool_or(odd) AND count(*) BETWEEN 5 AND 120 ORDER BY user_id LIMIT 3"
            ).fetchall()
            assert told, name
            users |= {user for (user,) in told}
    kept = [table.filter(pc.is_in(table["user_id"], pa.array(users))) for table in whole[:2]]
    return Rows(*kept, whole.ids)


@pytest.fixture(scope="module")
def home(some: Rows, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A lake with them, written in no order: what lies by step was put there by the table."""
    made, random = home_in(str(tmp_path_factory.mktemp("lists"))), np.random.default_rng(0)
    for spec, rows in zip((ACTIONS, LISTS), some[:2], strict=True):
        commit(Lake(made), spec, rows.take(pa.array(random.permutation(len(rows)))))
    return made


def plan_of(home: Home, **changes: Any) -> SetPlan:
    return plan_set(Lake(home), lists_set(**({"transforms": ()} | changes)), SPECS)


# -- one value everywhere ----------------------------------------------------------------------


@pytest.mark.parametrize("key", [("user_id",), SESSION, (*SESSION, "item")])
def test_loops_arrays_sql_and_one_request_say_the_same_of_real_actions(
    home: Home, key: tuple[str, ...]
) -> None:
    actions = read(Lake(home), ACTIONS.name).sort_by([(name, "ascending") for name in ACTIONS.sort])
    lists = read(Lake(home), LISTS.name)
    asked = lists.take(pa.array(range(0, len(lists), 7))).select([*key, "at"])
    moments = [one["at"].cast(pa.int64()).to_pylist() for one in (actions, asked)]
    events = [
        (tuple(row[name] for name in key), row | {"at": at})
        for row, at in zip(actions.to_pylist(), moments[0], strict=True)
    ]
    questions = [
        (tuple(row[name] for name in key), at)
        for row, at in zip(asked.to_pylist(), moments[1], strict=True)
    ]
    columns = {name: one for name, one in EVERY.items() if name not in key}
    expected = reference(columns, events, questions)
    group = FeatureGroup("real/all", source=ACTIONS, key=key, columns=columns)
    for n in range(0, len(asked), 10):
        own = actions
        for name in key:
            own = own.filter(pc.equal(own[name], asked[name][n]))
        (alone,) = compute(group, own, asked.slice(n, 1), "online").to_pylist()
        same(alone, expected[n])
    for place in ("local", "duckdb"):
        found = compute(group, actions, asked, place).to_pylist()
        for row, wanted in zip(found, expected, strict=True):
            same(row, wanted)
    assert any(row["n"] for row in expected)


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        wanted = list(value.items()) if isinstance(value, dict) else value
        assert alike(found[name], wanted), (name, found[name], wanted)


@pytest.mark.parametrize("key", [["user_id"], [*SESSION, "item"]])
def test_tiles_of_hours_say_it_of_every_key_there_is(whole: Rows, key: list[str]) -> None:
    rows = whole.actions.sort_by([(name, "ascending") for name in ACTIONS.sort])
    rows = rows.filter(rows["item"].is_valid())
    at = rows["at"].cast(pa.int64()).to_numpy()
    first = int(at.min()) // HOUR * HOUR
    moment = first + 30 * HOUR
    columns = {
        name: one
        for name, one in EVERY.items()
        if name not in ("n_5m", "mean_step", "kinds")  # of minutes; split by another key
    }
    kept = accumulators(columns)
    tiles = pa.concat_tables(
        [tile(kept, rows, key, "at", span) for span in spans(Grain.HOUR, first, moment)]
    )
    start = tiles["start"].cast(pa.int64()).to_numpy()

    def within(over: str | None) -> pa.Table:
        return tiles.filter(pa.array(start >= (moment - duration(over) if over else 0)))

    asked = rows.filter(pa.array(at < moment)).group_by(key).aggregate([]).select(key)
    asked = asked.append_column("at", times([moment / HOUR] * len(asked)))
    types = {field.name: field.type for field in rows.schema}
    found = fold(columns, within, key, types, asked, moment)
    expected = values(columns, events_of(rows, key, "at", columns), asked)
    assert len(asked) > 3_000
    for name in columns:
        assert all(map(alike, found[name].to_pylist(), expected[name].to_pylist())), name


def test_fast_batches_are_the_plain_ones(some: Rows, tmp_path: Path) -> None:
    """With the groups and the history of the benchmark, of a few users: plain loops are slow."""
    home, users = home_in(str(tmp_path)), some.lists["user_id"].unique()[:2]
    for spec, rows in zip((ACTIONS, LISTS), some[:2], strict=True):
        commit(Lake(home), spec, rows.filter(pc.is_in(rows["user_id"], users)))
    plan = plan_of(home)
    key = ("user_id", "session_id", "step", "at", "position")

    def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: tuple(row[name] for name in key))

    fast = ordered([row for batch in batches(home, plan) for row in batch.to_pylist()])
    plain = ordered(plain_rows(Lake(home), plan))
    assert len(fast) == len(plain)
    for mine, wanted in zip(fast, plain, strict=True):
        same(mine, wanted)


# -- seconds and steps -------------------------------------------------------------------------


def test_what_was_done_in_one_second_lies_by_step_and_is_seen_from_the_next_on(home: Home) -> None:
    rows = read(Lake(home), ACTIONS.name).to_pylist()
    rows.sort(key=lambda row: (row["at"], row["session_id"], row["step"]))
    tied = 0
    for batch in batches(home, plan_of(home)).by_request():
        for request in batch.user.to_pylist():
            mine = [row for row in rows if row["user_id"] == request["user_id"]]
            before = [row for row in mine if row["at"] < request["at"]]
            kept = [row["item"] for row in before if row["kind"] in ITEM_ACTIONS]
            assert request["past__item"] == kept[-LENGTH:]
            here = [row["item"] for row in before if row["session_id"] == request["session_id"]]
            known = [item for item in here if item is not None]
            assert request["session__last"] == (known[-1] if known else None)
            tied += len({row["at"] for row in before}) < len(before)
    assert tied > 10


# -- lists -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_list_comes_once_and_whole_and_has_its_click(whole: Rows, tmp_path: Path) -> None:
    wanted = Counter()
    clicked = pq.read_table(real(FILE), filters=[("action_type", "=", "clickout item")])
    for row in clicked.to_pylist():
        items, prices = (tuple(map(int, row[n].split("|"))) for n in ("impressions", "prices"))
        clicks = tuple(n for n, item in enumerate(items) if item == int(row["reference"]))
        who = (row["user_id"], row["session_id"], row["step"], row["timestamp"])
        wanted[(*who, items, prices, clicks)] += 1

    home = home_in(str(tmp_path))
    commit(Lake(home), LISTS, whole.lists)
    plan = plan_of(home, features=(), sequences={}, user=())
    found, spans = Counter(), []
    for split in ("train", "validation", "test"):
        seen = []
        for batch in batches(home, plan, split=split).by_request():
            assert (np.diff(batch.rows["position"])[np.diff(batch.of) == 0] == 1).all()
            item, price, label = (batch.rows[n].to_numpy() for n in ("item", "price", "label"))
            at = (batch.user["at"].cast(pa.int64()).to_numpy() // 1_000_000).tolist()
            who = batch.user.select(["user_id", "session_id", "step"]).to_pylist()
            for n, one in enumerate(who):
                rows = slice(*batch.offsets[n : n + 2])
                items = tuple(whole.ids.to_numpy()[item[rows]].tolist())
                clicks = tuple(np.flatnonzero(label[rows]).tolist())
                found[(*one.values(), at[n], items, tuple(price[rows].tolist()), clicks)] += 1
            seen += at
        spans.append((min(seen), max(seen)))
    assert found == wanted
    assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))
    # What was clicked was not in one of the lists, and in none twice.
    assert Counter(len(clicks) for *_, clicks in wanted) == {1: 13_596, 0: 1}


def test_requests_expanded_are_the_flat_batches(home: Home) -> None:
    plan = plan_of(home, transforms=lists_set().transforms[:1])
    flat = list(batches(home, plan, batch_size=300))
    late = [batch.expand() for batch in batches(home, plan, batch_size=300).by_request()]
    assert all(one.equals(other) for one, other in zip(flat, late, strict=True))


# -- leaks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"features": (*GROUPS, UPTO)}, "upto reads the future"),
        ({"alignment": Latest("2018-11-09T00:00:00Z")}, "the moment of .* rows lies after the row"),
    ],
)
def test_a_click_that_sees_itself_is_named(home: Home, changes: Any, named: str) -> None:
    with pytest.raises(LeakageError, match=named):
        list(batches(home, plan_of(home, **changes)))
