"""A training set as batches: streamed, in bounded memory, in an order that only the seed decides.

::

    plan = plan_set(lake, clicks, specs)
    stream = batches(home, plan, batch_size=4096, memory=1 << 30)
    for batch in stream:                       # Arrow record batches
        train(batch)
        save(stream.position)                  # from here another reader goes on

In this process rows are taken as they are needed. With an engine, tasks write each bucket's rows to
a file, in processes or on a Ray cluster; the batches are the same.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.core.meaning import digest
from bowerbird.data.features.compute import place_of
from bowerbird.data.samples import checks, transforms
from bowerbird.data.samples.bucket import Opened, open_bucket, transformed
from bowerbird.data.samples.order import Length, Position, Slice, bucket_order, draw
from bowerbird.data.samples.planning import SetPlan, pruned
from bowerbird.data.samples.request_batch import RequestBatch, joined
from bowerbird.data.samples.rows import Reader
from bowerbird.data.samples.stages import Stages
from bowerbird.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.core.engine import Engine
    from bowerbird.core.steps import Home
    from bowerbird.data.samples.splits import Window
    from bowerbird.lake.joins.buckets import Bucket

MEMORY = 2 * 1024**3
"""Bytes that a reader may hold, unless it is told otherwise."""

START = Position()


class Bucketful(Protocol):
    """A bucket's rows in their order, wherever they were made."""

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def piece(self, start: int, end: int) -> RequestBatch:
        """Rows ``start:end``, as `Source.finished` takes several of them joined."""
        ...

    def close(self) -> None: ...


class Source(Protocol):
    """Where buckets come from. `open` is called in the order of the epoch."""

    def open(self, place: int) -> tuple[Bucketful, Length]: ...

    def finished(self, joined: RequestBatch) -> RequestBatch:
        """Pieces of buckets, joined, as they are trained on."""
        ...

    stages: Stages

    @property
    def nbytes(self) -> int:
        """What is held for all buckets."""
        ...

    def stop(self) -> None:
        """From another thread: who waits in `open` need not wait any longer."""
        ...

    def close(self) -> None: ...


class Here:
    """Buckets opened in this process."""

    def __init__(
        self, home: Home, plan: SetPlan, how: How, epoch: int, reader: Reader | None = None
    ) -> None:
        self._reader = reader or Reader(Lake(home))
        self.stages = self._reader.stages
        self._plan, self._how, self._epoch = plan, how, epoch
        self._order = how.order(plan, epoch)

    @property
    def nbytes(self) -> int:
        return self._reader.nbytes

    def open(self, place: int) -> tuple[Opened, Length]:
        opened = open_bucket(
            self._reader,
            self._plan,
            self._order[place],
            window=self._how.window,
            epoch=self._epoch,
            seed=self._how.seed,
        )
        return opened, Length(len(opened), opened.cuts)

    def finished(self, joined: RequestBatch) -> RequestBatch:
        return transformed(self._plan, joined, self.stages)

    def stop(self) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        pass


class How:
    """How a set is read: what the order of batches follows from, and the bound that is kept."""

    def __init__(
        self,
        plan: SetPlan,
        *,
        batch_size: int,
        memory: int,
        seed: int | None,
        split: str,
        shard: tuple[int, int],
    ) -> None:
        index, count = shard
        if batch_size < 1 or not 0 <= index < count:
            raise UserError(
                f"batches of {batch_size} rows for process {index} of {count}",
                expected="at least one row, and a process counted from 0",
            )
        self.batch_size, self.memory, self.shard = batch_size, memory, shard
        self.seed = plan.spec.seed if seed is None else seed
        self.window: Window = plan.window(split)
        told = (plan.fingerprint, str(batch_size), str(self.seed), split, f"{index} of {count}")
        self.mark = digest(list(told))[:16]

    def begin(self, plan: SetPlan, position: Position) -> Position:
        """The position, marked with what is read. Raises `UserError` for one in something else."""
        if position.of not in ("", self.mark):
            raise UserError(
                "the position is one in other batches: of other versions of the tables, another "
                "spec, batch size, seed, split or process",
                where=str(plan.spec.ref),
                expected="what the reader that stopped was given",
                fix="plan_set(…, versions=earlier.versions), with the plan of that reader",
            )
        return msgspec.structs.replace(position, of=self.mark)

    def order(self, plan: SetPlan, epoch: int) -> tuple[Bucket, ...]:
        """The buckets of this process in an epoch: each is read by one process alone."""
        index, count = self.shard
        return bucket_order(plan.buckets, self.seed, epoch)[index::count]


class Batches(Iterator["pa.RecordBatch"]):
    """The batches of one epoch, from a position on. `position` is that after the last batch."""

    def __init__(self, plan: SetPlan, how: How, source: Source, position: Position) -> None:
        self.plan, self.position = plan, position
        self._how, self._source = how, source
        self._buckets = len(how.order(plan, position.epoch))
        self._open: dict[int, tuple[Bucketful, Length]] = {}
        self._held: dict[int, int] = {}  # bytes of each that is open
        self._taken_from: set[int] = set()
        self._widest = 0  # bytes of a batch: its parts, and them as one

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> pa.RecordBatch:
        return self.requests().expand()

    def by_request(self) -> Iterator[RequestBatch]:
        """The same batches at the level of requests: each one's user side once."""
        while True:
            try:
                found = self.requests()
            except StopIteration:
                return
            yield found

    def requests(self) -> RequestBatch:
        """The next batch, its user side once a request. Raises `StopIteration` at the end."""
        slices, after = self._draw()
        whole = joined([self._piece(one) for one in slices])
        made = self._source.finished(whole)
        self._widest = max(self._widest, whole.nbytes + made.nbytes)
        self._keep_the_bound(slices[-1].place)
        self._go_to(after)
        return made

    def skip(self) -> None:
        """Go on without making the next batch: another worker does. Raises `StopIteration`."""
        _, after = self._draw()
        self._go_to(after)

    @property
    def stages(self) -> Stages:
        """Where the time went so far."""
        return self._source.stages

    def stop(self) -> None:
        """From another thread: let `next` raise, if it waits for a task."""
        self._source.stop()

    def close(self) -> None:
        """Let go of what is open; a source's files too."""
        for found, _ in self._open.values():
            found.close()
        self._open, self._held = {}, {}
        self._source.close()

    def _draw(self) -> tuple[tuple[Slice, ...], Position]:
        spec, size = self.plan.spec, self._how.batch_size
        slices, after = draw(self.position, self._buckets, spec.interleave, size, self._length)
        if not slices:
            self.close()
            raise StopIteration
        return slices, after

    def _piece(self, one: Slice) -> RequestBatch:
        found = self._open[one.place][0]
        made = found.piece(one.start, one.end)
        if one.place not in self._taken_from:  # what lies beside its rows is held from now on
            self._taken_from.add(one.place)
            self._held[one.place] = found.nbytes
            self._keep_the_bound(one.place)
        return made

    def _go_to(self, after: Position) -> None:
        self.position = after
        for place in set(self._open) - {one.place for one in after.open}:
            self._open.pop(place)[0].close()
            del self._held[place]

    def _length(self, place: int) -> Length:
        if place not in self._open:
            self._open[place] = found = self._source.open(place)
            self._held[place] = found[0].nbytes
            self._keep_the_bound(place)
        return self._open[place][1]

    def _keep_the_bound(self, place: int) -> None:
        held = self._source.nbytes + sum(self._held.values()) + self._widest
        if held > self._how.memory:
            raise UserError(
                f"{len(self._open)} buckets hold {held:,} bytes, one {self._held[place]:,}, and "
                f"tables that are read whole {self._source.nbytes:,}",
                where=str(self.plan.spec.ref),
                expected=f"at most memory={self._how.memory:,}",
                fix="more buckets in the rows' table, a lower interleave, fewer columns, or more "
                "memory",
            )


def batches(
    home: Home,
    plan: SetPlan,
    *,
    engine: Engine | None = None,
    batch_size: int = 4096,
    memory: int = MEMORY,
    seed: int | None = None,
    position: Position = START,
    split: str = "",
    shard: tuple[int, int] = (0, 1),
    folder: str | None = None,
) -> Batches:
    """The batches of one epoch, in the order that the plan, the seed and the epoch decide.

    engine: where buckets are made; None: in this process. memory: bytes that may be held; more is
    refused with what to do. position: of another reader of the same plan and batch size; its epoch
    is another order. split: "train", "validation", "test"; "" is all. shard: (this process, how
    many), where several processes train on one set. folder: for an engine's files, which all of its
    workers see; a temporary one if None.

    Everything that can be wrong with the set is said before the first batch (`checks.check`); a
    reader that goes on from a position was checked when it began.
    """
    if engine is not None:
        plan.refuse_elsewhere(place_of(engine.name))
    how = How(plan, batch_size=batch_size, memory=memory, seed=seed, split=split, shard=shard)
    plan, reader = pruned(Lake(home), plan, how.window), Reader(Lake(home))
    if position.batch == 0:
        window = how.window
        checks.check(home, plan, window=window, memory=memory, batch_size=batch_size, reader=reader)
    return unchecked(home, plan, how, position, engine, folder, reader)


def unchecked(
    home: Home,
    plan: SetPlan,
    how: How,
    position: Position = START,
    engine: Engine | None = None,
    folder: str | None = None,
    reader: Reader | None = None,
) -> Batches:
    """`batches` of a set that was looked at before: by this reader, if one is given."""
    position = how.begin(plan, position)
    source: Source = Here(home, plan, how, position.epoch, reader)
    if engine is not None:
        from bowerbird.data.samples.tasks import Elsewhere

        source = Elsewhere(home, plan, how, position, engine, folder)
    return Batches(plan, how, source, position)


class Ahead(Iterator["pa.RecordBatch"]):
    """Batches made by a thread while the ones before are trained on. `position` is that after the
    last batch that was handed out, whatever has been made beyond it."""

    def __init__(self, stream: Batches, count: int = 2) -> None:
        self.position = stream.position
        self._stream = stream
        self._made: queue.Queue[tuple[pa.RecordBatch | None, Position, BaseException | None]] = (
            queue.Queue(count)
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._make, name="batches ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Ahead:
        return self

    def __next__(self) -> pa.RecordBatch:
        batch, position, error = self._made.get()
        if error is not None:
            self._made.put((None, position, error))  # the same again, for who asks again
            raise error
        self.position = position
        return batch

    def close(self) -> None:
        """Stop the thread; what it has made is thrown away."""
        self._stop.set()
        self._stream.stop()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._made.get(timeout=0.05)
        self._stream.close()

    def _make(self) -> None:
        error: BaseException | None = None
        batch: pa.RecordBatch | None = None
        while error is None and not self._stop.is_set():
            try:
                batch = next(self._stream)
            except BaseException as raised:  # noqa: BLE001 - raised again where it is asked for
                error, batch = raised, None
            self._made.put((batch, self._stream.position, error))


def fitted(home: Home, plan: SetPlan, *, split: str = "", rows: int = 250_000) -> SetPlan:
    """The plan with its transforms' constants, of at most about so many rows of a split.

    split: "" is "train" where the set declares splits. The same rows for the same plan and seed; a
    plan that has its constants is returned as it is.
    """
    if plan.fitted.rows or not transforms.to_fit(plan.spec.transforms):
        return plan
    raw = msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, transforms=()))
    split = split or ("train" if plan.spec.splits else "")
    how = How(raw, batch_size=8192, memory=MEMORY, seed=None, split=split, shard=(0, 1))
    raw = pruned(Lake(home), raw, how.window)
    with contextlib.closing(unchecked(home, raw, how)) as stream:
        known = transforms.fit(plan.spec.transforms, itertools.islice(stream, -(-rows // 8192)))
    return msgspec.structs.replace(plan, fitted=known)
