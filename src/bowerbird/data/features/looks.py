"""Looks at a workspace that several people share: of 200 backfills, one takes seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from bowerbird.core.plans import Plan
from bowerbird.core.specs import Spec
from bowerbird.data.features.specs import Backfill, Promotion
from bowerbird.data.features.views import PartitionView, apart, partitions, target_of
from bowerbird.workspace.workspace import Look, Workspace

FRESH = 1.0
"""Seconds for which a look is not repeated; one that took longer, for as long as it took."""

PATIENCE = 1.5
"""So many seconds a page waits for a newer look before it shows the last one, with its time."""


class Seen:
    """What was there at one moment: specs, wants, targets, and the plan of it all."""

    def __init__(self, workspace: Workspace) -> None:
        self.at = datetime.now(UTC)
        begun = time.monotonic()
        self.workspace = workspace
        self.specs: dict[str, Spec] = {ref: one.spec for ref, one in workspace.specs.items()}
        self.found: Look = workspace.look()
        self.plan: Plan = workspace.plan(found=self.found)
        self.ended = time.monotonic()
        self.took = self.ended - begun
        self._partitions: dict[str, tuple[PartitionView, ...]] = {}

    def partitions(self, spec: Backfill | Promotion) -> tuple[PartitionView, ...]:
        """The partitions of one, each with its own reason; worked out once."""
        ref = str(spec.ref)
        if ref not in self._partitions:
            wants = apart(self.found.wants, target_of(spec))
            plan = self.workspace.plan(found=self.found._replace(wants=wants))
            self._partitions[ref] = partitions(spec, wants, plan, self.found.present)
        return self._partitions[ref]


class Looks:
    """The last look at a workspace, for all who ask."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._stamp: object = None
        self._last: Seen | None = None
        self._looking, self._asking = Lock(), Lock()
        self._pool = ThreadPoolExecutor(1, "look")
        self._under_way: Future[Seen] | None = None

    def now(self) -> Seen:
        """A look that begins now: for what is to be done."""
        with self._looking:
            stamp = _stamp(Path(self._workspace.loaded.project))
            if stamp != self._stamp:
                # Specs were edited: they are read anew, as by a command that is typed again.
                self._workspace = self._workspace.reread()
                self._stamp = stamp
            self._last = Seen(self._workspace)
            return self._last

    def lately(self) -> Seen:
        """The last look, or a newer one if that does not take long: for what is shown."""
        last = self._last
        if last is None:
            return self.now()
        if time.monotonic() - last.ended < max(FRESH, last.took):
            return last
        with self._asking:
            if self._under_way is None or self._under_way.done():
                self._under_way = self._pool.submit(self.now)
            under_way = self._under_way
        try:
            return under_way.result(PATIENCE)
        except NotYet:
            return last

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _stamp(project: Path) -> object:
    """Which files a project's specs may come from, and when each was written."""
    return sorted(
        (str(path), at.st_mtime_ns, at.st_size)
        for path in _sources(project)
        for at in [path.stat()]
    )


def _sources(project: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(project):
        inner[:] = [one for one in inner if not one.startswith((".", "__"))]
        if "pyvenv.cfg" in names:  # an environment in the project's folder
            inner.clear()
            continue
        yield from (Path(folder, one) for one in names if one.endswith((".py", ".yaml", ".yml")))
