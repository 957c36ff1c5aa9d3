"""Which snapshots may go: pure."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.targets import Token
from bowerbird.lake.upkeep.retention import Name, Node, chain, staying


def line(*tokens: str | None, first: int = 1, parent: int | None = None) -> list[Node]:
    """Commits one on top of another, a second apart, the oldest first."""
    numbers = range(first, first + len(tokens))
    parents = [parent, *numbers][: len(tokens)]
    return [
        Node(number, before, number * 1000, token)
        for number, before, token in zip(numbers, parents, tokens, strict=True)
    ]


def stay(nodes: list[Node], *names: Name, **rule: Any) -> set[int]:
    rule = {"older_than": 10**9, "keep_last": 1, "now": 10**9} | rule
    return set(staying(nodes, names or [Name("main", nodes[-1].version)], **rule))


FIVE = line(*"abcde")


def test_the_head_stays_and_the_old_ones_go() -> None:
    assert stay(FIVE) == {5}


def test_so_many_versions_stay_as_were_asked_for() -> None:
    assert stay(FIVE, keep_last=3) == {3, 4, 5}


def test_what_is_young_stays() -> None:
    assert stay(FIVE, older_than=4000) == {4, 5}


def test_what_a_run_may_look_for_stays_and_all_between_it_and_the_head() -> None:
    assert stay(FIVE, spared={Token("c")}) == {3, 4, 5}


def test_the_heads_of_all_branches_and_every_tag_stay() -> None:
    side = line("x", "y", first=11, parent=2)
    names = (Name("main", 5), Name("audit", 12), Name("release", 1, branch=False))
    assert stay([*FIVE, *side], *names) == {1, 5, 12}


def test_a_branchs_own_retention_is_held() -> None:
    assert stay(FIVE, Name("main", 5, keep_last=4)) == {2, 3, 4, 5}
    assert stay(FIVE, Name("main", 5, max_age=2000), now=5000) == {3, 4, 5}


def test_the_last_commit_that_tells_what_partitions_hold_stays() -> None:
    assert stay(line("a", "b", None, None, None)) == {2, 3, 4, 5}


def test_commits_that_exchanged_no_file_are_not_counted_as_versions() -> None:
    nodes = [*FIVE, Node(6, 5, 6000, "expiry", counts=False)]
    assert stay(nodes) == {5, 6}


def test_what_no_branch_leads_to_goes_unless_it_is_young_or_looked_for() -> None:
    aside = line("x", "y", "z", first=11, parent=2)
    assert stay([*FIVE, *aside], Name("main", 5), spared={Token("y")}) == {5, 12}
    assert stay([*FIVE, *aside], Name("main", 5), older_than=13_000) == {5, 13}


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[Node], list[Name]]:
    nodes: list[Node] = []
    for version in range(1, draw(st.integers(2, 14))):
        parent = draw(st.sampled_from([None, *[n.version for n in nodes]])) if nodes else None
        token = draw(st.sampled_from([f"t{version}", None]))
        nodes.append(Node(version, parent, draw(st.integers(0, 50)), token, draw(st.booleans())))
    versions = st.sampled_from([n.version for n in nodes])
    others = range(draw(st.integers(0, 3)))
    names = [Name("main", draw(versions))]
    names += [Name(f"n{at}", draw(versions), branch=draw(st.booleans())) for at in others]
    return nodes, names


@given(trees(), st.integers(0, 50), st.integers(1, 4), st.sets(st.integers(1, 14)))
def test_whatever_is_asked_a_head_descends_from_all_that_must_stay(
    drawn: tuple[list[Node], list[Name]], older_than: int, keep_last: int, looked_for: set[int]
) -> None:
    nodes, names = drawn
    spared = {Token(f"t{number}") for number in looked_for}
    found = stay(nodes, *names, older_than=older_than, keep_last=keep_last, spared=spared)
    known = {node.version: node for node in nodes}
    left = {version: known[version] for version in found}
    for name in names:
        assert name.version in found
        whole = chain(known, name.version) if name.branch else []
        kept = [node.version for node in chain(left, name.version)]
        for node in whole:
            if node.at >= older_than or node.token in spared:
                assert node.version in kept
    must = {n.version for n in nodes if n.at >= older_than or n.token in spared}
    assert must <= found
