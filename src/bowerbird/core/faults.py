"""Fault points: the places where a crash hurts have names.

``point("commit.before")`` does nothing, unless this process was started with
``BOWERBIRD_FAULT=commit.before`` (or ``commit.before:3``, the third time it is reached): then it
dies there by SIGKILL, as a machine would. The crash harness (``bowerbird.testing.crash``) finds the
names by reading the source, so a new point is visited without being listed anywhere.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

VARIABLE = "BOWERBIRD_FAULT"
TRACE = "BOWERBIRD_FAULT_TRACE"
"""A file to which the names of the points that are reached are added, one a line."""

_reached = 0


def point(name: str) -> None:
    """Die here if this process was asked to."""
    trace, wanted = os.environ.get(TRACE), os.environ.get(VARIABLE)
    if trace is not None:
        with Path(trace).open("a") as file:
            file.write(f"{name}\n")
    if wanted is None:
        return
    wanted_name, _, count = wanted.partition(":")
    if wanted_name != name:
        return
    global _reached
    _reached += 1
    if _reached == int(count or "1"):
        os.kill(os.getpid(), signal.SIGKILL)
