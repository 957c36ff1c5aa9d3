"""What goes to the terminal: plans, runs, trees of reasons; and the progress of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bowerbird.core.engine import Event
from bowerbird.core.errors import BowerbirdError
from bowerbird.core.plans import Cost, Pinned, Plan, Step
from bowerbird.core.runs import RunRecord, StepRecord, StepState
from bowerbird.core.targets import History

if TYPE_CHECKING:
    from bowerbird.workspace.database import Migrated
    from bowerbird.workspace.new import Made
    from bowerbird.workspace.settings import Loaded
    from bowerbird.workspace.views import Logs, RunView


class Screen(Console):
    """A terminal has a width and lines are wrapped to it; a pipe has none, and nothing is cut."""

    def __init__(self, *, stderr: bool = False) -> None:
        piped = not (sys.stderr if stderr else sys.stdout).isatty()
        width = _ENDLESS if piped else None
        super().__init__(stderr=stderr, highlight=False, soft_wrap=piped, width=width)

    def on_broken_pipe(self) -> None:
        """Rich would end the process as if a step had failed."""
        raise BrokenPipeError


_ENDLESS = 10_000

out = Screen()
err = Screen(stderr=True)

_COLOURS = {
    StepState.DONE: "green",
    StepState.FAILED: "red",
    StepState.SKIPPED: "yellow",
    StepState.CANCELLED: "yellow",
    StepState.WAITING: "cyan",
    StepState.RUNNING: "cyan",
    StepState.PENDING: "dim",
}


Shown = TypeVar("Shown")


def show(view: Shown, for_people: Callable[[Shown], None], *, json: bool) -> None:
    """A view: the same value, for programs or for people."""
    as_json(view) if json else for_people(view)


def as_json(value: Any) -> None:
    """A view, for programs."""
    # What is loaded when it is looked at (cells) is a Mapping, and msgspec knows only dict.
    content = msgspec.json.encode(value, enc_hook=dict)
    sys.stdout.write(msgspec.json.format(content, indent=2).decode() + "\n")


def as_json_line(value: Any) -> None:
    """One of many values, for programs that read them as they come."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def hanging(head: Text | str, *told: Text | str, to: Screen | None = None) -> None:
    """A line; where it is too long for the terminal, what goes on is indented as its text is."""
    to, first = to or out, head if isinstance(head, Text) else Text(head)
    room = max(to.width - first.cell_len, 20)
    for n, line in enumerate(Text.assemble(*told).wrap(to, room)):
        line.rstrip()
        to.print(first if n == 0 else Text(" " * first.cell_len), line, sep="")


def indented(text: str, to: Screen | None = None) -> None:
    """Lines of some text, each going on under where it began."""
    for line in text.splitlines():
        inner = line.lstrip()
        hanging(line[: len(line) - len(inner)], inner, to=to)


def error(raised: BowerbirdError) -> None:
    """An error, for people: what was wrong, what was expected, what to type."""
    head = f"{raised.where}: {raised.problem}" if raised.where else raised.problem
    hanging(Text("error: ", style="bold red"), head, to=err)
    if raised.expected:
        hanging(Text("  expected: ", style="dim"), raised.expected, to=err)
    if raised.fix:
        hanging(Text("  try: ", style="dim"), Text(raised.fix, style="bold"), to=err)


def made(shown: Made) -> None:
    """A new project."""
    for path in shown.made:
        out.print(f"made {path}", markup=False)
    for path in shown.kept:
        out.print(f"kept {path}", markup=False)
    out.print("next: declare specs in specs/, then: bowerbird plan")


def settings(shown: Loaded) -> None:
    """Every setting and where it came from."""
    out.print(f"project {shown.project}, environment {shown.environment}", markup=False)
    rows = [[o.name, str(o.value), o.origin, o.description] for o in shown.origins]
    table("", ["setting", "value", "from", "what it is"], rows)


def migrated(shown: Migrated) -> None:
    """A database that is up to date, and whether it was."""
    if shown.before != shown.now:
        out.print(f"migrated from version {shown.before or 'none'} to {shown.now}", markup=False)
    out.print("the metadata database is up to date")


def plan(shown: Plan) -> None:
    """A plan: a line a step, then what it leaves alone."""
    if shown.empty:
        out.print("nothing to do" if not shown.notes else "nothing to do but what is noted:")
    for step in shown.steps:
        hanging(
            Text(f"{step.id:>4} ", style="dim"),
            Text(f"{step.kind} ", style="cyan"),
            Text(step.target, style="bold"),
            Text(f"  {step.reason}"),
            Text(_cost(step.cost), style="dim"),
        )
    _notes(shown)


def _notes(shown: Plan) -> None:
    for note in shown.notes:
        noted(f"{note.ref}: {note.text}")
        if note.fix:
            hanging(Text("     try: ", style="dim"), Text(note.fix, style="bold"))


def noted(told: str, to: Screen | None = None) -> None:
    """Something beside what was asked, on a line of its own."""
    hanging(Text("   - ", style="yellow"), told, to=to)


def explained(shown: Plan) -> None:
    """A plan, with what each step reads and what it stands on."""
    for step in shown.steps:
        out.print(
            Text(f"{step.id:>4} ", style="dim"),
            Text(f"{step.kind} ", style="cyan"),
            Text(step.target, style="bold"),
            sep="",
        )
        hanging("     why    ", f"{step.reason}{_cost(step.cost)}")
        for ref, value in step.inputs.items():
            source = f"as of {value.version}" if isinstance(value, Pinned) else _after(value.steps)
            hanging("     reads  ", f"{ref}  ", Text(source, style="dim"))
        base = step.base or "nothing yet"
        hanging("     writes ", f"{step.target}  ", Text(f"on top of {base}", style="dim"))
    if shown.empty:
        plan(shown)
    else:
        _notes(shown)


def _after(steps: tuple[str, ...]) -> str:
    return f"after {', '.join(steps)}"


def _cost(cost: Cost) -> str:
    parts = []
    if cost.rows is not None:
        parts.append(f"{cost.rows:,} rows")
    if cost.bytes is not None:
        parts.append(size(cost.bytes))
    if cost.seconds is not None:
        parts.append(f"~{cost.seconds:.0f} s")
    return f"  ({', '.join(parts)})" if parts else ""


def size(count: float) -> str:
    """Bytes, for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable: the last unit returns")


def runs(shown: Sequence[RunView]) -> None:
    """Runs, newest first: a line each."""
    rows = [[run.id, run.stands, ago(run.created), run.principal, _done(run)] for run in shown]
    table("", ["run", "state", "started", "by", "steps"], rows)
    if not rows:
        out.print("no runs yet; try: bowerbird apply")
    if any(run.cut_off for run in shown):
        out.print(f"cut off: {_GONE}")


def _done(run: RunRecord) -> str:
    done = sum(step.state == StepState.DONE for step in run.steps)
    return f"{done}/{len(run.steps)}"


def run(shown: RunView) -> None:
    """A run: a line a step."""
    state = Text(shown.stands, style="bold")
    out.print("run ", Text(shown.id, style="bold"), " is ", state, f"  ({shown.principal})", sep="")
    for step in shown.steps:
        hanging(*_step_line(shown.plan.step(step.id), step))
    if shown.cut_off:
        out.print(_GONE)


def outcome(shown: RunView | None) -> None:
    """How a run ended; where it failed, what to look at."""
    if shown is None:
        out.print("nothing to do")
        return
    run(shown)
    for step in shown.steps:
        if step.state == StepState.FAILED:
            err.print(f"\n{step.id} failed:")
            indented(step.error, to=err)
            err.print(f"  log: bowerbird logs {shown.id[:13]} {step.id}", markup=False)


_GONE = "its process is gone; `bowerbird apply` goes on"


def _step_line(step: Step, record: StepRecord) -> tuple[Text, Text]:
    """How it stands, and what there is to say of it."""
    head = Text.assemble((f"{step.id:>4} ", "dim"), (f"{record.state:<9} ", _COLOURS[record.state]))
    line = Text(step.target, style="bold")
    if facts := figures(record.results):
        line.append(f"  {facts}", style="dim")
    if record.state != StepState.DONE and (record.error or record.why):
        first = (record.error or record.why).splitlines()[0]
        line.append(f"  {first}", style="red" if record.error else "yellow")
    return head, line


def figures(results: dict[str, Any]) -> str:
    """What a step reported, on one line."""
    parts = []
    if "rows" in results:
        parts.append(f"{results['rows']:,} rows")
    if results.get("bytes"):
        parts.append(size(results["bytes"]))
    if "seconds" in results:
        parts.append(f"{results['seconds']:.1f} s")
    if results.get("peak_bytes"):
        parts.append(f"peak {size(results['peak_bytes'])}")
    return ", ".join(parts)


def versions(ref: str, shown: History) -> None:
    """The versions of a target, newest first."""
    rows = [
        [e.version, e.token or e.author, "burnt" if e.burnt else ", ".join(e.changed)]
        for e in shown.entries
    ]
    table(ref, ["version", "by", "changed"], rows)


def logs(shown: Logs) -> None:
    """Logs, as they were written."""
    for step in shown.steps:
        sys.stdout.writelines(f"{line}\n" for line in step.lines)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A plain table that survives a pipe and a narrow terminal."""
    shown = Table(title=title or None, box=None, pad_edge=False, title_justify="left")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(escape(cell) for cell in row))
    out.print(shown)


def ago(moment: datetime) -> str:
    """``3 min ago``."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in (("s", 60.0), ("min", 60.0), ("h", 24.0)):
        if seconds < length:
            return f"{seconds:.0f} {unit} ago"
        seconds /= length
    return f"{seconds:.0f} d ago"


class ProgressScreen:
    """Shows a run as it goes: bars on a terminal, a line a step elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._lock = Lock()
        self._tasks: dict[str, Any] = {}
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[said]}", style="dim"),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=quiet or not err.is_terminal,
        )

    def __enter__(self) -> ProgressScreen:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def started(self, run_id: str, step: Step, attempt: str) -> None:
        again = f" (attempt {attempt[1:]})" if attempt != "a1" else ""
        with self._lock:
            name = f"{step.id} {step.target}{again}"
            self._tasks[step.id] = self._bars.add_task(escape(name), total=None, said="")

    def told(self, run_id: str, step: Step, event: Event) -> None:
        if (task := self._tasks.get(step.id)) is not None:
            self._bars.update(task, completed=event.done, total=event.total)
            if event.text:
                self._bars.update(task, said=event.text.splitlines()[0][:40])

    def raised(self, run_id: str, step: Step, error: BaseException) -> None: ...

    def ended(self, run_id: str, step: Step, state: StepState, why: str) -> None:
        with self._lock:
            if (task := self._tasks.pop(step.id, None)) is not None:
                self._bars.remove_task(task)
        if not self._quiet:
            style = _COLOURS[state]
            head = Text.assemble((f"{step.id:>4} ", "dim"), (f"{state:<9} ", style))
            line = Text(step.target)
            if why and state != StepState.DONE:
                line.append(f"  {why.splitlines()[0]}", style=style)
            hanging(head, line, to=err)
