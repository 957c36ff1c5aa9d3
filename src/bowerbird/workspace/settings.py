"""Settings: where a workspace lives and how it runs, and where each value came from.

A flag wins over an environment variable (``BOWERBIRD_WORKERS``), over the environment's section of
``bowerbird.toml``, over the file's ``[settings]``, over the default. A secret is a reference,
``${env:NAME}`` or ``${file:path}``, resolved only when it is used, so none is ever printed.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bowerbird.core.errors import SettingsError
from bowerbird.core.specs import said
from bowerbird.core.steps import Access, Home

FILE = "bowerbird.toml"

Doc = msgspec.Meta
_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting. `docs/settings.md` lists them; a test holds the two together."""

    metadata: Annotated[str, Doc(description="URL of the metadata database")] = (
        "sqlite:///.bowerbird/metadata.db"
    )
    warehouse: Annotated[str, Doc(description="folder or s3:// prefix of tables and releases")] = (
        ".bowerbird/warehouse"
    )
    catalog: Annotated[str, Doc(description="name of the Iceberg catalog")] = "bowerbird"
    iceberg_catalog: Annotated[
        str, Doc(description="rest:URL of the Iceberg catalog; empty: the metadata database")
    ] = ""
    iceberg_credential: Annotated[
        str, Doc(description="token, or client:secret, for a REST catalog; a reference")
    ] = ""
    s3_endpoint: Annotated[str, Doc(description="URL of the object store; empty: AWS's own")] = ""
    s3_region: Annotated[str, Doc(description="region of the object store")] = ""
    s3_access_key: Annotated[str, Doc(description="name of the key to the object store")] = ""
    s3_secret_key: Annotated[str, Doc(description="the key to the object store; a reference")] = ""
    state: Annotated[str, Doc(description="folder of logs and of the server's token")] = (
        ".bowerbird/state"
    )
    specs: Annotated[str, Doc(description="folder of the specs")] = "specs"
    engine: Annotated[str, Doc(description="where tasks run: processes, threads or ray")] = (
        "processes"
    )
    workers: Annotated[int, Doc(description="tasks that run side by side", ge=1, le=4096)] = 2
    ray_address: Annotated[str, Doc(description="of a Ray cluster; empty starts one here")] = ""
    parallel_steps: Annotated[int, Doc(description="steps that run side by side", ge=1)] = 2
    lease_seconds: Annotated[
        float, Doc(description="how long a step whose holder is silent is left alone", gt=0)
    ] = 30.0
    principal: Annotated[str, Doc(description="who asks, as runs record it")] = ""
    host: Annotated[str, Doc(description="address on which servers listen")] = "127.0.0.1"
    port: Annotated[int, Doc(description="port of the web server; 0 takes a free one", ge=0)] = 8600


SECRETS = ("iceberg_credential", "s3_secret_key")
"""Settings that take a reference and nothing else."""


class Origin(msgspec.Struct, frozen=True):
    """A setting, its value, and where it came from."""

    name: str
    value: Any
    origin: str
    description: str


class Loaded(msgspec.Struct, frozen=True):
    """A project's settings for one environment."""

    project: str
    environment: str
    settings: Settings
    origins: tuple[Origin, ...]

    def home(self) -> Home:
        """Where it lives, with paths made absolute and secrets resolved."""
        folder = Path(self.project)
        metadata = resolve_secrets(self.settings.metadata)
        if (match := re.fullmatch(r"sqlite:///(?!/)(.+)", metadata)) is not None:
            metadata = f"sqlite:///{folder / match.group(1)}"
        warehouse = self.settings.warehouse
        access = {
            name: resolve_secrets(getattr(self.settings, name)) for name in Access.__struct_fields__
        }
        return Home(
            metadata=metadata,
            warehouse=warehouse if "://" in warehouse else str(folder / warehouse),
            catalog=self.settings.catalog,
            project=self.project,
            state=str(folder / self.settings.state),
            iceberg=resolve_secrets(self.settings.iceberg_catalog),
            access=Access(**access),
        )


def find_project(start: Path) -> Path:
    """The folder with ``bowerbird.toml`` at `start` or above."""
    for folder in [start.resolve(), *start.resolve().parents]:
        if (folder / FILE).is_file():
            return folder
    raise SettingsError(
        f"no {FILE} in {start} or above it",
        expected="to be inside a project",
        fix="bowerbird init, or bowerbird demo for one with data",
    )


def load_settings(
    project: Path,
    environment: str | None = None,
    flags: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] = os.environ,
) -> Loaded:
    """Read a project's settings. Raises `SettingsError`, naming the file and the setting."""
    path = project / FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"not UTF-8: {error.reason}", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"not TOML: {error}", where=str(path)) from None
    _known(content, {"settings", "environments", "default_environment"}, str(path))
    name = environment or variables.get("BOWERBIRD_ENVIRONMENT")
    name = name or content.get("default_environment", "dev")
    environments = content.get("environments", {})
    _table(environments, f"{path}: environments")
    if name not in environments and (environments or environment):
        raise SettingsError(
            f"no environment {name!r}",
            where=str(path),
            expected=f"one of: {', '.join(environments) or '(none is declared)'}",
        )
    layers = [
        (FILE, content.get("settings", {})),
        (f"{FILE} [environments.{name}]", environments.get(name, {})),
        ("environment variable", _from_variables(variables)),
        ("flag", {key: value for key, value in (flags or {}).items() if value is not None}),
    ]
    return _layered(str(project.resolve()), name, layers, str(path))


def _layered(
    project: str, environment: str, layers: list[tuple[str, Mapping[str, Any]]], path: str
) -> Loaded:
    merged: dict[str, Any] = {}
    came: dict[str, str] = {}
    fields = {field.name: field for field in msgspec.inspect.type_info(Settings).fields}  # type: ignore[attr-defined]
    for origin, values in layers:
        _known(values, set(fields), f"{path}: {origin}" if origin != "flag" else origin)
        merged |= values
        came |= dict.fromkeys(values, origin)
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        problem, at = said(error)
        field = at.lstrip(".")
        raise SettingsError(f"{field}: {problem}", where=came.get(field, path)) from None
    _check_secrets(settings, came)
    hints = msgspec.inspect.type_info(Settings).fields  # type: ignore[attr-defined]
    origins = tuple(
        Origin(f.name, getattr(settings, f.name), came.get(f.name, "default"), _described(f.type))
        for f in hints
    )
    return Loaded(project, environment, settings, origins)


def _check_secrets(settings: Settings, came: Mapping[str, str]) -> None:
    for name in SECRETS:
        value = getattr(settings, name)
        if value and _REFERENCE.fullmatch(value) is None:
            raise SettingsError(
                f"{name}: a secret stands here itself, and settings are shown and shared",
                where=came[name],
                expected="a reference to it: ${env:NAME} or ${file:path}",
            )


def _described(kind: Any) -> str:
    schema = getattr(kind, "extra_json_schema", None) or {}
    return str(schema.get("description", ""))


def _table(values: Any, where: str) -> None:
    if not isinstance(values, Mapping):
        raise SettingsError("not a table of settings", where=where, expected="name = value")


def _known(values: Any, known: set[str], where: str) -> None:
    _table(values, where)
    for name in values.keys() - known:
        near = difflib.get_close_matches(name, known, n=1)
        raise SettingsError(
            f"unknown setting {name!r}",
            where=where,
            expected=f"{near[0]}?" if near else f"one of: {', '.join(sorted(known))}",
            fix="bowerbird config",
        )


def _from_variables(variables: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for field in Settings.__struct_fields__:
        value = variables.get(f"BOWERBIRD_{field.upper()}")
        if value is not None:
            found[field] = value
    return found


def resolve_secrets(text: str) -> str:
    """`text` with each ``${env:NAME}`` and ``${file:path}`` put in."""

    def put(match: re.Match[str]) -> str:
        source, name = match.groups()
        if source == "env":
            if name not in os.environ:
                raise SettingsError(
                    f"the secret ${{env:{name}}} is not set", fix=f"export {name}=…"
                )
            return os.environ[name]
        try:
            return Path(name).read_text().strip()
        except OSError as error:
            raise SettingsError(f"the secret ${{file:{name}}}: {error.strerror}") from None

    return _REFERENCE.sub(put, text)
