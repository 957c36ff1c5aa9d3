"""Key-value files: LMDB, written once, then only read; the same content gives the same bytes.

A reader holds its file open: it keeps answering from it when a newer one is published, and even
when the folder is deleted. A file that is not byte for byte what was written is refused when it is
opened, for LMDB would end the process where it reads what it cannot.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

import msgspec

from bowerbird.core.errors import CorruptError, NewerWorkspaceError, StorageError, UserError

PAGE = 4096
LONGEST_KEY = 511
"""Bytes, as LMDB is built."""


class KeyValueFile(msgspec.Struct, frozen=True):
    """A written file, by its name in its folder."""

    file: str
    entries: int
    bytes: int
    sha256: str


def room_for(entries: Iterable[tuple[int, int]]) -> int:
    """Bytes of a map that holds entries of (bytes of the key, bytes of the value).

    A page holds at least one entry, and branch pages are few: four times the data is ample.
    """
    return (1 << 20) + sum(
        min(PAGE * (2 + size // (PAGE // 4)), 4 * (key + size + 64)) for key, size in entries
    )


def write_contents(path: Path, contents: msgspec.Struct) -> None:
    """Write what names a folder's files, as JSON, so that it is there whole or not at all.

    Raises `StorageError` for a disk that is full.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(contents)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write: {error}", where=str(path)) from error


class Contents(Protocol):
    """What names a folder's files, and the version of its form."""

    @property
    def version(self) -> int: ...


C = TypeVar("C", bound=Contents)


def read_contents(path: Path, kind: type[C], version: int) -> C:
    """What `write_contents` wrote, of at most this version.

    Raises `CorruptError` where nothing was written, or not to its end, and `NewerWorkspaceError`.
    """
    try:
        contents = msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise CorruptError(
            f"no {path.name}: nothing was published here, or its writing did not end",
            where=str(path),
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptError(f"unreadable: {error}", where=str(path)) from error
    if contents.version > version:
        raise NewerWorkspaceError(
            f"contents of version {contents.version}", where=str(path), expected=f"{version}"
        )
    return contents


def write_file(path: Path, entries: Iterable[tuple[bytes, bytes]], room: int) -> KeyValueFile:
    """Write a file anew; keys ascending, each once.

    room: bytes of the map; part of the file's bytes, so it must follow from the content alone.
    Raises `UserError` for keys out of order, `StorageError` for a disk that is full.
    """
    import lmdb

    count = 0

    def counted() -> Iterable[tuple[bytes, bytes]]:
        nonlocal count
        for entry in entries:
            count += 1
            yield entry

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        env = lmdb.open(str(path), subdir=False, lock=False, map_size=room, sync=False)
        try:
            with env.begin(write=True) as writing:
                writing.cursor().putmulti(counted(), append=True)
                kept = writing.stat()["entries"]
            env.sync(True)
        finally:
            env.close()
        if kept != count:
            raise UserError(
                f"{count - kept:,} of {count:,} keys come twice or out of order", where=str(path)
            )
        return KeyValueFile(path.name, count, path.stat().st_size, sha256_of(path))
    except (OSError, lmdb.DiskError) as error:
        raise StorageError(f"cannot write: {error}", where=str(path)) from error


def open_file(folder: Path, written: KeyValueFile) -> Reader:
    """Open a file, having read every byte of it once to see that it is whole."""
    import lmdb

    path = folder / written.file
    try:
        stat = path.stat()
        if stat.st_size != written.bytes:
            raise CorruptError(
                f"{stat.st_size:,} bytes long", where=str(path), expected=f"{written.bytes:,} bytes"
            )
        if sha256_of(path) != written.sha256:
            raise CorruptError(
                "the content does not match its checksum", where=str(path), expected=written.sha256
            )
        with _opening:
            file = _open.get((stat.st_dev, stat.st_ino))
            if file is None:
                file = Reader(
                    lmdb.open(
                        str(path),
                        subdir=False,
                        readonly=True,
                        lock=False,  # nobody writes: no lock file beside a release
                        map_size=max(stat.st_size, PAGE),
                        max_spare_txns=16,
                    )
                )
                _open[stat.st_dev, stat.st_ino] = file
            return file
    except FileNotFoundError:
        raise CorruptError("a file of the store is missing", where=str(path)) from None
    except lmdb.Error as error:
        raise CorruptError(f"LMDB cannot open it: {error}", where=str(path)) from error


class Reader:
    """One open file; closed when the last who holds it lets it go. Safe from many threads."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        with self.env.begin() as reading:
            found: bytes | None = reading.get(key)
            return found

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What `get` gives for each key, in their order."""
        with self.env.begin() as reading:
            return [reading.get(key) for key in keys]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All of them, by key."""
        with self.env.begin() as reading:
            yield from reading.cursor()


# LMDB refuses to open a file twice in a process, so readers of one file share it. By device and
# inode: another store may have been put at the same path since.
_open: WeakValueDictionary[tuple[int, int], Reader] = WeakValueDictionary()
_opening = threading.Lock()


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
