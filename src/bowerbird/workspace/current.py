"""The workspace with its specs as they are on disk: one for all who share it.

A loop and a desk that read the project each for itself would undo what the other has done. Each
reading has an engine of its own, since the workers of an engine keep the modules they imported: a
run that was planned from newer source is carried out by newer source.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bowerbird.workspace.workspace import Workspace

Stamp = tuple[tuple[str, int, int], ...]
"""Which files a project's specs may come from, with the time and the size of each."""


class Current:
    """Holds the last reading of a project. For several threads."""

    def __init__(self, first: Workspace) -> None:
        self._held = first
        self._reading = Lock()

    def workspace(self) -> Workspace:
        """Edited, specs are read anew, as by a command that is typed again. Raises where they
        cannot be read: then they are tried once more by whoever asks next."""
        with self._reading:
            held = self._held
            _ = held.specs
            if held.stamp == stamp(Path(held.loaded.project), held.home.warehouse):
                return held
            again = held.reread()
            _ = again.specs
            self._held = again
            held.leave()
            return again

    def held(self) -> Workspace:
        """The last reading, as old as it may be."""
        return self._held


def stamp(project: Path, but: str = "") -> Stamp:
    """What tells whether a project's source was edited. but: a folder that has none."""
    found: list[tuple[str, int, int]] = []
    for path in _sources(project, but):
        with suppress(FileNotFoundError):  # an editor's own, gone again
            at = path.stat()
            found.append((str(path), at.st_mtime_ns, at.st_size))
    return tuple(sorted(found))


def _sources(project: Path, but: str) -> Iterator[Path]:
    for folder, inner, names in os.walk(project):
        inner[:] = [
            one
            for one in inner
            if not one.startswith((".", "__")) and os.path.join(folder, one) != but  # noqa: PTH118
        ]
        if "pyvenv.cfg" in names:  # an environment in the project's folder
            inner.clear()
            continue
        shown = [one for one in names if not one.startswith(".")]
        yield from (Path(folder, one) for one in shown if one.endswith((".py", ".yaml", ".yml")))
