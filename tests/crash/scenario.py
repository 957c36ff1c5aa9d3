"""One process of a crash test: ``python -m tests.crash.scenario FOLDER NAME``.

Every scenario can be run again from the start and then goes on; `state` tells the end.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from bowerbird.core.clock import SystemClock
from bowerbird.core.plans import Allowed, Plan
from bowerbird.core.registry import Registry
from bowerbird.core.runs import RunState
from bowerbird.core.targets import Change, LogTarget, Token, Version
from bowerbird.engines import EngineKind, open_engine
from bowerbird.lake import Keyed, Lake, Table, TableLog, read
from bowerbird.lake.merges.steps import plan_merge
from bowerbird.lake.upkeep.compaction import plan_compaction
from bowerbird.lake.upkeep.expiry import plan_expiry
from bowerbird.lake.upkeep.orphans import plan_clean
from bowerbird.lake.versions import branches
from bowerbird.workspace.new import make_project
from bowerbird.workspace.releases import open_log
from bowerbird.workspace.settings import load_settings
from bowerbird.workspace.workspace import Workspace

SPECS = """
import pyarrow as pa
from bowerbird.lake import Table, bucket
from tests.crash.mottos import Motto

COUNT = 26

def letters():
    ids = list(range(COUNT))
    return pa.table({"id": pa.array(ids, pa.int64()), "letter": [chr(97 + i) for i in ids]})

alphabet = Table("crash/alphabet", schema={"id": "long not null", "letter": "string"},
                 partition=(bucket("id", 4),), sort=("id",), source=letters)
motto = Motto("crash/motto", letters=alphabet)
"""
LATER = SPECS.replace("COUNT = 26", "COUNT = 20")
TABLE, RELEASE = "table:crash/alphabet", "motto:crash/motto"


def workspace(folder: Path) -> Workspace:
    from bowerbird.rooms import registry
    from tests.crash.mottos import ROOM

    if not (folder / "bowerbird.toml").exists():
        make_project(folder)
        (folder / "specs" / "tables.py").write_text(SPECS)
    return Workspace(
        load_settings(folder, variables={}),
        Registry([*registry().rooms, ROOM]),
        lambda loaded: open_engine(EngineKind.THREADS, workers=2, paths=(loaded.project,)),
    )


def apply(shop: Workspace) -> None:
    run = shop.apply(shop.plan())
    assert run is None or run.state == RunState.DONE, run


def apply_again(shop: Workspace) -> None:
    """What is there is overwritten by a later definition."""
    spec = Path(shop.loaded.project) / "specs" / "tables.py"
    if not Path(shop.loaded.project, "applied").exists():
        apply(shop)
        spec.write_text(LATER)
        Path(shop.loaded.project, "applied").touch()
        shop = workspace(Path(shop.loaded.project))
    apply(shop)


def rollback(shop: Workspace) -> None:
    apply_again(shop)
    shop = workspace(Path(shop.loaded.project))
    for ref in (TABLE, RELEASE):
        cells = shop._target(shop.step_kind_of(ref), ref).read().cells
        if not any(state.held for state in cells.values()):
            run = shop.apply(shop.plan_rollback(ref))
            assert run is not None
            assert run.state == RunState.DONE, run


def publish(shop: Workspace) -> None:
    """A branch is made, written to, and published; then its name is taken away."""
    apply(shop)
    lake = Lake(shop.home)

    def branch() -> Plan:
        head = TableLog(lake, TABLE).load().head
        return branches.plan_name(branches.NameKind.BRANCH, TABLE, "audit", str(head))

    def removal() -> Plan:
        head = TableLog(lake, TABLE, "audit").load().head
        return branches.plan_removal(TABLE, "audit", str(head))

    made = carry(shop, "branch", branch)
    if not Path(shop.loaded.project, "publish").exists():
        target = LogTarget(TableLog(lake, TABLE, "audit"), SystemClock())
        change = Change("a1", makes={"#audited": "m"})
        target.commit(Token("written/beside"), Version(made.steps[0].definition["at"]), change)
    carry(shop, "publish", lambda: branches.plan_publish(lake, TABLE, "audit"))
    carry(shop, "removal", removal)


def carry(shop: Workspace, name: str, make: Callable[[], Plan]) -> Plan:
    """Carry a plan out once: the very plan, also by a process that comes after a crash."""
    kept = Path(shop.loaded.project, name)
    if not kept.exists():
        kept.write_bytes(pickle.dumps(make()))
    plan: Plan = pickle.loads(kept.read_bytes())
    if any(run.plan == plan and run.state == RunState.DONE for run in shop.ledger.runs()):
        return plan
    run = shop.apply(plan)
    assert run is not None
    assert run.state == RunState.DONE, run
    return plan


def changes() -> pa.Table:
    """An insert, an update and a delete of the alphabet."""
    ids = pa.array([99, 1, 2], pa.int64())
    return pa.table({"id": ids, "letter": ["merged"] * 3, "op": ["insert", "update", "delete"]})


def merge(shop: Workspace) -> None:
    apply(shop)
    shop = workspace(Path(shop.loaded.project))
    lake = Lake(shop.home)
    if 99 not in read(lake, TABLE).column("id").to_pylist():
        spec = shop.specs[TABLE].spec
        assert isinstance(spec, Table)
        call = "tests.crash.scenario:changes"
        run = shop.apply(plan_merge(lake, spec, call, Keyed(key=("id",), op="op")))
        assert run is not None
        assert run.state == RunState.DONE, run


def drop(shop: Workspace) -> None:
    apply(shop)
    (Path(shop.loaded.project) / "specs" / "tables.py").write_text("")
    shop = workspace(Path(shop.loaded.project))
    run = shop.apply(shop.plan(Allowed(drop=frozenset({TABLE, RELEASE}))))
    assert run is None or run.state == RunState.DONE, run


def cancel(shop: Workspace) -> None:
    """A step that is at large is cancelled: its token is burnt."""
    for run in shop.ledger.open_runs() or [shop.ledger.start(shop.plan(), "user:test")]:
        shop.ledger.begin(run.id, "s1", "nobody:1:1", 3000)
        assert shop.cancel(run.id).state in (RunState.CANCELLED, RunState.DONE)


def maintain(shop: Workspace) -> None:
    """Deleted rows are compacted away, the old version expires, what an attempt left is cleaned."""
    apply_again(shop)
    shop = workspace(Path(shop.loaded.project))
    lake, later = Lake(shop.home), datetime.now(UTC) + timedelta(days=1)
    deleted, orphan = Path(shop.loaded.project, "deleted"), Path(lake.location(TABLE), "data/x.txt")
    if not deleted.exists():
        delete_first_row(lake)
        orphan.touch()
        deleted.touch()
    apply(shop)  # what reads the table reads it without the row
    for plan in (
        lambda: plan_compaction(lake, TABLE),
        lambda: plan_expiry(lake, TABLE, later, spared=shop.ledger.spared),
        lambda: plan_clean(lake, TABLE, later, shop.ledger.spared),
    ):
        for run in shop.ledger.open_runs():
            assert shop.carry_out(run.id).state == RunState.DONE
        run = shop.apply(plan())
        assert run is None or run.state == RunState.DONE, run


def delete_first_row(lake: Lake) -> None:
    from tests.lake.deleting import delete_rows

    table = lake.load(TABLE)
    if not any(task.delete_files for task in table.scan().plan_files()):
        delete_rows(lake, TABLE, next(iter(table.scan().plan_files())).file, [0])


SCENARIOS = {
    "apply": apply,
    "apply_again": apply_again,
    "rollback": rollback,
    "publish": publish,
    "merge": merge,
    "drop": drop,
    "cancel": cancel,
    "maintain": maintain,
}


def state(folder: Path) -> dict[str, Any]:
    """All that a user could see at the end, run ids and times apart."""
    shop = workspace(folder)
    lake = Lake(shop.home)
    rows = sorted(read(lake, TABLE).to_pylist(), key=str) if lake.exists(TABLE) else None
    history = open_log(shop.home, RELEASE).load()
    live = history.entries[0] if history.entries else None
    motto = None
    if live is not None and live.cells:
        motto = open_log(shop.home, RELEASE).pinned().files.path("motto.txt").read_text()
    runs = shop.ledger.runs()
    tokens = [run.token(step.id) for run in runs for step in run.steps]
    logs = [TableLog(lake, TABLE), open_log(shop.home, RELEASE)]
    carried = [entry.token for log in logs for entry in log.load().entries]
    return {
        "rows": rows,
        "motto": motto,
        "open runs": len(shop.ledger.open_runs()),
        "twice": [token for token in set(carried) if carried.count(token) > 1],
        "strange": [t for t in carried if t not in tokens and t != "written/beside"],
        "left": left_behind(shop),
        "states": sorted({step.state for run in runs for step in run.steps}),
    }


def left_behind(shop: Workspace) -> list[str]:
    """Data files that no table and no release names."""
    lake = Lake(shop.home)
    named = set()
    if lake.exists(TABLE):
        table = lake.load(TABLE)
        for snapshot in table.snapshots():
            for task in table.scan(snapshot_id=snapshot.snapshot_id).plan_files():
                named.add(task.file.file_path.rpartition("/")[2])
    log = open_log(shop.home, RELEASE)
    for entry in log.load().entries:
        if not entry.burnt and entry.attempt and entry.cells:
            named |= set(log.pinned(entry.version).files.files)
    found = Path(shop.home.warehouse).rglob("*")
    files = [p for p in found if p.suffix in (".parquet", ".txt", ".arrow")]
    return sorted(p.name for p in files if p.name not in named)


if __name__ == "__main__":
    folder, name = Path(sys.argv[1]), sys.argv[2]
    folder.mkdir(parents=True, exist_ok=True)
    SCENARIOS[name](workspace(folder))
    # In a file: what the scenario itself says goes to the standard output.
    (folder / "end.json").write_text(json.dumps(state(folder)))
