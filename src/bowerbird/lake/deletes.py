"""Delete files with nothing left to delete: the commit that rewrites the last of what they apply to
takes them out too.

PyIceberg's overwrite knows data files alone, so this one subclasses it. Imported late.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

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


def left_over(table: Table, branch: str, gone: Iterable[DataFile]) -> tuple[DataFile, ...]:
    """The delete files of a branch that apply to no data file but those that are `gone`."""
    live = snapshots.live(table, snapshots.head_of(table, branch))
    deletes = [one.file for one in live if one.deletes]
    if not deletes or any(one.content == DataFileContent.EQUALITY_DELETES for one in deletes):
        return ()  # PyIceberg does not say what equality deletes apply to
    taken_out = {file.file_path for file in gone}
    applied = {
        path
        for data, paths in snapshots.deletes_on(table, branch).items()
        if data not in taken_out
        for path in paths
    }
    return tuple(file for file in deletes if file.file_path not in applied)


class Overwrite(_OverwriteFiles):
    """An overwrite that also takes delete files out."""

    def __init__(
        self, tx: Transaction, branch: str, summary: dict[str, str], deletes: Collection[DataFile]
    ) -> None:
        super().__init__(
            operation=Operation.OVERWRITE,
            transaction=tx,
            io=tx._table.io,
            snapshot_properties=summary,
            branch=branch,
        )
        self._deletes = frozenset(deletes)

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
                found.append(self._rewritten(manifest, stay))
        return found

    def _rewritten(self, manifest: ManifestFile, stay: list[ManifestEntry]) -> ManifestFile:
        spec = self.spec(manifest.partition_spec_id)
        output, number = self.new_manifest_output(), self._snapshot_id
        with _DeleteManifest(spec, self.schema(), output, number, self._compression) as writer:
            for entry in stay:
                writer.add_entry(
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.EXISTING,
                        snapshot_id=entry.snapshot_id,
                        sequence_number=entry.sequence_number,
                        file_sequence_number=entry.file_sequence_number,
                        data_file=entry.data_file,
                    )
                )
        return writer.to_manifest_file()

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        data = self._deleted_data_files
        self._deleted_data_files = data | self._deletes  # so that the totals count them
        try:
            return super()._summary(snapshot_properties)
        finally:
            self._deleted_data_files = data


class _DeleteManifest(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}
