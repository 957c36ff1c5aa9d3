"""What every target is held to: one commit a token, whatever crashes, races or comes from outside.

Subclass `TargetConformance` (a target without a history: a thing outside) or `LogConformance` (a
table, a release) and define a fixture ``world`` that returns a `World`, or a `LogWorld`, over a new
and empty target::

    class TestMyTarget(LogConformance):
        @pytest.fixture
        def world(self, tmp_path):
            return MyWorld(tmp_path)
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from bowerbird.core import functions
from bowerbird.core.errors import PlanAgainError, UnavailableError
from bowerbird.core.targets import (
    WHOLE,
    Change,
    History,
    Log,
    LogTarget,
    Target,
    Token,
    Version,
)

ONE, OTHER = Token("r1/s1"), Token("r2/s1")
A, B = "part=a", "part=b"
"""Two cells that share no row: every world has them."""


class World(Protocol):
    """One target, seen through any number of handles."""

    def target(self) -> Target:
        """A new handle, as another process would open it."""
        ...

    def change(self, token: Token, attempt: str, rows: Mapping[str, Sequence[str]]) -> Change:
        """What an attempt would commit, its files written: cell -> names of the rows to add."""
        ...

    def rows(self) -> Sequence[str]:
        """The names of all rows that a reader sees, in any order."""
        ...


class LogWorld(World, Protocol):
    """A target that keeps a history; hooks that it cannot offer call ``pytest.skip``."""

    def log(self) -> Log: ...

    def foreign(self, cell: str, row: str) -> None:
        """Somebody outside the house adds a row, by their own means."""
        ...

    def set_back(self, version: Version) -> None:
        """Somebody sets the head back, by other means than ours."""
        ...

    def expire(self) -> None:
        """Forget every commit but the head."""
        ...

    def elsewhere(self) -> tuple[str, tuple[Any, ...]]:
        """``module:name`` and arguments of a function that opens a world like this in a process."""
        ...


class Hurried:
    """A clock that does not wait."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None: ...

    def back_off(self, attempt: int) -> None: ...


class Between:
    """A log with something happening just before, or just after, its first append."""

    def __init__(
        self,
        log: Log,
        before: Callable[[], object] = lambda: None,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = log.name
        self._log = log
        self._before: list[Callable[[], object]] = [before]
        self._after: list[Callable[[], object]] = [after]

    def load(self) -> History:
        return self._log.load()

    def append(self, onto: History, token: Token, change: Change | None) -> Version:
        if self._before:
            self._before.pop()()
        version = self._log.append(onto, token, change)
        if self._after:
            self._after.pop()()
        return version

    def files(self, token: Token, attempt: str) -> str:
        return self._log.files(token, attempt)

    def sweep(self, token: Token, keep: str | None) -> None:
        self._log.sweep(token, keep)

    def discard(self, token: Token, attempt: str) -> None:
        self._log.discard(token, attempt)


def overwriting(change: Change, *cells: str) -> Change:
    """The same change, in place of what the cells hold."""
    from msgspec.structs import replace

    return replace(change, overwrites=cells)


class TargetConformance:
    """Of every target."""

    def test_one_commit_a_token_over_any_number_of_attempts(self, world: World) -> None:
        target = world.target()
        base = target.read().version
        found = [
            target.commit(ONE, base, world.change(ONE, attempt, {A: [f"row of {attempt}"]}))
            for attempt in ("a1", "a2", "a3")
        ]
        assert {one.version for one in found} == {found[0].version}
        assert list(world.rows()) == ["row of a1"]

    def test_a_second_handle_takes_what_the_first_committed(self, world: World) -> None:
        base = world.target().read().version
        late = world.target()
        first = world.target().commit(ONE, base, world.change(ONE, "a1", {A: ["x"]}))
        second = late.commit(ONE, base, world.change(ONE, "a2", {A: ["x"]}))
        assert second.version == first.version
        assert list(world.rows()) == ["x"]

    def test_what_was_committed_is_found_by_its_token_and_by_no_other(self, world: World) -> None:
        target = world.target()
        base = target.read().version
        assert target.find(ONE, base) is None
        made = target.commit(ONE, base, world.change(ONE, "a1", {A: ["x"]}))
        found = world.target().find(ONE, base)
        assert found is not None
        assert found.version == made.version
        assert not found.burnt
        assert world.target().find(OTHER, base) is None

    def test_a_burnt_token_never_commits(self, world: World) -> None:
        target = world.target()
        base = target.read().version
        late = world.change(ONE, "a1", {A: ["x"]})
        assert target.burn(ONE).burnt
        assert world.target().commit(ONE, base, late).burnt
        assert list(world.rows()) == []

    def test_burning_what_has_committed_tells_of_the_commit(self, world: World) -> None:
        target = world.target()
        base = target.read().version
        made = target.commit(ONE, base, world.change(ONE, "a1", {A: ["x"]}))
        found = world.target().burn(ONE)
        assert (found.version, found.burnt) == (made.version, False)
        assert list(world.rows()) == ["x"]

    def test_burning_twice_is_burning_once(self, world: World) -> None:
        assert world.target().burn(ONE) == world.target().burn(ONE)


class LogConformance(TargetConformance):
    """Of every target that keeps a history."""

    def test_a_commit_that_comes_between_load_and_append_is_kept(self, world: LogWorld) -> None:
        world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["first"]}))
        base = world.target().read().version

        def meanwhile() -> None:
            third = Token("r3/s1")
            world.target().commit(third, base, world.change(third, "a1", {B: ["between"]}))

        target = LogTarget(Between(world.log(), before=meanwhile), Hurried())
        target.commit(ONE, base, world.change(ONE, "a1", {A: ["last"]}))
        assert Counter(world.rows()) == Counter(["first", "between", "last"])

    def test_an_answer_that_got_lost_makes_no_second_commit(self, world: LogWorld) -> None:
        def lost() -> None:
            raise UnavailableError("the line broke")

        base = world.target().read().version
        target = LogTarget(Between(world.log(), after=lost), Hurried())
        target.commit(ONE, base, world.change(ONE, "a1", {A: ["x"]}))
        assert list(world.rows()) == ["x"]

    def test_two_attempts_at_once_commit_once(self, world: LogWorld) -> None:
        base = world.target().read().version

        def other_attempt() -> None:
            world.target().commit(ONE, base, world.change(ONE, "a2", {A: ["of a2"]}))

        target = LogTarget(Between(world.log(), before=other_attempt), Hurried())
        found = target.commit(ONE, base, world.change(ONE, "a1", {A: ["of a1"]}))
        assert found.attempt == "a2"
        assert list(world.rows()) == ["of a2"]

    def test_an_overwrite_replaces_its_cells_and_no_others(self, world: LogWorld) -> None:
        target = world.target()
        target.commit(ONE, None, world.change(ONE, "a1", {A: ["old a"], B: ["old b"]}))
        base = target.read().version
        change = overwriting(world.change(OTHER, "a1", {A: ["new a"]}), A)
        target.commit(OTHER, base, change)
        assert Counter(world.rows()) == Counter(["new a", "old b"])

    def test_an_overwrite_of_nothing_leaves_nothing(self, world: LogWorld) -> None:
        target = world.target()
        target.commit(ONE, None, world.change(ONE, "a1", {A: ["old a"], B: ["old b"]}))
        base = target.read().version
        target.commit(OTHER, base, overwriting(world.change(OTHER, "a1", {}), WHOLE))
        assert list(world.rows()) == []

    def test_a_foreign_append_is_never_lost_to_an_append(self, world: LogWorld) -> None:
        world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["ours"]}))
        base = world.target().read().version
        world.foreign(A, "theirs")
        world.target().commit(ONE, base, world.change(ONE, "a1", {A: ["ours too"]}))
        assert Counter(world.rows()) == Counter(["ours", "theirs", "ours too"])

    def test_a_foreign_append_is_never_lost_to_an_overwrite(self, world: LogWorld) -> None:
        world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["ours"]}))
        base = world.target().read().version
        world.foreign(A, "theirs")
        change = overwriting(world.change(ONE, "a1", {A: ["instead"]}), A)
        with pytest.raises(PlanAgainError):
            world.target().commit(ONE, base, change)
        assert Counter(world.rows()) == Counter(["ours", "theirs"])

    def test_a_foreign_append_just_before_our_overwrite_is_not_lost(self, world: LogWorld) -> None:
        world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["ours"]}))
        base = world.target().read().version
        log = Between(world.log(), before=lambda: world.foreign(A, "theirs"))
        change = overwriting(world.change(ONE, "a1", {A: ["instead"]}), A)
        with pytest.raises(PlanAgainError):
            LogTarget(log, Hurried()).commit(ONE, base, change)
        assert Counter(world.rows()) == Counter(["ours", "theirs"])

    def test_what_others_change_elsewhere_does_not_stop_an_overwrite(self, world: LogWorld) -> None:
        world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["old"]}))
        base = world.target().read().version
        world.foreign(B, "theirs")
        change = overwriting(world.change(ONE, "a1", {A: ["new"]}), A)
        world.target().commit(ONE, base, change)
        assert Counter(world.rows()) == Counter(["new", "theirs"])

    def test_what_others_wrote_is_seen_as_written_outside(self, world: LogWorld) -> None:
        world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["ours"], B: ["ours"]}))
        world.foreign(A, "theirs")
        cells = world.target().read().cells
        assert cells[A].meaning is None
        assert cells[B].meaning is not None

    def test_a_base_that_was_set_back_asks_for_another_plan(self, world: LogWorld) -> None:
        first = world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["first"]}))
        third = Token("r3/s1")
        base = (
            world.target().commit(third, first.version, world.change(third, "a1", {B: ["x"]}))
        ).version
        world.set_back(first.version)
        with pytest.raises(PlanAgainError):
            world.target().commit(ONE, base, world.change(ONE, "a1", {A: ["late"]}))
        assert list(world.rows()) == ["first"]

    def test_a_commit_that_was_set_back_is_not_made_again(self, world: LogWorld) -> None:
        first = world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["first"]}))
        change = world.change(ONE, "a1", {A: ["second"]})
        world.target().commit(ONE, first.version, change)
        world.set_back(first.version)
        with pytest.raises(PlanAgainError):
            world.target().commit(ONE, first.version, world.change(ONE, "a2", {A: ["second"]}))
        assert list(world.rows()) == ["first"]

    def test_a_base_that_expired_asks_for_another_plan(self, world: LogWorld) -> None:
        base = world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["first"]})).version
        third = Token("r3/s1")
        world.target().commit(third, base, world.change(third, "a1", {B: ["second"]}))
        world.expire()
        with pytest.raises(PlanAgainError):
            world.target().commit(ONE, base, world.change(ONE, "a1", {A: ["late"]}))
        assert Counter(world.rows()) == Counter(["first", "second"])

    def test_the_state_of_every_cell_outlives_expiry(self, world: LogWorld) -> None:
        world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["first"]}))
        base = world.target().read().version
        world.target().commit(ONE, base, world.change(ONE, "a1", {B: ["second"]}))
        before = world.target().read().cells
        world.expire()
        assert world.target().read().cells == before
        assert set(before) == {A, B}

    def test_a_read_by_what_made_it_sees_that_commit_and_not_later_ones(
        self, world: LogWorld
    ) -> None:
        made = world.target().commit(ONE, None, world.change(ONE, "a1", {A: ["x"]}))
        world.target().commit(OTHER, made.version, world.change(OTHER, "a1", {B: ["y"]}))
        read = world.target().read(made_by=[ONE])
        assert read.version == made.version
        assert set(read.cells) == {A}
        with pytest.raises(PlanAgainError):
            world.target().read(made_by=[Token("r9/s9")])

    def test_appends_of_several_processes_are_all_there_and_none_twice(
        self, world: LogWorld, processes: int, commits: int
    ) -> None:
        world.target().commit(OTHER, None, world.change(OTHER, "a1", {A: ["first"]}))
        opener, args = world.elsewhere()
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(processes) as pool:
            pool.starmap(_commits, [(opener, args, n, commits) for n in range(processes)])
        wanted = [f"{n}.{i}" for n in range(processes) for i in range(commits)]
        assert Counter(world.rows()) == Counter(["first", *wanted])

    @pytest.fixture
    def processes(self) -> int:
        """How many processes commit at once."""
        return 3

    @pytest.fixture
    def commits(self) -> int:
        """How many commits each of them makes."""
        return 4


def _commits(opener: str, args: tuple[Any, ...], number: int, commits: int) -> None:
    """In a process of its own: each commit twice, as if the first answer had not come."""
    from bowerbird.core.clock import SystemClock

    world: LogWorld = functions.load(opener)(*args)
    for i in range(commits):
        token = Token(f"p{number}/s{i}")
        base = world.target().read().version
        for attempt in ("a1", "a2"):
            change = world.change(token, attempt, {A: [f"{number}.{i}"]})
            LogTarget(world.log(), SystemClock(), tries=200).commit(token, base, change)
