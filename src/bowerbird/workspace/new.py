"""A new project: the two things that every project has."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bowerbird.core.errors import UserError
from bowerbird.workspace.settings import FILE

_SETTINGS = """\
# Where this project lives. `bowerbird config` shows every setting and where it came from.
default_environment = "dev"

[settings]
workers = 2

[environments.dev]
metadata = "sqlite:///.bowerbird/metadata.db"
warehouse = ".bowerbird/warehouse"
"""

_SPECS = '''\
"""What this project declares. Every spec that a module here names is found."""

# from bowerbird.lake import Table, bucket
#
# purchases = Table("shop/purchases", schema={"household_id": "long", "at": "timestamptz"},
#                   partition=(bucket("household_id", 16),), sort=("household_id", "at"),
#                   source="specs.load:purchases", owner="team:growth")
'''


class Made(msgspec.Struct, frozen=True):
    """A new project's files: those that were written, and those that were there and are kept."""

    made: tuple[str, ...]
    kept: tuple[str, ...] = ()


def make_project(folder: Path) -> Made:
    """Write a new project's files. Refuses to write over a project that is there."""
    if (folder / FILE).exists():
        raise UserError(
            f"{folder / FILE} is there already",
            expected="a folder without a project",
            fix="bowerbird plan",
        )
    files = {
        folder / FILE: _SETTINGS,
        folder / "specs" / "tables.py": _SPECS,
        folder / ".gitignore": ".bowerbird/\n__pycache__/\n",
    }
    kept = tuple(str(path) for path in files if path.exists())
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if str(path) not in kept:
            path.write_text(content)
    return Made(tuple(str(path) for path in files if str(path) not in kept), kept)
