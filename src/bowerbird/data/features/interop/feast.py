"""A Feast repository as specs: from what ``feast registry-dump`` prints.

Feast is not imported, and neither is the repository. Its definitions are Python that has to run, in
an environment where Feast and all that they use are installed: reading them as text would miss
what they compute, and running them here would run somebody's code in ours. Its registry is a
protobuf, whose classes come with Feast and change with it. What Feast itself says of a registry,
as JSON, is the same for every store that a registry can be in.

A feature view becomes a group of ``Last`` over its source's rows, within the view's time to live;
an entity, its key; a file source, a table. What is left out is said, each by its name.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.data.features.columns import LONGEST, MICROSECONDS
from bowerbird.data.features.interop.files import Seen, look, table_of
from bowerbird.data.features.interop.module import (
    GroupText,
    Imported,
    TableText,
    column_name,
    distinct,
    module_text,
    spec_name,
)

SETTINGS = "feature_store.yaml"
_TAKEN = {"boolean", "int", "long", "float", "double", "string", "date", "timestamptz"}
"""Types of columns that a feature can be of."""

_TYPES = {
    "BOOL": "boolean",
    "INT32": "int",
    "INT64": "long",
    "FLOAT": "float",
    "DOUBLE": "double",
    "STRING": "string",
    "JSON": "string",
    "BYTES": "binary",
    "UNIX_TIMESTAMP": "timestamptz",
}


class _Field(msgspec.Struct, rename="camel", frozen=True):
    name: str
    value_type: str = ""
    description: str = ""


class _FileOptions(msgspec.Struct, rename="camel", frozen=True):
    uri: str = ""


class _Source(msgspec.Struct, rename="camel", frozen=True):
    name: str = ""
    type: str = ""
    timestamp_field: str = ""
    created_timestamp_column: str = ""
    field_mapping: dict[str, str] = {}
    file_options: _FileOptions | None = None
    batch_source: _Source | None = None


class _View(msgspec.Struct, rename="camel", frozen=True):
    name: str
    entities: tuple[str, ...] = ()
    entity_columns: tuple[_Field, ...] = ()
    features: tuple[_Field, ...] = ()
    batch_source: _Source | None = None
    stream_source: _Source | None = None
    ttl: str = ""
    description: str = ""
    owner: str = ""
    tags: dict[str, str] = {}


class _Entity(msgspec.Struct, rename="camel", frozen=True):
    name: str
    join_key: str = ""


class _EntityEntry(msgspec.Struct, frozen=True):
    spec: _Entity


class _ViewEntry(msgspec.Struct, frozen=True):
    spec: _View


class _Named(msgspec.Struct, frozen=True):
    spec: dict[str, Any] = {}
    name: str = ""


class _Registry(msgspec.Struct, rename="camel", frozen=True):
    """What a dump holds, as far as it is read; the rest is named."""

    project: str = ""
    entities: tuple[_EntityEntry, ...] = ()
    feature_views: tuple[_ViewEntry, ...] = ()
    on_demand_feature_views: tuple[_Named, ...] = ()
    stream_feature_views: tuple[_Named, ...] = ()
    label_views: tuple[_Named, ...] = ()
    feature_services: tuple[_Named, ...] = ()
    saved_datasets: tuple[_Named, ...] = ()
    validation_references: tuple[_Named, ...] = ()
    permissions: tuple[_Named, ...] = ()


_LEFT = {
    "on_demand_feature_views": "on-demand view: write it as a group with function=",
    "stream_feature_views": "stream view: write its aggregates as columns over a table of events",
    "label_views": "label view: declare its table as that of a training set's labels",
    "feature_services": "service: name these features in a training set",
    "saved_datasets": "saved dataset: declare its file as a table",
    "validation_references": "validation reference: declare gates on the promotion",
    "permissions": "permission: owners say who may do what",
}


def from_feast(place: Path, namespace: str, root: Path | None = None) -> Imported:
    """A module of a repository's folder, or of a file that ``feast registry-dump`` has written.

    root: the repository's folder, where relative paths begin; of a file: where it lies, if not
    said. Raises `UserError` where there is no repository, or Feast cannot tell of it.
    """
    if place.is_dir():
        return translated(dump(place), namespace, place)
    try:
        return translated(place.read_bytes(), namespace, root or place.parent)
    except OSError as error:
        raise UserError(f"cannot be read: {error}", where=str(place)) from error


def dump(folder: Path) -> bytes:
    """What Feast says of a repository that was applied: the program on the path is asked."""
    if not (folder / SETTINGS).is_file():
        raise UserError(f"there is no {SETTINGS}", where=str(folder), expected="a Feast repository")
    program = shutil.which("feast")
    if program is None:
        raise UserError(
            "Feast is not installed here, and only it can read its registry",
            where=str(folder),
            fix="where it is: feast registry-dump > registry.json; then import registry.json",
        )
    ended = subprocess.run(  # noqa: S603 - the program that the user has installed
        [program, "-c", str(folder), "registry-dump"], capture_output=True, check=False
    )
    if ended.returncode:
        last = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(
            f"feast registry-dump failed: {last}", where=str(folder), fix="feast apply, there"
        )
    return ended.stdout


def translated(dumped: bytes, namespace: str, root: Path) -> Imported:
    """The module of a dump. Raises `UserError` for one that is none."""
    start = dumped.find(b"{")  # warnings may stand before it
    try:
        registry = msgspec.json.decode(dumped[max(start, 0) :], type=_Registry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"this is no registry of Feast: {error}", expected="what feast registry-dump prints"
        ) from error
    notes = _left(registry)
    keys = {one.spec.name: one.spec.join_key or one.spec.name for one in registry.entities}
    views = []
    for entry in registry.feature_views:
        view = entry.spec
        source = view.batch_source
        if source is None or not source.timestamp_field:
            notes.append(f"{view.name}: no source with a time, so it is left out")
        elif not _key(view, keys):
            notes.append(f"{view.name}: no entity, and so no key; it is left out")
        else:
            views.append((view, source))
    if not views:
        raise UserError(
            f"project {registry.project!r} has no feature view that can be imported",
            expected="views over a source with a time; feast apply first",
        )
    tables, told = _tables(views, keys, root)
    notes += told
    names = distinct(
        [*(one.name for one in tables.values()), *(spec_name(v.name) for v, _ in views)]
    )
    groups = []
    for (view, source), name in zip(views, names[len(tables) :], strict=True):
        group, told = _group(name, view, source, tables[_source_key(source)], _key(view, keys))
        notes += told
        if group.columns:
            groups.append(group)
    notes.append(
        "Feast takes rows up to and at a moment, and the row's null; a group, rows strictly before "
        "it, and of each feature the last value that is not null"
    )
    about = f"Project {registry.project} of Feast, by `bowerbird features import`."
    text = module_text(about, namespace, str(root.resolve()), list(tables.values()), groups)
    specs = [f"table:{namespace}/{one.name}" for one in tables.values()]
    specs += [f"feature_group:{namespace}/{one.name}" for one in groups]
    return Imported(text, tuple(specs), tuple(notes))


def _left(registry: _Registry) -> list[str]:
    return [
        f"{one.spec.get('name') or one.name}: {why}"
        for field, why in _LEFT.items()
        for one in getattr(registry, field)
    ]


def _key(view: _View, keys: Mapping[str, str]) -> tuple[str, ...]:
    found = [one.name for one in view.entity_columns] or [keys.get(e, e) for e in view.entities]
    return tuple(name for name in found if not name.startswith("__dummy"))


def _source_key(source: _Source) -> str:
    return source.name or (source.file_options.uri if source.file_options else "")


def _tables(
    views: list[tuple[_View, _Source]], keys: Mapping[str, str], root: Path
) -> tuple[dict[str, TableText], list[str]]:
    """A table a source, with the columns of its files, or else those that views name."""
    tables: dict[str, TableText] = {}
    notes: list[str] = []
    names: list[str] = []
    for view, source in views:
        key = _source_key(source)
        if key in tables:
            continue
        name = distinct([*names, spec_name(source.name or f"{view.name}_source")])[-1]
        names.append(name)
        uri = source.file_options.uri if source.file_options else ""
        seen = _look(uri, root, name, notes)
        if seen is None:
            sharing = [v for v, other in views if _source_key(other) == key]
            seen = _declared(sharing, source, keys)
        table, told = table_of(name, uri.removeprefix("file://"), seen, source.field_mapping)
        tables[key], notes = table, notes + told
    return tables, notes


def _look(uri: str, root: Path, name: str, notes: list[str]) -> Seen | None:
    """What a source's files hold, if they can be read from here."""
    if not uri:
        notes.append(f"{name}: its source is no file; the table is made empty, for you to fill")
        return None
    place = uri.removeprefix("file://")
    if "://" in place:
        notes.append(f"{name}: {uri} was not opened; its types are those that views declare")
        return None
    try:
        return look(root / place)
    except UserError as error:
        notes.append(f"{name}: {uri}: {error.problem}; its types are those that views declare")
        return None


def _declared(views: list[_View], source: _Source, keys: Mapping[str, str]) -> Seen:
    fields: dict[str, str] = {}
    for view in views:
        types = {one.name: one.value_type for one in view.entity_columns}
        fields |= {name: types.get(name, "STRING") for name in _key(view, keys)}
        fields |= {one.name: one.value_type for one in view.features}
    fields[source.timestamp_field] = "UNIX_TIMESTAMP"
    if source.created_timestamp_column:
        fields[source.created_timestamp_column] = "UNIX_TIMESTAMP"
    back = {column: name for name, column in source.field_mapping.items()}
    named = {back.get(name, name): kind for name, kind in fields.items()}
    return Seen(
        columns={name: told for name, kind in named.items() if (told := _type(kind))},
        left={name: f"Feast's {kind}" for name, kind in named.items() if not _type(kind)},
        split=(),
        zoneless=(),
    )


def _type(kind: str) -> str:
    if kind.endswith("_LIST"):
        inner = _TYPES.get(kind.removesuffix("_LIST"), "")
        return f"list<{inner}>" if inner else ""
    return _TYPES.get(kind, "")


def _group(
    name: str, view: _View, source: _Source, table: TableText, key: tuple[str, ...]
) -> tuple[GroupText, list[str]]:
    notes = []
    over = _over(view.ttl)
    columns = {}
    for feature in view.features:
        field = column_name(feature.name)
        if feature.name in key:
            continue
        if table.schema.get(field) in _TAKEN:
            columns[field] = f'Last("{field}"{over})'
        else:
            had = table.schema.get(field)
            why = f"a feature of {had}" if had else f"no column of type {feature.value_type}"
            notes.append(f"{view.name}: {feature.name} is left out: {why}")
    if not columns:
        notes.append(f"{view.name}: no feature is left, so it is left out")
    if view.stream_source is not None:
        notes.append(f"{view.name}: what is pushed to it is left out; its batch source is read")
    if source.created_timestamp_column:
        notes.append(
            f"{view.name}: a row counts once it was known ({source.created_timestamp_column}); "
            "Feast only breaks ties by that: leave out known_at= to do as it does"
        )
    if view.owner:
        notes.append(f"{view.name}: owned by {view.owner}; write owner='user:…' or 'team:…'")
    group = GroupText(
        name=name,
        source=table.name,
        key=tuple(map(column_name, key)),
        at=column_name(source.timestamp_field),
        columns=columns,
        known_at=column_name(source.created_timestamp_column)
        if source.created_timestamp_column
        else "",
        description=view.description,
        tags=view.tags,
    )
    return group, notes


def _over(ttl: str) -> str:
    """A time to live ("86400s"; "0s" is for ever) as a window, in the largest unit that fits."""
    seconds = float(ttl.removesuffix("s") or 0)
    micros = round(seconds * 1_000_000)
    if not 0 < micros <= LONGEST or micros % MICROSECONDS["s"]:
        return ""
    unit, size = max(
        ((unit, size) for unit, size in MICROSECONDS.items() if micros % size == 0 and unit != "y"),
        key=lambda one: one[1],
    )
    return f', over="{micros // size}{unit}"'
