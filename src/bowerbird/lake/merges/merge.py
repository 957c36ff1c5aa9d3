"""Keyed change rows into a table: inserted, updated, deleted in one commit.

Only files that hold a changed key are rewritten. Which may, their partitions and key statistics
say; which do, their key columns; nothing else of an untouched file is read. After a merge of whole
rows a changed key has exactly one row, or none, whatever was there; a merge of some columns updates
every row of the key.

`merge` makes the change for a commit loop; `merge_into` is that loop, for streams; in a plan it is
a step (`bowerbird.lake.merges.steps`). The partitions where a changed key can be must not have
changed since the version that was read: `Change.guards`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.clock import Clock
from bowerbird.core.errors import PlanAgainError
from bowerbird.core.meaning import digest, tree_of
from bowerbird.core.targets import Change, Committed, LogTarget, Token, carried
from bowerbird.lake import evolve, schema, snapshots, streams
from bowerbird.lake.catalog import Lake
from bowerbird.lake.log import TableLog
from bowerbird.lake.merges.candidates import Part, candidates, cells_of_keys, cells_of_rows, parts
from bowerbird.lake.merges.changes import Changes, Keyed, Keys, resolve
from bowerbird.lake.read import Planned, plan
from bowerbird.lake.specs import Table
from bowerbird.lake.write import Written, write

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import FileScanTask
    from pyiceberg.table.metadata import TableMetadata

    from bowerbird.lake.write import Rows

TRIES = 20
"""So often `merge_into` begins again because others changed what it had read."""


class Merge(msgspec.Struct, frozen=True):
    """What a merge would do to a table at one version; paths of whole files, sizes in bytes.

    changes: keys that change, `deletes` of them deleted. superseded: earlier changes of them, left
    out. found: rows of the table that change. cells: the partitions that get other files.
    """

    version: str | None
    changes: int
    deletes: int
    superseded: int
    found: int
    cells: tuple[str, ...]
    looked_into: tuple[str, ...]
    rewritten: tuple[str, ...]
    rows_rewritten: int
    bytes_rewritten: int


class Rewritten(msgspec.Struct, frozen=True):
    """What one part of a merge wrote. updated, deleted: keys that were there."""

    written: Written
    updated: int
    deleted: int


class Prepared(msgspec.Struct, frozen=True):
    """A merge as the metadata alone tell it. found: the files that may hold a changed key, with all
    of the table's columns; None where there is no table yet."""

    spec: Table
    name: str
    keyed: Keyed
    changes: Changes
    metadata: TableMetadata
    found: Planned | None

    @property
    def keys(self) -> pa.Table:
        return self.changes.keys(self.keyed.key)

    def guards(self) -> tuple[str, ...]:
        return cells_of_keys(self.metadata, self.keys)

    def parts(self) -> list[Part]:
        tasks = self.found.tasks if self.found else ()
        return parts(self.metadata, tasks, [cell for cell, _ in self.new_rows()])

    def new_rows(self) -> list[tuple[str, pa.Array]]:
        """The partitions that get new rows, and the places of those rows among the upserts."""
        if self.keyed.columns:
            return []  # rows change where they are
        return cells_of_rows(self.metadata, self.spec.partition, self.changes.upserts)


def merge(
    lake: Lake,
    spec: Table,
    rows: Rows,
    keyed: Keyed,
    attempt: str,
    folder: str,
    version: str | None = None,
    ref: str | None = None,
) -> Change:
    """The change that applies change rows to a table at `version` (None: as it is now).

    Commit it with that version as the base. Files are written below `folder`. Holds the changes,
    and what `write` holds. Raises `UserError` for changes that cannot be told apart or do not fit.
    """
    prepared = prepare(lake, spec, rows, keyed, version, ref)
    done = [rewrite(lake, prepared, part, folder) for part in prepared.parts()]
    return change(prepared.changes, keyed, spec, prepared.guards(), done, attempt)


def merge_into(
    lake: Lake,
    spec: Table,
    rows: pa.Table,
    keyed: Keyed,
    token: Token,
    clock: Clock,
    branch: str = snapshots.MAIN,
) -> Committed:
    """Merge and commit once under `token`; begun again where others changed what was read."""
    target = LogTarget(TableLog(lake, spec.ref, branch), clock)
    meaning = digest({"merge": tree_of(keyed), "into": str(spec.ref)})
    for tried in range(1, TRIES + 1):
        history = target.history()
        if (found := carried(history.entries, token)) is not None:
            return found
        attempt = uuid.uuid4().hex[:12]
        folder = target.files(token, attempt)
        made = merge(lake, spec, rows, keyed, attempt, folder, history.head)
        try:
            done = target.commit(
                token, history.head, msgspec.structs.replace(made, meaning=meaning)
            )
        except PlanAgainError:
            target.discard(token, attempt)
            if tried == TRIES:
                raise
            clock.back_off(tried)
        else:
            if done.attempt != attempt:
                target.discard(token, attempt)
            return done
    raise AssertionError("unreachable: the last try returns or raises")


def preview(
    lake: Lake,
    spec: Table,
    rows: Rows,
    keyed: Keyed,
    version: str | None = None,
    ref: str | None = None,
) -> Merge:
    """What `merge` would do. Reads the key columns of files that may hold a changed key."""
    prepared = prepare(lake, spec, rows, keyed, version, ref)
    found, changes = prepared.found, prepared.changes
    looked_into = found.tasks if found else ()
    touched = _touched(prepared, looked_into)
    files = [task.file for task, _ in touched]
    cells = {snapshots.part_of(prepared.metadata, file) for file in files}
    cells |= {cell for cell, _ in prepared.new_rows()}
    return Merge(
        version=str(found.version) if found and found.version else None,
        changes=changes.rows,
        deletes=int(changes.deletes.num_rows),
        superseded=changes.superseded,
        found=sum(count for _, count in touched),
        cells=tuple(sorted(cells)),
        looked_into=tuple(task.file.file_path for task in looked_into),
        rewritten=tuple(file.file_path for file in files),
        rows_rewritten=sum(file.record_count for file in files),
        bytes_rewritten=sum(file.file_size_in_bytes for file in files),
    )


def prepare(
    lake: Lake,
    spec: Table,
    rows: Rows | Changes,
    keyed: Keyed,
    version: str | None = None,
    ref: str | None = None,
) -> Prepared:
    """Check the changes and find the files that may hold a changed key, from metadata alone."""
    name = ref or str(spec.ref)
    table = lake.find(name)
    metadata = evolve.planned(table, spec, lake.location(name))
    if not isinstance(rows, Changes):
        rows = resolve(name, spec, rows, keyed, schema.arrow_schema(metadata.schema()))
    if table is None:
        return Prepared(spec, name, keyed, rows, metadata, None)
    found = plan(lake, name, version)
    tasks = candidates(metadata, found.tasks, rows.keys(keyed.key))
    found = msgspec.structs.replace(found, schema=metadata.schema(), tasks=tuple(tasks))
    return Prepared(spec, name, keyed, rows, metadata, found)


def rewrite(lake: Lake, prepared: Prepared, part: Part, folder: str) -> Rewritten:
    """Write one part's files anew where they hold a changed key, and its new rows with them."""
    found, mine = prepared.found, set(part.files)
    tasks = [task for task in (found.tasks if found else ()) if task.file.file_path in mine]
    touched = [task for task, _ in _touched(prepared, tasks)]
    upserts = prepared.changes.upserts
    keys, seen = Keys(prepared.keys), _Seen(prepared.changes.rows)

    def batches() -> Iterator[pa.RecordBatch]:
        for block in streams.blocks(found, touched) if found else ():
            codes = keys.find(block)
            seen.add(codes)
            yield from _applied(block, codes, upserts, prepared.keyed.columns).to_batches()
        for cell, places in prepared.new_rows():
            if cell in part.cells:
                yield from upserts.take(places).to_batches()

    written = write(lake, prepared.spec, batches(), folder, prepared.name)
    replaces = {
        task.file.file_path: tuple(sorted(file.file_path for file in task.delete_files))
        for task in touched
    }
    updated, deleted = seen.split(upserts.num_rows)
    return Rewritten(msgspec.structs.replace(written, replaces=replaces), updated, deleted)


def change(
    changes: Changes,
    keyed: Keyed,
    spec: Table,
    guards: tuple[str, ...],
    done: Sequence[Rewritten],
    attempt: str,
) -> Change:
    """What to commit once all parts are done."""
    written = Written.joined([one.written for one in done]) if done else Written(spec)
    updated = min(sum(one.updated for one in done), int(changes.upserts.num_rows))
    deleted = min(sum(one.deleted for one in done), int(changes.deletes.num_rows))
    new = int(changes.upserts.num_rows) - updated
    absent = int(changes.deletes.num_rows) - deleted
    return Change(
        attempt=attempt,
        guards=guards,
        payload=written,
        results={
            "updated": updated,
            "inserted": 0 if keyed.columns else new,
            "deleted": deleted,
            "absent": absent + (new if keyed.columns else 0),
            "superseded": changes.superseded,
            "files_rewritten": len(written.replaces),
            "files": len(written.files),
            "bytes": written.bytes,
        },
    )


def _touched(prepared: Prepared, tasks: Sequence[FileScanTask]) -> list[tuple[FileScanTask, int]]:
    """The files that do hold a changed key, and how many rows with one: read from key columns."""
    if prepared.found is None or not tasks:
        return []
    columns = prepared.found.schema.select(*prepared.keyed.key)
    found = msgspec.structs.replace(prepared.found, schema=columns)
    keys = Keys(prepared.keys)
    counted = []
    for task in tasks:
        count = 0
        for block in streams.file_blocks(found, task):
            codes = keys.find(block)
            count += len(codes) - codes.null_count
        if count:
            counted.append((task, count))
    return counted


def _applied(
    block: pa.Table, codes: pa.Array, upserts: pa.Table, columns: tuple[str, ...]
) -> pa.Table:
    """What stays of a block: without rows that changed; or with them, some columns set."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not columns:
        return block.filter(pc.is_null(codes))
    stays = pc.fill_null(pc.less(codes, upserts.num_rows), fill_value=True)
    block, codes = block.filter(stays), codes.filter(stays)
    old = pa.array(range(block.num_rows), pa.int64())
    places = pc.coalesce(pc.add(codes.cast(pa.int64()), block.num_rows), old)
    for column in columns:
        was, becomes = block.column(column), upserts.column(column)
        both = pa.chunked_array([*was.chunks, *becomes.cast(was.type).chunks], was.type)
        block = block.set_column(
            block.schema.get_field_index(column), block.schema.field(column), both.take(places)
        )
    return block


class _Seen:
    """Which changed keys were met."""

    def __init__(self, keys: int) -> None:
        import numpy as np

        self._met = np.zeros(keys, bool)

    def add(self, codes: pa.Array) -> None:
        self._met[codes.drop_null().to_numpy()] = True

    def split(self, upserts: int) -> tuple[int, int]:
        """How many of the first `upserts` keys, and how many of the others."""
        return int(self._met[:upserts].sum()), int(self._met[upserts:].sum())
