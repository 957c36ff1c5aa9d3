"""Bucket joins of real tables: held to the plain join, and refused where they would shuffle."""

from __future__ import annotations

import pickle
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bowerbird.core.clock import SystemClock
from bowerbird.core.engine import Outcome
from bowerbird.core.errors import CorruptError, UserError
from bowerbird.core.functions import load
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Plan, meaning
from bowerbird.core.steps import Work
from bowerbird.core.targets import Change, LogTarget, Read, Token
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Lake, Table, TableLog, bucket, day, identity, read, spill, write
from bowerbird.lake.joins.asof import Rule
from bowerbird.lake.joins.join import bucket_join, bucket_rows, join_rows
from bowerbird.lake.joins.merging import How
from bowerbird.lake.joins.specs import AsOf, Join, Side, With
from bowerbird.lake.joins.steps import JOIN, JoinFile, file_tasks, join_tasks, plan_join
from bowerbird.lake.joins.views import explain
from bowerbird.lake.ordering import is_sorted
from bowerbird.lake.steps import target
from bowerbird.lake.write import Written
from tests.lake import plain_join
from tests.lake.world import home_in

TOKENS = count()
NO_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]  # a try writes tables: 0.2 s
TIMES = pa.timestamp("us", tz="UTC")

ORDERS = Table(
    "test/orders",
    schema={"user_id": "long", "at": "timestamptz", "n": "int"},
    partition=[bucket("user_id", 4)],
    sort=["user_id", "at"],
)
USERS = Table(
    "test/users",
    schema={"userId": "int", "since": "timestamptz", "name": "string"},
    partition=[bucket("userId", 8)],
    sort=["userId", "since"],
)


def append(lake: Lake, spec: Table, rows: pa.Table) -> None:
    log, token = TableLog(lake, spec.ref), Token(f"r/{next(TOKENS)}")
    written = write(lake, spec, rows, log.files(token, "a1"))
    target = LogTarget(log, SystemClock())
    target.commit(token, target.read().version, Change("a1", payload=written))


def keyed(random: np.random.Generator, rows: int, users: int) -> pa.Array:
    return pa.array(random.integers(0, users, rows), mask=random.random(rows) < 0.1)


def orders(seed: int, rows: int, users: int = 40) -> pa.Table:
    random = np.random.default_rng(seed)
    at = random.integers(0, 9 * 86_400_000_000, rows)
    columns = [keyed(random, rows, users), pa.array(at, TIMES), pa.array(range(rows), pa.int32())]
    return pa.table(columns, ["user_id", "at", "n"])


def users(seed: int, rows: int, users: int = 40) -> pa.Table:
    random = np.random.default_rng(seed + 1000)
    since = pa.array(random.integers(0, 9 * 86_400_000_000, rows), TIMES)
    names = [f"name {n}" for n in range(rows)]
    key = keyed(random, rows, users).cast(pa.int32())
    return pa.table([key, since, names], ["userId", "since", "name"])


def plain_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Times as numbers, and both tables' keys by the first one's name."""
    names = [{"userId": "user_id"}.get(name, name) for name in rows.column_names]
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in rows.columns]
    found: list[dict[str, Any]] = pa.table(columns, names).to_pylist()
    return found


def lines(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


def joined(lake: Lake, *sides: Any) -> pa.Table:
    plan = bucket_join(lake, *sides)
    plan = pickle.loads(pickle.dumps(plan))
    return pa.concat_tables([plan.schema().empty_table(), *join_rows(lake, plan)])


layouts = st.sampled_from(
    [
        {"partition": (bucket("userId", n), *more), "sort": sort}
        for n in (2, 4, 12)
        for more in ((), (day("since"),))
        for sort in (("userId",), ("userId", "since"), ("name",), ())
    ]
)


@pytest.mark.slow
@settings(max_examples=25, phases=NO_SHRINKING)
@given(
    layouts,
    st.sampled_from(list(How)),
    st.lists(st.integers(0, 60), min_size=1, max_size=3),
    st.integers(0, 60),
    st.integers(0, 3),
    st.sampled_from([None, ("name",)]),
)
def test_a_bucket_join_is_the_plain_join(
    layout: dict[str, Any],
    how: How,
    loads: list[int],
    right: int,
    seed: int,
    columns: tuple[str, ...] | None,
) -> None:
    with TemporaryDirectory() as folder:
        lake = Lake(home_in(folder))
        mine = [orders(seed + at, rows) for at, rows in enumerate(loads)]
        for part in mine:
            append(lake, ORDERS, part)
        theirs = users(seed, right)
        append(lake, replace(USERS, **layout), theirs)
        side = With("test/users", "userId", columns=columns, how=how)
        found = joined(lake, Side("test/orders", "user_id"), side)
    adds = () if how in (How.SEMI, How.ANTI) else columns or ("since", "name")
    mine_rows, their_rows = plain_rows(pa.concat_tables(mine)), plain_rows(theirs)
    plain = plain_join.join(mine_rows, their_rows, ["user_id"], how, adds)
    plain = [{**dict.fromkeys(found.column_names), **row} for row in plain]
    assert lines(plain_rows(found)) == lines(plain)


@pytest.fixture
def filled(lake: Lake) -> Lake:
    append(lake, ORDERS, orders(1, 500))
    append(lake, USERS, users(1, 80))
    return lake


LEFT = Side("test/orders", "user_id")


def test_each_bucket_comes_out_in_order_of_the_key(filled: Lake) -> None:
    plan = bucket_join(filled, LEFT, With("test/users", "userId"))
    assert plan.buckets == (0, 1, 2, 3)
    for one in plan.buckets:
        assert is_sorted(pa.concat_tables(bucket_rows(filled, plan, one)), ["user_id"])


def test_several_tables_are_joined_at_once(filled: Lake) -> None:
    towns = Table(
        "test/towns",
        schema={"user_id": "long", "town": "string"},
        partition=[bucket("user_id", 2)],
        sort=["user_id"],
    )
    append(filled, towns, pa.table({"user_id": range(20), "town": [f"t{n}" for n in range(20)]}))
    asof = AsOf("test/users", "userId", columns=("name",), at="since", to="at")
    found = joined(filled, LEFT, With("test/towns", how=How.LEFT), asof)
    mine, theirs = plain_rows(orders(1, 500)), plain_rows(users(1, 80))
    plain = plain_join.asof(mine, theirs, ["user_id"], How.LEFT, Rule("at", "since"), ["name"])
    small = {n: f"t{n}" for n in range(20)}
    plain = [{**row, "town": small.get(row["user_id"])} for row in plain]
    assert lines(plain_rows(found)) == lines(plain)


def test_an_asof_join_takes_lag_and_tolerance_as_durations(filled: Lake) -> None:
    hour = 3_600_000_000
    asof = AsOf(
        "test/users", "userId", at="since", to="at", lag=timedelta(hours=1), prefix="u_",
        tolerance=timedelta(days=2), how=How.INNER,
    )  # fmt: skip
    found = joined(filled, replace(LEFT, columns=("n",)), asof)
    assert found.column_names == ["user_id", "n", "u_since", "u_name"]
    rule = Rule("at", "since", lag=hour, tolerance=48 * hour)
    mine, theirs = plain_rows(orders(1, 500)), plain_rows(users(1, 80))
    plain = plain_join.asof(mine, theirs, ["user_id"], How.INNER, rule, ["name"])
    assert sorted((r["n"], r["u_name"]) for r in found.to_pylist()) == sorted(
        (r["n"], r["name"]) for r in plain
    )


def test_a_join_reads_the_versions_that_it_pinned(filled: Lake) -> None:
    plan = bucket_join(filled, LEFT, With("test/users", "userId"))
    before = pa.concat_tables(join_rows(filled, plan))
    append(filled, USERS, users(2, 80))
    assert pa.concat_tables(join_rows(filled, plan)).equals(before)
    then = With("test/users", "userId", version=str(plan.tables[1].version))
    assert joined(filled, LEFT, then).equals(before)


def test_sorted_tables_are_merged_without_a_sort(
    filled: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "sorted_rows", None)
    assert joined(filled, LEFT, With("test/users", "userId")).num_rows
    told = explain(bucket_join(filled, LEFT, With("test/users", "userId")))
    assert [side.sorted_rows for side in told.tables] == [0, 0]
    assert (told.tables[0].buckets, told.tables[1].buckets, told.tasks) == (4, 8, 4)
    assert told.tables[1].streams == 2
    assert told.shuffled == 0


def test_what_must_be_sorted_first_is_told(filled: Lake) -> None:
    loose = replace(USERS, name="test/loose", sort=())
    append(filled, loose, users(1, 80))
    told = explain(bucket_join(filled, LEFT, With("test/loose", "userId")))
    assert told.tables[1].sorted_rows > 60
    assert "rows sorted first" in str(told)


def test_a_join_takes_the_memory_that_it_was_said_to(lake: Lake) -> None:
    append(lake, replace(ORDERS, target_file_bytes=1 << 20), orders(1, 400_000, 100_000))
    append(lake, USERS, users(1, 100_000, 100_000))
    plan = bucket_join(lake, LEFT, With("test/users", "userId", how=How.LEFT))
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    most = 0
    for _ in join_rows(lake, plan):
        most = max(most, pool.bytes_allocated() - before)
    assert most < explain(plan).memory


def test_tables_of_another_key_are_refused_with_both_layouts(filled: Lake) -> None:
    other = replace(USERS, name="test/other", partition=(identity("name"),))
    append(filled, other, users(1, 5))
    with pytest.raises(UserError, match=r"shuffle.*bucket\[4\]\(user_id\).*identity\(name\)") as e:
        bucket_join(filled, LEFT, With("test/other", "userId"))
    assert "bucket('userId', 16)" in str(e.value)


def test_counts_that_do_not_divide_one_another_are_refused(filled: Lake) -> None:
    append(filled, replace(USERS, name="test/six", partition=(bucket("userId", 6),)), users(1, 5))
    with pytest.raises(UserError, match=r"counts 4, 6 .*bucket\[4\]\(user_id\).*bucket\[6\]"):
        bucket_join(filled, LEFT, With("test/six", "userId"))


def test_keys_of_other_types_are_refused_by_name(filled: Lake) -> None:
    spec = Table("test/texts", schema={"user_id": "string"}, partition=[bucket("user_id", 4)])
    append(filled, spec, pa.table({"user_id": ["1"]}))
    with pytest.raises(UserError, match=r"test.orders.user_id is long and test.texts.user_id is s"):
        bucket_join(filled, LEFT, With("test/texts"))


def test_two_columns_of_one_name_are_refused_unless_prefixed(filled: Lake) -> None:
    with pytest.raises(UserError, match="named 'at'") as error:
        bucket_join(filled, LEFT, With("test/orders"))
    assert "prefix='orders_'" in str(error.value)
    assert "orders_at" in joined(filled, LEFT, With("test/orders", prefix="orders_")).column_names


@pytest.mark.parametrize(
    ("side", "said"),
    [
        (With("test/users", ("userId", "name")), "as many key columns"),
        (With("test/users", "userId", columns=("nmae",)), "nmae"),
        (AsOf("test/users", "userId"), "which time"),
        (AsOf("test/users", "userId", at="name", to="at"), "two times"),
        (With("test/users", "userId", version="7"), "no version 7"),
    ],
)
def test_what_cannot_be_joined_is_told(filled: Lake, side: With | AsOf, said: str) -> None:
    with pytest.raises(UserError, match=said):
        bucket_join(filled, LEFT, side)


def test_a_damaged_file_is_named(filled: Lake) -> None:
    plan = bucket_join(filled, LEFT, With("test/users", "userId"))
    path = plan.tables[1].of(2)[0].file.file_path
    Path(path).write_bytes(Path(path).read_bytes()[:-40])
    with pytest.raises(CorruptError, match=Path(path).name):
        list(join_rows(filled, plan))


BOTH = Table(
    "test/both",
    schema={"user_id": "long", "at": "timestamptz", "n": "int", "name": "string"},
    partition=[bucket("user_id", 4)],
    sort=["user_id"],
)
NAMED = With("test/users", "userId", columns=("name",), how=How.LEFT)


def on_engine(lake: Lake, kind: EngineKind) -> None:
    plan = bucket_join(lake, LEFT, NAMED)
    whole = pa.concat_tables(join_rows(lake, plan))
    log = TableLog(lake, BOTH.ref)
    folder = log.files(Token("r/both"), "a1")
    with closing(open_engine(kind, workers=2)) as engine:
        ran = engine.run(join_tasks(lake.home, plan, BOTH, folder))
        written = Written.joined([outcome.result() for outcome in ran])
    change = Change("a1", payload=written)
    LogTarget(log, SystemClock()).commit(Token("r/both"), None, change)
    assert lines(plain_rows(read(lake, BOTH.ref))) == lines(plain_rows(whole))


def test_a_join_is_written_by_tasks_and_made_visible_by_one_commit(filled: Lake) -> None:
    on_engine(filled, EngineKind.THREADS)


@pytest.mark.slow
def test_a_join_runs_on_ray(filled: Lake) -> None:
    on_engine(filled, EngineKind.RAY)


def test_a_join_comes_back_as_files_in_order(filled: Lake, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    plan = bucket_join(filled, LEFT, NAMED)
    with closing(open_engine(EngineKind.THREADS, workers=2)) as engine:
        ran = engine.run(file_tasks(filled.home, plan, str(tmp_path / "out")))
        files: list[JoinFile] = [outcome.result() for outcome in ran]
    assert sum(file.rows for file in files) == joined(filled, LEFT, NAMED).num_rows
    for file in files:
        assert is_sorted(pq.read_table(file.path), ["user_id"])


def carry_out(lake: Lake, plan: Plan, run: str) -> None:
    """The step as the executor would, in this thread."""
    (step,) = plan.steps
    inputs = {ref: Read(one.version, pinned=one.data) for ref, one in step.inputs.items()}
    at, token = target(lake.home, SystemClock(), step.target), Token(f"{run}/{step.id}")
    read_of = {ref: one.data for ref, one in step.inputs.items()}
    work = Work(
        step, token, "a1", digest(meaning(step.definition, read_of)), inputs,
        at.files(token, "a1"), lake.home,
    )  # fmt: skip
    outcomes = [Outcome(one.key, load(one.call)(*one.args)) for one in JOIN.tasks(work)]
    at.commit(token, step.base, JOIN.change(work, outcomes))


@pytest.mark.slow
def test_a_join_as_a_step_is_made_once_and_again_when_a_table_changes(filled: Lake) -> None:
    refs = ("table:test/orders", "table:test/users", "table:test/both")

    def planned() -> Plan:
        present = {ref: target(filled.home, SystemClock(), ref).read() for ref in refs}
        return plan_join(filled, BOTH, Join(LEFT, (NAMED,)), present)

    first = msgspec.json.decode(msgspec.json.encode(planned()), type=Plan)
    assert [(step.kind, step.reason) for step in first.steps] == [("table.join", "missing")]
    assert first.steps[0].cost.rows == 580
    append(filled, USERS, users(2, 80))
    carry_out(filled, first, "r1")
    pinned = [replace(side, version=first.steps[0].inputs[ref].version)
              for side, ref in zip((LEFT, NAMED), refs, strict=False)]  # fmt: skip
    assert read(filled, BOTH.ref).num_rows == joined(filled, *pinned).num_rows
    second = planned()
    assert "test/users changed" in second.steps[0].reason or "stale" in second.steps[0].reason
    carry_out(filled, second, "r2")
    assert read(filled, BOTH.ref).num_rows == joined(filled, LEFT, NAMED).num_rows
    assert planned().empty
