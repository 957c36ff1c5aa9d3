"""What goes wrong outside this process, and which error of the house it becomes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from bowerbird.core.errors import (
    BowerbirdError,
    CorruptError,
    SettingsError,
    StorageError,
    UnavailableError,
    UserError,
)

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_NO_RIGHT = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Around calls that leave the process: database, disk. `what` was being done, in a few words.

    Errors that tell of a mistake in our own code pass as they are.
    """
    try:
        yield
    except BowerbirdError:
        raise
    except Exception as error:
        known = (
            _of_disk(what, error)
            or _of_store(what, error)
            or _of_rest(what, error)
            or _of_database(what, error)
        )
        if known is None:
            raise
        raise known from error


def _of_disk(what: str, error: Exception) -> BowerbirdError | None:
    if not isinstance(error, OSError):
        return None
    if error.errno in _NO_ROOM:
        return StorageError(
            f"{what}: the disk is full", expected="room for the files", fix="free some, and again"
        )
    if error.errno in _NO_RIGHT:
        return StorageError(
            f"{what}: {error.strerror}: {error.filename or ''}".rstrip(": "),
            expected="a warehouse that this process may write",
        )
    return None


_REFUSED = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
)
_AWAY = (
    "NETWORK_CONNECTION",
    "SERVICE_UNAVAILABLE",
    "INTERNAL_FAILURE",
    "SLOW_DOWN",
    "REQUEST_TIMEOUT",
)


def _of_store(what: str, error: Exception) -> BowerbirdError | None:
    said = str(error)
    if not isinstance(error, OSError) or "AWS Error" not in said:
        return None
    if any(word in said for word in _REFUSED):
        return SettingsError(
            f"{what}: the object store refuses the key: {said}",
            expected="a key that may read and write the warehouse",
            fix="bowerbird config: s3_access_key, s3_secret_key, s3_region",
        )
    if "NO_SUCH_BUCKET" in said:
        return SettingsError(
            f"{what}: there is no such bucket: {said}", fix="make it, or set another warehouse"
        )
    if any(word in said for word in _AWAY):
        return UnavailableError(f"{what}: the object store does not answer: {said}")
    return None


def _of_rest(what: str, error: Exception) -> BowerbirdError | None:
    from pyiceberg import exceptions as rest
    from requests import exceptions as http

    if isinstance(error, (http.ConnectionError, http.Timeout)):
        return UnavailableError(f"{what}: the catalog does not answer: {error}")
    if isinstance(error, http.InvalidURL):
        return SettingsError(f"{what}: iceberg_catalog: {error}", expected="rest:http://host:port")
    no_right = (rest.UnauthorizedError, rest.ForbiddenError, rest.OAuthError)
    if isinstance(error, (*no_right, rest.AuthorizationExpiredError)):
        return SettingsError(
            f"{what}: the catalog refuses us: {error}",
            expected="a token, or client:secret, that may read and write tables",
            fix="bowerbird config: iceberg_credential",
        )
    away = (rest.ServerError, rest.ServiceUnavailableError, rest.TooManyRequestsError)
    if isinstance(error, (*away, rest.CommitStateUnknownException)):
        return UnavailableError(f"{what}: the catalog does not answer as it should: {error}")
    if isinstance(error, rest.BadRequestError):
        return UserError(f"{what}: the catalog does not take it: {error}")
    return None


def _of_database(what: str, error: Exception) -> BowerbirdError | None:
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    if isinstance(error, (ArgumentError, NoSuchModuleError)):
        return SettingsError(
            f"the metadata database's URL cannot be used: {error}",
            expected="sqlite:///… or postgresql+psycopg://…",
        )
    if isinstance(error, ModuleNotFoundError) and error.name in ("psycopg", "psycopg2"):
        return SettingsError(
            f"the metadata database needs {error.name}", fix="pip install 'bowerbird[postgres]'"
        )
    if isinstance(error, PoolTimeoutError):
        return UnavailableError(f"{what}: the metadata database does not answer")
    if not isinstance(error, DBAPIError) or type(error).__name__ not in (
        "OperationalError",
        "InterfaceError",
        "InternalError",
        "DatabaseError",
    ):
        return None
    said = str(error.orig)
    if "malformed" in said or "not a database" in said:
        return CorruptError(f"{what}: the metadata database is damaged: {said}")
    if "disk is full" in said or "readonly" in said:
        return StorageError(f"{what}: the metadata database cannot be written: {said}")
    return UnavailableError(f"{what}: the metadata database does not answer: {said}")
