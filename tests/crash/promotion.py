"""One process of a crash test: ``python -m tests.crash.promotion FOLDER``.

Features are staged and promoted; then events come that a check does not let through, and the
promotion that they bring is rolled back by itself. It can be run again from the start.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from bowerbird.core.runs import RunState
from bowerbird.lake import Lake, TableLog, read
from tests.data.features.shop import SOURCES, events, open_shop, put, rows
from tests.data.features.test_promotion import CHECKED, INTO

DAYS = range(20, 24)
STAGED = ("backfill:shop/spend", "backfill:shop/more")
SPECS = CHECKED.replace("cells_a_commit=5", "cells_a_commit=2")


def done(folder: Path, name: str) -> bool:
    return (folder / name).exists()


def settle(folder: Path) -> None:
    """Apply until nothing is left to do; a failure is what the second half is about."""
    shop, failures = open_shop(folder, SPECS), 0
    while failures < 3:
        for run in shop.ledger.open_runs():
            shop.carry_out(run.id)
        made = shop.plan()
        run = shop.apply(made)
        if run is None:
            return
        failures += run.state == RunState.FAILED


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shop = open_shop(folder, SPECS)
    if not done(folder, "stocked"):
        plan = shop.plan()
        tables = tuple(step for step in plan.steps if step.kind == "table.create")
        shop.apply(msgspec.structs.replace(plan, steps=tables))
        put(shop, SOURCES[0], events(DAYS))
        put(shop, SOURCES[1], rows(DAYS))
        (folder / "stocked").touch()
    if not done(folder, "promoted"):
        settle(folder)
        (folder / "promoted").touch()
    if not done(folder, "more"):
        put(shop, SOURCES[0], events([DAYS[-1]], each=300, seed=5))
        (folder / "more").touch()
    settle(folder)
    # In a file: what is said goes to the standard output.
    (folder / "end.json").write_text(json.dumps(state(folder)))


def state(folder: Path) -> dict[str, Any]:
    """What a user sees at the end, run ids and times apart."""
    shop = open_shop(folder, SPECS)
    lake = Lake(shop.home)
    carried = [
        entry.token for ref in (INTO, *STAGED) for entry in TableLog(lake, ref).load().entries
    ]
    notes = [note.text for note in shop.plan().notes]
    return {
        "training": json.loads(json.dumps(sorted_rows(lake, INTO), default=str)),
        "staged": [json.loads(json.dumps(sorted_rows(lake, ref), default=str)) for ref in STAGED],
        "twice": [token for token in set(carried) if carried.count(token) > 1],
        "open runs": len(shop.ledger.open_runs()),
        "held": [text for text in notes if "rolled back here" in text],
        "steps": len(shop.plan().steps),
        "left": left_behind(shop.home.warehouse, lake),
    }


def sorted_rows(lake: Lake, ref: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(lake, ref).sort_by("row_id").to_pylist()
    return found


def left_behind(warehouse: str, lake: Lake) -> list[str]:
    """Data files that no snapshot names."""
    named = set()
    for ref in (*SOURCES, INTO, *STAGED):
        table = lake.load(ref)
        for snapshot in table.snapshots():
            for task in table.scan(snapshot_id=snapshot.snapshot_id).plan_files():
                named.add(task.file.file_path.rpartition("/")[2])
    return sorted(p.name for p in Path(warehouse).rglob("*.parquet") if p.name not in named)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
