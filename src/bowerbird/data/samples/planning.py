"""A training set whose versions and files are known: pinned once, then read anywhere, any time.

Rows and the tables beside them are read a bucket of the entity at a time. A table that is bucketed
by another count is read by the lesser of the two, if one divides the other; one that is keyed by
something else (items), or bucketed by nothing, is read whole by every reader.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.errors import SpecError, UserError
from bowerbird.core.functions import function_tree
from bowerbird.core.meaning import digest, tree_of
from bowerbird.core.specs import Spec, of_kind
from bowerbird.data.features.compute import needed_columns, refuse_elsewhere
from bowerbird.data.features.specs import FeatureGroup, Place, calls_of
from bowerbird.data.samples import labels, transforms
from bowerbird.data.samples.sampling import Between, Downsample, WithoutSpam, share_of
from bowerbird.data.samples.specs import Beside, SequenceOf, TrainingSet, batch_name, side_name
from bowerbird.data.samples.splits import SPLITS, Window
from bowerbird.data.samples.transforms import NOTHING, Fitted
from bowerbird.lake import Lake, identifier, snapshots
from bowerbird.lake.joins import buckets
from bowerbird.lake.joins.buckets import Bucket, Bucketed
from bowerbird.lake.read import plan as plan_read

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import FileScanTask

WEIGHT = "weight"
"""The column that sampling makes."""


class SidePlan(msgspec.Struct, frozen=True):
    """One table beside the rows, pinned.

    name: before its columns' names. kind: what it is: a group, a table, a sequence.
    on: columns of the rows, or of earlier sides; key: its own. columns: what comes out, by its own
    names. shared: read whole by every reader. user: the same for all rows of a request.
    lookup: the attributes that a group's key names.
    """

    name: str
    kind: FeatureGroup | Beside | SequenceOf
    on: tuple[str, ...]
    key: tuple[str, ...]
    columns: tuple[str, ...]
    table: Bucketed
    shared: bool
    user: bool
    lookup: Bucketed | None = None

    @property
    def made(self) -> tuple[str, ...]:
        """The columns of a batch that it makes."""
        return tuple(batch_name(self.name, column) for column in self.columns)


class SetPlan(msgspec.Struct, frozen=True):
    """A training set whose versions are pinned. It can be pickled, and travels to tasks.

    count: of buckets. buckets: those in which a row can lie. reads: columns of the rows that are
    read, keeps: those that come out. latest: the time of the latest row (microseconds).
    fitted: the transforms' constants.
    """

    spec: TrainingSet
    rows: Bucketed
    reads: tuple[str, ...]
    keeps: tuple[str, ...]
    sides: tuple[SidePlan, ...]
    count: int
    buckets: tuple[Bucket, ...]
    latest: int | None
    fitted: Fitted = NOTHING

    def only(self, bucket: Bucket) -> SetPlan:
        """What a task for one bucket needs of it."""
        sides = tuple(
            side if side.shared else msgspec.structs.replace(side, table=side.table.only(bucket))
            for side in self.sides
        )
        return msgspec.structs.replace(
            self, rows=self.rows.only(bucket), sides=sides, buckets=(bucket,)
        )

    @property
    def versions(self) -> dict[str, str]:
        """Table -> the version that is read."""
        tables = [self.rows, *(side.table for side in self.sides)]
        tables += [side.lookup for side in self.sides if side.lookup]
        return {table.name: str(table.version) for table in tables}

    @property
    def user_columns(self) -> tuple[str, ...]:
        """The columns that are the same for all rows of a request, before transforms."""
        spec = self.spec
        once = (spec.entity, *spec.request, spec.at, *spec.user)
        found = [column for column in self.keeps if column in once]
        return (*found, *(column for side in self.sides if side.user for column in side.made))

    @property
    def fingerprint(self) -> str:
        """Of what is read and how: the same fingerprint gives the same batches."""
        calls = [*self.spec.calls(), *(call for one in self.groups for call in calls_of(one))]
        return digest(
            {
                "spec": tree_of(self.spec),
                "groups": {one.ref.name: tree_of(one) for one in self.groups},
                "functions": {name: function_tree(name) for name in calls},
                "versions": dict(self.versions),
                "buckets": self.count,
            }
        )

    @property
    def groups(self) -> tuple[FeatureGroup, ...]:
        """The feature groups that are computed while it is read."""
        return tuple(side.kind for side in self.sides if isinstance(side.kind, FeatureGroup))

    def refuse_elsewhere(self, place: Place) -> None:
        """Raise `UserError` for a group that says that it is not computed there."""
        for group in self.groups:
            try:
                refuse_elsewhere(group, place)
            except UserError as error:
                error.within(str(self.spec.ref))
                raise

    def window(self, split: str) -> Window:
        """The window of a split, "" for all rows."""
        if not split:
            return None, None
        if self.spec.splits is None or split not in SPLITS:
            known = ", ".join(SPLITS) if self.spec.splits else "none: the set declares no splits"
            raise UserError(f"{self.spec.ref} has no split {split!r}", expected=known)
        if self.latest is None:
            raise UserError(
                f"{self.spec.ref}: where the data end is not known: {self.rows.name} has no row, "
                "or files without statistics",
                expected="splits=Windows(…, end=…)",
            )
        return self.spec.splits.window(split, self.latest)


def plan_set(
    lake: Lake,
    spec: TrainingSet,
    specs: Mapping[str, Spec] | None = None,
    versions: Mapping[str, str] | None = None,
) -> SetPlan:
    """Pin what a training set reads, and look at all that can be looked at without a row.

    specs: by ref; the feature groups that it names are looked up there. versions: by ref or table
    (those of an earlier plan, say); one that is not named is read as it is now.

    Raises `SpecError` or `UserError` for a column that a table does not have, keys of other types,
    names that stand twice, buckets that do not divide.
    """
    spec.check()
    plan = _Planner(lake, spec, specs or {}, versions or {}).plan()
    plan.refuse_elsewhere("local")  # a few rows are, wherever the batches are made
    return pruned(lake, plan, (None, None))


def pruned(lake: Lake, plan: SetPlan, window: Window) -> SetPlan:
    """The plan without files whose rows all lie outside a window, or those of `Between`.

    Whole where spam is counted: what a user did outside a window counts there.
    """
    sampling = plan.spec.sampling
    windows = [window, *(one.window for one in sampling if isinstance(one, Between))]
    windows = [one for one in windows if one != (None, None)]
    if not windows or any(isinstance(one, WithoutSpam) for one in sampling):
        return plan
    metadata = lake.load(plan.rows.name).metadata

    def can_have(task: FileScanTask) -> bool:
        low, high, _ = snapshots.bounds(metadata, task.file, plan.spec.at)
        if low is None or high is None:
            return True
        return all(
            (start is None or high >= start) and (end is None or low < end)
            for start, end in windows
        )

    files = {one: tuple(filter(can_have, tasks)) for one, tasks in plan.rows.files.items()}
    rows = msgspec.structs.replace(plan.rows, files=files)
    alive = tuple(bucket for bucket in plan.buckets if files[bucket])
    return msgspec.structs.replace(plan, rows=rows, buckets=alive)


class _Planner:
    """The tables of one set, as they are loaded one after another."""

    def __init__(
        self, lake: Lake, spec: TrainingSet, specs: Mapping[str, Spec], versions: Mapping[str, str]
    ) -> None:
        self.lake, self.spec, self.specs = lake, spec, specs
        self.asked = versions
        self.pins: dict[str, str | None] = {}
        self.schemas: dict[str, pa.Schema] = {}
        self.schema = self._schema(spec.rows)
        self.features = tuple(side for one in spec.features for side in self._staged(one))
        self.types: dict[str, Any] = {field.name: field.type for field in self.schema}
        self.user = {spec.entity, *spec.request, spec.at}

    def _schema(self, ref: str) -> pa.Schema:
        """The columns of a table; its version is pinned when it is first looked at."""
        if ref not in self.schemas:
            version = self.asked.get(ref, self.asked.get(identifier(ref)))
            found = plan_read(self.lake, ref, version)
            self.pins[ref] = None if found.version is None else str(found.version)
            self.schemas[ref] = found.arrow_schema()
        return self.schemas[ref]

    def plan(self) -> SetPlan:
        spec = self.spec
        rows = self._rows()
        sides = [self._feature(n, one) for n, one in enumerate(self.features)]
        sides += [self._sequence(name, one) for name, one in spec.sequences.items()]
        keeps = self._kept()
        made = [*keeps, *(column for side in sides for column in side.made), *spec.labels]
        made += [WEIGHT] if any(isinstance(one, Downsample) for one in spec.sampling) else []
        _refuse_twice(spec, made)
        _within(spec, lambda: transforms.check(spec.transforms, made))
        count = self._count(rows, sides)
        rows = buckets.in_buckets(rows, count)
        aligned = tuple(
            side
            if side.shared
            else msgspec.structs.replace(side, table=buckets.in_buckets(side.table, count))
            for side in sides
        )
        return SetPlan(
            spec=spec,
            rows=rows,
            reads=tuple(rows.schema.column_names),
            keeps=keeps,
            sides=aligned,
            count=count,
            buckets=_alive(spec, rows),
            latest=_latest(self.lake, rows, spec.at),
        )

    def _rows(self) -> Bucketed:
        spec = self.spec
        self._needs("entity", spec.rows, self.schema, [spec.entity])
        self._needs(
            "at, until", spec.rows, self.schema, [spec.at] + [spec.until] * bool(spec.until)
        )
        named = [*spec.request, *spec.columns, *spec.user]
        self._needs("request, columns, user", spec.rows, self.schema, named)
        read = [*self._kept()]
        for name, label in spec.labels.items():
            self._needs(f"labels.{name}", spec.rows, self.schema, labels.columns_of(label))
            read += labels.columns_of(label)
        for n, one in enumerate(spec.sampling):
            if isinstance(one, Downsample) and one.column not in spec.labels:
                self._needs(f"sampling[{n}]", spec.rows, self.schema, [one.column])
                read.append(one.column)
        read += [name for _, on in self._keys() for name in on if name in self.schema.names]
        read += [spec.until] * bool(spec.until)
        return self._table(spec.rows, spec.entity, list(dict.fromkeys(read)))

    def _kept(self) -> tuple[str, ...]:
        spec = self.spec
        if not spec.columns:
            return tuple(self.schema.names)
        named = (spec.entity, *spec.request, spec.at, *spec.user, *spec.columns)
        return tuple(dict.fromkeys(named))

    def _keys(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        """Each side's name, and the columns that its key is made of."""
        for one in self.features:
            group = self._group(one)
            if isinstance(one, Beside):
                yield side_name(one), one.on or (group.key if group else (self.spec.entity,))
            elif group is not None:
                yield side_name(one), self._named(group)
        for name, sequence in self.spec.sequences.items():
            yield name, sequence.on or (self.spec.entity,)

    def _named(self, group: FeatureGroup) -> tuple[str, ...]:
        """A group's key by the names that the rows have for it."""
        return tuple(self.spec.keys.get(name, name) for name in group.key)

    def _group(self, one: str | Beside) -> FeatureGroup | None:
        ref = one.table if isinstance(one, Beside) else one
        if not ref.startswith("feature_group:"):
            return None
        if ref not in self.specs:
            raise UserError(
                f"{self.spec.ref} reads {ref}, and its spec was not given",
                expected="specs: ref -> spec, with the feature groups that the set names",
            )
        group = of_kind(self.specs, ref, FeatureGroup)
        group.check()
        return group

    def _feature(self, n: int, one: str | Beside) -> SidePlan:
        group, where = self._group(one), f"features[{n}]"
        if isinstance(one, str) and group is not None:
            return self._computed(where, group)
        beside = one if isinstance(one, Beside) else self._told(one)
        if group is not None:
            beside = msgspec.structs.replace(
                beside, on=beside.on or group.key, key=beside.key or group.key, at="at", known="at"
            )
        return self._beside(where, beside)

    def _staged(self, one: str | Beside) -> Iterable[str | Beside]:
        """A backfill as what it stages of each group, by the ids of the rows: a staging table lies
        in their order."""
        if not isinstance(one, str) or not one.startswith("backfill:"):
            return (one,)
        names = self._schema(one).names
        table = self.lake.load(one)
        schema = table.schema()
        ids = [str(schema.find_column_name(f.source_id)) for f in table.sort_order().fields]
        entity = [self.spec.entity] if self.spec.entity in names else []
        on = tuple(dict.fromkeys([*entity, *ids]))
        groups: dict[str, list[str]] = {}
        for name in names:
            if "__" in name:
                groups.setdefault(name.partition("__")[0], []).append(name)
        return tuple(
            Beside(one, on=on, columns=tuple(columns), name=group)
            for group, columns in groups.items()
        )

    def _told(self, ref: str) -> Beside:
        """A table that is named without more: by the entity, as of the time if it has one."""
        names = self._schema(ref).names
        return Beside(ref, at=self.spec.at if self.spec.at in names else "")

    def _computed(self, where: str, group: FeatureGroup) -> SidePlan:
        schema = self._schema(group.source)
        lacking = [name for name in group.key if group.lookup and name not in schema.names]
        needed = [name for name in needed_columns(group) if name not in lacking]
        self._needs(where, group.source, schema, needed)
        read = needed if group.columns else schema.names
        lookup = None
        if group.lookup:
            attributes = self._schema(group.lookup)
            self._needs(where, group.lookup, attributes, [group.lookup_by, *lacking])
            lookup = self._whole(group.lookup, [group.lookup_by, *lacking])
            schema = _with(schema, attributes, lacking)
        on = self._named(group)
        side = SidePlan(
            name=side_name(str(group.ref)),
            kind=group,
            on=self._on(where, on, group.source, schema, group.key),
            key=group.key,
            columns=group.names,
            table=self._side_table(group.source, on, group.key, read),
            shared=False,
            user=False,
            lookup=lookup,
        )
        return self._joined(side, dict.fromkeys(group.names))

    def _beside(self, where: str, one: Beside) -> SidePlan:
        schema = self._schema(one.table)
        on = one.on or (self.spec.entity,)
        key = one.key or on
        timed = [name for name in (one.at, one.through) if name]
        self._needs(where, one.table, schema, [*key, *timed, *one.columns])
        columns = one.columns or tuple(name for name in schema.names if name not in (*key, *timed))
        side = SidePlan(
            name=side_name(one),
            kind=one,
            on=self._on(where, on, one.table, schema, key),
            key=key,
            columns=columns,
            table=self._side_table(
                one.table, on, key, list(dict.fromkeys([*key, *timed, *columns]))
            ),
            shared=False,
            user=False,
        )
        return self._joined(side, {name: schema.field(name).type for name in columns})

    def _sequence(self, name: str, one: SequenceOf) -> SidePlan:
        where = f"sequences.{name}"
        schema = self._schema(one.table)
        on = one.on or (self.spec.entity,)
        key = one.key or on
        read = list(dict.fromkeys([*key, one.at, *one.columns, *one.where]))
        self._needs(where, one.table, schema, read)
        side = SidePlan(
            name=name,
            kind=one,
            on=self._on(where, on, one.table, schema, key),
            key=key,
            columns=one.columns,
            table=self._side_table(one.table, on, key, read),
            shared=False,
            user=False,
        )
        return self._joined(side, dict.fromkeys(one.columns))

    def _joined(self, side: SidePlan, types: Mapping[str, Any]) -> SidePlan:
        """The side with how it is read; its columns can be keys of the sides that follow."""
        bucketed = side.table.own > 0 and side.table.count > 0 and self._by_entity(side)
        user = all(name in self.user for name in side.on)
        side = msgspec.structs.replace(side, shared=not bucketed, user=user)
        for column, made in zip(side.columns, side.made, strict=True):
            for name in (made, column):
                if name not in self.types:
                    self.types[name] = types.get(column)
                    self.user |= {name} if user else set()
        return side

    def _by_entity(self, side: SidePlan) -> bool:
        """Whether its buckets are those of the rows."""
        return self.spec.entity in side.on and side.table.by == (_key_of(self.spec, side),)

    def _on(
        self, where: str, on: Sequence[str], ref: str, schema: pa.Schema, key: Sequence[str]
    ) -> tuple[str, ...]:
        """The key's columns, of which each is there and has the type of the table's own."""
        if len(on) != len(key):
            raise self._wrong(where, f"{len(on)} columns meet {len(key)} of {ref}", "as many")
        for mine, other in zip(on, key, strict=True):
            if mine not in self.types:
                near = difflib.get_close_matches(mine, list(self.types), n=1)
                raise self._wrong(
                    where,
                    f"neither {self.spec.rows} nor a feature before this one has {mine!r}, which "
                    f"{ref} is keyed by",
                    f"{near[0]}?" if near else f"one of: {', '.join(self.types)}",
                )
            had, wanted = self.types[mine], schema.field(other).type
            if had is not None and _family(had) != _family(wanted):
                raise self._wrong(
                    where,
                    f"{mine!r} is {had}, and {other!r} of {ref} is {wanted}",
                    "keys of one type",
                )
        return tuple(on)

    def _table(self, ref: str, key: str, columns: list[str]) -> Bucketed:
        """A table by the buckets of `key`, or as one bucket where it has none."""
        table = self.lake.load(ref)
        if buckets.count_of(table.metadata, key) is None:
            return self._whole(ref, columns)
        found = buckets.bucketed(self.lake, ref, key, self.pins[ref], columns)
        return msgspec.structs.replace(found, by=(key,))

    def _side_table(
        self, ref: str, on: Sequence[str], key: Sequence[str], columns: list[str]
    ) -> Bucketed:
        """By buckets, where its key has the entity, it is bucketed by that, and so are the rows."""
        spec = self.spec
        rows = buckets.count_of(self.lake.load(spec.rows).metadata, spec.entity)
        if rows is None or spec.entity not in on:
            return self._whole(ref, columns)
        return self._table(ref, key[list(on).index(spec.entity)], columns)

    def _whole(self, ref: str, columns: list[str]) -> Bucketed:
        found = plan_read(self.lake, ref, self.pins[ref], columns)
        return Bucketed(
            name=".".join(found.table.name()),
            version=found.version,
            schema=found.schema,
            where=found.where,
            own=1,
            count=1,
            files={0: found.tasks},
            width=width_of(found.arrow_schema()),
        )

    def _count(self, rows: Bucketed, sides: Sequence[SidePlan]) -> int:
        """The least count of buckets, which divides all others."""
        tables = [rows, *(side.table for side in sides if not side.shared)]
        least = min(tables, key=lambda table: table.count)
        for table in tables:
            if table.count % least.count:
                raise UserError(
                    f"{table.name} has {table.count} buckets and {least.name} {least.count}",
                    where=str(self.spec.ref),
                    expected="one count, or counts that divide one another: 16 and 64",
                    fix=f"declare bucket(…, {least.count * 4}) for {table.name}, and compact it",
                )
        return least.count

    def _needs(self, where: str, ref: str, schema: pa.Schema, columns: Iterable[str]) -> None:
        for name in columns:
            if name not in schema.names:
                near = difflib.get_close_matches(name, schema.names, n=1)
                raise self._wrong(
                    where,
                    f"{ref} has no column {name!r}",
                    f"{near[0]}?" if near else f"one of: {', '.join(schema.names)}",
                )

    def _wrong(self, where: str, problem: str, expected: str) -> SpecError:
        return SpecError(problem, where=f"{self.spec.ref}: {where}", expected=expected)


def _key_of(spec: TrainingSet, side: SidePlan) -> str:
    return side.key[side.on.index(spec.entity)]


def _with(schema: pa.Schema, other: pa.Schema, names: Iterable[str]) -> pa.Schema:
    for name in names:
        schema = schema.append(other.field(name))
    return schema


def width_of(schema: Iterable[pa.Field]) -> int:
    """About the bytes of a row in Arrow: 32 for what has no fixed width."""

    def width(kind: Any) -> int:
        try:
            return max(1, int(kind.bit_width) // 8)
        except ValueError:
            return 32

    return sum(width(field.type) for field in schema)


def _family(kind: Any) -> str:
    """Keys of one family can be compared."""
    import pyarrow.types as at

    if at.is_integer(kind):
        return "number"
    return "text" if at.is_string(kind) or at.is_large_string(kind) else str(kind)


def _refuse_twice(spec: TrainingSet, made: Sequence[str]) -> None:
    twice = [name for name in made if made.count(name) > 1]
    if twice:
        raise SpecError(
            f"a batch would have two columns {twice[0]!r}",
            where=f"{spec.ref}: columns, features, labels",
            expected="names that differ",
            fix="name= of the feature, another name of the label, or columns= without it",
        )


def _within(spec: TrainingSet, told: Any) -> None:
    try:
        told()
    except SpecError as error:
        error.within(str(spec.ref))
        raise


def _alive(spec: TrainingSet, rows: Bucketed) -> tuple[Bucket, ...]:
    """The buckets that have a row in the sample: whole ones are left out by their number."""
    share = share_of(spec.sampling)
    every: list[Bucket] = [bucket for bucket in [*range(rows.count), None] if rows.of(bucket)]
    if share is None or rows.by != (spec.entity,):
        return tuple(every)
    return tuple(b for b in every if b is not None and share.covers(b, rows.count) is not False)


def _latest(lake: Lake, rows: Bucketed, at: str) -> int | None:
    """The greatest time among the rows, as the files' statistics say."""
    metadata = lake.load(rows.name).metadata
    ends = [
        snapshots.bounds(metadata, task.file, at)[1]
        for tasks in rows.files.values()
        for task in tasks
    ]
    known = [int(end) for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None
