"""A branch of a table as a log of commits: token, attempt and cells lie in each snapshot itself.

`core.targets.LogTarget` is the commit loop around this. Nothing here decides whether a step may
commit; `append` makes one snapshot whose precondition is the head that the loop has judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import CommitConflictError, CorruptError, RefError
from bowerbird.core.faults import point
from bowerbird.core.refs import Ref
from bowerbird.core.targets import WHOLE, Change, Entry, History, Token, Version
from bowerbird.lake import evolve, kept, layouts, snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.exchange import Files, exchange
from bowerbird.lake.failures import translated
from bowerbird.lake.specs import Table
from bowerbird.lake.versions import publish
from bowerbird.lake.versions.publish import Publish

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table import Transaction
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.update.snapshot import _SnapshotProducer

    from bowerbird.lake.write import Written

TOKEN = "bowerbird.token"  # noqa: S105 - a key of the snapshot's summary
ATTEMPT = "bowerbird.attempt"
MEANING = "bowerbird.meaning"
RESULTS = "bowerbird.results"
BURNT = "bowerbird.burnt"
CELLS = "bowerbird.cells"
CHANGED = "bowerbird.changed"
PRESERVES = "bowerbird.preserves-rows"

LOOKED_INTO = 64
"""So many of the newest snapshots of others are read to see what they changed; of older ones it is
taken that they changed everything, which may make a plan stale and never loses a row."""


class TableLog:
    """The history of one branch of a table: of `MAIN`, which readers see, unless told another."""

    def __init__(self, lake: Lake, ref: Ref | str, branch: str = snapshots.MAIN) -> None:
        self.name = identifier(ref)
        self.branch = branch
        self._lake = lake
        self.table: IcebergTable | None = None  # as it was loaded last
        self._changed: dict[int, frozenset[str]] = {}

    def load(self) -> History:
        table = self.table = self._lake.find(self.name)
        if table is None:
            return History()
        if self.branch != snapshots.MAIN:
            _check_branch(table, self.branch)
        head = snapshots.head_of(table, self.branch)
        chain, complete = snapshots.ancestors(table, head.snapshot_id if head else None)
        inside = {snapshot.snapshot_id for snapshot in chain}
        aside = (s for s in table.metadata.snapshots if s.snapshot_id not in inside)
        tokens = (_told(snapshot).get(TOKEN) for snapshot in aside)
        return History(
            entries=tuple(self._entries(table, chain)),
            complete=complete,
            elsewhere=frozenset(Token(token) for token in tokens if token),
        )

    def append(self, onto: History, token: Token, change: Change | None) -> Version:
        try:
            return self._append(onto, token, change)
        except FileNotFoundError as error:
            self._gone(error)
            raise

    def _append(self, onto: History, token: Token, change: Change | None) -> Version:
        payload: Written | Publish | None = change.payload if change else None
        published = payload if isinstance(payload, Publish) else None
        written = None if isinstance(payload, Publish) else payload
        table = self._table_at(onto, written.spec if written else None)
        _no_retry(table)
        tx = table.transaction()
        new: Files = ()
        gone: Files = ()
        deletes = written.deletes if written is not None else ()
        deleted_in = written.deleted_in if written is not None else {}
        if change is not None and written is not None:
            if written.spec is not None:
                evolve.evolve(tx, self.name, written.spec)
            new, gone = exchange(table, self.branch, tx.table_metadata, change, written)
        metadata = tx.table_metadata  # made anew, all of it, each time that it is asked for
        branch, below = self.branch, onto
        if published is not None:
            branch = published.branch
            below = TableLog(self._lake, self.name, branch).load()
            publish.check(self.name, onto, below, published)
            publish.hold(tx, self.branch, onto.head, published)
        touched = {snapshots.path_of(metadata, file) for file in (*new, *gone, *deletes)}
        summary = _summary(below, token, change, touched)
        kept.store(table, summary, CELLS)
        if gone or deletes:
            done = {file.file_path for file in gone}.union(deleted_in)
            producer: _SnapshotProducer[Any] = _overwrite(table, tx, branch, summary, deletes, done)
        else:
            snapshot = tx.update_snapshot(snapshot_properties=summary, branch=branch)
            producer = snapshot.fast_append()
        for file in gone:
            producer.delete_data_file(file)
        layouts.add_files(producer, new, metadata)
        producer.commit()
        if published is not None:
            publish.move(tx, self.branch, producer.snapshot_id)
        publish.keep_retention(tx, table.metadata)
        if written is not None and written.expires:
            from bowerbird.lake.upkeep.forgetting import forget

            forget(tx, table, self.branch, written.expires)
        point("lake.commit.before")
        self._commit(tx)
        point("lake.commit.after")
        return Version(str(producer.snapshot_id))

    def files(self, token: Token, attempt: str) -> str:
        self._lake.prepare(self.name)
        return self._folder(token, attempt)

    def _folder(self, token: Token, attempt: str) -> str:
        return f"{self._lake.location(self.name)}/data/{token}/{attempt}"

    def sweep(self, token: Token, keep: str | None) -> None:
        self._lake.files.sweep(f"{self._lake.location(self.name)}/data/{token}", keep)

    def discard(self, token: Token, attempt: str) -> None:
        self._lake.files.sweep(self._folder(token, attempt), None)

    def _entries(self, table: IcebergTable, chain: Iterable[Snapshot]) -> Iterable[Entry]:
        others = 0
        for snapshot in chain:
            told = _told(snapshot)
            if TOKEN in told:
                yield _ours(table, snapshot, told)
                continue
            others += 1
            yield Entry(
                version=Version(str(snapshot.snapshot_id)),
                changed=self._changed_by(table, snapshot, others),
                author=told.get("engine-name") or told.get("app-id") or "somebody else",
            )

    def _changed_by(self, table: IcebergTable, snapshot: Snapshot, nth: int) -> frozenset[str]:
        known = self._changed.get(snapshot.snapshot_id)
        if known is None:
            if nth > LOOKED_INTO:
                return frozenset([WHOLE])
            known = self._changed[snapshot.snapshot_id] = snapshots.changed_by(table, snapshot)
        return known

    def _table_at(self, onto: History, spec: Table | None) -> IcebergTable:
        """The table with the head that the history ends at; made if there is to be none yet.

        The commit holds the head to it once more, in the database.
        """
        table = self.table or self._lake.find(self.name)
        if table is None and onto.head is None:
            table = self._lake.make(self.name, spec)
        head = snapshots.head_of(table, self.branch) if table is not None else None
        version = str(head.snapshot_id) if head else None
        if table is None or version != onto.head:
            raise CommitConflictError(
                f"{self.name} is at {version} by now", expected=f"its head at {onto.head}"
            )
        return table

    def _gone(self, error: FileNotFoundError) -> None:
        """Metadata that we loaded is not there: the table was dropped or expired meanwhile."""
        now = self._lake.find(self.name)
        if now is None or self.table is None or now.metadata != self.table.metadata:
            raise CommitConflictError(
                f"{self.name} was changed between load and commit: {error}",
                expected="its head as it was loaded",
            ) from error

    def _commit(self, tx: Transaction) -> None:
        from pyiceberg.exceptions import (
            CommitFailedException,
            NoSuchTableError,
            ValidationException,
        )

        try:
            with translated(f"committing to {self.name}"):
                tx.commit_transaction()
        except (CommitFailedException, NoSuchTableError, ValidationException) as error:
            raise CommitConflictError(
                f"{self.name} was changed between load and commit: {error}",
                expected="its head as it was loaded",
            ) from error


def _overwrite(
    table: IcebergTable,
    tx: Transaction,
    branch: str,
    summary: dict[str, str],
    adds: Files,
    done: Collection[str],
) -> _SnapshotProducer[Any]:
    from bowerbird.lake.deletes import Overwrite, left_over

    return Overwrite(tx, branch, summary, adds, left_over(table, branch, done))


def _check_branch(table: IcebergTable, branch: str) -> None:
    """Raise `RefError` for a branch that was not made: a commit would begin it from nothing."""
    ref = table.metadata.refs.get(branch)
    if ref is None or str(ref.snapshot_ref_type) != "branch":
        raise RefError(
            f"{'.'.join(table.name())} has no branch {branch!r}",
            expected="a branch that was made before it is written to",
            fix=f"bowerbird table branch … {branch}",
        )


def _told(snapshot: Snapshot) -> dict[str, str]:
    # Not by its truth: that counts what the summary holds, for every snapshot of every load.
    return snapshot.summary.additional_properties if snapshot.summary is not None else {}


def _ours(table: IcebergTable, snapshot: Snapshot, told: dict[str, str]) -> Entry:
    name = ".".join(table.name())
    try:
        return Entry(
            version=Version(str(snapshot.snapshot_id)),
            token=Token(told[TOKEN]),
            attempt=told.get(ATTEMPT),
            meaning=told.get(MEANING),
            results=msgspec.json.decode(told.get(RESULTS, "{}")),
            burnt=BURNT in told,
            changed=frozenset(msgspec.json.decode(told[CHANGED], type=list[str])),
            cells=kept.cells(table, told, CELLS),
        )
    except (KeyError, msgspec.DecodeError) as error:
        raise CorruptError(
            f"{name}: snapshot {snapshot.snapshot_id} carries a token and no cells that can be "
            f"read: {error}",
            expected=f"{CELLS} and {CHANGED} as this house writes them",
        ) from error


def _summary(
    onto: History, token: Token, change: Change | None, touched: set[str]
) -> dict[str, str]:
    """What the snapshot says of itself. Cells are cumulative, so expiry loses no state.

    touched: the partitions whose files it exchanges. A change that names no cell changes these.
    """
    if change is None:
        changed: set[str] = set()
        cells = onto.cells()
    else:
        if not (change.makes or change.overwrites or change.preserves_rows):
            makes = dict.fromkeys(touched, change.meaning or None)
            change = msgspec.structs.replace(change, makes=makes)
        cells = change.cells_after(onto, token)
        changed = {*change.makes, *change.overwrites}
    summary = {TOKEN: token, CELLS: msgspec.json.encode(cells).decode()}
    if change is None:
        summary[BURNT] = "true"
    else:
        summary[ATTEMPT] = change.attempt
        if change.meaning:
            summary[MEANING] = change.meaning
        if change.results:
            summary[RESULTS] = msgspec.json.encode(change.results).decode()
        if change.preserves_rows:
            changed = set()
            summary[PRESERVES] = "true"
    summary[CHANGED] = msgspec.json.encode(sorted(changed)).decode()
    return summary


def _no_retry(table: IcebergTable) -> None:
    """Turn PyIceberg's silent rebase off on this handle, whatever the table's properties say."""
    metadata: Any = table.metadata
    table.metadata = metadata.model_copy(
        update={"properties": {**metadata.properties, **evolve.NO_RETRY}}
    )
