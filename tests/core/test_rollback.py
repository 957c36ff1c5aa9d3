"""Where a rollback goes that is not told a version."""

from __future__ import annotations

import pytest

from bowerbird.core.errors import UserError
from bowerbird.core.rollback import plan_rollback
from bowerbird.core.targets import Entry, History, Version


def history(*told: tuple[str, str]) -> History:
    """The versions, oldest first; each with the version that it went back to, if it did."""
    entries = [
        Entry(Version(name), changed=frozenset("c"), results={"back_to": back} if back else {})
        for name, back in told
    ]
    return History(tuple(reversed(entries)))


@pytest.mark.parametrize(
    ("told", "to"),
    [
        ([("1", ""), ("2", "")], "1"),
        ([("1", ""), ("2", ""), ("3", "")], "2"),
        # What was put back is not brought again by itself.
        ([("1", ""), ("2", ""), ("bad", ""), ("4", "2")], "1"),
        ([("1", ""), ("2", ""), ("bad", ""), ("4", "2"), ("5", "1")], ""),
        ([("1", ""), ("bad", ""), ("3", "1"), ("4", "")], "3"),
        ([("1", ""), ("2", "expired")], "1"),
        ([("1", "")], ""),
    ],
)
def test_a_rollback_goes_back_and_never_to_what_was_put_back(
    told: list[tuple[str, str]], to: str
) -> None:
    if not to:
        with pytest.raises(UserError, match="no earlier version"):
            plan_rollback("table:a/b", "table.rollback", history(*told), {})
        return
    plan = plan_rollback("table:a/b", "table.rollback", history(*told), {})
    assert plan.steps[0].definition["to"] == to
