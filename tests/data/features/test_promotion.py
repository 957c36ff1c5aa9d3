"""Staged features reach the training table through their gates, all at once, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import replace

from bowerbird.core.errors import SpecError
from bowerbird.core.plans import Allowed
from bowerbird.core.runs import RunRecord, RunState
from bowerbird.core.targets import LogTarget, Token
from bowerbird.data.features.check import findings, kept, statistics_of
from bowerbird.data.features.verdicts import KINDS, failure
from bowerbird.lake import Lake, TableLog, read
from bowerbird.workspace.workspace import Workspace
from tests.data.features import shop as world
from tests.data.features.shop import (
    SOURCES,
    SPECS,
    apply,
    empty,
    events,
    open_shop,
    put,
    rows,
    stocked,
)

DAYS = range(20, 26)
INTO = "table:shop/training"

pytestmark = pytest.mark.slow
PROMOTED = (
    SPECS
    + """
from bowerbird.data.features.gates import *
from bowerbird.data.features.specs import Promotion

visits = FeatureGroup("shop/visits", source=events, key=("user",),
                      columns={"last": Last("amount", n=2), "n": Count()})
more = Backfill("shop/more", rows=rows, id=("row_id",), features=(visits,))
training = Table(
    "shop/training",
    schema=rows.schema
    | {"spend__sum_7d": "long", "visits__n": "long", "visits__last": "list<long>"},
    partition=(day("at"),),
    sort=("row_id",),
)
promotion = Promotion("shop/training", into=training, rows=rows, staged=(staged, more))
"""
)


def training(shop: Workspace, version: str | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(Lake(shop.home), INTO, version).sort_by("row_id").to_pylist()
    return found


def failed(shop: Workspace) -> RunRecord:
    run = shop.apply(shop.plan())
    while run is not None and run.state == RunState.DONE:
        run = shop.apply(shop.plan())
    assert run is not None, "nothing failed"
    return run


def errors(run: RunRecord) -> str:
    return "\n".join(str(step.error) for step in run.steps if step.error)


def commits(shop: Workspace) -> list[str]:
    """The commits that changed rows of the training table, newest first."""
    history = TableLog(Lake(shop.home), INTO).load()
    return [
        str(entry.version)
        for entry in history.entries
        if any(not cell.startswith("#") for cell in entry.changed)
    ]


def test_all_staging_tables_are_promoted_in_one_commit(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS, PROMOTED)
    apply(shop)
    assert len(commits(shop)) == 1
    found = training(shop)
    gates = {one.gate for one in findings(shop.home, "promotion:shop/training")}
    assert gates == {"RowCount", "NoDuplicates", "NoLeakage", "Coverage", "Finite", "Drift"}
    assert [row["row_id"] for row in found] == sorted(rows(DAYS)["row_id"].to_pylist())
    spend = world.staged(shop).to_pylist()
    visits = world.staged(shop, "backfill:shop/more").to_pylist()
    for row, one, other in zip(found, spend, visits, strict=True):
        assert row["spend__sum_7d"] == one["spend__sum_7d"]
        assert (row["visits__n"], row["visits__last"]) == (
            other["visits__n"],
            other["visits__last"],
        )
    assert shop.plan().empty


def test_a_new_day_is_promoted_alone(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS, PROMOTED)
    apply(shop)
    put(shop, SOURCES[0], events([26]))
    put(shop, SOURCES[1], rows([26]))
    apply(shop)
    newest = TableLog(Lake(shop.home), INTO).load().entries[0]
    assert newest.changed == {"at_day=1970-01-27"}
    assert len(training(shop)) == 7 * 6


def test_the_statistics_of_every_partition_are_kept_and_taken_over(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS, PROMOTED)
    apply(shop)
    before = kept(shop.home, "promotion:shop/training")
    assert len(before) == len(DAYS)
    n = statistics_of(before)["at_day=1970-01-21"]["visits__n"]
    assert (n.rows, n.nulls) == (6, 0)
    put(shop, SOURCES[0], events([26]))
    put(shop, SOURCES[1], rows([26]))
    apply(shop)
    after = kept(shop.home, "promotion:shop/training")
    assert {cell: after[cell] for cell in before} == before
    assert set(after) - set(before) == {"at_day=1970-01-27"}


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ('Range("visits__n", low=0, high=3)', "Range visits__n: values from"),
        ('Coverage("spend__sum_7d", at_least=0.999)', "Coverage spend__sum_7d"),
        ('Custom("tests.data.features.test_promotion:never")', "I do not like it"),
    ],
)
def test_a_gate_that_fails_stops_the_promotion_and_shows_rows(
    tmp_path: Path, gate: str, said: str
) -> None:
    gated = PROMOTED.replace("staged=(staged, more))", f"staged=(staged, more), gates=({gate},))")
    shop = stocked(tmp_path, DAYS, gated)
    text = errors(failed(shop))
    assert said in text
    assert "nothing was promoted" in text
    assert "promotion:shop/training" in text
    assert gate.startswith("Custom") or "such as row_id=" in text
    assert commits(shop) == []


def never(*_: object) -> str:
    return "I do not like it"


def test_features_that_were_not_audited_are_not_promoted_by_default(tmp_path: Path) -> None:
    blind = PROMOTED.replace("cells_a_commit=5", "cells_a_commit=5, audit=0")
    text = errors(failed(stocked(tmp_path, DAYS, blind)))
    assert "NoLeakage: nobody has looked for leaks" in text


def test_values_that_are_quite_others_than_the_live_ones_are_not_promoted(tmp_path: Path) -> None:
    many = PROMOTED.replace("cells_a_commit=5", "cells_a_commit=64")
    shop = stocked(tmp_path, DAYS, many)
    put(shop, SOURCES[0], events(DAYS, each=200))
    put(shop, SOURCES[1], rows(DAYS, each=400))
    apply(shop)
    live = training(shop)
    put(shop, SOURCES[0], events(DAYS, each=2000, seed=3))
    text = errors(failed(shop))
    assert "Drift" in text
    assert "PSI" in text
    assert training(shop) == live


CHECKED = PROMOTED.replace(
    "staged=(staged, more))",
    'staged=(staged, more), checks=("tests.data.features.test_promotion:not_too_many",))',
)


def not_too_many(found: pa.Table) -> str:
    most = max(found["visits__n"].to_pylist())
    return f"{most} visits" if most > 40 else ""


def test_a_check_that_comes_late_rolls_back_what_it_judged(tmp_path: Path) -> None:
    """Its process died, and meanwhile others have committed on top."""
    shop = stocked(tmp_path, DAYS, CHECKED)
    apply(shop)
    live, version = training(shop), commits(shop)[0]
    put(shop, SOURCES[0], events([25], each=300, seed=5))
    promoted = False
    while not promoted:
        plan = shop.plan()
        steps = tuple(step for step in plan.steps if step.kind != "features.check")
        promoted = any(step.kind == "features.promote" for step in steps)
        shop.apply(replace(plan, steps=steps, wants=f"{plan.wants}/unchecked"))
    assert training(shop) != live
    LogTarget(TableLog(Lake(shop.home), INTO), shop.clock).burn(Token("other/s1"))
    assert f"rolled back to version {version}" in errors(failed(shop))
    assert training(shop) == live


def test_a_check_that_fails_after_the_commit_rolls_it_back_by_itself(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS, CHECKED)
    apply(shop)
    live, version = training(shop), commits(shop)[0]
    put(shop, SOURCES[0], events([25], each=300, seed=5))
    text = errors(failed(shop))
    assert "not_too_many: at_day=1970-01-26" in text
    assert f"rolled back to version {version}" in text
    assert training(shop) == live
    told = failure(shop.ledger.failures(KINDS)["promotion:shop/training"])
    assert told is not None
    assert "was refused by" in told.told
    assert any("not_too_many" in gate for gate in told.gates)
    history = TableLog(Lake(shop.home), INTO).load()
    assert history.entries[0].results["bytes_written"] == 0
    # It is not tried again by itself: what was rolled back is held, and the plan says so.
    plan = shop.plan()
    assert not [step for step in plan.steps if step.kind == "features.promote"]
    assert any("rolled back here" in note.text for note in plan.notes)
    assert f"--release {INTO}" in next(note.fix for note in plan.notes if "rolled" in note.text)
    released = shop.plan(Allowed(release_held=frozenset({INTO})))
    assert [step.kind for step in released.steps if step.target == INTO] == ["features.promote"]


def test_a_promotion_is_rolled_back_by_hand_without_a_byte(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS, PROMOTED)
    apply(shop)
    first, live = commits(shop)[0], training(shop)
    put(shop, SOURCES[0], events([24], each=14, seed=8))
    apply(shop)
    assert training(shop) != live
    run = shop.apply(shop.plan_rollback(INTO, first, ("at_day=1970-01-25", "at_day=1970-01-26")))
    assert run is not None
    assert run.state == RunState.DONE
    assert training(shop) == live
    assert TableLog(Lake(shop.home), INTO).load().entries[0].results["bytes_written"] == 0


def test_two_trainers_that_read_while_a_promotion_happens_see_one_version(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS, PROMOTED)
    apply(shop)
    pinned = commits(shop)[0]
    before = training(shop, pinned)
    put(shop, SOURCES[0], events(DAYS, each=13, seed=8))
    apply(shop)
    assert training(shop, pinned) == before
    assert training(shop) != before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"visits__n": "long"', '"visits__m": "long"', "'visits__m' of table:shop/training"),
        (
            'partition=(day("at"),),\n    sort=("row_id",),\n)\npromotion',
            'sort=("row_id",),\n)\npromotion',
            "not partitioned as table:shop/rows",
        ),
        ("staged=(staged, more))", "staged=())", "nothing staged"),
        ("staged=(staged, more))", "staged=(staged, staged))", "is staged by"),
        ('id=("row_id",), features=(visits,)', 'id=("user",), features=(visits,)', "by user"),
        ("staged=(staged, more))", 'staged=(staged, more), gates=(Range("x"),))', "without an end"),
    ],
)
def test_a_promotion_that_cannot_be_is_refused_by_name(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    if said == "is staged by":
        new = "staged=(staged, again))"
    text = PROMOTED.replace(old, new)
    again = 'again = Backfill("shop/again", rows=rows, id=("row_id",), features=(spend,))\n'
    text = text.replace("promotion =", again + "promotion =")
    with pytest.raises(SpecError, match=said):
        open_shop(tmp_path, text).plan()


def test_rows_that_are_gone_are_neither_staged_nor_promoted(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS, PROMOTED)
    apply(shop)
    whole, lake = training(shop), Lake(shop.home)
    empty(shop, SOURCES[1], "at_day=1970-01-23")
    apply(shop)
    left = [row for row in whole if row["at"].day != 23]
    assert len(left) < len(whole)
    assert training(shop) == left
    assert read(lake, "backfill:shop/spend").num_rows == len(left)
    assert shop.plan().empty
    put(shop, SOURCES[1], rows([22]))
    apply(shop)
    assert training(shop) == whole
