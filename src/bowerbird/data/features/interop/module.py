"""A module of specs as text, and what was left out of it."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec


class Imported(msgspec.Struct, frozen=True):
    """A module's text, the specs in it by name, and notes for whoever reads it."""

    text: str
    specs: tuple[str, ...]
    notes: tuple[str, ...] = ()


class TableText(msgspec.Struct, frozen=True):
    """A table to be written down. path: of its files, under the root; or a URI; empty: no source.

    renamed: a column's name in the files -> in the table. partition: columns, by their values.
    """

    name: str
    schema: dict[str, str]
    path: str = ""
    renamed: dict[str, str] = {}
    partition: tuple[str, ...] = ()
    description: str = ""


class GroupText(msgspec.Struct, frozen=True):
    """A feature group to be written down. columns: name -> the text of a column."""

    name: str
    source: str
    key: tuple[str, ...]
    at: str
    columns: dict[str, str]
    known_at: str = ""
    description: str = ""
    tags: dict[str, str] = {}


def spec_name(text: str) -> str:
    """A name as refs have it: lower case, letters, digits and single underscores."""
    made = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:63].rstrip("_")
    return made or "unnamed"


def column_name(text: str) -> str:
    """A name that a column may have."""
    return re.sub(r"[./=\s]+", "_", text).strip("_") or "unnamed"


def distinct(names: Iterable[str]) -> list[str]:
    """The same names; one that came before gets a number."""
    made: list[str] = []
    for name in names:
        n, one = 1, name
        while one in made:
            n += 1
            one = f"{name}_{n}"
        made.append(one)
    return made


def module_text(
    about: str,
    namespace: str,
    root: str,
    tables: Sequence[TableText],
    groups: Sequence[GroupText] = (),
) -> str:
    """The module. about: its docstring. root: where the paths of tables begin."""
    read = [one for one in tables if one.path]
    lines = [f'"""{_prose(about)}"""', ""]
    if read:
        lines += ["from collections.abc import Iterator", "from pathlib import Path", ""]
        lines += ["import pyarrow as pa", ""]
    if groups:
        used = sorted(
            {column.partition("(")[0] for one in groups for column in one.columns.values()}
        )
        lines.append(f"from bowerbird.data.features.columns import {', '.join(used)}")
    if read:
        lines.append("from bowerbird.data.features.interop.files import read_files")
    if groups:
        lines.append("from bowerbird.data.features.specs import FeatureGroup")
    split = any(one.partition for one in tables)
    lines.append(f"from bowerbird.lake import Table{', identity' if split else ''}")
    if any("://" not in one.path for one in read):
        lines += ["", f"ROOT = Path({_text(root)})"]
    for table in tables:
        lines += _table(table, namespace)
    for group in groups:
        lines += _group(group, namespace)
    return "\n".join(lines) + "\n"


def _table(one: TableText, namespace: str) -> list[str]:
    schema = f"{one.name.upper()}_COLUMNS"
    lines = ["", f"{schema} = {{", *(f"    {_text(n)}: {_text(k)}," for n, k in one.schema.items())]
    lines.append("}")
    fields = [f"schema={schema}"]
    if one.partition:
        columns = "".join(f"identity({_text(column)}), " for column in one.partition)
        fields.append(f"partition=({columns.rstrip()})")
    if one.path:
        path = _text(one.path) if "://" in one.path else f"ROOT / {_text(one.path)}"
        call = f"read_files({path}, {schema}"
        call += f", {_mapping(one.renamed)})" if one.renamed else ")"
        lines += [
            "",
            "",
            f"def read_{one.name}() -> Iterator[pa.RecordBatch]:",
            f"    return {call}",
        ]
        lines.append("")
        fields.append(f"source=read_{one.name}")
    if one.description:
        fields.append(f"description={_text(one.description)}")
    lines += ["", f"{_identifier(one.name)} = Table("]
    lines += [
        f"    {_text(f'{namespace}/{one.name}')},",
        *(f"    {field}," for field in fields),
        ")",
    ]
    return lines


def _group(one: GroupText, namespace: str) -> list[str]:
    fields = [
        f"source={_identifier(one.source)}",
        f"key=({''.join(f'{_text(part)}, ' for part in one.key).rstrip()})",
        f"at={_text(one.at)}",
    ]
    if one.known_at:
        fields.append(f"known_at={_text(one.known_at)}")
    if one.description:
        fields.append(f"description={_text(one.description)}")
    if one.tags:
        fields.append(f"tags={_mapping(one.tags)}")
    columns = [f"        {_text(name)}: {column}," for name, column in one.columns.items()]
    return [
        "",
        f"{_identifier(one.name)} = FeatureGroup(",
        f"    {_text(f'{namespace}/{one.name}')},",
        *(f"    {field}," for field in fields),
        "    columns={",
        *columns,
        "    },",
        ")",
    ]


def _identifier(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) or name[:1].isdigit() else name


def _text(value: str) -> str:
    """A Python string: JSON's is one, but for characters beyond 16 bits when escaped."""
    return json.dumps(value, ensure_ascii=False)


def _mapping(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in values.items()) + "}"


def _prose(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")
