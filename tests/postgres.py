"""A real PostgreSQL of the tests' own: in a folder of its own, on a free port, ended with them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


def binaries() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``, if there is one."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    folders = [*debian, *([Path(found).resolve().parent] if found else [])]
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


class Postgres:
    """One server; `stop` and `start` let a test take it away in the middle."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self._bin = bin_folder
        self._data = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # PostgreSQL refuses to run as root: it runs as nobody then, in a folder of theirs.
        self._as = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if os.geteuid() != 0:
            self._as = []
        else:
            os.chown(folder, 65534, 65534)
            for parent in folder.parents:
                if parent.stat().st_uid == 0 and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync")
        settings = (self._data / "postgresql.conf").read_text()
        settings += f"""
listen_addresses = '127.0.0.1'
port = {self.port}
unix_socket_directories = '{folder}'
fsync = off
shared_buffers = 32MB
"""
        self._write("postgresql.conf", settings)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new, empty database; its URL."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", database)
        return self.url(database)

    def start(self) -> None:
        log = self._data / "log"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(log), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def _write(self, name: str, text: str) -> None:
        path = self._data / name
        path.write_text(text)

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [*self._as, str(self._bin / program), *words],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server; skips the test where there is none to be had."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL on this machine (scripts/parts.sh installs it where it can)")
    # Not pytest's folder: it removes those of older sessions, even of one that still runs.
    with TemporaryDirectory(prefix="postgres") as folder:
        server = Postgres(Path(folder), found)
        server.start()
        try:
            yield server
        finally:
            server.stop()
