"""What PyIceberg 0.12 gets wrong or does again and again, mended in this process.

*Nulls*: a null list, or map, of structs is read as an empty one, wherever a file's columns are not
the table's (one was added, dropped, renamed, moved): such a column is built anew from its offsets
alone. `tests/lake/test_mends.py` fails once PyIceberg keeps them itself.

*Schemas*: of the 3 ms that it takes to open a manifest, 2.5 go into parsing the same few Avro
schemas, and into laying out how they are read. A partitioning's types are made anew for each file.

*Manifests*: a manifest never changes, and each plan of a read decodes all that a version has: a
tenth of a millisecond a file. What was read stays at hand, of so many files at most.

*Copies*: each commit copies all metadata twice, every snapshot of the table in it, so that a commit
takes longer the more of them there are. Nothing changes metadata in place, so new ones share parts.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from bowerbird.lake.recent import ENTRIES, Recent

if TYPE_CHECKING:
    import pyarrow as pa


_SCHEMAS = 1024
"""How many schemas of manifests are kept: one for each partition spec and version of Iceberg."""


@cache
def parse_schemas_once() -> None:
    """From now on, in this process. Called before a catalog is opened."""
    from pyiceberg.avro import file
    from pyiceberg.partitioning import PartitionSpec

    header: Any = file.AvroFileHeader
    parse = header.get_schema

    @lru_cache(_SCHEMAS)
    def parsed(text: str) -> Any:
        return parse(header(None, {file._SCHEMA_KEY: text}, None))

    def get_schema(self: Any) -> Any:
        text = self.meta.get(file._SCHEMA_KEY)
        return parse(self) if text is None else parsed(text)

    header.get_schema = get_schema
    partitioning: Any = PartitionSpec
    partitioning.partition_type = _once(partitioning.partition_type)
    for name in ("construct_reader", "construct_writer", "resolve_reader", "resolve_writer"):
        setattr(file, name, _once(getattr(file, name)))


@cache
def read_manifests_once() -> None:
    """From now on, in this process. Called before a catalog is opened."""
    from pyiceberg.manifest import ManifestEntryStatus, ManifestFile

    manifest: Any = ManifestFile
    fetch = manifest.fetch_manifest_entry

    def fetch_once(self: Any, io: Any, discard_deleted: bool = True) -> list[Any]:
        # What entries inherit is of the manifest list, so it is part of what they are known by.
        key = (
            self.manifest_path,
            self.manifest_length,
            self.partition_spec_id,
            self.added_snapshot_id,
            self.sequence_number,
        )
        found = ENTRIES.get(key)
        if found is None:
            found = fetch(self, io, discard_deleted=False)
            ENTRIES.put(key, found)
        deleted = ManifestEntryStatus.DELETED
        return [_own(one) for one in found if not discard_deleted or one.status != deleted]

    manifest.fetch_manifest_entry = fetch_once


def _own(entry: Any) -> Any:
    """An entry whose fields can be set without another reader's being so."""
    mine, file = copy(entry), copy(entry.data_file)
    file._data = list(file._data)
    mine._data = list(mine._data)
    mine._data[_DATA_FILE] = file
    return mine


_DATA_FILE = 4
"""The place of an entry's file among its fields."""


@cache
def share_metadata() -> None:
    """From now on, in this process. Called before a catalog is opened."""
    from pyiceberg.table import metadata

    for kind in (metadata.TableMetadataV1, metadata.TableMetadataV2, metadata.TableMetadataV3):
        one: Any = kind
        one.__deepcopy__ = lambda self, _memo=None: self.__copy__()


def _once(lay_out: Callable[..., Any]) -> Callable[..., Any]:
    """The function, asked once for arguments that are the very same objects, or equal mappings of
    numbers to such. What it makes holds no state of a file that is read."""
    known = Recent(_SCHEMAS, lambda _: 1)

    def laid_out(*args: Any, **named: Any) -> Any:
        given = (*args, *named.values())
        key = (
            len(args),
            *named,
            *(tuple(x.items()) if isinstance(x, dict) else id(x) for x in given),
        )
        found = known.get(key)
        if found is None:
            # What was given lives as long as its id is known.
            found = given, lay_out(*args, **named)
            known.put(key, found)
        return found[1]

    return laid_out


@cache
def keep_nulls() -> None:
    """From now on, in this process. Called before each read."""
    from pyiceberg.io.pyarrow import ArrowProjectionVisitor

    visitor: Any = ArrowProjectionVisitor
    visit_list, visit_map = visitor.list, visitor.map

    def list_with_nulls(self: Any, kind: Any, came: Any, *inner: Any) -> Any:
        return _restored(came, visit_list(self, kind, came, *inner))

    def map_with_nulls(self: Any, kind: Any, came: Any, *inner: Any) -> Any:
        return _restored(came, visit_map(self, kind, came, *inner))

    visitor.list, visitor.map = list_with_nulls, map_with_nulls


def _restored(came: pa.Array | None, made: pa.Array | None) -> pa.Array | None:
    import pyarrow as pa

    if came is None or made is None or came.null_count == made.null_count:
        return made
    nulls = came.is_null()
    if isinstance(made, pa.MapArray):
        return pa.MapArray.from_arrays(
            made.offsets, made.keys, made.items, type=made.type, mask=nulls
        )
    return type(made).from_arrays(made.offsets, made.values, type=made.type, mask=nulls)
