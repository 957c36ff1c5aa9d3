"""How every page looks: the frame around it, and the page of what went wrong."""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from pathlib import Path

import jinja2
import msgspec

from bowerbird.http.problems import Problem

TEMPLATES = Path(__file__).parent / "templates"


class Place(msgspec.Struct, frozen=True):
    """A room's first page: what it shows, and where."""

    title: str
    home: str


PLACES: ContextVar[tuple[Place, ...]] = ContextVar("PLACES", default=())
"""The first pages of the application that answers: from every page one gets to each of them."""


def environment(*folders: Path) -> jinja2.Environment:
    """Templates of these folders, and of the frame; what is put into them is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["places"] = PLACES.get
    return made


def problem_page(problem: Problem, home: str) -> str:
    """home: where there is a way back to."""
    return _own().get_template("problem.html").render(problem=problem, home=home)


@cache
def _own() -> jinja2.Environment:
    return environment()
