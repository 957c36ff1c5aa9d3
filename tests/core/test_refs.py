from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import RefError
from bowerbird.core.refs import Ref, kind_of

PARTS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=63)
REFS = st.builds(Ref, PARTS, PARTS, PARTS)


@given(REFS)
def test_a_ref_reads_back_from_its_text(ref: Ref) -> None:
    assert Ref.parse(str(ref)) == ref
    assert Ref.of(ref.kind, f"{ref.namespace}/{ref.name}") == ref


@given(st.text() | st.from_regex(r"[a-z]{1,3}:[a-z]{1,3}/[a-zA-Z]{1,3}"))
def test_a_text_that_is_taken_for_a_ref_reads_back_as_it_was(text: str) -> None:
    with suppress(RefError):
        assert str(Ref.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "table:shop", "shop/purchases", "table:Shop/purchases", "table:shop/pur chases",
        "table:shop/purchases/x", "table::shop/purchases", "table:shop/purchases\n",
        "table:shop/" + "p" * 64, "table:shop/päckchen", "table:shop/",
    ],
)  # fmt: skip
def test_what_is_no_ref_is_refused(text: str) -> None:
    with pytest.raises(RefError, match="is not a ref") as caught:
        Ref.parse(text)
    assert repr(text) in caught.value.problem


@given(st.lists(REFS))
def test_refs_sort_by_kind_then_namespace_then_name(refs: list[Ref]) -> None:
    assert sorted(refs) == sorted(refs, key=lambda ref: (ref.kind, ref.namespace, ref.name))


@given(st.lists(st.from_regex(r"\A[A-Z][a-z0-9]{0,8}\Z"), min_size=1, max_size=4))
def test_a_kinds_words_are_joined_by_underscores(words: list[str]) -> None:
    told = kind_of("".join(words))
    assert told.replace("_", "") == "".join(words).lower()
    assert re.fullmatch(r"[a-z0-9_]+", told)


def test_a_kind_is_written_as_in_refs() -> None:
    assert kind_of("FeatureGroup") == "feature_group"
    assert kind_of("Table") == "table"
