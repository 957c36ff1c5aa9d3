"""A new project: the two things that every project has."""

from __future__ import annotations

from pathlib import Path

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


def make_project(folder: Path) -> list[Path]:
    """Write a new project's files; returns them. Refuses to write over one that is there."""
    if (folder / FILE).exists():
        raise UserError(
            f"{folder / FILE} is there already",
            expected="a folder without a project",
            fix="bowerbird plan",
        )
    made = {
        folder / FILE: _SETTINGS,
        folder / "specs" / "tables.py": _SPECS,
        folder / ".gitignore": ".bowerbird/\n__pycache__/\n",
    }
    for path, content in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(content)
    return list(made)
