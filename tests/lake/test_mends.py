"""A null list or map of structs is no empty one, also where a file is older than a column."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest
from msgspec.structs import replace

from bowerbird.lake import Lake, Table, read, read_batches
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
