"""What the snapshots of a table need: every file, by its bare path.

A bare path is as `bowerbird.lake.files` lists it. Other engines write ``file:/…`` or ``s3a://…``
for the same file, and a file that is taken for another is a file that is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bowerbird.lake import kept, snapshots
from bowerbird.lake.log import CELLS

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.snapshots import Snapshot

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:(?://)?", re.IGNORECASE)


def bare(path: str) -> str:
    """``file:/a``, ``file:///a`` and ``/a`` are one file; ``s3://b/k`` and ``s3a://b/k`` too."""
    return _SCHEME.sub("", path)


def manifests(table: IcebergTable, of: Iterable[Snapshot]) -> dict[str, ManifestFile]:
    return {
        bare(manifest.manifest_path): manifest
        for snapshot in of
        for manifest in snapshots.manifests(table, snapshot)
    }


def beside(table: IcebergTable, of: Iterable[Snapshot]) -> Iterator[str]:
    """What each snapshot names itself: its list of manifests, its cells, its statistics."""
    numbers = set()
    for snapshot in of:
        numbers.add(snapshot.snapshot_id)
        yield bare(snapshot.manifest_list)
        told = snapshot.summary.additional_properties if snapshot.summary else {}
        if (cells := kept.file_of(told, CELLS)) is not None:
            yield bare(cells)
    for known in (*table.metadata.statistics, *table.metadata.partition_statistics):
        if known.snapshot_id in numbers:
            yield bare(known.statistics_path)


def metadata_files(table: IcebergTable) -> Iterator[str]:
    """The table's metadata, and the earlier ones that its log still names."""
    yield bare(table.metadata_location)
    for entry in table.metadata.metadata_log:
        yield bare(entry.metadata_file)


def freed(table: IcebergTable, going: frozenset[int]) -> dict[str, int]:
    """The files that only these snapshots need: path -> bytes (0 where nothing tells them)."""
    leave = [one for one in table.metadata.snapshots if one.snapshot_id in going]
    stay = [one for one in table.metadata.snapshots if one.snapshot_id not in going]
    found: dict[str, int] = dict.fromkeys(beside(table, leave), 0)
    needed = manifests(table, stay)
    for path, manifest in manifests(table, leave).items():
        if path in needed:
            continue
        found[path] = manifest.manifest_length
        for entry in snapshots.entries(table, manifest, deleted=True):
            found[bare(entry.data_file.file_path)] = entry.data_file.file_size_in_bytes
    return _without(table, found, stay, needed)


def unneeded(table: IcebergTable, paths: Iterable[str]) -> list[str]:
    """Those of these bare paths that no snapshot of the table needs now."""
    stay = table.metadata.snapshots
    found = dict.fromkeys(paths, 0)
    return list(_without(table, found, stay, manifests(table, stay)))


def _without(
    table: IcebergTable,
    found: dict[str, int],
    stay: Iterable[Snapshot],
    needed: dict[str, ManifestFile],
) -> dict[str, int]:
    """What is left of `found` without what the snapshots that stay need; holds `found` alone."""
    for path in (*beside(table, stay), *metadata_files(table), *needed):
        found.pop(path, None)
    for manifest in needed.values() if found else ():
        for entry in snapshots.entries(table, manifest):
            found.pop(bare(entry.data_file.file_path), None)
    return found
