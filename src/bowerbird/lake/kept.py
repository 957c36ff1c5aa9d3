"""Cells of a table with many partitions: in a file beside its metadata, named by the snapshot.

Every commit carries the state of every cell. In the metadata itself, which each commit writes anew,
a thousand commits of a thousand cells would be 60 MB; a file of its own is read once, when asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.errors import CorruptError
from bowerbird.core.targets import CellState
from bowerbird.lake.failures import translated

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

INLINE_BYTES = 2048
"""Up to so many bytes, cells lie in the snapshot's summary itself."""

FILE = "-file"


def store(table: IcebergTable, summary: dict[str, str], key: str) -> None:
    """Move `summary[key]` into a file, if it is long; the summary then has the file's name.

    The name comes from the content, so a commit that changes no cell writes no file.
    """
    content = summary[key].encode()
    if len(content) <= INLINE_BYTES:
        return
    name = f"cells-{hashlib.sha256(content).hexdigest()[:32]}.json"
    path = table.location_provider().new_metadata_location(name)
    with translated(f"writing {path}"):
        if not table.io.new_input(path).exists():
            with table.io.new_output(path).create(overwrite=True) as file:
                file.write(content)
    del summary[key]
    summary[key + FILE] = path


def file_of(summary: Mapping[str, str], key: str) -> str | None:
    """The file that holds a snapshot's cells; None where the summary holds them."""
    return summary.get(key + FILE)


def cells(table: IcebergTable, summary: Mapping[str, str], key: str) -> Mapping[str, CellState]:
    """A snapshot's cells. Raises `CorruptError`, now or when they are first looked at."""
    path = file_of(summary, key)
    if path is None:
        return msgspec.json.decode(summary[key], type=dict[str, CellState])
    return _Later(lambda: _read(table, path))


def _read(table: IcebergTable, path: str) -> dict[str, CellState]:
    try:
        with translated(f"reading {path}"), table.io.new_input(path).open() as file:
            return msgspec.json.decode(file.read(), type=dict[str, CellState])
    except (OSError, msgspec.DecodeError) as error:
        problem = "is gone" if isinstance(error, FileNotFoundError) else f"is damaged: {error}"
        raise CorruptError(
            f"{'.'.join(table.name())}: {path}, which says what its partitions hold, {problem}",
            expected="the file as its snapshot wrote it",
            fix="restore the file, or set the table back to a version whose files are whole",
        ) from error


class _Later(Mapping[str, CellState]):
    def __init__(self, read: Callable[[], dict[str, CellState]]) -> None:
        self._get = read

    @cached_property
    def _found(self) -> dict[str, CellState]:
        return self._get()

    def __getitem__(self, cell: str) -> CellState:
        return self._found[cell]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
