"""Plans: desired against actual state, as frozen steps with reasons; the same for the same."""

from __future__ import annotations

import io
import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bowerbird.cli import screen
from bowerbird.core.errors import PlanError
from bowerbird.core.meaning import Tree, digest, tree_of
from bowerbird.core.plans import (
    Allowed,
    Cost,
    OutputOf,
    Pinned,
    Plan,
    Want,
    make_plan,
    meaning,
    ordered,
)
from bowerbird.core.targets import WHOLE, CellState, Read, Version
from tests.core.kinds import Group, Sum
from tests.golden import FOLDER, golden

ORDERS, SPEND, MODEL = "table:shop/orders", "group:shop/spend", "model:shop/taste"


def spend(over: str) -> Tree:
    return {
        "spec": tree_of(Group("shop/spend", entity="who", columns=(Sum(column="x", over=over),)))
    }


WANTS = (
    Want(MODEL, "model.train", {"spec": {"kind": "Model", "layers": 2}}, reads=(SPEND,)),
    Want(SPEND, "group.fill", spend("30d"), reads=(ORDERS,), cost=Cost(rows=1200, seconds=3.2)),
    Want(ORDERS, "table.load", {"spec": {"kind": "Table"}}, cost=Cost(bytes=5 << 20)),
)
TREES: dict[str, Tree] = {}


def kept(tree: Tree) -> str:
    TREES[digest(tree)] = tree
    return digest(tree)


def there(version: str, definition: Tree, inputs: dict[str, str], **state: str | None) -> Read:
    known = {"meaning": kept(meaning(definition, inputs)), "data": f"run/{version}"} | state
    return Read(Version(version), {WHOLE: CellState(**known)})  # type: ignore[arg-type]


CURRENT = {
    ORDERS: there("o1", WANTS[2].definition, {}),
    SPEND: there("s1", WANTS[1].definition, {ORDERS: "run/o1"}),
    MODEL: there("m1", WANTS[0].definition, {SPEND: "run/s1"}),
}
STALE = CURRENT | {SPEND: there("s1", spend("60d"), {ORDERS: "run/o1"})}
NEWER = CURRENT | {ORDERS: there("o2", WANTS[2].definition, {})}
OUTSIDE = CURRENT | {SPEND: there("s2", {}, {}, meaning=None, data="outside:s2")}
HELD = CURRENT | {
    SPEND: there("s3", spend("7d"), {ORDERS: "run/o1"}, held=digest(WANTS[1].definition))
}
FORGOTTEN = CURRENT | {MODEL: Read(Version("m1"), {WHOLE: CellState("0" * 32, "run/m1")})}
GONE = {"table:shop/old": "table.drop", "index:shop/older": "release.drop"}

PLANS = {
    "missing": make_plan(WANTS, {}, TREES),
    "nothing": make_plan(WANTS, CURRENT, TREES),
    "stale_definition": make_plan(WANTS, STALE, TREES),
    "stale_input": make_plan(WANTS, NEWER, TREES),
    "stale_unknown": make_plan(WANTS, FORGOTTEN, TREES),
    "outside": make_plan(WANTS, OUTSIDE, TREES),
    "outside_replaced": make_plan(WANTS, OUTSIDE, TREES, Allowed(frozenset({SPEND}))),
    "held": make_plan(WANTS, HELD, TREES),
    "held_released": make_plan(WANTS, HELD, TREES, Allowed(release_held=frozenset({SPEND}))),
    "removed": make_plan(WANTS, CURRENT, TREES, removed=GONE),
    "dropped": make_plan(
        WANTS, CURRENT, TREES, Allowed(drop=frozenset({"table:shop/old"})), removed=GONE
    ),
    "cell_missing_elsewhere_outside": make_plan(
        [msgspec.structs.replace(WANTS[2], cell="day=2")],
        {ORDERS: Read(Version("o4"), {"day=1": CellState(None, "outside:o4")})},
        TREES,
    ),
}


def shown(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> str:
    """``plan`` and ``explain``, as a terminal of eighty columns shows them."""
    text = io.StringIO()
    monkeypatch.setattr(screen, "out", Console(file=text, width=80, highlight=False))
    text.write("$ bowerbird plan\n")
    screen.plan(plan)
    text.write("\n$ bowerbird explain\n")
    screen.explained(plan)
    return text.getvalue()


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_shown_as_it_always_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(PLANS[name], monkeypatch)
    assert golden(f"plans/{name}.txt", text) == text


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_stored_as_it_always_was(name: str) -> None:
    text = msgspec.json.format(msgspec.json.encode(PLANS[name]), indent=2).decode() + "\n"
    assert golden(f"plans/{name}.json", text) == text


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_of_any_version_reads_back_from_the_ledger(name: str) -> None:
    kept_text = (FOLDER / f"plans/{name}.json").read_text(encoding="utf-8")
    assert msgspec.json.decode(kept_text, type=Plan) == PLANS[name]


@pytest.mark.parametrize("name", PLANS)
def test_explain_prints_the_very_steps_of_the_plan(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _, explained = shown(PLANS[name], monkeypatch).partition("$ bowerbird explain")
    wanted = [(step.id, step.kind, step.target) for step in PLANS[name].steps]
    for text in (head, explained):
        lines = [tuple(line.split()[:3]) for line in text.splitlines() if line.startswith("  s")]
        lines = [line for line in lines if line[0].lstrip("s").isdigit()]
        assert lines == wanted


def test_explain_never_says_nothing_to_do_above_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, plan in PLANS.items():
        said = "nothing to do" in shown(plan, monkeypatch)
        assert said == plan.empty, name


def reasons(name: str) -> dict[str, str]:
    return {step.target: step.reason for step in PLANS[name].steps}


def test_a_plan_that_changes_nothing_is_empty() -> None:
    assert PLANS["nothing"].empty
    assert PLANS["nothing"].notes == ()


def test_a_stale_step_says_which_field_was_changed() -> None:
    assert reasons("stale_definition") == {
        SPEND: "stale: Sum.over: 60d → 30d",
        MODEL: f"stale: {SPEND} is made anew",
    }


def test_what_reads_a_stale_thing_waits_for_the_step_that_makes_it() -> None:
    last = PLANS["stale_definition"].steps[-1]
    assert last.inputs == {SPEND: OutputOf(("s1",))}
    assert last.needs() == ("s1",)


def test_a_changed_input_is_named() -> None:
    assert reasons("stale_input")[SPEND] == f"stale: {ORDERS} changed"
    assert PLANS["stale_input"].step("s1").inputs == {ORDERS: Pinned(Version("o2"), "run/o2")}


def test_a_meaning_that_was_not_kept_is_stale_without_a_reason() -> None:
    assert reasons("stale_unknown") == {MODEL: "stale: its meaning changed"}


def test_what_was_changed_outside_is_left_and_what_to_type_is_told() -> None:
    plan = PLANS["outside"]
    note = next(note for note in plan.notes if note.ref == SPEND)
    assert SPEND not in reasons("outside")
    assert note.fix == f"bowerbird apply --replace {SPEND}"


def test_what_was_rolled_back_is_held_until_it_is_released() -> None:
    assert SPEND not in reasons("held")
    assert SPEND in reasons("held_released")
    assert PLANS["held"].notes[0].fix == f"bowerbird apply --release {SPEND}"


def test_what_was_rolled_back_is_made_again_once_its_definition_is_another() -> None:
    wants = [msgspec.structs.replace(WANTS[1], definition=spend("90d")), WANTS[2]]
    assert make_plan(wants, HELD, TREES).steps[0].target == SPEND


def test_what_no_spec_declares_any_more_is_kept_unless_asked_for() -> None:
    assert PLANS["removed"].empty
    assert [note.ref for note in PLANS["removed"].notes] == sorted(GONE)
    assert [step.target for step in PLANS["dropped"].steps] == ["table:shop/old"]


def test_what_cannot_be_read_is_not_made_and_neither_is_what_reads_it() -> None:
    outside = {ORDERS: Read(None, {WHOLE: CellState(None, "outside:x")})}
    plan = make_plan(WANTS, outside, TREES)
    assert plan.empty
    assert [note.ref for note in plan.notes] == [ORDERS, SPEND, MODEL]


def test_specs_that_read_each_other_are_told_as_a_circle() -> None:
    circle = [
        Want(f"table:a/{one}", "x", None, reads=(f"table:a/{other}",))
        for one, other in itertools.pairwise("xyzx")
    ]
    with pytest.raises(PlanError, match=r"table:a/x → table:a/y → table:a/z → table:a/x"):
        make_plan(circle, {}, {})


def test_a_spec_that_reads_itself_is_a_circle() -> None:
    with pytest.raises(PlanError, match=r"table:a/x → table:a/x"):
        make_plan([Want("table:a/x", "x", None, reads=("table:a/x",))], {}, {})


NAMES = [f"table:a/t{number}" for number in range(6)]


@st.composite
def wanted(draw: st.DrawFn) -> list[Want]:
    """Wants without a circle, in any order; some targets have two cells."""
    wants = []
    for number, name in enumerate(NAMES):
        reads = draw(
            st.lists(st.sampled_from(NAMES[:number]), unique=True) if number else st.just([])
        )
        cells = draw(st.sampled_from([(WHOLE,), ("d=1", "d=2")]))
        wants += [
            Want(name, "x.make", {"kind": name}, cell=cell, reads=tuple(reads)) for cell in cells
        ]
    return draw(st.permutations(wants))


@given(wanted())
def test_each_step_comes_after_what_it_reads(wants: list[Want]) -> None:
    order = ordered(wants)
    assert sorted(map(repr, order)) == sorted(map(repr, wants))
    for index, want in enumerate(order):
        for later in order[index:]:
            assert later.target not in want.reads


@given(wanted())
def test_making_a_plan_twice_gives_the_same_plan(wants: list[Want]) -> None:
    assert make_plan(wants, {}, {}) == make_plan(wants, {}, {})


@given(wanted())
def test_a_step_needs_all_the_steps_that_make_what_it_reads(wants: list[Want]) -> None:
    plan = make_plan(wants, {}, {})
    made = {ref: {step.id for step in plan.steps if step.target == ref} for ref in NAMES}
    reads = {(want.target, want.cell): want.reads for want in wants}
    for step in plan.steps:
        needed = set().union(*(made[ref] for ref in reads[step.target, step.cell]))
        assert set(step.needs()) == needed


@given(wanted())
def test_once_every_step_is_done_the_plan_is_empty(wants: list[Want]) -> None:
    trees: dict[str, Tree] = {}
    present: dict[str, Read] = {}
    for step in make_plan(wants, {}, {}).steps:
        read = {ref: present[ref].data for ref in step.inputs}
        tree = meaning(step.definition, read)
        trees[digest(tree)] = tree
        cells = dict(present.get(step.target, Read()).cells)
        cells[step.cell] = CellState(digest(tree), f"run/{step.id}")
        present[step.target] = Read(Version(step.id), cells)
    again = make_plan(wants, present, trees)
    assert again.empty
    assert again.notes == ()


@given(wanted(), st.sampled_from(NAMES))
def test_of_two_plans_of_the_same_specs_both_know_it(wants: list[Want], ref: str) -> None:
    one, other = make_plan(wants, {}, {}), make_plan(wants, CURRENT, TREES)
    assert one.wants == other.wants
    assert make_plan(wants, {}, {}, Allowed(drop=frozenset({ref}))).wants != one.wants
