"""The errors of the house: one tree, on one page, whole after a journey between processes."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bowerbird.core import errors
from bowerbird.core.errors import BowerbirdError, RunError, StepError
from bowerbird.core.steps import NotYet


def tree(kind: type[BowerbirdError]) -> Iterator[type[BowerbirdError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


ALL = list(tree(BowerbirdError))
PAGE = {
    match[2]: len(match[1])
    for match in re.finditer(r"^([ │├└─]*)(\w+Error)\b", inspect.getdoc(errors) or "", re.MULTILINE)
}


@pytest.mark.parametrize("kind", ALL)
def test_an_error_survives_pickling_with_its_fields(kind: type[BowerbirdError]) -> None:
    error = kind("no", where="specs/a.yaml: spec.x", expected="yes", fix="try that")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (back.args, vars(back), str(back)) == (error.args, vars(error), str(error))


def test_a_field_that_was_added_on_the_way_survives_pickling() -> None:
    error = StepError("no")
    error.where = "specs/a.py"
    error.add_note("seen in the third worker")
    back = pickle.loads(pickle.dumps(error))
    assert back.where == "specs/a.py"
    assert back.__notes__ == ["seen in the third worker"]


def test_a_subclass_with_another_constructor_survives_pickling() -> None:
    until = datetime(2026, 1, 1, tzinfo=UTC)
    back = pickle.loads(pickle.dumps(NotYet("too early", until)))
    assert (back.problem, back.until) == ("too early", until)
    assert isinstance(back, RunError)


def test_the_page_lists_every_error() -> None:
    assert set(PAGE) == {kind.__name__ for kind in ALL}


@pytest.mark.parametrize("kind", ALL)
def test_the_page_shows_an_error_under_its_parent(kind: type[BowerbirdError]) -> None:
    depth = len(kind.__mro__) - len(BowerbirdError.__mro__)  # the page itself is indented once
    assert PAGE[kind.__name__] == 4 * (depth + 1)


@pytest.mark.parametrize("kind", ALL)
def test_the_page_says_which_errors_may_pass(kind: type[BowerbirdError]) -> None:
    line = next(
        line for line in (errors.__doc__ or "").splitlines() if f" {kind.__name__} " in f"{line} "
    )
    assert ("(retryable)" in line) == kind.retryable


@pytest.mark.parametrize("kind", ALL[1:])
def test_the_page_says_the_exit_code_of_each_branch(kind: type[BowerbirdError]) -> None:
    branch = kind.__mro__[-len(BowerbirdError.__mro__) - 1]
    line = next(
        line for line in (errors.__doc__ or "").splitlines() if f" {branch.__name__} " in line
    )
    assert f"(exit {kind.exit_code})" in line


def test_an_error_says_what_was_wrong_what_was_expected_and_what_to_do() -> None:
    error = BowerbirdError("no such thing", where="a.yaml", expected="a thing", fix="make it")
    assert str(error) == "a.yaml: no such thing\n  expected: a thing\n  try: make it"
