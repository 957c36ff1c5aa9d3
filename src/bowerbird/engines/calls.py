"""What a worker does with one task: find the function, call it, measure it, name what went wrong.

The same code runs in a thread, in a worker process and in a Ray actor, so that a task that fails
fails with the same words everywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bowerbird.core.engine import Event, Outcome, Setup, Task, Usage
from bowerbird.core.errors import BowerbirdError, FunctionError, StepError, UserError
from bowerbird.core.inside import bound

Sink = Callable[[Event], None]


class Order(msgspec.Struct, frozen=True):
    """A task on its way to a worker in another process.

    Task and set-up are pickled apart from the order: when either cannot be unpickled there, the
    worker still knows which task to answer for.
    """

    key: str
    task: bytes
    setup: bytes | None = None


def named(call: str) -> Callable[..., Any]:
    """The function that ``"module:name"`` names; nested too: ``"module:Class.make"``."""
    module_name, colon, path = call.partition(":")
    if not (module_name and colon and path):
        raise FunctionError(f"{call!r} does not name a function", expected='"module:name"')
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        # Whatever a module raises while it is imported is the reason why there is no function.
        reason = f"{type(error).__name__}: {error}"
        raise FunctionError(f"{call!r} cannot be imported: {reason}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            place = getattr(found, "__file__", None) or module_name
            raise FunctionError(f"{call!r} cannot be imported: no {part!r} in {place}")
        found = getattr(found, part)
    if not callable(found):
        raise FunctionError(f"{call!r} is a {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]


class Bench:
    """Where tasks are done one after another: holds what the set-up returned."""

    def __init__(self, meter: Callable[[], Meter]) -> None:
        self._meter = meter
        self._setup: Setup | None = None
        self._state: Any = None

    def perform(self, task: Task, setup: Setup | None, sink: Sink) -> Outcome:
        """Do one task; whatever it raises is in the outcome.

        setup: called first when it is given and this bench was not set up.
        """
        meter = self._meter()
        value, error = None, None
        try:
            if setup is not None and self._setup is None:
                self._state = named(setup.call)(*setup.args)
                self._setup = setup
                meter = self._meter()  # the set-up is no task's usage
            function = named(task.call)
            with bound(task.key, sink, self._state):
                value = function(*task.args, **task.kwargs)
        except BaseException as raised:  # noqa: BLE001 (sys.exit in a task ends the task, not the worker)
            error = told(raised)
        return Outcome(key=task.key, value=value, error=error, usage=meter.read())

    def perform_packed(self, order: Order, sink: Sink) -> bytes:
        """Do one task that came pickled; the outcome goes back pickled."""
        try:
            task: Task = pickle.loads(order.task)  # noqa: S301 (from our own driver)
            setup: Setup | None = None
            if order.setup is not None:
                setup = pickle.loads(order.setup)  # noqa: S301
        except BaseException as raised:  # noqa: BLE001 (unpickling runs anybody's code)
            return packed(Outcome(key=order.key, error=_unreadable(order.key, raised)))
        outcome = self.perform(task, setup, sink)
        if outcome.usage is not None and outcome.usage.seconds > LONG:
            _give_back_memory()
        return packed(outcome)


LONG = 1.0
"""Seconds from which on a task is worth tidying up after: it takes some 20 ms."""


def _give_back_memory() -> None:
    """Return what a task no longer uses to the system: a warm worker waits, others need it."""
    gc.collect()
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # not glibc: its own ways must do
        ctypes.CDLL(None).malloc_trim(0)


def told(raised: BaseException) -> BowerbirdError:
    """What a task raised, as an error of ours that can travel.

    The worker's traceback is a note of the error (PEP 678): notes survive pickling, a logger prints
    them, and `str` does not, so that no traceback reaches a person for a mistake of theirs.
    """
    if isinstance(raised, BowerbirdError):
        error = raised
    else:
        said = str(raised)
        error = StepError(f"{type(raised).__name__}: {said}" if said else type(raised).__name__)
    error.add_note("".join(traceback.format_exception(raised)))
    return error


def packed(outcome: Outcome) -> bytes:
    """An outcome as bytes; one that cannot become bytes says so instead of being lost."""
    try:
        data = pickle.dumps(outcome, protocol=5)
        if outcome.error is not None:
            pickle.loads(data)  # noqa: S301 (an error of a user's own class may pickle and not come back)
        return data
    except Exception as refused:  # noqa: BLE001 (pickling runs anybody's code)
        return pickle.dumps(
            msgspec.structs.replace(outcome, value=None, error=_unsent(outcome, refused))
        )


def _unsent(outcome: Outcome, refused: Exception) -> BowerbirdError:
    reason = f"{type(refused).__name__}: {refused}"
    if outcome.error is not None:
        error = StepError(f"{type(outcome.error).__name__}: {outcome.error.problem}")
        for note in getattr(outcome.error, "__notes__", ()):
            error.add_note(note)
        return error
    return StepError(
        f"the result of task {outcome.key!r} cannot be pickled: {reason}",
        expected="a small value that pickle can carry from the worker to the driver",
        fix="return plain values, and write what is large to a file that the arguments name",
    )


def _unreadable(key: str, raised: BaseException) -> BowerbirdError:
    error = FunctionError(
        f"the arguments of task {key!r} cannot be unpickled in a worker:"
        f" {type(raised).__name__}: {raised}",
        expected="arguments whose classes are in a module that workers can import",
        fix="move the classes out of the script that is run, into a module of the project",
    )
    error.add_note("".join(traceback.format_exception(raised)))
    return error


def unpacked(key: str, data: bytes) -> Outcome:
    """The outcome that a worker sent."""
    try:
        outcome: Outcome = pickle.loads(data)  # noqa: S301 (from our own worker)
    except Exception as error:  # noqa: BLE001 (unpickling runs anybody's code)
        reason = f"{type(error).__name__}: {error}"
        return Outcome(
            key=key,
            error=StepError(f"the result of task {key!r} cannot be unpickled: {reason}"),
        )
    return outcome


def too_large(key: str, size: int, limit: int) -> Outcome:
    """The outcome of a task that was stopped because its worker grew over its memory."""
    error = StepError(
        f"task {key!r} was stopped: its worker held {_mb(size)} of memory",
        expected=f"at most {_mb(limit)} (its resources.memory_bytes)",
        fix="raise memory_bytes, or give the task less to do at once",
    )
    return Outcome(key=key, error=error)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def packed_task(task: Task) -> bytes:
    """A task as bytes, for a worker in another process; raises what pickling raises."""
    return pickle.dumps(task, protocol=5)


def packed_setup(setup: Setup) -> bytes:
    try:
        return pickle.dumps(setup, protocol=5)
    except Exception as error:
        problem = f"the arguments of set-up {setup.call!r} cannot be pickled: {error}"
        raise UserError(problem) from error


class Meter(Protocol):
    """Made when a task starts, read when it ends."""

    def read(self) -> Usage: ...


class ProcessMeter:
    """Of a process that does one task at a time: all its threads, and children it waited for."""

    def __init__(self) -> None:
        _forget_peak()
        self._wall, self._cpu = time.perf_counter(), _cpu_of_process()

    def read(self) -> Usage:
        wall, cpu = time.perf_counter() - self._wall, _cpu_of_process() - self._cpu
        return Usage(seconds=wall, cpu_seconds=cpu, peak_bytes=peak_bytes())


class ThreadMeter:
    """Of a thread: the CPU is its own, the peak is the whole process's, ever."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def read(self) -> Usage:
        wall, cpu = time.perf_counter() - self._wall, time.thread_time() - self._cpu
        return Usage(seconds=wall, cpu_seconds=cpu, peak_bytes=peak_bytes())


def _cpu_of_process() -> float:
    # Not os.times(): it counts in ticks of 10 ms.
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _forget_peak() -> None:
    # proc(5): writing 5 resets the peak resident size (VmHWM) to the size of now. Where that is not
    # to be had (macOS, a locked-down container) the peak is of the process, not of the task.
    try:
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(fd, b"5")
    except OSError:
        return
    finally:
        os.close(fd)


def peak_bytes() -> int:
    """The highest resident size of this process."""
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    at = status.index(b"VmHWM:") + len(b"VmHWM:")
    return int(status[at : status.index(b"kB", at)]) * 1024


def resident_bytes(pid: int | str = "self") -> int | None:
    """The resident size of a process now; None where the system does not say."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_bytes().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
