"""What people declare of a table: columns, how its rows are laid out, where they come from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

from bowerbird.core.errors import SpecError
from bowerbird.core.specs import Operator, Spec
from bowerbird.lake.types import PRIMITIVES, Type, TypeTextError, parse

MAX_BUCKETS = 65536

_BUCKETABLE = {
    "int", "long", "date", "time", "timestamptz", "string", "uuid", "binary", "fixed", "decimal",
}  # fmt: skip
_DATED = {"date", "timestamptz"}
_TRUNCATABLE = {"int", "long", "decimal", "string", "binary"}


class Bucket(Operator, frozen=True, forbid_unknown_fields=True):
    """Rows by the hash of a column, in `n` partitions: Iceberg's ``bucket[n]``."""

    column: str
    n: int

    @property
    def field(self) -> str:
        return f"{self.column}_bucket"


class Day(Operator, frozen=True, forbid_unknown_fields=True):
    """Rows by the UTC day of a column."""

    column: str

    @property
    def field(self) -> str:
        return f"{self.column}_day"


class Month(Operator, frozen=True, forbid_unknown_fields=True):
    """Rows by the UTC month of a column."""

    column: str

    @property
    def field(self) -> str:
        return f"{self.column}_month"


class Hour(Operator, frozen=True, forbid_unknown_fields=True):
    """Rows by the UTC hour of a column."""

    column: str

    @property
    def field(self) -> str:
        return f"{self.column}_hour"


class Year(Operator, frozen=True, forbid_unknown_fields=True):
    """Rows by the UTC year of a column."""

    column: str

    @property
    def field(self) -> str:
        return f"{self.column}_year"


class Truncate(Operator, frozen=True, forbid_unknown_fields=True):
    """Rows by the first `width` characters or bytes of a column, or by its number rounded down to a
    multiple of `width`: Iceberg's ``truncate[width]``."""

    column: str
    width: int

    @property
    def field(self) -> str:
        return f"{self.column}_trunc"


class Identity(Operator, frozen=True, forbid_unknown_fields=True):
    """Rows by the value of a column."""

    column: str

    @property
    def field(self) -> str:
        return self.column


Transform = Bucket | Hour | Day | Month | Year | Truncate | Identity

_TIMES = (Hour, Day, Month, Year)


def bucket(column: str, n: int) -> Bucket:
    return Bucket(column, n)


def day(column: str) -> Day:
    return Day(column)


def month(column: str) -> Month:
    return Month(column)


def hour(column: str) -> Hour:
    return Hour(column)


def year(column: str) -> Year:
    return Year(column)


def truncate(column: str, width: int) -> Truncate:
    return Truncate(column, width)


def identity(column: str) -> Identity:
    return Identity(column)


class Table(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A table, and where its rows come from.

    schema: column -> type (``long``, ``timestamptz not null``, ``list<string>``…), in order.
    partition: how rows are split into parts that are written and replaced whole.
    sort: the columns by which rows lie in order within each part.
    source: ``module:name`` of a function that returns or yields Arrow data; without it the table
      is made empty, for streams and other writers.
    uses: libraries whose version changes what `source` returns.
    target_file_bytes: about how large a data file is to be.
    renamed: a column's name in the table -> the name that the schema has for it: its data stay.
      An inner one by its path: ``{"address.street": "road"}``.
    dropped: columns (paths) whose data may go. Without it, a column that the schema lacks and the
      table has is refused.
    """

    schema: dict[str, str]
    partition: tuple[Transform, ...] = ()
    sort: tuple[str, ...] = ()
    source: str = ""
    uses: tuple[str, ...] = ()
    target_file_bytes: int = 128 * 1024 * 1024
    renamed: dict[str, str] = msgspec.field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `SpecError` where fields contradict each other; the message names the field."""
        if "__" in self.ref.name:
            raise SpecError(
                f"{self.name!r} contains '__', which marks the tables of other kinds",
                where=f"{self.ref}: name",
                expected="single underscores",
            )
        if not self.schema:
            raise self._wrong("schema", "a table without a column", "at least one column")
        types = {column: self._type(column, text) for column, text in self.schema.items()}
        fields: list[str] = []
        for index, transform in enumerate(self.partition):
            self._check_transform(f"partition[{index}]", transform, types, fields)
        for index, column in enumerate(self.sort):
            self._check_column(f"sort[{index}]", column, types)
            if column in self.sort[:index]:
                raise self._wrong(f"sort[{index}]", f"{column!r} stands twice", "each column once")
        if self.target_file_bytes < 1024:
            raise self._wrong("target_file_bytes", "files of no size", "at least 1024")
        self._check_changes(types)

    def _check_changes(self, types: dict[str, Type]) -> None:
        """What is renamed or dropped is not in the schema, and what it is renamed to is."""
        whole = Type("struct", inner=tuple(types.values()), fields=tuple(types))
        for old, new in self.renamed.items():
            parent = old.rpartition(".")[0]
            if _at(whole, old):
                raise self._wrong("renamed", f"{old!r} is still in the schema", f"{new!r} instead")
            if not _at(whole, f"{parent}.{new}" if parent else new):
                raise self._wrong("renamed", f"{new!r} is not in the schema", f"it beside {old!r}")
        for column in self.dropped:
            if _at(whole, column):
                raise self._wrong("dropped", f"{column!r} is in the schema", "one of the two")

    def types(self) -> dict[str, Type]:
        return {column: parse(text) for column, text in self.schema.items()}

    def _type(self, column: str, text: str) -> Type:
        if not column or any(sign in column for sign in "./= \t\n"):
            raise self._wrong("schema", f"{column!r} is no column name", "no space and none of ./=")
        try:
            return parse(text)
        except TypeTextError as error:
            raise self._wrong(f"schema.{column}", str(error), error.expected) from None

    def _check_transform(
        self, where: str, transform: Transform, types: dict[str, Type], fields: list[str]
    ) -> None:
        found = self._check_column(where, transform.column, types)
        if isinstance(transform, Bucket):
            if not 1 <= transform.n <= MAX_BUCKETS:
                raise self._wrong(f"{where}.n", f"{transform.n} buckets", f"1 to {MAX_BUCKETS}")
        elif isinstance(transform, Truncate) and not 1 <= transform.width < 2**31:
            raise self._wrong(f"{where}.width", f"width {transform.width}", "at least 1")
        fits = found.name in _fitting(transform)
        kind = type(transform).__name__.lower()
        if not fits:
            raise self._wrong(
                where, f"{kind} of {transform.column!r}, which is {found.name}", "another column"
            )
        timed = [one for one in self.partition if isinstance(one, _TIMES)]
        if isinstance(transform, _TIMES) and any(
            one.column == transform.column for one in timed[: timed.index(transform)]
        ):
            raise self._wrong(
                where,
                f"{kind} of {transform.column!r}, which is split by its time already",
                "the finer of the two alone: it tells the other",
            )
        if transform.field in fields:
            raise self._wrong(where, f"{kind} of {transform.column!r} stands twice", "one of them")
        if transform.field in types and not isinstance(transform, Identity):
            raise self._wrong(
                where,
                f"its partition field would be named as the column {transform.field!r} is",
                "another column name",
            )
        fields.append(transform.field)

    def _check_column(self, where: str, column: str, types: dict[str, Type]) -> Type:
        if column not in types:
            raise self._wrong(where, f"there is no column {column!r}", _closest(column, types))
        if not types[column].primitive:
            raise self._wrong(
                where, f"{column!r} is a {types[column].name}", "a column of single values"
            )
        return types[column]

    def _wrong(self, field: str, problem: str, expected: str) -> SpecError:
        return SpecError(problem, where=f"{self.ref}: {field}", expected=expected)


def _at(found: Type, path: str) -> Type | None:
    """The type at a path of names, ``element``, ``key`` and ``value``."""
    for name in path.split("."):
        if name not in found.fields:
            return None
        found = found.inner[found.fields.index(name)]
    return found


def _fitting(transform: Transform) -> set[str]:
    """The types that a transform takes."""
    if isinstance(transform, Bucket):
        return _BUCKETABLE
    if isinstance(transform, Truncate):
        return _TRUNCATABLE
    if isinstance(transform, Hour):
        return _DATED - {"date"}
    if isinstance(transform, _TIMES):
        return _DATED
    return (set(PRIMITIVES) | {"decimal", "fixed"}) - {"float", "double"}


def _closest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"{near[0]}?" if near else f"one of: {', '.join(known)}"
