"""Where a step commits, and the one loop by which it does.

A *target* keeps a history of commits, newest first. A step's commit carries a *token* (run/step,
the same for every attempt), so "did this step commit?" is answered by the history and by nothing
else: a lease only saves work. A table and a release keep such a history themselves (`Log`, with
`LogTarget` around it); a thing in an outside system has none, so its name comes from the token
(`ObjectTarget`).

What can happen between the plan's base and the present head is decided by `judge`, a pure function;
`docs/protocol.md` numbers the rules, and the simulation in ``tests/simulation`` explores them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NewType, Protocol

import msgspec

from bowerbird.core.clock import Clock
from bowerbird.core.errors import CommitConflictError, PlanAgainError, UnavailableError

Token = NewType("Token", str)
"""``run/step``: the same for every attempt at a step."""

Version = NewType("Version", str)
"""The name of one commit in a target's history: a snapshot id, a release id."""

WHOLE = "*"
"""The cell that stands for all rows of a target.

A part of the rows is ``field=value``, or several joined by ``/`` where all must hold (a partition
path: ``at_day=2017-10-02/household_id_bucket=3``). What holds no rows begins with ``#``.
"""

SHAPE = "#shape"
"""The cell that stands for what a target is, apart from its rows: that it exists, its columns."""


class CellState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a target says of one of its cells.

    meaning: hash of what was computed; None when somebody outside the house wrote the rows.
    data: the data version: the token of the commit that last changed the cell's rows, or
      ``outside:<version>``. A commit that preserves rows (a compaction) leaves it.
    held: hash of the definition that was rolled back here, and is not to be made again by itself.
    """

    meaning: str | None
    data: str
    held: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """One commit in a target's history.

    meaning: hash of the meaning tree of the step that committed, as the ledger keeps it.
    results: small figures that the step reported.
    changed: the cells whose rows this commit changed; `WHOLE` among them means all.
    cells: the state of every cell after it. Only our commits carry it (None otherwise), so a
      history that was cut short by expiry still tells the state.
    """

    version: Version
    token: Token | None = None
    attempt: str | None = None
    meaning: str | None = None
    results: Mapping[str, Any] = {}
    burnt: bool = False
    changed: frozenset[str] = frozenset()
    cells: Mapping[str, CellState] | None = None
    author: str = ""


class History(msgspec.Struct, frozen=True):
    """The chain of commits from the head back, and whether it reaches the beginning.

    complete: False where older commits were expired: what lies before is not known.
    elsewhere: tokens of commits that exist but that the head does not descend from: somebody set
      the head back by other means than ours.
    """

    entries: tuple[Entry, ...] = ()
    complete: bool = True
    elsewhere: frozenset[Token] = frozenset()

    @property
    def head(self) -> Version | None:
        return self.entries[0].version if self.entries else None

    def cells(self) -> dict[str, CellState]:
        """The state of every cell at the head, commits from outside the house counted in."""
        outside: list[Entry] = []
        for entry in self.entries:
            if entry.cells is not None:
                state = dict(entry.cells)
                break
            outside.append(entry)
        else:
            state = {}
        for entry in reversed(outside):
            if not entry.changed:
                continue
            written = CellState(meaning=None, data=f"outside:{entry.version}")
            touched = [cell for cell in state if overlap((cell,), entry.changed)]
            for cell in [*touched, *entry.changed]:
                state[cell] = written
        return state


class Change(msgspec.Struct, frozen=True):
    """What an attempt at a step wants to commit.

    meaning: hash of the step's meaning tree; the executor fills it in.
    makes: cell -> meaning that the commit makes current; None where the rows that it brings back
      were written by somebody outside the house (a rollback).
    overwrites: the cells whose present rows it replaces; none for a pure append.
    guards: the cells that it read and that must not have changed since its base, either (a merge).
    holds: cell -> hash of the definition that must not be made again by itself (a rollback).
    payload: what the target's log understands: data files, a folder; opaque here.
    preserves_rows: a rewrite that changes no row (a compaction): data versions stay.
    results: small figures that the step reports (rows, bytes); they are part of the commit.
    """

    attempt: str
    meaning: str = ""
    makes: Mapping[str, str | None] = {}
    overwrites: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    holds: Mapping[str, str] = {}
    payload: Any = None
    preserves_rows: bool = False
    results: Mapping[str, Any] = {}

    def cells_after(self, history: History, token: Token) -> dict[str, CellState]:
        """The state of every cell once this change stands on top of `history`."""
        state = history.cells()
        if self.preserves_rows:
            return state
        for cell in [c for c in state if overlap((c,), self.overwrites)]:
            del state[cell]
        for cell, meaning in self.makes.items():
            state[cell] = CellState(meaning=meaning, data=token, held=self.holds.get(cell))
        return state


class Committed(msgspec.Struct, frozen=True):
    """The commit that carries a token: ours, an earlier attempt's, or the one that burnt it."""

    version: Version
    attempt: str | None
    meaning: str | None = None
    results: Mapping[str, Any] = {}
    burnt: bool = False


class Read(msgspec.Struct, frozen=True):
    """A target as of one version: what a reader pins, and the data version that a meaning takes."""

    version: Version | None = None
    cells: Mapping[str, CellState] = {}
    pinned: str | None = None
    """The data version, where a plan pinned it and the cells are not at hand."""

    @property
    def data(self) -> str:
        """The data version of the whole target."""
        if self.pinned is not None:
            return self.pinned
        rows = (state.data for cell, state in self.cells.items() if not cell.startswith("#"))
        versions = sorted(set(rows))
        return ",".join(versions) or (self.version or "")


class Target(Protocol):
    """Where a step commits. `bowerbird.testing.target_conformance` holds every target to this."""

    def read(self, made_by: Iterable[Token] = ()) -> Read:
        """The target at its head; or as of the last commit of those that carry these tokens.

        Raises `PlanAgainError` if the head does not descend from all of them.
        """
        ...

    def history(self) -> History:
        """The commits that lead to the head, newest first; empty for what keeps none."""
        ...

    def find(self, token: Token, base: Version | None) -> Committed | None:
        """The commit that carries `token`, or None. Raises `PlanAgainError` when it cannot tell."""
        ...

    def commit(self, token: Token, base: Version | None, change: Change) -> Committed:
        """Commit once, whatever was tried before. Raises `PlanAgainError` if the plan is stale."""
        ...

    def burn(self, token: Token) -> Committed:
        """Make sure that `token` can never commit from now on.

        Returns the commit that carries it: an earlier real one (too late to cancel) or the empty
        one that burnt it.
        """
        ...

    def reaches(self, base: Version | None) -> bool:
        """Whether the history goes back to `base` without a gap. Where it does not, a commit may
        have been expired by others, and files of attempts that look uncommitted may be in use."""
        ...

    def files(self, token: Token, attempt: str) -> str:
        """The folder for one attempt's files; empty where a target has none."""
        ...

    def sweep(self, token: Token, keep: str | None) -> None:
        """Delete the files of every attempt but `keep`, once the token is committed or burnt."""
        ...

    def discard(self, token: Token, attempt: str) -> None:
        """Delete the files of one attempt that ended without a commit."""
        ...


class Log(Protocol):
    """A target that keeps its own history, one commit on top of another."""

    name: str

    def load(self) -> History:
        """The present history."""
        ...

    def append(self, onto: History, token: Token, change: Change | None) -> Version:
        """One commit, with `onto.head` as its precondition; an empty, burnt one without `change`.

        Raises `CommitConflictError` when the head is another by now; nothing was written then.
        """
        ...

    def files(self, token: Token, attempt: str) -> str: ...

    def sweep(self, token: Token, keep: str | None) -> None: ...

    def discard(self, token: Token, attempt: str) -> None: ...


def overlap(cells: Iterable[str], changed: Iterable[str]) -> bool:
    """Whether two sets of cells share a row.

    Two cells share none if they give one field different values; without a field in common they
    do: some row of the day may be in the bucket.
    """
    one, other = set(cells), set(changed)
    if not one.isdisjoint(other):
        return True
    return any(_meet(fields_of(a), fields_of(b)) for a in one for b in other)


def _meet(one: Mapping[str, str] | None, other: Mapping[str, str] | None) -> bool:
    if one is None or other is None:
        return False
    return all(other.get(field, value) == value for field, value in one.items())


@lru_cache(maxsize=65536)
def fields_of(cell: str) -> Mapping[str, str] | None:
    """``a=1/b=2`` -> its fields; `WHOLE` has none; a cell of another form is one nameless field.

    None for a cell that holds no rows.
    """
    if cell == WHOLE:
        return {}
    if cell.startswith("#"):
        return None
    parts = [part.partition("=") for part in cell.split("/")]
    if all(equals for _, equals, _ in parts):
        return {field: value for field, _, value in parts}
    return {"": cell}


def judge(
    name: str, history: History, token: Token, base: Version | None, overwrites: Iterable[str]
) -> Committed | None:
    """May `token` commit on top of this history? None: yes. A `Committed`: it did already.

    Raises `PlanAgainError` when the base is no longer an ancestor of the head, or when somebody
    changed what the step would overwrite.
    """
    since: list[Entry] = []
    for entry in history.entries:
        if entry.version == base:
            break
        if (found := carried((entry,), token)) is not None:
            return found
        since.append(entry)
    else:
        if base is not None or not history.complete:
            raise PlanAgainError(
                f"{name} no longer descends from {base or 'its beginning'}, which the plan read",
                expected="a history that was neither expired nor rolled back since the plan",
                fix="bowerbird apply (it plans again)",
            )
    if token in history.elsewhere:
        raise PlanAgainError(
            f"{name} was set back to before {token} committed, by other means than ours",
            expected="a head that descends from the step's commit",
            fix="bowerbird plan, to see what is stale now",
        )
    for entry in since:
        if overlap(overwrites, entry.changed):
            raise PlanAgainError(
                f"{name} was changed by {entry.author or entry.token or 'somebody'} "
                f"(version {entry.version}) where this step would overwrite it",
                expected="no other change since the plan was made",
                fix="bowerbird plan, to see what would be replaced",
            )
    return None


def carried(entries: Iterable[Entry], token: Token) -> Committed | None:
    """The commit among these that carries the token."""
    for entry in entries:
        if entry.token == token:
            return Committed(
                entry.version, entry.attempt, entry.meaning, entry.results, entry.burnt
            )
    return None


class LogTarget:
    """A target over a log: the commit loop.

    Load the head; if the token is there, take it; if the plan is stale, say so; else commit with
    the head as precondition, and on conflict start from the top. An answer that got lost
    (`UnavailableError`) is a conflict too: only the history knows whether the commit went through.
    """

    def __init__(self, log: Log, clock: Clock, tries: int = 60) -> None:
        self._log = log
        self._clock = clock
        self._tries = tries

    def history(self) -> History:
        return self._log.load()

    def read(self, made_by: Iterable[Token] = ()) -> Read:
        history = self._log.load()
        wanted = set(made_by)
        if missing := wanted - {entry.token for entry in history.entries}:
            raise PlanAgainError(
                f"{self._log.name} no longer descends from the commit of {min(missing)}",
                expected="what an earlier step of this run made",
                fix="bowerbird apply (it plans again)",
            )
        for index, entry in enumerate(history.entries):
            if not wanted or entry.token in wanted:
                at = msgspec.structs.replace(history, entries=history.entries[index:])
                return Read(at.head, at.cells())
        return Read()

    def find(self, token: Token, base: Version | None) -> Committed | None:
        return judge(self._log.name, self._log.load(), token, base, ())

    def commit(self, token: Token, base: Version | None, change: Change) -> Committed:
        return self._loop(token, (base, change))

    def burn(self, token: Token) -> Committed:
        return self._loop(token, None)

    def reaches(self, base: Version | None) -> bool:
        history = self._log.load()
        if base is None:
            return history.complete
        return any(entry.version == base for entry in history.entries)

    def files(self, token: Token, attempt: str) -> str:
        return self._log.files(token, attempt)

    def sweep(self, token: Token, keep: str | None) -> None:
        self._log.sweep(token, keep)

    def discard(self, token: Token, attempt: str) -> None:
        self._log.discard(token, attempt)

    def _loop(self, token: Token, change: tuple[Version | None, Change] | None) -> Committed:
        """Append `change` onto its base; or, without one, the empty commit that burns the token.

        Burning looks at no base: it must move the head even where the base is gone, because a
        process that judged the history before that may be just about to append onto this head.
        """
        unheard = False
        for attempt in range(1, self._tries + 1):
            try:
                history = self._log.load()
                found = self._judge(history, token, change)
                if found is not None:
                    return found
                version = self._log.append(history, token, change[1] if change else None)
            except (CommitConflictError, UnavailableError) as error:
                unheard = unheard or isinstance(error, UnavailableError)
                if attempt == self._tries:
                    raise
                self._clock.back_off(attempt)
            except PlanAgainError as error:
                if not unheard:
                    raise
                # One of our commits may have gone through before the history was cut.
                raise UnavailableError(f"{error.problem}; an earlier answer was lost") from error
            else:
                if change is None:
                    return Committed(version, None, burnt=True)
                made = change[1]
                return Committed(version, made.attempt, made.meaning, made.results)
        raise AssertionError("unreachable: the last try returns or raises")

    def _judge(
        self, history: History, token: Token, change: tuple[Version | None, Change] | None
    ) -> Committed | None:
        if change is None:
            return carried(history.entries, token)
        base, wanted = change
        held = (*wanted.overwrites, *wanted.guards)
        return judge(self._log.name, history, token, base, held)


BURNT = b"burnt"


class Objects(Protocol):
    """A system outside in which a thing can be made under a name, once."""

    name: str

    def get(self, name: str) -> bytes | None: ...

    def create(self, name: str, content: bytes) -> bool:
        """Make it, whole or not at all; False when the name is taken already."""
        ...


class ObjectTarget:
    """A thing in an outside system: its name comes from the token, "already exists" means found.

    It has no history, so there is no base to check; what a newer plan wants has another token.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def history(self) -> History:
        return History()

    def read(self, made_by: Iterable[Token] = ()) -> Read:
        names = [object_name(token) for token in made_by]
        return Read(Version(names[-1]) if names else None)

    def find(self, token: Token, base: Version | None) -> Committed | None:
        name = object_name(token)
        content = self._objects.get(name)
        if content is None:
            return None
        return Committed(Version(name), None, burnt=content == BURNT)

    def commit(self, token: Token, base: Version | None, change: Change) -> Committed:
        name = object_name(token)
        if self._objects.create(name, change.payload):
            return Committed(Version(name), change.attempt, change.meaning, change.results)
        return self._taken(token)

    def burn(self, token: Token) -> Committed:
        name = object_name(token)
        if self._objects.create(name, BURNT):
            return Committed(Version(name), None, burnt=True)
        return self._taken(token)

    def reaches(self, base: Version | None) -> bool:
        return True

    def files(self, token: Token, attempt: str) -> str:
        return ""  # an object is made in one call: its attempts have no files

    def sweep(self, token: Token, keep: str | None) -> None:
        """Nothing to sweep: an object is made in one call."""

    def discard(self, token: Token, attempt: str) -> None:
        """Nothing to discard, for the same reason."""

    def _taken(self, token: Token) -> Committed:
        found = self.find(token, None)
        if found is None:
            raise CommitConflictError(
                f"{self._objects.name}: {object_name(token)} was taken, and then it was gone",
                expected="things made by a run to stay until the run has ended",
            )
        return found


def object_name(token: Token) -> str:
    """A name that most systems take (a DNS label), one to one with the token."""
    return "bowerbird-" + token.replace("/", "-").replace("_", "-")
