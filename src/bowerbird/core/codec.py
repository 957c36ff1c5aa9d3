"""The one codec of specs: YAML, JSON and the ledger's stored form; and a JSON Schema for editors.

The envelope is ``apiVersion, kind, metadata, spec``. Decoding is strict: an unknown field, a wrong
type or an unknown kind is a `SpecError` that names the file and the path of the field. Stored specs
decode for ever: a change of form adds an upcaster to `UPCASTERS`, never a second decoder.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import yaml

from bowerbird.core.errors import RefError, SpecError
from bowerbird.core.specs import METADATA, Spec, said

API_VERSION = "bowerbird/v1"

UPCASTERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""apiVersion -> what turns an envelope of it into one of the next version."""

Kinds = Mapping[str, type[Spec]]
"""Kind as the envelope writes it (``FeatureGroup``) -> its class."""


def encode(spec: Spec) -> dict[str, Any]:
    """A spec's envelope, as plain data. Fields at their default are left out."""
    fields = msgspec.to_builtins(spec)
    metadata = {key: fields.pop(key) for key in METADATA if key in fields}
    return {
        "apiVersion": API_VERSION,
        "kind": type(spec).__name__,
        "metadata": metadata,
        "spec": fields,
    }


def decode(envelope: Any, kinds: Kinds, where: str = "spec") -> Spec:
    """The spec of an envelope. Raises `SpecError`, with `where` and the path of the wrong field."""
    envelope = _upcast(_mapping(envelope, where), where)
    unknown = envelope.keys() - {"apiVersion", "kind", "metadata", "spec"}
    if unknown:
        raise SpecError(
            f"unknown field {min(unknown)!r}",
            where=where,
            expected="apiVersion, kind, metadata and spec at the top",
        )
    kind = envelope.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise SpecError(
            f"unknown kind {kind!r}",
            where=where,
            expected=_closest(str(kind), kinds),
            fix="bowerbird schema, for every kind and its fields",
        )
    metadata = _mapping(envelope.get("metadata", {}), f"{where}: metadata")
    fields = _mapping(envelope.get("spec", {}), f"{where}: spec")
    _refuse_misplaced(metadata, fields, where)
    try:
        spec = msgspec.convert({**metadata, **fields}, kinds[kind], strict=True)
    except msgspec.ValidationError as error:
        raise _explained(error, kinds[kind], metadata, where) from None
    except RefError as error:
        raise SpecError(
            error.problem, where=f"{where}: metadata.name", expected=error.expected
        ) from None
    try:
        spec.check()
    except SpecError as error:
        error.within(where)
        raise
    return spec


def read_yaml(text: str, kinds: Kinds, where: str) -> Iterator[Spec]:
    """The specs of a YAML text of one or more documents; `where` is the file's name."""
    try:
        documents = list(yaml.load_all(text, _Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SpecError(
            f"not YAML: {getattr(error, 'problem', error)}",
            where=f"{where}{line}",
            expected="documents of apiVersion, kind, metadata and spec",
        ) from None
    for number, document in enumerate(documents, 1):
        if document is not None:
            place = where if len(documents) == 1 else f"{where} (document {number})"
            yield decode(document, kinds, place)


class _Loader(yaml.SafeLoader):
    """Safe, and strict: of two fields with one name none may be dropped in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in names:
                    problem = f"{key.value!r} stands twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                names.add(key.value)
        return super().construct_mapping(node, deep)


def write_yaml(specs: Sequence[Spec]) -> str:
    """The same specs as YAML."""
    return yaml.safe_dump_all([encode(spec) for spec in specs], sort_keys=False)


def json_schema(kinds: Kinds) -> dict[str, Any]:
    """A JSON Schema of every kind's envelope, for editors."""
    types = list(kinds.values())
    schemas, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    envelopes = []
    for kind, schema in zip(kinds, schemas, strict=True):
        name = schema["$ref"].rpartition("/")[2]
        properties = dict(components[name]["properties"])
        required = components[name].get("required", [])
        metadata = {key: properties.pop(key) for key in METADATA if key in properties}
        envelopes.append(
            {
                "type": "object",
                "description": components[name].get("description", ""),
                "required": ["apiVersion", "kind", "metadata", "spec"],
                "additionalProperties": False,
                "properties": {
                    "apiVersion": {"const": API_VERSION},
                    "kind": {"const": kind},
                    "metadata": _object(metadata, required),
                    "spec": _object(properties, required),
                },
            }
        )
        del components[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "oneOf": envelopes,
        "$defs": components,
    }


def _object(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(properties),
        "required": [name for name in required if name in properties],
    }


def _upcast(envelope: dict[str, Any], where: str) -> dict[str, Any]:
    while (version := envelope.get("apiVersion")) != API_VERSION:
        if not isinstance(version, str) or version not in UPCASTERS:
            raise SpecError(
                f"apiVersion {version!r} is not known here", where=where, expected=API_VERSION
            )
        envelope = UPCASTERS[version](envelope)
    return envelope


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise SpecError(
            f"{type(value).__name__} where a mapping must be", where=where, expected="name: value"
        )
    return value


def _refuse_misplaced(metadata: Mapping[str, Any], fields: Mapping[str, Any], where: str) -> None:
    for name in metadata.keys() - set(METADATA):
        raise SpecError(
            f"unknown field {name!r}", where=f"{where}: metadata", expected=", ".join(METADATA)
        )
    for name in fields.keys() & set(METADATA):
        raise SpecError(
            f"{name!r} stands under spec", where=where, expected=f"{name!r} under metadata"
        )


def _explained(
    error: msgspec.ValidationError, kind: type[Spec], metadata: Mapping[str, Any], where: str
) -> SpecError:
    """msgspec's message, its path turned into the path that the file has."""
    problem, path = said(error)
    path = path.lstrip(".")
    field = path.partition(".")[0].partition("[")[0]
    side = "metadata" if field in metadata else "spec"
    expected = None
    if unknown := re.search(r"unknown field `(\w+)`", problem):
        if not path:
            expected = _closest(unknown.group(1), kind.__struct_fields__)
    elif "missing required field" in problem:
        side = "metadata" if re.search(rf"`({'|'.join(METADATA)})`", problem) else "spec"
    return SpecError(
        problem,
        where=f"{where}: {side}{'.' + path if path else ''}",
        expected=expected,
    )


def _closest(word: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"{near[0]}?" if near else f"one of: {', '.join(sorted(known))}"
