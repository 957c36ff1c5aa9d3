"""Sorting what does not fit into memory: sorted runs on a local disk, merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.lake.failures import translated
from bowerbird.lake.ordering import merged, ordered

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = 256 * 1024 * 1024
"""Bytes of rows that are sorted at once, unless a caller says otherwise."""

BLOCKS = 256
"""A run's blocks have this part of the memory: a merge holds one of each run."""

MOST = 16
"""Runs of one size that are kept; then they are merged into one of the next size. Each row is so
written again a few times at most, and a merge has few streams, each with large blocks."""


Part = tuple[Any, ...]
"""The partition that rows are of."""


class Run(msgspec.Struct, frozen=True):
    """Sorted rows in a file. parts: where each part's blocks are: (first, end)."""

    path: str
    parts: dict[Part, tuple[int, int]]

    def read(self, part: Part) -> Iterator[pa.Table]:
        """The rows of one part, a block at a time."""
        import pyarrow as pa

        first, end = self.parts.get(part, (0, 0))
        if first == end:
            return
        with pa.OSFile(self.path) as source, pa.ipc.open_file(source) as reader:
            for at in range(first, end):
                yield pa.Table.from_batches([reader.get_batch(at)])


class Runs:
    """Sorted runs on a local disk, by partition; of equal rows, those of earlier runs come first.

    memory: bytes that merging may hold.
    """

    def __init__(self, folder: str, by: Sequence[str], memory: int) -> None:
        self._folder = Path(folder)
        self._by = by
        self._block_bytes = memory // BLOCKS
        self._sizes: list[list[Run]] = [[]]
        self._names = count()

    def add(self, parts: Iterable[tuple[Part, Iterable[pa.Table]]], schema: pa.Schema) -> None:
        """One more run, of parts that are each in order."""
        self._sizes[0].append(self._written(parts, schema))
        for size, runs in enumerate(self._sizes):
            if len(runs) < MOST:
                return
            if size + 1 == len(self._sizes):
                self._sizes.append([])
            together = ((part, self._merged(runs, part)) for part in _parts(runs))
            self._sizes[size + 1].append(self._written(together, schema))
            for run in runs:
                Path(run.path).unlink()
            runs.clear()

    @property
    def _runs(self) -> list[Run]:
        """All runs, the oldest rows first."""
        return [run for runs in reversed(self._sizes) for run in runs]

    def parts(self) -> list[Part]:
        """The partitions of all rows, in order; nulls last."""
        return _parts(self._runs)

    def read(self, part: Part) -> Iterator[pa.Table]:
        """All rows of a partition, in order."""
        return self._merged(self._runs, part)

    def _merged(self, runs: Sequence[Run], part: Part) -> Iterator[pa.Table]:
        return merged([run.read(part) for run in runs], self._by)

    def _written(self, parts: Iterable[tuple[Part, Iterable[pa.Table]]], schema: pa.Schema) -> Run:
        import pyarrow as pa

        path = self._folder / f"{next(self._names)}.arrow"
        places: dict[Part, tuple[int, int]] = {}
        blocks = 0
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            translated(f"sorting by way of {path}"),
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, schema, options=options) as writer,
        ):
            for part, tables in parts:
                first = blocks
                for rows in tables:
                    size = block_rows(rows, self._block_bytes)
                    for batch in rows.combine_chunks().to_batches(max_chunksize=size):
                        writer.write_batch(batch)
                        blocks += 1
                places[part] = (first, blocks)
        release()
        return Run(str(path), places)


def _parts(runs: Iterable[Run]) -> list[Part]:
    known = {part for run in runs for part in run.parts}
    return sorted(known, key=lambda part: tuple((v is None, v) for v in part))


def block_rows(rows: pa.Table, size: int) -> int:
    """How many of these rows are about `size` bytes."""
    width = int(rows.nbytes) // max(int(rows.num_rows), 1)
    return max(64, min(32 * 1024, size // max(width, 1)))


def release() -> None:
    """Give back what Arrow keeps of memory that it no longer uses."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


class Chunks(Iterator["pa.Table"]):
    """Blocks put together until they are a fifth of what may be held: sorting takes as much again,
    and the next one comes while this one is still there."""

    def __init__(self, blocks: Iterable[pa.Table], memory: int) -> None:
        self._chunks = _chunks(blocks, memory // 5)
        self._ahead = [chunk for chunk in (next(self._chunks, None) for _ in "12") if chunk]
        self.one = len(self._ahead) < 2
        """Whether all rows are in the first."""

    def __next__(self) -> pa.Table:
        return self._ahead.pop(0) if self._ahead else next(self._chunks)


def _chunks(blocks: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    import pyarrow as pa

    held: list[pa.Table] = []
    held_bytes = 0
    for block in blocks:
        rows = block_rows(block, size)
        for start in range(0, block.num_rows, rows):
            part = block.slice(start, rows)
            if held and held_bytes + part.nbytes > size:
                yield pa.concat_tables(held).combine_chunks()
                held, held_bytes = [], 0
            held.append(part)
            held_bytes += part.nbytes
    if held:
        yield pa.concat_tables(held).combine_chunks()


def sorted_rows(
    blocks: Iterable[pa.Table],
    by: Sequence[str],
    folder: str | None = None,
    memory: int = MEMORY,
) -> Iterator[pa.Table]:
    """All rows in order; of equal ones, those that came first are first.

    folder: where runs are written if they are needed; a temporary one if None. memory: bytes.
    """
    coming = Chunks(blocks, memory)
    if coming.one:
        yield from (ordered(chunk, by) for chunk in coming)
        return
    with TemporaryDirectory(prefix="sort", dir=folder) as made:
        runs = Runs(made, by, memory)
        for chunk in coming:
            runs.add([((), [ordered(chunk, by)])], chunk.schema)
        yield from runs.read(())
