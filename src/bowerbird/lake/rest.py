"""PyIceberg's REST catalog, made fit for many processes: it answers in time or says that it cannot.

Imports PyIceberg at its top, as `sql` does: it has to subclass. Imported late.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from urllib.parse import parse_qs, urlsplit, urlunsplit

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchTableError, RESTError
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.update import TableRequirement, TableUpdate
from requests import Session

from bowerbird.core.errors import SettingsError
from bowerbird.core.steps import Home

SECONDS = 60
"""How long one request may take: PyIceberg itself would wait for ever."""

_SCHEME = "rest:"


class HouseRestCatalog(RestCatalog):
    """No connection stays open between calls; a table that is gone is said to be gone."""

    def forget(self, table: Table) -> bool:
        """Drop the table if it is still the one that we saw.

        The protocol knows no precondition for a drop: what is committed between the look and the
        drop is dropped too. The run that drops a table holds it, so none of ours commits then.
        """
        try:
            now = self.load_table(table.name())
        except NoSuchTableError:
            return False
        if _identity(now) != _identity(table):
            return False
        with suppress(NoSuchTableError):
            self.drop_table(table.name())
        return True

    def commit_table(
        self,
        table: Table,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        try:
            done: CommitTableResponse = super().commit_table(table, requirements, updates)
            return done
        except RESTError as error:
            response = getattr(error.__cause__, "response", None)
            if response is not None and response.status_code == 404:
                raise NoSuchTableError(str(error)) from error
            raise

    def _create_session(self) -> Session:
        session = super()._create_session()
        session.headers["Connection"] = "close"
        session.request = partial(session.request, timeout=SECONDS)  # type: ignore[method-assign] # it has no setting
        return session


def open_rest(home: Home, warehouse: str, properties: dict[str, str]) -> HouseRestCatalog:
    """The catalog at ``rest:URL``; ``?warehouse=`` names the server's warehouse, if it is not where
    ours is. Raises `SettingsError` for what is no such URL."""
    url = urlsplit(home.iceberg.removeprefix(_SCHEME))
    if (
        not home.iceberg.startswith(_SCHEME)
        or url.scheme not in ("http", "https")
        or not url.netloc
    ):
        raise SettingsError(
            f"iceberg_catalog: {home.iceberg!r} is no catalog",
            expected="rest:http://host:port, or empty for the metadata database",
        )
    told = parse_qs(url.query).get("warehouse", [warehouse])[0]
    uri = urlunsplit(url._replace(query="", fragment="")).rstrip("/")
    how = _credential(uri, home.access.iceberg_credential)
    return HouseRestCatalog(home.catalog, uri=uri, warehouse=told, **properties, **how)


def _credential(uri: str, secret: str) -> dict[str, str]:
    if ":" in secret:
        return {"credential": secret, "oauth2-server-uri": f"{uri}/v1/oauth/tokens"}
    return {"token": secret} if secret else {}


def _identity(table: Table) -> tuple[object, ...]:
    data = table.metadata
    return data.table_uuid, table.metadata_location, data.current_snapshot_id, data.last_updated_ms
