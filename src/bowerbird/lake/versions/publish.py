"""Publishing a branch: `main` moves to what was written and checked beside it, in one commit.

The commit is an empty snapshot on top of the branch's head. It carries the step's token and the
state of every cell, and both refs move to it, each held to where it was judged. So the commits of
the branch are commits of `main` from then on, and "did this step commit?" is answered by `main`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import PlanAgainError
from bowerbird.core.targets import History, Version

if TYPE_CHECKING:
    from pyiceberg.table import Transaction
    from pyiceberg.table.metadata import TableMetadata


class Publish(msgspec.Struct, frozen=True):
    """What a publishing step commits: the branch, and the head of it that was audited."""

    branch: str
    head: Version


def check(name: str, main: History, branch: History, wanted: Publish) -> None:
    """Raise `PlanAgainError` unless `main` can move to the branch's head and lose nothing."""
    if branch.head != wanted.head:
        raise PlanAgainError(
            f"{name}: branch {wanted.branch!r} is at {branch.head} by now",
            expected=f"its head as it was audited, {wanted.head}",
            fix="look at what was added to it, then publish again",
        )
    if main.head is not None and all(one.version != main.head for one in branch.entries):
        raise PlanAgainError(
            f"{name}: main has moved on to {main.head} since branch {wanted.branch!r} was made",
            expected="a branch that descends from main's head",
            fix="make the branch anew from main, and write to it again",
        )


def hold(tx: Transaction, main: str, main_head: Version | None, wanted: Publish) -> None:
    """Stage that neither ref may move between judging and committing.

    Before any update: of the same kind of requirement PyIceberg keeps those that came first.
    """
    from pyiceberg.table import update as pyiceberg_update

    update: Any = pyiceberg_update  # its constructors take what their types do not say
    held = ((main, main_head), (wanted.branch, wanted.head))
    tx._apply(
        (),
        tuple(
            update.AssertRefSnapshotId(ref=ref, snapshot_id=int(head) if head else None)
            for ref, head in held
        ),
    )


def move(tx: Transaction, main: str, version: int) -> None:
    """Stage that `main` is at a snapshot which the transaction has put onto the branch."""
    from pyiceberg.table import update as pyiceberg_update
    from pyiceberg.table.refs import SnapshotRefType

    update: Any = pyiceberg_update  # its constructors take what their types do not say
    kind = SnapshotRefType.BRANCH
    tx._apply((update.SetSnapshotRefUpdate(ref_name=main, type=kind, snapshot_id=version),))


def keep_retention(tx: Transaction, before: TableMetadata) -> None:
    """Have the refs that a transaction moves keep their retention: PyIceberg drops it."""
    from pyiceberg.table.update import SetSnapshotRefUpdate

    def kept(update: object) -> object:
        if not isinstance(update, SetSnapshotRefUpdate) or update.ref_name not in before.refs:
            return update
        ref = before.refs[update.ref_name]
        return update.model_copy(
            update={
                "max_ref_age_ms": ref.max_ref_age_ms,
                "max_snapshot_age_ms": ref.max_snapshot_age_ms,
                "min_snapshots_to_keep": ref.min_snapshots_to_keep,
            }
        )

    tx._updates = tuple(map(kept, tx._updates))  # type: ignore[arg-type] # of the types they were
