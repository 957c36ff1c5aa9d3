"""Plans: desired against actual state, as ordered, frozen steps with cost and reason.

`make_plan` is pure: it is given what specs want (`Want`) and what targets hold (`Read`), and
returns the steps. ``explain`` prints these steps and the executor runs these steps: the same list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from bowerbird.core.errors import PlanError
from bowerbird.core.meaning import Tree, changes, digest
from bowerbird.core.targets import WHOLE, CellState, Read, Version, overlap


class Pinned(msgspec.Struct, frozen=True, tag="pinned"):
    """An input, or a base, as it is now.

    version: what to read; None where nothing is there yet.
    data: the data version: what of it counts in a meaning.
    """

    version: Version | None
    data: str = ""


class OutputOf(msgspec.Struct, frozen=True, tag="output_of"):
    """An input that other steps of the same plan make; known when all of them have."""

    steps: tuple[str, ...]


Input = Pinned | OutputOf


class Cost(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a step is expected to take; None where nothing is known yet."""

    rows: int | None = None
    bytes: int | None = None
    seconds: float | None = None


class Step(msgspec.Struct, frozen=True):
    """One change to one target.

    kind: a step kind of some room: ``table.load``.
    target: ref of what it writes. cell: the part of it.
    spec: the envelope of the spec, so that another process can carry the step out. others: the
      envelopes of specs that it uses, by ref.
    cells: the cells that it makes in one commit, where those are several: each with the data
      versions of what it reads of the inputs.
    definition: the meaning tree without inputs; with them resolved it is the cell's meaning.
    inputs: ref -> where to read it. base: the target's version that the plan stands on.
    """

    id: str
    kind: str
    target: str
    reason: str
    cell: str = WHOLE
    cells: dict[str, dict[str, str]] = {}
    spec: dict[str, Any] = {}
    others: dict[str, dict[str, Any]] = {}
    definition: Tree = None
    inputs: dict[str, Input] = {}
    base: Version | None = None
    cost: Cost = Cost()

    def needs(self) -> tuple[str, ...]:
        """The steps that must be done before this one starts."""
        made = [value.steps for value in self.inputs.values() if isinstance(value, OutputOf)]
        return tuple(dict.fromkeys(step for steps in made for step in steps))


class Note(msgspec.Struct, frozen=True):
    """Something that the plan does not do, and why; `fix` is what to type to have it done.

    later: a plan that is made once this one is carried out will do it.
    """

    ref: str
    text: str
    fix: str = ""
    later: bool = False


class Plan(msgspec.Struct, frozen=True):
    """Steps in an order in which they can run.

    wants: digest of all that was wanted: two plans of the same specs have the same.
    """

    steps: tuple[Step, ...] = ()
    notes: tuple[Note, ...] = ()
    wants: str = ""

    @property
    def empty(self) -> bool:
        return not self.steps

    def step(self, step_id: str) -> Step:
        return next(step for step in self.steps if step.id == step_id)


class Want(msgspec.Struct, frozen=True):
    """One cell that a spec wants.

    definition: meaning tree of the computation. reads: refs of the inputs.
    kind: the step kind that makes it. spec, others: as the step will carry them.
    data: ref -> the data version of what the cell reads of that input, where it is a part of it.
    together: so many cells of one definition may be made by one step, in one commit.
    """

    target: str
    kind: str
    definition: Tree
    spec: dict[str, Any] = {}
    others: dict[str, dict[str, Any]] = {}
    cell: str = WHOLE
    reads: tuple[str, ...] = ()
    data: dict[str, str] = {}
    together: int = 1
    cost: Cost = Cost()


class Allowed(msgspec.Struct, frozen=True):
    """What the user said may be done although it could lose something: refs, by kind of leave."""

    replace_outside: frozenset[str] = frozenset()
    release_held: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()


def meaning(definition: Tree, inputs: Mapping[str, str]) -> Tree:
    """A cell's meaning: what is computed, and the data versions that it read."""
    return {"definition": definition, "inputs": dict(sorted(inputs.items()))}


def ordered(wants: Sequence[Want]) -> list[Want]:
    """Wants in an order in which each comes after what it reads. Raises `PlanError` on a cycle."""
    makers: dict[str, list[Want]] = {}
    for want in wants:
        makers.setdefault(want.target, []).append(want)
    done: list[Want] = []
    path: list[str] = []
    seen: set[str] = set()

    def visit(target: str) -> None:
        if target in path:
            circle = " → ".join([*path[path.index(target) :], target])
            raise PlanError(
                f"specs read each other in a circle: {circle}",
                expected="an order in which each is made from what was made before",
            )
        if target in seen:
            return
        path.append(target)
        for want in makers[target]:
            for ref in want.reads:
                if ref in makers:
                    visit(ref)
        path.pop()
        seen.add(target)
        done.extend(makers[target])

    for target in makers:
        visit(target)
    return done


def make_plan(
    wants: Sequence[Want],
    present: Mapping[str, Read],
    trees: Mapping[str, Tree],
    allowed: Allowed = Allowed(),  # noqa: B008 - frozen
    removed: Mapping[str, str] | None = None,
) -> Plan:
    """The steps that turn what is present into what is wanted.

    present: ref -> what is there, for every target and every input. trees: the meanings that the
    ledger keeps, by hash: they say why a cell is stale. removed: refs of targets that no spec
    declares any more, with the step kind that would drop each.
    """
    steps: list[Step] = []
    notes: dict[Note, None] = {}
    makers: dict[str, list[str]] = {}
    unmade: dict[str, bool] = {}  # ref -> whether a later plan makes it
    pending: dict[str, None] = {}  # refs that a later plan changes: who reads them waits for it
    batches: dict[str, _Batch] = {}
    for want in ordered(wants):
        lacking = [ref for ref in want.reads if ref in unmade]
        now = present.get(want.target, Read())
        inputs = {ref: _input(ref, makers, present) for ref in want.reads}
        verdict: str | Note
        if lacking:
            verdict = _not_there(want, lacking[0], later=unmade[lacking[0]])
        elif later := next((ref for ref in want.data if ref in makers), ""):
            text = f"planned once {later} is made: which parts of it change is not known yet"
            verdict = Note(want.target, text, "bowerbird apply", later=True)
        elif soon := next((ref for ref in want.reads if ref in pending), ""):
            verdict = Note(want.target, f"planned once {soon} is as it will be", later=True)
        elif empty := next((ref for ref, data in want.data.items() if not data), ""):
            verdict = _not_there(want, empty, later=False)
        else:
            verdict = _verdict(want, now, inputs, trees, allowed)
        if isinstance(verdict, Note):
            notes[verdict] = None
            if verdict.later:
                pending[want.target] = None
            if now.version is None and want.target not in makers:
                unmade[want.target] = verdict.later
        elif verdict and want.data:
            what = digest([want.target, want.kind, want.definition])
            if what not in batches or len(batches[what].wants) >= want.together:
                batches[what] = _Batch(len(steps), [], [])
                steps.append(_step(f"s{len(steps) + 1}", want, verdict, inputs, now.version))
                makers.setdefault(want.target, []).append(steps[-1].id)
            batch = batches[what]
            batch.wants.append(want)
            batch.reasons.append(verdict)
            steps[batch.place] = batch.step(steps[batch.place])
        elif verdict:
            step = _step(f"s{len(steps) + 1}", want, verdict, inputs, now.version)
            steps.append(step)
            makers.setdefault(want.target, []).append(step.id)
    for ref, kind in sorted((removed or {}).items()):
        if ref in allowed.drop:
            reason = "no spec declares it; to be dropped, as asked"
            base = present.get(ref, Read()).version
            steps.append(Step(f"s{len(steps) + 1}", kind, ref, reason, base=base))
        else:
            fix = f"bowerbird apply --drop {ref}"
            notes[Note(ref, "no spec declares it any more; it is kept", fix)] = None
    return Plan(steps=tuple(steps), notes=tuple(notes), wants=_wants(wants, allowed))


def _not_there(want: Want, ref: str, *, later: bool) -> Note:
    return Note(want.target, f"not made: {ref} is not there to read", later=later)


class _Batch(NamedTuple):
    """The cells that one step makes. place: of the step in the plan."""

    place: int
    wants: list[Want]
    reasons: list[str]

    def step(self, step: Step) -> Step:
        return msgspec.structs.replace(
            step,
            cell=WHOLE if len(self.wants) > 1 else step.cell,
            cells={want.cell: want.data for want in self.wants},
            reason="; ".join(counted(self.reasons)[:3]),
            cost=total_cost([want.cost for want in self.wants]),
        )


def counted(reasons: Iterable[str]) -> list[str]:
    """Why cells are to be made: each reason once, with how many cells it is of; the most first."""
    found = Counter(reasons).most_common()
    return [why if n == 1 else f"{n} cells {why}" for why, n in found]


def total_cost(costs: Sequence[Cost]) -> Cost:
    """What several things cost together, as far as it is known."""

    def total(values: Iterable[Any]) -> Any:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    return Cost(
        rows=total(cost.rows for cost in costs),
        bytes=total(cost.bytes for cost in costs),
        seconds=total(cost.seconds for cost in costs),
    )


def _step(
    step_id: str, want: Want, reason: str, inputs: dict[str, Input], base: Version | None
) -> Step:
    return Step(
        id=step_id,
        kind=want.kind,
        target=want.target,
        reason=reason,
        cell=want.cell,
        spec=want.spec,
        others=want.others,
        definition=want.definition,
        inputs=inputs,
        base=base,
        cost=want.cost,
    )


def _wants(wants: Sequence[Want], allowed: Allowed) -> str:
    cells = [
        [want.target, want.cell, digest(want.definition), list(want.reads)]
        + ([want.data] if want.data else [])
        for want in wants
    ]
    leave = [sorted(refs) for refs in msgspec.structs.astuple(allowed)]
    return digest([cells, leave])


def _input(ref: str, makers: Mapping[str, list[str]], present: Mapping[str, Read]) -> Input:
    if ref in makers:
        return OutputOf(tuple(makers[ref]))
    now = present.get(ref, Read())
    return Pinned(now.version, now.data)


def _verdict(
    want: Want,
    now: Read,
    inputs: Mapping[str, Input],
    trees: Mapping[str, Tree],
    allowed: Allowed,
) -> str | Note:
    """Why the cell must be made; empty: it is current; a `Note`: it is left, and why."""
    state = _state(want.cell, now)
    if state is None:
        return "missing"
    later = [ref for ref, value in inputs.items() if isinstance(value, OutputOf)]
    read = {ref: value.data for ref, value in inputs.items() if isinstance(value, Pinned)}
    read |= want.data
    if state.held == digest(want.definition) and want.target not in allowed.release_held:
        return Note(
            want.target,
            "held: this definition was rolled back here",
            f"bowerbird apply --release {want.target}",
        )
    if state.meaning is None:
        if want.target in allowed.replace_outside:
            return f"changed outside ({state.data}); to be replaced, as asked"
        return Note(
            want.target,
            f"left as it is: changed outside the house ({state.data})",
            f"bowerbird apply --replace {want.target}",
        )
    if not later and digest(meaning(want.definition, read)) == state.meaning:
        return ""
    return _why_stale(want, state, read, later, trees)


def _state(cell: str, now: Read) -> CellState | None:
    """What is known of a cell; rows that somebody else wrote into a part of it count as its own."""
    outside = (s for c, s in now.cells.items() if s.meaning is None and overlap((c,), (cell,)))
    return now.cells.get(cell) or next(outside, None)


def _why_stale(
    want: Want,
    state: CellState,
    read: Mapping[str, str],
    later: Sequence[str],
    trees: Mapping[str, Tree],
) -> str:
    old = trees.get(state.meaning or "")
    reasons: list[str] = []
    if old is not None:
        reasons += changes(old.get("definition"), want.definition)
        known = old.get("inputs", {})
        reasons += [f"{ref} changed" for ref, data in read.items() if known.get(ref) != data]
    reasons += [f"{ref} is made anew" for ref in later]
    return "stale: " + ("; ".join(reasons[:3]) or "its meaning changed")
