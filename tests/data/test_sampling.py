"""Which rows are trained on and what they weigh, and what labels they get."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import SpecError, UserError
from bowerbird.data.features.columns import DAY
from bowerbird.data.samples.labels import Judged, Label, Reward, labelled
from bowerbird.data.samples.sampling import (
    Between,
    Downsample,
    Sampling,
    Share,
    WithoutSpam,
    check,
    sampled,
    sampled_reference,
)

HERE = "tests.data.test_sampling"


def bucket_of(rows: list[tuple[int, int, int]]) -> dict[str, Any]:
    """Rows (entity, hours since 1970, click)."""
    entity, hour, click = (np.array([row[at] for row in rows], dtype=np.int64) for at in range(3))
    hashes = (entity * 2_654_435_761 % 2**31).astype(np.uint32)
    at = hour * DAY // 24
    return {"at": at, "entity": entity, "hashes": hashes, "values": {"click": click.astype(float)}}


DECLARED: tuple[Sampling, ...] = (
    Between("1970-01-01", "1970-01-03"),
    Share(0.6),
    WithoutSpam(2),
    Downsample("click", 0, 0.3),
)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 80), st.integers(0, 1))),
    st.integers(0, 9),
    st.permutations(DECLARED),
)
def test_rows_are_chosen_as_one_at_a_time(
    rows: list[tuple[int, int, int]], seed: int, declared: list[Sampling]
) -> None:
    given = bucket_of(rows)
    found = sampled(declared, **given, seed=seed)
    plain = sampled_reference(declared, **given, seed=seed)
    assert found.kept.tolist() == plain.kept.tolist()
    assert found.weight.tolist() == plain.weight.tolist()
    assert found.dropped == plain.dropped


def test_weights_keep_what_a_class_weighs_in_all() -> None:
    rows = bucket_of([(n, 1, n % 10 == 0) for n in range(20_000)])
    found = sampled((Downsample("click", 0, 0.1),), **rows, seed=1)
    clicks = rows["values"]["click"][found.kept]
    assert found.weight[clicks == 1].tolist() == [1.0] * 2000
    assert found.weight[clicks == 0].sum() == pytest.approx(18_000, rel=0.05)
    assert found.dropped["sampling[0] Downsample"] == 20_000 - len(found.kept)


def test_operators_draw_independently() -> None:
    rows = bucket_of([(n, 1, 0) for n in range(5000)])
    one = Downsample("click", 0, 0.5)
    kept = len(sampled((one, one), **rows, seed=0).kept)
    assert kept == pytest.approx(1250, rel=0.1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.just(0)), max_size=30))
def test_a_row_is_drawn_alike_in_a_split_and_in_the_whole(rows: list[tuple[int, int, int]]) -> None:
    one = Downsample("click", 0, 0.5)
    every = bucket_of(rows)
    inside = [row for row in rows if row[1] >= 24]
    whole = sampled((one, Between("1970-01-02")), **every, seed=1).kept
    places = np.cumsum([row[1] >= 24 for row in rows]) - 1
    part = sampled((one,), **bucket_of(inside), seed=1).kept
    assert places[whole].tolist() == part.tolist()


def test_a_larger_share_holds_all_of_a_smaller_one() -> None:
    rows = bucket_of([(n, 1, 0) for n in range(3000)])
    few, more = (
        set(sampled((Share(share),), **rows, seed=0).kept.tolist()) for share in (0.1, 0.4)
    )
    assert few < more


def test_a_spammer_is_left_out_on_that_day_and_stays_on_others() -> None:
    rows = bucket_of([(1, 1, 0), (1, 2, 0), (1, 3, 0), (1, 30, 0), (2, 2, 0)])
    assert sampled((WithoutSpam(2),), **rows, seed=0).kept.tolist() == [3, 4]


def test_a_window_holds_its_start_and_not_its_end() -> None:
    rows = bucket_of([(1, 23, 0), (1, 24, 0), (1, 47, 0), (1, 48, 0)])
    window = (Between("1970-01-02", "1970-01-03T01:00+01:00"),)
    assert sampled(window, **rows, seed=0).kept.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (Share(0.0), "a share of 0.0"),
        (Downsample("click", 0, 1.5), "a rate of 1.5"),
        (WithoutSpam(0), "at most 0 rows"),
        (WithoutSpam(3, "day"), "not a duration"),
        (Between("1970-01-02T08:00"), "has no zone"),
        (Between("yesterday"), "yesterday"),
        (Between("1970-01-02", "1970-01-01"), "ends before it starts"),
    ],
)
def test_what_cannot_be_sampled_is_named(one: Sampling, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check((one,))


# -- labels ------------------------------------------------------------------------------------

ACTIONS = pa.table({"action": ["click", "hide", "save"], "click": [1, 0, 2], "save": [0, 0, 1]})


def test_a_reward_is_looked_up_by_action_or_summed_over_columns() -> None:
    worth = {"click": 1.0, "save": 5.0}
    labels: dict[str, Label] = {"a": Reward(worth, "action"), "b": Reward(worth)}
    found = labelled(labels, ACTIONS)
    assert found["a"].tolist() == [1, 0, 5]
    assert found["b"].tolist() == [1, 0, 7]


def clicks(batch: pa.RecordBatch) -> Any:
    return batch.column("click")


def raises(batch: pa.RecordBatch) -> Any:
    raise ZeroDivisionError("no impressions")


def shorter(batch: pa.RecordBatch) -> Any:
    return [1.0]


def test_a_label_may_be_a_function_over_a_batch() -> None:
    assert labelled({"a": Judged(f"{HERE}:clicks", ("click",))}, ACTIONS)["a"].tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (Judged(f"{HERE}:raises", ("click",)), "raised ZeroDivisionError: no impressions"),
        (Judged(f"{HERE}:shorter", ("click",)), r"gave \(1,\) labels for 3 rows"),
    ],
)
def test_a_label_function_that_fails_is_named(label: Label, said: str) -> None:
    with pytest.raises(UserError, match=f"labels.worth: .*{said}"):
        labelled({"worth": label}, ACTIONS)


@pytest.mark.parametrize(
    ("label", "rows"),
    [
        (Reward({"click": 1}, "action"), {"action": ["click", None]}),
        (Reward({"click": 1}), {"click": [1, None]}),
        (Reward({"click": 1}), {"click": [1.0, float("nan")]}),
        (Judged(f"{HERE}:clicks", ("click",)), {"click": [1, None]}),
    ],
)
def test_a_label_that_is_null_or_nan_is_refused_and_counted(
    label: Label, rows: dict[str, list[Any]]
) -> None:
    with pytest.raises(UserError, match=r"labels.worth: 1 of 2 rows have no label.*row 1"):
        labelled({"worth": label}, pa.table(rows))
