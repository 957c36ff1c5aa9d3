"""Fault points: the places where a crash hurts have names.

``point("commit.before")`` does nothing, unless this process was started with
``BOWERBIRD_FAULT=commit.before`` (or ``commit.before:3``, the third time it is reached): then it
dies there by SIGKILL, as a machine would. The crash harness (``bowerbird.testing.crash``) finds the
names by reading the source, so a new point is visited without being listed anywhere.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "BOWERBIRD_FAULT"

_reached = 0


def point(name: str) -> None:
    """Die here if this process was asked to."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    wanted_name, _, count = wanted.partition(":")
    if wanted_name != name:
        return
    global _reached
    _reached += 1
    if _reached == int(count or "1"):
        os.kill(os.getpid(), signal.SIGKILL)
