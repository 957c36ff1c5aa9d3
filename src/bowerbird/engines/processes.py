"""Workers that are processes of this machine: the driver's side. `worker_main` is the other.

Each is a fresh interpreter (never a fork), leads a session of its own (Ctrl-C in the terminal is
the driver's business; what a task starts is ended with it), and writes to the driver's standard
error, so that the driver's standard output stays its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import ClassVar

from bowerbird.core.engine import Event, Outcome, Resources, Task
from bowerbird.core.errors import UserError
from bowerbird.engines import frames
from bowerbird.engines.calls import (
    Order,
    packed_setup,
    packed_task,
    resident_bytes,
    too_large,
    unpacked,
)
from bowerbird.engines.pool import Lost, Packed

# How often a silent worker is looked at: is it there, and how large is it?
_LOOK_SECONDS = 0.5
_LOOK_AT_MEMORY_SECONDS = 0.05
# Between asking a task to end (SIGTERM) and ending it.
_GRACE_SECONDS = 0.3
# How long a worker that closed its connection may take to exit by itself.
_EXIT_SECONDS = 1.0

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]);"
    " from bowerbird.engines.worker_main import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


class Process:
    """A worker that is a process."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = paths
        self._guard = threading.Lock()  # nobody signals a pid that somebody else has just reaped
        self._killed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._last_word: threading.Timer | None = None
        self._set_up = False
        self._used = False

    def open(self) -> None:
        ours, theirs = socket.socketpair()
        path = [*self._paths, *(entry or str(Path.cwd()) for entry in sys.path)]
        argv = [
            sys.executable,
            "-c",
            _BOOT,
            str(theirs.fileno()),
            str(os.getpid()),
            json.dumps(path),
        ]
        with self._guard, theirs:
            self._sock = ours
            if self._killed:
                raise Lost("was stopped")
            try:
                self._process = subprocess.Popen(  # noqa: S603 (our own interpreter)
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=2,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                raise Lost(f"could not be started: {error}") from error

    def perform(self, packed: Packed, on_event: Callable[[Event], None]) -> Outcome:
        limit = packed.task.resources.memory_bytes
        if self._sock is None or self._exited():  # it ended after an earlier task, not under this
            self._reopen()
        if limit is not None and self._used and self._resident() > limit:
            # Grown under earlier tasks: this one gets a worker that it alone has filled.
            self._reopen()
        self._used = True
        try:
            self._give(packed)
            outcome = self._listen(packed.task, on_event, limit)
        except (EOFError, OSError):
            raise Lost(*self._bury()) from None
        # Sent again after an error, which may be the set-up's own; who is set up ignores it.
        self._set_up = packed.setup is not None and outcome.error is None
        return outcome

    def kill(self) -> None:
        with self._guard:
            self._killed = True
            self._signal(signal.SIGTERM)
        if self._process is None:
            return
        self._last_word = threading.Timer(_GRACE_SECONDS, self._kill_now)
        self._last_word.daemon = True
        try:
            self._last_word.start()
        except RuntimeError:  # the driver itself is ending: no new threads
            self._kill_now()

    def close(self) -> None:
        if self._sock is None:
            return
        if not self._killed:
            with contextlib.suppress(OSError):
                frames.send(self._sock, b"")
        self._bury()

    def _give(self, packed: Packed) -> None:
        assert self._sock is not None  # noqa: S101 (opened first)
        setup = packed.setup_data if packed.setup is not None and not self._set_up else None
        frames.send(
            self._sock, pickle.dumps(Order(packed.task.key, packed.data, setup), protocol=5)
        )

    def _listen(self, task: Task, on_event: Callable[[Event], None], limit: int | None) -> Outcome:
        assert self._sock is not None  # noqa: S101
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        look = _LOOK_SECONDS if limit is None else _LOOK_AT_MEMORY_SECONDS
        looked = time.monotonic()
        while True:
            ready = poll.poll(look * 1000)
            if limit is not None and time.monotonic() - looked >= look:
                looked = time.monotonic()
                if (size := self._resident()) > limit:
                    return self._end_too_large(task.key, size, limit)
            if ready:
                data = frames.receive(self._sock)
                if data[:1] == b"o":
                    return unpacked(task.key, data[1:])
                on_event(pickle.loads(data[1:]))  # noqa: S301 (from our own worker)
            elif self._exited():
                # Gone, yet the connection is open: something that the task started holds it.
                raise EOFError

    def _end_too_large(self, key: str, size: int, limit: int) -> Outcome:
        self._kill_now()
        self._bury()
        return too_large(key, size, limit)

    def _reopen(self) -> None:
        self._bury()
        self.open()

    def _resident(self) -> int:
        return (resident_bytes(self._process.pid) or 0) if self._process is not None else 0

    def _exited(self) -> bool:
        """Has it ended? It stays a zombie, so that its pid and its group stay its own."""
        process = self._process
        if process is None or process.returncode is not None:
            return True
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return process.poll() is not None
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _signal(self, number: signal.Signals) -> None:
        """To the worker and all that its tasks started; the guard is held."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _kill_now(self) -> None:
        with self._guard:
            self._signal(signal.SIGKILL)

    def _bury(self) -> tuple[str, str | None]:
        """See to it that nothing is left of the process; tell how it ended, and a hint."""
        until = time.monotonic() + _EXIT_SECONDS
        while not self._exited() and time.monotonic() < until:
            time.sleep(0.002)
        with self._guard:
            by_itself = self._exited()
            self._signal(signal.SIGKILL)
            code = self._process.wait() if self._process is not None else None
            if self._sock is not None:
                self._sock.close()
            self._sock, self._set_up, self._used = None, False, False
        if self._last_word is not None:
            self._last_word.cancel()
        if self._killed:
            return "was stopped", None
        if not by_itself or code is None:
            return "closed its connection and had to be killed", None
        return _epitaph(code)


def _epitaph(code: int) -> tuple[str, str | None]:
    if code >= 0:
        return f"exited with code {code}", "look at its last lines on standard error"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code != signal.SIGKILL:
        return (
            f"died of {name}",
            "look for a crash in native code (PYTHONFAULTHANDLER=1 shows where)",
        )
    return (
        f"was killed by {name}",
        (
            "if nobody did that by hand, memory ran out (the kernel's log names the process):"
            " give the task less to hold, or the engine fewer workers"
        ),
    )


class Processes:
    """The kind of worker that `LocalEngine(isolation=PROCESSES)` has."""

    stoppable: ClassVar[bool] = True
    pack = staticmethod(packed_task)
    pack_setup = staticmethod(packed_setup)

    def __init__(self, paths: tuple[str, ...]) -> None:
        if os.name != "posix":
            raise UserError("worker processes need Linux or macOS", fix="use threads, or WSL")
        self._paths = paths

    def fit(self, resources: Resources) -> Hashable:
        return None

    def hire(self, resources: Resources, count: int) -> Sequence[Process]:
        return [Process(self._paths) for _ in range(count)]
