"""Files cut short, changed, missing, swapped: an error that names one, never a wrong answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bowerbird.core.errors import BowerbirdError, CorruptError
from bowerbird.lake import Lake, Table, TableLog, bucket, read, read_batches, snapshots
from bowerbird.lake.read import plan
from tests.lake.test_streams import append

ACTS = Table(
    "test/acts",
    schema={"user": "long", "text": "string", "score": "double"},
    partition=[bucket("user", 2)],
    sort=["user"],
)


def acts(start: int, count: int = 400) -> pa.Table:
    ids = list(range(start, start + count))
    return pa.table(
        {
            "user": pa.array(ids, pa.int64()),
            "text": [f"text {n % 7}" for n in ids],
            "score": [n / 7 for n in ids],
        }
    )


@pytest.fixture
def filled(lake: Lake) -> Lake:
    append(lake, ACTS, acts(0), "r/s1")
    append(lake, ACTS, acts(10_000), "r/s2")
    return lake


def data_files(lake: Lake) -> list[Path]:
    return [Path(task.file.file_path) for task in plan(lake, ACTS.ref).tasks]


def rows(lake: Lake) -> list[tuple[object, ...]]:
    """As a reader of batches gets them."""
    return sorted(
        tuple(row.values()) for row in read_batches(lake, ACTS.ref).read_all().to_pylist()
    )


def all_at_once(lake: Lake) -> object:
    return read(lake, ACTS.ref)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


def other_bytes(path: Path) -> None:
    path.write_bytes(b"\x00" * path.stat().st_size)


DAMAGES: list[Callable[[Path], None]] = [cut, emptied, gone, other_bytes]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("reader", [all_at_once, rows])
def test_a_damaged_data_file_is_named(
    filled: Lake, damage: Callable[[Path], None], reader: Callable[[Lake], object]
) -> None:
    victim = data_files(filled)[1]
    damage(victim)
    with pytest.raises(CorruptError, match=victim.name):
        reader(filled)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_named(filled: Lake, damage: Callable[[Path], None]) -> None:
    table = filled.load(ACTS.ref)
    victim = Path(snapshots.manifests(table, table.current_snapshot())[0].manifest_path)
    damage(victim)
    with pytest.raises(CorruptError, match=victim.name):
        read(filled, ACTS.ref)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_list_of_manifests_is_named(filled: Lake, damage: Callable[[Path], None]) -> None:
    victim = Path(filled.load(ACTS.ref).current_snapshot().manifest_list)
    damage(victim)
    with pytest.raises(CorruptError, match=victim.name):
        read(filled, ACTS.ref)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_metadata_is_named_and_nothing_is_committed_onto_it(
    filled: Lake, damage: Callable[[Path], None]
) -> None:
    victim = Path(filled.load(ACTS.ref).metadata_location)
    damage(victim)
    with pytest.raises(CorruptError, match=victim.name):
        read(filled, ACTS.ref)
    with pytest.raises(CorruptError, match=victim.name):
        TableLog(filled, ACTS.ref).load()


def test_metadata_of_another_moment_is_a_state_that_the_table_had(filled: Lake) -> None:
    """A metadata file carries no checksum: an older one in its place is an older table."""
    table = filled.load(ACTS.ref)
    older = Path(table.metadata.metadata_log[-1].metadata_file)
    Path(table.metadata_location).write_bytes(older.read_bytes())
    assert rows(filled) in (sorted(map(_tuple, acts(0).to_pylist())), [])


def _tuple(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row.values())


def test_a_data_file_swapped_with_another_of_the_table_is_named(filled: Lake) -> None:
    one, other = data_files(filled)[:2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(CorruptError, match=f"{one.name}|{other.name}"):
        rows(filled)
    with pytest.raises(CorruptError, match=f"{one.name}|{other.name}"):
        read(filled, ACTS.ref)


@pytest.mark.slow
def test_no_byte_of_a_data_file_can_change_unseen(filled: Lake) -> None:
    """Every byte in turn: the same rows, or an error that names the file."""
    victim = data_files(filled)[0]
    whole, expected = victim.read_bytes(), rows(filled)
    unseen = []
    for place in range(0, len(whole), 13):
        victim.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            if rows(filled) != expected:
                unseen.append(place)
        except BowerbirdError as error:
            assert victim.name in str(error)  # noqa: PT017 - one of many places may raise
    assert not unseen, [_place(whole, place) for place in unseen]


def _place(content: bytes, place: int) -> str:
    """Where in a Parquet file a byte is."""
    metadata = pq.ParquetFile(pa.BufferReader(content)).metadata
    footer = len(content) - 8 - metadata.serialized_size
    return f"{place}: footer, at {place - footer}" if place >= footer else f"{place}: data"
