"""What PyIceberg does otherwise in this process: nulls stay nulls, metadata share their parts, and
what never changes is read once."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from msgspec.structs import replace
from pyiceberg.types import IntegerType

from bowerbird.core.errors import CorruptError
from bowerbird.lake import Lake, Table, read, read_batches, recent, snapshots
from tests.lake.test_evolution import append, shape

SPEC = Table(
    "test/nulls",
    schema={"l": "list<struct<a:int>>", "m": "map<string,struct<a:int>>", "n": "int"},
)
ROWS = [
    {"l": None, "m": None, "n": 1},
    {"l": [], "m": [], "n": 2},
    {"l": [{"a": 1}, None], "m": [("k", {"a": 2})], "n": 3},
]


def older(lake: Lake) -> None:
    from bowerbird.lake.schema import spec_arrow_schema

    append(lake, SPEC, pa.Table.from_pylist(ROWS, spec_arrow_schema(SPEC)), "r/s1")
    shape(lake, replace(SPEC, schema={**SPEC.schema, "new": "string"}))


def test_nulls_of_nested_columns_are_read_from_older_files(lake: Lake) -> None:
    older(lake)
    wanted = [{**row, "new": None} for row in ROWS]
    assert read(lake, SPEC.ref).to_pylist() == wanted
    assert read_batches(lake, SPEC.ref).read_all().to_pylist() == wanted
    assert read(lake, SPEC.ref, where={"n": (None, 3)}).to_pylist() == wanted[:2]


@pytest.mark.slow
def test_pyiceberg_itself_still_loses_them(lake: Lake) -> None:
    older(lake)
    code = (
        "import sys; from bowerbird.lake import Lake; from tests.lake.world import home_in;"
        "table = Lake(home_in(sys.argv[1])).load('test/nulls');"
        "sys.exit(table.scan().to_arrow().column('l').null_count)"
    )
    call = [sys.executable, "-c", code, lake.home.state]
    assert subprocess.run(call, check=False).returncode == 0


def test_no_change_reaches_into_the_metadata_that_it_stood_on(lake: Lake) -> None:
    older(lake)
    stages, table = [], lake.load(SPEC.ref)
    for change in (
        lambda: table.append(table.scan().to_arrow()),
        lambda: table.update_schema().add_column("more", IntegerType()).commit(),
        lambda: table.update_spec().add_identity("n").commit(),
        lambda: (
            table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "t").commit()
        ),
        lambda: table.delete("n = 2"),
        lambda: table.transaction().set_properties(a="b").commit_transaction(),
        lambda: table.maintenance.expire_snapshots().older_than(datetime.now(UTC)).commit(),
    ):
        stages.append((table.metadata, table.metadata.model_dump_json()))
        change()
    assert [kept.model_dump_json() for kept, _ in stages] == [text for _, text in stages]
    assert len({text for _, text in stages}) == len(stages)


def test_a_manifest_is_read_once_and_every_reader_has_its_own(lake: Lake) -> None:
    older(lake)
    table = lake.load(SPEC.ref)
    (manifest,) = snapshots.manifests(table, table.current_snapshot())
    (first,) = snapshots.entries(table, manifest)
    whole = repr(first)
    first.data_file.spec_id, first.data_file[15], first[1] = 7, 7, 7
    Path(manifest.manifest_path).unlink()
    (again,) = snapshots.entries(table, manifest)
    assert repr(again) == whole
    assert again.data_file.spec_id == 0
    recent.ENTRIES.clear()
    with pytest.raises(CorruptError, match="is gone"):
        list(snapshots.entries(table, manifest))


def test_what_was_read_last_is_kept_up_to_a_weight() -> None:
    kept = recent.Recent(5, len)
    for name in "abc":
        kept.put(name, [name] * 2)
    assert [kept.get(name) for name in "abc"] == [None, ["b"] * 2, ["c"] * 2]
    kept.get("b")
    kept.put("d", ["d"])
    kept.put("d", ["d"])
    kept.put("e", ["e"])
    assert [name for name in "abcde" if kept.get(name)] == ["b", "d", "e"]
    kept.put("large", ["x"] * 6)
    assert not any(map(kept.get, ("b", "d", "e", "large")))
