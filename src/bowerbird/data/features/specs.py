"""What people declare of features: columns over the events of a key, as of any moment."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from bowerbird.core.errors import SpecError
from bowerbird.core.specs import Spec
from bowerbird.data.features.alignment import Alignment, PointInTime, moment_of
from bowerbird.data.features.alignment import problem_of as alignment_problem
from bowerbird.data.features.columns import Column, duration, problem_of
from bowerbird.data.features.gates import DEFAULT, Gate
from bowerbird.data.features.gates import check as check_gates
from bowerbird.lake.types import TypeTextError, parse

Place = Literal["local", "ray", "duckdb", "online"]
EVERYWHERE: Final[tuple[Place, ...]] = ("local", "ray", "duckdb", "online")


class FeatureGroup(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Values over the events that share a key, each strictly before the moment it is asked for.

    source: ref of the table of events. at: its column of time; known_at: of when a row could be
      read first, where that is later: a row counts from the later of the two on.
    key: columns of the source, or of `lookup`.
    lookup: ref of a table of attributes of `lookup_by`, a column of both: a key may name them.

    What is computed is one of three, from the events of a row's own key: others' may not be there.
    The first has the same values everywhere:

    columns: name -> `Count`, `Sum`, `Mean`, `Last`, `Since`, `Decayed`…
    sql: a SELECT of DuckDB over ``events`` and ``asked`` (the key, ``at`` and ``row``) that gives
      ``row`` and the columns of `schema`, one row for each row of ``asked``.
    function: ``module:name`` of a function of (events, asked), both Arrow tables, that returns the
      columns of `schema` in the order of ``asked``.

    schema: name -> type, of what SQL or a function gives. runs: where that can be computed.
    every: how far apart the moments are for which values are kept in a table; empty keeps none:
      the group is computed where it is asked for, in training and in the feed by one function.
    """

    source: str
    key: tuple[str, ...]
    columns: dict[str, Column] = msgspec.field(default_factory=dict)
    sql: str = ""
    function: str = ""
    schema: dict[str, str] = msgspec.field(default_factory=dict)
    runs: tuple[Place, ...] = ()
    at: str = "at"
    known_at: str = ""
    lookup: str = ""
    lookup_by: str = ""
    every: str = ""

    def refs(self) -> dict[str, str]:
        return {"source": self.source} | ({"lookup": self.lookup} if self.lookup else {})

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in order."""
        return tuple(self.columns or self.schema)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where it can be computed."""
        if self.columns:
            return EVERYWHERE
        return self.runs or (("local", "ray", "duckdb") if self.sql else ("local", "ray"))

    def check(self) -> None:
        if not self.key:
            raise self._wrong("key", "a feature group without a key", "at least one column")
        given = [n for n in ("columns", "sql", "function") if getattr(self, n)]
        if len(given) != 1:
            raise self._wrong(
                "columns, sql, function",
                f"{' and '.join(given)} are given" if given else "nothing to compute is given",
                "one of the three",
            )
        for name, column in self.columns.items():
            if problem := problem_of(column):
                raise self._wrong(f"columns.{name}", problem, "a column that can be computed")
        self._check_schema()
        for name in self.names:
            if name in (*self.key, "at", "row"):
                raise self._wrong("columns", f"{name!r} names a key or a time too", "another name")
        if self.lookup and not self.lookup_by:
            raise self._wrong("lookup_by", "a lookup without a column of both", "its name")
        if self.every:
            try:
                duration(self.every)
            except ValueError as error:
                raise self._wrong("every", str(error), "7d, 12h…") from None

    def _check_schema(self) -> None:
        if self.columns and (self.schema or self.runs):
            raise self._wrong("schema, runs", "columns say both by themselves", "neither of them")
        if not self.columns and not self.schema:
            raise self._wrong("schema", "what it gives is not declared", "{'name': 'double', …}")
        for name, text in self.schema.items():
            try:
                parse(text)
            except TypeTextError as error:
                raise self._wrong(f"schema.{name}", str(error), error.expected) from None
        if self.sql and "online" in self.runs:
            raise self._wrong("runs", "SQL does not run online", "local, ray, duckdb")
        if self.function and "duckdb" in self.runs:
            raise self._wrong("runs", "a Python function does not run in SQL", "local, ray, online")

    def _wrong(self, field: str, problem: str, expected: str) -> SpecError:
        return SpecError(problem, where=f"{self.ref}: {field}", expected=expected)


class Backfill(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Feature groups beside a table's rows, staged in a table of its own, a partition at a time.

    rows: ref of the table of rows. id: its columns that tell rows apart. at: its column of time.
    features: refs of the groups; their columns are named ``group__column``.
    keys: a column of a group's key -> the rows' column that it is, where the names differ.
    alignment: which moment a row's features are of.
    since, until: ISO dates; only partitions whose time lies in ``[since, until)``.
    audit: so many rows of each task are computed once more without their future.
    cells_a_commit: so many partitions are staged in one commit: what a crash can lose.
    """

    rows: str
    id: tuple[str, ...]
    features: tuple[str, ...]
    at: str = "at"
    keys: dict[str, str] = msgspec.field(default_factory=dict)
    alignment: Alignment = PointInTime()
    since: str = ""
    until: str = ""
    audit: int = 20
    cells_a_commit: int = 64

    def refs(self) -> dict[str, str]:
        return {"rows": self.rows} | {f"features[{n}]": ref for n, ref in enumerate(self.features)}

    def check(self) -> None:
        if not self.id or not self.features:
            raise self._wrong("id, features", "nothing is named", "at least one of each")
        if problem := alignment_problem(self.alignment):
            raise self._wrong("alignment", problem, "PointInTime(), DayBoundary(1)…")
        if self.cells_a_commit < 1 or self.audit < 0:
            raise self._wrong("cells_a_commit, audit", "less than nothing", "1 or more; 0 or more")
        if self.since and self.until and not self.between()[0] < self.between()[1]:  # type: ignore[operator] # both are there
            raise self._wrong("since, until", "no time lies between them", "since before until")
        self.between()

    def between(self) -> tuple[int | None, int | None]:
        """`since` and `until` in microseconds."""
        return self._date("since"), self._date("until")

    def _date(self, field: str) -> int | None:
        text = getattr(self, field)
        if not text:
            return None
        try:
            return moment_of(text if "T" in text else f"{text}T00:00:00Z")
        except ValueError as error:
            raise self._wrong(field, str(error), "2017-10-02, or 2017-10-02T12:00:00Z") from None

    def _wrong(self, field: str, problem: str, expected: str) -> SpecError:
        return SpecError(problem, where=f"{self.ref}: {field}", expected=expected)


class Promotion(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Staged features joined to rows and put into a training table: all partitions in one commit.

    into: ref of the training table, declared without a source and partitioned as the rows are. Each
      of its columns is one of the rows, or a staged one (``group__column``): what it does not name
      is not promoted.
    rows: ref of the table of rows. staged: refs of backfills of these rows.
    gates: what the staged columns must show before the commit; after it they are judged once more
      against what was live, with checks: ``module:name`` of functions of the promoted rows (an
      Arrow table, a partition at a time) that return what is wrong, or nothing. What fails then is
      rolled back by itself.
    """

    into: str
    rows: str
    staged: tuple[str, ...]
    gates: tuple[Gate, ...] = DEFAULT
    checks: tuple[str, ...] = ()

    def refs(self) -> dict[str, str]:
        staged = {f"staged[{n}]": ref for n, ref in enumerate(self.staged)}
        return {"into": self.into, "rows": self.rows} | staged

    def check(self) -> None:
        if not self.staged:
            raise SpecError(
                "nothing staged is named", where=f"{self.ref}: staged", expected="backfills"
            )
        check_gates(self.gates, where=f"{self.ref}: gates")


def calls_of(group: FeatureGroup) -> tuple[str, ...]:
    """The functions whose code is part of what a group means."""
    return (group.function,) if group.function else ()
