"""Renews the leases of the steps in flight, so that nobody takes who lives for dead."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event as Flag
from threading import Thread

from bowerbird.core.errors import BowerbirdError
from bowerbird.core.runs import Ledger
from bowerbird.workspace.executor import Executor

_log = logging.getLogger("bowerbird.workspace")


@contextmanager
def beating(
    executor: Executor, ledger: Ledger, ttl: float, keep_run: Callable[[], object]
) -> Iterator[None]:
    """Renew every third of `ttl` while the block runs; a lease that was lost stops its attempt.

    keep_run: renews the lease of the whole run.
    """
    over = Flag()

    def beat() -> None:
        while not over.wait(ttl / 3):
            with suppress(BowerbirdError):
                keep_run()
            for attempt in list(executor.attempts.values()):
                try:
                    if not ledger.renew(attempt.lease, ttl):
                        attempt.lose()
                except BowerbirdError as error:
                    # The lease proves nothing: the step goes on, and its commit tells the truth.
                    _log.warning("lease %s not renewed: %s", attempt.lease.name, error)

    thread = Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
