"""PyIceberg's SQL catalog, made fit for many processes at one database.

The only module of the room that imports PyIceberg at its top: it has to subclass. Imported late.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, ValidationError
from pyiceberg.table import Table
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties
from sqlalchemy import create_engine, delete, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from bowerbird.core.errors import CorruptError
from bowerbird.lake.failures import translated

BUSY_SECONDS = 60


class HouseCatalog(SqlCatalog):
    """No connection stays open between calls; SQLite waits instead of failing; what is damaged is
    named."""

    def _init_catalog(self) -> None:
        # The parent makes an engine with a pool; its connections would outlive their use.
        self.engine.dispose()
        url = self.engine.url
        self.engine = create_engine(url, poolclass=NullPool)
        if url.get_backend_name() == "sqlite":
            event.listen(self.engine, "connect", _patient)
        try:
            if url.get_backend_name() == "sqlite":
                with self.engine.connect() as connection:
                    # Readers do not block a writer. The file remembers it, so it is said once.
                    connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            super()._init_catalog()
        except DBAPIError:
            # Two processes made the catalog's tables at once: by now they are there.
            super()._init_catalog()

    def create_namespace(
        self, namespace: str | Identifier, properties: Properties = EMPTY_DICT
    ) -> None:
        try:
            super().create_namespace(namespace, properties)
        except IntegrityError as error:
            raise NamespaceAlreadyExistsError(f"{namespace} was made meanwhile") from error

    def forget(self, table: Table) -> bool:
        """Delete the table's row if it still names the metadata that we saw."""
        namespace, name = table.name()
        statement = delete(IcebergTables).where(
            IcebergTables.catalog_name == self.name,
            IcebergTables.table_namespace == namespace,
            IcebergTables.table_name == name,
            IcebergTables.metadata_location == table.metadata_location,
        )
        with self.engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        where = orm_table.metadata_location
        name = f"{orm_table.table_namespace}.{orm_table.table_name}"
        try:
            with translated(f"reading {where}"):
                return super()._convert_orm_to_iceberg(orm_table)
        except FileNotFoundError as error:
            raise CorruptError(
                f"{name}: its metadata file is gone: {where}",
                expected="the file that the catalog names",
                fix="restore it, or register the newest one that is left",
            ) from error
        except (ValueError, OSError, ValidationError) as error:
            raise CorruptError(
                f"{name}: its metadata file cannot be read: {where}: {_first_line(error)}",
                expected="Iceberg table metadata, as JSON",
                fix="restore it from a copy",
            ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _patient(connection: sqlite3.Connection, _record: Any) -> None:
    """Several processes write: each waits for its turn."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
