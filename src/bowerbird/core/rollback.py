"""Rolling back: an older state put back as a new commit on top. History only ever grows.

What is rolled back is *held*: it is not made again by itself, until its definition changes or the
user releases it.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from bowerbird.core.errors import UserError
from bowerbird.core.meaning import Tree, digest
from bowerbird.core.plans import Plan, Step
from bowerbird.core.targets import WHOLE, History, Version, fields_of


def plan_rollback(
    ref: str,
    kind: str,
    history: History,
    trees: Mapping[str, Tree],
    to: Version | None = None,
    cells: tuple[str, ...] = (WHOLE,),
) -> Plan:
    """A plan of one step of `kind` that puts `cells` of `ref` back to version `to`.

    to: None for the version before the newest that changed anything; where that is a rollback, for
      the one before what it went back to: what was put back once is not brought again by itself.
    """
    to = to or _before_newest(ref, history)
    at(ref, history, to)
    holds = {
        cell: digest(trees[state.meaning]["definition"])
        for cell, state in history.cells().items()
        if state.meaning and state.meaning in trees and within(cell, cells)
    }
    step = Step(
        id="s1",
        kind=kind,
        target=ref,
        reason=f"back to version {to}, as asked",
        cell=cells[0] if len(cells) == 1 else WHOLE,
        definition={"to": to, "cells": list(cells), "holds": holds},
        base=history.head,
    )
    return Plan(steps=(step,), wants=digest([ref, to, list(cells), history.head]))


def _before_newest(ref: str, history: History) -> Version:
    newest = next((i for i, e in enumerate(history.entries) if e.changed), None)
    places = {str(entry.version): place for place, entry in enumerate(history.entries)}
    while newest is not None and (back := history.entries[newest].results.get("back_to")) in places:
        newest = places[back]
    if newest is None or newest + 1 >= len(history.entries):
        raise UserError(
            f"{ref} has no earlier version to go back to",
            expected="a target that was written more than once",
            fix="bowerbird status",
        )
    return history.entries[newest + 1].version


def at(ref: str, history: History, to: Version) -> History:
    """The history as it was when `to` was the head. Raises `UserError` if it never was."""
    for index, entry in enumerate(history.entries):
        if entry.version == to:
            return replace(history, entries=history.entries[index:])
    raise UserError(
        f"{ref} does not descend from a version {to}",
        expected="a version in its history that was not expired",
        fix=f"bowerbird status {ref}, for those that are left",
    )


def restored(history: History, before: History, cells: tuple[str, ...]) -> dict[str, str | None]:
    """cell -> meaning, once `cells` are as they were `before`.

    A part of a cell that is known only whole has no meaning of its own (None), and so has a cell
    that was not there then: it is empty now, on purpose.
    """
    old, new = before.cells(), history.cells()
    makes = {cell: state.meaning for cell, state in old.items() if within(cell, cells)}
    makes |= {cell: None for cell in new if cell not in makes and within(cell, cells)}
    lacking = [cell for cell in cells if not any(within(made, (cell,)) for made in makes)]
    return makes | dict.fromkeys(lacking)


def within(cell: str, cells: tuple[str, ...]) -> bool:
    """Whether all rows of a cell are in one of the others."""
    has = fields_of(cell)
    if has is None:
        return False
    return any(
        all(has.get(field) == value for field, value in (fields_of(one) or {}).items())
        for one in cells
    )
