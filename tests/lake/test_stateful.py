"""Random sequences of everything that changes a table, from several writers, against a model.

The model is a list of rows for every version, and which partitions each commit changed. Steps are
computed at one moment and committed at another, so others come in between; the model says which of
them must then be refused. Readers that pinned a version read it as the model had it then, or are
told by name that it has expired.

A new operation joins as a rule that calls `begin` (or commits and calls `_record`).
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from bowerbird.core.errors import PlanAgainError, RefError, SpecError, UserError
from bowerbird.core.targets import WHOLE, Change, LogTarget, Token, Version
from bowerbird.lake import (
    Keyed,
    Lake,
    Mode,
    Table,
    TableLog,
    Written,
    identity,
    merge,
    merge_into,
    read,
    rollback,
    write,
)
from bowerbird.lake.upkeep import compaction, expiry
from bowerbird.lake.upkeep.layout import Limits
from bowerbird.testing.target_conformance import Hurried
from tests.lake.world import home_in

EXAMPLES = int(os.environ.get("BOWERBIRD_STATEFUL_EXAMPLES", "40"))
STEPS = 50
EAGER = Limits(joined=2, depth=1)
"""Two small files are enough for a compaction."""
SHRINK = "BOWERBIRD_STATEFUL_SHRINK" in os.environ
"""Shortening a failing sequence takes minutes, so it is done when asked."""

Row = tuple[tuple[str, Any], ...]
"""Column and value, of all columns that are not null."""

Rows = tuple[Row, ...]
ID = Keyed(key=("id",), op="op")
modes = st.sampled_from(Mode)
names = itertools.count()
PARTS = ("a", "b", "c/é")

rows_drawn = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(PARTS), st.sampled_from("xyz")), max_size=4
)
changes_drawn = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.sampled_from(PARTS),
        st.sampled_from("xyz"),
        st.sampled_from(["insert", "update", "delete"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda change: change[0],
)
number = st.integers(0, 1000)
part_drawn = st.sampled_from(PARTS)


def row(key: int, part: str, name: str) -> Row:
    return (("id", key), ("name", name), ("part", part))


def cell(part: str) -> str:
    return {"a": "part=a", "b": "part=b", "c/é": "part=c%2F%C3%A9"}[part]


def parts_of(rows: Iterable[Row]) -> frozenset[str]:
    return frozenset(cell(dict(one)["part"]) for one in rows)


def meet(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether two sets of whole partitions share one."""
    ones, others = set(one), set(other)
    return bool(ones & others or (WHOLE in ones and others) or (WHOLE in others and ones))


class Commit(NamedTuple):
    """One commit of the main branch. moved: partitions whose files it exchanged, changed or not."""

    version: Version | None
    changed: frozenset[str]
    moved: frozenset[str]


class Begun(NamedTuple):
    """A step that was computed and is not committed. effect: what it makes of the table's rows.

    held: what must not have changed since `base`. rewrites: partitions whose files it names. form:
    number of the spec that it was written for; None for one that takes the table as it is.
    """

    token: Token
    base: Version | None
    change: Change
    effect: Callable[[Rows], Rows]
    held: frozenset[str]
    rewrites: frozenset[str]
    form: int | None


class LakeMachine(RuleBasedStateMachine):
    lakes: list[Lake]

    @initialize()
    def start(self) -> None:
        self.spec = Table(
            f"test/t{next(names)}",
            schema={"id": "long", "part": "string", "name": "string"},
            partition=[identity("part")],
            sort=["id"],
        )
        self.form = self.applied = 0
        self.chain = [Commit(None, frozenset(), frozenset())]
        self.states: dict[Version | None, Rows] = {None: ()}
        self.begun: list[Begun] = []
        self.aside: list[Version] = []
        self.tokens = itertools.count()

    # -- what steps are made of

    @property
    def head(self) -> Version | None:
        return self.chain[-1].version

    @property
    def rows(self) -> Rows:
        return self.states[self.head]

    def lake(self, writer: int) -> Lake:
        return self.lakes[writer % len(self.lakes)]

    def target(self, writer: int) -> LogTarget:
        return LogTarget(TableLog(self.lake(writer), self.spec.ref), Hurried())

    def token(self) -> Token:
        return Token(f"run/{next(self.tokens)}")

    def arrow(self, rows: list[Any], *more: str) -> pa.Table:
        columns = ["id", "part", "name", *more]
        made = {c: [one[place] for one in rows] for place, c in enumerate(columns)}
        table = pa.table(
            {c: pa.array(v, pa.int64() if c == "id" else pa.string()) for c, v in made.items()}
        )
        for column, kind in list(self.spec.schema.items())[3:]:
            kinds = {"int": pa.int32(), "long": pa.int64()}
            table = table.append_column(column, pa.nulls(len(rows), kinds[kind]))
        return table

    def write(self, writer: int, token: Token, rows: list[Any]) -> Written:
        folder = self.target(writer).files(token, "a1")
        return write(self.lake(writer), self.spec, self.arrow(rows), folder)

    def begin(
        self,
        token: Token,
        change: Change,
        effect: Callable[[Rows], Rows],
        rewrites: Iterable[str] = (),
        form: int | None = None,
    ) -> None:
        held = frozenset([*change.overwrites, *change.guards])
        self.begun.append(Begun(token, self.head, change, effect, held, frozenset(rewrites), form))

    # -- what is begun

    @rule(writer=number, rows=rows_drawn)
    def append(self, writer: int, rows: list[Any]) -> None:
        token, new = self.token(), tuple(row(*one) for one in rows)
        change = Change("a1", payload=self.write(writer, token, rows))
        self.begin(token, change, lambda before: before + new, form=self.form)

    @rule(writer=number, rows=rows_drawn, part=part_drawn)
    def overwrite(self, writer: int, rows: list[Any], part: str) -> None:
        token = self.token()
        rows = [(key, part, name) for key, _, name in rows]
        new = tuple(row(*one) for one in rows)
        written = self.write(writer, token, rows)
        change = Change("a1", makes={cell(part): "m"}, overwrites=(cell(part),), payload=written)
        self.begin(
            token,
            change,
            lambda before: tuple(one for one in before if dict(one)["part"] != part) + new,
            form=self.form,
        )

    def merged(self, changes: list[Any]) -> Callable[[Rows], Rows]:
        keys = {key for key, *_ in changes}
        new = tuple(row(*one) for *one, op in changes if op != "delete")
        return lambda before: tuple(one for one in before if dict(one)["id"] not in keys) + new

    @rule(writer=number, changes=changes_drawn, mode=modes)
    def merge(self, writer: int, changes: list[Any], mode: Mode) -> None:
        token = self.token()
        made = merge(
            self.lake(writer),
            self.spec,
            self.arrow(changes, "op"),
            replace(ID, mode=mode),
            "a1",
            self.target(writer).files(token, "a1"),
            self.head,
        )
        keys = {key for key, *_ in changes}
        rewrites = parts_of(one for one in self.rows if dict(one)["id"] in keys)
        self.begin(token, made, self.merged(changes), rewrites, self.form)

    @precondition(lambda self: len(self.chain) > 2)
    @rule(writer=number, place=number, part=st.none() | part_drawn)
    def roll_back(self, writer: int, place: int, part: str | None) -> None:
        known = [commit.version for commit in self.chain[:-1] if commit.version is not None]
        to = known[place % len(known)]
        cells = (WHOLE,) if part is None else (cell(part),)
        old = self.states[to]
        try:
            change = rollback(self.lake(writer), self.spec.ref, to, "a1", cells)
        except UserError as error:  # a version that hid rows of a file that hides others by now
            if "deletes rows of" not in error.problem:
                raise
            return

        def inside(one: Row) -> bool:
            return part is None or dict(one)["part"] == part

        self.begin(
            self.token(),
            change,
            lambda before: (
                *(one for one in before if not inside(one)),
                *(one for one in old if inside(one)),
            ),
            # What hides rows must not be compacted meanwhile.
            parts_of(old) if change.payload.stays else (),
        )

    @precondition(lambda self: self.head is not None)
    @rule(writer=number, part=part_drawn)
    def compact(self, writer: int, part: str) -> None:
        token, lake, cells = self.token(), self.lake(writer), (cell(part),)
        shown = compaction.examine(lake, self.spec.ref, EAGER, cells, self.head)
        if not shown.parts:
            return
        folder, ref = self.target(writer).files(token, "a1"), str(self.spec.ref)
        written = compaction.rewrite(lake.home, ref, str(self.head), shown.parts, folder)
        self.begin(token, compaction.change("a1", [written]), lambda before: before, cells)

    # -- what is committed

    @precondition(lambda self: self.begun)
    @rule(writer=number, which=number)
    def finish(self, writer: int, which: int) -> None:
        step = self.begun.pop(which % len(self.begun))
        bases = [commit.version for commit in self.chain]
        since = self.chain[bases.index(step.base) + 1 :] if step.base in bases else None
        stale = since is None or any(meet(step.held, commit.changed) for commit in since)
        refused = stale or (step.form is not None and step.form < self.applied)
        may_be_refused = since and any(meet(step.rewrites, commit.moved) for commit in since)
        target = self.target(writer)
        try:
            done = target.commit(step.token, step.base, step.change)
        except (PlanAgainError, SpecError):
            assert refused or may_be_refused
            target.discard(step.token, "a1")
        else:
            assert not refused
            again = target.commit(step.token, step.base, step.change)
            assert again.version == done.version
            self.applied = max(self.applied, step.form or 0)
            self._record(done.version, step.effect(self.rows), preserves=step.change.preserves_rows)

    @rule(writer=number, changes=changes_drawn, mode=modes)
    def merge_at_once(self, writer: int, changes: list[Any], mode: Mode) -> None:
        token = self.token()
        rows = self.arrow(changes, "op")
        keyed = replace(ID, mode=mode)
        done = merge_into(self.lake(writer), self.spec, rows, keyed, token, Hurried())
        keys = {key for key, *_ in changes}
        effect = self.merged(changes)
        touched = parts_of(one for one in self.rows if dict(one)["id"] in keys)
        touched |= parts_of(effect(())) if effect(()) else frozenset()
        self.applied = max(self.applied, self.form)
        self._record(done.version, effect(self.rows))
        assert self.target(writer).history().entries[0].changed == touched

    def _record(self, version: Version, rows: Rows, preserves: bool = False) -> None:
        entry = self.target(0).history().entries[0]
        assert entry.version == version
        before, after = Counter(self.rows), Counter(rows)
        differ = parts_of((before - after) + (after - before))
        # What a commit says that it changed holds all that it did change.
        assert all(meet([part], entry.changed) for part in differ)
        moved = frozenset([WHOLE]) if preserves else entry.changed
        self.chain.append(Commit(version, entry.changed, moved))
        self.states[version] = rows

    @precondition(lambda self: self.form < 4)
    @rule()
    def evolve(self) -> None:
        """A new column, and then a wider one; the next write brings it into the table."""
        self.form += 1
        column, kind = f"more{(self.form + 1) // 2}", "int" if self.form % 2 else "long"
        self.spec = replace(self.spec, schema={**self.spec.schema, column: kind})

    @precondition(lambda self: self.head is not None and self.form == self.applied)
    @rule(writer=number, rows=rows_drawn)
    def write_to_a_branch(self, writer: int, rows: list[Any]) -> None:
        lake, token = self.lake(writer), self.token()
        table = lake.load(self.spec.ref)
        if "audit" not in table.metadata.refs:
            table.manage_snapshots().create_branch(int(self.head or 0), "audit").commit()
            before = self.rows
        else:
            head = lake.load(self.spec.ref).metadata.refs["audit"].snapshot_id
            before = self.states[Version(str(head))]
        target = LogTarget(TableLog(lake, self.spec.ref, "audit"), Hurried())
        written = self.write(writer, token, rows)
        done = target.commit(token, target.read().version, Change("a1", payload=written))
        self.states[done.version] = before + tuple(row(*one) for one in rows)
        self.aside.append(done.version)

    # -- what is forgotten

    @precondition(lambda self: len(self.chain) > 4)
    @rule(writer=number, keep=st.integers(1, 3))
    def expire(self, writer: int, keep: int) -> None:
        """Old versions go by one commit, and then the files that only they needed."""
        lake, token, target = self.lake(writer), self.token(), self.target(writer)
        later = datetime.now(UTC) + timedelta(days=1)
        shown = expiry.examine(lake, self.spec.ref, later, keep)
        if not shown.goes:
            return
        gone, ref = [old.version for old in shown.goes], str(self.spec.ref)
        results = expiry.prepare(lake.home, ref, gone, target.files(token, "a1"))
        before, rows = self.head, self.rows
        done = target.commit(token, before, expiry.change("a1", gone, results))
        # A version that only a branch keeps is none of this history any more.
        left = {entry.version for entry in target.history().entries}
        self.chain = [commit for commit in self.chain if commit.version in left]
        self.chain.append(Commit(done.version, frozenset(), frozenset()))
        self.states[done.version] = rows
        expiry.purge(lake.home, ref)
        # A begun rollback may name files that are gone by now; it is refused, as its base is.
        self.begun = [step for step in self.begun if step.form is not None or not step.held]

    # -- what readers see

    def seen(self, reader: int, version: Version | None) -> Counter[Row]:
        table = read(self.lake(reader), self.spec.ref, version)
        return Counter(
            tuple(sorted((c, v) for c, v in one.items() if v is not None))
            for one in table.to_pylist()
        )

    @rule(reader=number, place=number)
    def read_a_pinned_version(self, reader: int, place: int) -> None:
        pinned = [version for version in self.states if version is not None]
        if not pinned:
            return
        version = pinned[place % len(pinned)]
        table = self.lake(reader).load(self.spec.ref)
        if table.snapshot_by_id(int(version)) is None:
            with pytest.raises(RefError, match=f"has no version {version}"):
                self.seen(reader, version)
        else:
            assert self.seen(reader, version) == Counter(self.states[version])

    @invariant()
    def every_reader_sees_the_head_of_the_model(self) -> None:
        if self.head is not None:
            assert self.seen(len(self.chain), None) == Counter(self.rows)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_sequence_of_operations_shows_a_state_that_the_model_has_not() -> None:
    with TemporaryDirectory() as folder:
        home = home_in(folder)
        LakeMachine.lakes = [Lake(home) for _ in range(3)]
        run_state_machine_as_test(
            LakeMachine,
            settings=settings(
                max_examples=EXAMPLES,
                # The suite goes the same ways each time; who asks for a number searches for others.
                derandomize="BOWERBIRD_STATEFUL_EXAMPLES" not in os.environ,
                stateful_step_count=STEPS,
                deadline=None,
                phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if SHRINK else [])],
                suppress_health_check=list(HealthCheck),
            ),
        )
