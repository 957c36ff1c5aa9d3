"""Rows out: always of one version, pinned before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from bowerbird.core.errors import RefError, UserError
from bowerbird.core.refs import Ref
from bowerbird.lake import snapshots, streams
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.failures import translated

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.schema import Schema
    from pyiceberg.table import DataScan, FileScanTask
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata

    Where: TypeAlias = BooleanExpression | Mapping[str, Any] | str | None
    """An Iceberg expression, or its text (``id > 7 and name = 'x'``), or column -> value, or column
    -> (start, end) for ``[start, end)``, either of which may be None."""

_HISTORY = ("snapshots", "snapshot_log", "metadata_log", "statistics", "partition_statistics")


class Planned(msgspec.Struct, frozen=True):
    """What a read of one version will open.

    version: None for a table without a commit. tasks: the files, with the deletes on each.
    """

    table: IcebergTable
    version: int | None
    schema: Schema
    where: BooleanExpression
    tasks: tuple[FileScanTask, ...]

    def parts(self) -> tuple[Part, ...]:
        """The same read as one piece a file."""
        metadata: Any = self.table.metadata
        # A reader needs the schemas and the partitionings; the history may be megabytes.
        gone: dict[str, Any] = {key: [] for key in _HISTORY}
        slim = metadata.model_copy(update=gone | {"refs": {}, "current_snapshot_id": None})
        properties = {k: v for k, v in self.table.io.properties.items() if isinstance(v, str)}
        name = ".".join(self.table.name())
        return tuple(
            Part(name, slim, properties, self.schema, self.where, task) for task in self.tasks
        )

    def arrow_schema(self) -> pa.Schema:
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        return schema_to_pyarrow(self.schema, include_field_ids=False)


class Part(msgspec.Struct, frozen=True):
    """One file of a planned read, with the deletes on it. It can be pickled and read elsewhere.

    properties: how its files are opened; they may hold a key: never print them.
    """

    name: str
    metadata: TableMetadata
    properties: dict[str, str]
    schema: Schema
    where: BooleanExpression
    task: FileScanTask

    def __repr__(self) -> str:
        return f"Part({self.name!r}, {self.task.file.file_path!r})"

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows, in the order in which they lie. Raises `CorruptError` for a damaged file."""
        from pyiceberg.catalog.noop import NoopCatalog
        from pyiceberg.io import load_file_io
        from pyiceberg.table import Table as IcebergTable

        io = load_file_io(self.properties, self.metadata.location)
        alone = NoopCatalog("none")
        table = IcebergTable(tuple(self.name.split(".")), self.metadata, "", io, alone)
        found = Planned(table, None, self.schema, self.where, (self.task,))
        for block in streams.file_blocks(found, self.task):
            yield from block.to_batches()


def read(
    lake: Lake,
    ref: Ref | str,
    version: str | None = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
    cells: Iterable[str] | None = None,
) -> pa.Table:
    """The rows of a table at one version, branch or tag (None: as it is now), as Arrow.

    cells: only those partitions, without looking into others.
    """
    import pyarrow as pa
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    found = plan(lake, ref, version, columns, where, cells)
    schema = schema_to_pyarrow(found.schema, include_field_ids=False)
    with translated(f"reading {identifier(ref)}"), ThreadPoolExecutor() as pool:
        files = pool.map(lambda task: list(streams.file_blocks(found, task)), found.tasks)
        blocks = [block for file in files for block in file]
    return pa.concat_tables([schema.empty_table(), *blocks])


def read_by_cell(
    lake: Lake,
    ref: Ref | str,
    version: str | None = None,
    columns: Sequence[str] | None = None,
    cells: Iterable[str] | None = None,
) -> dict[str, pa.Table]:
    """The same rows, each partition by itself: its path -> its rows, in order of the paths."""
    import pyarrow as pa

    found = plan(lake, ref, version, columns, None, cells)
    schema = found.arrow_schema()
    with translated(f"reading {identifier(ref)}"), ThreadPoolExecutor() as pool:
        files = pool.map(lambda task: list(streams.file_blocks(found, task)), found.tasks)
        made: dict[str, list[pa.Table]] = {}
        for task, blocks in zip(found.tasks, files, strict=True):
            cell = snapshots.part_of(found.table.metadata, task.file)
            made.setdefault(cell, [schema.empty_table()]).extend(blocks)
    return {cell: pa.concat_tables(blocks) for cell, blocks in sorted(made.items())}


def read_batches(
    lake: Lake,
    ref: Ref | str,
    version: str | None = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
    cells: Iterable[str] | None = None,
) -> pa.RecordBatchReader:
    """The same rows, a batch at a time, in memory of a few batches."""
    import pyarrow as pa

    found = plan(lake, ref, version, columns, where, cells)
    schema = found.arrow_schema()

    def batches() -> Iterable[pa.RecordBatch]:
        for block in streams.blocks(found):
            yield from block.to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def plan(
    lake: Lake,
    ref: Ref | str,
    version: str | None = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
    cells: Iterable[str] | None = None,
) -> Planned:
    """Pin a version and find the files to open. Raises `RefError` for what is not there."""
    from pyiceberg.expressions.visitors import bind

    table = lake.load(ref)
    snapshot_id = pinned(table, version)
    row_filter = expression(where)
    scan = table.scan(
        row_filter=row_filter,
        selected_fields=tuple(columns) if columns is not None else ("*",),
        snapshot_id=snapshot_id,
    )
    try:
        schema = scan.projection()
        bind(table.schema(), row_filter, case_sensitive=True)
    except (ValueError, TypeError) as error:
        known = ", ".join(table.schema().column_names)
        raise UserError(f"{identifier(ref)}: {error}", expected=f"columns of: {known}") from error
    tasks = _tasks(table, scan, snapshot_id)
    if cells is not None:
        wanted = tuple(cells)
        snapshots.check_cells(identifier(ref), table.metadata, wanted)
        inside = snapshots.Cells(wanted)
        tasks = tuple(t for t in tasks if snapshots.part_of(table.metadata, t.file) in inside)
    return Planned(table, snapshot_id, schema, row_filter, tasks)


def _tasks(
    table: IcebergTable, scan: DataScan, snapshot_id: int | None
) -> tuple[FileScanTask, ...]:
    if snapshot_id is None:
        return ()
    try:
        return tuple(scan.plan_files())
    except Exception:
        # A damaged manifest fails in many ways, none of which names it: this reads them and does.
        for one in snapshots.live(table, table.snapshot_by_id(snapshot_id)):
            _refuse_equality_deletes(table, one)
        raise


def _refuse_equality_deletes(table: IcebergTable, one: snapshots.Live) -> None:
    from pyiceberg.manifest import DataFileContent

    if one.file.content == DataFileContent.EQUALITY_DELETES:
        raise UserError(
            f"{'.'.join(table.name())}: {one.file.file_path} deletes rows by their values "
            "(an equality delete), which is not read here",
            expected="position deletes, deletion vectors, or none",
            fix="compact the table in the engine that wrote it, then read it",
        )


def pinned(table: IcebergTable, version: str | None) -> int | None:
    """The snapshot of a version, of a branch's head or of a tag; None: the head of main.

    Raises `RefError` for what is not there.
    """
    if version is None:
        head = snapshots.head_of(table)
        return head.snapshot_id if head else None
    named = table.metadata.refs.get(version)
    if named is not None:
        return named.snapshot_id
    found = table.snapshot_by_id(int(version)) if version.lstrip("-").isdigit() else None
    if found is None:
        known = ", ".join(name for name in table.metadata.refs if name != snapshots.MAIN)
        raise RefError(
            f"{'.'.join(table.name())} has no version {version}",
            expected=f"a version that was not expired, a branch or a tag ({known or 'none yet'})",
            fix="bowerbird table history, for those that are left",
        )
    return found.snapshot_id


def expression(where: Where) -> BooleanExpression:
    """An Iceberg expression of a simple filter; None: every row."""
    from pyiceberg import expressions as ex

    if where is None:
        return ex.AlwaysTrue()
    if isinstance(where, str):
        return _parsed(where)
    if not isinstance(where, Mapping):
        return where
    whole: BooleanExpression = ex.AlwaysTrue()
    for column, wanted in where.items():
        for term in _terms(column, wanted):
            whole = ex.And(whole, term)
    return whole


def _parsed(text: str) -> BooleanExpression:
    from pyiceberg.expressions.parser import parse
    from pyparsing import ParseException

    try:
        return parse(text)
    except ParseException as error:
        raise UserError(
            f"the filter {text!r} cannot be read from its character {error.loc + 1} on: "
            f"{text[error.loc :][:20]!r}",
            expected="comparisons joined by and, or, not, such as: id >= 7 and name is not null",
        ) from error
    except ValueError as error:
        raise UserError(f"the filter {text!r} cannot be read: {error}") from error


def _terms(column: str, wanted: Any) -> list[BooleanExpression]:
    from pyiceberg import expressions

    ex: Any = expressions  # its constructors take what their types do not say
    if isinstance(wanted, tuple):
        start, end = wanted
        low = [] if start is None else [ex.GreaterThanOrEqual(column, start)]
        return low if end is None else [*low, ex.LessThan(column, end)]
    if isinstance(wanted, (list, set, frozenset)):
        return [ex.In(column, wanted)]
    return [ex.IsNull(column) if wanted is None else ex.EqualTo(column, wanted)]
