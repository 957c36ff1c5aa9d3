"""A training set as torch sees it.

Imports torch at its top: it has to subclass. Imported late. Give it to a ``DataLoader`` with
``batch_size=None``; each worker makes every n-th batch, so the batches and their order are those of
one process, whatever the number of workers. ``pin_memory=True`` pins them for a GPU.

Each of those workers opens every bucket that it has rows of. Where a machine has many cores, give
an engine instead: each bucket is opened once, by one of its tasks, and the loader has no workers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from bowerbird.core.errors import UserError
from bowerbird.data.features.compute import place_of
from bowerbird.data.features.events import microseconds
from bowerbird.data.samples import checks
from bowerbird.data.samples.arrays import numbers
from bowerbird.data.samples.batches import MEMORY, START, Ahead, How, unchecked
from bowerbird.data.samples.order import Position
from bowerbird.data.samples.planning import pruned
from bowerbird.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.core.engine import Engine
    from bowerbird.core.steps import Home
    from bowerbird.data.samples.batches import Batches
    from bowerbird.data.samples.planning import SetPlan

Stacked = Mapping[str, Sequence[str]]
UNSTACKED: Stacked = {}

OFFSETS = "__offsets"
"""After the name of a column of lists: where each row's values end and the next one's begin."""


class SetBatches(IterableDataset[dict[str, torch.Tensor]]):
    """Batches of one epoch: column -> tensor. `position` is where the next iteration begins."""

    def __init__(
        self,
        home: Home,
        plan: SetPlan,
        how: How,
        position: Position,
        stacked: Stacked,
        engine: Engine | None,
        folder: str | None,
    ) -> None:
        super().__init__()
        self.position = position
        self._home, self._plan, self._how, self._stacked = home, plan, how, stacked
        self._engine, self._folder = engine, folder

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        if self._engine is None:
            return self._here(*((worker.id, worker.num_workers) if worker else (0, 1)))
        if worker is None:
            return self._by_tasks(self._engine)
        raise UserError(
            "an engine's tasks make the buckets, and the DataLoader has workers that would too",
            where=str(self._plan.spec.ref),
            expected="one of the two",
            fix="DataLoader(…, num_workers=0), or to_torch without engine=",
        )

    def _by_tasks(self, engine: Engine) -> Iterator[dict[str, torch.Tensor]]:
        stream = unchecked(self._home, self._plan, self._how, self.position, engine, self._folder)
        with contextlib.closing(Ahead(stream)) as ahead:
            for batch in ahead:
                yield self._tensors(batch)

    def _here(self, own: int, count: int) -> Iterator[dict[str, torch.Tensor]]:
        stream = unchecked(self._home, self._plan, self._how, self.position)
        first = self.position.batch
        while True:
            mine = (stream.position.batch - first) % count == own
            try:
                found = _next(stream, mine=mine)
            except StopIteration:
                return
            if found is not None:
                yield self._tensors(found)

    def _tensors(self, batch: pa.RecordBatch) -> dict[str, torch.Tensor]:
        return tensors(batch, str(self._plan.spec.ref), self._stacked)


def _next(stream: Batches, *, mine: bool) -> pa.RecordBatch | None:
    """The next batch, made if it is this worker's. Raises `StopIteration`."""
    if mine:
        return next(stream)
    stream.skip()
    return None


def to_torch(
    home: Home,
    plan: SetPlan,
    *,
    batch_size: int = 4096,
    memory: int = MEMORY,
    seed: int | None = None,
    position: Position = START,
    split: str = "",
    shard: tuple[int, int] = (0, 1),
    stacked: Stacked = UNSTACKED,
    engine: Engine | None = None,
    folder: str | None = None,
) -> SetBatches:
    """The batches of `batches` as tensors, in any number of a ``DataLoader``'s workers, each of
    which holds up to `memory`; or, with an engine, made by its tasks ahead of a loader without
    workers.

    A time is int64 microseconds; null of a float is NaN, of anything else refused; a list is its
    values and, as ``name__offsets`` (int64), where each row's end; bytes of fixed length are int8
    (n, length). stacked: name -> columns of numbers that make one tensor, float32 (n, columns) with
    NaN for null: as a model takes them, and a loader's worker hands over one instead of many.
    Raises `UserError` for a text: `Hash` it, or leave it out.
    """
    if engine is not None:
        plan.refuse_elsewhere(place_of(engine.name))
    how = How(plan, batch_size=batch_size, memory=memory, seed=seed, split=split, shard=shard)
    position = how.begin(plan, position)
    plan = pruned(Lake(home), plan, how.window)
    checks.check(
        home,
        plan,
        window=how.window,
        memory=memory,
        batch_size=batch_size,
        look=lambda batch: tensors(batch, str(plan.spec.ref), stacked),
    )
    return SetBatches(home, plan, how, position, stacked, engine, folder)


def tensors(
    batch: pa.RecordBatch, name: str, stacked: Stacked = UNSTACKED
) -> dict[str, torch.Tensor]:
    """Column -> tensor, of memory of its own. name: of the set, for errors. stacked: as for
    `to_torch`."""
    import pyarrow as pa

    found = {made: _matrix(batch, columns, name, made) for made, columns in stacked.items()}
    inside = {column for columns in stacked.values() for column in columns}
    for column, array in zip(batch.schema.names, batch.columns, strict=True):
        if column in inside:
            continue
        if column in found:
            raise UserError(
                f"{column!r} is a column, and what other columns are stacked as",
                where=f"{name}: stacked",
                expected="a name that no column has",
            )
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            offsets = np.asarray(array.offsets.to_numpy(), dtype=np.int64)
            found[column] = _tensor(array.flatten(), column, name)
            found[f"{column}{OFFSETS}"] = torch.from_numpy(offsets - offsets[0])
        else:
            found[column] = _tensor(array, column, name)
    return found


def _matrix(batch: pa.RecordBatch, columns: Sequence[str], name: str, made: str) -> torch.Tensor:
    import pyarrow.types as at

    found = np.empty((batch.num_rows, len(columns)), dtype=np.float32)
    for place, column in enumerate(columns):
        there = column in batch.schema.names
        kind = batch.schema.field(column).type if there else None
        if not (there and (at.is_integer(kind) or at.is_floating(kind) or at.is_boolean(kind))):
            raise UserError(
                f"{column!r} is {kind}" if there else f"there is no column {column!r} to stack",
                where=f"{name}: stacked[{made!r}]",
                expected="columns of numbers and truth values, a number a row, of: "
                + ", ".join(batch.schema.names),
            )
        found[:, place] = numbers(batch.column(column))
    return torch.from_numpy(found)


def _tensor(array: pa.Array, column: str, name: str) -> torch.Tensor:
    import pyarrow.types as at

    kind = array.type
    number = at.is_integer(kind) or at.is_floating(kind) or at.is_boolean(kind)
    time = at.is_timestamp(kind) or at.is_date(kind)
    if not (number or time or at.is_fixed_size_binary(kind)):
        raise UserError(
            f"{column!r} is {kind}, which no tensor holds",
            where=name,
            expected="numbers, times, truth values, lists of them, bytes of fixed length",
            fix=f"transforms: Hash(({column!r},), 10_000), or columns= without it",
        )
    if array.null_count and not at.is_floating(kind):
        raise UserError(
            f"{column!r} is null in {array.null_count:,} values, and a tensor of {kind} has none",
            where=name,
            expected="a column without nulls, or a float, where null is NaN",
            fix=f"transforms: FillNull(({column!r},), 0)",
        )
    if time:
        return torch.from_numpy(microseconds(array).copy())
    if at.is_fixed_size_binary(kind):
        width = kind.byte_width
        raw = np.frombuffer(array.buffers()[1], dtype=np.int8)
        raw = raw[array.offset * width : (array.offset + len(array)) * width]
        return torch.from_numpy(raw.reshape(len(array), width).copy())
    return torch.from_numpy(array.to_numpy(zero_copy_only=False).copy())
