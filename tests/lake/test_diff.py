"""What is different between two versions: by metadata, and by rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bowerbird.core.errors import RefError, UserError
from bowerbird.core.targets import Change, Token
from bowerbird.lake import Lake, Table, identity, write
from bowerbird.lake.ordering import ordered
from bowerbird.lake.versions import branches
from bowerbird.lake.versions.diff import diff, row_diff
from bowerbird.lake.versions.rows import _SIDE, differing
from bowerbird.testing.target_conformance import ONE, OTHER, A, B, overwriting
from tests.lake.test_rollback import two_versions
from tests.lake.world import PARTS, TableWorld, parts


def rows_of(tables: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for table in tables for row in table.to_pylist()]


def test_files_and_partitions_that_differ_are_named(world: TableWorld) -> None:
    first = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["a1"], B: ["b1"]}))
    change = overwriting(world.change(OTHER, "a1", {A: ["a2", "a3"]}), A)
    last = world.target().commit(OTHER, first.version, change)
    found = diff(world.lake, PARTS.ref, first.version, last.version)
    (cell,) = found.cells
    assert (cell.cell, cell.rows, cell.files_added, cell.files_removed) == (A, (1, 2), 1, 1)
    assert (found.rows, found.changed, found.same_rows) == ((2, 3), (A,), False)
    assert len(found.files_added) == len(found.files_removed) == 1
    back = diff(world.lake, PARTS.ref, last.version, first.version)
    assert (back.rows, back.files_added) == ((3, 2), found.files_removed)


def test_statistics_of_columns_are_compared(world: TableWorld) -> None:
    old, new = two_versions(world)
    (column,) = diff(world.lake, PARTS.ref, old, new).columns
    assert (column.column, column.low, column.high) == ("name", ("a1", "a2"), ("b1", "b2"))
    assert (column.nulls, column.share) == ((0, 0), (0.0, 0.0))


def test_a_compaction_shows_as_no_change_of_rows(world: TableWorld) -> None:
    world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
    before = world.target().read().version
    assert before is not None
    rewrite = replace(
        overwriting(world.change(OTHER, "a1", {A: ["x"]}), A), preserves_rows=True, makes={}
    )
    after = world.target().commit(OTHER, before, rewrite).version
    found = diff(world.lake, PARTS.ref, before, after)
    assert found.same_rows
    assert found.files_added
    assert rows_of(row_diff(world.lake, PARTS.ref, before, after, ["part"])) == []


def test_a_branch_is_compared_with_main_by_name(world: TableWorld) -> None:
    first = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["a1"], B: ["b1"]}))
    branches.place(world.lake, PARTS.ref, "audit")
    from tests.lake.test_branches import branch_target

    change = overwriting(world.change(OTHER, "a1", {A: ["a2"]}), A)
    branch_target(world).commit(OTHER, first.version, change)
    assert diff(world.lake, PARTS.ref, "main", "audit").changed == (A,)
    found = rows_of(row_diff(world.lake, PARTS.ref, "main", "audit", ["part"]))
    assert found == [("before", "a", "a1"), ("after", "a", "a2")]


def test_a_changed_schema_is_told_with_what_was_renamed(lake: Lake) -> None:
    world = TableWorld(lake.home)
    first = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]})).version
    spec = Table(
        "test/parts",
        schema={"part": "string not null", "title": "string", "size": "int"},
        partition=[identity("part")],
        sort=["title"],
        renamed={"name": "title"},
    )
    rows = parts({B: ["y"]}).rename_columns(["part", "title"])
    rows = rows.append_column("size", pa.array([3], pa.int32()))
    written = write(lake, spec, rows, world.log().files(OTHER, "a1"))
    last = world.target().commit(OTHER, first, Change("a1", payload=written)).version
    found = diff(lake, PARTS.ref, first, last)
    assert (found.schema, found.renamed) == ({"size": (None, "int")}, {"name": "title"})
    assert rows_of(row_diff(lake, PARTS.ref, first, last, ["title"])) == [("added", "b", "y", 3)]


def test_a_version_that_is_not_there_is_refused(world: TableWorld) -> None:
    two_versions(world)
    with pytest.raises(RefError, match="has no version nowhere"):
        diff(world.lake, PARTS.ref, "nowhere", "main")
    with pytest.raises(UserError, match="'sizes' is no column to compare rows by"):
        row_diff(world.lake, PARTS.ref, "main", "main", ["sizes"])


def test_a_key_that_does_not_tell_rows_apart_is_refused(world: TableWorld) -> None:
    first = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]})).version
    more = Token("r3/s1")
    world.target().commit(more, first, world.change(more, "a1", {A: ["y", "z"]}))
    with pytest.raises(UserError, match="two rows of one version have the key part=a"):
        list(row_diff(world.lake, PARTS.ref, first, "main", ["part"]))


VALUES = st.none() | st.floats(allow_nan=True) | st.integers(0, 2).map(float)
SIDES = st.dictionaries(
    st.tuples(st.none() | st.integers(0, 4), st.sampled_from(["x", "y"])),
    st.tuples(VALUES, st.lists(st.integers(0, 1), max_size=2)),
    max_size=8,
)


def as_table(side: int, rows: dict[Any, Any]) -> pa.Table:
    columns = {
        "n": pa.array([key[0] for key in rows], pa.int64()),
        "k": pa.array([key[1] for key in rows], pa.string()),
        "v": pa.array([value[0] for value in rows.values()], pa.float64()),
        "l": pa.array([value[1] for value in rows.values()], pa.list_(pa.int64())),
        _SIDE: pa.array([side] * len(rows), pa.int8()),
    }
    return pa.table(columns)


def plain(old: dict[Any, Any], new: dict[Any, Any]) -> list[str]:
    """One key after another."""
    found = []
    for key in {**old, **new}:
        if key not in new:
            found.append(("removed", *key, *old[key]))
        elif key not in old:
            found.append(("added", *key, *new[key]))
        elif repr(old[key]) != repr(new[key]) and old[key] != new[key]:
            found += [("before", *key, *old[key]), ("after", *key, *new[key])]
    return sorted(map(repr, found))


@given(SIDES, SIDES, st.integers(1, 5))
def test_rows_that_differ_are_those_that_a_plain_comparison_finds(
    old: dict[Any, Any], new: dict[Any, Any], size: int
) -> None:
    whole = ordered(pa.concat_tables([as_table(0, old), as_table(1, new)]), ["n", "k"])
    blocks = (whole.slice(at, size) for at in range(0, whole.num_rows, size))
    found = list(differing(blocks, ["n", "k"], "test"))
    assert sorted(map(repr, rows_of(found))) == plain(old, new)


def test_a_row_diff_has_the_rows_in_the_order_of_the_key(world: TableWorld) -> None:
    old, new = two_versions(world)
    keys: Sequence[str] = ["part", "name"]
    found = rows_of(row_diff(world.lake, PARTS.ref, old, new, keys))
    assert [row[1:] for row in found] == [("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")]
