"""Runs in threads of a server: who asks for one does not wait for its end.

Nothing of a run lives here: a server that dies leaves it open, and whoever applies goes on with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Event as Flag
from threading import Lock, Thread, current_thread

from bowerbird.core.errors import UserError
from bowerbird.core.plans import Plan
from bowerbird.core.runs import RunRecord
from bowerbird.workspace.workspace import Workspace

_log = logging.getLogger("bowerbird.workspace")


class Background:
    """The runs that this server carries out."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = Lock()
        self._running: dict[str, Flag] = {}
        self._threads: dict[Thread, Flag] = {}
        self._closed = False

    def start(self, plan: Plan, by: Workspace | None = None) -> str | None:
        """Begin to carry a plan out: the run's id, or None if there is nothing to do.

        by: the reading of the project that made the plan, whose engine imported the same source.
        Raises `RunInProgressError` if an open run writes a target of it.
        """
        return self._begun(partial((by or self._workspace.current.workspace()).apply, plan))

    def go_on(self, run_id: str) -> str | None:
        """Go on with a run that was cut off. Raises `RunInProgressError` if somebody is at it."""
        return self._begun(partial(self._workspace.current.workspace().carry_out, run_id))

    def stop(self, run_id: str) -> RunRecord:
        """Cancel a run, whoever is at it. What it has committed stays.

        One of ours ends by itself, a moment later: it gives back its leases first, so that there is
        nothing to burn.
        """
        with self._lock:
            ours = self._running.get(run_id)
        if ours is None:
            return self._workspace.cancel(run_id)
        asked = self._workspace.ledger.ask_cancel(run_id)
        ours.set()
        return asked

    def close(self) -> None:
        """Leave every run as it is, open, to be gone on with; back when all have let go. None
        begins any more."""
        with self._lock:
            self._closed = True
            threads = dict(self._threads)
        for stop in threads.values():
            stop.set()
        for thread in threads:
            thread.join()

    def _begun(self, carry: Callable[..., object]) -> str | None:
        stop, begun = Flag(), Future[str | None]()
        thread = Thread(target=self._carry, args=(carry, stop, begun), name="run")
        with self._lock:
            if self._closed:
                raise UserError("this server is ending: it begins no run", fix="start it again")
            thread.start()
            self._threads[thread] = stop
        return begun.result()

    def _carry(self, carry: Callable[..., object], stop: Flag, begun: Future[str | None]) -> None:
        run = ""

        def ours(run_id: str) -> None:
            nonlocal run
            run = run_id
            with self._lock:
                self._running[run_id] = stop
            begun.set_result(run_id)

        try:
            carry(stop=stop, on_run=ours)
        except BaseException as error:  # noqa: BLE001 - whoever asked is told, or the log is
            if not run:
                begun.set_exception(error)
                return
            _log.exception("run %s was left", run)
        finally:
            with self._lock:
                self._running.pop(run, None)
                self._threads.pop(current_thread(), None)
        if not run:
            begun.set_result(None)
