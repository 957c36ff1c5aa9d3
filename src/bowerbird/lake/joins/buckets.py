"""Which files hold which keys: one version of a table, its files by the bucket of a key.

Iceberg puts a key into bucket ``h mod n``, with ``h`` its murmur3 hash without the sign bit. So a
table of 64 buckets is one of 16 too, where bucket 3 is made of 3, 19, 35 and 51: tables whose
counts divide one another are bucketed alike. A null key is in no bucket: it is under None here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.core.refs import Ref
from bowerbird.lake import streams
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.read import Planned, plan
from bowerbird.lake.spill import MEMORY

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata

    from bowerbird.lake.read import Where

Bucket = int | None
"""The number of a bucket; None for rows whose key is null."""


class Bucketed(msgspec.Struct, frozen=True):
    """One version of a table, its files by bucket. It can be pickled, and travels to tasks.

    own: the table's count of buckets. count: that of `files`, which divides it.
    schema: of what is read. width: about the bytes of such a row in memory.
    by: the order in which rows are wanted. loose: the paths of files that do not lie in it.
    ways: bucket -> how many sorted streams are merged.
    """

    name: str
    version: int | None
    schema: Schema
    where: BooleanExpression
    own: int
    count: int
    files: dict[Bucket, tuple[FileScanTask, ...]]
    width: int
    by: tuple[str, ...] = ()
    loose: frozenset[str] = frozenset()
    ways: dict[Bucket, int] = {}

    def of(self, bucket: Bucket) -> tuple[FileScanTask, ...]:
        return self.files.get(bucket, ())

    def only(self, bucket: Bucket) -> Bucketed:
        """The part of it that a task for one bucket needs."""
        return msgspec.structs.replace(self, files={bucket: self.of(bucket)})

    def found(self, table: IcebergTable, bucket: Bucket) -> Planned:
        """What a read of one bucket opens. table: this one, loaded."""
        return Planned(table, self.version, self.schema, self.where, self.of(bucket))

    def memory(self, bucket: Bucket) -> int:
        """About the most bytes that the rows of a bucket take, streamed in order: of each stream
        two blocks and the row group that they are cut from; and what is sorted at once."""
        tasks = self.of(bucket)
        rows = max((task.file.record_count for task in tasks), default=0)
        block = min(streams.BYTES, streams.ROWS * self.width)
        stream = 2 * block + min(GROUP_ROWS, rows) * self.width
        loose = sum(t.file.record_count for t in tasks if t.file.file_path in self.loose)
        return self.ways.get(bucket, 0) * stream + min(MEMORY, 2 * loose * self.width)


GROUP_ROWS = 128 * 1024
"""Rows in a row group, as this house writes them."""


def bucketed(
    lake: Lake,
    ref: Ref | str,
    key: str,
    version: str | None = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
) -> Bucketed:
    """A version of a table by the bucket of `key`.

    Raises `UserError` where it, or some file of it, is not bucketed by that column.
    """
    found = plan(lake, ref, version, columns, where)
    name = identifier(ref)
    metadata = found.table.metadata
    counts = {spec_id: _bucket_field(metadata, spec_id, key) for spec_id in metadata.specs()}
    if counts[metadata.default_spec_id] is None:
        raise UserError(
            f"{name} is not bucketed by {key!r}: it is partitioned by {layout(metadata)}",
            expected=f"bucket({key!r}, n) among its partition fields",
            fix=f"declare partition=[bucket({key!r}, 16), …] and write it anew, or read it whole "
            "with duckdb(), which shuffles",
        )
    files: dict[Bucket, list[FileScanTask]] = {}
    used: set[int] = set()
    for task in found.tasks:
        place = counts[task.file.spec_id]
        if place is None:
            raise UserError(
                f"{name}: {task.file.file_path} was written before the table was bucketed by "
                f"{key!r}",
                expected="every file of this version in a bucket",
                fix="rewrite the old files (compaction does it), or pin a later version",
            )
        used.add(place[1])
        files.setdefault(task.file.partition[place[0]], []).append(task)
    count = _least(name, key, used or {_count(counts[metadata.default_spec_id])})
    whole = Bucketed(
        name=name,
        version=found.version,
        schema=found.schema,
        where=found.where,
        own=count,
        count=count,
        files={bucket: tuple(tasks) for bucket, tasks in files.items()},
        width=_width(found.schema),
    )
    return in_buckets(whole, count)


def _count(place: tuple[int, int] | None) -> int:
    assert place is not None  # noqa: S101 - the default spec was looked at before
    return place[1]


def _least(name: str, key: str, counts: set[int]) -> int:
    """The count by which all files can be told apart."""
    least = min(counts)
    if any(count % least for count in counts):
        raise UserError(
            f"{name}: some files have {least} buckets of {key!r} and some {max(counts)}",
            expected="one count, or counts that divide one another",
            fix="rewrite the old files (compaction does it)",
        )
    return least


def in_buckets(found: Bucketed, count: int) -> Bucketed:
    """The same with fewer buckets: `count` divides the table's."""
    files: dict[Bucket, tuple[FileScanTask, ...]] = {}
    for bucket, tasks in found.files.items():
        into = None if bucket is None else bucket % count
        files[into] = files.get(into, ()) + tasks
    return msgspec.structs.replace(found, count=count, files=files)


def sequenced(lake: Lake, found: Bucketed, by: Sequence[str]) -> Bucketed:
    """The same, told which files do not lie in an order, and how many streams each bucket makes."""
    table = lake.load(found.name)
    every = [task for tasks in found.files.values() for task in tasks]
    lies = {t.file.file_path: streams.lies_in_order(table.metadata, t, by) for t in every}
    loose = frozenset(path for path, in_order in lies.items() if not in_order)
    ways = {bucket: _ways(found.found(table, bucket), by, loose) for bucket in found.files}
    return msgspec.structs.replace(found, by=tuple(by), loose=loose, ways=ways)


def _ways(found: Planned, by: Sequence[str], loose: frozenset[str]) -> int:
    lying = [task for task in found.tasks if task.file.file_path not in loose]
    return len(streams.chains(found, lying, by)) + (len(lying) < len(found.tasks))


def layout(metadata: TableMetadata) -> str:
    """How a table is partitioned, in words."""
    schema = metadata.schema()
    fields = (
        f"{f.transform}({schema.find_column_name(f.source_id)})" for f in metadata.spec().fields
    )
    return ", ".join(fields) or "nothing"


def count_of(metadata: TableMetadata, key: str) -> int | None:
    """How many buckets of a column a table has; None: it is not bucketed by it."""
    place = _bucket_field(metadata, metadata.default_spec_id, key)
    return place[1] if place else None


def _bucket_field(metadata: TableMetadata, spec_id: int, key: str) -> tuple[int, int] | None:
    """The place of the key's bucket among a partitioning's fields, and its count of buckets."""
    from pyiceberg.transforms import BucketTransform

    schema = metadata.schema()
    for place, field in enumerate(metadata.specs()[spec_id].fields):
        if not isinstance(field.transform, BucketTransform):
            continue
        if schema.find_column_name(field.source_id) == key:
            return place, int(field.transform.num_buckets)
    return None


def _width(schema: Schema) -> int:
    """About the bytes of a row in Arrow: 32 for what has no fixed width."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    return sum(_bytes(field.type) for field in schema_to_pyarrow(schema))


def _bytes(kind: object) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)  # type: ignore[attr-defined] # Arrow has no types
    except ValueError:
        return 32


def total(found: Bucketed, tasks: Iterable[FileScanTask]) -> tuple[int, int, int]:
    """Files, rows and the bytes of the columns that are read, as the files' statistics say."""
    files = [task.file for task in tasks]
    wanted = found.schema.field_ids
    sizes = 0
    for file in files:
        known = file.column_sizes or {}
        sizes += sum(known.get(field, 0) for field in wanted) or file.file_size_in_bytes
    return len(files), sum(file.record_count for file in files), sizes


def loose_bytes(found: Bucketed) -> int:
    """The bytes in memory of the rows that must be sorted."""
    every = (task.file for tasks in found.files.values() for task in tasks)
    return sum(f.record_count for f in every if f.file_path in found.loose) * found.width
