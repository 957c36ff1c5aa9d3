"""What the snapshots of a table hold: its live files, by partition, and what each commit changed.

A *cell* of a table is a partition path, or some of its fields: ``at_day=2017-10-02`` is every
partition with that day, whatever else its path says; `WHOLE` is all of them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import CorruptError, UserError
from bowerbird.core.targets import WHOLE, fields_of, overlap
from bowerbird.lake.recent import PATHS

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.typedef import Record
    from pyiceberg.types import NestedField


MAIN = "main"
"""The branch that readers see unless they ask for another."""


class Live(msgspec.Struct, frozen=True):
    """One file of a snapshot. part: its partition's path, `WHOLE` where there are no partitions."""

    part: str
    file: DataFile
    deletes: bool = False


def live(table: IcebergTable, snapshot: Snapshot | None) -> list[Live]:
    """All files that a snapshot reads: data files, and files that delete rows of those."""
    from pyiceberg.manifest import DataFileContent

    if snapshot is None:
        return []
    return [
        Live(
            part_of(table.metadata, e.data_file),
            e.data_file,
            e.data_file.content != DataFileContent.DATA,
        )
        for manifest in manifests(table, snapshot)
        for e in entries(table, manifest)
    ]


def part_of(metadata: TableMetadata, file: DataFile) -> str:
    """The path of the partition that a file is in, as cells are written."""
    # A committed spec never changes, and plan after plan asks for the partitions of one before.
    key = (metadata.table_uuid, file.spec_id, tuple(file.partition._data))
    path = PATHS.get(key)
    if path is None:
        path = path_of(metadata, file)
        PATHS.put(key, path)
    return str(path)


def path_of(metadata: TableMetadata, file: DataFile) -> str:
    """The same, of metadata that are not committed: another may win the number of their spec."""
    spec = metadata.specs()[file.spec_id]
    if spec.is_unpartitioned():
        return WHOLE
    path = spec.partition_to_path(file.partition, metadata.schema())
    return path if "=null" not in path else _with_nulls(path, file.partition)


def _with_nulls(path: str, values: Record) -> str:
    """The path, a value that is written as null is (a text, some bytes) told apart from no value:
    its first letter is quoted."""
    parts = [
        part[: -len("null")] + "%6Eull"
        if part.endswith("=null") and values[at] is not None
        else part
        for at, part in enumerate(path.split("/"))
    ]
    return "/".join(parts)


_Texts = tuple[str, ...]


class Cells:
    """Cells that partitions are looked up in: of a thousand each, not every pair is compared."""

    def __init__(self, cells: Iterable[str]) -> None:
        self._known: dict[_Texts, list[_Texts]] = {}
        self._index: dict[tuple[_Texts, _Texts], dict[_Texts, _Texts]] = {}
        for cell in cells:
            wanted = fields_of(cell)
            if wanted is not None:
                self._known.setdefault(tuple(wanted), []).append(tuple(wanted.values()))

    def __contains__(self, part: str) -> bool:
        """Whether a partition lies in one of the cells.

        Raises `UserError` for one that is partly in and partly out: written by an older
        partitioning.
        """
        has = {} if part == WHOLE else fields_of(part) or {}
        partly: UserError | None = None
        for fields in self._known:
            shared = tuple(field for field in fields if field in has)
            one = self._by(fields, shared).get(tuple(has[field] for field in shared))
            if one is not None and shared == fields:
                return True
            if one is not None and partly is None:
                lacking = min(set(fields) - set(shared))
                partly = _partly(part, dict(zip(fields, one, strict=True)), lacking)
        if partly is not None:
            raise partly
        return False

    def _by(self, fields: _Texts, shared: _Texts) -> dict[_Texts, _Texts]:
        """The values of cells by those of some of their fields, one of each."""
        if (fields, shared) not in self._index:
            places = [fields.index(field) for field in shared]
            self._index[fields, shared] = {
                tuple(one[place] for place in places): one for one in self._known[fields]
            }
        return self._index[fields, shared]


def _partly(part: str, wanted: Mapping[str, str], lacking: str) -> UserError:
    cell = "/".join(f"{field}={value}" for field, value in wanted.items())
    return UserError(
        f"{part!r} may hold rows of cell {cell!r} and others: it has no {lacking!r}",
        expected="files partitioned as the table is",
        fix="rewrite the old files first, or replace the whole table",
    )


def bounds(metadata: TableMetadata, file: DataFile, column: str) -> tuple[Any, Any, int | None]:
    """The least and the greatest value of a column in a file, and how many are null.

    None for what the file's statistics do not say. A text's bounds may be cut: the least is then
    less than every value, the greatest greater.
    """
    return bounds_of(metadata.schema().find_field(column), file)


def bounds_of(field: NestedField, file: DataFile) -> tuple[Any, Any, int | None]:
    """`bounds` of a column of any schema: a file may be older than the column's present type."""
    from pyiceberg.conversions import from_bytes

    if not field.field_type.is_primitive:
        return None, None, None
    found = [
        from_bytes(field.field_type, known[field.field_id])  # type: ignore[arg-type] # primitive
        if known and field.field_id in known
        else None
        for known in (file.lower_bounds, file.upper_bounds)
    ]
    nulls = (file.null_value_counts or {}).get(field.field_id)
    return found[0], found[1], nulls


def check_cells(name: str, metadata: TableMetadata, cells: Iterable[str]) -> None:
    """Raise `UserError` for a cell whose fields the table is not, and never was, partitioned by."""
    fields = [
        field for spec in (metadata.spec(), *metadata.partition_specs) for field in spec.fields
    ]
    known = list(dict.fromkeys(field.name for field in fields))
    for cell in cells:
        for field in fields_of(cell) or {}:
            if field not in known:
                raise UserError(
                    f"{name}: cell {cell!r} names {field or cell!r}, which it is not "
                    "partitioned by",
                    expected=f"fields of: {', '.join(known) or 'none (it has no partitions)'}",
                )


def changed_by(table: IcebergTable, snapshot: Snapshot) -> frozenset[str]:
    """The partitions whose rows somebody else's snapshot changed; `WHOLE` where it cannot tell."""
    from pyiceberg.manifest import ManifestEntryStatus
    from pyiceberg.table.snapshots import Operation

    if snapshot.summary is not None and snapshot.summary.operation == Operation.REPLACE:
        return frozenset()  # a compaction, by Iceberg's own rule
    try:
        return frozenset(
            part_of(table.metadata, entry.data_file)
            for manifest in manifests(table, snapshot)
            if manifest.added_snapshot_id == snapshot.snapshot_id
            for entry in entries(table, manifest, deleted=True)
            if entry.status != ManifestEntryStatus.EXISTING
            and entry.snapshot_id in (None, snapshot.snapshot_id)
        )
    except CorruptError:
        return frozenset([WHOLE])


def manifests(table: IcebergTable, snapshot: Snapshot) -> list[ManifestFile]:
    try:
        return list(snapshot.manifests(table.io))
    except Exception as error:
        raise _damaged(table, snapshot.manifest_list, error) from error


def entries(
    table: IcebergTable, manifest: ManifestFile, deleted: bool = False
) -> Iterator[ManifestEntry]:
    try:
        yield from manifest.fetch_manifest_entry(table.io, discard_deleted=not deleted)
    except Exception as error:
        raise _damaged(table, manifest.manifest_path, error) from error


def _damaged(table: IcebergTable, path: str, error: Exception) -> CorruptError:
    # Whatever a decoder trips over in a damaged file (index, key, value, end of file): it is that.
    problem = "is gone" if isinstance(error, FileNotFoundError) else "cannot be read"
    return CorruptError(
        f"{'.'.join(table.name())}: {path} {problem}: {type(error).__name__}: {error}",
        expected="the file as its snapshot wrote it",
        fix="restore the file, or set the table back to a version whose files are whole",
    )


def ancestors(table: IcebergTable, version: int | None) -> tuple[list[Snapshot], bool]:
    """From a snapshot back to the first; and whether the chain reaches it."""
    known = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    chain: list[Snapshot] = []
    while version is not None:
        snapshot = known.get(version)
        if snapshot is None:
            return chain, False
        chain.append(snapshot)
        version = snapshot.parent_snapshot_id
    # Expiry takes the parent's id out of the oldest that is left; its number still tells.
    return chain, not chain or (chain[-1].sequence_number or 0) <= 1


def head_of(table: IcebergTable, branch: str = MAIN) -> Snapshot | None:
    return table.snapshot_by_name(branch)


def deletes_on(table: IcebergTable, branch: str = MAIN) -> dict[str, tuple[str, ...]]:
    """Data file -> the files that delete rows of it, at the head of a branch."""
    head = head_of(table, branch)
    if head is None:
        return {}
    tasks = table.scan(snapshot_id=head.snapshot_id).plan_files()
    return applied_to(task for task in tasks if task.delete_files)


def applied_to(tasks: Iterable[FileScanTask]) -> dict[str, tuple[str, ...]]:
    """Data file -> the files that delete rows of it."""
    return {
        task.file.file_path: tuple(sorted(file.file_path for file in task.delete_files))
        for task in tasks
    }


class Hidden(msgspec.Struct, frozen=True):
    """The rows of a data file that are deleted, by their places in it, and the files that do so."""

    rows: frozenset[int]
    by: tuple[str, ...]


def deleted_rows(
    table: IcebergTable, snapshot: Snapshot | None, cells: Iterable[str], paths: Container[str]
) -> dict[str, Hidden]:
    """Path -> what is deleted of it in a snapshot, of those data files that have deleted rows.

    Reads the delete files alone. Raises `UserError` for rows in the cells that are deleted by their
    values (equality deletes): which those are cannot be told without reading all data.
    """
    from pyiceberg.io.pyarrow import _read_deletes
    from pyiceberg.manifest import DataFileContent
    from pyiceberg.table.delete_file_index import DeleteFileIndex

    index, data, cells = DeleteFileIndex(), [], tuple(cells)
    for manifest in manifests(table, snapshot) if snapshot is not None else []:
        for entry in entries(table, manifest):
            file = entry.data_file
            if file.content == DataFileContent.POSITION_DELETES:
                index.add_delete_file(entry, partition_key=file.partition)
            elif file.content == DataFileContent.EQUALITY_DELETES:
                _refuse_equality(table, file, cells)
            elif file.file_path in paths:
                data.append(entry)
    found: dict[str, Hidden] = {}
    read: dict[str, dict[str, Any]] = {}
    for entry in data:
        file, rows, by = entry.data_file, set(), []
        for one in index.for_data_file(entry.sequence_number or 0, file, file.partition):
            if one.file_path not in read:
                read[one.file_path] = _read_deletes(table.io, one)
            places = read[one.file_path].get(file.file_path)
            if places is not None and len(places):
                rows.update(places.to_pylist())
                by.append(one.file_path)
        if rows:
            found[file.file_path] = Hidden(frozenset(rows), tuple(sorted(by)))
    return found


def _refuse_equality(table: IcebergTable, file: DataFile, cells: tuple[str, ...]) -> None:
    part = part_of(table.metadata, file)
    if part == WHOLE or overlap(cells, (part,)):
        raise UserError(
            f"{'.'.join(table.name())}: {file.file_path} deletes rows of {part} by their values",
            expected="data files whose deleted rows are told by their places, or none",
            fix="rewrite the data files with their deletes applied",
        )
