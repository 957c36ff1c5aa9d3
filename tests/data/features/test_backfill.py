"""A backfill stages what is missing or stale, cell by cell, and nothing else."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import numpy as np
import pyarrow as pa
import pytest

from bowerbird.core.engine import Engine
from bowerbird.core.errors import UserError
from bowerbird.core.plans import Plan
from bowerbird.core.runs import RunRecord, RunState
from bowerbird.data.features.compute import compute
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Lake, read
from bowerbird.rooms import registry
from bowerbird.workspace.settings import Loaded, load_settings
from bowerbird.workspace.workspace import Workspace
from tests.data.features.shop import (
    SOURCES,
    SPECS,
    STAGED,
    apply,
    events,
    open_shop,
    put,
    rows,
    staged,
    stocked,
)

DAYS = range(20, 32)


def cells(plan: Plan) -> list[str]:
    return sorted(cell for step in plan.steps if step.target == STAGED for cell in step.cells)


def day(number: int) -> str:
    return f"at_day={np.datetime64(number, 'D')}"


def expected(shop: Workspace) -> pa.Table:
    """All rows, computed at once from all events."""
    lake = Lake(shop.home)
    group = shop.specs["feature_group:shop/spend"].spec
    assert isinstance(group, FeatureGroup)
    every = read(lake, SOURCES[1]).sort_by("row_id")
    found = compute(group, read(lake, SOURCES[0]), every.select(["user", "at"]))
    return pa.table({f"spend__{name}": found[name] for name in found.column_names})


def right(shop: Workspace) -> bool:
    found = staged(shop)
    wanted = expected(shop)
    return found.num_rows == wanted.num_rows and all(
        found[name].to_pylist() == wanted[name].to_pylist() for name in wanted.column_names
    )


def test_every_partition_of_the_rows_is_staged_in_a_few_commits(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS)
    plan = shop.plan()
    assert cells(plan) == [day(number) for number in DAYS]
    assert [len(step.cells) for step in plan.steps] == [5, 5, 2]
    assert plan.steps[0].reason == "5 cells missing"
    assert plan.steps[0].cost.rows == 30
    apply(shop)
    assert right(shop)
    assert shop.plan().empty


@pytest.mark.slow
def test_a_new_day_costs_a_day(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS)
    apply(shop)
    put(shop, SOURCES[0], events([32]))
    put(shop, SOURCES[1], rows([32]))
    plan = shop.plan()
    assert cells(plan) == [day(32)]
    assert plan.steps[0].cost.seconds is not None
    apply(shop)
    assert right(shop)


@pytest.mark.slow
def test_late_events_restate_the_days_that_can_see_them_and_no_other(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS)
    apply(shop)
    put(shop, SOURCES[0], events([22], each=30, seed=9))
    plan = shop.plan()
    # The longest window is of seven days: a row of the eighth day sees the last hours of the first.
    assert cells(plan) == [day(number) for number in range(22, 30)]
    assert "table:shop/events changed" in plan.steps[0].reason
    apply(shop)
    assert right(shop)


@pytest.mark.slow
def test_groups_of_one_source_each_see_their_own_time_of_it(tmp_path: Path) -> None:
    two = SPECS.replace("features=(spend,)", "features=(spend, lately)").replace(
        "staged = ",
        'lately = FeatureGroup("shop/lately", source=events, key=("user",),\n'
        '                      columns={"n": Count(over="1d")})\nstaged = ',
    )
    shop = stocked(tmp_path, DAYS, two)
    apply(shop)
    put(shop, SOURCES[0], events([22], each=30, seed=9))
    assert cells(shop.plan()) == [day(number) for number in range(22, 30)]
    apply(shop)
    assert right(shop)


@pytest.mark.slow
def test_a_definition_that_changes_makes_every_cell_stale_and_says_which_field(
    tmp_path: Path,
) -> None:
    apply(stocked(tmp_path, DAYS))
    shop = open_shop(tmp_path, SPECS.replace('over="7d"', 'over="5d"'))
    plan = shop.plan()
    assert len(cells(plan)) == len(DAYS)
    assert "7d → 5d" in plan.steps[0].reason
    apply(shop)
    assert right(shop)


@pytest.mark.slow
def test_only_the_dates_that_are_asked_for_are_staged(tmp_path: Path) -> None:
    some = SPECS.replace("cells_a_commit=5", 'since="1970-01-25", until="1970-01-27"')
    shop = stocked(tmp_path, DAYS, some)
    assert cells(shop.plan()) == [day(24), day(25)]
    apply(shop)
    wider = open_shop(tmp_path, some.replace("1970-01-27", "1970-01-28"))
    assert cells(wider.plan()) == [day(26)]


def test_a_backfill_of_rows_that_are_not_there_waits_for_them(tmp_path: Path) -> None:
    shop = open_shop(tmp_path)
    plan = shop.plan()
    assert {step.kind for step in plan.steps} == {"table.create"}
    assert [note.later for note in plan.notes] == [True]
    apply(shop)
    assert shop.plan().empty or cells(shop.plan()) == []


def cut_off(shop: Workspace) -> RunRecord:
    """A run whose process ended after its first step."""
    run = shop.ledger.start(shop.plan(), "user:test")
    first = run.plan.steps[0]
    lease = shop.ledger.begin(run.id, first.id, "test", 30.0, lambda _: False)
    assert lease is not None
    with shop._using() as engine:
        shop._executor(engine, None)._attempt(shop.ledger.run(run.id), first, lease, Event())
    return run


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    shop = stocked(tmp_path, DAYS)
    run = cut_off(shop)
    assert staged(shop).num_rows == 5 * 6
    again = open_shop(tmp_path)
    ended = apply(again)
    assert ended is not None
    assert (ended.id, ended.state) == (run.id, RunState.DONE)
    assert right(again)


@pytest.mark.slow
def test_a_definition_that_changes_in_the_middle_is_not_mixed_with_the_old_one(
    tmp_path: Path,
) -> None:
    shop = stocked(tmp_path, DAYS)
    run = cut_off(shop)
    changed = open_shop(tmp_path, SPECS.replace('over="7d"', 'over="5d"'))
    assert len(cells(changed.plan())) == len(DAYS)
    apply(changed)
    assert changed.ledger.run(run.id).state == RunState.CANCELLED
    assert right(changed)


@pytest.mark.slow
def test_rows_whose_id_is_not_their_own_are_refused_with_an_example(tmp_path: Path) -> None:
    shop = stocked(tmp_path, range(20, 22), SPECS.replace('id=("row_id",)', 'id=("user",)'))
    run = shop.apply(shop.plan())
    assert run is not None
    assert run.state == RunState.FAILED
    error = str(run.steps[0].error)
    assert "have the same user=" in error
    assert "backfill:shop/spend: id" in error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id=("row_id",)', 'id=("nothing",)', "no column 'nothing'"),
        ('key=("user",)', 'key=("nothing",)', "no column 'nothing'"),
        ("columns={", 'at="never", columns={', "no column 'never'"),
    ],
)
def test_a_column_that_is_not_there_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    shop = stocked(tmp_path, range(20, 22), SPECS.replace(old, new, 1))
    run = shop.apply(shop.plan())
    assert run is not None
    assert said in str(run.steps[0].error)


READS_THE_FUTURE = """    sql='''
        SELECT asked.row, count(e.amount) AS n FROM asked LEFT JOIN events e
        ON e."user" = asked."user" AND e."at" < asked."at" + INTERVAL 2 HOUR
        GROUP BY asked.row''',
    schema={"n": "long"},
"""


@pytest.mark.slow
def test_a_group_that_reads_the_future_is_not_staged(tmp_path: Path) -> None:
    line = next(line for line in SPECS.splitlines(keepends=True) if "columns={" in line)
    shop = stocked(tmp_path, DAYS, SPECS.replace(line, READS_THE_FUTURE))
    run = shop.apply(shop.plan())
    assert run is not None
    assert run.state == RunState.FAILED
    assert "spend reads the future: n of user=" in str(run.steps[0].error)
    assert not Lake(shop.home).find(STAGED)


ONE_PLACE = """    sql='SELECT asked.row, 1 AS n FROM asked', schema={{"n": "long"}}, runs=("{}",),
"""


@pytest.mark.slow
@pytest.mark.parametrize(("place", "other"), [("local", "ray"), ("ray", "local")])
def test_a_group_is_staged_by_an_engine_of_a_place_where_it_runs_and_by_no_other(
    tmp_path: Path, place: str, other: str
) -> None:
    line = next(line for line in SPECS.splitlines(keepends=True) if "columns={" in line)
    here = stocked(tmp_path, range(20, 22), SPECS.replace(line, ONE_PLACE.format(place)))

    def named_ray(loaded: Loaded) -> Engine:
        engine = open_engine(EngineKind.THREADS, workers=1, paths=(loaded.project,))
        engine.name = "ray, by its name alone"
        return engine

    there = Workspace(load_settings(tmp_path, variables={}), registry(), named_ray)
    runs, refuses = (here, there) if place == "local" else (there, here)
    refused = refuses.apply(refuses.plan())
    assert refused is not None
    assert f"which does not run in {other}" in str(refused.steps[0].error)
    done = runs.apply(runs.plan())
    assert done is not None
    assert done.state == RunState.DONE


@pytest.mark.slow
def test_rows_before_the_moment_of_their_features_are_refused(tmp_path: Path) -> None:
    latest = 'cells_a_commit=5, alignment=Latest("2020-01-01T00:00:00Z")'
    shop = stocked(tmp_path, DAYS, SPECS.replace("cells_a_commit=5", latest))
    run = shop.apply(shop.plan())
    assert run is not None
    assert "lies after the row" in str(run.steps[0].error)


def test_dates_need_rows_that_lie_by_date(tmp_path: Path) -> None:
    by_nothing = SPECS.replace(
        'partition=(day("at"),),\n    sort=("row_id",)', 'sort=("row_id",)'
    ).replace("cells_a_commit=5", 'since="1970-01-25"')
    shop = stocked(tmp_path, DAYS, by_nothing)
    with pytest.raises(UserError, match="not partitioned by the time"):
        shop.plan()
