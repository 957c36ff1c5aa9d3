"""A Ray cluster as an engine, or Ray on this machine.

One worker is one actor: it keeps what the set-up made, and Ray places it by the task's resources.
Ray retries nothing here (`max_restarts` and `max_task_retries` are 0): retrying is the pool's, the
same for every engine. A gang's actors are placed by one placement group, so that two gangs that
each need the whole cluster do not wait for each other, half placed.

Beside what `engine_conformance` holds it to:

- a task runs in a thread of its actor, not in the main one: what it tells streams out of the actor
  (a generator method) while it runs. `signal.signal` does not work in there;
- what a task prints goes to Ray's logs;
- the cluster's nodes must have this version of Bowerbird installed. `paths` are sent there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bowerbird.core.engine import Event, Outcome, Resources
from bowerbird.core.errors import UserError
from bowerbird.engines.calls import (
    Bench,
    Order,
    ProcessMeter,
    packed_setup,
    packed_task,
    resident_bytes,
    too_large,
    unpacked,
)
from bowerbird.engines.pool import Lost, Packed, Pool
from bowerbird.engines.runs import PoolEngine

log = logging.getLogger("bowerbird.engines")

# A laptop's Ray needs no third of the memory for objects: large results travel as files.
_OBJECT_STORE_BYTES = 200_000_000
_LOOK_AT_MEMORY_SECONDS = 0.05
# Who waits for a place looks so often whether the run was stopped, and says so often that it waits.
_LOOK_SECONDS = 0.2
_SAY_SECONDS = 30.0


class RayEngine(PoolEngine):
    """Runs tasks in actors of Ray.

    address: of a cluster ("auto", "host:6379", "ray://host:10001"); None starts Ray here, quietly.
      A process has one connection: when it is connected already, that one is used and kept.
    workers: actors alive at once.
    paths: folders whose modules tasks can import. On a cluster they are uploaded when the
      connection is made; on this machine they are read where they are.
    idle_seconds: an unused actor gives its place back to the cluster after that long.
    """

    def __init__(
        self,
        address: str | None,
        workers: int,
        *,
        paths: tuple[str, ...] = (),
        idle_seconds: float | None = 60.0,
        max_in_flight: int | None = None,
    ) -> None:
        pool = Pool(Actors(paths), workers, idle_seconds)
        super().__init__(f"ray ({workers} actors)", pool, max_in_flight)
        _connection.open(address, workers, paths)
        self._open = True

    def close(self) -> None:
        """Stop what runs, end the actors; the last engine ends the Ray that an engine started."""
        super().close()
        if self._open:
            self._open = False
            _connection.close()


class _Connection:
    """This process's connection to Ray, made by the first engine and ended by the last."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._engines = 0
        self._ours = False

    def open(self, address: str | None, workers: int, paths: tuple[str, ...]) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError("Ray is not installed", fix="pip install 'bowerbird[ray]'") from error

        with self._guard:
            if not ray.is_initialized():
                _start_ray(address, workers, paths)
                self._ours = True
            self._engines += 1

    def close(self) -> None:
        import ray

        with self._guard:
            self._engines -= 1
            if self._engines == 0 and self._ours:
                self._ours = False
                ray.shutdown()


_connection = _Connection()


def _start_ray(address: str | None, workers: int, paths: tuple[str, ...]) -> None:
    import ray

    # Nothing is sent to Ray's makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _quieten_ray()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"num_cpus": workers, "include_dashboard": False}
        options["object_store_memory"] = _OBJECT_STORE_BYTES
    elif modules := importables(paths):
        options["runtime_env"] = {"py_modules": modules}
    try:
        ray.init(address=address or "local", **options)
    except ConnectionError as error:
        raise UserError(f"there is no Ray at {address!r}: {error}") from error


def _quieten_ray() -> None:
    """Send what Ray says of lost workers to our log.

    Ray 2.60 prints it to the driver's standard output, where a command's ``--json`` goes, whatever
    `log_to_driver` is, and has no setting for it: hence the private name, and the look before.
    """
    from ray._private import worker

    def to_log(data: dict[str, Any], ignore_prefix: bool = False) -> None:  # noqa: ARG001
        for line in data.get("lines", ()):
            log.debug("ray: %s", line)

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = to_log


def importables(paths: tuple[str, ...]) -> list[str]:
    """The modules and packages in some folders, as Ray uploads them: one entry each."""
    found = (entry for path in paths for entry in sorted(Path(path).iterdir()))
    return [str(entry) for entry in found if _is_importable(entry)]


def _is_importable(entry: Path) -> bool:
    if not entry.stem.isidentifier():
        return False
    return entry.suffix == ".py" or (entry.is_dir() and any(entry.rglob("*.py")))


class Seat:
    """The actor: does tasks one after another, and streams what they tell."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        sys.path[:0] = [path for path in paths if path not in sys.path and Path(path).is_dir()]
        self._bench = Bench(ProcessMeter)

    def ready(self) -> None:
        """Answers once the actor is placed and up."""

    def perform(self, order: Order, limit: int | None) -> Iterator[bytes]:
        """Sends what `worker_main` sends, or ``m`` and the size of a worker that is too large."""
        said: queue.SimpleQueue[bytes] = queue.SimpleQueue()

        def do() -> None:
            said.put(b"o" + self._bench.perform_packed(order, tell))

        def tell(event: Event) -> None:
            said.put(b"e" + pickle.dumps(event))

        threading.Thread(target=do, name="bowerbird-task", daemon=True).start()
        while True:
            try:
                data = said.get(timeout=None if limit is None else _LOOK_AT_MEMORY_SECONDS)
            except queue.Empty:
                size = resident_bytes() or 0
                if limit is None or size <= limit:
                    continue
                data = b"m" + str(size).encode()
            yield data
            if data[:1] != b"e":
                return


class Gathering:
    """One placement group for the actors of a gang: made by the first, removed by the last."""

    def __init__(self, bundle: dict[str, float], count: int) -> None:
        self._bundles = [bundle] * count
        self._members = count
        self._guard = threading.Lock()
        self._group: Any = None

    def group(self) -> Any:
        from ray.util import placement_group

        with self._guard:
            if self._group is None:
                self._group = placement_group(self._bundles, strategy="PACK")
            return self._group

    def leave(self) -> None:
        from ray.util import remove_placement_group

        with self._guard:
            self._members -= 1
            if self._members == 0 and self._group is not None:
                remove_placement_group(self._group)


class Actor:
    """A worker that is an actor of Ray: the driver's side."""

    def __init__(
        self,
        resources: Resources,
        paths: tuple[str, ...],
        gathering: Gathering | None,
    ) -> None:
        self._resources = resources
        self._paths = paths
        self._gathering = gathering
        self._guard = threading.Lock()
        self._actor: Any = None
        self._killed = False
        self._set_up = False

    def open(self) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        options: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0}
        if self._gathering is not None:
            group = self._gathering.group()
            self._await(lambda: group.wait(_LOOK_SECONDS))
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group)
        options["num_cpus"] = self._resources.cpus
        options["num_gpus"] = self._resources.gpus
        options["memory"] = self._resources.memory_bytes
        with self._guard:
            self._refuse_if_killed()
            self._actor = ray.remote(Seat).options(**options).remote(self._paths)
        ready = self._actor.ready.remote()
        self._await(lambda: bool(ray.wait([ready], timeout=_LOOK_SECONDS)[0]))
        with _told_by_ray():
            ray.get(ready)

    def perform(self, packed: Packed, on_event: Callable[[Event], None]) -> Outcome:
        if self._actor is None:  # an earlier task grew over its limit
            self.open()
        self._refuse_if_killed()
        with _told_by_ray():
            outcome = self._listen(packed, on_event)
        self._set_up = packed.setup is not None and outcome.error is None
        return outcome

    def _listen(self, packed: Packed, on_event: Callable[[Event], None]) -> Outcome:
        import ray

        task, limit = packed.task, packed.task.resources.memory_bytes
        setup = packed.setup_data if packed.setup is not None and not self._set_up else None
        order = Order(task.key, packed.data, setup)
        said = self._actor.perform.options(num_returns="streaming").remote(order, limit)
        for ref in said:
            data: bytes = ray.get(ref)
            if data[:1] == b"o":
                return unpacked(task.key, data[1:])
            if data[:1] == b"m" and limit is not None:
                with self._guard:
                    self._end()
                return too_large(task.key, int(data[1:]), limit)
            on_event(pickle.loads(data[1:]))  # noqa: S301 (from our own worker)
        raise Lost("ended without an answer")

    def kill(self) -> None:
        with self._guard:
            self._killed = True
            self._end()

    def close(self) -> None:
        with self._guard:
            self._end()
        if self._gathering is not None:
            self._gathering.leave()

    def _end(self) -> None:
        import ray

        if self._actor is not None and ray.is_initialized():
            ray.kill(self._actor, no_restart=True)
        self._actor, self._set_up = None, False

    def _await(self, there: Callable[[], bool]) -> None:
        """Wait for a place in the cluster, and say so now and then."""
        said = time.monotonic()
        while not there():
            self._refuse_if_killed()
            if time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                log.warning("waiting for the Ray cluster to have room for %s", self._resources)

    def _refuse_if_killed(self) -> None:
        if self._killed:
            raise Lost("was stopped")


@contextlib.contextmanager
def _told_by_ray() -> Iterator[None]:
    """Turn what Ray says of a lost worker into `Lost`."""
    from ray.exceptions import RayError, RuntimeEnvSetupError

    try:
        yield
    except RuntimeEnvSetupError as error:
        last = str(error).strip().rpartition("\n")[2]
        raise UserError(f"the Ray cluster could not take the project's folders: {last}") from error
    except RayError as error:
        raise Lost(f"was lost; Ray says: {gist(str(error))}", _HINT) from error


_HINT = "look for its process in Ray's logs; if memory ran out, give the task less to hold"


def gist(said: str) -> str:
    """The sentence that tells why, out of the page that Ray writes when a worker is lost."""
    words = " ".join(said.split())
    _, detail, why = words.rpartition("Worker exit detail: ")
    return (why if detail else words).partition(" Some common causes")[0][:300]


class Actors:
    """The kind of worker that `RayEngine` has."""

    stoppable: ClassVar[bool] = True
    pack = staticmethod(packed_task)
    pack_setup = staticmethod(packed_setup)

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = paths

    def fit(self, resources: Resources) -> Hashable:
        return resources

    def hire(self, resources: Resources, count: int) -> Sequence[Actor]:
        gathering = None
        if count > 1:
            bundle = {
                "CPU": resources.cpus,
                "GPU": resources.gpus,
                "memory": float(resources.memory_bytes or 0),
            }
            gathering = Gathering({name: many for name, many in bundle.items() if many}, count)
        return [Actor(resources, self._paths, gathering) for _ in range(count)]
