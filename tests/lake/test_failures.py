from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bowerbird.core.errors import (
    CorruptError,
    SettingsError,
    StorageError,
    UnavailableError,
)
from bowerbird.lake import Lake
from bowerbird.lake.failures import translated
from tests.lake.world import PARTS, TableWorld, home_in


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_is_a_storage_error(number: int) -> None:
    with pytest.raises(StorageError, match="writing x"), translated("writing x"):
        raise OSError(number, "as the system says it")


def test_a_full_disk_is_told_by_the_writer(
    world: TableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(StorageError, match="the disk is full"):
        world.change("r/s", "a1", {"part=a": ["x"]})  # type: ignore[arg-type]
    assert world.rows() == []


def test_mistakes_of_our_own_pass_as_they_are() -> None:
    with pytest.raises(KeyError), translated("anything"):
        raise KeyError("x")


def test_a_database_that_does_not_answer_may_answer_later(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = "postgresql+psycopg://ada:secret@127.0.0.1:9/none"  # the discard port: nobody listens
    with pytest.raises(UnavailableError) as caught:
        Lake(home_in(str(tmp_path), url)).tables()
    assert caught.value.retryable
    assert "secret" not in str(caught.value)


def test_a_url_of_no_database_is_a_setting_that_is_wrong(tmp_path: Path) -> None:
    for url in ("nothing at all", "oracel://x"):
        with pytest.raises(SettingsError):
            Lake(home_in(str(tmp_path), url)).tables()


def test_a_damaged_database_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(b"not a database at all, but some text " * 200)
    with pytest.raises(CorruptError, match="damaged"):
        Lake(home_in(str(tmp_path))).create(PARTS)


def test_a_warehouse_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "warehouse").write_text("a file where the warehouse must be")
    with pytest.raises(StorageError):
        Lake(home_in(str(tmp_path))).create(PARTS)
