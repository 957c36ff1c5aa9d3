"""Online rows in Redis: versions side by side, one pointer, no scan and no script.

Keys of one group, in one slot of a cluster (``{…}`` is what Redis hashes):

    bowerbird:{ref}:live             -> the version that is live: the table's, and of which columns
    bowerbird:{ref}:versions         a hash: version -> contents, of all that are there, or half
    bowerbird:{ref}:VERSION:there    set first when a version is written, deleted first when it goes
    bowerbird:{ref}:VERSION:N        hashes: key -> row, of about 8,192 rows each

A version is written beside the live one; the pointer moves when all of it is there. Then others go.
A look-up is one transaction: whether its version is ``there``, and the rows. If it is, all its rows
are, for it goes before they do; if not, the look-up is made again of the version that is live now.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bowerbird.core.errors import (
    CommitConflictError,
    CorruptError,
    RefError,
    SettingsError,
    StorageError,
    UnavailableError,
    UserError,
)
from bowerbird.data.features.online.rows import About, Contents, Found, Rows, contents_of, entries

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.data.features.online.files import FileOnline

_A_BUCKET = 8_192
"""Rows of a hash: so many that a look-up of a hundred keys asks few hashes, so few that none is
large. With 256 a look-up of a hundred keys took four times as long."""
_A_BATCH = 2_000
"""Rows that are sent before an answer is waited for."""
_TRIES = 5
"""Look-ups that find their version gone; each time another was published meanwhile."""


def publish_redis(client: Any, rows: pa.Table, about: About) -> Contents:
    """Publish rows, each key once, and make them live in one step; then delete other versions.

    client: ``redis.Redis``. One publisher a group at a time. Doing it again does nothing new; what
    a publisher that died has left is deleted. Raises `SpecError` for types that cannot be kept,
    `UserError` for a key that is null or comes twice, `CommitConflictError` if somebody else
    deleted the version meanwhile, `UnavailableError` for a server that does not answer,
    `StorageError` for one that has no room.
    """
    contents = contents_of(rows, about)
    pairs = dict(entries(rows, contents))
    if len(pairs) < rows.num_rows:
        raise UserError(
            "a key comes twice", where=about.ref, expected="each key once", fix="latest(rows, keys)"
        )
    _publish(client, contents, pairs.items())
    return contents


def mirror_redis(client: Any, online: FileOnline) -> Contents:
    """Publish what a release's file holds, as it is: after a rollback too. As `publish_redis`."""
    _publish(client, online.contents, online.entries())
    return online.contents


def _publish(client: Any, contents: Contents, pairs: Iterable[tuple[bytes, bytes]]) -> None:
    from redis import exceptions

    _check(client, contents.about.ref)
    names, version = _Names(contents.about.ref), _version(contents)
    with _translated(contents.about.ref):
        if _text(client.get(names.live)) != version:
            try:
                _write(client, names, contents, pairs)
            except exceptions.OutOfMemoryError:
                _delete(client, names, contents)  # half a version is not what should fill it
                raise
            _switch(client, names, version)
        _delete_others(client, names, version)


def _version(contents: Contents) -> str:
    """The table's version, and what tells other columns of the same version from these."""
    return f"{contents.about.version}-{sha256(msgspec.json.encode(contents)).hexdigest()[:8]}"


def connected(url: str) -> Any:
    """A client of a server, by its URL. Raises `SettingsError` for a URL that is none, or without
    the library."""
    try:
        import redis
    except ImportError as error:
        raise SettingsError(
            "Redis needs the library redis", fix="pip install 'bowerbird[redis]'"
        ) from error
    try:
        return redis.Redis.from_url(url)
    except ValueError as error:  # the URL may hold a password: it is not shown
        raise SettingsError(
            "this is no URL of a Redis server",
            expected="redis://host:6379/0, rediss://… or unix:///path",
        ) from error


def _check(client: Any, ref: str) -> None:
    if client.get_connection_kwargs().get("decode_responses"):
        raise UserError(
            "a client that decodes answers, and rows are bytes",
            where=ref,
            fix="redis.Redis(..., decode_responses=False)",
        )


def _write(
    client: Any, names: _Names, contents: Contents, pairs: Iterable[tuple[bytes, bytes]]
) -> None:
    version, buckets = _version(contents), _buckets(contents.rows)
    with client.pipeline(transaction=True) as first:
        first.hset(names.versions, version, msgspec.json.encode(contents))
        first.set(names.there(version), b"1")
        first.execute()
    rest = iter(pairs)
    while batch := list(islice(rest, _A_BATCH)):
        filled: dict[int, dict[bytes, bytes]] = {}
        for key, row in batch:
            filled.setdefault(_bucket(key, buckets), {})[key] = row
        with client.pipeline(transaction=False) as sent:
            for bucket, mapping in filled.items():
                sent.hset(names.rows(version, bucket), mapping=mapping)
            sent.execute()


def _switch(client: Any, names: _Names, version: str) -> None:
    from redis.exceptions import WatchError

    with client.pipeline(transaction=True) as sent:
        sent.watch(names.there(version))
        if not sent.exists(names.there(version)):
            raise CommitConflictError(f"{version} was deleted while it was published")
        sent.multi()
        sent.set(names.live, version)
        try:
            sent.execute()
        except WatchError as error:
            raise CommitConflictError(f"{version} was deleted while it was published") from error


def _delete_others(client: Any, names: _Names, version: str) -> None:
    for other, raw in client.hgetall(names.versions).items():
        if _text(other) != version:
            _delete(client, names, _decoded(raw, names.live))


def _delete(client: Any, names: _Names, contents: Contents) -> None:
    version, buckets = _version(contents), _buckets(contents.rows)
    client.delete(names.there(version))
    for start in range(0, buckets, _A_BATCH):
        end = min(start + _A_BATCH, buckets)
        client.unlink(*(names.rows(version, bucket) for bucket in range(start, end)))
    client.hdel(names.versions, version)


class _Seen(NamedTuple):
    """A version that was live when somebody looked."""

    version: str
    rows: Rows


class RedisOnline:
    """Reads whichever version is live. Safe from many threads, as its client is.

    every: seconds between looks whether another is live; a version that is gone is seen at once.
    """

    def __init__(self, client: Any, ref: str, every: float = 5.0) -> None:
        _check(client, ref)
        self._client, self._names, self._every = client, _Names(ref), every
        with _translated(ref):
            self._seen, self._looked = self._live(), monotonic()

    @property
    def contents(self) -> Contents:
        """Of the version that was last seen live."""
        return self._seen.rows.contents

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
        with _translated(self._names.ref):
            if monotonic() - self._looked >= self._every:
                self._seen, self._looked = self._live(), monotonic()
            for _ in range(_TRIES):
                seen = self._seen
                values = self._values(seen, seen.rows.asked(keys))
                if values is not None:
                    return seen.rows.found(values, columns, stale_after, now or datetime.now(UTC))
                self._seen, self._looked = self._live(), monotonic()
        raise UnavailableError(
            f"{_TRIES} versions were published during one look-up", where=self._names.ref
        )

    def _values(self, seen: _Seen, keys: Sequence[bytes]) -> list[bytes | None] | None:
        """The rows' bytes, or None if the version is gone."""
        version, buckets = seen.version, _buckets(seen.rows.contents.rows)
        wanted: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            wanted.setdefault(_bucket(key, buckets), []).append(place)
        with self._client.pipeline(transaction=True) as sent:
            sent.exists(self._names.there(version))
            for bucket, places in wanted.items():
                sent.hmget(self._names.rows(version, bucket), [keys[place] for place in places])
            there, *answers = sent.execute()
        if not there:
            return None
        found: list[bytes | None] = [None] * len(keys)
        for places, answer in zip(wanted.values(), answers, strict=True):
            for place, value in zip(places, answer, strict=True):
                found[place] = value
        return found

    def _live(self) -> _Seen:
        names = self._names
        for _ in range(_TRIES):
            version = _text(self._client.get(names.live))
            if version is None:
                raise RefError(
                    f"{names.ref} has nothing online", expected="rows that were published"
                )
            kept = self._client.hget(names.versions, version)
            if kept is not None:
                return _Seen(version, Rows(_decoded(kept, names.live)))
        raise CorruptError(f"{version} is live and not there", where=names.versions)


class _Names:
    """Redis's keys of one group."""

    def __init__(self, ref: str) -> None:
        self.ref = ref
        self._prefix = f"bowerbird:{{{ref}}}"
        self.live = f"{self._prefix}:live"
        self.versions = f"{self._prefix}:versions"

    def there(self, version: str) -> str:
        return f"{self._prefix}:{version}:there"

    def rows(self, version: str, bucket: int) -> str:
        return f"{self._prefix}:{version}:{bucket}"


def _buckets(rows: int) -> int:
    return max(1, -(-rows // _A_BUCKET))


def _bucket(key: bytes, buckets: int) -> int:
    return zlib.crc32(key) % buckets


def _text(value: bytes | str | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value


def _decoded(raw: bytes, where: str) -> Contents:
    try:
        return msgspec.json.decode(raw, type=Contents)
    except msgspec.MsgspecError as error:
        raise CorruptError(f"unreadable contents: {error}", where=where) from error


@contextmanager
def _translated(ref: str) -> Iterator[None]:
    """The library's errors as ours."""
    from redis import exceptions

    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise UnavailableError(f"Redis does not answer: {error}", where=ref) from error
    except exceptions.OutOfMemoryError as error:
        raise StorageError(f"Redis has no room: {error}", where=ref) from error
