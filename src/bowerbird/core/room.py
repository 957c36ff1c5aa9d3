"""The `Room` value: all that the house knows of a room before it imports any of it."""

from __future__ import annotations

import msgspec


class Service(msgspec.Struct, frozen=True):
    """What does not end: ``bowerbird up`` starts it. run: ``module:name`` of a function of the
    `Workspace`, ``stop`` (a flag, to end at) and ``say`` (a line, to whoever started it)."""

    kind: str
    run: str
    title: str = ""


class Room(msgspec.Struct, frozen=True):
    """What a room offers. Every value is a ``module:name`` string, imported when it is used.

    specs: kind (``Table``) -> its class.
    wants: kind -> the pure function of (spec, all specs by ref) that says what it wants made.
    cells: kind -> the function of (`Home`, spec, all specs by ref, what targets hold by ref) that
      says what a spec wants of a target's parts: it may look into tables, and changes nothing.
    steps: step kind (``table.load``) -> `StepKind`.
    targets: target kind (``table``) -> a function of (`Home`, `Clock`, ref) that opens the target.
    commands: name -> a Typer application or a function.
    routes: functions of (`Workspace`, say) -> what the web application mounts (a `Mount` of
      `bowerbird.http.app`), or None where there is nothing to show yet.
    views: name -> the pure query that the command, the API and the page share.
    """

    name: str
    title: str
    specs: dict[str, str] = {}
    wants: dict[str, str] = {}
    cells: dict[str, str] = {}
    steps: dict[str, str] = {}
    targets: dict[str, str] = {}
    services: dict[str, Service] = {}
    commands: dict[str, str] = {}
    routes: tuple[str, ...] = ()
    views: dict[str, str] = {}
    standing: str = "planned"
    """How much of it stands: ``first`` (the road needs it), ``whole``, ``planned``."""
