"""What is shown of backfills is what the plan says; a fingerprint is of what a plan does."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bowerbird.core.plans import OutputOf, Pinned, Plan, Step
from bowerbird.core.specs import needed
from bowerbird.data.features.views import fingerprint, only, plan_of
from bowerbird.lake import Table
from tests.data.features.shop import SOURCES, apply, events, put, stocked
from tests.data.features.test_promotion import PROMOTED

ONE = Step("s1", "features.stage", "backfill:a/b", "missing", cells={"x=1": {"table:a/b": "t"}})
TWO = Step("s2", "features.check", "promotion:a/b", "missing", inputs={"a": OutputOf(("s1",))})
NAMES = ("backfill:shop/spend", "backfill:shop/more", "promotion:shop/training")


def test_a_fingerprint_is_of_what_is_done_and_not_of_how_it_is_numbered() -> None:
    shown = fingerprint(Plan((ONE, TWO), wants="some"))
    moved = replace(TWO, id="s9", inputs={"a": OutputOf(("s8",))})
    assert fingerprint(Plan((replace(ONE, id="s8"), moved), wants="others")) == shown


@pytest.mark.parametrize(
    "other",
    [
        Plan((ONE,)),
        Plan((TWO, ONE)),
        Plan((replace(ONE, base="7"), TWO)),
        Plan((replace(ONE, cells={"x=2": {"table:a/b": "t"}}), TWO)),
        Plan((replace(ONE, cells={"x=1": {"table:a/b": "u"}}), TWO)),
        Plan((replace(ONE, definition={"over": "3d"}), TWO)),
        Plan((ONE, replace(TWO, inputs={"a": Pinned("7")}))),
    ],
)
def test_a_plan_that_does_something_else_has_another_fingerprint(other: Plan) -> None:
    assert fingerprint(other) != fingerprint(Plan((ONE, TWO)))


def test_what_a_spec_needs_is_what_it_reads_and_what_that_reads() -> None:
    one, other = Table("a/one", schema={"n": "long"}), Table("a/other", schema={"n": "long"})
    specs = {str(one.ref): one, str(other.ref): other}
    assert needed(specs, "table:a/one") == {"table:a/one"}
    assert needed(specs, "table:a/nothing") == frozenset()


@pytest.mark.slow
def test_the_plan_of_one_is_its_part_of_the_plan_of_all(tmp_path: Path) -> None:
    shop = stocked(tmp_path, range(20, 24), PROMOTED)
    for _ in range(3):
        for ref in NAMES:
            spec = shop.specs[ref].spec
            whole, alone = only(shop.plan(), spec), plan_of(shop, spec)
            assert fingerprint(alone) == fingerprint(whole), ref
            assert set(alone.notes) == set(whole.notes), ref
        shop.apply(shop.plan())
    apply(shop)
    put(shop, SOURCES[0], events([23], each=14, seed=8))
    spec = shop.specs[NAMES[0]].spec
    assert plan_of(shop, spec).steps
    assert fingerprint(plan_of(shop, spec)) == fingerprint(only(shop.plan(), spec))
