"""What is kept of a run besides its record: a log a step, and spans.

A log is a text file a step, for `bowerbird logs`. A span has OpenTelemetry's fields (trace and span
id, name, start and end, status, attributes), one a step attempt, so that any tracing tool reads it;
the trace id is the run's id. `Listener`s are told the same things, for a screen.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import sqlalchemy as sa

from bowerbird.core.engine import Event
from bowerbird.core.plans import Step
from bowerbird.core.runs import Journal, StepState
from bowerbird.workspace.database import Database, to_micros
from bowerbird.workspace.schema import SPANS

_log = logging.getLogger("bowerbird.workspace")


class Span(msgspec.Struct, frozen=True):
    """One span, with OpenTelemetry's names. Times in microseconds since 1970."""

    trace_id: str
    span_id: str
    name: str
    start_time: int
    end_time: int
    status: str
    attributes: dict[str, Any] = {}
    parent_span_id: str | None = None


class WorkspaceJournal:
    """Writes logs and spans, and passes everything on."""

    def __init__(self, state: str, database: Database, listeners: Sequence[Journal] = ()) -> None:
        self._logs = Path(state) / "logs"
        self._database = database
        self._listeners = listeners
        self._started: dict[tuple[str, str], tuple[datetime, str]] = {}
        self._lock = Lock()

    def started(self, run_id: str, step: Step, attempt: str) -> None:
        with self._lock:
            self._started[run_id, step.id] = (datetime.now(UTC), attempt)
        self._line(run_id, step, f"--- {step.kind} {step.target} attempt {attempt}: {step.reason}")
        for listener in self._listeners:
            listener.started(run_id, step, attempt)

    def told(self, run_id: str, step: Step, event: Event) -> None:
        if event.text:
            self._line(run_id, step, event.text)
        for listener in self._listeners:
            listener.told(run_id, step, event)

    def raised(self, run_id: str, step: Step, error: BaseException) -> None:
        self._line(run_id, step, "".join(traceback.format_exception(error)).rstrip())
        for listener in self._listeners:
            listener.raised(run_id, step, error)

    def ended(self, run_id: str, step: Step, state: StepState, why: str) -> None:
        with self._lock:
            since, attempt = self._started.pop((run_id, step.id), (datetime.now(UTC), ""))
        self._line(run_id, step, f"--- {state}{f': {why}' if why else ''}")
        if attempt:
            self._keep(_span(run_id, step, attempt, since, state, why))
        for listener in self._listeners:
            listener.ended(run_id, step, state, why)

    def spans(self, run_id: str) -> list[Span]:
        """The spans of a run, in the order in which they ended."""
        query = sa.select(SPANS).where(SPANS.c.trace_id == _trace(run_id)).order_by(SPANS.c.number)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        fields = Span.__struct_fields__
        return [
            Span(
                **{field: row[field] for field in fields if field != "attributes"}
                | {"attributes": json.loads(row["attributes"])}
            )
            for row in rows
        ]

    def log(self, run_id: str, step_id: str) -> Path:
        """The file of a step's log; it may not be there."""
        return self._logs / run_id / f"{step_id}.log"

    def _keep(self, span: Span) -> None:
        row = msgspec.structs.asdict(span) | {"attributes": json.dumps(span.attributes)}
        with self._database.write() as connection:
            connection.execute(SPANS.insert().values(**row))

    def _line(self, run_id: str, step: Step, text: str) -> None:
        path = self.log(run_id, step.id)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, path.open("a", encoding="utf-8") as file:
                file.writelines(f"{stamp} {line}\n" for line in text.splitlines())
        except OSError as error:
            # A disk that is full must not keep the step's own error from being recorded.
            _log.warning("nothing written to %s: %s", path, error.strerror)


def _span(
    run_id: str, step: Step, attempt: str, since: datetime, state: StepState, why: str
) -> Span:
    attributes = {
        "bowerbird.run": run_id,
        "bowerbird.step": step.id,
        "bowerbird.step.kind": step.kind,
        "bowerbird.target": step.target,
        "bowerbird.attempt": attempt,
        "bowerbird.state": str(state),
    }
    if why:
        attributes["exception.message"] = why
    return Span(
        trace_id=_trace(run_id),
        span_id=hashlib.sha256(f"{run_id}/{step.id}/{attempt}".encode()).hexdigest()[:16],
        name=f"{step.kind} {step.target}",
        start_time=to_micros(since),
        end_time=to_micros(datetime.now(UTC)),
        status="ERROR" if state == StepState.FAILED else "OK",
        attributes=attributes,
    )


def _trace(run_id: str) -> str:
    return run_id.replace("-", "")
