"""The partitions of one version of a table: what lies in each, and which time each one spans."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.core.errors import UserError
from bowerbird.core.refs import Ref
from bowerbird.core.targets import WHOLE, Read, fields_of
from bowerbird.lake import snapshots
from bowerbird.lake.catalog import Lake, identifier
from bowerbird.lake.read import plan
from bowerbird.lake.specs import (
    Bucket,
    Day,
    Hour,
    Identity,
    Month,
    Transform,
    Truncate,
    Year,
)

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 1, 1, tzinfo=UTC)
NOTHING = "nothing"
"""The data version of a part of a target that has no cell: what was made of it is to be emptied."""
_TIMED = {Hour: "%Y-%m-%d-%H", Day: "%Y-%m-%d", Month: "%Y-%m", Year: "%Y"}


class Size(msgspec.Struct, frozen=True):
    """What lies in a partition."""

    rows: int = 0
    bytes: int = 0
    files: int = 0


def sizes(lake: Lake, ref: Ref | str, version: str | None = None) -> dict[str, Size]:
    """cell -> what lies in it, in the order of their names. No data file is opened."""
    found = plan(lake, ref, version)
    made: dict[str, Size] = {}
    for task in found.tasks:
        cell = snapshots.part_of(found.table.metadata, task.file)
        was = made.get(cell, Size())
        made[cell] = Size(
            was.rows + task.file.record_count,
            was.bytes + task.file.file_size_in_bytes,
            was.files + 1,
        )
    return dict(sorted(made.items()))


def emptied(made: Read | None, sizes: Mapping[str, Size]) -> dict[str, Size]:
    """The cells that were made of partitions in which no row is left: to be emptied too."""
    known = made.cells if made is not None else {}
    return {cell: Size() for cell in known if cell not in sizes and "=" in cell}


def bounds(
    lake: Lake, ref: Ref | str, version: str | None, column: str
) -> dict[str, tuple[int, int]]:
    """cell -> the least and the greatest value of a column of whole numbers or times in it, as its
    files' statistics say; without those cells of which they say nothing."""
    found = plan(lake, ref, version)
    made: dict[str, list[tuple[Any, Any]]] = {}
    for task in found.tasks:
        cell = snapshots.part_of(found.table.metadata, task.file)
        low, high, _ = snapshots.bounds(found.table.metadata, task.file, column)
        made.setdefault(cell, []).append((low, high))
    return {
        cell: (min(low for low, _ in each), max(high for _, high in each))
        for cell, each in made.items()
        if all(type(low) is type(high) is int for low, high in each)
    }


def split_of(lake: Lake, ref: Ref | str) -> dict[str, Transform]:
    """How a table is partitioned now: a field, as cells name it -> its transform."""
    return split(lake.load(ref))


def split(table: IcebergTable) -> dict[str, Transform]:
    schema, found = table.schema(), {}
    for field in table.spec().fields:
        column = str(schema.find_column_name(field.source_id))
        found[field.name] = _transform(identifier(".".join(table.name())), column, field.transform)
    return found


def _transform(name: str, column: str, told: object) -> Transform:
    text = str(told)
    for kind in (Hour, Day, Month, Year, Identity):
        if text == kind.__name__.lower():
            return kind(column)
    for sized in (Bucket, Truncate):
        if text.startswith(f"{sized.__name__.lower()}["):
            return sized(column, int(text.partition("[")[2].rstrip("]")))
    raise UserError(
        f"{name} is partitioned by {text} of {column}, which is not known here",
        expected="bucket, hour, day, month, year, truncate or the column itself",
    )


def span(cell: str, by: Mapping[str, Transform], column: str) -> tuple[int, int] | None:
    """The time `[start, end)` of `column` (microseconds) that a cell spans; None: any."""
    has = fields_of(cell) or {}
    for field, transform in by.items():
        timed = type(transform) in _TIMED
        if timed and transform.column == column and field in has and has[field] != "null":
            return _spanned(type(transform), has[field])
    return None


@lru_cache(maxsize=65536)  # a plan asks for each cell of a target as often as another has cells
def _spanned(kind: type[Transform], text: str) -> tuple[int, int]:
    start = datetime.strptime(text, _TIMED[kind]).replace(tzinfo=UTC)
    if kind is Year:
        end = start.replace(year=start.year + 1)
    elif kind is Month:
        end = (start + timedelta(days=32)).replace(day=1)
    else:
        end = start + (timedelta(days=1) if kind is Day else timedelta(hours=1))
    return micros(start), micros(end)


def micros(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def joined(one: str, other: str) -> str:
    """The data version of two parts of a target together."""
    return ",".join(sorted({*one.split(","), *other.split(",")} - {""}))


def shared(one: Mapping[str, Transform], other: Mapping[str, Transform]) -> tuple[str, ...]:
    """The fields by which two tables are split alike: equal keys lie in cells of equal value."""
    return tuple(
        field
        for field, transform in one.items()
        if isinstance(transform, (Bucket, Identity)) and other.get(field) == transform
    )


def data_of(
    now: Read,
    by: Mapping[str, Transform],
    fields: Mapping[str, str],
    column: str = "",
    between: tuple[int | None, int | None] = (None, None),
    told: Mapping[str, tuple[int, int]] | None = None,
) -> str:
    """The data version of a part of a target: of all its cells that may hold such rows.

    fields: values of partition fields. column, between: rows of a time in `[start, end)`. told: the
    times of some cells, where they are others than their partitions'.
    """
    start, end = between
    versions: set[str] = set()
    for cell, state in now.cells.items():
        has = fields_of(cell)
        if has is None or any(has.get(field, value) != value for field, value in fields.items()):
            continue
        spans = span(cell, by, column) if column and cell != WHOLE else None
        spans = told.get(cell, spans) if told else spans
        if spans is not None and (
            (end is not None and spans[0] >= end) or (start is not None and spans[1] <= start)
        ):
            continue
        versions.add(state.data)
    return ",".join(sorted(versions)) or (now.pinned or "")


class Lying:
    """The cells of a target, for a plan that asks for the data version of many parts of it.

    `data_of` compares each cell: of ten thousand cells that read as many, a hundred million.
    """

    def __init__(
        self,
        now: Read,
        by: Mapping[str, Transform],
        column: str = "",
        told: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        cells = [cell for cell in now.cells if fields_of(cell) is not None]
        times = {
            cell: span(cell, by, column) if column and cell != WHOLE else None for cell in cells
        }
        times |= {cell: one for cell, one in (told or {}).items() if cell in times}
        spans = [one or _ANY for one in times.values()]
        self._start, self._end = np.array(spans, dtype=np.int64).reshape(-1, 2).T
        self._versions = sorted({now.cells[cell].data for cell in cells})
        place = {version: at for at, version in enumerate(self._versions)}
        self._version = np.array([place[now.cells[cell].data] for cell in cells], dtype=np.int64)
        self._has = [fields_of(cell) or {} for cell in cells]
        self._known: dict[tuple[str, str], npt.NDArray[np.bool_]] = {}
        self._pinned = now.pinned or ""

    def data(
        self,
        fields: Mapping[str, str],
        between: tuple[int | None, int | None] = (None, None),
    ) -> str:
        """What `data_of` says."""
        start, end = between
        inside = np.ones(len(self._version), dtype=bool)
        for field, value in fields.items():
            inside &= self._of(field, value)
        if end is not None:
            inside &= self._start < end
        if start is not None:
            inside &= self._end > start
        found = np.unique(self._version[inside]).tolist()
        return ",".join(self._versions[one] for one in found) or self._pinned

    def _of(self, field: str, value: str) -> npt.NDArray[np.bool_]:
        if (field, value) not in self._known:
            same = (has.get(field, value) == value for has in self._has)
            self._known[field, value] = np.fromiter(same, dtype=bool, count=len(self._has))
        return self._known[field, value]


_ANY = (-(2**63), 2**63 - 1)
"""The time of a cell that does not say when its rows are."""
