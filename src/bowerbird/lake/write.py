"""Rows in, data files out: split into partitions, in the declared order, with full statistics.

Nobody sees the files until a commit names them. What comes back is small and can be pickled.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from bowerbird.core import inside
from bowerbird.core.errors import UserError
from bowerbird.core.faults import point
from bowerbird.lake import evolve, schema
from bowerbird.lake.catalog import Lake
from bowerbird.lake.failures import translated
from bowerbird.lake.partitions import partition_values, plain
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
"""Rows in a row group: what a reader can skip, and what a writer holds encoded."""


class Written(msgspec.Struct, frozen=True):
    """Files that are ready to be committed to a table of `spec` (None: to the table as it is).

    columns: column -> the id by which the files know it; the commit compares them.
    replaces: path of a file that these take the place of -> the delete files that were applied when
      it was read. The commit holds that both are still so.
    """

    spec: Table | None
    columns: dict[str, int] = {}
    files: tuple[DataFile, ...] = ()
    replaces: dict[str, tuple[str, ...]] = {}

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
        replaces = {path: on for part in parts for path, on in part.replaces.items()}
        return msgspec.structs.replace(parts[0], files=files, replaces=replaces)


def write(lake: Lake, spec: Table, rows: Rows, folder: str, ref: str | None = None) -> Written:
    """Write rows as the data files of one attempt, below `folder`.

    Raises `UserError` where the rows are not what the spec says. Holds the rows once, and one
    partition of them a second time.
    """
    name = ref or str(spec.ref)
    metadata = evolve.planned(lake.find(name), spec, lake.location(name))
    arrow = schema.arrow_schema(metadata.schema())
    data = gather(str(spec.ref), rows, arrow)
    writer = _Writer(lake.io(), metadata, spec, arrow, folder)
    files: list[DataFile] = []
    parts = split(data, spec, metadata)
    for done, (partition, indices) in enumerate(parts):
        inside.tell(done=done, total=len(parts))
        files += writer.partition(data, partition, indices)
        point("lake.write.between_files")
    inside.tell(done=len(parts), total=len(parts))
    columns = {field.name: field.field_id for field in metadata.schema().fields}
    return Written(spec=spec, columns=columns, files=tuple(files))


def gather(name: str, rows: Rows, wanted: pa.Schema) -> pa.Table:
    """All rows, in the table's columns and types, each column in one piece."""
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return schema.conform(name, rows, wanted).combine_chunks()
    parts = []
    for batch in rows:
        if not isinstance(batch, pa.RecordBatch):
            raise UserError(
                f"{name}: its source gave a {type(batch).__name__}",
                expected="a pyarrow Table, a RecordBatchReader, or RecordBatches one by one",
            )
        parts.append(schema.conform(name, pa.Table.from_batches([batch]), wanted))
    return pa.concat_tables(parts).combine_chunks() if parts else wanted.empty_table()


def split(
    data: pa.Table, spec: Table, metadata: TableMetadata
) -> list[tuple[tuple[Any, ...], NDArray[np.intp] | None]]:
    """Each partition's values, and the places of its rows; None for all rows as they are."""
    import numpy as np

    if data.num_rows == 0:
        return []
    if not spec.partition:
        return [((), None)]
    coded = []
    for one in spec.partition:
        kind = metadata.schema().find_type(one.column)
        values = partition_values(one, data.column(one.column), kind)
        codes = values.dictionary_encode(null_encoding="encode")
        known = [plain(one, value, kind) for value in codes.dictionary.to_pylist()]
        coded.append((codes.indices.to_numpy(zero_copy_only=False), known))
    keys, present = _joint([codes for codes, _ in coded], [len(known) for _, known in coded])
    order = np.argsort(keys, kind="stable")
    bounds = np.concatenate(([0], np.cumsum(np.bincount(keys, minlength=len(present)))))
    parts = []
    for at, code in enumerate(present):
        values = []
        for _, known in reversed(coded):
            code, this = divmod(code, len(known))
            values.append(known[this])
        parts.append((tuple(reversed(values)), order[bounds[at] : bounds[at + 1]]))
    return sorted(parts, key=lambda part: tuple((v is None, v) for v in part[0]))


def _joint(columns: list[Any], sizes: list[int]) -> tuple[Any, list[int]]:
    """One small number a row for the combination of its codes, and the combinations there are."""
    import numpy as np

    joint = np.zeros(len(columns[0]), np.int64)
    for codes, size in zip(columns, sizes, strict=True):
        joint = joint * size + codes
    present, keys = np.unique(joint, return_inverse=True)
    # numpy sorts 16-bit numbers by radix: ten times as fast as others.
    small = np.uint16 if len(present) <= 1 << 16 else np.int64
    return keys.astype(small), [int(code) for code in present]


class _Writer:
    """Writes the partitions of one table's rows, one after another."""

    def __init__(
        self, io: FileIO, metadata: TableMetadata, spec: Table, arrow: pa.Schema, folder: str
    ) -> None:
        from pyiceberg.io.pyarrow import compute_statistics_plan, parquet_path_to_id_mapping

        self._io = io
        self._metadata = metadata
        self._spec = spec
        self._arrow = arrow
        # A task that was given up for lost may still write: nobody else has this name.
        self._stem = f"{folder}/{uuid.uuid4().hex[:8]}"
        self._count = 0
        self._statistics = compute_statistics_plan(metadata.schema(), metadata.properties)
        self._paths = parquet_path_to_id_mapping(metadata.schema())
        self._encoding = encoding(arrow, spec.sort)

    def partition(
        self, data: pa.Table, values: tuple[Any, ...], places: NDArray[np.intp] | None
    ) -> Iterator[DataFile]:
        """The data files of one partition, in order, each about as large as was asked for."""
        rows = ordered(data, places, self._spec.sort)
        start = 0
        while start < rows.num_rows:
            path = f"{self._stem}-{self._count:05d}.parquet"
            self._count += 1
            with translated(f"writing {path}"):
                footer, size, start = self._file(path, rows, start)
            yield self._described(path, footer, size, values)

    def _file(self, path: str, rows: pa.Table, start: int) -> tuple[pq.FileMetaData, int, int]:
        """Write row groups from `start` until the file is large enough; where it stopped."""
        import pyarrow.parquet as pq

        with self._io.new_output(path).create() as sink:
            with pq.ParquetWriter(sink, self._arrow, store_schema=False, **self._encoding) as out:
                while start < rows.num_rows and sink.tell() < self._spec.target_file_bytes:
                    out.write_table(rows.slice(start, ROWS_A_GROUP), row_group_size=ROWS_A_GROUP)
                    start += ROWS_A_GROUP
            size = sink.tell()
        return out.writer.metadata, size, start

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


def ordered(data: pa.Table, places: NDArray[np.intp] | None, sort: tuple[str, ...]) -> pa.Table:
    """Some rows of a table (None: all), in order; equal rows stay as they came."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = None if places is None else pa.array(places)
    if sort:
        keys = data.select(list(sort))
        keys = keys if chosen is None else keys.take(chosen)
        # Nulls go last, as the sort order says; that is Arrow's way when it is not told another.
        order = pc.sort_indices(keys, sort_keys=[(column, "ascending") for column in sort])
        chosen = order if chosen is None else chosen.take(order)
    return data if chosen is None else data.take(chosen)


def encoding(arrow: pa.Schema, sort: tuple[str, ...]) -> dict[str, Any]:
    """How Parquet is to lay columns out: deltas where neighbours are near each other, dictionaries
    elsewhere. `benchmarks/lake_first.py` shows the sizes."""
    import pyarrow.types as at

    def near(kind: pa.DataType) -> bool:
        return bool(at.is_timestamp(kind) or at.is_integer(kind) or at.is_date(kind))

    deltas = [column for column in sort if near(arrow.field(column).type)]
    return {
        "compression": "zstd",
        "use_dictionary": [column for column in arrow.names if column not in deltas] or False,
        "column_encoding": dict.fromkeys(deltas, "DELTA_BINARY_PACKED") or None,
        "write_page_index": True,
        "write_page_checksum": True,
    }
