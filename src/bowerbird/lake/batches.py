"""A table's rows as torch sees them.

Imports torch at its top, as `sql` does PyIceberg: it has to subclass. Imported late.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.utils.data import IterableDataset, get_worker_info

from bowerbird.core.errors import UserError
from bowerbird.lake.read import Part

if TYPE_CHECKING:
    import pyarrow as pa


class TableBatches(IterableDataset[dict[str, torch.Tensor]]):
    """Batches of at most `rows`; file after file, each file read by one worker of one process."""

    def __init__(
        self, parts: tuple[Part, ...], schema: pa.Schema, rows: int, shard: tuple[int, int]
    ) -> None:
        super().__init__()
        index, count = shard
        if rows < 1 or not 0 <= index < count:
            raise UserError(
                f"batches of {rows} rows for process {index} of {count}",
                expected="at least one row, and a process counted from 0",
            )
        for field in schema:
            _check(field)
        self._parts = parts
        self._rows = rows
        self._shard = shard

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        index, count = self._shard
        worker = get_worker_info()
        if worker is not None:
            index, count = index * worker.num_workers + worker.id, count * worker.num_workers
        for part in self._parts[index::count]:
            for batch in part.batches():
                for start in range(0, batch.num_rows, self._rows):
                    yield tensors(part.name, batch.slice(start, self._rows))


def tensors(name: str, batch: pa.RecordBatch) -> dict[str, torch.Tensor]:
    """column -> tensor; times in microseconds, days since 1970. A null is NaN, or refused."""
    found = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        found[field.name] = _tensor(name, field.name, column)
    return found


def _tensor(name: str, column: str, values: pa.Array) -> torch.Tensor:
    import pyarrow as pa
    import pyarrow.types as at

    if at.is_timestamp(values.type) or at.is_time64(values.type):
        values = values.cast(pa.int64())
    elif at.is_date32(values.type):
        values = values.cast(pa.int32())
    elif at.is_decimal(values.type):
        values = values.cast(pa.float64())
    if values.null_count and not at.is_floating(values.type):
        raise UserError(
            f"{name}: column {column!r} is null in {values.null_count:,} rows, and a tensor of "
            f"{values.type} has no null",
            expected="a column without nulls, or one of float or double (a null is NaN there)",
            fix=f"read it with where={{{column!r}: …}}, or leave the column out",
        )
    # A copy: Arrow's memory must not be written to, and a tensor can be.
    return torch.from_numpy(values.to_numpy(zero_copy_only=False).copy())


def _check(field: pa.Field) -> None:
    import pyarrow.types as at

    kind = field.type
    number = at.is_integer(kind) or at.is_floating(kind) or at.is_decimal(kind)
    time = at.is_timestamp(kind) or at.is_time64(kind) or at.is_date32(kind)
    if not (number or time or at.is_boolean(kind)):
        raise UserError(
            f"column {field.name!r} is {kind}, which no tensor holds",
            expected="numbers, times, days and truth values",
            fix="choose columns=[…] without it, or number its values first",
        )
