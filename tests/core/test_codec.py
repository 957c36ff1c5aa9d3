"""One codec: Python and YAML give the same value, and a wrong field is named by file and path."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core import codec
from bowerbird.core.errors import BowerbirdError, SpecError
from bowerbird.core.meaning import digest, tree_of
from bowerbird.core.specs import Spec
from tests.core.kinds import KINDS, Decayed, Group, Inner, Last, Numbers, Sum

WORDS = st.from_regex(r"\A[a-z0-9_]{1,63}\Z")
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
OPERATORS = st.builds(Sum, column=TEXTS, over=TEXTS) | st.builds(
    Last, column=TEXTS, n=st.integers(-(2**63), 2**63 - 1)
)
GROUPS = st.builds(
    Group,
    st.builds("{}/{}".format, WORDS, WORDS),
    entity=TEXTS,
    source=TEXTS,
    columns=st.lists(OPERATORS, max_size=3).map(tuple),
    weights=st.dictionaries(TEXTS, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    limit=st.none() | st.integers(0, 2**63 - 1),
    owner=TEXTS,
    description=TEXTS,
    tags=st.dictionaries(TEXTS, TEXTS, max_size=3),
)

YAML = """
apiVersion: bowerbird/v1
kind: Group
metadata: {name: shop/spend, owner: "team:growth", tags: {tier: gold}}
spec:
  entity: household_id
  columns:
    - {type: Sum, column: amount, over: 30d}
    - {type: Last, column: product_id, n: 64}
  weights: {a: 1}
"""
PYTHON = Group(
    "shop/spend",
    entity="household_id",
    columns=(Sum(column="amount", over="30d"), Last(column="product_id", n=64)),
    weights={"a": 1.0},
    owner="team:growth",
    tags={"tier": "gold"},
)
SCHEMA = codec.json_schema(KINDS)


def read(text: str) -> list[Spec]:
    return list(codec.read_yaml(text, KINDS, "specs/a.yaml"))


def test_python_and_yaml_give_the_same_value() -> None:
    assert read(YAML) == [PYTHON]


@given(GROUPS)
def test_a_spec_reads_back_from_its_envelope(spec: Group) -> None:
    assert codec.decode(codec.encode(spec), KINDS) == spec


NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-(2**53), 2**53)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "share": NUMBERS,
        "maybe": st.none() | NUMBERS,
        "either": NUMBERS,
        "pair": st.tuples(NUMBERS, WHOLE).map(list),
        "by_name": st.dictionaries(WORDS, st.lists(NUMBERS, max_size=3), max_size=3),
        "columns": st.lists(
            st.fixed_dictionaries({"type": st.just("Decayed"), "half_life": NUMBERS})
            | st.fixed_dictionaries({"type": st.just("Last"), "column": WORDS, "n": WHOLE}),
            max_size=3,
        ),
        "inner": st.fixed_dictionaries(
            {}, optional={"rate": NUMBERS, "steps": st.lists(NUMBERS, max_size=3)}
        ),
    },
)
OPERATOR_KINDS = {"Decayed": Decayed, "Last": Last}


def in_python(fields: dict[str, Any]) -> Numbers:
    """What a person would write for the same fields."""
    made: dict[str, Any] = dict(fields)
    if "columns" in made:
        made["columns"] = [
            OPERATOR_KINDS[one["type"]](**{k: v for k, v in one.items() if k != "type"})
            for one in made["columns"]
        ]
    if "inner" in made:
        made["inner"] = Inner(**made["inner"])
    return Numbers("shop/numbers", **made)


@given(FIELDS)
def test_the_same_numbers_in_python_and_in_yaml_are_one_value_and_one_meaning(
    fields: dict[str, Any],
) -> None:
    envelope = {"apiVersion": codec.API_VERSION, "kind": "Numbers", "spec": fields}
    text = yaml.safe_dump(envelope | {"metadata": {"name": "shop/numbers"}}, sort_keys=False)
    (from_yaml,) = codec.read_yaml(text, {"Numbers": Numbers}, "specs/a.yaml")
    from_python = in_python(fields)
    assert repr(from_python) == repr(from_yaml)
    assert digest(tree_of(from_python)) == digest(tree_of(from_yaml))
    again = codec.decode(codec.encode(from_python), {"Numbers": Numbers})
    assert digest(tree_of(again)) == digest(tree_of(from_python))


def test_a_whole_number_for_a_float_means_the_same_in_every_place() -> None:
    one = in_python({"share": 1, "maybe": 2, "pair": [3, 4], "by_name": {"a": [5]}})
    other = in_python({"share": 1.0, "maybe": 2.0, "pair": [3.0, 4], "by_name": {"a": [5.0]}})
    assert digest(tree_of(one)) == digest(tree_of(other))
    assert digest(tree_of(in_python({"either": 1}))) != digest(tree_of(in_python({"either": 1.0})))


@given(GROUPS)
def test_an_envelope_survives_the_ledgers_json(spec: Group) -> None:
    assert codec.decode(json.loads(json.dumps(codec.encode(spec))), KINDS) == spec


@given(st.lists(GROUPS, min_size=1, max_size=3))
def test_specs_read_back_from_their_yaml(specs: list[Group]) -> None:
    assert read(codec.write_yaml(specs)) == specs


def test_fields_at_their_default_are_left_out() -> None:
    assert codec.encode(Group("shop/spend", entity="x"))["spec"] == {"entity": "x"}


def test_an_empty_document_declares_nothing() -> None:
    assert read("") == read("---\n---\n") == []


@given(GROUPS)
def test_the_schema_for_editors_takes_every_envelope(spec: Group) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    jsonschema.validate(json.loads(json.dumps(codec.encode(spec))), SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Grup"}, {"more": 1}, {"apiVersion": "v0"}, {"metadata": {}},
        {"metadata": {"name": "a/b", "entity": "x"}}, {"spec": {"entity": 5}}, {"spec": {}},
        {"spec": {"entity": "x", "entitty": "x"}}, {"spec": {"entity": "x", "columns": [{}]}},
        {"spec": {"entity": "x", "name": "a/b"}},
    ],
)  # fmt: skip
def test_the_schema_for_editors_refuses_what_the_codec_refuses(change: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    envelope = codec.encode(PYTHON) | change
    with pytest.raises(SpecError):
        codec.decode(envelope, KINDS)
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(envelope)


def test_the_schema_offers_every_kind_with_its_description() -> None:
    kinds = [one["properties"]["kind"]["const"] for one in SCHEMA["oneOf"]]
    assert kinds == list(KINDS)
    assert SCHEMA["oneOf"][0]["description"] == "Columns over a source, by entity."


def put(old: str, new: str) -> str:
    assert old in YAML
    return YAML.replace(old, new)


WRONG = {
    "an unknown field": (put("entity:", "entitty:"), "specs/a.yaml: spec", "entitty", "entity?"),
    "an unknown field deeper down": (
        put("n: 64", "m: 64"), "specs/a.yaml: spec.columns[1]", "`m`", None,
    ),
    "an unknown field at the top": (
        put("spec:", "specs:"), "specs/a.yaml", "'specs'", "apiVersion, kind, metadata and spec",
    ),
    "a missing field": (put("  entity: household_id\n", ""), "specs/a.yaml: spec", "entity", None),
    "a missing name": (put("name: shop/spend, ", ""), "specs/a.yaml: metadata", "`name`", None),
    "a missing field deeper down": (
        put("column: amount, ", ""), "specs/a.yaml: spec.columns[0]", "`column`", None,
    ),
    "a wrong type": (
        put("household_id", "5"), "specs/a.yaml: spec.entity", "expected `str`, got `int`", None,
    ),
    "a wrong type deeper down": (
        put("64", "many"), "specs/a.yaml: spec.columns[1].n", "expected `int`, got `str`", None,
    ),
    "a wrong type in metadata": (
        put('"team:growth"', "7"), "specs/a.yaml: metadata.owner", "expected `str`", None,
    ),
    "a number as text": (
        put("{a: 1}", "{a: '1'}"), "specs/a.yaml: spec.weights[...]", "expected `float`", None,
    ),
    "an unknown kind": (put("Group", "Grop"), "specs/a.yaml", "unknown kind 'Grop'", "Group?"),
    "an unknown operator": (
        put("type: Sum", "type: Some"), "specs/a.yaml: spec.columns[0].type", "'Some'", None,
    ),
    "no kind": (put("kind: Group", ""), "specs/a.yaml", "unknown kind None", "Group"),
    "a kind that is a list": (put("Group", "[Group]"), "specs/a.yaml", "unknown kind", "Group"),
    "a version that is a list": (put("bowerbird/v1", "[1]"), "specs/a.yaml", "apiVersion", "v1"),
    "another version": (put("bowerbird/v1", "v9"), "specs/a.yaml", "'v9'", "bowerbird/v1"),
    "a field of spec under metadata": (
        put("{name:", "{entity: x, name:"), "specs/a.yaml: metadata", "'entity'", "owner",
    ),
    "a field of metadata under spec": (
        put("  entity:", "  owner: me\n  entity:"), "specs/a.yaml", "'owner' stands under spec",
        "'owner' under metadata",
    ),
    "a bad name": (
        put("shop/spend", "Shop/Spend"), "specs/a.yaml: metadata.name", "'Shop/Spend'",
        "namespace/name",
    ),
    "no mapping": ("- 1\n", "specs/a.yaml", "list where a mapping must be", "name: value"),
    "a spec that is text": (
        "apiVersion: bowerbird/v1\nkind: Group\nmetadata: {name: a/b}\nspec: x\n",
        "specs/a.yaml: spec", "str where a mapping must be", "name: value",
    ),
    "fields that contradict each other": (
        put("spec:\n", "spec:\n  limit: -1\n"), "specs/a.yaml: group:shop/spend: limit",
        "a limit of -1", "0 or more",
    ),
    "no YAML": ("kind: [Group\nspec: x", "specs/a.yaml:2", "not YAML", "documents"),
    "a tab": ("kind:\n\t- x", "specs/a.yaml:2", "not YAML", "documents"),
    "a field that stands twice": (
        put("  entity:", "  entity: first\n  entity:"), "specs/a.yaml:7", "'entity' stands twice",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_with_file_and_path(what: str) -> None:
    text, where, problem, expected = WRONG[what]
    with pytest.raises(SpecError) as caught:
        read(text)
    assert caught.value.where == where
    assert problem in caught.value.problem
    assert (expected or "") in (caught.value.expected or "")


def test_of_several_documents_the_wrong_one_is_numbered() -> None:
    with pytest.raises(SpecError) as caught:
        read(YAML + "---" + put("entity:", "entitty:"))
    assert caught.value.where == "specs/a.yaml (document 2): spec"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SPOILT = st.sampled_from(
    ["apiVersion", "kind", "metadata", "spec", "name", "owner", "tags", "entity", "columns", "type"]
)


@given(SPOILT, ANYTHING)
def test_whatever_stands_in_a_file_is_a_spec_or_an_error_of_ours(spot: str, value: object) -> None:
    envelope = yaml.safe_load(YAML)
    for part in (envelope, envelope["metadata"], envelope["spec"], envelope["spec"]["columns"][0]):
        if spot in part:
            part[spot] = value
    try:
        codec.decode(envelope, KINDS)
    except BowerbirdError as error:
        assert error.where  # noqa: PT017 - either way is right


def test_an_old_spec_is_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    def newer(envelope: dict[str, Any]) -> dict[str, Any]:
        return {**envelope, "apiVersion": codec.API_VERSION, "kind": "Group"}

    monkeypatch.setitem(codec.UPCASTERS, "bowerbird/v0", newer)
    assert read(put("bowerbird/v1", "bowerbird/v0").replace("Group", "Grp")) == [PYTHON]
