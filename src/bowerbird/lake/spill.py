"""Sorting what does not fit into memory: sorted runs on a local disk, merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from bowerbird.lake.failures import translated
from bowerbird.lake.ordering import merged, ordered

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = 256 * 1024 * 1024
"""Bytes of rows that are sorted at once, unless a caller says otherwise."""

BLOCK_BYTES = 4 * 1024 * 1024


class Run(msgspec.Struct, frozen=True):
    """Sorted rows in a file. blocks: where each part's blocks are in it: key -> (first, end)."""

    path: str
    parts: dict[object, tuple[int, int]]

    def read(self, part: object) -> Iterator[pa.Table]:
        """The rows of one part, a block at a time."""
        import pyarrow as pa

        first, end = self.parts.get(part, (0, 0))
        if first == end:
            return
        with pa.OSFile(self.path) as source, pa.ipc.open_file(source) as reader:
            for at in range(first, end):
                yield pa.Table.from_batches([reader.get_batch(at)])


def write_run(path: Path, parts: Iterable[tuple[object, pa.Table]], schema: pa.Schema) -> Run:
    """Write parts that are each in order."""
    import pyarrow as pa

    places: dict[object, tuple[int, int]] = {}
    count = 0
    with translated(f"sorting by way of {path}"), pa.OSFile(str(path), "wb") as sink:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(sink, schema, options=options) as writer:
            for key, rows in parts:
                first = count
                for batch in rows.combine_chunks().to_batches(max_chunksize=block_rows(rows)):
                    writer.write_batch(batch)
                    count += 1
                places[key] = (first, count)
    return Run(str(path), places)


def block_rows(rows: pa.Table, size: int = BLOCK_BYTES) -> int:
    """How many of these rows are about `size` bytes."""
    width = int(rows.nbytes) // max(int(rows.num_rows), 1)
    return max(64, min(32 * 1024, size // max(width, 1)))


def chunks(blocks: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Blocks put together until they are about `size` bytes."""
    import pyarrow as pa

    held: list[pa.Table] = []
    held_bytes = 0
    for block in blocks:
        rows = block_rows(block, size)
        for start in range(0, block.num_rows, rows):
            part = block.slice(start, rows)
            if held and held_bytes + part.nbytes > size:
                yield pa.concat_tables(held)
                held, held_bytes = [], 0
            held.append(part)
            held_bytes += part.nbytes
    if held:
        yield pa.concat_tables(held)


def sorted_rows(
    blocks: Iterable[pa.Table],
    by: Sequence[str],
    folder: str | None = None,
    memory: int = MEMORY,
) -> Iterator[pa.Table]:
    """All rows in order; of equal ones, those that came first are first.

    folder: where runs are written if they are needed; a temporary one if None. memory: bytes.
    """
    with ExitStack() as stack:
        runs: list[Run] = []
        held: pa.Table | None = None
        for chunk in chunks(blocks, memory // 4):
            if held is not None:
                if not runs:
                    made = stack.enter_context(TemporaryDirectory(prefix="sort", dir=folder))
                path = Path(made) / f"{len(runs)}.arrow"
                runs.append(write_run(path, [("", ordered(held, by))], held.schema))
            held = chunk
        if held is None:
            return
        last = ordered(held, by)
        del held
        yield from merged([*(run.read("") for run in runs), [last]], by)
