"""What does not end: the loop that keeps the project applied, and the rooms' servers.

The loop observes, plans and applies under a named lease, so that of several machines one does it;
a tick that finds nothing to do leaves no run. Specs are those on disk, for the servers too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event as Flag
from threading import Thread

from bowerbird.core.errors import BowerbirdError
from bowerbird.core.functions import load
from bowerbird.workspace.holders import gone, holder
from bowerbird.workspace.workspace import Workspace

_log = logging.getLogger("bowerbird.workspace")

PERIOD = 30.0
"""Seconds between two looks."""


def run_services(workspace: Workspace, stop: Flag, say: Callable[[str], None]) -> None:
    """Run the loop beside the servers until `stop`, or until the first server ends."""
    loop = Thread(target=keep_applied, args=(workspace, stop, say), name="apply", daemon=True)
    loop.start()
    try:
        for service in workspace.registry.services().values():
            if service.kind == "server":
                load(service.run)(workspace, stop=stop, say=say)
    finally:
        stop.set()
        loop.join()


def keep_applied(workspace: Workspace, stop: Flag, say: Callable[[str], None]) -> None:
    """Apply whenever there is something to do, until `stop`."""
    while True:
        try:
            tick(workspace, stop, say)
        except BowerbirdError as error:
            _log.warning("the loop could not apply: %s", error)
            say(f"not applied: {error.problem}")
        if stop.wait(PERIOD):
            return


def tick(workspace: Workspace, stop: Flag, say: Callable[[str], None]) -> bool:
    """One look: True if a run came of it."""
    if not workspace.ledger.take("loop/apply", holder(), 3 * PERIOD, gone):
        return False
    now = workspace.current.workspace()
    plan = now.plan()
    if plan.empty:
        return False
    record = now.apply(plan, stop)
    if record is not None:
        say(f"run {record.id} is {record.state}")
    return record is not None
