"""Rows in, data files out: split into partitions, in the declared order, with full statistics.

Nobody sees the files until a commit names them. What comes back is small and can be pickled. Rows
that come in batches may be of any size: what does not fit is sorted by way of the disk.
"""

from __future__ import annotations

import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from bowerbird.core import inside
from bowerbird.core.errors import UserError
from bowerbird.core.faults import point
from bowerbird.lake import encodings, evolve, schema, spill
from bowerbird.lake.catalog import Lake
from bowerbird.lake.failures import translated
from bowerbird.lake.ordering import places
from bowerbird.lake.partitions import parted
from bowerbird.lake.specs import Table

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.table.metadata import TableMetadata

    Rows: TypeAlias = pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch]

ROWS_A_GROUP = 128 * 1024
"""Rows in a row group: what a reader can skip. Fewer where they are wide."""

BYTES_A_GROUP = 64 * 1024 * 1024
"""About the bytes of a row group before they are encoded: what a writer holds."""

MEMORY = 1024 * 1024 * 1024
"""Bytes that a write may hold of rows that come in batches, unless it is told otherwise."""

WRITERS = min(4, os.cpu_count() or 1)
"""Partitions that are written side by side: sorting, encoding and compressing leave the GIL."""

MEMORY_A_WRITER = 128 * 1024 * 1024
"""There are fewer where memory is short."""


class Written(msgspec.Struct, frozen=True):
    """Files that are ready to be committed to a table of `spec` (None: to the table as it is).

    columns: column -> the id by which the files know it; the commit compares them.
    replaces: path of a file that these take the place of -> the delete files that were applied when
      it was read. The commit holds that both are still so.
    deletes: files that name deleted rows of data files; deleted_in: path of such a data file -> the
      delete files that were applied when it was read, which the commit holds to be so still.
    source: the version whose files these are, put back; the commit holds that it is still there.
    renewed: paths of files that are there and are added once more, so that no delete applies to
      them. stays: path of a file that must be there still -> the delete files that apply to it.
    expires: snapshots that the commit takes out of the history.
    """

    spec: Table | None
    columns: dict[str, int] = {}
    files: tuple[DataFile, ...] = ()
    replaces: dict[str, tuple[str, ...]] = {}
    deletes: tuple[DataFile, ...] = ()
    deleted_in: dict[str, tuple[str, ...]] = {}
    source: str | None = None
    renewed: frozenset[str] = frozenset()
    stays: dict[str, tuple[str, ...]] = {}
    expires: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return sum(file.record_count for file in self.files)

    @property
    def bytes(self) -> int:
        return sum(file.file_size_in_bytes for file in self.files)

    @staticmethod
    def joined(parts: Sequence[Written]) -> Written:
        """What several tasks wrote for one commit."""
        files = tuple(file for part in parts for file in part.files)
        return msgspec.structs.replace(
            parts[0],
            files=files,
            replaces={path: on for part in parts for path, on in part.replaces.items()},
            deletes=tuple(file for part in parts for file in part.deletes),
            deleted_in={path: on for part in parts for path, on in part.deleted_in.items()},
        )


def write(
    lake: Lake,
    spec: Table,
    rows: Rows,
    folder: str,
    ref: str | None = None,
    memory: int = MEMORY,
) -> Written:
    """Write rows as the data files of one attempt, below `folder`.

    Of a `pa.Table`, which its caller holds, a few partitions are held a second time. Of batches, no
    more than `memory` bytes of rows at once, however many come (the process grows by up to twice
    that). Raises `UserError` where the rows are
    not what the spec says.
    """
    name = ref or str(spec.ref)
    metadata = evolve.planned(lake.find(name), spec, lake.place(name))
    writer = Writer(lake.io(), metadata, spec, folder, memory)
    with ExitStack() as stack:
        parts = _parts(str(spec.ref), rows, spec, metadata, memory, stack)
        files = writer.write(parts)
    columns = {field.name: field.field_id for field in metadata.schema().fields}
    return Written(spec=spec, columns=columns, files=files)


Parts = Sequence[tuple[tuple[Any, ...], Iterable["pa.Table"]]]
"""Partition values -> its rows in order, some at a time."""


def _parts(
    name: str, rows: Rows, spec: Table, metadata: TableMetadata, memory: int, stack: ExitStack
) -> Parts:
    """The partitions of all rows. What does not fit into memory lies in sorted runs on the disk
    until `stack` is closed."""
    import pyarrow as pa

    wanted = schema.arrow_schema(metadata.schema())
    if isinstance(rows, pa.Table):
        return _sorted_parts(schema.conform(name, rows, wanted), spec, metadata)
    coming = spill.Chunks(_conformed(name, rows, wanted), memory)
    if coming.one:
        return _sorted_parts(next(coming, wanted.empty_table()), spec, metadata)
    folder = stack.enter_context(TemporaryDirectory(prefix="write"))
    runs = spill.Runs(folder, spec.sort, memory)
    for chunk in coming:
        runs.add(_sorted_parts(chunk, spec, metadata), wanted)
    return [(part, runs.read(part)) for part in runs.parts()]


def _sorted_parts(rows: pa.Table, spec: Table, metadata: TableMetadata) -> Parts:
    rows = rows.combine_chunks()
    return [
        (part.values, _Lazily(partial(_in_order, rows, part.places, spec.sort)))
        for part in parted(rows, spec, metadata)
    ]


def _in_order(rows: pa.Table, at: NDArray[np.int64], by: Sequence[str]) -> pa.Table:
    """The rows at some places, in order: only the columns that say so are looked up twice."""
    import pyarrow as pa

    if by:
        keys = rows.select(list(dict.fromkeys(by))).take(pa.array(at))
        at = at[places(keys, by)]
    return rows.take(pa.array(at))


def _conformed(name: str, rows: Iterable[pa.RecordBatch], wanted: pa.Schema) -> Iterator[pa.Table]:
    """Batches in the table's columns and types."""
    import pyarrow as pa

    for batch in rows:
        if not isinstance(batch, pa.RecordBatch):
            raise UserError(
                f"{name}: its source gave a {type(batch).__name__}",
                expected="a pyarrow Table, a RecordBatchReader, or RecordBatches one by one",
            )
        yield schema.conform(name, pa.Table.from_batches([batch]), wanted)


class Writer:
    """Writes partitions, a few side by side; each file in order and about as large as asked.

    For rows that are split and in order already; `write` is for rows as they come.
    """

    def __init__(
        self,
        io: FileIO,
        metadata: TableMetadata,
        spec: Table,
        folder: str,
        memory: int = MEMORY,
    ) -> None:
        from pyiceberg.io.pyarrow import compute_statistics_plan, parquet_path_to_id_mapping

        self._io = io
        self._metadata = metadata
        self._spec = spec
        self._arrow = schema.arrow_schema(metadata.schema())
        self._group_bytes = min(BYTES_A_GROUP, memory // 16)
        # Each holds a block of every run, and a row group.
        self._side_by_side = max(1, min(WRITERS, memory // MEMORY_A_WRITER))
        # A task that was given up for lost may still write: nobody else has this name.
        self._stem = f"{folder}/{uuid.uuid4().hex[:8]}"
        self._statistics = compute_statistics_plan(metadata.schema(), metadata.properties)
        self._paths = parquet_path_to_id_mapping(metadata.schema())

    def write(self, parts: Parts) -> tuple[DataFile, ...]:
        """The files of all partitions, in order."""
        files: list[DataFile] = []
        flights: deque[Future[list[DataFile]]] = deque()
        shape: _Shape | None = None
        done = count()
        with ThreadPoolExecutor(self._side_by_side, "write") as pool:

            def land(most: int) -> None:
                while len(flights) > most:
                    files.extend(flights.popleft().result())
                    inside.tell(done=next(done), total=len(parts))
                    point("lake.write.between_files")

            inside.tell(done=next(done), total=len(parts))
            try:
                for number, (values, rows) in enumerate(parts):
                    coming = _Coming(rows)
                    if shape is None:
                        if not coming:
                            continue
                        shape = self._shape(coming)
                    task = pool.submit(self._partition, f"{number:05d}", values, coming, shape)
                    flights.append(task)
                    land(self._side_by_side - 1)
                land(0)
            finally:
                pool.shutdown(cancel_futures=True)
        return tuple(files)

    def _shape(self, coming: _Coming) -> _Shape:
        """What all files of this write have in common, from a look at the first rows."""
        sample = coming.look(encodings.SAMPLE)
        with translated(f"encoding rows for {self._stem}"):
            how = encodings.chosen(sample)
        width = max(1, sample.nbytes // max(sample.num_rows, 1))
        return _Shape(how, max(256, min(ROWS_A_GROUP, self._group_bytes // width)))

    def _partition(
        self, name: str, values: tuple[Any, ...], coming: _Coming, shape: _Shape
    ) -> list[DataFile]:
        """The data files of one partition from its rows in order."""
        files: list[DataFile] = []
        while coming:
            path = f"{self._stem}-{name}-{len(files):03d}.parquet"
            with translated(f"writing {path}"):
                footer, size = self._file(path, coming, shape)
            spill.release()
            files.append(self._described(path, footer, size, values))
        return files

    def _file(self, path: str, coming: _Coming, shape: _Shape) -> tuple[pq.FileMetaData, int]:
        """Write row groups until the file is as large as asked for, or no rows are left."""
        import pyarrow.parquet as pq

        how, rows = shape.encoding, 0
        target, row_bytes = self._spec.target_file_bytes, how.row_bytes
        with self._io.new_output(path).create() as sink:
            with pq.ParquetWriter(sink, self._arrow, store_schema=False, **how.options) as out:
                while coming and sink.tell() < 0.95 * target:
                    fit = int((target - sink.tell()) / max(row_bytes, 0.01))
                    some = coming.take(min(shape.group_rows, max(fit, 256)))
                    out.write_table(some.cast(self._arrow), row_group_size=some.num_rows)
                    rows += some.num_rows
                    row_bytes = sink.tell() / rows
            size = sink.tell()
        return out.writer.metadata, size

    def _described(
        self, path: str, footer: pq.FileMetaData, size: int, values: tuple[Any, ...]
    ) -> DataFile:
        from pyiceberg.io.pyarrow import data_file_statistics_from_parquet_metadata
        from pyiceberg.manifest import DataFile, DataFileContent
        from pyiceberg.typedef import Record

        found = data_file_statistics_from_parquet_metadata(footer, self._statistics, self._paths)
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=path,
            file_format="PARQUET",
            partition=Record(*values),
            file_size_in_bytes=size,
            sort_order_id=self._metadata.default_sort_order_id if self._spec.sort else None,
            **found.to_serialized_dict(),
        )
        file.spec_id = self._metadata.default_spec_id
        return file


class _Shape(NamedTuple):
    """How every file of one write is laid out. group_rows: at most, in a row group."""

    encoding: encodings.Encoding
    group_rows: int


class _Lazily:
    """One table that is made when it is asked for, and not kept."""

    def __init__(self, make: Callable[[], pa.Table]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[pa.Table]:
        yield self._make()


class _Coming:
    """Rows that come in blocks of any size, taken as many at a time as wanted."""

    def __init__(self, blocks: Iterable[pa.Table]) -> None:
        self._blocks = iter(blocks)
        self._held: deque[pa.Table] = deque()

    def __bool__(self) -> bool:
        while not self._held:
            block = next(self._blocks, None)
            if block is None:
                return False
            if block.num_rows:
                self._held.append(block)
        return True

    def take(self, rows: int) -> pa.Table:
        """The next `rows` rows, or what is left."""
        import pyarrow as pa

        taken: list[pa.Table] = []
        while rows and self:
            block = self._held.popleft()
            taken.append(block.slice(0, rows))
            if block.num_rows > rows:
                self._held.appendleft(block.slice(rows))
            rows -= taken[-1].num_rows
        return pa.concat_tables(taken) if taken else pa.table({})

    def look(self, rows: int) -> pa.Table:
        """The next rows, which come again."""
        found = self.take(rows)
        self._held.appendleft(found)
        return found
