"""What a function means: what it computes, not how it is written down."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bowerbird.core import functions
from bowerbird.core.errors import FunctionError
from bowerbird.core.meaning import Tree, changes, digest
from bowerbird.core.specs import function_name

Told = Callable[..., Tree]

SOURCE = """
FACTOR = 3
NAMES = {"a": (1, 2.5), "b": [None, True]}

def helper(x):
    return x * FACTOR

def rows(n=2, /, *rest, flag: bool = False, **more):
    \"\"\"What a reader reads.\"\"\"
    # a remark
    total = sum(helper(i) for i in range(n))
    if (half := total // 2) > 1:
        return f"{half!r:>{n}} of {total=}" "and more"
    return [name for name in NAMES if name != 'b']
"""

SYNTAX = '''
@decorated(1, *many, key=None, **more)
async def everything(a, /, b: "list[int]" = [], *args, c=..., **kw) -> dict[str, int]:
    """Documentation."""
    global g
    text = f"{a!r:>{b}} {a + 1:0.2f} {c=} {{}}" "joined" rf"\\d{b}"
    raw = b"bytes" + rb"\\n" + u"unicode".encode()
    if (n := len(text)) > 1_000 or not 0 < n <= 0x10 != 1e3 and n is not None:
        del raw[1:2, ::3], a.b
    match text:
        case {"x": [1, -2.5 + 3j, *_], **others} if others:
            pass
        case Point(x=0) | None | "a" | (True as truth):
            return {**others, "k": {1, 2}, "c": {x: y for x, y in z}}
        case _:
            raise ValueError from None
    try:
        async with a as (first, *rest), b:
            async for i in c:
                await i
    except* (OSError, KeyError) as error:
        assert error, "no"
    else:
        x: int = lambda p, *, q=1: (p if q else p @ q)
    finally:
        while True:
            break
    return [await i async for i in a if i if not i], (*a, 1), a[...], ~-+a ** 2 // 3 << 1
'''


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """The meaning of a function of ``shopcode``, whose source is given; each time on disk anew."""
    count = 0

    def tell(source: str, name: str = "rows", uses: tuple[str, ...] = (), **others: str) -> Tree:
        nonlocal count
        count += 1
        folder = tmp_path / f"v{count}" / "shopcode"
        folder.mkdir(parents=True)
        for module, text in {"__init__": "", "load": source, **others}.items():
            (folder / f"{module}.py").write_text(text)
        for known in [known for known in sys.modules if known.partition(".")[0] == "shopcode"]:
            del sys.modules[known]
        importlib.invalidate_caches()
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder.parent))
            return functions.function_tree(f"shopcode.load:{name}", uses)

    yield tell
    for known in [known for known in sys.modules if known.partition(".")[0] == "shopcode"]:
        del sys.modules[known]


def test_the_meaning_of_a_function_is_the_same_on_every_python_version(told: Told) -> None:
    assert digest(told(SOURCE)) == "ca9aff4fd08303b125c7d7f21aaa17a7"


def test_a_syntax_tree_is_the_same_on_every_python_version() -> None:
    assert digest(functions.syntax_tree(ast.parse(SYNTAX))) == "a646e6ee0111ecb54f60d016bfdabce2"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# a remark", "# another"),
        ("What a reader reads.", "What nobody reads."),
        ("'b'", '"b"'),
        ("    if (half", "\n\n    if   (  half"),
        ("2.5", "2.50"),
        ("FACTOR = 3\n", "FACTOR = 3\n\ndef unread():\n    return 1\n"),
        ("range(n))", "range(\n        n\n    ))"),
        ("'b'", "u'b'"),
        ('" "and more"', 'and more"'),
    ],
)
def test_how_a_function_is_written_does_not_count(told: Told, before: str, after: str) -> None:
    assert before in SOURCE
    assert told(SOURCE.replace(before, after)) == told(SOURCE)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("total // 2", "total // 3", "shopcode.load:rows was changed"),
        ("x * FACTOR", "x + FACTOR", "shopcode.load:helper was changed"),
        ("FACTOR = 3", "FACTOR = 4", "shopcode.load:helper→FACTOR was changed"),
        ("2.5", "2.25", "shopcode.load:rows→NAMES was changed"),
        ("None, True", "None, 1", "shopcode.load:rows→NAMES was changed"),
        ("n=2", "n=3", "shopcode.load:rows was changed"),
        ("!r:", "!s:", "shopcode.load:rows was changed"),
        (
            "helper(i)",
            "(i + 1)",
            "shopcode.load:rows no longer reaches shopcode.load:helper",
        ),
    ],
)
def test_what_a_function_computes_counts_and_is_named(
    told: Told, before: str, after: str, words: str
) -> None:
    assert before in SOURCE
    assert words in changes(told(SOURCE), told(SOURCE.replace(before, after)))


REACHING = """
import datetime as dt
import functools
from dataclasses import dataclass
from enum import Enum
from shopcode import other
from shopcode.other import direct

class Parent:
    def grow(self):
        return 1

class Child(Parent):
    pass

class Side(Enum):
    LEFT = 1

@dataclass(frozen=True)
class Config:
    size: int

CONFIG = Config(size=5)
SINCE = dt.datetime(2017, 1, 2)
SIDE = Side.LEFT

def wrapper(function):
    @functools.wraps(function)
    def wrapped():
        return function() + 7
    return wrapped

@wrapper
def wrapped():
    return 8

@functools.cache
def cached():
    return 9

def added(amount):
    def add(x):
        return x + amount
    return add

add_one, add_ten = added(11), added(12)
partly = functools.partial(added, 13)

def rows():
    return other.inner(), direct(), Child(), wrapped(), cached(), add_one(1), add_ten(2), partly, (
        CONFIG, SINCE, SIDE)
"""
OTHER = """
DEEP = 20

def inner():
    return DEEP

def direct():
    return 21
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return 1", "return 2"),
        ("LEFT = 1", "LEFT = 2"),
        ("size=5", "size=6"),
        ("2017, 1, 2", "2017, 1, 3"),
        ("+ 7", "+ 77"),
        ("return 8", "return 88"),
        ("return 9", "return 99"),
        ("x + amount", "x - amount"),
        ("added(11)", "added(111)"),
        ("added(12)", "added(112)"),
        ("added, 13", "added, 113"),
        ("DEEP = 20", "DEEP = 21"),
        ("return 21", "return 22"),
    ],
)
def test_what_a_function_reaches_of_its_project_counts(told: Told, before: str, after: str) -> None:
    assert (REACHING + OTHER).count(before) == 1
    one = told(REACHING, other=OTHER)
    two = told(REACHING.replace(before, after), other=OTHER.replace(before, after))
    assert one["code"] != two["code"]


def test_functions_that_call_each_other_have_a_meaning(told: Told) -> None:
    source = "def rows():\n    return other()\n\ndef other():\n    return rows()\n"
    assert told(source)["code"] != told(source.replace("return rows()", "return 1, rows()"))["code"]


def test_the_version_of_a_library_that_is_listed_counts(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "def rows():\n    return 1\n"
    assert "uses" not in told(source)
    before = told(source, uses=("msgspec",))
    monkeypatch.setattr(functions.importlib.metadata, "version", lambda _name: "999")
    after = told(source, uses=("msgspec",))
    assert len(changes(before, after)) == 1
    assert changes(before, after)[0].endswith("→ 999")


def test_a_library_that_is_listed_and_not_installed_is_named(told: Told) -> None:
    with pytest.raises(FunctionError, match=r"shopcode.load:rows.*nonesuch.*not installed"):
        told("def rows():\n    return 1\n", uses=("nonesuch",))


def test_a_lambda_is_refused(told: Told) -> None:
    with pytest.raises(FunctionError, match="lambda"):
        told("rows = lambda: 1\n")


def test_a_lambda_that_is_reached_is_refused(told: Told) -> None:
    with pytest.raises(FunctionError, match="lambda"):
        told("double, half = (lambda x: x * 2), (lambda x: x / 2)\ndef rows(): return half(1)\n")


def test_a_function_without_a_name_of_its_own_is_refused_in_a_spec() -> None:
    def inner() -> None: ...

    for function in (inner, lambda: 1):
        with pytest.raises(FunctionError, match="no name that another process could import"):
            function_name(function)


@pytest.mark.parametrize("value", ["3", "'text'", "[1]", "object()", "None"])
def test_what_is_no_function_is_refused(told: Told, value: str) -> None:
    with pytest.raises(FunctionError, match=r"shopcode\.load:rows"):
        told(f"rows = {value}\n")


@pytest.mark.parametrize("name", ["", "rows", ":rows", "shopcode.load:"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(FunctionError) as caught:
        functions.load(name)
    assert caught.value.expected is not None
    assert "module:name" in caught.value.expected


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(FunctionError, match=r"nonesuch.load.*ModuleNotFoundError"):
        functions.load("nonesuch.load:rows")


def test_a_function_that_is_not_there_is_told_with_those_that_are(told: Told) -> None:
    with pytest.raises(FunctionError) as caught:
        told("def purchases():\n    return 1\n", name="purchase")
    assert "purchases" in (caught.value.expected or "")


def test_a_module_that_raises_is_told_with_its_error(told: Told) -> None:
    with pytest.raises(FunctionError, match="ZeroDivisionError"):
        told("1 / 0\n")


def test_a_built_in_function_has_no_source_to_tell() -> None:
    with pytest.raises(FunctionError, match="source"):
        functions.function_tree("os:getcwd")
