"""The backfiller's pages as HTML: what is beside what lies in ``templates/backfills``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from bowerbird.data.features.beside import Beside
from bowerbird.data.features.desk import Board, OneView, Shown
from bowerbird.data.features.history import Back, RunPage, StepLine
from bowerbird.data.features.views import CellsView, PartitionView, Standing
from bowerbird.http.problems import Problem
from bowerbird.portal import formats
from bowerbird.portal.report import environment
from bowerbird.portal.statistics import render

if TYPE_CHECKING:
    import jinja2

MANY = 200
"""So many partitions of one standing are listed; of more, the rest is counted."""

_SHOWN: dict[str, tuple[str, Callable[[CellsView], bool]]] = {
    "": ("all", lambda one: one.cells >= 0),
    "todo": ("to do", lambda one: one.todo > 0),
    "running": ("running", lambda one: one.running is not None),
    "held": ("held", lambda one: one.held > 0),
}


class Group(msgspec.Struct, frozen=True):
    """Partitions that stand alike: the first of them, and how many there are."""

    standing: Standing
    first: tuple[PartitionView, ...]
    count: int


def board(view: Board, find: str, show: str, nonce: str) -> str:
    """Every backfill and promotion; those only that are looked for."""
    found = [one for one in view.lines if _matches(one, find)]
    tabs = [
        (name, label, sum(test(one) for one in found)) for name, (label, test) in _SHOWN.items()
    ]
    _, test = _SHOWN.get(show, _SHOWN[""])
    return _render(
        "board",
        view=view,
        lines=[one for one in found if test(one)],
        tabs=tabs,
        find=find,
        show=show if show in _SHOWN else "",
        told=told(view.lines),
        moving=any(one.running for one in view.lines),
        nonce=nonce,
    )


def one(view: OneView, nonce: str) -> str:
    """One, with its partitions, versions and runs."""
    return _render(
        "one",
        view=view,
        groups=groups(view.partitions),
        refused=next((run for run in view.runs[:1] if run.error), None),
        failed=[found for found in view.findings if not found.passed],
        passed=[found for found in view.findings if found.passed],
        moving=view.line.running is not None,
        nonce=nonce,
    )


def plan(view: Shown, problem: Problem | None = None) -> str:
    """A plan with its costs, to confirm. problem: why the last one was not carried out."""
    return _render("plan", view=view, problem=problem)


def way_back(view: Back, problem: Problem | None = None) -> str:
    """A rollback with what it moves, to confirm."""
    return _render("way_back", view=view, problem=problem)


def run(view: RunPage, nonce: str) -> str:
    """A run as it goes, or as it ended."""
    moving = not view.run.state.ended and not view.run.cut_off
    return _render("run", view=view, moving=moving, nonce=nonce)


def statistics(shown: Beside) -> str:
    """The page of statistics, of the partitions that were read."""
    many = f"{len(shown.cells)} of {shown.there} staged partitions" * (
        len(shown.cells) < shown.there
    )
    return render(shown.view, back=path_of(shown.view.name), about=many)


def path_of(ref: str) -> str:
    """The path of one's page."""
    return f"/features/{ref.replace(':', '/', 1)}"


def told(lines: Sequence[CellsView]) -> str:
    """How all of them stand, in a sentence."""
    if not lines:
        return "No backfill and no promotion is declared."
    counts = (
        (sum(bool(one.todo) for one in lines), "has something to do", "have something to do"),
        (sum(one.running is not None for one in lines), "is being made", "are being made"),
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


def groups(partitions: Sequence[PartitionView]) -> list[Group]:
    """Partitions by how they stand: what is current is last."""
    order = (Standing.STALE, Standing.MISSING, Standing.HELD, Standing.OUTSIDE, Standing.CURRENT)
    found = {kind: [one for one in partitions if one.standing is kind] for kind in order}
    return [Group(kind, tuple(some[:MANY]), len(some)) for kind, some in found.items() if some]


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
    made.globals.update(many=MANY, nothing=formats.NOTHING)
    return made


def _some(count: int, noun: str) -> str:
    """1 partition, 1,200 partitions"""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
