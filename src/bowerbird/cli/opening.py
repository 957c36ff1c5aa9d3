"""Opening a workspace from where the user stands: settings, rooms and engine put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bowerbird.core.engine import Engine
from bowerbird.core.errors import SettingsError
from bowerbird.core.runs import Journal
from bowerbird.rooms import registry
from bowerbird.workspace.settings import Loaded, find_project, load_settings

if TYPE_CHECKING:
    from bowerbird.workspace.workspace import Workspace


class Where(msgspec.Struct):
    """What the flags before the command say."""

    project: Path | None = None
    environment: str | None = None


WHERE = Where()


def settings(flags: dict[str, Any] | None = None) -> Loaded:
    """The settings of the project in which the user stands."""
    project = WHERE.project or find_project(Path.cwd())
    return load_settings(project, WHERE.environment, flags)


@contextmanager
def opened(
    flags: dict[str, Any] | None = None, listeners: Sequence[Journal] = ()
) -> Iterator[Workspace]:
    """The workspace of the project in which the user stands, closed at the end."""
    loaded = settings(flags)
    # Late: it brings the database's library, which no command that only shows text needs.
    from bowerbird.workspace.workspace import Workspace

    workspace = Workspace(loaded, registry(), open_engine, listeners=listeners)
    try:
        yield workspace
    finally:
        workspace.close()


def open_engine(loaded: Loaded) -> Engine:
    """The engine that the settings name."""
    from bowerbird import engines

    named = loaded.settings.engine
    if named not in list(engines.EngineKind):
        raise SettingsError(
            f"there is no engine {named!r}",
            where=next(o.origin for o in loaded.origins if o.name == "engine"),
            expected=f"one of: {', '.join(engines.EngineKind)}",
        )
    return engines.open_engine(
        engines.EngineKind(named),
        workers=loaded.settings.workers,
        paths=(loaded.project,),
        address=loaded.settings.ray_address or None,
    )
