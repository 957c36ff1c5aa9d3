"""What a command, a page or the API shows of a workspace: frozen values, and their queries."""

from __future__ import annotations

import msgspec

from bowerbird.core.errors import RefError
from bowerbird.core.runs import RunRecord, RunState
from bowerbird.workspace.workspace import Workspace

CUT_OFF = "cut off"


class RunView(RunRecord, frozen=True):
    """A run, and whether it is cut off: not ended and not waiting, with nobody at it."""

    cut_off: bool = False

    @property
    def stands(self) -> str:
        """Its state, in words."""
        return CUT_OFF if self.cut_off else str(self.state)


class StepLog(msgspec.Struct, frozen=True):
    """What one step said; nothing, if it never began."""

    step: str
    lines: tuple[str, ...]


class Logs(msgspec.Struct, frozen=True):
    """What the steps of a run said, in the plan's order."""

    run: str
    steps: tuple[StepLog, ...]


def run(workspace: Workspace, start: str) -> RunView:
    """The run whose id starts so; ``last`` is the newest. Raises `RefError` if there is none."""
    return view(workspace, workspace.ledger.run(workspace.ledger.find(start)))


def runs(workspace: Workspace) -> tuple[RunView, ...]:
    """The newest runs, newest first."""
    return tuple(view(workspace, record) for record in workspace.ledger.runs())


def view(workspace: Workspace, record: RunRecord) -> RunView:
    """A run, looked at beside the leases: its record goes on to say that it runs when its process
    has died."""
    moving = record.state in (RunState.RUNNING, RunState.CANCELLING)
    cut_off = moving and not workspace.attended(record.id)
    return RunView(**msgspec.structs.asdict(record), cut_off=cut_off)


def logs(workspace: Workspace, start: str, step: str = "") -> Logs:
    """The logs of a run; of one step only, if it is named. Raises `RefError` if there is none."""
    record = run(workspace, start)
    steps = [known.id for known in record.steps]
    if step and step not in steps:
        raise RefError(
            f"run {record.id} has no step {step}", expected=f"one of: {', '.join(steps)}"
        )
    chosen = [step] if step else steps
    return Logs(record.id, tuple(_log(workspace, record.id, name) for name in chosen))


def _log(workspace: Workspace, run_id: str, step: str) -> StepLog:
    path = workspace.journal.log(run_id, step)
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return StepLog(step, tuple(text.splitlines()))
