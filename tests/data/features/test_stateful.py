"""Whatever happens in whatever order: what is staged and promoted is what all events give."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bowerbird.core.plans import Allowed
from bowerbird.core.runs import RunState
from bowerbird.core.targets import History
from bowerbird.data.features.compute import compute
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.lake import Lake, TableLog, read
from tests.data.features.shop import SOURCES, STAGED, events, open_shop, put, rows, stocked
from tests.data.features.test_promotion import INTO, PROMOTED

SEARCH = os.environ.get("BOWERBIRD_STATEFUL_EXAMPLES")
"""So many sequences are drawn anew; without it, the same few each time."""

PLAIN = PROMOTED.replace("staged=(staged, more))", "staged=(staged, more), gates=())")
WINDOWS = ("7d", "5d")


class Promoting(RuleBasedStateMachine):
    """Writers, developers and crashes around one training table."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.window = WINDOWS[0]
        self.settled = False
        self.held: dict[int, list[dict[str, Any]]] = {}

    @initialize()
    def stock(self) -> None:
        self.days = {20, 21, 22}
        self.shop = stocked(Path(self.folder.name), range(20, 23), PLAIN)

    def teardown(self) -> None:
        self.folder.cleanup()

    # -- what happens ----------------------------------------------------------------------------

    @rule(day=st.integers(20, 25), seed=st.integers(1, 3))
    def events_come(self, day: int, seed: int) -> None:
        put(self.shop, SOURCES[0], events([day], each=8, seed=seed))
        self.settled = False

    @rule(day=st.integers(20, 25))
    def rows_come(self, day: int) -> None:
        put(self.shop, SOURCES[1], rows([day]))
        self.days.add(day)
        self.settled = False

    @rule(window=st.sampled_from(WINDOWS))
    def a_definition_changes(self, window: str) -> None:
        self.window, self.settled = window, False
        old = '"sum_7d": Sum("amount", over="7d")'
        text = PLAIN.replace(old, old.replace('over="7d"', f'over="{window}"'))
        self.shop = open_shop(Path(self.folder.name), text)

    @rule()
    def apply(self) -> None:
        self._apply(Allowed())

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        self._apply(Allowed(release_held=frozenset({INTO})))
        self.held = {}

    def _apply(self, allowed: Allowed) -> None:
        while True:
            plan = self.shop.plan(allowed)
            run = self.shop.apply(plan)
            assert run is None or run.state == RunState.DONE, [step.error for step in run.steps]
            if plan.empty or not any(note.later for note in plan.notes):
                break
        self.settled = True

    @rule(steps=st.integers(1, 2))
    def a_process_dies_on_the_way(self, steps: int) -> None:
        """Some steps of the plan are carried out, and the process is gone."""
        plan = self.shop.plan()
        if plan.empty or self.shop.ledger.open_runs():
            return
        run = self.shop.ledger.start(plan, "user:test")
        for step in [one for one in plan.steps if not one.needs()][:steps]:
            lease = self.shop.ledger.begin(run.id, step.id, "gone:1:1", 0.0, lambda _: True)
            assert lease is not None
            with self.shop._using() as engine:
                executor = self.shop._executor(engine, None)
                executor._attempt(self.shop.ledger.run(run.id), step, lease, Event())
        self.settled = False

    @precondition(lambda self: self.settled and self._versions() > 1)
    @rule()
    def somebody_rolls_back(self) -> None:
        before = {row["row_id"]: row for row in self._training()}
        plan = self.shop.plan_rollback(INTO)
        run = self.shop.apply(plan)
        assert run is not None
        assert run.state == RunState.DONE
        cells = self._history().cells()
        now = self._training()
        for day in self.days:
            if any(s.held for c, s in cells.items() if c == f"at_day=1970-01-{day + 1:02}"):
                self.held[day] = [row for row in now if row["row_id"] // 1000 == day]
        assert before or now is not None
        self.settled = False

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def what_is_settled_is_right(self) -> None:
        if not self.settled:
            return
        assert self.shop.plan().empty
        lake = Lake(self.shop.home)
        every = read(lake, SOURCES[1]).sort_by("row_id")
        source = read(lake, SOURCES[0])
        expected = {}
        for name in ("spend", "visits"):
            group = self.shop.specs[f"feature_group:shop/{name}"].spec
            assert isinstance(group, FeatureGroup)
            found = compute(group, source, every.select(["user", "at"]))
            for column in found.column_names:
                expected[f"{name}__{column}"] = found[column].to_pylist()
        staged = read(lake, STAGED).sort_by("row_id")
        assert staged["row_id"].to_pylist() == every["row_id"].to_pylist()
        assert staged["spend__sum_7d"].to_pylist() == expected["spend__sum_7d"]
        wanted = []
        for place, row in enumerate(every.to_pylist()):
            if row["row_id"] // 1000 in self.held:
                continue
            names = ("spend__sum_7d", "visits__n", "visits__last")
            wanted.append(row | {name: expected[name][place] for name in names})
        for rows_held in self.held.values():
            wanted += rows_held
        assert self._training() == sorted(wanted, key=lambda row: row["row_id"])

    @invariant()
    def nothing_was_committed_twice(self) -> None:
        tokens = [entry.token for entry in self._history().entries]
        assert len(tokens) == len(set(tokens))

    def _history(self) -> History:
        return TableLog(Lake(self.shop.home), INTO).load()

    def _versions(self) -> int:
        return sum(
            any(not cell.startswith("#") for cell in entry.changed)
            for entry in self._history().entries
        )

    def _training(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = read(Lake(self.shop.home), INTO).sort_by("row_id").to_pylist()
        return found


TestPromoting = pytest.mark.slow(Promoting.TestCase)
TestPromoting.settings = settings(
    max_examples=int(SEARCH or 5),
    stateful_step_count=10,
    deadline=None,
    derandomize=SEARCH is None,
)
