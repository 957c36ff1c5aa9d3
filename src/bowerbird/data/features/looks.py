"""Looks at a workspace that several people share: of 200 backfills, one takes seconds."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from datetime import UTC, datetime
from threading import Lock

from bowerbird.core.plans import Plan
from bowerbird.core.specs import needed
from bowerbird.data.features.specs import Backfill, Promotion
from bowerbird.data.features.views import PartitionView, apart, partitions, target_of
from bowerbird.workspace.workspace import Look, Workspace

FRESH = 1.0
"""Seconds for which a look at all is not repeated, where nothing is known to have changed."""

REST = 5
"""It is not repeated for so many times as long as it took: pages that stay open ask again."""

PATIENCE = 0.7
"""So many seconds a page waits for a newer look before it shows the last one, with its time."""


class Seen:
    """What was there at one moment: specs, wants, targets, and the plan of it all.

    ref: to look at what one needs, and nothing else.
    """

    def __init__(self, workspace: Workspace, ref: str | None = None) -> None:
        self.at = datetime.now(UTC)
        begun = time.monotonic()
        self.workspace = workspace
        self.specs = workspace.by_ref()
        self.runs = _moves(workspace)
        of = None if ref is None else needed(self.specs, ref)
        self.found: Look = workspace.look(of)
        kinds = (Backfill, Promotion)
        ours = {target_of(spec) for spec in self.specs.values() if isinstance(spec, kinds)}
        wants = apart(self.found.wants, ours)
        self.plan: Plan = workspace.plan(found=self.found._replace(wants=wants))
        self.ended = time.monotonic()
        self.took = self.ended - begun

    def partitions(self, spec: Backfill | Promotion) -> tuple[PartitionView, ...]:
        """The partitions of one, each with its own reason."""
        return partitions(spec, self.found.wants, self.plan, self.found.present)


class Looks:
    """Looks at one workspace: at one backfill anew each time, at all of them together with others
    who ask."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._last: Seen | None = None
        self._asking = Lock()
        self._pool = ThreadPoolExecutor(1, "look")
        self._under_way: Future[Seen] | None = None

    def workspace(self) -> Workspace:
        """The workspace with its specs as they are on disk."""
        return self._workspace.current.workspace()

    def around(self, ref: str) -> Seen:
        """One and what it needs, as it is now."""
        return Seen(self.workspace(), ref)

    def all(self) -> Seen:
        """All of them: the last look, or a newer one if that does not take long."""
        last = self._last
        if last is not None and self._stands(last):
            return last
        under_way = self.begin()
        try:
            return under_way.result(None if last is None else PATIENCE)
        except NotYet:
            return last or under_way.result()

    def _stands(self, last: Seen) -> bool:
        """Whether a look is new enough: no spec was edited and no run got on, as far as we know."""
        new = time.monotonic() - last.ended < max(FRESH, REST * last.took)
        return new and last.workspace is self.workspace() and last.runs == _moves(last.workspace)

    def begin(self) -> Future[Seen]:
        """Look at all of them; who asks meanwhile shares it."""
        with self._asking:
            if self._under_way is None or self._under_way.done():
                self._under_way = self._pool.submit(self._look)
            return self._under_way

    def _look(self) -> Seen:
        self._last = Seen(self.workspace())
        return self._last

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _moves(workspace: Workspace) -> object:
    """How far each open run is."""
    return {
        run.id: sum(step.state.ended for step in run.steps) for run in workspace.ledger.open_runs()
    }
