"""Files in the warehouse: a folder, or an object store by the same calls (`pyarrow.fs`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.errors import SettingsError
from bowerbird.core.steps import Access
from bowerbird.lake.failures import translated

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem
    from pyiceberg.io.pyarrow import PyArrowFileIO

_STORES = ("s3", "s3a", "s3n")


class Found(msgspec.Struct, frozen=True):
    """A file, by the name that table metadata gives it. at: when it was last written."""

    path: str
    bytes: int
    at: datetime


class Files:
    """The warehouse's files, by the full path or URL that table metadata names them with."""

    def __init__(self, warehouse: str, access: Access = Access()) -> None:  # noqa: B008 - frozen
        local = "://" not in warehouse
        self.root = str(Path(warehouse).absolute()) if local else warehouse.rstrip("/")
        self.properties = store_properties(access)
        self._io: PyArrowFileIO | None = None

    def io(self) -> PyArrowFileIO:
        """How PyIceberg opens them: it and we read the same settings in the same way."""
        from pyiceberg.io.pyarrow import PyArrowFileIO

        if self._io is None:
            self._io = PyArrowFileIO(self.properties)
        return self._io

    def under(self, folder: str) -> list[str]:
        """Every file below a folder; none if it is not there."""
        return [one.path for one in self.listed(folder)]

    def listed(self, folder: str) -> list[Found]:
        """The same files, with their bytes and when they were written."""
        from pyarrow.fs import FileSelector, FileType

        system, path, prefix = self.opened(folder)
        with translated(f"listing {folder}"):
            found = system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
        return [
            Found(prefix + info.path, info.size, info.mtime.astimezone(UTC))
            for info in found
            if info.type == FileType.File
        ]

    def named(self, bare: str) -> str:
        """The name of a file of the warehouse, from its path without a scheme."""
        scheme, colon, _ = self.root.partition("://")
        return f"{scheme}{colon}{bare}" if colon else bare

    def exists(self, file: str) -> bool:
        from pyarrow.fs import FileType

        system, path, _ = self.opened(file)
        with translated(f"looking for {file}"):
            return bool(system.get_file_info(path).type == FileType.File)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; one that is gone already is no error."""
        with translated("deleting files"):
            for file in paths:
                system, path, _ = self.opened(file)
                try:
                    system.delete_file(path)
                except FileNotFoundError:
                    continue

    def prune(self, folder: str) -> None:
        """Remove a folder's empty folders, itself too; those with files in them stay.

        An object store has no folders: what looks like one is an empty object, and it stays.
        """
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
        spared = f"{folder}/{keep}/" if keep is not None else None
        paths = self.under(folder)
        self.delete(one for one in paths if spared is None or not one.startswith(spared))
        self.prune(folder)

    def opened(self, place: str) -> tuple[FileSystem, str, str]:
        """The file system of a place, its path there, and what stands before such a path here."""
        from pyarrow.fs import LocalFileSystem

        scheme, colon, rest = place.partition(":")
        if not colon or "/" in scheme:
            return LocalFileSystem(), place, ""
        if scheme == "file":  # as Spark writes it: with one slash, or with three
            path = "/" + rest.lstrip("/")
            return LocalFileSystem(), path, place.removesuffix(path)
        if scheme not in _STORES:
            raise SettingsError(
                f"{place}: files of {scheme}:// are not known here", expected="a folder, or s3://…"
            )
        path = rest.removeprefix("//")
        return self.io().fs_by_scheme(scheme, path.partition("/")[0]), path, f"{scheme}://"


def store_properties(access: Access) -> dict[str, str]:
    """The object store's settings by PyIceberg's names; those that are empty are left out."""
    told = {
        "s3.endpoint": access.s3_endpoint,
        "s3.region": access.s3_region,
        "s3.access-key-id": access.s3_access_key,
        "s3.secret-access-key": access.s3_secret_key,
    }
    return {name: value for name, value in told.items() if value}
