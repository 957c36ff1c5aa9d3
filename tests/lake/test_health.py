"""Health: what is not well, and what to type; nothing where all is well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bowerbird.core.steps import Home
from bowerbird.lake import Lake
from bowerbird.lake.upkeep.health import health
from tests.lake.deleting import delete_rows
from tests.lake.test_compaction import EVENTS, REF, compact, filled, some_file
from tests.lake.test_expiry import begun, versions

WEEKS = datetime.now(UTC) + timedelta(weeks=3)


def fixes(lake: Lake) -> list[str]:
    return [verdict.fix for verdict in health(lake, REF).verdicts]


def test_a_table_that_is_well_has_nothing_to_type(lake: Lake) -> None:
    filled(lake, 1)
    (verdict,) = health(lake, REF).verdicts
    assert (verdict.text, verdict.fix) == ("its files lie as they should", "")


def test_a_table_of_small_files_is_told_to_be_compacted(home: Home, lake: Lake) -> None:
    filled(lake)
    found = health(lake, REF)
    assert (found.files, found.small_files, found.parts) == (10, 10, 2)
    assert found.files_a_part == (5, 5)
    assert found.depth == 5
    assert fixes(lake) == ["bowerbird table compact test.events"]
    assert "2 of 2 partitions are worth rewriting" in found.verdicts[0].text
    compact(home)
    assert fixes(lake) == [""]
    assert health(lake, REF).depth == 1


def test_deleted_rows_and_unsorted_rows_are_told(lake: Lake) -> None:
    filled(lake, 1)
    delete_rows(lake, REF, some_file(lake), [1])
    found = health(lake, REF)
    assert (found.delete_files, found.worst[0].deletes) == (1, 1)
    assert found.worst[0].reasons == ("rows deleted in 1 files",)
    assert found.unsorted == 0.0


def test_rows_in_no_order_are_told_by_their_share(lake: Lake) -> None:
    from msgspec.structs import replace

    filled(lake, 1, replace(EVENTS, sort=()))
    table = lake.load(REF)
    with table.update_sort_order() as order:
        from pyiceberg.table.sorting import NullOrder
        from pyiceberg.transforms import IdentityTransform

        order.asc("id", IdentityTransform(), NullOrder.NULLS_LAST)
    found = health(lake, REF)
    assert found.unsorted == 1.0
    assert "100% unsorted" in found.verdicts[0].text


def test_old_versions_and_an_unfinished_expiry_are_told(home: Home, lake: Lake) -> None:
    versions(lake)
    found = health(lake, REF, now=WEEKS)
    assert (found.versions, found.old) == (4, 3)
    assert "3 of 4 versions are over 7 days old" in found.verdicts[0].text
    begun(home)
    assert health(lake, REF).pending == 1
    assert fixes(lake) == ["bowerbird table expire test.events"]


def test_a_table_without_a_commit_is_well(lake: Lake) -> None:
    lake.create(EVENTS)
    found = health(lake, REF)
    assert (found.version, found.files, found.rows) == (None, 0, 0)
    assert found.metadata_bytes > 0
