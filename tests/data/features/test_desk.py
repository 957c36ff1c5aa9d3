"""The desk carries out what it has shown, by the source that is on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bowerbird.core.errors import RefError
from bowerbird.core.plans import Plan
from bowerbird.core.runs import RunState
from bowerbird.data.features.desk import Desk
from bowerbird.engines import EngineKind, open_engine
from bowerbird.rooms import registry
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace
from tests.data.features.shop import (
    SOURCES,
    SPECS,
    STAGED,
    apply,
    events,
    open_shop,
    put,
    staged,
    stocked,
)
from tests.data.features.test_promotion import PROMOTED

COLUMNS = 'columns={"n_3d": Count(over="3d"), "sum_7d": Sum("amount", over="7d")},'
COMPUTED = SPECS.replace(COLUMNS, 'function="own.calc:value", schema={"v": "long"},')
CODE = """
import pyarrow as pa

def value(events, asked):
    return pa.table({"v": pa.array([%d] * asked.num_rows, pa.int64())})
"""


@pytest.mark.slow
def test_one_is_planned_once_and_says_what_the_board_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = stocked(tmp_path, range(20, 28), PROMOTED)
    apply(shop)
    put(shop, SOURCES[0], events([21], each=14, seed=8))
    desk, made, plan = Desk(shop), 0, Workspace.plan

    def counted(*given: Any, **named: Any) -> Plan:
        nonlocal made
        made += 1
        return plan(*given, **named)

    monkeypatch.setattr(Workspace, "plan", counted)
    one = desk.one(STAGED)
    assert made == 1
    assert one.line in desk.board().lines
    stale = [part.why for part in one.partitions if part.standing == "stale"]
    assert set(stale) == {"table:shop/events changed"}
    # Of all partitions together, however many a commit takes.
    assert len(stale) == one.line.todo > 5
    assert one.line.reasons == (f"{len(stale)} cells stale: table:shop/events changed",)
    desk.close()
    shop.close()


@pytest.mark.parametrize(
    ("ref", "problem", "expected"),
    [
        ("backfill:shop/spnd", "the project declares no backfill:shop/spnd", STAGED + "?"),
        ("x", "the project declares no x", "one of: "),
        (SOURCES[0], f"{SOURCES[0]} is a Table", "the ref of a Backfill or of a Promotion"),
    ],
)
def test_a_ref_to_nothing_is_told_with_the_name_that_is_near(
    tmp_path: Path, ref: str, problem: str, expected: str
) -> None:
    shop = open_shop(tmp_path)
    desk = Desk(shop)
    for ask in (desk.one, desk.plan, desk.statistics, desk.way_back):
        with pytest.raises(RefError) as told:
            ask(ref)
        assert told.value.problem == problem
        assert str(told.value.expected).startswith(expected)
    desk.close()
    shop.close()


@pytest.mark.slow
def test_a_function_that_was_edited_is_staged_with_its_new_code(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "__init__.py").touch()
    (own / "calc.py").write_text(CODE % 1)
    stocked(tmp_path, range(20, 22), COMPUTED).close()
    workspace = Workspace(
        load_settings(tmp_path, variables={}),
        registry(),
        lambda one: open_engine(EngineKind.PROCESSES, workers=1, paths=(one.project,)),
    )
    apply(workspace)
    (own / "calc.py").write_text(CODE % 22222)
    desk = Desk(workspace)
    run = desk.carry(STAGED, desk.plan(STAGED).fingerprint)
    assert run is not None
    while not workspace.ledger.run(run).state.ended:
        time.sleep(0.01)
    assert workspace.ledger.run(run).state == RunState.DONE
    assert set(staged(workspace)["spend__v"].to_pylist()) == {22222}
    assert desk.plan(STAGED).cells == 0
    desk.close()
    workspace.close()
