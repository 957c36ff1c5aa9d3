"""Releases: immutable sets of files, one of them live by one compare-and-set row.

The files of an attempt lie in a folder of the warehouse that nobody reads until the row that names
them is inserted and made live, in one transaction. Readers pin one release and keep reading it
whatever is made live later.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from bowerbird.core.clock import Clock
from bowerbird.core.errors import CommitConflictError, CorruptError, RefError
from bowerbird.core.faults import point
from bowerbird.core.ids import uuid7
from bowerbird.core.refs import Ref
from bowerbird.core.steps import Home
from bowerbird.core.targets import Change, Entry, History, LogTarget, Token, Version
from bowerbird.workspace.database import Database, open_database, to_micros
from bowerbird.workspace.schema import LIVE, RELEASES


class ReleaseFiles(msgspec.Struct, frozen=True):
    """The files of a release, and a note of what they are.

    folder: where they lie. files: name -> (bytes, SHA-256). note: small facts for readers.
    """

    folder: str
    files: dict[str, tuple[int, str]]
    note: dict[str, object] = {}

    @staticmethod
    def of(folder: str | Path, note: Mapping[str, object] | None = None) -> ReleaseFiles:
        """Every file of a folder, measured and hashed."""
        root = Path(folder)
        files = {
            str(path.relative_to(root)): (path.stat().st_size, _sha256(path))
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
        return ReleaseFiles(str(root), files, dict(note or {}))

    def path(self, name: str) -> Path:
        """A file of the release. Raises `CorruptError` if it is not as it was published."""
        path = Path(self.folder) / name
        if name not in self.files or not path.is_file():
            raise CorruptError(f"the release has no file {name}", where=self.folder)
        size, _ = self.files[name]
        if path.stat().st_size != size:
            raise CorruptError(
                f"{name} has {path.stat().st_size} bytes, and was published with {size}",
                where=self.folder,
                fix="bowerbird rollback, to the release before",
            )
        return path

    def verify(self) -> None:
        """Raise `CorruptError` unless every file hashes as it was published."""
        for name, (_, sha256) in self.files.items():
            if _sha256(self.path(name)) != sha256:
                raise CorruptError(f"{name} is not what was published", where=self.folder)


class Release(msgspec.Struct, frozen=True):
    """One release, pinned."""

    ref: str
    version: Version
    files: ReleaseFiles


class ReleaseLog:
    """A release's history, as the commit loop sees it."""

    def __init__(self, database: Database, folder: str, ref: str) -> None:
        self._database = database
        self.name = ref
        parsed = Ref.parse(ref)
        self._folder = Path(folder) / "releases" / parsed.namespace / parsed.name

    def load(self) -> History:
        with self._database.read() as connection:
            return self._history(connection)

    def append(self, onto: History, token: Token, change: Change | None) -> Version:
        files: ReleaseFiles | None = change.payload if change else None
        entry = _entry(onto, token, change)
        point("release.commit.before")
        try:
            with self._database.write() as connection:
                self._database.alone(connection)
                live = _live(connection, self.name)
                if live != onto.head:
                    raise CommitConflictError(f"{self.name}: {live} is live, not {onto.head}")
                if change is None and live is not None:
                    files = _files(connection, self.name, live)
                now = self._database.now(connection)
                version = Version(uuid7(now))
                connection.execute(
                    RELEASES.insert().values(
                        id=version,
                        ref=self.name,
                        parent=live,
                        token=token,
                        entry=msgspec.json.encode(
                            msgspec.structs.replace(entry, version=version)
                        ).decode(),
                        files=msgspec.json.encode(files).decode() if files else None,
                        created=to_micros(now),
                    )
                )
                if live is None:
                    connection.execute(LIVE.insert().values(ref=self.name, release=version))
                else:
                    connection.execute(
                        LIVE.update().where(LIVE.c.ref == self.name).values(release=version)
                    )
        except IntegrityError as error:
            raise CommitConflictError(f"{self.name}: {token} is there already") from error
        point("release.commit.after")
        return version

    def files(self, token: Token, attempt: str) -> str:
        return str(self._folder / token / attempt)

    def sweep(self, token: Token, keep: str | None) -> None:
        for folder in (self._folder / token).glob("*"):
            if folder.name != keep:
                shutil.rmtree(folder, ignore_errors=True)

    def discard(self, token: Token, attempt: str) -> None:
        shutil.rmtree(self._folder / token / attempt, ignore_errors=True)

    def pinned(self, version: Version | None = None) -> Release:
        """The live release, or the one of that version. Raises `RefError` if there is none."""
        with self._database.read() as connection:
            version = version or _live(connection, self.name)
            files = _files(connection, self.name, version) if version else None
        if version is None or files is None:
            raise RefError(
                f"{self.name} has no release{f' {version}' if version else ''}",
                expected="one that a run has published",
                fix="bowerbird apply",
            )
        return Release(self.name, version, files)

    def _history(self, connection: sa.Connection) -> History:
        rows = connection.execute(
            sa.select(RELEASES.c.id, RELEASES.c.parent, RELEASES.c.entry).where(
                RELEASES.c.ref == self.name
            )
        ).all()
        parents = {row.id: row.parent for row in rows}
        entries = {row.id: msgspec.json.decode(row.entry, type=Entry) for row in rows}
        chain: list[Entry] = []
        at = _live(connection, self.name)
        while at is not None:
            chain.append(entries[at])
            at = parents[at]
        known = {entry.token for entry in chain}
        others = (entry.token for entry in entries.values() if entry.token is not None)
        return History(tuple(chain), elsewhere=frozenset(others) - known)


def open_target(home: Home, clock: Clock, ref: str) -> LogTarget:
    """The release target of a ref: what the room names for the executor."""
    return LogTarget(open_log(home, ref), clock)


def open_log(home: Home, ref: str) -> ReleaseLog:
    """The releases of a ref, for readers: ``open_log(home, ref).pinned()``."""
    return ReleaseLog(open_database(home.metadata), home.releases, ref)


def _entry(onto: History, token: Token, change: Change | None) -> Entry:
    if change is None:
        return Entry(Version(""), token, burnt=True, cells=onto.cells())
    return Entry(
        Version(""),
        token,
        change.attempt,
        change.meaning,
        change.results,
        changed=frozenset(change.overwrites) | frozenset(change.makes),
        cells=change.cells_after(onto, token),
    )


def _live(connection: sa.Connection, ref: str) -> Version | None:
    found = connection.execute(sa.select(LIVE.c.release).where(LIVE.c.ref == ref)).scalar()
    return Version(found) if found is not None else None


def _files(connection: sa.Connection, ref: str, version: str) -> ReleaseFiles | None:
    query = sa.select(RELEASES.c.files).where(RELEASES.c.id == version, RELEASES.c.ref == ref)
    found = connection.execute(query).scalar()
    return msgspec.json.decode(found, type=ReleaseFiles) if found else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
