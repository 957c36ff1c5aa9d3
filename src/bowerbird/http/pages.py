"""How every page looks: the frame around it, and the page of what went wrong."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2

from bowerbird.http.problems import Problem

TEMPLATES = Path(__file__).parent / "templates"


def environment(*folders: Path) -> jinja2.Environment:
    """Templates of these folders, and of the frame; what is put into them is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def problem_page(problem: Problem, home: str) -> str:
    """home: where there is a way back to."""
    return _own().get_template("problem.html").render(problem=problem, home=home)


@cache
def _own() -> jinja2.Environment:
    return environment()
