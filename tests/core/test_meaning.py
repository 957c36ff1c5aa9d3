"""Meanings: the same for the same computation, on every Python version, whoever owns it.

The hashes are literals: a change of one of them makes every table of every user stale. Change one
only together with an operator's `revision`, or with a reason in `docs/decisions/`.
"""

from __future__ import annotations

import json
from enum import Enum

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.meaning import canonical, changes, digest, tree_of
from tests.core.kinds import Group, Last, LastAgain, Sum, WiderGroup

SPEND = Group(
    "shop/spend",
    entity="household_id",
    source="table:shop/purchases",
    columns=(Sum(column="amount", over="30d"), Last(column="product_id", n=64)),
    weights={"b": 0.1, "a": 1.0},
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=20,
)  # fmt: skip


def test_the_tree_of_a_spec_is_plain_data_without_what_is_at_its_default() -> None:
    assert tree_of(SPEND) == {
        "kind": "Group",
        "entity": "household_id",
        "source": "table:shop/purchases",
        "columns": [
            {"kind": "Sum", "column": "amount", "over": "30d"},
            {"kind": "Last", "column": "product_id", "n": 64},
        ],
        "weights": {"b": 0.1, "a": 1.0},
    }


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (SPEND, "40c5f429f354ee86f6f8b9d9fc510ee7"),
        (Sum(column="amount"), "fa1ca88061bd8e27116bff6b39510095"),
        (LastAgain(column="amount"), "30d7367345d9d61a100acd8876286ef3"),
        (
            {"b": [1, 2.5, -0.0, 1e22, True, None], "a": "päckchen ☕ \u2028"},
            "df55b0b64634ef8573dcfc3289257bf8",
        ),
        ([], "4f53cda18c2baa0c0354bb5f9a3ecbe5"),
    ],
)
def test_a_hash_is_the_same_on_every_python_version(value: object, wanted: str) -> None:
    assert digest(tree_of(value)) == wanted


def test_a_new_field_at_its_default_changes_no_meaning() -> None:
    fields = msgspec.structs.asdict(SPEND)
    wider = tree_of(WiderGroup(**fields))
    assert wider | {"kind": "Group"} == tree_of(SPEND)
    assert "shuffled" in tree_of(WiderGroup(**fields, shuffled=True))


@pytest.mark.parametrize(
    "field", [{"owner": "team:other"}, {"description": "anything"}, {"tags": {"a": "b"}}]
)
def test_who_owns_a_spec_is_outside_its_meaning(field: dict[str, object]) -> None:
    assert tree_of(msgspec.structs.replace(SPEND, **field)) == tree_of(SPEND)


def test_a_spec_by_another_name_means_the_same() -> None:
    assert tree_of(msgspec.structs.replace(SPEND, name="shop/other")) == tree_of(SPEND)


def test_an_operators_revision_is_part_of_the_meaning() -> None:
    first, second = tree_of(Last(column="x")), tree_of(LastAgain(column="x"))
    assert "revision" not in first
    assert second["revision"] == 2


@given(TREES)
def test_the_order_of_keys_plays_no_part(tree: object) -> None:
    turned = json.loads(json.dumps(tree), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert digest(turned) == digest(tree)


@given(TREES)
def test_a_tree_that_was_kept_as_text_hashes_the_same(tree: object) -> None:
    assert digest(json.loads(canonical(tree))) == digest(tree)


@given(TREES, TREES)
def test_two_trees_differ_if_and_only_if_changes_says_so(one: object, other: object) -> None:
    same = canonical(one) == canonical(other)
    assert same <= (changes(one, other) == ())


@given(st.dictionaries(st.text("abc", min_size=1), st.integers() | st.text("xyz"), min_size=1))
def test_a_changed_field_is_always_told(fields: dict[str, object]) -> None:
    old = {"kind": "Sum", **fields}
    for field in fields:
        told = changes(old, old | {field: ["other"]})
        assert len(told) == 1
        assert told[0].startswith(f"Sum.{field}: ")


@given(st.sets(st.integers() | st.text("abc")))
def test_a_set_has_one_tree_whatever_its_order(values: set[object]) -> None:
    assert tree_of(values) == tree_of(frozenset(reversed(list(values))))


def test_an_enum_means_its_value() -> None:
    class Side(Enum):
        LEFT = "left"

    assert tree_of(Side.LEFT) == "left"


def test_what_is_not_plain_data_has_no_meaning() -> None:
    with pytest.raises(TypeError, match="plain data"):
        tree_of(object())


OVER_30 = tree_of(SPEND)


def changed(**fields: object) -> tuple[str, ...]:
    return changes(OVER_30, tree_of(msgspec.structs.replace(SPEND, **fields)))


def test_a_changed_field_of_an_operator_is_told_by_its_kind() -> None:
    columns = (Sum(column="amount", over="60d"), SPEND.columns[1])
    assert changed(columns=columns) == ("Sum.over: 30d → 60d",)


def test_a_field_set_to_its_default_is_told_as_such() -> None:
    columns = (Sum(column="amount"), SPEND.columns[1])
    assert changed(columns=columns) == ("Sum.over: 30d → (default)",)


def test_a_field_that_leaves_its_default_is_told_as_such() -> None:
    assert changed(limit=5) == ("Group.limit: (default) → 5",)


def test_another_operator_in_one_place_is_told_whole() -> None:
    columns = (Last(column="amount"), SPEND.columns[1])
    told = changed(columns=columns)
    assert told == ("Group.columns[0]: Sum(column=amount, over=30d) → Last(column=amount)",)


def test_a_column_more_is_told_as_one_change() -> None:
    told = changed(columns=(*SPEND.columns, Sum(column="quantity")))
    assert len(told) == 1
    assert told[0].startswith("Group.columns: [Sum(column=a")


def test_a_changed_weight_is_told_with_its_key() -> None:
    assert changed(weights={"b": 0.2, "a": 1.0}) == ("Group.weights.b: 0.1 → 0.2",)


def test_nothing_changed_is_told_as_nothing() -> None:
    assert changed() == ()


def test_a_long_value_is_cut_short() -> None:
    told = changes({"kind": "X", "a": "x" * 500}, {"kind": "X", "a": "y" * 500})
    assert len(told[0]) < 120
