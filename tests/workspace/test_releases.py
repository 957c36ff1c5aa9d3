"""Releases: whole or not at all, one live, and readers keep the one that they pinned."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import CommitConflictError, CorruptError, RefError
from bowerbird.core.targets import WHOLE, Change, LogTarget, Token, Version
from bowerbird.testing.target_conformance import ONE, OTHER, A, Hurried, LogConformance
from bowerbird.workspace import releases
from bowerbird.workspace.database import Database
from bowerbird.workspace.releases import ReleaseFiles, ReleaseLog
from bowerbird.workspace.schema import LIVE

REF = "model:shop/taste"


class ReleaseWorld:
    """`LogWorld` over a release: its rows are the lines of its one file."""

    def __init__(self, url: str, folder: str) -> None:
        self._url, self._folder = url, folder
        self.database = Database(url, SystemClock(), migrate=True)

    def log(self) -> ReleaseLog:
        return ReleaseLog(self.database, self._folder, REF)

    def target(self) -> LogTarget:
        return LogTarget(self.log(), Hurried())

    def change(self, token: Token, attempt: str, rows: Mapping[str, Sequence[str]]) -> Change:
        folder = Path(self.log().files(token, attempt))
        folder.mkdir(parents=True)
        names = [name for names in rows.values() for name in names]
        (folder / "rows.txt").write_text("\n".join(names))
        files = ReleaseFiles.of(folder, {"rows": len(names)})
        return Change(attempt, "m", dict.fromkeys(rows, f"meaning of {token}"), payload=files)

    def rows(self) -> list[str]:
        try:
            return self.log().pinned().files.path("rows.txt").read_text().split("\n")[:]
        except RefError:
            return []

    def foreign(self, cell: str, row: str) -> None:
        pytest.skip("nobody else can make a release: they would need our database")

    def set_back(self, version: Version) -> None:
        with self.database.write() as connection:
            connection.execute(LIVE.update().values(release=version))

    def expire(self) -> None:
        pytest.skip("no release is ever expired yet")

    def elsewhere(self) -> tuple[str, tuple[Any, ...]]:
        return "tests.workspace.test_releases:ReleaseWorld", (self._url, self._folder)


REPLACED_WHOLE = {
    "test_a_commit_that_comes_between_load_and_append_is_kept",
    "test_an_overwrite_replaces_its_cells_and_no_others",
    "test_an_overwrite_of_nothing_leaves_nothing",
    "test_appends_of_several_processes_are_all_there_and_none_twice",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ReleaseWorld]:
    """Over SQLite: quick to make."""
    made = ReleaseWorld(f"sqlite:///{tmp_path / 'metadata.db'}", str(tmp_path / "warehouse"))
    yield made
    made.database.close()


@pytest.fixture
def any_world(metadata_url: str, tmp_path: Path) -> Iterator[ReleaseWorld]:
    """Over SQLite, and over PostgreSQL."""
    made = ReleaseWorld(metadata_url, str(tmp_path / "warehouse"))
    yield made
    made.database.close()


class TestReleases(LogConformance):
    @pytest.fixture
    def world(self, any_world: ReleaseWorld) -> ReleaseWorld:
        return any_world

    @pytest.fixture(autouse=True)
    def _applies(self, request: pytest.FixtureRequest) -> None:
        if request.node.originalname in REPLACED_WHOLE:
            pytest.skip("a release takes the place of the one before: no row of that stays")


def publish(world: ReleaseWorld, token: Token, text: str) -> Version:
    base = world.target().read().version
    change = world.change(token, "a1", {WHOLE: [text]})
    return world.target().commit(token, base, change).version


def test_a_reader_keeps_reading_the_release_it_pinned(world: ReleaseWorld) -> None:
    publish(world, ONE, "first")
    pinned = world.log().pinned()
    publish(world, OTHER, "second")
    assert pinned.files.path("rows.txt").read_text() == "first"
    assert world.log().pinned(pinned.version) == pinned
    assert world.rows() == ["second"]


def test_a_release_is_seen_whole_or_not_at_all(world: ReleaseWorld) -> None:
    publish(world, ONE, "first")
    world.change(OTHER, "a1", {WHOLE: ["half done"]})
    assert world.rows() == ["first"]
    world.log().pinned().files.verify()


def test_what_is_published_while_a_history_is_read_is_not_half_in_it(
    any_world: ReleaseWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(any_world, ONE, "first")
    look = releases._live
    others = [OTHER]

    def looked_at_late(connection: sa.Connection, ref: str) -> Version | None:
        while others:
            publish(any_world, others.pop(), "second")
        return look(connection, ref)

    monkeypatch.setattr(releases, "_live", looked_at_late)
    history = any_world.log().load()
    assert (others, history.head, history.elsewhere) == ([], first, frozenset())
    assert any_world.rows() == ["second"]


def test_of_two_that_publish_onto_the_same_one_is_told(world: ReleaseWorld) -> None:
    onto = world.log().load()
    world.log().append(onto, ONE, world.change(ONE, "a1", {WHOLE: ["x"]}))
    with pytest.raises(CommitConflictError, match="is live, not None"):
        world.log().append(onto, OTHER, world.change(OTHER, "a1", {WHOLE: ["y"]}))
    assert world.rows() == ["x"]


def test_a_burnt_token_leaves_the_live_release_as_it_was(world: ReleaseWorld) -> None:
    publish(world, ONE, "first")
    world.target().burn(OTHER)
    assert world.rows() == ["first"]


def test_a_withdrawn_release_is_told_and_its_pins_still_read(world: ReleaseWorld) -> None:
    publish(world, ONE, "first")
    pinned = world.log().pinned()
    world.target().commit(OTHER, pinned.version, Change("a1", overwrites=(WHOLE,)))
    with pytest.raises(RefError, match="has no release"):
        world.log().pinned()
    assert pinned.files.path("rows.txt").read_text() == "first"


def test_a_release_that_there_is_not_is_told(world: ReleaseWorld) -> None:
    with pytest.raises(RefError, match=f"{REF} has no release"):
        world.log().pinned()
    with pytest.raises(RefError, match="has no release 123"):
        world.log().pinned(Version("123"))


def test_a_release_of_another_ref_is_not_taken_for_ours(world: ReleaseWorld) -> None:
    version = publish(world, ONE, "ours")
    other = ReleaseLog(world.database, world._folder, "index:shop/other")
    with pytest.raises(RefError):
        other.pinned(version)


@pytest.mark.parametrize("harm", ["cut short", "made longer", "flipped", "gone", "a folder"])
def test_a_file_that_is_not_what_was_published_is_told_by_name(
    world: ReleaseWorld, harm: str
) -> None:
    publish(world, ONE, "0123456789")
    files = world.log().pinned().files
    path = files.path("rows.txt")
    match harm:
        case "cut short":
            path.write_text("012345678")
        case "made longer":
            path.write_text("0123456789!")
        case "flipped":
            path.write_text("0123456_89")
        case "gone":
            path.unlink()
        case "a folder":
            path.unlink()
            path.mkdir()
    with pytest.raises(CorruptError, match=r"rows\.txt") as caught:
        files.verify()
    assert caught.value.where == files.folder


def test_a_file_that_was_never_published_is_told_by_name(world: ReleaseWorld) -> None:
    publish(world, ONE, "x")
    files = world.log().pinned().files
    (Path(files.folder) / "more.txt").write_text("x")
    for name in ("more.txt", "../../secret", "/etc/passwd"):
        with pytest.raises(CorruptError, match="has no file"):
            files.path(name)


def test_sweeping_keeps_the_attempt_that_won_and_no_other(world: ReleaseWorld) -> None:
    for attempt in ("a1", "a2", "a3"):
        world.change(ONE, attempt, {A: ["x"]})
    world.log().sweep(ONE, "a2")
    assert [p.name for p in Path(world.log().files(ONE, "a2")).parent.iterdir()] == ["a2"]


NOTES = st.dictionaries(
    st.text(), st.integers(-(2**60), 2**60) | st.text() | st.booleans() | st.none(), max_size=4
)


@given(st.dictionaries(st.text(), st.tuples(st.integers(0, 2**60), st.text()), max_size=4), NOTES)
def test_what_is_known_of_files_survives_the_database(
    files: dict[str, tuple[int, str]], note: dict[str, object]
) -> None:
    known = ReleaseFiles("folder", files, note)
    assert msgspec.json.decode(msgspec.json.encode(known), type=ReleaseFiles) == known


def _publishes(url: str, folder: str, number: int, count: int) -> None:
    world = ReleaseWorld(url, folder)
    for i in range(count):
        token = Token(f"p{number}/s{i}")
        base = world.target().read().version
        for attempt in ("a1", "a2"):
            change = world.change(token, attempt, {WHOLE: [f"{number}.{i}"]})
            LogTarget(world.log(), SystemClock(), tries=200).commit(token, base, change)
    world.database.close()


@pytest.mark.slow
def test_of_several_processes_that_publish_at_once_each_does_once(
    any_world: ReleaseWorld, metadata_url: str
) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.starmap(_publishes, [(metadata_url, any_world._folder, n, 4) for n in range(3)])
    tokens = [entry.token for entry in any_world.log().load().entries]
    assert sorted(tokens) == [f"p{n}/s{i}" for n in range(3) for i in range(4)]
    any_world.log().pinned().files.verify()
