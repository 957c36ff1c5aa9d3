"""Change rows of a keyed table: checked, and of each key the last one.

What comes in is Arrow data with the table's columns, maybe a column that says what each change is,
and columns by which the changes of one key follow each other. What leaves is `Changes`: rows that
are to be there, and keys that are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from bowerbird.core.errors import SpecError, UserError
from bowerbird.core.specs import Operator
from bowerbird.lake import ordering, schema
from bowerbird.lake.arrays import one_piece
from bowerbird.lake.schema import conform
from bowerbird.lake.specs import Table

if TYPE_CHECKING:
    import pyarrow as pa

    from bowerbird.lake.write import Rows

    Codes: TypeAlias = pa.Array
    """A number for each row's key."""


class Ties(StrEnum):
    """What to do where a key was changed twice and nothing says which change came later."""

    REFUSED = "refused"
    LAST = "last"
    """The row that came later is the later change."""


class Mode(StrEnum):
    """How the rows that changed leave the files that they are in; the words are Iceberg's."""

    COPY_ON_WRITE = "copy-on-write"
    """Those files are written anew: readers pay nothing."""
    MERGE_ON_READ = "merge-on-read"
    """Small files beside them name the deleted rows: a merge costs what changed, and readers pay
    until the table is compacted. Files of an older partitioning, and tables of Iceberg's version 3,
    are written anew all the same."""


class Keyed(Operator, frozen=True, forbid_unknown_fields=True):
    """How change rows are to be understood, and applied.

    key: the columns that name a row. op: the column that says ``insert``, ``update`` or ``delete``
      (the first two are one: the row is to be there as it came, so changes may come twice); without
      it every change is one. order: columns by which the changes of one key follow each other.
    columns: the columns that an update sets, where it does not bring whole rows: the others keep
      what they hold, and a key that is not there is left out and counted.
    mode: how the rows that changed leave the files that they are in.
    """

    key: tuple[str, ...]
    op: str | None = None
    order: tuple[str, ...] = ()
    ties: Ties = Ties.REFUSED
    columns: tuple[str, ...] = ()
    mode: Mode = Mode.COPY_ON_WRITE

    def __post_init__(self) -> None:
        for field in ("key", "order", "columns"):
            value = getattr(self, field)
            if not isinstance(value, tuple):
                named = (value,) if isinstance(value, str) else tuple(value)
                msgspec.structs.force_setattr(self, field, named)

    def check(self, spec: Table) -> None:
        """Raise `SpecError` where this does not fit a table; the message names the field."""
        types = spec.types()
        if not self.key:
            raise _wrong(spec, "key", "no column", "the columns that name a row")
        for field in ("key", "columns"):
            for column in getattr(self, field):
                if column not in types:
                    have = ", ".join(types)
                    raise _wrong(spec, field, f"there is no column {column!r}", f"one of: {have}")
        for column in self.key:
            if not types[column].primitive:
                kind = types[column].name
                raise _wrong(spec, "key", f"{column!r} is a {kind}", "columns of single values")
        if twice := set(self.key) & set(self.columns):
            raise _wrong(
                spec, "columns", f"{min(twice)!r} is of the key", "columns that an update may set"
            )


class Changes(msgspec.Struct, frozen=True):
    """Of each changed key the last change.

    upserts: rows that are to be there (of `Keyed.columns`, only those columns and the key).
    deletes: keys that are not to be there. superseded: how many earlier changes were left out.
    """

    upserts: pa.Table
    deletes: pa.Table
    superseded: int = 0

    @property
    def rows(self) -> int:
        return int(self.upserts.num_rows + self.deletes.num_rows)

    def keys(self, key: Sequence[str]) -> pa.Table:
        """The changed keys: of the upserts first, then of the deletes."""
        import pyarrow as pa

        # Of a key that is 'not null' the one is so, and the other is not.
        parts = [self.upserts.select(list(key)).cast(self.deletes.schema), self.deletes]
        return pa.concat_tables(parts).combine_chunks()


def resolve(name: str, spec: Table, rows: Rows, keyed: Keyed, arrow: pa.Schema) -> Changes:
    """The last change of each key, held to the table's columns (`arrow`).

    Raises `UserError`, with the column and how many rows, for what cannot be told: keys that are
    null or NaN, changes of no known kind, two changes of one key that nothing puts in order.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keyed.check(spec)
    came = _whole(name, rows)
    _check_present(name, came, [*keyed.key, *([keyed.op] if keyed.op else []), *keyed.order])
    keys = _checked_keys(name, came, keyed.key, arrow)
    gone = _deletes(name, came, keyed)
    last = _last(name, keys, came, keyed)
    superseded = came.num_rows - len(last)
    came, keys, gone = came.take(last), keys.take(last), gone.take(last)
    if keyed.columns:
        arrow = pa.schema([arrow.field(column) for column in (*keyed.key, *keyed.columns)])
        _refuse_inserts(name, came, keyed)
    said = {keyed.op, *keyed.order}
    rows = came.select([c for c in came.column_names if c in arrow.names or c not in said])
    rows = rows.filter(pc.invert(gone))
    # Changes that delete need no more than the key, so columns are looked at where rows are.
    upserts = conform(name, rows, arrow) if rows.num_rows else arrow.empty_table()
    return Changes(upserts, keys.filter(gone), superseded)


class Keys:
    """Finds rows whose key is one of some: whole columns at once."""

    def __init__(self, keys: pa.Table) -> None:
        """keys: in one piece a column, none of them null or NaN."""
        self._columns = keys.column_names
        self._steps: list[tuple[pa.Array, pa.Array | None]] = []
        codes = None
        for name in self._columns:
            column = _hashable(keys.column(name))
            values = column.unique()
            found = _found(column, values)
            joint = None
            if codes is not None:
                found = _joined(codes, found, len(values))
                joint = found.unique()
                found = _found(found, joint)
            self._steps.append((values, joint))
            codes = found
        self.codes: Codes = codes

    def find(self, rows: pa.Table) -> Codes:
        """The code (as `codes` has them) of each row's key; null for a key that is not among them.

        Of distinct keys, the code is the key's place.
        """
        codes = None
        for name, (values, joint) in zip(self._columns, self._steps, strict=True):
            found = _found(_hashable(rows.column(name)), values)
            if codes is not None:
                found = _found(_joined(codes, found, len(values)), joint)
            codes = found
        return codes


def _found(column: pa.Array, values: pa.Array | None) -> pa.Array:
    import pyarrow.compute as pc

    # Neither null nor NaN is a key, so a row that has one there is not found.
    return pc.index_in(column, value_set=values, skip_nulls=True)


def _joined(codes: pa.Array, found: pa.Array, size: int) -> pa.Array:
    """One number for two: fits 64 bits, since both are less than the number of keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.add(pc.multiply(codes.cast(pa.int64()), size), found.cast(pa.int64()))


def _hashable(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = one_piece(column)
    if isinstance(whole, pa.ExtensionArray):
        whole = whole.storage
    if pa.types.is_floating(whole.type):
        return pc.add(whole, pa.scalar(0.0, whole.type))  # -0.0 and 0.0 are one key
    if pa.types.is_timestamp(whole.type):
        return whole.cast(pa.int64())
    return whole


def _whole(name: str, rows: Rows) -> pa.Table:
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows.combine_chunks()
    if isinstance(rows, pa.RecordBatchReader):
        return rows.read_all().combine_chunks()
    batches = list(rows)
    for batch in batches:
        if not isinstance(batch, pa.RecordBatch):
            raise UserError(
                f"{name}: its changes came as a {type(batch).__name__}",
                expected="a pyarrow Table, a RecordBatchReader, or RecordBatches one by one",
            )
    if not batches:
        raise UserError(
            f"{name}: no batch of changes came, so their columns are not known",
            expected="at least an empty batch, with the columns",
        )
    return pa.Table.from_batches(batches).combine_chunks()


def _check_present(name: str, came: pa.Table, columns: Sequence[str]) -> None:
    for column in columns:
        if came.column_names.count(column) != 1:
            problem = "came twice" if column in came.column_names else "is missing"
            raise UserError(
                f"{name}: column {column!r} of the changes {problem}",
                expected=f"it once among {', '.join(came.column_names)}",
            )


def _checked_keys(name: str, came: pa.Table, key: Sequence[str], arrow: pa.Schema) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.schema([arrow.field(column).with_nullable(True) for column in key])
    keys = schema.conform(name, came.select(list(key)), wanted)
    for column in key:
        values = keys.column(column)
        bad = {"null": values.null_count}
        if pa.types.is_floating(values.type):
            bad["NaN"] = pc.sum(pc.is_nan(values)).as_py() or 0
        for what, count in bad.items():
            if count:
                raise UserError(
                    f"{name}: key column {column!r} is {what} in {count:,} of {len(values):,} "
                    "changes",
                    expected="a value in every change: it says which row is meant",
                )
    return keys.combine_chunks()


def _deletes(name: str, came: pa.Table, keyed: Keyed) -> pa.Array:
    """Whether each change takes its row out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if keyed.op is None:
        return pa.repeat(pa.scalar(value=False), came.num_rows)
    said = came.column(keyed.op).combine_chunks()
    try:
        said = pa.array(said).cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise UserError(
            f"{name}: column {keyed.op!r} of the changes came as {came.column(keyed.op).type}",
            expected="texts: insert, update or delete",
        ) from None
    known = pc.is_in(said, value_set=pa.array(["insert", "update", "delete"]))
    strange = said.filter(pc.invert(known))
    if len(strange):
        raise UserError(
            f"{name}: column {keyed.op!r} says {strange[0].as_py()!r} in {len(strange):,} of "
            f"{len(said):,} changes",
            expected="insert, update or delete",
        )
    return pc.equal(said, "delete")


def _refuse_inserts(name: str, came: pa.Table, keyed: Keyed) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if keyed.op is None or keyed.op not in came.column_names:
        return
    count = pc.sum(pc.equal(came.column(keyed.op).cast(pa.string()), "insert")).as_py() or 0
    if count:
        raise UserError(
            f"{name}: {count:,} changes insert a row of which only {', '.join(keyed.columns)} came",
            expected="whole rows where rows are inserted",
            fix="merge the inserts by themselves, without `columns`",
        )


def _last(name: str, keys: pa.Table, came: pa.Table, keyed: Keyed) -> pa.Array:
    """The places of each key's last change."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if came.num_rows == 0:
        return pa.array([], pa.int64())
    by = ["#key", *(f"#{column}" for column in keyed.order)]
    columns = [Keys(keys).codes, *(_order(name, came, column) for column in keyed.order)]
    rows = pa.table(dict(zip(by, columns, strict=True)))
    places = pa.array(ordering.places(rows, by))
    in_order = rows.take(places)
    code = in_order.column("#key").to_numpy()
    ends = np.append(code[1:] != code[:-1], True)
    same = ~ends
    for column in by[1:]:
        values = in_order.column(column)
        pairs = pc.equal(values.slice(0, len(values) - 1), values.slice(1))
        same[:-1] &= pairs.to_numpy()
    # A tie that counts is between a key's last change and the one before it.
    tied = np.flatnonzero(same[:-1] & ends[1:])
    if keyed.ties is Ties.REFUSED and len(tied):
        first = keys.slice(places[int(tied[0])].as_py(), 1)
        told = ", ".join(f"{c}={first.column(c)[0]}" for c in first.column_names)
        by_what = f"that are equal in {', '.join(keyed.order)}" if keyed.order else "without order"
        raise UserError(
            f"{name}: {len(tied):,} keys have several last changes {by_what}, such as {told}",
            expected="columns by which the changes of a key follow each other",
            fix="give `order`, or ties=Ties.LAST if they came in their order",
        )
    return pc.take(places, pa.array(np.flatnonzero(ends)))


def _order(name: str, came: pa.Table, column: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = _hashable(came.column(column))
    unknown = values.null_count
    if pa.types.is_floating(values.type):
        unknown += pc.sum(pc.is_nan(values)).as_py() or 0
    if unknown:
        raise UserError(
            f"{name}: order column {column!r} has no value in {unknown:,} of {len(values):,} "
            "changes",
            expected="a value in every change",
        )
    return values


def _wrong(spec: Table, field: str, problem: str, expected: str) -> SpecError:
    return SpecError(problem, where=f"merge into {spec.ref}: {field}", expected=expected)
