"""Who holds a lease: names by which a process can be told from one that has its number again."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def holder() -> str:
    """``host/boot:pid:start`` of this process."""
    return f"{_machine()}:{os.getpid()}:{_started(os.getpid())}"


def gone(name: str) -> bool:
    """Whether that process is known to be dead. Only of this machine can we know."""
    machine, pid, started = [*name.rsplit(":", 2), "", ""][:3]
    if machine != _machine() or not pid.isdigit():
        return False
    return _started(int(pid)) != started


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}/{boot.read_text()[:8] if boot.exists() else '-'}"


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" if there is none (or it is a zombie)."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return "" if not _exists(pid) else "-"
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
