"""A table as a log of commits: the token, the attempt and the cells lie in each snapshot itself.

`core.targets.LogTarget` is the commit loop around this. Nothing here decides whether a step may
commit; `append` makes one snapshot whose precondition is the head that the loop has judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import CommitConflictError, CorruptError, PlanAgainError, UserError
from bowerbird.core.faults import point
from bowerbird.core.refs import Ref
from bowerbird.core.targets import WHOLE, CellState, Change, Entry, History, Token, Version
from bowerbird.lake import evolve, snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.failures import translated
from bowerbird.lake.specs import Table

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table import Transaction
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

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
    """The history of one table."""

    def __init__(self, lake: Lake, ref: Ref | str) -> None:
        self.name = identifier(ref)
        self._lake = lake
        self._seen: IcebergTable | None = None
        self._changed: dict[int, frozenset[str]] = {}

    def load(self) -> History:
        table = self._seen = self._lake.find(self.name)
        if table is None:
            return History()
        head = snapshots.head_of(table)
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
        from bowerbird.lake.transaction import HouseTransaction

        written: Written | None = change.payload if change else None
        table = self._table_at(onto, written.spec if written else None)
        _no_retry(table)
        tx = HouseTransaction(table)
        new: tuple[DataFile, ...] = ()
        gone: tuple[DataFile, ...] = ()
        if change is not None and written is not None:
            if written.spec is not None:
                evolve.evolve(tx, self.name, written.spec)
            _check_columns(self.name, tx, written)
            new, gone = _exchange(self.name, table, tx.table_metadata, change)
        summary = _summary(onto, token, change, tx.table_metadata, new)
        snapshot = tx.update_snapshot(snapshot_properties=summary)
        producer = snapshot.overwrite() if gone else snapshot.fast_append()
        for file in gone:
            producer.delete_data_file(file)
        for file in new:
            producer.append_data_file(file)
        producer.commit()
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
                yield _ours(self.name, snapshot, told)
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
        table = self._seen or self._lake.find(self.name)
        if table is None and onto.head is None:
            table = self._lake.make(self.name, spec)
        head = snapshots.head_of(table) if table is not None else None
        version = str(head.snapshot_id) if head else None
        if table is None or version != onto.head:
            raise CommitConflictError(
                f"{self.name} is at {version} by now", expected=f"its head at {onto.head}"
            )
        return table

    def _gone(self, error: FileNotFoundError) -> None:
        """Metadata that we loaded is not there: the table was dropped or expired meanwhile."""
        now = self._lake.find(self.name)
        if now is None or self._seen is None or now.metadata != self._seen.metadata:
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


def _told(snapshot: Snapshot) -> dict[str, str]:
    # Not by its truth: that counts what the summary holds, for every snapshot of every load.
    return snapshot.summary.additional_properties if snapshot.summary is not None else {}


def _ours(name: str, snapshot: Snapshot, told: dict[str, str]) -> Entry:
    try:
        return Entry(
            version=Version(str(snapshot.snapshot_id)),
            token=Token(told[TOKEN]),
            attempt=told.get(ATTEMPT),
            meaning=told.get(MEANING),
            results=msgspec.json.decode(told.get(RESULTS, "{}")),
            burnt=BURNT in told,
            changed=frozenset(msgspec.json.decode(told[CHANGED], type=list[str])),
            cells=msgspec.json.decode(told[CELLS], type=dict[str, CellState]),
        )
    except (KeyError, msgspec.DecodeError) as error:
        raise CorruptError(
            f"{name}: snapshot {snapshot.snapshot_id} carries a token and no cells that can be "
            f"read: {error}",
            expected=f"{CELLS} and {CHANGED} as this house writes them",
        ) from error


def _summary(
    onto: History,
    token: Token,
    change: Change | None,
    metadata: TableMetadata,
    new: Iterable[DataFile],
) -> dict[str, str]:
    """What the snapshot says of itself. Cells are cumulative, so expiry loses no state."""
    if change is None:
        changed: set[str] = set()
        cells = onto.cells()
    else:
        cells = change.cells_after(onto, token)
        changed = {*change.makes, *change.overwrites}
        if not changed:
            changed = {snapshots.part_of(metadata, file) for file in new}
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


def _exchange(
    name: str, table: IcebergTable, metadata: TableMetadata, change: Change
) -> tuple[tuple[DataFile, ...], tuple[DataFile, ...]]:
    """The files to add and those to take out: after it, the cells hold what was written, no more.

    A file that is there and was named again stays as it is: that is how a rollback rewrites none.
    metadata: the table's, as it will be.
    """
    written: Written = change.payload
    snapshots.check_cells(name, metadata, [*change.overwrites, *change.makes])
    if written.spec is not None:
        for file in written.files:
            _number(file, metadata)
    if change.overwrites:
        _check_places(name, metadata, change.overwrites, written.files)
    head = snapshots.head_of(table) if change.overwrites else None
    now = [
        one.file
        for one in snapshots.live(table, head)
        if not one.deletes and snapshots.inside(change.overwrites, one.part)
    ]
    present = {file.file_path for file in now}
    named = {file.file_path for file in written.files}
    new = tuple(file for file in written.files if file.file_path not in present)
    return new, tuple(file for file in now if file.file_path not in named)


def _number(file: DataFile, metadata: TableMetadata) -> None:
    """Give a new file the numbers that the table has for its layout by now: `evolve` has seen to it
    that the layout is the one it was written in."""
    file.spec_id = metadata.default_spec_id
    if file.sort_order_id is not None:
        file[15] = metadata.default_sort_order_id  # DataFile gives no setter for it


def _check_places(
    name: str, metadata: TableMetadata, cells: Iterable[str], files: Iterable[DataFile]
) -> None:
    for file in files:
        part = snapshots.part_of(metadata, file)
        if not snapshots.inside(cells, part):
            raise UserError(
                f"{name}: {file.record_count:,} rows are in {part}, which this step does not write",
                expected=f"rows of {', '.join(cells)} alone",
            )


def _check_columns(name: str, tx: Transaction, written: Written) -> None:
    """The files know their columns by the ids that the table gives them now."""
    ids = {field.name: field.field_id for field in tx.table_metadata.schema().fields}
    for column, known in written.columns.items():
        if ids.get(column) != known:
            raise PlanAgainError(
                f"{name}: its columns were changed while rows were written: {column!r} is number "
                f"{ids.get(column)} by now, and {known} in the files",
                expected="the columns as they were when the step began",
                fix="bowerbird apply (it writes them again)",
            )


def _no_retry(table: IcebergTable) -> None:
    """Turn PyIceberg's silent rebase off on this handle, whatever the table's properties say."""
    metadata: Any = table.metadata
    table.metadata = metadata.model_copy(
        update={"properties": {**metadata.properties, **evolve.NO_RETRY}}
    )
