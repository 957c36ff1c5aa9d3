"""The backfiller's pages as HTML: what is beside what lies in ``templates/backfills``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from bowerbird.data.features.beside import Beside
from bowerbird.data.features.desk import Board, OneView, Shown
from bowerbird.data.features.history import Back, RunPage, StepLine
from bowerbird.data.features.verdicts import Verdict
from bowerbird.data.features.views import CellsView, alike
from bowerbird.http.problems import Problem
from bowerbird.portal import formats
from bowerbird.portal.report import environment
from bowerbird.portal.statistics import render

if TYPE_CHECKING:
    import jinja2

FEW = 20
"""So many partitions or versions are listed; of more, the rest is counted, and shown if asked."""

_SHOWN: dict[str, tuple[str, Callable[[CellsView], bool]]] = {
    "": ("all", lambda one: one.cells >= 0),
    "todo": ("to do", lambda one: one.todo > 0),
    "running": ("running", lambda one: _moving(one)),
    "cut-off": ("cut off", lambda one: one.running is not None and one.running.cut_off),
    "failed": ("refused or failed", lambda one: one.failure is not None),
    "held": ("held", lambda one: one.held > 0),
}


def _moving(one: CellsView) -> bool:
    return one.running is not None and one.running.moving


def board(view: Board, find: str, show: str, nonce: str) -> str:
    """Every backfill and promotion; those only that are looked for."""
    found = [one for one in view.lines if _matches(one, find)]
    counts = [(name, label, sum(map(test, found))) for name, (label, test) in _SHOWN.items()]
    tabs = [tab for tab in counts if tab[2] or tab[0] in ("", show)]
    _, test = _SHOWN.get(show, _SHOWN[""])
    return _render(
        "board",
        view=view,
        lines=[one for one in found if test(one)],
        tabs=tabs,
        find=find,
        show=show if show in _SHOWN else "",
        told=told(view.lines),
        moving=any(map(_moving, view.lines)),
        nonce=nonce,
    )


def one(view: OneView, nonce: str, *, many: int | None = FEW) -> str:
    """One, with its partitions, versions and runs. many: so many of each are listed; None: all."""
    gated = view.line.ref == view.verdict.of
    return _render(
        "one",
        view=view,
        groups=alike(view.partitions),
        verdict=view.verdict if gated else Verdict(failure=view.line.failure),
        moving=_moving(view.line),
        many=many,
        nonce=nonce,
    )


def plan(view: Shown, problem: Problem | None = None, *, many: int | None = FEW) -> str:
    """A plan with its costs, to confirm. problem: why the last one was not carried out."""
    return _render("plan", view=view, problem=problem, many=many)


def way_back(view: Back, problem: Problem | None = None, *, many: int | None = FEW) -> str:
    """A rollback with what it moves, to confirm."""
    return _render("way_back", view=view, problem=problem, many=many)


def run(view: RunPage, nonce: str) -> str:
    """A run as it goes, or as it ended."""
    moving = not view.run.state.ended and not view.run.cut_off
    return _render("run", view=view, moving=moving, nonce=nonce)


def statistics(shown: Beside, verdict: Verdict) -> str:
    """The page of statistics, of the partitions that were read."""
    many = f"{len(shown.cells)} of {shown.there} staged partitions" * (
        len(shown.cells) < shown.there
    )
    return render(shown.view, back=path_of(shown.view.name), about=many, gates=verdict)


def path_of(ref: str) -> str:
    """The path of one's page."""
    return f"/features/{ref.replace(':', '/', 1)}"


def told(lines: Sequence[CellsView]) -> str:
    """How all of them stand, in a sentence."""
    if not lines:
        return "No backfill and no promotion is declared."
    counts = (
        (sum(bool(one.todo) for one in lines), "has something to do", "have something to do"),
        (sum(map(_moving, lines)), "is being made", "are being made"),
        (sum(map(_SHOWN["cut-off"][1], lines)), "is cut off", "are cut off"),
        (sum(map(_SHOWN["failed"][1], lines)), "was refused or failed", "were refused or failed"),
        (
            sum(bool(one.waits) for one in lines),
            "waits for bowerbird apply",
            "wait for bowerbird apply",
        ),
    )
    said = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    return f"Of {len(lines)}, {', '.join(said)}." if said else "Everything is current."


def results(step: StepLine) -> str:
    """What a step reported, on a line; or what it waits for."""
    told = [_some(step.results["rows"], "row")] if "rows" in step.results else []
    if "files_put_back" in step.results:
        told.append(f"{_some(step.results['files_put_back'], 'file')} put back")
        told.append(f"{step.results['bytes_written']} bytes written")
    if "bytes" in step.results:
        told.append(formats.size(step.results["bytes"]))
    if "seconds" in step.results:
        told.append(formats.duration(step.results["seconds"]))
    return ", ".join(told) or step.why


def _matches(one: CellsView, find: str) -> bool:
    words = find.lower().split()
    text = f"{one.ref} {one.owner} {one.target} {' '.join(one.reads)}".lower()
    return all(word in text for word in words)


def _render(name: str, **values: object) -> str:
    return _environment().get_template(f"backfills/{name}.html").render(**values)


@cache
def _environment() -> jinja2.Environment:
    made = environment()
    made.filters.update(path=path_of, some=_some, results=results)
    made.globals.update(nothing=formats.NOTHING)
    return made


def _some(count: int, noun: str) -> str:
    """1 partition, 1,200 partitions"""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
