"""The decisions about commits: what overlaps, and what may go on top of a history."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import CommitConflictError, PlanAgainError
from bowerbird.core.targets import (
    BURNT,
    SHAPE,
    WHOLE,
    CellState,
    Change,
    Entry,
    History,
    ObjectTarget,
    Token,
    Version,
    fields_of,
    judge,
    object_name,
    overlap,
)
from bowerbird.testing.target_conformance import OTHER, TargetConformance

VALUES, FIELDS = "12", "abc"
ROWS = [
    {"a": a, "b": b, "c": c} for a in VALUES for b in VALUES for c in VALUES
]  # every row that there can be
CELLS = st.one_of(
    st.just(WHOLE),
    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(VALUES), min_size=1).map(
        lambda fields: "/".join(f"{field}={value}" for field, value in fields.items())
    ),
)
SETS = st.lists(CELLS, max_size=3)


def rows_of(cell: str) -> list[int]:
    """A reference: which of all rows are in a cell."""
    fields = fields_of(cell)
    assert fields is not None
    return [i for i, row in enumerate(ROWS) if all(row[f] == v for f, v in fields.items())]


@given(SETS, SETS)
def test_cells_overlap_if_and_only_if_they_share_a_row(one: list[str], other: list[str]) -> None:
    rows = [set().union(*map(rows_of, cells)) for cells in (one, other)]
    assert overlap(one, other) == bool(rows[0] & rows[1])


@given(SETS, SETS)
def test_overlap_does_not_ask_who_comes_first(one: list[str], other: list[str]) -> None:
    assert overlap(one, other) == overlap(other, one)


@given(CELLS)
def test_what_holds_no_rows_overlaps_with_itself_alone(cell: str) -> None:
    assert overlap([SHAPE], [SHAPE])
    assert not overlap([SHAPE], [cell])


def test_a_cell_of_another_form_is_apart_from_its_likes_and_within_the_whole() -> None:
    assert not overlap(["shard 1"], ["shard 2"])
    assert overlap(["shard 1"], ["shard 1"])
    assert overlap(["shard 1"], [WHOLE])


TOKENS = st.sampled_from([Token(f"r{n}/s1") for n in range(4)])
MINE = Token("r0/s1")


@st.composite
def histories(draw: st.DrawFn) -> History:
    count = draw(st.integers(0, 5))
    entries = [
        Entry(
            Version(f"v{number}"),
            draw(st.none() | TOKENS),
            "a1",
            burnt=draw(st.booleans()),
            changed=frozenset(draw(SETS)),
        )
        for number in range(count, 0, -1)
    ]
    return History(tuple(entries), complete=draw(st.booleans()))


def verdict(history: History, base: Version | None, overwrites: Sequence[str] = ()) -> object:
    try:
        return judge("table:a/b", history, MINE, base, overwrites)
    except PlanAgainError:
        return PlanAgainError


BASES = st.none() | st.integers(1, 5).map(lambda number: Version(f"v{number}"))


def since(history: History, base: Version | None) -> list[Entry]:
    versions = [entry.version for entry in history.entries]
    return list(history.entries[: versions.index(base)] if base in versions else history.entries)


@given(histories(), BASES, SETS)
def test_a_token_that_came_after_the_base_is_found_and_never_committed_again(
    history: History, base: Version | None, overwrites: list[str]
) -> None:
    mine = [entry for entry in since(history, base) if entry.token == MINE]
    found = verdict(history, base, overwrites)
    if mine:
        assert found not in (None, PlanAgainError)
        assert (found.version, found.burnt) == (mine[0].version, mine[0].burnt)  # type: ignore[attr-defined]
    else:
        assert found in (None, PlanAgainError)


@given(histories(), BASES, SETS)
def test_a_commit_goes_on_top_only_of_what_it_does_not_overwrite_unseen(
    history: History, base: Version | None, overwrites: list[str]
) -> None:
    if verdict(history, base, overwrites) is None:
        assert not any(overlap(overwrites, entry.changed) for entry in since(history, base))


@given(histories(), BASES)
def test_a_base_that_the_head_does_not_descend_from_asks_for_another_plan(
    history: History, base: Version | None
) -> None:
    versions = [entry.version for entry in history.entries]
    known = base in versions or (base is None and history.complete)
    mine = any(entry.token == MINE for entry in since(history, base))
    assert (verdict(history, base) is PlanAgainError) == (not known and not mine)


@given(histories(), BASES)
def test_a_commit_that_was_set_back_is_told_and_not_made_again(
    history: History, base: Version | None
) -> None:
    lost = History(history.entries, history.complete, frozenset({MINE}))
    assert verdict(lost, base) is not None


def test_the_error_names_who_changed_it_and_where() -> None:
    history = History((Entry(Version("v2"), author="spark", changed=frozenset({WHOLE})),))
    with pytest.raises(PlanAgainError, match=r"table:a/b was changed by spark \(version v2\)"):
        judge("table:a/b", history, MINE, None, (WHOLE,))


KEPT = {cell: CellState("m", "t") for cell in ("a=1", "a=2", SHAPE)}


@given(st.lists(st.frozensets(CELLS), max_size=3))
def test_what_outsiders_changed_is_theirs_and_the_rest_is_ours(
    commits: list[frozenset[str]],
) -> None:
    ours = Entry(Version("v0"), MINE, "a1", cells=KEPT)
    theirs = [Entry(Version(f"v{n}"), changed=cells) for n, cells in enumerate(commits, 1)]
    cells = History((*reversed(theirs), ours)).cells()
    changed = frozenset().union(*commits)
    for cell in KEPT:
        assert (cells[cell].meaning is None) == overlap([cell], changed)


@given(SETS)
def test_a_commit_that_preserves_rows_changes_no_data_version(overwrites: list[str]) -> None:
    history = History((Entry(Version("v1"), MINE, cells=KEPT),))
    change = Change("a1", makes={"a=1": "new"}, overwrites=tuple(overwrites), preserves_rows=True)
    assert change.cells_after(history, OTHER) == KEPT


@given(SETS)
def test_an_overwrite_forgets_what_it_replaced_and_nothing_else(overwrites: list[str]) -> None:
    history = History((Entry(Version("v1"), MINE, cells=KEPT),))
    after = Change("a1", overwrites=tuple(overwrites)).cells_after(history, OTHER)
    assert set(after) == {cell for cell in KEPT if not overlap([cell], overwrites)}


# -- things outside -----------------------------------------------------------------------------


class Folder:
    """`Objects` over a folder: a name is taken by a hard link, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.name = "a folder"
        self.path = path

    def get(self, name: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def create(self, name: str, content: bytes) -> bool:
        with tempfile.NamedTemporaryFile(dir=self.path) as file:
            file.write(content)
            file.flush()
            try:
                os.link(file.name, self.path / name)
            except FileExistsError:
                return False
        return True


class FolderWorld:
    def __init__(self, path: Path) -> None:
        self._folder = Folder(path)

    def target(self) -> ObjectTarget:
        return ObjectTarget(Folder(self._folder.path))

    def change(self, token: Token, attempt: str, rows: Mapping[str, Sequence[str]]) -> Change:
        content = "\n".join(name for names in rows.values() for name in names)
        return Change(attempt, makes={WHOLE: f"meaning of {token}"}, payload=content.encode())

    def rows(self) -> list[str]:
        found = (path.read_bytes() for path in sorted(self._folder.path.iterdir()))
        return [row for text in found if text != BURNT for row in text.decode().splitlines()]


class TestObjects(TargetConformance):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FolderWorld:
        return FolderWorld(tmp_path)


def test_of_eight_attempts_at_once_all_take_the_one_that_was_made(tmp_path: Path) -> None:
    ready = Barrier(8)

    def commit(number: int) -> object:
        ready.wait()
        change = Change(f"a{number}", payload=f"of {number}".encode() * 10_000)
        return ObjectTarget(Folder(tmp_path)).commit(MINE, None, change)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(commit, range(8)))
    made = [one for one in found if one.attempt is not None]  # type: ignore[attr-defined]
    assert len(made) == 1
    content = (tmp_path / object_name(MINE)).read_bytes()
    assert content == f"of {made[0].attempt[1:]}".encode() * 10_000  # type: ignore[attr-defined]


def test_a_thing_that_is_taken_and_then_gone_is_a_conflict(tmp_path: Path) -> None:
    class Vanishing(Folder):
        def create(self, name: str, content: bytes) -> bool:
            return False

    with pytest.raises(CommitConflictError, match="was taken, and then it was gone"):
        ObjectTarget(Vanishing(tmp_path)).commit(MINE, None, Change("a1", payload=b"x"))


RUN_IDS = st.uuids(version=4).map(str)


@given(RUN_IDS, st.integers(1, 999), RUN_IDS, st.integers(1, 999))
def test_an_objects_name_is_one_to_one_with_its_token(
    run: str, step: int, other_run: str, other_step: int
) -> None:
    one, other = Token(f"{run}/s{step}"), Token(f"{other_run}/s{other_step}")
    assert (object_name(one) == object_name(other)) == (one == other)
    assert len(object_name(one)) <= 63
