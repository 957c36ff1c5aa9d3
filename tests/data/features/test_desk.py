"""The desk carries out what it has shown, by the source that is on disk."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bowerbird.core.runs import RunState
from bowerbird.data.features.desk import Desk
from bowerbird.engines import EngineKind, open_engine
from bowerbird.rooms import registry
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace
from tests.data.features.shop import SPECS, STAGED, apply, staged, stocked

COLUMNS = 'columns={"n_3d": Count(over="3d"), "sum_7d": Sum("amount", over="7d")},'
COMPUTED = SPECS.replace(COLUMNS, 'function="own.calc:value", schema={"v": "long"},')
CODE = """
import pyarrow as pa

def value(events, asked):
    return pa.table({"v": pa.array([%d] * asked.num_rows, pa.int64())})
"""


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
