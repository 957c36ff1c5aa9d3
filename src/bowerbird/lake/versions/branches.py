"""Branches and tags: names for versions. A branch is written to beside `main`, audited, published.

Write to one through `TableLog(lake, ref, branch)`; read it by giving its name as the version; look
at what it changes with `bowerbird.lake.versions.diff`. Making and removing names commits no
snapshot and may be done any number of times; publishing is a commit with a token
(`bowerbird.lake.versions.publish`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import (
    CommitConflictError,
    ConflictError,
    PlanAgainError,
    RefError,
    UserError,
)
from bowerbird.core.faults import point
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Plan, Step
from bowerbird.core.refs import Ref
from bowerbird.core.targets import WHOLE, Change, Version
from bowerbird.lake import snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.failures import translated
from bowerbird.lake.log import TableLog
from bowerbird.lake.read import pinned
from bowerbird.lake.snapshots import MAIN
from bowerbird.lake.versions import publish

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.refs import SnapshotRef

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_TRIES = 60
_Made = TypeVar("_Made")


class NameKind(StrEnum):
    BRANCH = "branch"
    TAG = "tag"


class Retention(msgspec.Struct, frozen=True, omit_defaults=True):
    """What expiry leaves to a name; None: what the table says.

    age: days after which the name itself goes. versions: so many versions of a branch stay.
    version_age: days for which versions of a branch stay.
    """

    age: float | None = None
    versions: int | None = None
    version_age: float | None = None


class Name(msgspec.Struct, frozen=True):
    """A branch or a tag. at: when its version was made. own: commits of it that main has not;
    behind: commits of main that it has not."""

    name: str
    kind: NameKind
    version: str
    at: datetime
    own: int
    behind: int
    keep: Retention


class Placement(msgspec.Struct, frozen=True):
    """What making a branch or a tag does: `was` is where the name is now, None if there is none.

    version: where it will be; a branch that has gone on from there is left where it is.
    """

    name: str
    kind: NameKind
    version: str
    was: str | None
    changes: bool


class Publication(msgspec.Struct, frozen=True):
    """What publishing a branch changes: its commits, oldest first, and the cells that they changed.

    refused: why it cannot be, and what to do; empty if it can.
    """

    branch: str
    head: str
    main: str | None
    commits: tuple[str, ...]
    changed: tuple[str, ...]
    refused: str


def names(lake: Lake, ref: Ref | str) -> tuple[Name, ...]:
    """The branches and tags of a table, `main` first."""
    table = lake.load(ref)
    main = pinned(table, None)
    mains = [one.snapshot_id for one in snapshots.ancestors(table, main)[0]]
    found = []
    for name, one in table.metadata.refs.items():
        chain = [s.snapshot_id for s in snapshots.ancestors(table, one.snapshot_id)[0]]
        made = table.snapshot_by_id(one.snapshot_id)
        found.append(
            Name(
                name=name,
                kind=NameKind(str(one.snapshot_ref_type)),
                version=str(one.snapshot_id),
                at=datetime.fromtimestamp((made.timestamp_ms if made else 0) / 1000, UTC),
                own=len(set(chain) - set(mains)),
                behind=len(set(mains) - set(chain)),
                keep=_retention(one),
            )
        )
    return tuple(sorted(found, key=lambda one: (one.name != MAIN, one.name)))


def examine(
    lake: Lake, ref: Ref | str, name: str, kind: NameKind = NameKind.BRANCH, at: str | None = None
) -> Placement:
    """What `place` would do. Raises `UserError` where it would refuse."""
    return _placement(lake.load(ref), name, kind, at)


def place(
    lake: Lake,
    ref: Ref | str,
    name: str,
    kind: NameKind = NameKind.BRANCH,
    at: str | None = None,
    keep: Retention = Retention(),  # noqa: B008 - frozen
) -> Placement:
    """Make a branch or a tag at a version (None: the head of main). Made before: nothing to do.

    A branch without commits of its own moves forward to the version. Raises `UserError` for a name
    that is taken by something else.
    """
    return _retried(lambda: _place(lake.load(ref), name, kind, at, keep))


def remove(lake: Lake, ref: Ref | str, name: str, head: str | None = None) -> bool:
    """Take a branch or a tag away; False if there is none. Its versions are expiry's from then on.

    head: the version at which it is to be removed: `ConflictError` if it is at another by now.
    """
    return _retried(lambda: _remove(lake.load(ref), name, head))


def _remove(table: IcebergTable, name: str, head: str | None) -> bool:
    from pyiceberg.table import update as pyiceberg_update

    update: Any = pyiceberg_update  # its constructors take what their types do not say
    if name == MAIN:
        raise UserError("main cannot be removed", fix="bowerbird table drop, for all of the table")
    there = table.metadata.refs.get(name)
    if there is None:
        return False
    if head is not None and str(there.snapshot_id) != head:
        raise ConflictError(
            f"{'.'.join(table.name())}: {name!r} is at {there.snapshot_id} by now",
            expected=f"it at {head}",
            fix="look at what was added to it, then remove it again",
        )
    held = update.AssertRefSnapshotId(ref=name, snapshot_id=there.snapshot_id)
    _commit(table, update.RemoveSnapshotRefUpdate(ref_name=name), held)
    return True


def _place(
    table: IcebergTable, name: str, kind: NameKind, at: str | None, keep: Retention
) -> Placement:
    from pyiceberg.table import update as pyiceberg_update
    from pyiceberg.table.refs import SnapshotRefType

    update: Any = pyiceberg_update  # its constructors take what their types do not say
    found = _placement(table, name, kind, at)
    there = table.metadata.refs.get(name)
    if not found.changes and there is not None and keep in (Retention(), _retention(there)):
        return found
    placed = update.SetSnapshotRefUpdate(
        ref_name=name,
        type=SnapshotRefType(kind.value),
        snapshot_id=int(found.version),
        max_ref_age_ms=_milliseconds(keep.age),
        max_snapshot_age_ms=_milliseconds(keep.version_age),
        min_snapshots_to_keep=keep.versions,
    )
    held = update.AssertRefSnapshotId(ref=name, snapshot_id=there.snapshot_id if there else None)
    _commit(table, placed, held)
    return found


def _placement(table: IcebergTable, name: str, kind: NameKind, at: str | None) -> Placement:
    where = ".".join(table.name())
    if name == MAIN or not _NAME.fullmatch(name):
        raise UserError(
            f"{where}: {name!r} is no name for a {kind}",
            expected="a letter, then letters, digits and any of _.- (and not 'main')",
        )
    version = pinned(table, at)
    if version is None:
        raise UserError(
            f"{where} has no version yet, so there is nothing to give a name to",
            expected="a table that was written to",
        )
    there = table.metadata.refs.get(name)
    if there is None:
        return Placement(name, kind, str(version), None, changes=True)
    was = there.snapshot_id
    if str(there.snapshot_ref_type) != kind:
        raise UserError(f"{where}: {name!r} is a {there.snapshot_ref_type}", expected="a new name")
    if was == version:
        return Placement(name, kind, str(version), str(was), changes=False)
    if kind is NameKind.BRANCH and _descends(table, was, version):
        return Placement(name, kind, str(was), str(was), changes=False)
    if kind is NameKind.BRANCH and _descends(table, version, was):
        return Placement(name, kind, str(version), str(was), changes=True)
    raise UserError(
        f"{where}: {kind} {name!r} is at {was}, from where {version} does not go on",
        expected="a new name, or a branch without commits of its own",
        fix=f"remove {name!r} first, if what it holds may go",
    )


def _descends(table: IcebergTable, version: int, older: int) -> bool:
    return any(one.snapshot_id == older for one in snapshots.ancestors(table, version)[0])


def _retried(make: Callable[[], _Made]) -> _Made:
    """Once more when somebody else committed to the table in between."""
    clock = SystemClock()
    for attempt in range(1, _TRIES):
        try:
            return make()
        except CommitConflictError:
            clock.back_off(attempt)
    return make()


def _commit(table: IcebergTable, change: Any, held: Any) -> None:
    from pyiceberg.exceptions import CommitFailedException

    tx = table.transaction()
    tx._apply((change,), (held,))
    name = ".".join(table.name())
    point("lake.name.before")
    try:
        with translated(f"committing to {name}"):
            tx.commit_transaction()
    except CommitFailedException as error:
        raise CommitConflictError(f"{name} was changed between load and commit: {error}") from error
    point("lake.name.after")


def _milliseconds(days: float | None) -> int | None:
    return None if days is None else round(days * 86_400_000)


def _days(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 86_400_000


def _retention(ref: SnapshotRef) -> Retention:
    return Retention(
        _days(ref.max_ref_age_ms), ref.min_snapshots_to_keep, _days(ref.max_snapshot_age_ms)
    )


def publication(lake: Lake, ref: Ref | str, branch: str) -> Publication:
    """What publishing a branch would change, or why it cannot be. Changes nothing."""
    main, own = TableLog(lake, ref).load(), TableLog(lake, ref, branch).load()
    if own.head is None or branch == MAIN:
        raise RefError(
            f"{identifier(ref)} has no branch {branch!r} to publish",
            expected="a branch that was written to",
        )
    known = {entry.version for entry in main.entries}
    added = [entry for entry in own.entries if entry.version not in known]
    refused = "" if added else f"branch {branch!r} has no commit that main has not"
    try:
        publish.check(identifier(ref), main, own, publish.Publish(branch, own.head))
    except PlanAgainError as error:
        refused = str(error)
    return Publication(
        branch=branch,
        head=own.head,
        main=main.head,
        commits=tuple(str(entry.version) for entry in reversed(added)),
        changed=tuple(sorted({cell for entry in added for cell in entry.changed})),
        refused=refused,
    )


def plan_publish(lake: Lake, ref: Ref | str, branch: str) -> Plan:
    """A plan of one step that makes a branch's head main's; empty where main has it already.

    Raises `ConflictError` where main has moved on since the branch was made.
    """
    shown = publication(lake, ref, branch)
    if not shown.commits:
        return Plan()
    if shown.refused:
        raise ConflictError(shown.refused)
    definition = {"branch": branch, "head": shown.head}
    base = Version(shown.main) if shown.main else None
    return _plan("table.publish", str(ref), f"publish {branch}, as asked", definition, base)


def plan_name(
    kind: NameKind,
    ref: str,
    name: str,
    at: str,
    keep: Retention = Retention(),  # noqa: B008 - frozen
) -> Plan:
    """A plan of one step that makes a branch or a tag at a version."""
    definition = {"name": name, "at": at, "keep": msgspec.to_builtins(keep)}
    return _plan(f"table.{kind}", ref, f"{kind} {name} at {at}, as asked", definition, None)


def plan_removal(ref: str, name: str, head: str) -> Plan:
    """A plan of one step that takes a branch or a tag away, if it still is at `head`."""
    reason = f"remove {name}, as asked"
    return _plan("table.unname", ref, reason, {"name": name, "head": head}, None)


def _plan(kind: str, ref: str, reason: str, definition: Any, base: Version | None) -> Plan:
    step = Step("s1", kind, ref, reason, definition=definition, base=base)
    return Plan(steps=(step,), wants=digest([kind, ref, definition, base]))


def published(attempt: str, branch: str, head: str) -> Change:
    """The change that makes a branch's head main's."""
    return Change(
        attempt=attempt,
        # Stale once anybody has changed a row of main; itself it changes none of the branch's.
        overwrites=(WHOLE,),
        preserves_rows=True,
        payload=publish.Publish(branch, Version(head)),
        results={"branch": branch, "head": head},
    )
