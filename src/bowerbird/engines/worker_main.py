"""What a worker process runs: take an order, do it, answer; die when the driver dies.

Messages to the worker: an `Order`, or nothing (eight zero bytes) for "end". Messages from it: one
letter and a pickle, ``e`` an event, ``o`` the outcome of the order.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import socket
import sys
import threading

from bowerbird.core.engine import Event
from bowerbird.engines import frames
from bowerbird.engines.calls import Bench, Order, ProcessMeter

_PR_SET_PDEATHSIG = 1
# Twice the usual reach for the OOM killer's hand (0 is neutral, 1000 is "first"): when memory runs
# out the kernel takes a worker, which the driver replaces, and not the driver.
_OOM_SCORE = "500"


def main(fd: int, driver: int) -> None:
    """fd: the worker's end of the socket. driver: the process that must be our parent."""
    sock = socket.socket(fileno=fd)
    _die_with(driver, sock)
    _volunteer_for_the_oom_killer()
    # A handler and not SIG_IGN, which children of the task would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    bench = Bench(ProcessMeter)
    speaking = threading.Lock()
    while data := _next(sock):
        order: Order = pickle.loads(data)  # noqa: S301 (from our own driver)
        telling = _Telling(sock, speaking)
        outcome = bench.perform_packed(order, telling)
        telling.end()
        sys.stdout.flush()
        with speaking:
            frames.send(sock, b"o" + outcome)


def _next(sock: socket.socket) -> bytes:
    try:
        return frames.receive(sock)
    except EOFError:
        return b""


class _Telling:
    """Sends events while the task runs; a thread that the task left behind is not heard later."""

    def __init__(self, sock: socket.socket, speaking: threading.Lock) -> None:
        self._sock, self._speaking = sock, speaking
        self._ended = False

    def __call__(self, event: Event) -> None:
        data = b"e" + pickle.dumps(event)
        with self._speaking:
            if not self._ended:
                frames.send(self._sock, data)

    def end(self) -> None:
        with self._speaking:
            self._ended = True


def _die_with(driver: int, sock: socket.socket) -> None:
    if sys.platform == "linux":
        # The kernel kills us when the thread that started us ends, even inside C code that never
        # lets go of the interpreter.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != driver:  # it died before we asked
        os._exit(1)
    threading.Thread(target=_watch, args=(sock.fileno(),), daemon=True).start()


def _watch(fd: int) -> None:
    """Everywhere: when the driver's end closes, go, and take along what the task started."""
    poll = select.poll()
    poll.register(fd, 0)  # only hang-ups and errors
    poll.poll()
    os.killpg(0, signal.SIGKILL)


def _volunteer_for_the_oom_killer() -> None:
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(fd, _OOM_SCORE.encode())
    except OSError:
        return
    finally:
        os.close(fd)
