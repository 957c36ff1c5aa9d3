"""Streams of a pinned version: the same rows as PyIceberg reads, and in order where asked."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import CorruptError
from bowerbird.core.targets import Change, LogTarget, Token
from bowerbird.lake import Lake, Table, TableLog, bucket, kept, read, read_batches, spill, write
from bowerbird.lake.ordering import is_sorted, ordered
from bowerbird.lake.read import plan
from bowerbird.lake.streams import chains, in_order
from tests.lake.world import home_in

ACTS = Table(
    "test/acts",
    schema={"user": "long", "at": "timestamptz", "text": "string", "tags": "list<int>"},
    partition=[bucket("user", 2)],
    sort=["user", "at"],
    target_file_bytes=4096,
)


def acts(rows: int, seed: int, low: int = 0, high: int = 50) -> pa.Table:
    generator = np.random.default_rng(seed)
    user = generator.integers(low, high, rows)
    at = generator.integers(0, 10**15, rows)
    return pa.table(
        {
            "user": pa.array(user, mask=generator.random(rows) < 0.05),
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "text": [f"text {n % 97}" * 3 for n in range(rows)],
            "tags": [[int(n % 7)] * int(n % 4) for n in range(rows)],
        }
    )


def append(lake: Lake, spec: Table, rows: pa.Table, token: str) -> None:
    log = TableLog(lake, spec.ref)
    written = write(lake, spec, rows, log.files(Token(token), "a1"))
    target = LogTarget(log, SystemClock())
    target.commit(Token(token), target.read().version, Change("a1", payload=written))


@pytest.fixture
def filled(lake: Lake) -> Lake:
    for number, (low, high) in enumerate([(0, 30), (30, 60), (20, 40)]):
        append(lake, ACTS, acts(3000, number, low, high), f"r/s{number}")
    return lake


def lines(rows: pa.Table) -> list[str]:
    return sorted(map(repr, rows.select(["user", "at", "text", "tags"]).cast(PLAIN).to_pylist()))


PLAIN = pa.schema(
    {"user": pa.int64(), "at": pa.int64(), "text": pa.string(), "tags": pa.list_(pa.int32())}
)


def test_batches_are_the_rows_that_a_whole_read_gives(filled: Lake) -> None:
    whole = read(filled, ACTS.ref)
    assert lines(read_batches(filled, ACTS.ref).read_all()) == lines(whole)
    assert whole.num_rows == 9000


def test_files_in_order_are_merged_without_being_sorted_again(
    filled: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "sorted_rows", None)
    found = plan(filled, ACTS.ref, cells=["user_bucket=1"])
    together = pa.concat_tables(in_order(found, ACTS.sort))
    assert is_sorted(together, ACTS.sort)
    assert lines(together) == lines(read(filled, ACTS.ref, cells=["user_bucket=1"]))


def test_files_that_do_not_overlap_are_read_one_after_the_other(filled: Lake) -> None:
    found = plan(filled, ACTS.ref, cells=["user_bucket=1"])
    sequences = chains(found, found.tasks, ACTS.sort)
    assert len(sequences) < len(found.tasks)
    assert sum(map(len, sequences)) == len(found.tasks)


def test_another_order_goes_by_way_of_the_disk(filled: Lake) -> None:
    found = plan(filled, ACTS.ref)
    together = pa.concat_tables(in_order(found, ["text", "user"]))
    assert is_sorted(together, ["text", "user"])
    assert lines(together) == lines(read(filled, ACTS.ref))


@settings(max_examples=15)
@given(st.integers(0, 400), st.integers(0, 5), st.sampled_from([2**10, 2**14, 2**30]))
def test_sorting_by_way_of_the_disk_is_sorting(rows: int, seed: int, memory: int) -> None:
    made = acts(rows, seed)
    with TemporaryDirectory() as folder:
        blocks = [made.slice(at, 37) for at in range(0, rows, 37)]
        found = list(spill.sorted_rows(blocks, ["user", "at"], folder, memory))
        assert not list(Path(folder).iterdir())
    together = pa.concat_tables([made.slice(0, 0), *found])
    assert together.equals(ordered(made, ["user", "at"]))


def test_cells_of_many_partitions_lie_in_a_file_and_its_loss_is_named(tmp_path: Path) -> None:
    lake = Lake(home_in(str(tmp_path)))
    spec = Table("test/wide", schema={"user": "long"}, partition=[bucket("user", 400)])
    append(lake, spec, pa.table({"user": pa.array(range(2000), pa.int64())}), "r/s1")
    append(lake, spec, pa.table({"user": pa.array(range(20), pa.int64())}), "r/s2")
    newest = lake.load(spec.ref).current_snapshot().summary.additional_properties
    path = kept.file_of(newest, "bowerbird.cells")
    assert path is not None
    assert sum(map(len, newest.values())) < 4096
    cells = TableLog(lake, spec.ref).load().cells()
    assert len(cells) > 300
    assert {state.data for state in cells.values()} == {"r/s1", "r/s2"}
    Path(path).write_text("{")
    with pytest.raises(CorruptError, match=r"cells-.*damaged"):
        TableLog(lake, spec.ref).load().cells()
