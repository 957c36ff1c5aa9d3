"""Expiry: old snapshots go, and then the files that nothing needs any more.

Two steps. ``table.expire`` lists the files that only the snapshots in question need, in its
attempt's folder, and takes the snapshots out by one commit of its own, which carries the state of
every cell and moves the head: whoever judged the history before must look again. ``table.purge``
deletes what such lists name and what still nobody needs, and then the list. Whenever a process dies
in between, the list is there, and the next purge goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core import inside
from bowerbird.core.engine import Outcome, Task
from bowerbird.core.errors import CorruptError
from bowerbird.core.faults import point
from bowerbird.core.meaning import digest
from bowerbird.core.plans import Cost, Note, OutputOf, Plan, Step
from bowerbird.core.refs import Ref
from bowerbird.core.steps import Home, StepKind, TargetKind, Work
from bowerbird.core.targets import Change, Token, Version
from bowerbird.lake import log, snapshots
from bowerbird.lake.catalog import Lake, identifier, target_ref
from bowerbird.lake.failures import translated
from bowerbird.lake.upkeep import reach, retention
from bowerbird.lake.write import Written

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.refs import SnapshotRef
    from pyiceberg.table.snapshots import Snapshot

AGE = timedelta(days=7)
"""What is younger stays, unless a caller says otherwise."""

PENDING = "pending"
"""The result of an expiry's commit that names the list of what is to be deleted after it."""

BATCH = 500


class Old(msgspec.Struct, frozen=True):
    """One version that goes. by: the token of a step of ours, or empty."""

    version: str
    at: datetime
    by: str


class Expiry(msgspec.Struct, frozen=True):
    """What expiry of a table would do.

    kept: why -> how many versions stay for it. files, bytes: what only the versions that go need
    (bytes of data files and manifests). pending: lists of earlier expiries, not worked off yet.
    """

    name: str
    version: str | None
    goes: tuple[Old, ...]
    kept: dict[str, int]
    files: int
    bytes: int
    pending: tuple[str, ...] = ()


def examine(
    lake: Lake,
    ref: Ref | str,
    older_than: datetime,
    keep_last: int = 1,
    spared: Callable[[], Collection[Token]] = tuple,
    now: datetime | None = None,
) -> Expiry:
    """Which versions of a table would go, and what that frees. Changes nothing.

    older_than: a moment; what was committed since stays. keep_last: versions of each branch that
    stay whatever their age. spared: the tokens that runs may still look for (`Ledger.spared`); it
    is asked after the table was loaded, so that no commit is missed that a step has begun since.
    """
    table = lake.load(ref)
    nodes = [node_of(snapshot) for snapshot in table.metadata.snapshots]
    why = retention.staying(
        nodes,
        [name_of(name, found) for name, found in table.metadata.refs.items()],
        older_than=_millis(older_than),
        keep_last=keep_last,
        spared=frozenset(spared()),
        now=_millis(now or datetime.now(UTC)),
    )
    head = snapshots.head_of(table)
    gone = [] if head is None else [node for node in nodes if node.version not in why]
    freed = reach.freed(table, frozenset(node.version for node in gone)) if gone else {}
    return Expiry(
        name=identifier(ref),
        version=str(head.snapshot_id) if head else None,
        goes=tuple(
            Old(str(node.version), datetime.fromtimestamp(node.at / 1000, UTC), node.token or "")
            for node in gone
        ),
        kept=_counted(why.values()),
        files=len(freed),
        bytes=sum(freed.values()),
        pending=tuple(pending(table)),
    )


def node_of(snapshot: Snapshot) -> retention.Node:
    told = snapshot.summary.additional_properties if snapshot.summary else {}
    ours = told.get(log.TOKEN)
    exchanged = ("added-data-files", "deleted-data-files", "added-delete-files", "changed-files")
    return retention.Node(
        version=snapshot.snapshot_id,
        parent=snapshot.parent_snapshot_id,
        at=snapshot.timestamp_ms,
        token=ours,
        counts=ours is None or any(key in told for key in exchanged),
    )


def name_of(name: str, found: SnapshotRef) -> retention.Name:
    from pyiceberg.table.refs import SnapshotRefType

    return retention.Name(
        name=name,
        version=found.snapshot_id,
        branch=found.snapshot_ref_type == SnapshotRefType.BRANCH,
        keep_last=found.min_snapshots_to_keep,
        max_age=found.max_snapshot_age_ms,
    )


def plan_expiry(
    lake: Lake,
    ref: Ref | str,
    older_than: datetime,
    keep_last: int = 1,
    spared: Callable[[], Collection[Token]] = tuple,
) -> Plan:
    """A plan that takes old versions out and then deletes what only they needed.

    It names the versions, so what is committed after it was made is not in question: the tokens
    that are spared are those of the moment of the plan.
    """
    shown = examine(lake, ref, older_than, keep_last, spared)
    target = target_ref(ref)
    wants = digest([target, "expire", [old.version for old in shown.goes], list(shown.pending)])
    purge = Step(
        id="s2" if shown.goes else "s1",
        kind="table.purge",
        target=target,
        reason="what no version needs any more is deleted",
        definition={"purge": True},
        inputs={target: OutputOf(("s1",))} if shown.goes else {},
        cost=Cost(bytes=shown.bytes),
    )
    if not shown.goes:
        kept = ", ".join(f"{count} {why}" for why, count in sorted(shown.kept.items()))
        note = Note(target, f"every version stays ({kept or 'there is none'})")
        return Plan(steps=(purge,) if shown.pending else (), notes=(note,), wants=wants)
    step = Step(
        id="s1",
        kind="table.expire",
        target=target,
        reason=f"{len(shown.goes):,} versions of before {older_than:%Y-%m-%d %H:%M}, and "
        f"{shown.files:,} files that only they need",
        definition={"versions": [old.version for old in shown.goes]},
        base=Version(shown.version) if shown.version else None,
        cost=Cost(bytes=shown.bytes),
    )
    return Plan(steps=(step, purge), wants=wants)


# -- the commit ----------------------------------------------------------------------------------


def _expire_tasks(work: Work) -> Iterable[Task]:
    args = (work.home, work.step.target, tuple(work.step.definition["versions"]), work.files)
    return [Task(work.step.target, "bowerbird.lake.upkeep.expiry:prepare", args)]


def prepare(home: Home, ref: str, versions: Sequence[str], folder: str) -> dict[str, Any]:
    """Write the list of files that only these versions need; what the commit tells of it."""
    table = Lake(home).load(ref)
    going = frozenset(int(version) for version in versions)
    freed = reach.freed(table, going)
    paths = dict.fromkeys(freed)
    # An earlier expiry that is itself among those that go may not have been worked off.
    for path in pending(table, only=going):
        paths |= dict.fromkeys([*listed(table, path), reach.bare(path)])
    path = f"{folder}/expired.json"
    with translated(f"writing {path}"), table.io.new_output(path).create(overwrite=True) as file:
        file.write(msgspec.json.encode(list(paths)))
    point("lake.expire.listed")
    return {
        "versions": len(going & {one.snapshot_id for one in table.metadata.snapshots}),
        "files": len(freed),
        "bytes": sum(freed.values()),
        PENDING: path,
    }


def change(attempt: str, versions: Iterable[str], results: dict[str, Any]) -> Change:
    """The commit that takes versions out of a table's history. No row changes."""
    payload = Written(spec=None, expires=tuple(int(version) for version in versions))
    return Change(attempt, preserves_rows=True, payload=payload, results=results)


def _expire_change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    return change(work.attempt, work.step.definition["versions"], outcomes[0].result())


# -- deleting ------------------------------------------------------------------------------------


def pending(table: IcebergTable, only: Collection[int] | None = None) -> list[str]:
    """The lists that expiries (`only`: those with these versions) left and that are still there."""
    found = []
    for snapshot in table.metadata.snapshots:
        if only is not None and snapshot.snapshot_id not in only:
            continue
        told = snapshot.summary.additional_properties if snapshot.summary else {}
        path = msgspec.json.decode(told.get(log.RESULTS, "{}")).get(PENDING)
        if path and table.io.new_input(path).exists():
            found.append(path)
    return found


def listed(table: IcebergTable, path: str) -> list[str]:
    """The bare paths in a list. Raises `CorruptError`."""
    try:
        with translated(f"reading {path}"), table.io.new_input(path).open() as file:
            return msgspec.json.decode(file.read(), type=list[str])
    except (OSError, msgspec.DecodeError) as error:
        raise CorruptError(
            f"{'.'.join(table.name())}: {path}, which lists what an expiry freed, cannot be read: "
            f"{error}",
            expected="the list as the expiry wrote it",
            fix="delete it; bowerbird table clean finds the files later",
        ) from error


def purge(home: Home, ref: str) -> dict[str, int]:
    """Delete what expiries have freed. Done before, or by somebody else: nothing to do."""
    lake = Lake(home)
    table = lake.load(ref)
    lists = pending(table)
    # What was freed then may be needed by now: a rollback puts old files back.
    wanted = dict.fromkeys(path for one in lists for path in listed(table, one))
    free = reach.unneeded(table, wanted)
    point("lake.purge.before")
    for start in range(0, len(free), BATCH):
        inside.tell(done=start, total=len(free))
        lake.files.delete(map(lake.files.named, free[start : start + BATCH]))
        point("lake.purge.between")
    lake.files.delete(lists)
    lake.files.prune(f"{table.location()}/data")
    inside.tell(done=len(free), total=len(free))
    return {"files": len(free)}


def _purge_tasks(work: Work) -> Iterable[Task]:
    args = (work.home, work.step.target)
    return [Task(work.step.target, "bowerbird.lake.upkeep.expiry:purge", args)]


def _purge_change(work: Work, outcomes: Sequence[Outcome]) -> Change:
    return Change(work.attempt, results=outcomes[0].result())


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for reason in reasons:
        found[reason] = found.get(reason, 0) + 1
    return found


EXPIRE = StepKind(target=TargetKind.TABLE, tasks=_expire_tasks, change=_expire_change)
PURGE = StepKind(target=TargetKind.NONE, tasks=_purge_tasks, change=_purge_change, repeatable=True)
