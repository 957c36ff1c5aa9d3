"""What is different between two versions of a table: files, partitions, columns; and rows, by key.

`diff` reads metadata alone. `row_diff` reads only files that one of the two versions has and the
other has not, in the order of the key, so that it holds a few blocks whatever the tables' size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.core.refs import Ref
from bowerbird.core.targets import History
from bowerbird.lake import snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.log import TableLog
from bowerbird.lake.read import Planned, pinned, plan
from bowerbird.lake.schema import columns_of

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.types import NestedField


class CellDiff(msgspec.Struct, frozen=True):
    """One partition whose files differ. rows, bytes: (before, after), of whole data files."""

    cell: str
    files_added: int
    files_removed: int
    rows: tuple[int, int]
    bytes: tuple[int, int]


class ColumnDiff(msgspec.Struct, frozen=True):
    """A column whose statistics differ; each (before, after), None where they do not say.

    nulls: how many. share: nulls in a row. low, high: as texts (a long text's may be cut short).
    """

    column: str
    nulls: tuple[int | None, int | None]
    share: tuple[float | None, float | None]
    low: tuple[str | None, str | None]
    high: tuple[str | None, str | None]


class Diff(msgspec.Struct, frozen=True):
    """From version `before` to version `after`.

    changed: the partitions whose rows the commits in between changed; None where neither version
      descends from the other, or commits in between were expired. A compaction changes none.
    schema: column -> (type before, type after), None where there is no such column.
    renamed: name before -> name after. deletes: files that delete rows, (before, after).
    """

    name: str
    before: str
    after: str
    files_added: tuple[str, ...]
    files_removed: tuple[str, ...]
    rows: tuple[int, int]
    bytes: tuple[int, int]
    deletes: tuple[int, int]
    cells: tuple[CellDiff, ...]
    columns: tuple[ColumnDiff, ...]
    schema: dict[str, tuple[str | None, str | None]]
    renamed: dict[str, str]
    changed: tuple[str, ...] | None

    @property
    def same_rows(self) -> bool:
        """Whether no row differs, as far as commits tell."""
        return self.changed == ()


def diff(lake: Lake, ref: Ref | str, before: str, after: str) -> Diff:
    """What is different in `after`; each a version, a branch or a tag.

    Raises `RefError` for a version that is not there.
    """
    table = lake.load(ref)
    numbers = [pinned(table, version) for version in (before, after)]
    live = [
        snapshots.live(table, table.snapshot_by_id(number) if number is not None else None)
        for number in numbers
    ]
    files = [{one.file.file_path: one for one in side if not one.deletes} for side in live]
    old, new = (_schema_at(table, number) for number in numbers)
    schema, renamed = _schema_diff(old, new)
    return Diff(
        name=identifier(ref),
        before=str(numbers[0]),
        after=str(numbers[1]),
        files_added=tuple(sorted(files[1].keys() - files[0].keys())),
        files_removed=tuple(sorted(files[0].keys() - files[1].keys())),
        rows=_pair(_rows(side.values()) for side in files),
        bytes=_pair(_bytes(side.values()) for side in files),
        deletes=_pair(sum(one.deletes for one in side) for side in live),
        cells=tuple(_cells(*files)),
        columns=tuple(_columns(new, *files)),
        schema=schema,
        renamed=renamed,
        changed=_changed(lake, ref, table, *map(str, numbers)),
    )


def _pair(values: Iterable[int]) -> tuple[int, int]:
    one, other = values
    return one, other


def _rows(files: Iterable[snapshots.Live]) -> int:
    return sum(one.file.record_count for one in files)


def _bytes(files: Iterable[snapshots.Live]) -> int:
    return sum(one.file.file_size_in_bytes for one in files)


def _cells(
    before: Mapping[str, snapshots.Live], after: Mapping[str, snapshots.Live]
) -> Iterator[CellDiff]:
    parts: dict[str, tuple[list[snapshots.Live], list[snapshots.Live]]] = {}
    for side, files in enumerate((before, after)):
        for one in files.values():
            parts.setdefault(one.part, ([], []))[side].append(one)
    for cell, (old, new) in sorted(parts.items()):
        paths = [{one.file.file_path for one in side} for side in (old, new)]
        if paths[0] != paths[1]:
            yield CellDiff(
                cell=cell,
                files_added=len(paths[1] - paths[0]),
                files_removed=len(paths[0] - paths[1]),
                rows=(_rows(old), _rows(new)),
                bytes=(_bytes(old), _bytes(new)),
            )


def _columns(
    schema: Schema,
    before: Mapping[str, snapshots.Live],
    after: Mapping[str, snapshots.Live],
) -> Iterator[ColumnDiff]:
    for field in schema.fields:
        if not field.field_type.is_primitive:
            continue
        old, new = (_statistics(field, side) for side in (before, after))
        if old != new:
            yield ColumnDiff(field.name, *zip(old, new, strict=True))  # type: ignore[arg-type] # four pairs


def _statistics(
    field: NestedField, files: Mapping[str, snapshots.Live]
) -> tuple[int | None, float | None, str | None, str | None]:
    """Nulls, their share, the least and the greatest value of a column in some files."""
    rows = 0
    nulls: int | None = 0
    lows, highs = [], []
    for one in files.values():
        low, high, here = snapshots.bounds_of(field, one.file)
        rows += one.file.record_count
        nulls = None if nulls is None or here is None else nulls + here
        lows += [] if low is None else [low]
        highs += [] if high is None else [high]
    share = None if nulls is None or not rows else round(nulls / rows, 6)
    return nulls, share, str(min(lows)) if lows else None, str(max(highs)) if highs else None


def _schema_at(table: IcebergTable, number: int | None) -> Schema:
    snapshot = table.snapshot_by_id(number) if number is not None else None
    known = {one.schema_id: one for one in table.metadata.schemas}
    number = snapshot.schema_id if snapshot is not None else None
    return known.get(-1 if number is None else number, table.schema())


def _schema_diff(
    old: Schema, new: Schema
) -> tuple[dict[str, tuple[str | None, str | None]], dict[str, str]]:
    before = {field.field_id: field.name for field in old.fields}
    renamed = {
        before[field.field_id]: field.name
        for field in new.fields
        if before.get(field.field_id, field.name) != field.name
    }
    types, after = columns_of(old), columns_of(new)
    was = {renamed.get(name, name): text for name, text in types.items()}
    names = dict.fromkeys([*was, *after])
    return {n: (was.get(n), after.get(n)) for n in names if was.get(n) != after.get(n)}, renamed


def _changed(
    lake: Lake, ref: Ref | str, table: IcebergTable, before: str, after: str
) -> tuple[str, ...] | None:
    """The cells that the commits between two versions changed, whichever is the older."""
    if before == after:
        return ()
    for branch in [snapshots.MAIN, *table.metadata.refs]:
        named = table.metadata.refs.get(branch)
        if named is None or str(named.snapshot_ref_type) != "branch":
            continue
        found = _between(TableLog(lake, ref, branch).load(), before, after)
        if found is not None:
            return found
    return None


def _between(history: History, one: str, other: str) -> tuple[str, ...] | None:
    places = {str(entry.version): at for at, entry in enumerate(history.entries)}
    if one not in places or other not in places:
        return None
    newer, older = sorted((places[one], places[other]))
    cells = {cell for entry in history.entries[newer:older] for cell in entry.changed}
    return tuple(sorted(cells))


CHANGE = "change"
"""The column that `row_diff` puts first: ``added``, ``removed``, or ``before`` and ``after`` of a
row that changed."""


def row_diff(
    lake: Lake, ref: Ref | str, before: str, after: str, key: Sequence[str]
) -> Iterator[Any]:
    """The rows that differ, in the order of `key`, as Arrow tables of bounded size.

    key: columns that tell rows apart in each version. Rows are compared in the present columns.
    Raises `UserError` for a column that is not there or holds no single values, and where two rows
    of one version have one key.
    """
    from bowerbird.lake.versions.rows import compared

    if not key:
        raise UserError("rows are compared by a key", expected="one column or more")
    old, new = (_at_present(plan(lake, ref, version)) for version in (before, after))
    _check_key(old, key)
    ours, theirs = _lone(old.tasks, new.tasks), _lone(new.tasks, old.tasks)
    return compared(old, ours, new, theirs, key)


def _at_present(found: Planned) -> Planned:
    return msgspec.structs.replace(found, schema=found.table.schema())


def _check_key(found: Planned, key: Sequence[str]) -> None:
    known = {field.name: field for field in found.schema.fields}
    for column in key:
        if column not in known or not known[column].field_type.is_primitive:
            singles = [name for name, field in known.items() if field.field_type.is_primitive]
            raise UserError(
                f"{'.'.join(found.table.name())}: {column!r} is no column to compare rows by",
                expected=f"one of: {', '.join(singles)}",
            )


def _lone(tasks: Iterable[FileScanTask], others: Iterable[FileScanTask]) -> list[FileScanTask]:
    """The files that show other rows than in the other version, or are not there."""
    known = {task.file.file_path: _deletes(task) for task in others}
    return [task for task in tasks if known.get(task.file.file_path) != _deletes(task)]


def _deletes(task: FileScanTask) -> frozenset[str]:
    files: Iterable[DataFile] = task.delete_files
    return frozenset(file.file_path for file in files)
