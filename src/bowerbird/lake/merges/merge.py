"""Keyed change rows into a table: inserted, updated, deleted in one commit.

Only files that hold a changed key are touched: rewritten, or their deleted rows named in files
beside them (`Mode`). Which may, their partitions and key statistics say; which do, their key
columns; nothing else of an untouched file is read. After a merge of whole rows a changed key has
exactly one row, or none, whatever was there; a merge of some columns updates every row of the key.

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
from bowerbird.lake.failures import translated
from bowerbird.lake.log import TableLog
from bowerbird.lake.merges.candidates import Part, candidates, cells_of_keys, cells_of_rows, parts
from bowerbird.lake.merges.changes import Changes, Keyed, Keys, Mode, resolve
from bowerbird.lake.read import Planned, plan
from bowerbird.lake.specs import Table
from bowerbird.lake.write import Written, write

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask
    from pyiceberg.table.metadata import TableMetadata

    from bowerbird.lake.write import Rows

    Places = NDArray[np.int64]

TRIES = 20
"""So often `merge_into` begins again because others changed what it had read."""


class Merge(msgspec.Struct, frozen=True):
    """What a merge would do to a table at one version; paths of whole files, sizes in bytes.

    changes: keys that change, `deletes` of them deleted. superseded: earlier changes of them, left
    out. found: rows of the table that change. cells: the partitions that get other files. marked:
    files beside which others will name their deleted rows.
    """

    version: str | None
    changes: int
    deletes: int
    superseded: int
    found: int
    cells: tuple[str, ...]
    looked_into: tuple[str, ...]
    rewritten: tuple[str, ...]
    marked: tuple[str, ...]
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
    anew = [task.file for task, _ in touched if not _is_marked(prepared, task)]
    marked = [task.file for task, _ in touched if _is_marked(prepared, task)]
    cells = {snapshots.part_of(prepared.metadata, file) for file in (*anew, *marked)}
    cells |= {cell for cell, _ in prepared.new_rows()}
    return Merge(
        version=str(found.version) if found and found.version else None,
        changes=changes.rows,
        deletes=int(changes.deletes.num_rows),
        superseded=changes.superseded,
        found=sum(count for _, count in touched),
        cells=tuple(sorted(cells)),
        looked_into=tuple(task.file.file_path for task in looked_into),
        rewritten=tuple(file.file_path for file in anew),
        marked=tuple(file.file_path for file in marked),
        rows_rewritten=sum(file.record_count for file in anew),
        bytes_rewritten=sum(file.file_size_in_bytes for file in anew),
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
    metadata = evolve.planned(table, spec, lake.place(name))
    if not isinstance(rows, Changes):
        rows = resolve(name, spec, rows, keyed, schema.arrow_schema(metadata.schema()))
    if table is None:
        return Prepared(spec, name, keyed, rows, metadata, None)
    found = plan(lake, name, version)
    tasks = candidates(metadata, found.tasks, rows.keys(keyed.key))
    found = msgspec.structs.replace(found, schema=metadata.schema(), tasks=tuple(tasks))
    return Prepared(spec, name, keyed, rows, metadata, found)


def rewrite(lake: Lake, prepared: Prepared, part: Part, folder: str) -> Rewritten:
    """Write one part's files anew where they hold a changed key, or mark its rows in them; and
    write its new rows."""
    found, mine = prepared.found, set(part.files)
    tasks = [task for task in (found.tasks if found else ()) if task.file.file_path in mine]
    to_mark = [task for task in tasks if _is_marked(prepared, task)]
    others = [task for task in tasks if not _is_marked(prepared, task)]
    anew = [task for task, _ in _touched(prepared, others)]
    upserts, columns = prepared.changes.upserts, prepared.keyed.columns
    keys, seen = Keys(prepared.keys), _Seen(prepared.changes.rows)
    marks: dict[str, list[Places]] = {}

    def batches() -> Iterator[pa.RecordBatch]:
        for block in streams.blocks(found, anew) if found else ():
            codes = keys.find(block)
            seen.add(codes)
            yield from _applied(block, codes, upserts, columns).to_batches()
        for block, codes in _matches(prepared, to_mark, keys, marks):
            seen.add(codes)
            if columns:
                yield from _applied(block, codes, upserts, columns).to_batches()
        for cell, places in prepared.new_rows():
            if cell in part.cells:
                yield from upserts.take(places).to_batches()

    written = write(lake, prepared.spec, batches(), folder, prepared.name)
    marked = [task for task in to_mark if task.file.file_path in marks]
    updated, deleted = seen.split(upserts.num_rows)
    written = msgspec.structs.replace(
        written,
        replaces=snapshots.applied_to(anew),
        deletes=tuple(_mark(lake, folder, one.file, marks[one.file.file_path]) for one in marked),
        deleted_in=snapshots.applied_to(marked),
    )
    return Rewritten(written, updated, deleted)


def _mark(lake: Lake, folder: str, file: DataFile, places: Sequence[Places]) -> DataFile:
    import numpy as np

    from bowerbird.lake.deletes import write_positions

    path = f"{folder}/{uuid.uuid4().hex[:8]}-deletes.parquet"
    with translated(f"writing {path}"):
        return write_positions(lake.io(), path, file, np.sort(np.concatenate(places)))


def _is_marked(prepared: Prepared, task: FileScanTask) -> bool:
    """Whether rows of a file are deleted by naming them, rather than by writing it anew."""
    metadata = prepared.metadata
    return (
        prepared.keyed.mode is Mode.MERGE_ON_READ
        and metadata.format_version == 2
        and task.file.spec_id == metadata.default_spec_id
    )


def _matches(
    prepared: Prepared,
    tasks: Sequence[FileScanTask],
    keys: Keys,
    marks: dict[str, list[Places]],
) -> Iterator[tuple[pa.Table, pa.Array]]:
    """The rows with a changed key, of whole-row changes only the key's columns; and the numbers of
    their keys. marks: gets the places of all deleted rows, those that were so too, of each file
    that has such a row."""
    import numpy as np
    import pyarrow as pa
    from pyiceberg.table import FileScanTask

    found = prepared.found
    if found is None:
        return
    if not prepared.keyed.columns:
        columns = found.schema.select(*prepared.keyed.key)
        found = msgspec.structs.replace(found, schema=columns)
    for task in tasks:
        path, before = task.file.file_path, 0
        for block in streams.file_blocks(found, FileScanTask(task.file)):
            codes = keys.find(block)
            places = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
            if len(places):
                gone = marks[path][0] if path in marks else streams.hidden(found, task)
                places = places[~np.isin(places + before, gone)]
            if len(places):
                marks.setdefault(path, [gone]).append(places + before)
                at = pa.array(places)
                yield block.take(at), codes.take(at)
            before += block.num_rows


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
            "files_marked": len(written.deleted_in),
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
