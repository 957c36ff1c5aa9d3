"""Online rows as files of a release: one LMDB file, and `contents.json`, which is written last."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import (
    BowerbirdError,
    UserError,
)
from bowerbird.data.features.online.rows import About, Contents, Found, Rows, contents_of, entries
from bowerbird.data.keyvalue import (
    LONGEST_KEY,
    KeyValueFile,
    Reader,
    open_file,
    read_contents,
    room_for,
    write_contents,
    write_file,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.workspace.releases import Release

_log = logging.getLogger(__name__)

CONTENTS, ROWS = "contents.json", "rows.lmdb"
_VERSION = 1


class _Kept(msgspec.Struct, frozen=True):
    """What `contents.json` holds."""

    version: int
    contents: Contents
    file: KeyValueFile


def write_online(folder: Path, rows: pa.Table, about: About) -> Contents:
    """Write rows, each key once, into a folder; it can be opened when this returns.

    The same rows give the same bytes, in whatever order they come. Raises `SpecError` for types
    that cannot be kept, `UserError` for a key that is null, comes twice or is longer than 511
    bytes, `StorageError` for a disk that is full.
    """
    contents = contents_of(rows, about)
    pairs = sorted(entries(rows, contents))
    if pairs and max(len(key) for key, _ in pairs) > LONGEST_KEY:
        raise UserError("a key is too long", where=about.ref, expected=f"{LONGEST_KEY} bytes")
    twice = sum(one[0] == other[0] for one, other in pairwise(pairs))
    if twice:
        raise UserError(
            f"{twice:,} keys come twice",
            where=about.ref,
            expected="each key once",
            fix="latest(rows, keys)",
        )
    room = room_for((len(key), len(value)) for key, value in pairs)
    kept = _Kept(_VERSION, contents, write_file(folder / ROWS, pairs, room))
    write_contents(folder / CONTENTS, kept)
    return contents


def open_online(folder: Path) -> FileOnline:
    """Open rows, having read every byte once to see that they are whole."""
    kept = read_contents(folder / CONTENTS, _Kept, _VERSION)
    return FileOnline(kept.contents, open_file(folder, kept.file))


class FileOnline:
    """Reads one published version. Safe from many threads; close it, or let it go."""

    def __init__(self, contents: Contents, file: Reader) -> None:
        self.contents = contents
        self._rows = Rows(contents)
        self._file: Reader | None = file

    def lookup(
        self,
        keys: Mapping[str, Sequence[Any]],
        columns: Sequence[str] | None = None,
        *,
        stale_after: timedelta | None = None,
        now: datetime | None = None,
    ) -> Found:
        """The rows of keys: each part of the key with as many values, NumPy's and Arrow's too.

        columns: None: all. stale_after: rows that are older are said to be stale. now: none: now.
        """
        values = self._held().get_many(self._rows.asked(keys))
        return self._rows.found(values, columns, stale_after, now or datetime.now(UTC))

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, row) as bytes, for another store."""
        yield from self._held().items()

    def _held(self) -> Reader:
        if self._file is None:
            raise UserError("this reader was closed", fix="open_online(folder)")
        return self._file

    def close(self) -> None:
        """Let the file go. Other readers of it are not disturbed."""
        self._file = None

    def __enter__(self) -> FileOnline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LiveFiles:
    """Reads whichever release is live: looks for a newer one now and then, never during a look-up.

    Where a newer one cannot be read, or nobody says which is live, it goes on with what it has.

    pinned: the live release, as in ``open_log(home, ref).pinned``. every: seconds between looks.
    """

    def __init__(self, pinned: Callable[[], Release], every: float = 5.0) -> None:
        self._pinned, self._every = pinned, every
        self._lock = threading.Lock()
        self._version, self._online = self._opened(pinned())
        self._looked = monotonic()

    def current(self) -> FileOnline:
        """The reader of the live release."""
        # One thread looks; the others go on with what there is.
        if monotonic() - self._looked >= self._every and self._lock.acquire(blocking=False):
            try:
                release = self._pinned()
                if release.version != self._version:
                    self._version, self._online = self._opened(release)
            except BowerbirdError as error:
                # What is held can be read still; that it grows old is said by `Found.stale`.
                _log.warning("going on with release %s: %s", self._version, error)
            finally:
                self._looked = monotonic()
                self._lock.release()
        return self._online

    def lookup(
        self,
        keys: Mapping[str, Sequence[Any]],
        columns: Sequence[str] | None = None,
        *,
        stale_after: timedelta | None = None,
        now: datetime | None = None,
    ) -> Found:
        """What `FileOnline.lookup` gives, of one release."""
        return self.current().lookup(keys, columns, stale_after=stale_after, now=now)

    @staticmethod
    def _opened(release: Release) -> tuple[str, FileOnline]:
        return release.version, open_online(Path(release.files.folder))
