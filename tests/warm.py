"""``bowerbird``, started warm: a process that has imported the house forks one for each command.

The tests type some hundred commands, and most of each command's time is imports. So `bowerbird`
in `folder()` is `TYPES`, which hands its arguments, folder, environment and streams to this
process; the fork becomes a process of its own, which can die of SIGKILL as any other.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from threading import Lock

# Not `bowerbird.cli.screen`, which looks at its terminal when it is imported.
IMPORTED = (
    *("pyiceberg.catalog.sql", "pyiceberg.io.pyarrow"),
    *("rich.progress", "rich.table", "typer._adapters"),
    *("bowerbird.cli.main", "bowerbird.cli.opening", "bowerbird.lake.steps"),
    *("bowerbird.workspace.views", "bowerbird.workspace.why"),
)
ROOT = Path(__file__).parents[1]

TYPES = """\
import array, json, os, signal, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({path!r})
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
streams = array.array("i", [0, 1, 2]).tobytes()
line.sendmsg([len(asked).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
line.sendall(asked)
code = int.from_bytes(line.recv(4), "big", signed=True)
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def folder() -> Path:
    """A folder with such a `bowerbird`; the process behind it is started once a session."""
    with _starting:  # commands are run side by side
        return _started()


_starting = Lock()


@cache
def _started() -> Path:
    made = tempfile.TemporaryDirectory(prefix="warm")
    server = f"{made.name}/s"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", server],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"

    def end() -> None:
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()  # of its standard input: that ends it
        process.wait()
        made.cleanup()

    atexit.register(end)
    path = Path(made.name) / "bin" / "bowerbird"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable} -SE\n{TYPES.format(path=server)}")
    path.chmod(0o755)
    return path.parent


def serve(path: str) -> None:
    """Answer until the one who started this is gone: its end closes our standard input."""
    for name in IMPORTED:
        importlib.import_module(name)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    print("ready", flush=True)
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        line, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            answer(line)
            os._exit(0)
        line.close()
        with contextlib.suppress(ChildProcessError):  # those that have ended
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def answer(line: socket.socket) -> None:
    """Fork once more, for the command; say how it ended."""
    size, rights, _, _ = line.recvmsg(4, socket.CMSG_SPACE(3 * 4))
    streams = array.array("i")
    streams.frombytes(rights[0][2])
    asked = b""
    while len(asked) < int.from_bytes(size, "big"):
        asked += line.recv(65536)
    words, folder, variables = json.loads(asked)
    child = os.fork()
    if child == 0:
        line.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        sys.argv = ["bowerbird", *words]
        become()
    _, status = os.waitpid(child, 0)
    line.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def become() -> None:
    """Be the command, as its console script would."""
    from bowerbird.cli.main import main

    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[:0] = [one for one in os.environ.get("PYTHONPATH", "").split(":") if one]
    code: object = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    serve(sys.argv[1])
