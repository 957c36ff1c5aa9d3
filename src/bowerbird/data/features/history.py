"""What became of the table of a backfill or promotion: its versions, its runs, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from bowerbird.core.runs import RunRecord, StepState
from bowerbird.core.targets import WHOLE, Entry
from bowerbird.data.features.views import share
from bowerbird.lake import Lake
from bowerbird.lake.log import TableLog
from bowerbird.lake.versions.rollback import Moved, preview
from bowerbird.lake.views import VersionView, versions
from bowerbird.workspace.views import RunView


class CommitView(msgspec.Struct, frozen=True):
    """One version of a table. by: who asked for the run that made it, or who else wrote it.

    partitions: how many it changed; rows, bytes, seconds: as its step reported them.
    back_to: the version that it put partitions back to. undone: a later version put back what this
    one had changed.
    """

    version: str
    at: datetime
    by: str
    run: str
    partitions: int
    rows: int | None
    bytes: int | None
    seconds: float | None
    back_to: str = ""
    undone: bool = False


class RunLine(msgspec.Struct, frozen=True):
    """A run that has something to do with one target. error: why it failed."""

    run: str
    by: str
    at: datetime
    ended: datetime | None
    stands: str
    cells: int
    error: str = ""


class Move(msgspec.Struct, frozen=True):
    """A partition whose files are exchanged for those of an older version."""

    cell: str
    files_out: int
    files_back: int
    rows_out: int
    rows_back: int


class StepLine(msgspec.Struct, frozen=True):
    """A step of a run. results: the figures that it reported. why: what it waits for."""

    target: str
    kind: str
    reason: str
    cells: int
    state: StepState
    results: dict[str, Any]
    why: str
    error: str


class RunPage(msgspec.Struct, frozen=True):
    """A run as it goes. of: the backfills and promotions that it makes. said: its last words."""

    run: RunView
    of: tuple[str, ...]
    said: str
    steps: tuple[StepLine, ...]

    @property
    def cells(self) -> int:
        return sum(step.cells for step in self.steps)

    @property
    def cells_done(self) -> int:
        return sum(step.cells for step in self.steps if step.state == StepState.DONE)

    @property
    def done(self) -> int:
        return sum(step.state == StepState.DONE for step in self.steps)

    @property
    def share(self) -> float:
        return share(self.cells_done, self.cells, self.done, len(self.steps))


class WayBack(msgspec.Struct, frozen=True):
    """What putting a table back to a version would do. fingerprint: of the plan of it.

    Only what moves is rolled back, and held: a partition that is as it was then stays free.

    bytes_written: of data; the files are there, and none is read or written.
    """

    target: str
    to: str
    moves: tuple[Move, ...]
    fingerprint: str
    bytes_written: int = 0


class Back(msgspec.Struct, frozen=True):
    """A rollback to look at before it is done, and the versions that one could go to. newest: what
    the newest of them is, in a word."""

    ref: str
    way: WayBack
    commits: tuple[CommitView, ...]
    newest: str


def commits(lake: Lake, target: str, runs: Iterable[RunRecord]) -> tuple[CommitView, ...]:
    """The versions of a table that changed rows of it, newest first. runs: who made them."""
    if not lake.exists(target):
        return ()
    history = TableLog(lake, target).load()
    seen = {one.version: one for one in versions(lake, target).versions}
    known = {run.id: run for run in runs}
    undone = _undone(history.entries)
    return tuple(
        _commit(entry, seen[entry.version], known, undone=n in undone)
        for n, entry in enumerate(history.entries)
        if any(not cell.startswith("#") for cell in entry.changed)
    )


def _undone(entries: Sequence[Entry]) -> set[int]:
    """The places of commits of which a later one put back what they had changed."""
    places = {str(entry.version): place for place, entry in enumerate(entries)}
    found: set[int] = set()
    for m, entry in enumerate(entries):
        to = places.get(entry.results.get("back_to", ""), 0)
        found |= {n for n in range(m + 1, to) if not entries[n].changed.isdisjoint(entry.changed)}
    return found


def _commit(
    entry: Entry, seen: VersionView, runs: Mapping[str, RunRecord], *, undone: bool
) -> CommitView:
    run = (entry.token or "").partition("/")[0]
    results = entry.results
    return CommitView(
        version=entry.version,
        at=seen.at,
        by=runs[run].principal if run in runs else entry.author or "an earlier run",
        run=run,
        partitions=sum(not cell.startswith(("#", WHOLE)) for cell in entry.changed) or 1,
        rows=results.get("rows", results.get("rows_put_back")),
        bytes=results.get("bytes", results.get("bytes_written")),
        seconds=results.get("seconds"),
        back_to=str(results.get("back_to", "")),
        undone=undone,
    )


def runs_of(runs: Iterable[RunView], target: str) -> tuple[RunLine, ...]:
    """What was run for a target, and how it ended."""
    return tuple(
        RunLine(
            run=run.id,
            by=run.principal,
            at=run.created,
            ended=run.ended,
            stands=run.stands,
            cells=sum(len(step.cells) for step in run.plan.steps if step.target == target),
            error="\n".join(step.error for step in run.steps if step.state == StepState.FAILED),
        )
        for run in runs
    )


def steps_of(run: RunRecord) -> tuple[StepLine, ...]:
    """The steps of a run, in the plan's order."""
    planned = {step.id: step for step in run.plan.steps}
    return tuple(
        StepLine(
            target=planned[one.id].target,
            kind=planned[one.id].kind,
            reason=planned[one.id].reason,
            cells=len(planned[one.id].cells),
            state=one.state,
            results=one.results,
            why=one.why,
            error=one.error if one.state == StepState.FAILED else "",
        )
        for one in run.steps
    )


def moves(lake: Lake, target: str, to: str) -> tuple[Move, ...]:
    """The partitions of a table that are not as they were at a version, and what each would take
    to be so again."""
    shown = preview(lake, target, to)
    out, back = _by_cell(shown.files_out), _by_cell(shown.files_back)
    return tuple(
        Move(
            cell,
            len(out.get(cell, ())),
            len(back.get(cell, ())),
            sum(file.rows for file in out.get(cell, ())),
            sum(file.rows for file in back.get(cell, ())),
        )
        for cell in sorted(out.keys() | back.keys())
    )


def _by_cell(files: Iterable[Moved]) -> dict[str, list[Moved]]:
    found: dict[str, list[Moved]] = {}
    for file in files:
        found.setdefault(file.cell, []).append(file)
    return found
