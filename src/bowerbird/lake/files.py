"""Files in the warehouse: a folder now, an object store by the same calls (`pyarrow.fs`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bowerbird.lake.failures import translated

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class Found(msgspec.Struct, frozen=True):
    """A file, by its bare path. at: when it was last written."""

    path: str
    bytes: int
    at: datetime


class Files:
    """The warehouse's files, by the full path or URL that table metadata names them with."""

    def __init__(self, warehouse: str) -> None:
        local = "://" not in warehouse
        self.root = str(Path(warehouse).absolute()) if local else warehouse.rstrip("/")

    def under(self, folder: str) -> list[str]:
        """Every file below a folder; none if it is not there."""
        return [one.path for one in self.listed(folder)]

    def listed(self, folder: str) -> list[Found]:
        """The same files, with their bytes and when they were written."""
        from pyarrow.fs import FileSelector, FileType

        system, path = _open(folder)
        with translated(f"listing {folder}"):
            found = system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
        return [
            Found(info.path, info.size, info.mtime.astimezone(UTC))
            for info in found
            if info.type == FileType.File
        ]

    def exists(self, file: str) -> bool:
        from pyarrow.fs import FileType

        system, path = _open(file)
        with translated(f"looking for {file}"):
            return bool(system.get_file_info(path).type == FileType.File)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; one that is gone already is no error."""
        system, _ = _open(self.root)
        with translated("deleting files"):
            for path in paths:
                try:
                    system.delete_file(path)
                except FileNotFoundError:
                    continue

    def prune(self, folder: str) -> None:
        """Remove a folder's empty folders, itself too; those with files in them stay."""
        if "://" in folder:
            return
        top = Path(folder)
        folders = [path for path in top.rglob("*") if path.is_dir()] if top.is_dir() else []
        for path in [*sorted(folders, reverse=True), top]:
            try:
                path.rmdir()
            except OSError:
                continue

    def sweep(self, folder: str, keep: str | None) -> None:
        """Delete what lies below `folder`, but for its own sub-folder `keep`."""
        _, path = _open(folder)
        spared = f"{path}/{keep}/" if keep is not None else None
        paths = self.under(folder)
        self.delete(one for one in paths if spared is None or not one.startswith(spared))
        self.prune(folder)


def _open(place: str) -> tuple[FileSystem, str]:
    from pyarrow.fs import FileSystem, LocalFileSystem

    if "://" not in place:
        return LocalFileSystem(), place
    system, path = FileSystem.from_uri(place)
    return system, path
