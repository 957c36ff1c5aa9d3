"""Tables in other engines: DuckDB, Polars, Ray, torch. All read one plan, pinned before they start.

An engine that can open the data files itself does so where the files alone are the table
(`plain_files`); otherwise it is given what Arrow reads, which knows of deleted rows and of columns
that came, went or grew since a file was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bowerbird.core.refs import Ref
from bowerbird.lake.catalog import Lake
from bowerbird.lake.read import Planned, plan, read

if TYPE_CHECKING:
    import duckdb as duck
    import polars as pl
    import ray.data

    from bowerbird.lake.batches import TableBatches
    from bowerbird.lake.read import Where


def plain_files(found: Planned) -> bool:
    """Whether the data files alone, by their own column names, are the table."""
    if not found.tasks or any(task.delete_files for task in found.tasks):
        return False
    schemas = found.table.metadata.schemas
    # One that was forgotten (others' expiry does that) may be that of a file which is still read.
    whole = sorted(schema.schema_id for schema in schemas) == list(range(len(schemas)))
    return whole and len({tuple(map(str, schema.fields)) for schema in schemas}) == 1


def duckdb(
    lake: Lake, views: Mapping[str, tuple[Ref | str, str | None]]
) -> duck.DuckDBPyConnection:
    """A DuckDB connection with a view of each table: name -> (ref, version; None: as it is now)."""
    import duckdb as duck

    connection = duck.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name, (ref, version) in views.items():
        found = plan(lake, ref, version)
        if not plain_files(found):
            connection.register(name, read(lake, ref, str(found.version or "") or None))
        elif _on_disk(found):
            quoted = '"' + name.replace('"', '""') + '"'
            files = ", ".join("'" + path.replace("'", "''") + "'" for path in _paths(found))
            connection.execute(f"CREATE VIEW {quoted} AS SELECT * FROM read_parquet([{files}])")  # noqa: S608
        else:
            # Its own reader of object stores is an extension that is not everywhere.
            connection.register(name, _dataset(lake, found))
    return connection


def polars(
    lake: Lake,
    ref: Ref | str,
    version: str | None = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
    cells: Iterable[str] | None = None,
) -> pl.LazyFrame:
    """A lazy frame of one version. What it selects and filters is pushed down to the files.

    where: leaves out whole files before Polars sees them, which its own filters cannot.
    """
    import polars as pl

    found = plan(lake, ref, version, columns, where, cells)
    if where is not None or not plain_files(found):
        return _polars_by_arrow(found)
    options = {} if _on_disk(found) else _polars_store(lake)
    frame = pl.scan_parquet(_paths(found), glob=False, storage_options=options or None)
    return frame.select(found.arrow_schema().names)


def _polars_by_arrow(found: Planned) -> pl.LazyFrame:
    import polars as pl
    from msgspec.structs import replace
    from polars.io.plugins import register_io_source

    empty = pl.DataFrame(found.arrow_schema().empty_table())

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        schema = found.schema if columns is None else found.schema.select(*columns)
        left = rows
        for part in replace(found, schema=schema).parts():
            for batch in part.batches():
                frame = pl.DataFrame(batch).select(columns or pl.all())
                frame = frame if predicate is None else frame.filter(predicate)
                frame = frame if left is None else frame.head(left)
                yield frame
                if left is not None:
                    left -= len(frame)
                    if left <= 0:
                        return

    name = ".".join(found.table.name())
    return register_io_source(source, schema=empty.schema, is_pure=True, explain_name=name)


def ray_dataset(
    lake: Lake,
    ref: Ref | str,
    version: str | None = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
    cells: Iterable[str] | None = None,
) -> ray.data.Dataset:
    """A Ray dataset of one version: a read task for each file, read where Ray puts it."""
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    found = plan(lake, ref, version, columns, where, cells)
    schema = found.arrow_schema()

    class Files(Datasource):
        def get_read_tasks(self, parallelism: int, *_: object, **__: object) -> list[ReadTask]:
            return [
                ReadTask(
                    # Deletes and filters leave fewer rows than the file has: Ray counts them.
                    partial(_tables, part, schema),
                    BlockMetadata(
                        num_rows=None,
                        size_bytes=part.task.file.file_size_in_bytes,
                        input_files=(part.task.file.file_path,),
                        exec_stats=None,
                    ),
                    schema,
                )
                for part in found.parts()
            ]

        def estimate_inmemory_data_size(self) -> int:
            return sum(task.file.file_size_in_bytes for task in found.tasks)

        def get_name(self) -> str:
            return ".".join(found.table.name())

    data: Any = ray.data  # it is not typed
    made: ray.data.Dataset
    if found.tasks:
        source: Any = Files
        made = data.read_datasource(source(), override_num_blocks=len(found.tasks))
    else:
        made = data.from_arrow(schema.empty_table())
    return made


def _tables(part: Any, schema: Any) -> list[Any]:
    """A file as one block, also where no row of it is left."""
    import pyarrow as pa

    return [pa.Table.from_batches(part.batches(), schema)]


def torch_batches(
    lake: Lake,
    ref: Ref | str,
    version: str | None = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
    cells: Iterable[str] | None = None,
    *,
    rows: int = 4096,
    shard: tuple[int, int] = (0, 1),
) -> TableBatches:
    """An `IterableDataset` of one version, in batches of at most `rows`: column -> tensor.

    Give it to a ``DataLoader`` with ``batch_size=None``: each worker reads files of its own.
    shard: (this process, how many) where several processes train on one table.
    Raises `UserError` for a column that is no number, time or truth value.
    """
    from bowerbird.lake.batches import TableBatches

    found = plan(lake, ref, version, columns, where, cells)
    return TableBatches(found.parts(), found.arrow_schema(), rows, shard)


def _paths(found: Planned) -> list[str]:
    return [task.file.file_path for task in found.tasks]


def _on_disk(found: Planned) -> bool:
    return all("://" not in path or path.startswith("file:") for path in _paths(found))


def _dataset(lake: Lake, found: Planned) -> Any:
    from pyarrow import dataset

    opened = [lake.files.opened(path) for path in _paths(found)]
    return dataset.dataset([path for _, path, _ in opened], filesystem=opened[0][0])


def _polars_store(lake: Lake) -> dict[str, str]:
    """The object store's settings by Polars' names."""
    access = lake.home.access
    told = {
        "aws_endpoint_url": access.s3_endpoint,
        "aws_region": access.s3_region,
        "aws_access_key_id": access.s3_access_key,
        "aws_secret_access_key": access.s3_secret_key,
        "aws_allow_http": "true" if access.s3_endpoint.startswith("http:") else "",
    }
    return {name: value for name, value in told.items() if value}
