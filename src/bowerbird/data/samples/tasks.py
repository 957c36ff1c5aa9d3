"""Buckets made by an engine's tasks: in processes of this machine, or on a Ray cluster.

A task makes one bucket's rows, in their order, and writes them to Arrow files; the reader maps them
and cuts batches from them as from a bucket of its own. A worker that is lost is the engine's to
retry: each attempt writes files of its own, and only those that an outcome names are read, so
nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.core.engine import Task
from bowerbird.data.samples.bucket import dense, open_bucket
from bowerbird.data.samples.order import Length, Position
from bowerbird.data.samples.request_batch import RequestBatch, joined
from bowerbird.data.samples.rows import Reader
from bowerbird.data.samples.stages import Stages
from bowerbird.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.core.engine import Engine
    from bowerbird.core.steps import Home
    from bowerbird.data.samples.batches import How
    from bowerbird.data.samples.planning import SetPlan
    from bowerbird.data.samples.splits import Window
    from bowerbird.lake.joins.buckets import Bucket

Ints = npt.NDArray[np.int64]

BLOCK = 4096
"""Rows in a block of a file: what a task holds of wide rows at a time."""

_OF = "\0of"


class BucketFile(msgspec.Struct, frozen=True):
    """One bucket's rows in files: ``path.rows`` and ``path.user``, a block each a record batch.

    ends: the rows up to the end of each block. cuts: where the order may be cut; empty: anywhere.
    """

    path: str
    ends: tuple[int, ...]
    names: tuple[str, ...]
    cuts: bytes = b""

    @property
    def rows(self) -> int:
        return self.ends[-1] if self.ends else 0

    @property
    def length(self) -> Length:
        return Length(self.rows, np.frombuffer(self.cuts, np.int64) if self.cuts else None)


def write_bucket(
    home: Home,
    plan: SetPlan,
    bucket: Bucket,
    window: Window,
    epoch: int,
    seed: int,
    folder: str,
) -> BucketFile:
    """In a worker: make one bucket and write it."""
    import pyarrow as pa

    opened = open_bucket(Reader(Lake(home)), plan, bucket, window=window, epoch=epoch, seed=seed)
    path = Path(folder) / uuid.uuid4().hex
    length = Length(len(opened), opened.cuts)
    ends: list[int] = []
    names: tuple[str, ...] = ()
    rows: pa.ipc.RecordBatchFileWriter = None
    user: pa.ipc.RecordBatchFileWriter = None
    while (start := ends[-1] if ends else 0) < len(opened):
        end = length.end(start, BLOCK)
        found = opened.take(start, end)
        told = found.rows.append_column(_OF, pa.array(found.of))
        if not ends:
            names = found.names
            rows = pa.ipc.new_file(f"{path}.rows", told.schema)
            user = pa.ipc.new_file(f"{path}.user", found.user.schema)
        rows.write_batch(told)
        user.write_batch(found.user)
        ends.append(end)
    if ends:
        rows.close()
        user.close()
    cuts = b"" if opened.cuts is None else opened.cuts.tobytes()
    return BucketFile(str(path), tuple(ends), names, cuts)


class Written:
    """A bucket in files, mapped: its pages are the system's to take back."""

    nbytes = 0

    def __init__(self, file: BucketFile) -> None:
        import pyarrow as pa

        self._file = file
        self._maps = [
            pa.memory_map(f"{file.path}.{part}") for part in ("rows", "user") if file.ends
        ]
        self._parts = [pa.ipc.open_file(one) for one in self._maps]

    def __len__(self) -> int:
        return self._file.rows

    def piece(self, start: int, end: int) -> RequestBatch:
        """Rows ``start:end`` of the order."""
        ends = np.array(self._file.ends)
        first, last = np.searchsorted(ends, start, side="right"), np.searchsorted(ends, end)
        return joined([self._part(int(block), start, end) for block in range(first, last + 1)])

    def _part(self, block: int, start: int, end: int) -> RequestBatch:
        rows, user = (part.get_batch(block) for part in self._parts)
        low = self._file.ends[block - 1] if block else 0
        rows = rows.slice(max(start - low, 0), min(end - low, rows.num_rows) - max(start - low, 0))
        of = np.asarray(rows.column(_OF).to_numpy(), dtype=np.int64)
        requests, dense_of = dense(of)
        one_by_one = len(requests) > 0 and bool((np.diff(requests) == 1).all())
        user = user.slice(requests[0], len(requests)) if one_by_one else user.take(_index(requests))
        return RequestBatch(user, rows.drop_columns([_OF]), dense_of, self._file.names)

    def close(self) -> None:
        """Let go of the files, and remove them."""
        self._parts = []
        for one in self._maps:
            one.close()
        for part in ("rows", "user"):
            Path(f"{self._file.path}.{part}").unlink(missing_ok=True)


class Elsewhere:
    """Buckets made by tasks. They are asked for in the epoch's order, and so are the tasks; the
    engine takes no more of them than it has room for, and waits while nobody reads."""

    nbytes = 0

    def __init__(
        self,
        home: Home,
        plan: SetPlan,
        how: How,
        position: Position,
        engine: Engine,
        folder: str | None,
    ) -> None:
        self._folder = tempfile.mkdtemp(prefix="samples-", dir=folder)
        order = how.order(plan, position.epoch)
        places = [one.place for one in position.open] + list(range(position.next, len(order)))
        call = "bowerbird.data.samples.tasks:write_bucket"

        def tasks() -> Iterator[Task]:
            for place in places:
                bucket, fixed = order[place], (how.window, position.epoch, how.seed, self._folder)
                yield Task(str(place), call, (home, plan.only(bucket), bucket, *fixed))

        self.stages = Stages()
        self._stop = threading.Event()
        self._outcomes = engine.run(tasks(), cancel=self._stop)
        self._found: dict[int, BucketFile] = {}

    def open(self, place: int) -> tuple[Written, Length]:
        while place not in self._found:
            with self.stages.stage("wait for a task"):
                outcome = next(self._outcomes, None)
            if outcome is None:
                raise RuntimeError(f"no task made bucket {place}")
            self._found[int(outcome.key)] = outcome.result()
        file = self._found.pop(place)
        return Written(file), file.length

    def finished(self, joined: RequestBatch) -> RequestBatch:
        return joined  # each task transforms what it writes

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._outcomes.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _index(places: Ints) -> pa.Array:
    import pyarrow as pa

    return pa.array(places)
