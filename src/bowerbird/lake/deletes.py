"""Files that name deleted rows: written, committed, and taken out when nothing is left to delete.

PyIceberg writes none, and its overwrite knows data files alone; so this one subclasses it: the
commit that rewrites the last of what a delete file applies to takes it out too. Imported late.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import TYPE_CHECKING

from pyiceberg.io import FileIO
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.typedef import EMPTY_DICT

from bowerbird.lake import snapshots

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def left_over(table: Table, branch: str, done: Collection[str]) -> tuple[DataFile, ...]:
    """The delete files of a branch that apply to no data files but those that are `done` with: they
    go, or a new file names all of their deleted rows."""
    head = snapshots.head_of(table, branch)
    deletes = [
        entry.data_file
        for manifest in (snapshots.manifests(table, head) if head else ())
        if manifest.content == ManifestContent.DELETES
        for entry in snapshots.entries(table, manifest)
    ]
    if not deletes or any(one.content == DataFileContent.EQUALITY_DELETES for one in deletes):
        return ()  # PyIceberg does not say what equality deletes apply to
    applied = {
        path
        for data, paths in snapshots.deletes_on(table, branch).items()
        if data not in done
        for path in paths
    }
    return tuple(file for file in deletes if file.file_path not in applied)


_PATH, _POS = 2147483546, 2147483545
"""The ids that Iceberg gives the two columns of a file of deleted positions."""


def write_positions(io: FileIO, path: str, file: DataFile, places: NDArray[np.int64]) -> DataFile:
    """A file that names deleted rows of one data file. places: of the rows, ascending, from 0.

    Its bounds are the data file's path, so readers need not open it for others.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [
        pa.field(name, kind, nullable=False, metadata={"PARQUET:field_id": str(number)})
        for name, kind, number in (("file_path", pa.string(), _PATH), ("pos", pa.int64(), _POS))
    ]
    paths = pa.repeat(file.file_path, len(places))
    rows = pa.table([paths, pa.array(places)], pa.schema(fields))
    output = io.new_output(path)
    with output.create() as sink:
        pq.write_table(rows, sink, compression="zstd", store_schema=False)
        size = sink.tell()
    name = file.file_path.encode()
    first, last = (struct.pack("<q", int(places[at])) for at in (0, -1))
    made = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format="PARQUET",
        partition=file.partition,
        record_count=len(places),
        file_size_in_bytes=size,
        lower_bounds={_PATH: name, _POS: first},
        upper_bounds={_PATH: name, _POS: last},
    )
    made.spec_id = file.spec_id
    return made


class Overwrite(_OverwriteFiles):
    """An overwrite that also adds delete files, and takes others out."""

    def __init__(
        self,
        tx: Transaction,
        branch: str,
        summary: dict[str, str],
        adds: Collection[DataFile],
        deletes: Collection[DataFile],
    ) -> None:
        super().__init__(
            operation=Operation.OVERWRITE,
            transaction=tx,
            io=tx._table.io,
            snapshot_properties=summary,
            branch=branch,
        )
        self._adds = list(adds)
        self._deletes = frozenset(deletes)

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        if self._adds:
            added = [
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED,
                    snapshot_id=self._snapshot_id,
                    sequence_number=None,
                    file_sequence_number=None,
                    data_file=file,
                )
                for file in self._adds
            ]
            manifests = [*manifests, self._written(self._adds[0].spec_id, added)]
        return super()._process_manifests(manifests)

    def _existing_manifests(self) -> list[ManifestFile]:
        found: list[ManifestFile] = []
        for manifest in super()._existing_manifests():
            if not self._deletes or manifest.content != ManifestContent.DELETES:
                found.append(manifest)
                continue
            entries = self.fetch_manifest_entry(manifest)
            stay = [entry for entry in entries if entry.data_file not in self._deletes]
            if len(stay) == len(entries):
                found.append(manifest)
            elif stay:
                kept = [
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.EXISTING,
                        snapshot_id=entry.snapshot_id,
                        sequence_number=entry.sequence_number,
                        file_sequence_number=entry.file_sequence_number,
                        data_file=entry.data_file,
                    )
                    for entry in stay
                ]
                found.append(self._written(manifest.partition_spec_id, kept))
        return found

    def _written(self, spec_id: int, entries: list[ManifestEntry]) -> ManifestFile:
        spec, output, number = self.spec(spec_id), self.new_manifest_output(), self._snapshot_id
        with _DeleteManifest(spec, self.schema(), output, number, self._compression) as writer:
            for entry in entries:
                writer.add_entry(entry)
        return writer.to_manifest_file()

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        added, gone = self._added_data_files, self._deleted_data_files
        self._added_data_files = [*added, *self._adds]  # so that the totals count them
        self._deleted_data_files = gone | self._deletes
        try:
            return super()._summary(snapshot_properties)
        finally:
            self._added_data_files, self._deleted_data_files = added, gone


class _DeleteManifest(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}
