"""A training set as batches: what lies beside each row, in which order, in how much memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import SpecError, UserError
from bowerbird.core.steps import Home
from bowerbird.data.samples.batches import Here, batches
from bowerbird.data.samples.bucket import read_bucket
from bowerbird.data.samples.checks import check
from bowerbird.data.samples.labels import Judged, Reward
from bowerbird.data.samples.leakage import LeakageError
from bowerbird.data.samples.order import Length, Position, draw
from bowerbird.data.samples.plain import plain_rows
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.rows import Reader
from bowerbird.data.samples.sampling import Between, Downsample, Share
from bowerbird.data.samples.specs import Beside, SequenceOf, TrainingSet
from bowerbird.data.samples.splits import Windows
from bowerbird.data.samples.transforms import Custom, FillNull, Standardize
from bowerbird.data.samples.views import explain
from bowerbird.lake import Lake, Table, bucket, day, read
from bowerbird.lake.schema import declared_type
from tests.data.world import (
    ACTIONS,
    IMPRESSIONS,
    ITEMS,
    SPECS,
    USERS,
    commit,
    small_shop,
    the_set,
    times,
)

pytestmark = pytest.mark.slow

HERE = "tests.data.test_batches"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return small_shop(str(tmp_path_factory.mktemp("shop")))


def plan_of(home: Home, spec: TrainingSet | None = None) -> SetPlan:
    return plan_set(Lake(home), spec or the_set(), SPECS)


def rows_of(found: Iterator[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in found for row in batch.to_pylist()]


def sorted_rows(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


# -- what lies beside a row --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("order", ["shuffled", "requests", "lying"])
@pytest.mark.slow
def test_batches_say_what_loops_over_all_rows_say(tmp_path: Path, seed: int, order: str) -> None:
    home = small_shop(str(tmp_path), seed=seed)
    plan = plan_of(home, the_set(order=order))
    found = rows_of(batches(home, plan, batch_size=17))
    assert sorted_rows(found) == sorted_rows(plain_rows(Lake(home), plan))


def test_an_action_at_the_very_moment_is_not_in_the_sequence(tmp_path: Path) -> None:
    home = small_shop(str(tmp_path), requests=1, nulls=False)
    lake = Lake(home)
    commit(lake, ACTIONS, actions_of([(50, 100, 1), (50, 101, 2), (50, 102, 3)]))
    commit(lake, IMPRESSIONS, impressions_of([(50, 102)]))
    (row,) = [r for r in rows_of(batches(home, plan_of(home))) if r["user_id"] == 50]
    assert row["past__item_id"] == [1, 2]
    assert row["spend__n"] == 2


def test_a_null_key_on_one_side_matches_nothing_and_loses_no_row(home: Home) -> None:
    nobody = [row for row in rows_of(batches(home, plan_of(home))) if row["user_id"] is None]
    assert nobody
    for row in nobody:
        assert row["past__item_id"] == []
        assert row["users__country"] is None
        assert row["spend__n"] == 0


@pytest.mark.slow
def test_a_feature_computed_staged_and_kept_differs_by_one_line(tmp_path: Path) -> None:
    """The rows' own features, computed, then written to a table, then read from it."""
    home = small_shop(str(tmp_path), nulls=False)
    lake = Lake(home)
    only = {"labels": {}, "sequences": {}}
    computed = plan_of(home, the_set(features=("feature_group:shop/spend",), **only))
    rows = pa.Table.from_batches(list(batches(home, computed)))
    names = {f"spend__{name}": name for name in ("n", "n_9h", "mean_item", "since")}
    staged = Table(
        "shop/spend",
        schema={"user_id": "long", "request_id": "long", "at": "timestamptz", "item_id": "long"}
        | {short: declared_type(rows[name].type) for name, short in names.items()},
        partition=(bucket("user_id", 4),),
    )
    found = rows.select(["user_id", "request_id", "at", "item_id", *names])
    found = found.rename_columns([names.get(name, name) for name in found.column_names])
    once = pa.table(dict(zip(found.column_names, found.columns, strict=True)))
    import polars as pl

    distinct = pl.DataFrame(once).unique(["user_id", "request_id"]).to_arrow()
    commit(lake, staged, distinct.cast(pa.schema([(f.name, f.type) for f in once.schema])))
    beside = Beside(
        "table:shop/spend",
        on=("user_id", "request_id"),
        through="at",
        columns=("n", "n_9h", "mean_item", "since"),
    )
    again = plan_of(home, the_set(features=(beside,), **only))
    assert sorted_rows(rows_of(batches(home, again))) == sorted_rows(rows.to_pylist())


def actions_of(rows: list[tuple[int, float, int]]) -> pa.Table:
    user, hour, item = zip(*rows, strict=True)
    count = len(rows)
    return pa.table(
        {
            "user_id": list(user),
            "at": times(hour),
            "item_id": list(item),
            "kind": ["click"] * count,
            "amount": [1.0] * count,
            "code": pa.array([b"\0\0\0\0"] * count, pa.binary(4)),
        }
    )


def impressions_of(rows: list[tuple[int, float]], action: str | None = "click") -> pa.Table:
    user, hour = zip(*rows, strict=True)
    count = len(rows)
    return pa.table(
        {
            "user_id": list(user),
            "request_id": list(range(1000, 1000 + count)),
            "at": times(hour),
            "item_id": [1] * count,
            "action": pa.array([action] * count, pa.string()),
            "price": [1.0] * count,
        }
    )


# -- order, resuming, memory -------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=8),
    st.integers(1, 5),
    st.integers(1, 25),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_every_row_comes_once_whatever_the_buckets(
    sizes: list[int], interleave: int, batch_size: int, cut: bool, random: Any
) -> None:
    lengths = [
        Length(
            size,
            np.array([*sorted(random.sample(range(1, size), size // 3)), size])
            if cut and size > 3
            else None,
        )
        for size in sizes
    ]
    position, seen, widths = Position(), [], []
    while True:
        slices, after = draw(position, len(sizes), interleave, batch_size, lengths.__getitem__)
        if not slices:
            break
        assert msgspec.json.decode(msgspec.json.encode(after), type=Position) == after
        assert len(after.open) <= interleave
        for one in slices:
            seen += [(one.place, row) for row in range(one.start, one.end)]
            known = lengths[one.place]
            assert known.cuts is None or one.end in known.cuts
        widths.append(sum(one.end - one.start for one in slices))
        position = after
    assert sorted(seen) == [(place, row) for place, size in enumerate(sizes) for row in range(size)]
    assert all(width >= batch_size for width in widths[:-1])
    if not cut:
        assert all(width == batch_size for width in widths[:-1])


@pytest.mark.parametrize("order", ["shuffled", "requests"])
@pytest.mark.slow
def test_a_reader_goes_on_exactly_where_another_stopped(home: Home, order: str) -> None:
    plan = plan_of(home, the_set(order=order, interleave=2))
    whole, positions = [], []
    stream = batches(home, plan, batch_size=13)
    for batch in stream:
        whole.append(batch)
        positions.append(stream.position)
    for done, position in enumerate(positions, 1):
        again = list(batches(home, plan, batch_size=13, position=position))
        assert [one.equals(two) for one, two in zip(again, whole[done:], strict=True)] == [
            True
        ] * len(again)


@pytest.mark.slow
def test_a_position_in_other_batches_is_refused_and_an_old_plan_can_be_made_again(
    tmp_path: Path,
) -> None:
    home = small_shop(str(tmp_path))
    plan = plan_of(home)
    stream = batches(home, plan, batch_size=16)
    next(stream)
    rest = list(batches(home, plan, batch_size=16, position=stream.position))
    commit(Lake(home), IMPRESSIONS, impressions_of([(1, 3)]))
    for other, size in ((plan_of(home), 16), (plan, 17)):
        with pytest.raises(UserError, match="the position is one in other batches"):
            batches(home, other, batch_size=size, position=stream.position)
    again = plan_set(Lake(home), the_set(), SPECS, versions=plan.versions)
    found = list(batches(home, again, batch_size=16, position=stream.position))
    assert all(one.equals(two) for one, two in zip(found, rest, strict=True))


def test_an_epoch_is_another_order_of_the_same_rows(home: Home) -> None:
    plan = plan_of(home)
    first, second = (
        rows_of(batches(home, plan, position=Position(epoch=epoch))) for epoch in (0, 1)
    )
    assert first != second
    assert sorted_rows(first) == sorted_rows(second)


def test_a_batch_is_of_several_buckets(home: Home) -> None:
    plan = plan_of(home, the_set(interleave=4))
    (batch, *_) = batches(home, plan, batch_size=24)
    assert len(set(batch.column("user_id").to_pylist())) > 4


def test_each_process_of_several_reads_buckets_of_its_own(home: Home) -> None:
    plan = plan_of(home)
    parts = [rows_of(batches(home, plan, shard=(n, 2))) for n in range(2)]
    assert sorted_rows(parts[0] + parts[1]) == sorted_rows(rows_of(batches(home, plan)))


@pytest.mark.slow
def test_a_reader_keeps_its_version_while_the_table_changes(tmp_path: Path) -> None:
    home = small_shop(str(tmp_path))
    early = plan_of(home)
    before = rows_of(batches(home, early, batch_size=10))
    stream = batches(home, early, batch_size=10)
    first = next(stream)
    commit(Lake(home), IMPRESSIONS, impressions_of([(1, 3), (2, 4)]))
    commit(Lake(home), ACTIONS, actions_of([(1, 0, 7)]))
    assert [*first.to_pylist(), *rows_of(stream)] == before
    assert len(rows_of(batches(home, plan_of(home)))) == len(before) + 2
    assert plan_of(home).fingerprint != early.fingerprint


def test_what_would_not_fit_the_bound_is_refused_with_what_to_do(home: Home) -> None:
    with pytest.raises(
        UserError, match=r"(?s)it would hold about .*at most memory=1,000.*more buckets"
    ):
        batches(home, plan_of(home), memory=1000)


# -- samples and splits ------------------------------------------------------------------------


def test_a_share_of_entities_reads_a_share_of_the_buckets(home: Home) -> None:
    plan = plan_of(home, the_set(sampling=(Share(0.25),)))
    assert explain(plan).buckets == 1
    found = rows_of(batches(home, plan))
    every = rows_of(batches(home, plan_of(home)))
    assert 0 < len(found) < len(every)
    users = {row["user_id"] for row in found}
    assert sorted_rows(found) == sorted_rows([r for r in every if r["user_id"] in users])


def test_files_outside_the_window_are_not_read(tmp_path: Path) -> None:
    home = small_shop(str(tmp_path), requests=1)
    daily = Table(
        "shop/daily",
        schema={"user_id": "long", "at": "timestamptz"},
        partition=(day("at"), bucket("user_id", 2)),
    )
    commit(Lake(home), daily, pa.table({"user_id": range(96), "at": times(range(96))}))

    def set_of(**changes: Any) -> SetPlan:
        return plan_set(Lake(home), TrainingSet("shop/d", rows=daily, entity="user_id", **changes))

    window = set_of(sampling=(Between("1970-01-02", "1970-01-03"),))
    assert explain(set_of()).rows == 96
    assert explain(window).rows == 24
    assert {r["user_id"] for r in rows_of(batches(home, window))} == set(range(24, 48))
    split = set_of(splits=Windows("24h"))
    test = batches(home, split, split="test")
    assert explain(test.plan).rows == 24
    assert {r["user_id"] for r in rows_of(test)} == set(range(72, 96))


def test_weights_stand_in_their_column(home: Home) -> None:
    plan = plan_of(home, the_set(sampling=(Downsample("reward", 0, 0.5),)))
    found = rows_of(batches(home, plan))
    assert {(row["reward"] > 0, row["weight"]) for row in found} == {(True, 1.0), (False, 2.0)}


def test_splits_part_the_rows_by_time(home: Home) -> None:
    plan = plan_of(home, the_set(splits=Windows("9h")))
    parts = [rows_of(batches(home, plan, split=name)) for name in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(rows_of(batches(home, plan)))
    last = [max(row["at"] for row in part) for part in parts]
    first = [min(row["at"] for row in part) for part in parts]
    assert last[0] < first[1] <= last[1] < first[2]


def test_a_row_whose_label_was_known_too_late_is_not_trained_on(tmp_path: Path) -> None:
    home = small_shop(str(tmp_path), requests=1)
    late = Table(
        "shop/late", schema={"user_id": "long", "at": "timestamptz", "until": "timestamptz"}
    )
    hours = {"at": times([1, 2, 30, 40]), "until": times([2, 31, 60, 70])}
    commit(Lake(home), late, pa.table({"user_id": [1, 2, 3, 4], **hours}))
    spec = TrainingSet(
        "shop/late", rows=late, entity="user_id", until="until", splits=Windows("10h")
    )
    plan = plan_set(Lake(home), spec)
    users = [
        [r["user_id"] for r in rows_of(batches(home, plan, split=s))] for s in ("train", "test")
    ]
    assert users == [[1], [4]]


# -- what is wrong is named before the first step ----------------------------------------------


def raises(batch: pa.RecordBatch) -> Any:
    raise ValueError("no")


def drops(batch: pa.RecordBatch) -> Any:
    return {"dear": batch.column("price").slice(1)}


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"entity": "usr_id"}, SpecError, "has no column 'usr_id'.*\n.*user_id"),
        (
            {"features": (Beside(ITEMS, on=("item_id",), columns=("brnd",)),)},
            SpecError,
            "table:shop/items has no column 'brnd'",
        ),
        (
            {"features": (Beside(USERS, on=("action",), key=("id",)),)},
            SpecError,
            "'action' is large_string, and 'id'",
        ),
        ({"features": (Beside(USERS, on=("nobody",), key=("id",)),)}, SpecError, "'nobody'"),
        (
            {"features": (Beside(USERS, key=("id",)), Beside(USERS, key=("id",)))},
            SpecError,
            "'users'",
        ),
        ({"labels": {"price": Reward({"price": 1})}}, SpecError, "two columns 'price'"),
        ({"labels": {"y": Reward({"clik": 1})}}, SpecError, r"labels\.y.* has no column 'clik'"),
        (
            {"sequences": {"s": SequenceOf(ACTIONS, ("item",), last=3)}},
            SpecError,
            r"sequences\.s: table:shop/actions has no column 'item'",
        ),
        (
            {"sequences": {"s": SequenceOf(ACTIONS, ("item_id",), last=0)}},
            SpecError,
            "a sequence of nothing",
        ),
        (
            {"features": ("feature_group:shop/none",)},
            UserError,
            "feature_group:shop/none, and its spec was not given",
        ),
        ({"transforms": (FillNull(("prce",), 0),)}, SpecError, "no column 'prce'"),
        ({"sampling": (Share(2),)}, SpecError, "a share of 2"),
    ],
)
def test_a_set_that_cannot_be_is_named_before_a_row_is_read(
    home: Home, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        plan_of(home, the_set(**changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"labels": {"y": Judged(f"{HERE}:raises", ("price",))}},
            r"labels\.y: .*raised ValueError: no",
        ),
        ({"transforms": (Custom(f"{HERE}:drops", ("price",), ("dear",)),)}, "rows of 'dear' for"),
        (
            {"sampling": (Between("1999-01-01", "1999-01-02"),)},
            r"no row is left of 0 .* all of it lies outside the windows",
        ),
        (
            {"sampling": (Downsample("y", 0, 1e-9), Downsample("y", 1, 1e-9))}
            | {"labels": {"y": Reward({"click": 1, "save": 1}, "action")}},
            r"no row is left of 120 that were read: \d+ by sampling\[0\] Downsample, \d+ by",
        ),
        ({"transforms": (Standardize(("price",)),)}, "the mean of 'price' was not fitted"),
    ],
)
def test_a_set_that_fails_fails_before_the_first_batch(
    home: Home, changes: dict[str, Any], said: str
) -> None:
    plan = plan_of(home, the_set(**changes))
    with pytest.raises(UserError, match=said):
        batches(home, plan)


def test_a_null_label_is_named_before_the_first_batch(tmp_path: Path) -> None:
    home = small_shop(str(tmp_path))
    commit(Lake(home), IMPRESSIONS, impressions_of([(3, 1)], action=None))
    with pytest.raises(
        UserError, match=r"training_set:shop/clicks: labels.reward: 1 of .* no label"
    ):
        batches(home, plan_of(home))


def test_two_rows_of_one_key_beside_a_row_are_refused(tmp_path: Path) -> None:
    home = small_shop(str(tmp_path))
    commit(Lake(home), USERS, pa.table({"id": [1, 2], "country": ["be", "be"]}))
    with pytest.raises(UserError, match=r"users: table:shop/users has several rows of one id"):
        batches(home, plan_of(home))


def test_a_feature_from_after_the_row_is_a_leak(tmp_path: Path) -> None:
    home = small_shop(str(tmp_path), nulls=False)
    staged = Table("shop/staged", schema={"user_id": "long", "made": "timestamptz", "n": "long"})
    commit(
        Lake(home),
        staged,
        pa.table({"user_id": range(12), "made": times([20] * 12), "n": range(12)}),
    )
    plan = plan_of(home, the_set(features=(Beside(staged, through="made"),)))
    with pytest.raises(
        LeakageError, match="table:shop/staged: made was fitted through 1970-01-01T20"
    ):
        batches(home, plan)


def test_buckets_that_do_not_divide_are_named_with_both_counts(tmp_path: Path) -> None:
    home = small_shop(str(tmp_path))
    odd = Table(
        "shop/odd", schema={"user_id": "long", "n": "long"}, partition=(bucket("user_id", 6),)
    )
    commit(Lake(home), odd, pa.table({"user_id": range(12), "n": range(12)}))
    with pytest.raises(UserError, match=r"shop.odd has 6 buckets and shop.impressions 4"):
        plan_of(home, the_set(features=(Beside(odd),)))


def test_tables_of_other_counts_that_divide_are_read_by_the_lesser(home: Home) -> None:
    plan = plan_of(home)
    told = {one.table: (one.by, one.buckets) for one in explain(plan).tables}
    assert plan.count == 4
    assert told["shop.actions"] == ("bucket", 8)
    assert told["shop.items"] == ("whole", 1)


def test_check_counts_what_is_trained_on_and_what_is_dropped(home: Home) -> None:
    plan = plan_of(home, the_set(sampling=(Downsample("reward", 0, 0.5),)))
    found = check(home, plan)
    assert found.read == 120
    assert found.rows + found.dropped["sampling[0] Downsample"] == 120
    assert "past__item_id" in found.columns


def test_a_set_of_one_bucket_is_read_once_checks_and_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = small_shop(str(tmp_path))
    lake, rows = Lake(home), msgspec.structs.replace(IMPRESSIONS, name="shop/flat", partition=())
    commit(lake, rows, read(lake, str(IMPRESSIONS.ref)))
    plan = plan_of(home, the_set(rows="table:shop/flat"))
    assert len(plan.buckets) == 1
    opened: list[str] = []
    reads = Reader.read

    def counted(self: Reader, table: Any, bucket: Any) -> pa.Table:
        opened.append(table.name)
        return reads(self, table, bucket)

    monkeypatch.setattr(Reader, "read", counted)
    assert read_bucket(Reader(lake), plan, plan.buckets[0]).sides
    once = opened.copy()
    opened.clear()
    found = rows_of(batches(home, plan, batch_size=17))
    assert opened == once
    assert sorted_rows(found) == sorted_rows(plain_rows(lake, plan))


def test_a_batch_whose_transform_raises_is_not_done(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = batches(home, plan_of(home), batch_size=17)
    next(stream)
    before = stream.position
    with monkeypatch.context() as broken:
        broken.setattr(Here, "finished", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            next(stream)
    assert stream.position == before
    again = list(batches(home, plan_of(home), batch_size=17, position=before))
    assert all(one.equals(two) for one, two in zip(stream, again, strict=True))


def test_explain_says_what_will_be_read_before_anything_is(home: Home) -> None:
    told = explain(plan_of(home))
    assert told.rows == 120
    assert [one.how for one in told.tables][:3] == ["rows", "by key", "by key"]
    assert "training_set:shop/clicks: 120 rows" in str(told)
