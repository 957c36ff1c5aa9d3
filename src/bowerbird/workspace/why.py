"""Why something is as it is: the kept meanings walked back, from a target to its sources."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from bowerbird.core.errors import RefError
from bowerbird.core.meaning import Tree
from bowerbird.core.runs import RunRecord
from bowerbird.workspace.workspace import Workspace


class Reason(msgspec.Struct, frozen=True):
    """One target at one version, and what it was made from.

    by: run/step that made it, or who else. data: the data version that readers saw.
    """

    ref: str
    data: str
    by: str = ""
    version: str | None = None
    made: datetime | None = None
    principal: str = ""
    rows: int | None = None
    definition: str = ""
    inputs: tuple[Reason, ...] = ()


def why(workspace: Workspace, ref: str) -> Reason:
    """Walk back from what is live at `ref`."""
    history = workspace.history(ref)
    if history.head is None:
        raise RefError(f"nothing is live at {ref}", fix="bowerbird apply")
    cells = history.cells()
    data = ",".join(sorted({state.data for state in cells.values()}))
    walker = _Walker(workspace)
    return walker.walk(ref, data)


class _Walker:
    """Looks each run up once; a target that several read is shown in full the first time."""

    def __init__(self, workspace: Workspace) -> None:
        self._ledger = workspace.ledger
        self._trees: Mapping[str, Tree] = workspace.ledger.meanings()
        self._runs: dict[str, RunRecord | None] = {}
        self._seen: set[tuple[str, str]] = set()

    def walk(self, ref: str, data: str) -> Reason:
        token = data.split(",")[0]
        run_id, _, step_id = token.rpartition("/")
        run = self._run(run_id)
        if run is None or (ref, data) in self._seen:
            return Reason(ref, data, by="shown above" if (ref, data) in self._seen else token)
        self._seen.add((ref, data))
        record = run.step(step_id)
        tree = self._trees.get(record.meaning or "", {})
        inputs = tuple(self.walk(other, read) for other, read in tree.get("inputs", {}).items())
        return Reason(
            ref=ref,
            data=data,
            by=token,
            version=record.version,
            made=record.ended,
            principal=run.principal,
            rows=record.results.get("rows"),
            definition=brief(tree.get("definition")),
            inputs=inputs,
        )

    def _run(self, run_id: str) -> RunRecord | None:
        if run_id not in self._runs:
            try:
                self._runs[run_id] = self._ledger.run(run_id) if run_id else None
            except RefError:
                self._runs[run_id] = None
        return self._runs[run_id]


def brief(definition: Tree) -> str:
    """A definition in a few words: its kind, and the function that it calls."""
    if not isinstance(definition, dict):
        return ""
    spec = definition.get("spec", definition)
    words = [str(spec.get("kind", ""))] if isinstance(spec, dict) else []
    words += [
        f"{value['name']} (code {value['code'][:8]})"
        for value in definition.values()
        if isinstance(value, dict) and value.get("kind") == "function"
    ]
    if "to" in definition:
        words.append(f"rolled back to {definition['to']}")
    return ", ".join(word for word in words if word)
