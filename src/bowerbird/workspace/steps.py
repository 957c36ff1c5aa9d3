"""The steps that any release can be given: go back to an earlier one, or be withdrawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bowerbird.core.engine import Outcome, Task
from bowerbird.core.rollback import at, restored
from bowerbird.core.steps import StepKind, TargetKind, Work
from bowerbird.core.targets import WHOLE, Change
from bowerbird.workspace.releases import open_log


def _no_tasks(_: Work) -> Iterable[Task]:
    return ()


def _rollback_change(work: Work, _: Sequence[Outcome]) -> Change:
    log, wanted = open_log(work.home, work.step.target), work.step.definition
    history = log.load()
    before = at(log.name, history, wanted["to"])
    cells = tuple(wanted["cells"])
    makes = restored(history, before, cells)
    return Change(
        attempt=work.attempt,
        makes=makes,
        overwrites=cells,
        holds={cell: held for cell, held in wanted["holds"].items() if cell in makes},
        payload=log.pinned(wanted["to"]).files,
    )


def _drop_change(work: Work, _: Sequence[Outcome]) -> Change:
    return Change(attempt=work.attempt, overwrites=(WHOLE,))


ROLLBACK = StepKind(TargetKind.RELEASE, _no_tasks, _rollback_change, inverse="release.rollback")
DROP = StepKind(TargetKind.RELEASE, _no_tasks, _drop_change)
"""A commit without files: readers of the ref are told that nothing is live; files stay for those
who pinned them, until maintenance takes them."""
