"""What becomes of a table's columns when its spec changes: by id, all the way down.

Iceberg's files know columns by number, so a column that is renamed, moved or widened is still read
from old files, and one that is dropped and made anew is not. `evolved` gives every column of a spec
the number that it has in the table, and is pure: the commit stages what it returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from bowerbird.core.errors import SpecError
from bowerbird.lake.schema import iceberg_type, type_text
from bowerbird.lake.types import Type, parse

if TYPE_CHECKING:
    from pyiceberg.schema import Schema
    from pyiceberg.types import IcebergType, ListType, MapType, NestedField, StructType

    from bowerbird.lake.specs import Table


class EditKind(StrEnum):
    ADD = "add"
    DROP = "drop"
    RENAME = "rename"
    WIDEN = "widen"
    LOOSEN = "loosen"
    MOVE = "move"


class Edit(msgspec.Struct, frozen=True):
    """One change to the columns. column: its path, as the spec names it; inner names after dots."""

    kind: EditKind
    column: str
    text: str


class Evolved(msgspec.Struct, frozen=True):
    """The columns of a spec with the table's numbers; `refused`: what keeps them from being so."""

    schema: Schema
    edits: tuple[Edit, ...]
    refused: tuple[SpecError, ...]


def evolved(name: str, now: Schema, spec: Table, last_id: int) -> Evolved:
    """What `now` becomes under `spec`. last_id: the highest number that a column ever had."""
    from pyiceberg.schema import Schema

    growth = _Growth(name, spec, last_id, bare=not now.fields)
    fields = growth.fields("", now.fields, spec.types())
    made = Schema(*fields, identifier_field_ids=[])
    kept = [one for one in now.identifier_field_ids if one in made._lazy_id_to_field]
    return Evolved(
        schema=Schema(*fields, identifier_field_ids=kept) if kept else made,
        edits=tuple(growth.edits),
        refused=tuple(growth.refused),
    )


class _Growth:
    def __init__(self, name: str, spec: Table, last_id: int, bare: bool) -> None:
        self.edits: list[Edit] = []
        self.refused: list[SpecError] = []
        self._name = name
        self._spec = spec
        self._last = last_id
        self._bare = bare

    def fields(
        self, path: str, now: Iterable[NestedField], wanted: Mapping[str, Type]
    ) -> list[NestedField]:
        from pyiceberg.types import NestedField

        known = {field.name: field for field in now}
        sources = self._sources(path, known, wanted)
        stay = {field.field_id for field in sources.values()}
        for field in known.values():
            if field.field_id not in stay:
                self._drop(path + field.name, field)
        made: list[NestedField] = []
        for name, column in wanted.items():
            old = sources.get(name)
            if old is None:
                made.append(self._new(path + name, name, column))
                continue
            if old.name != name:
                self._edit(EditKind.RENAME, path + name, f"{path}{old.name} → {path}{name}")
            required = self._required(path + name, column, old.required)
            kind = self.type(path + name, old.field_type, column)
            made.append(NestedField(old.field_id, name, kind, required=required, doc=old.doc))
        self._moves(path, [field for field in known.values() if field.field_id in stay], made)
        return made

    def type(self, path: str, was: IcebergType, wanted: Type) -> IcebergType:
        """`wanted`, with the numbers of `was` inside."""
        from pyiceberg.types import ListType, MapType, StructType

        if isinstance(was, StructType) and wanted.name == "struct":
            return self._struct(path, was, wanted)
        if isinstance(was, ListType) and wanted.name == "list":
            return self._list(path, was, wanted)
        if isinstance(was, MapType) and wanted.name == "map":
            return self._map(path, was, wanted)
        before, after = type_text(was), type_text(iceberg_type(wanted))
        if before == after:
            return was
        if not (was.is_primitive and wanted.primitive and _widens(before, after)):
            self._refuse(
                f"column {path!r} is {before} in the table and {after} in its spec",
                "the same type, or a wider one (int to long, float to double)",
                "give the new type a new column, or drop the table and make it anew",
            )
            return was
        self._edit(EditKind.WIDEN, path, f"{before} → {after}")
        return iceberg_type(wanted)

    def _struct(self, path: str, was: StructType, wanted: Type) -> IcebergType:
        from pyiceberg.types import StructType

        inner = dict(zip(wanted.fields, wanted.inner, strict=True))
        return StructType(*self.fields(f"{path}.", was.fields, inner))

    def _list(self, path: str, was: ListType, wanted: Type) -> IcebergType:
        from pyiceberg.types import ListType

        (element,) = wanted.inner
        place = f"{path}.element"
        required = self._required(place, element, was.element_required)
        return ListType(was.element_id, self.type(place, was.element_type, element), required)

    def _map(self, path: str, was: MapType, wanted: Type) -> IcebergType:
        from pyiceberg.types import MapType

        key, value = wanted.inner
        if type_text(was.key_type) != type_text(iceberg_type(key)):
            self._refuse(
                f"the keys of {path!r} are {type_text(was.key_type)} in the table and "
                f"{type_text(iceberg_type(key))} in its spec",
                "keys of the same type: Iceberg lets them not change",
                "give the new map a new column",
            )
        place = f"{path}.value"
        required = self._required(place, value, was.value_required)
        new = self.type(place, was.value_type, value)
        return MapType(was.key_id, was.key_type, was.value_id, new, required)

    def _sources(
        self, path: str, known: Mapping[str, NestedField], wanted: Mapping[str, Type]
    ) -> dict[str, NestedField]:
        """Name in the spec -> the column of the table that it is."""
        sources = {name: known[name] for name in wanted if name in known}
        for old, new in self._spec.renamed.items():
            parent, _, last = old.rpartition(".")
            if (f"{parent}." if parent else "") != path or last not in known:
                continue
            if new in sources:
                self._refuse(
                    f"{old!r} is to be renamed to {new!r}, and the table has both",
                    "a new name that no column has",
                    "take the rename out of the spec; drop one of the two, if that is meant",
                )
            elif new in wanted:
                sources[new] = known[last]
        return sources

    def _drop(self, path: str, field: NestedField) -> None:
        if path in self._spec.dropped:
            self._edit(EditKind.DROP, path, f"{type_text(field.field_type)}: no longer read")
            return
        self._refuse(
            f"column {path!r} is in the table and not in its spec",
            f"{path!r} to stay: its data is there",
            f"put it back into the schema; or say what is meant: renamed={{{path!r}: …}} or "
            f"dropped=({path!r},)",
        )

    def _new(self, path: str, name: str, column: Type) -> NestedField:
        from pyiceberg.types import NestedField

        if column.required and not self._bare:
            self._refuse(
                f"new column {path!r} is 'not null', and old rows have no value for it",
                "a new column that may be null",
                f"leave 'not null' off {path!r}",
            )
        number = self._count()
        self._edit(EditKind.ADD, path, type_text(iceberg_type(column)))
        return NestedField(
            number, name, iceberg_type(column, self._count), required=column.required
        )

    def _required(self, path: str, column: Type, was: bool) -> bool:
        if column.required and not was:
            self._refuse(
                f"column {path!r} may be null in the table and not in its spec",
                "what old rows already hold to stay allowed",
                f"leave 'not null' off {path!r}",
            )
        if was and not column.required:
            self._edit(EditKind.LOOSEN, path, "may be null")
        return column.required

    def _moves(self, path: str, before: list[NestedField], after: list[NestedField]) -> None:
        """Which columns stand elsewhere: those that are not in one line with the ones before."""
        place = {field.field_id: at for at, field in enumerate(before)}
        furthest = -1
        for field in after:
            at = place.get(field.field_id)
            if at is None:
                continue
            if at < furthest:
                self._edit(EditKind.MOVE, path + field.name, "stands elsewhere")
            furthest = max(furthest, at)

    def _count(self) -> int:
        self._last += 1
        return self._last

    def _edit(self, kind: EditKind, column: str, text: str) -> None:
        self.edits.append(Edit(kind, column, text))

    def _refuse(self, problem: str, expected: str, fix: str) -> None:
        self.refused.append(SpecError(f"{self._name}: {problem}", expected=expected, fix=fix))


def _widens(was: str, becomes: str) -> bool:
    """Iceberg's promotions. (PyIceberg's own `promote` lets a decimal's scale change.)"""
    if (was, becomes) in (("int", "long"), ("float", "double")):
        return True
    one, other = parse(was), parse(becomes)
    if one.name == other.name == "decimal":
        return one.numbers[0] <= other.numbers[0] and one.numbers[1] == other.numbers[1]
    return False
