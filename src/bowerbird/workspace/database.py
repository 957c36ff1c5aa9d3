"""The metadata database: SQLite on a laptop, PostgreSQL in production; one way to open either.

SQLite is migrated when it is opened, after a copy of the file; PostgreSQL by ``bowerbird migrate``.
Every error of the database comes out as one of ours: away (`UnavailableError`), full or read-only
(`StorageError`), damaged (`CorruptError`), of a later version (`NewerWorkspaceError`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from bowerbird.core.clock import Clock, SystemClock
from bowerbird.core.errors import (
    CorruptError,
    NewerWorkspaceError,
    SettingsError,
    StorageError,
    UnavailableError,
    WorkspaceError,
)
from bowerbird.workspace.schema import VERSION, VERSIONS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_START_LOCK = 0x626F776572  # an arbitrary number that no other program locks


def to_micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


class Migrated(msgspec.Struct, frozen=True):
    """The version that a database had before it was opened (None: it was new), and has now."""

    before: str | None
    now: str


class Database:
    """A metadata database, open and of the version that this code knows."""

    def __init__(self, url: str, clock: Clock, *, migrate: bool | None = None) -> None:
        """migrate: bring an older one up to date; by default only SQLite, after a copy."""
        self._clock = clock
        self.sqlite = url.startswith("sqlite:")
        if self.sqlite:
            url = url.replace("sqlite:", "sqlite+pysqlite:", 1)
            _make_folder(url)
        else:
            url = url.replace("postgresql:", "postgresql+psycopg:", 1)
        try:
            self.engine = sa.create_engine(url, pool_pre_ping=not self.sqlite)
        except (SQLAlchemyError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise SettingsError(
                f"the metadata database cannot be opened: {error}",
                expected="sqlite:///path or postgresql://user@host/name",
                fix="pip install 'bowerbird[postgres]', if it is PostgreSQL",
            ) from None
        if self.sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        try:
            self._check_version(self.sqlite if migrate is None else migrate)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes. One SQLite writer at a time; rows are locked on PostgreSQL."""
        with translated(), self.engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads: all of it sees the database as it was at one moment."""
        with translated(), self.engine.connect() as connection:
            if not self.sqlite:  # whose readers see one moment anyway
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection

    def alone(self, connection: sa.Connection) -> None:
        """Until the transaction ends, nobody else is past this line."""
        if not self.sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:n)"), {"n": _START_LOCK})

    def now(self, connection: sa.Connection) -> datetime:
        """The database's clock. SQLite has none but the machine's."""
        if self.sqlite:
            return self._clock.now()
        moment: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        return moment.astimezone(UTC)

    def close(self) -> None:
        self.engine.dispose()

    # -- versions ----------------------------------------------------------------------------

    def _check_version(self, migrate: bool) -> None:
        with self.read() as connection:
            exists = sa.inspect(connection).has_table(VERSIONS.name)
            present = connection.execute(sa.select(VERSIONS)).scalar() if exists else None
        self.migrated = Migrated(before=present, now=VERSION)
        if present == VERSION:
            return
        from alembic.script import ScriptDirectory

        scripts = ScriptDirectory.from_config(_alembic(None))
        known = {script.revision for script in scripts.walk_revisions()}
        if present is not None and present not in known:
            raise NewerWorkspaceError(
                f"the metadata database is of version {present}, which is not known here",
                expected=f"{VERSION} or before",
                fix="install a newer Bowerbird; this one must not write there",
            )
        if not migrate:
            raise WorkspaceError(
                f"the metadata database is of version {present or 'none'}, this is {VERSION}",
                expected="a database that was migrated on purpose",
                fix="bowerbird migrate",
            )
        self._upgrade(present)

    def _upgrade(self, present: str | None) -> None:
        from alembic import command

        if self.sqlite and present is not None:
            path = Path(str(self.engine.url.database))
            shutil.copy2(path, path.with_suffix(f".before-{present}.db"))
        with self.write() as connection:
            self.alone(connection)
            command.upgrade(_alembic(connection), "head")


def migrated(url: str) -> Migrated:
    """Bring the database at a URL up to this version, whichever kind it is."""
    database = Database(url, SystemClock(), migrate=True)
    database.close()
    return database.migrated


@cache
def open_database(url: str) -> Database:
    """The database at a URL, opened once a process."""
    return Database(url, SystemClock())


def _alembic(connection: sa.Connection | None) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _make_folder(url: str) -> None:
    path = url.partition("///")[2]
    if path and path != ":memory:" and not path.startswith("file:"):  # a URI names its file itself
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"no folder can be made for {path}: {error.strerror}",
                expected="a disk that can be written",
            ) from None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # SQLAlchemy is to say when a transaction begins, not the driver.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A reader that turns writer in the middle can deadlock: who writes says so at once.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


_SAYS = (
    (("readonly", "read-only", "disk is full", "disk i/o", "unable to open"), StorageError),
    (("not a database", "malformed", "corrupt"), CorruptError),
)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the database, as ours."""
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig)
        for words, kind in _SAYS:
            if any(word in said.lower() for word in words):
                raise kind(
                    f"the metadata database: {said.strip()}",
                    expected="a database that is whole and can be written",
                    fix="bowerbird config, to see where it is",
                ) from error
        if error.connection_invalidated or type(error).__name__ in _AWAY:
            raise UnavailableError(
                f"the metadata database does not answer: {said.strip().splitlines()[0]}",
                expected="a database that is up",
                fix="the same command again, once it is: the run goes on where it was",
            ) from error
        raise


_AWAY = {"OperationalError", "InterfaceError"}
