"""The rooms, looked up by what they offer; each value is imported when it is first asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bowerbird.core.clock import Clock
from bowerbird.core.errors import RefError, SpecError
from bowerbird.core.functions import load
from bowerbird.core.plans import Want
from bowerbird.core.room import Room, Service
from bowerbird.core.specs import Spec
from bowerbird.core.steps import Home, StepKind, TargetKind
from bowerbird.core.targets import Read, Target

WantsOf = Callable[[Any, Mapping[str, Spec]], Iterable[Want]]
CellsOf = Callable[[Home, Any, Mapping[str, Spec], Mapping[str, Read]], Iterable[Want]]
OpenTarget = Callable[[Home, Clock, str], Target]


class Registry:
    """What the rooms offer, by name."""

    def __init__(self, rooms: Iterable[Room]) -> None:
        self.rooms = tuple(rooms)
        self._specs = _merged(self.rooms, "specs")
        self._wants = _merged(self.rooms, "wants")
        self._cells = _merged(self.rooms, "cells")
        self._steps = _merged(self.rooms, "steps")
        self._targets = _merged(self.rooms, "targets")

    def spec_kinds(self) -> dict[str, type[Spec]]:
        """Kind, as the envelope writes it -> its class."""
        return {kind: load(name) for kind, name in self._specs.items()}

    def wants(self, spec: Spec, specs: Mapping[str, Spec]) -> tuple[Want, ...]:
        """What a spec wants made; nothing for a kind that is only read by others.

        specs: all of the project's, by ref.
        """
        kind = type(spec).__name__
        if kind not in self._wants:
            return ()
        wants_of: WantsOf = load(self._wants[kind])
        return tuple(wants_of(spec, specs))

    def by_cells(self, spec: Spec) -> bool:
        """Whether all that a spec wants is told by what is there."""
        kind = type(spec).__name__
        return kind in self._cells and kind not in self._wants

    def cells(
        self, home: Home, spec: Spec, specs: Mapping[str, Spec], present: Mapping[str, Read]
    ) -> tuple[Want, ...]:
        """What a spec wants of parts of a target, from what is there now."""
        kind = type(spec).__name__
        if kind not in self._cells:
            return ()
        cells_of: CellsOf = load(self._cells[kind])
        return tuple(cells_of(home, spec, specs, present))

    def step_kind(self, name: str) -> StepKind:
        kind = load(_named(self._steps, name, "step kind"))
        if not isinstance(kind, StepKind):
            raise TypeError(f"{self._steps[name]} of step kind {name} is no StepKind")
        return kind

    def target(self, kind: TargetKind, home: Home, clock: Clock, ref: str) -> Target:
        open_target: OpenTarget = load(_named(self._targets, kind, "target"))
        return open_target(home, clock, ref)

    def routes(self) -> tuple[str, ...]:
        """What every room mounts in the web application, in the rooms' order."""
        return tuple(name for room in self.rooms for name in room.routes)

    def services(self) -> dict[str, Service]:
        return {name: service for room in self.rooms for name, service in room.services.items()}


def _merged(rooms: Iterable[Room], field: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for room in rooms:
        for name, value in getattr(room, field).items():
            if name in found:
                raise SpecError(
                    f"two rooms offer {field} {name!r}",
                    where=f"room {room.name}",
                    expected="one room a name",
                )
            found[name] = value
    return found


def _named(known: dict[str, str], name: str, what: str) -> str:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise RefError(
            f"no room offers the {what} {name!r}",
            expected=f"{near[0]}?" if near else f"one of: {', '.join(sorted(known))}",
        )
    return known[name]
