"""What people declare of training sets: rows that a function makes, and what is put beside rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from bowerbird.core.errors import SpecError
from bowerbird.core.plans import Want
from bowerbird.core.specs import Operator, Spec, of_kind
from bowerbird.data.features.alignment import Alignment, PointInTime
from bowerbird.data.features.alignment import problem_of as alignment_problem
from bowerbird.data.features.specs import FeatureGroup, calls_of
from bowerbird.data.making import want
from bowerbird.data.samples import sampling as samples
from bowerbird.data.samples.labels import Judged, Label
from bowerbird.data.samples.sampling import Sampling
from bowerbird.data.samples.splits import Windows
from bowerbird.data.samples.transforms import Custom, Transform

Setting = bool | int | float | str


class Examples(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Rows to train on that a function makes from tables and feature groups, kept as a table.

    For what no event says: lists of candidates with drawn negatives, pairs, moments between events.
    A `TrainingSet` takes them as its rows, or a model reads them as they are.

    tables: name -> ref of a table that the function reads. features: refs of feature groups.
    function: ``module:name``; it is given a `Job` and returns (`Table` layout, Arrow rows).
    settings: what the function wants to be told; part of what the rows mean.
    """

    tables: dict[str, str]
    function: str
    features: tuple[str, ...] = ()
    settings: dict[str, Setting] = msgspec.field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "tables", by_ref(self.tables))
        super().__post_init__()

    def refs(self) -> dict[str, str]:
        tables = {f"tables.{name}": ref for name, ref in self.tables.items()}
        return tables | {f"features[{n}]": ref for n, ref in enumerate(self.features)}

    def check(self) -> None:
        if not self.tables:
            raise SpecError(
                "examples of no table", where=f"{self.ref}: tables", expected="at least one"
            )


class Beside(Operator, frozen=True, tag=True, omit_defaults=True):
    """A table whose columns are put beside the rows: staged features, attributes of items.

    table: its ref; of a feature group: the table that is kept of it, by the group's own key and
      time. on: the rows' columns that make the key; empty: the entity. key: what the table calls
      them; empty: the same.
    at: its column of time: a row gets the last one of its key; empty: the only one of its key.
    known: whether a row of the very same time counts (of a feature group's table it does: it was
      computed from what came before).
    through: its column that says through when it was computed: later than the row is a leak.
    columns: which; empty: all. name: before their names, with two underscores; empty: the table's.
    """

    table: str
    on: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    at: str = ""
    known: Literal["before", "at"] = "before"
    through: str = ""
    columns: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        _by_ref(self, "table")


class SequenceOf(Operator, frozen=True, tag=True, omit_defaults=True):
    """The last rows of a table that share the row's key, strictly before the row's time; the
    latest last, of equals as they lie.

    table: ref of a table of actions. columns: which become lists, named ``sequence__column``.
    last: so many at most. on, key: as of `Beside`. at: its column of time.
    where: column -> the values that count: one sequence a type of action, if that is wanted.
    """

    table: str
    columns: tuple[str, ...]
    last: int
    on: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    at: str = "at"
    where: dict[str, tuple[str | int, ...]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        _by_ref(self, "table")


def _by_ref(one: Operator, field: str) -> None:
    """A spec in a field of an operator becomes its ref."""
    given = getattr(one, field)
    if isinstance(given, Spec):
        msgspec.structs.force_setattr(one, field, str(given.ref))


class TrainingSet(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a model trains on: rows, and all that is put beside them as of each row's time.

    Nothing of it is stored: it is joined and labelled when it is read (`batches`), so another
    label, sample or feature is a line of the spec. `kept` stores it, for many runs over one set.

    rows: ref of a table of events or impressions, or of `Examples`.
    entity: whose rows they are: what tables are bucketed by. request: with the entity and the time,
      the columns that name one request; what depends on nothing else is held once a request.
    at: the rows' column of time. until: the column that says when a row's label was known.
    columns: of the rows, that are kept; empty: all. user: those that are the same for all rows of a
      request, beside the request's own.
    features: refs of feature groups (computed when read), or tables beside the rows.
    alignment, keys, audit: of the groups that are computed, as of `Backfill`: which moment they are
      of, the rows' names of their keys, and so many rows of each bucket that are computed once more
      without their future where SQL or a function says the values.
    labels: name -> reward function. sampling: which rows, in this order.
    sequences: name -> earlier actions. transforms: in this order, the same at serving.
    splits: train, validation, test, by time.
    kept: a plan stores it as a table, made anew when what it reads changes.
    order: of rows within a bucket. interleave: so many buckets are read side by side, so that a
      batch is of many entities.
    """

    rows: str
    entity: str
    at: str = "at"
    until: str = ""
    request: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    features: tuple[str | Beside, ...] = ()
    alignment: Alignment = PointInTime()
    keys: dict[str, str] = msgspec.field(default_factory=dict)
    audit: int = 20
    labels: dict[str, Label] = msgspec.field(default_factory=dict)
    sampling: tuple[Sampling, ...] = ()
    sequences: dict[str, SequenceOf] = msgspec.field(default_factory=dict)
    transforms: tuple[Transform, ...] = ()
    splits: Windows | None = None
    order: Literal["shuffled", "requests", "lying"] = "shuffled"
    interleave: int = 4
    kept: bool = False
    seed: int = 0

    def refs(self) -> dict[str, str]:
        found = {"rows": self.rows}
        for n, one in enumerate(self.features):
            found[f"features[{n}]"] = one.table if isinstance(one, Beside) else one
        return found | {f"sequences.{name}": one.table for name, one in self.sequences.items()}

    def check(self) -> None:
        if not self.entity or not self.at:
            raise self._wrong("entity, at", "no entity or no time", "a column of the rows each")
        if self.interleave < 1:
            raise self._wrong("interleave", f"{self.interleave} buckets", "1 or more")
        if "weight" in self.labels:
            raise self._wrong("labels", "'weight' is what sampling makes", "another name")
        if problem := alignment_problem(self.alignment):
            raise self._wrong("alignment", problem, "PointInTime(), DayBoundary(1)…")
        if self.audit < 0:
            raise self._wrong("audit", f"{self.audit} rows", "0 or more")
        for name, one in self.sequences.items():
            if one.last < 1 or not one.columns:
                raise self._wrong(f"sequences.{name}", "a sequence of nothing", "last, columns")
        names = [side_name(one) for one in self.features] + list(self.sequences)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise self._wrong(
                "features, sequences",
                f"{twice[0]!r} would stand before the columns of two",
                "Beside(…, name=…), for one of them",
            )
        try:
            samples.check(self.sampling)
        except SpecError as error:
            error.within(str(self.ref))
            raise

    def calls(self) -> tuple[str, ...]:
        """The functions that it names."""
        named = [one.function for one in self.labels.values() if isinstance(one, Judged)]
        named += [one.function for one in self.transforms if isinstance(one, Custom)]
        return tuple(dict.fromkeys(named))

    def _wrong(self, field: str, problem: str, expected: str) -> SpecError:
        return SpecError(problem, where=f"{self.ref}: {field}", expected=expected)


def side_name(one: str | Beside) -> str:
    """What stands before the names of its columns: the same, computed or staged."""
    if isinstance(one, Beside) and one.name:
        return one.name
    ref = one.table if isinstance(one, Beside) else one
    return ref.rpartition("/")[2].rpartition(".")[2]


def batch_name(side: str, column: str) -> str:
    """A side's column in a batch; what is staged has its group's name already."""
    return column if column.startswith(f"{side}__") else f"{side}__{column}"


def by_ref(named: Mapping[str, object]) -> dict[str, object]:
    """A mapping's specs as their refs: the base does it for a field that is one, or a tuple."""
    return {n: str(one.ref) if isinstance(one, Spec) else one for n, one in named.items()}


def examples_wants(spec: Examples, specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    """The table of rows, made anew when a table, a group or the function changes."""
    uses = [of_kind(specs, ref, FeatureGroup) for ref in spec.features]
    reads = tuple(spec.tables.values())
    return (want(spec, "samples.build", reads=reads, uses=uses, calls=(spec.function,)),)


def wants(spec: TrainingSet, specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    """A kept set wants its table; another is joined and labelled where it is read."""
    if not spec.kept:
        return ()
    groups = groups_of(spec, specs)
    reads = reads_of(spec, specs)
    calls = [*spec.calls(), *(call for one in groups.values() for call in calls_of(one))]
    return (want(spec, "samples.keep", reads=reads, uses=groups.values(), calls=calls),)


def groups_of(spec: TrainingSet, specs: Mapping[str, Spec]) -> dict[str, FeatureGroup]:
    """The feature groups that a set names, by ref."""
    refs = [ref for ref in spec.refs().values() if ref.startswith("feature_group:")]
    return {ref: of_kind(specs, ref, FeatureGroup) for ref in dict.fromkeys(refs)}


def reads_of(spec: TrainingSet, specs: Mapping[str, Spec]) -> tuple[str, ...]:
    """The refs of the tables that are read for a set: those of groups too."""
    found = [spec.rows]
    for one in (*spec.features, *spec.sequences.values()):
        ref = one if isinstance(one, str) else one.table
        if isinstance(one, str) and ref.startswith("feature_group:"):
            found += of_kind(specs, ref, FeatureGroup).refs().values()
        else:
            found.append(ref)
    return tuple(dict.fromkeys(found))
