"""What the snapshots of a table hold: its live files, by partition, and what each commit changed.

A *cell* of a table is a partition path, or some of its fields: ``at_day=2017-10-02`` is every
partition with that day, whatever else its path says; `WHOLE` is all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import CorruptError, UserError
from bowerbird.core.targets import WHOLE, fields_of

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot


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
    spec = metadata.specs()[file.spec_id]
    if spec.is_unpartitioned():
        return WHOLE
    return spec.partition_to_path(file.partition, metadata.schema())


def inside(cells: Iterable[str], part: str) -> bool:
    """Whether a partition lies in one of the cells.

    Raises `UserError` for one that is partly in and partly out: written by an older partitioning.
    """
    has = {} if part == WHOLE else fields_of(part) or {}
    for cell in cells:
        wanted = fields_of(cell)
        if wanted is None or any(has.get(field, value) != value for field, value in wanted.items()):
            continue
        if lacking := wanted.keys() - has.keys():
            raise UserError(
                f"{part!r} may hold rows of cell {cell!r} and others: it has no {min(lacking)!r}",
                expected="files partitioned as the table is",
                fix="rewrite the old files first, or replace the whole table",
            )
        return True
    return False


def bounds(metadata: TableMetadata, file: DataFile, column: str) -> tuple[Any, Any, int | None]:
    """The least and the greatest value of a column in a file, and how many are null.

    None for what the file's statistics do not say. A text's bounds may be cut: the least is then
    less than every value, the greatest greater.
    """
    from pyiceberg.conversions import from_bytes

    field = metadata.schema().find_field(column)
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
    """Raise `UserError` for a cell whose fields the table is not partitioned by."""
    known = [field.name for field in metadata.spec().fields]
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
    return {
        task.file.file_path: tuple(sorted(file.file_path for file in task.delete_files))
        for task in tasks
        if task.delete_files
    }
