"""Specs are found where they are declared, and every mistake names that place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bowerbird.core import functions
from bowerbird.core.errors import BowerbirdError, PlanError, RefError, SpecError
from bowerbird.lake import Table
from bowerbird.workspace.project import Declared, load_specs
from tests.core.kinds import KINDS

Load = Callable[..., dict[str, Declared]]
HEAD = "from tests.core.kinds import Group, Sum\n"


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    before = list(sys.path)

    def loaded(**files: str) -> dict[str, Declared]:
        for name, text in files.items():
            stem, _, suffix = name.rpartition("_")
            path = tmp_path / "specs" / f"{stem.replace('__', '/')}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return load_specs(tmp_path, "specs", KINDS)

    yield loaded
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == "specs"]:
        del sys.modules[name]


def yaml(name: str, **fields: str) -> str:
    spec = "".join(f"\n  {field}: {value}" for field, value in ({"entity": "x"} | fields).items())
    return f"apiVersion: bowerbird/v1\nkind: Group\nmetadata: {{name: {name}}}\nspec:{spec}\n"


def test_threads_that_read_specs_anew_do_not_take_them_from_one_another(load: Load) -> None:
    slow = HEAD + "import time\ntime.sleep(.01)\n"
    found = load(a_py=slow + "one = Group('a/one', entity='x')\n", b_py="from specs.a import one\n")
    function = "specs.a:Group"

    def again(n: int) -> object:
        return load() if n % 2 else functions.load(function)

    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(again, range(24)))
    assert [set(end) for end in ends if isinstance(end, dict)] == [set(found)] * 12


def test_an_editors_own_files_declare_nothing(load: Load, tmp_path: Path) -> None:
    found = load(a_py=HEAD + "one = Group('a/one', entity='x')\n")
    (tmp_path / "specs" / ".#a.py").symlink_to("me@host.1:2")
    (tmp_path / "specs" / ".#a.yaml").symlink_to("me@host.1:2")
    (tmp_path / "specs" / ".kept").mkdir()
    (tmp_path / "specs" / ".kept" / "b.py").write_text("import nothing_that_is_there")
    assert load() == found


def test_specs_are_found_in_python_and_yaml_and_in_folders(load: Load) -> None:
    found = load(
        a_py=HEAD + "one = Group('a/one', entity='x')\n",
        b_yaml=yaml("a/two"),
        c_yml=yaml("a/three"),
        more__d_py=HEAD + "four = Group('a/four', entity='x')\n",
    )
    places = {ref: declared.where for ref, declared in found.items()}
    assert places == {
        "group:a/one": "specs/a.py: one",
        "group:a/two": "specs/b.yaml",
        "group:a/three": "specs/c.yml",
        "group:a/four": "specs/more/d.py: four",
    }


def test_a_spec_that_one_module_takes_from_another_is_one_spec(load: Load) -> None:
    found = load(
        a_py=HEAD + "one = Group('a/one', entity='x')\n",
        b_py=HEAD + "from specs.a import one\ntwo = Group('a/two', entity='x', source=one)\n",
    )
    assert found["group:a/two"].spec.refs() == {"source": "group:a/one"}


def test_making_a_spec_without_naming_it_declares_nothing(load: Load) -> None:
    assert load(a_py=HEAD + "Group('a/one', entity='x')\n") == {}


def test_a_file_that_was_changed_is_read_anew(load: Load) -> None:
    load(a_py=HEAD + "one = Group('a/one', entity='first')\n")
    found = load(a_py=HEAD + "one = Group('a/one', entity='the second')\n")
    assert found["group:a/one"].spec.entity == "the second"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("files", "places"),
    [
        ({"a_yaml": yaml("a/x"), "b_yaml": yaml("a/x")}, ("specs/a.yaml", "specs/b.yaml")),
        (
            {"a_py": HEAD + "one = Group('a/x', entity='1')\ntwo = Group('a/x', entity='1')\n"},
            ("specs/a.py: one", "specs/a.py: two"),
        ),
        (
            {"a_yaml": yaml("a/x") + "---\n" + yaml("a/x")},
            ("specs/a.yaml, twice",),
        ),
    ],
)
def test_two_specs_with_one_name_are_told_with_both_places(
    load: Load, files: dict[str, str], places: tuple[str, ...]
) -> None:
    with pytest.raises(PlanError, match="two specs are named group:a/x") as caught:
        load(**files)
    assert caught.value.where == " and ".join(places)


def test_a_module_that_raises_is_told_with_its_line(load: Load) -> None:
    with pytest.raises(SpecError, match="ValueError: too early") as caught:
        load(a_py="\ndef f():\n    raise ValueError('too early')\n\nf()\n")
    assert caught.value.where == "specs/a.py:3"


def test_a_module_that_raises_elsewhere_is_told_with_the_line_that_led_there(load: Load) -> None:
    with pytest.raises(SpecError, match="JSONDecodeError") as caught:
        load(a_py="import json\n\nx = json.loads('{')\n")
    assert caught.value.where == "specs/a.py:3"


def test_a_reference_to_nothing_is_told_with_its_field_and_the_closest_ref(load: Load) -> None:
    with pytest.raises(RefError, match="nothing is named group:a/onne") as caught:
        load(a_yaml=yaml("a/one"), b_yaml=yaml("a/two", source="group:a/onne"))
    assert caught.value.where == "specs/b.yaml: source"
    assert caught.value.expected == "group:a/one?"


def test_a_reference_that_is_no_ref_is_told_with_its_field(load: Load) -> None:
    with pytest.raises(RefError, match="'a/one' is not a ref") as caught:
        load(a_yaml=yaml("a/two", source="a/one"))
    assert caught.value.where == "specs/a.yaml: source"


def test_fields_that_contradict_each_other_are_told_with_file_and_name(load: Load) -> None:
    with pytest.raises(SpecError, match="a limit of -1") as caught:
        load(a_py=HEAD + "one = Group('a/one', entity='x', limit=-1)\n")
    assert caught.value.where == "specs/a.py: one: group:a/one: limit"


def test_a_wrong_type_in_python_is_as_wrong_as_in_yaml(load: Load) -> None:
    with pytest.raises(SpecError, match="expected `str`, got `int`") as caught:
        load(a_py=HEAD + "one = Group('a/one', entity=5)\n")
    assert caught.value.where == "specs/a.py:2: group:a/one: entity"


def test_a_project_without_specs_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no folder specs"):
        load_specs(tmp_path, "specs", KINDS)


def test_nothing_but_errors_of_ours_comes_out(load: Load) -> None:
    for text in ("import nonesuch\n", "x = {}['a']\n", "raise SystemExit(3)\n", "\x00", "(\n"):
        with pytest.raises(BowerbirdError):
            load(a_py=text)


def test_an_edit_within_a_second_that_keeps_the_size_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = tmp_path / "specs" / "tables.py"
    spec.parent.mkdir()
    text = (
        'from bowerbird.lake import Table\none = Table("a/b", schema={"x": "long"}, owner="%s")\n'
    )
    owners = []
    for owner in ("u", "v", "w"):
        spec.write_text(text % owner)
        os.utime(spec, (1, 1))
        sys.dont_write_bytecode, before = False, sys.dont_write_bytecode
        try:
            (declared,) = load_specs(tmp_path, "specs", {"Table": Table}).values()
        finally:
            sys.dont_write_bytecode = before
        owners.append(declared.spec.owner)
    assert owners == ["u", "v", "w"]
