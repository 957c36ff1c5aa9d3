"""Which files a commit adds and which it takes out, judged on the head that it goes onto."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bowerbird.core.errors import PlanAgainError, UserError
from bowerbird.core.targets import Change
from bowerbird.lake import snapshots

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata

    from bowerbird.lake.write import Written

Files = tuple["DataFile", ...]


def exchange(
    table: IcebergTable, branch: str, metadata: TableMetadata, change: Change, written: Written
) -> tuple[Files, Files]:
    """The files to add and those to take out of the head of a branch.

    After it, the cells that the change overwrites hold what was written and no more, and the files
    that it replaces are gone. Of files that delete rows, only what they name is looked at: it must
    still be there. A file that is there and was named again stays as it is: that is how a rollback
    rewrites none. metadata: the table's, as it will be.
    """
    name = ".".join(table.name())
    _check_columns(name, metadata, written)
    if written.source is not None and table.snapshot_by_id(int(written.source)) is None:
        # Its files are being deleted: they must not be put back.
        raise PlanAgainError(
            f"{name}: version {written.source} was expired while it was put back",
            expected="a version that is there",
            fix=f"bowerbird table history {name}, for those that are left",
        )
    snapshots.check_cells(name, metadata, [*change.overwrites, *change.makes])
    if written.spec is not None:
        for file in (*written.files, *written.deletes):
            _number(file, metadata)
    if written.replaces or written.deletes:
        _check_partitioning(name, metadata, written)
    if change.overwrites:
        _check_places(name, metadata, change.overwrites, written.files)
    if not (change.overwrites or written.replaces or written.deletes):
        return written.files, ()
    live = snapshots.live(table, snapshots.head_of(table, branch))
    overwritten = snapshots.Cells(change.overwrites)
    inside = [one.file for one in live if not one.deletes and one.part in overwritten]
    named = {file.file_path for file in written.files} - written.renewed
    there = {file.file_path for file in inside}
    gone = [file for file in inside if file.file_path not in named]
    read = {**written.replaces, **written.deleted_in, **written.stays}
    _check_unchanged(table, branch, live, read)
    files = {one.file.file_path: one.file for one in live}
    gone += [files[path] for path in written.replaces if path not in there]
    stays = there - written.renewed
    return tuple(file for file in written.files if file.file_path not in stays), tuple(gone)


def _check_unchanged(
    table: IcebergTable,
    branch: str,
    live: Iterable[snapshots.Live],
    read: Mapping[str, tuple[str, ...]],
) -> None:
    """Data files still are what was read of them. read: path -> the delete files that applied."""
    if not read:
        return
    there = {one.file.file_path for one in live if not one.deletes}
    deletes = snapshots.deletes_on(table, branch) if any(one.deletes for one in live) else {}
    for path, applied in read.items():
        if path not in there:
            problem = "was taken out of the table"
        elif set(deletes.get(path, ())) != set(applied):
            problem = "had rows deleted"
        else:
            continue
        raise PlanAgainError(
            f"{'.'.join(table.name())}: {path} {problem} while it was rewritten",
            expected="the files as they were when the step began",
            fix="bowerbird apply (it plans again)",
        )


def _number(file: DataFile, metadata: TableMetadata) -> None:
    """Give a new file the numbers that the table has for its layout by now: `evolve` has seen to it
    that the layout is the one it was written in."""
    file.spec_id = metadata.default_spec_id
    if file.sort_order_id is not None:
        file[15] = metadata.default_sort_order_id  # DataFile gives no setter for it


def _check_partitioning(name: str, metadata: TableMetadata, written: Written) -> None:
    """The files are partitioned as the table is by now: their manifest says that they are."""
    for file in (*written.files, *written.deletes):
        if file.spec_id != metadata.default_spec_id:
            raise PlanAgainError(
                f"{name}: its partitioning was changed while {file.file_path} was written",
                expected="the partitioning as it was when the step began",
                fix="bowerbird apply (it plans again)",
            )


def _check_places(
    name: str, metadata: TableMetadata, cells: Iterable[str], files: Iterable[DataFile]
) -> None:
    inside = snapshots.Cells(cells)
    for file in files:
        part = snapshots.path_of(metadata, file)
        if part not in inside:
            raise UserError(
                f"{name}: {file.record_count:,} rows are in {part}, which this step does not write",
                expected=f"rows of {', '.join(cells)} alone",
            )


def _check_columns(name: str, metadata: TableMetadata, written: Written) -> None:
    """The files know their columns by the ids that the table gives them now."""
    ids = {field.name: field.field_id for field in metadata.schema().fields}
    for column, known in written.columns.items():
        if ids.get(column) != known:
            raise PlanAgainError(
                f"{name}: its columns were changed while rows were written: {column!r} is number "
                f"{ids.get(column)} by now, and {known} in the files",
                expected="the columns as they were when the step began",
                fix="bowerbird apply (it writes them again)",
            )
