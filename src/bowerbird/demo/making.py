"""`bowerbird demo`: copy the demo's project into a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from bowerbird.core.errors import UserError
from bowerbird.workspace.settings import FILE

PROJECT = Path(__file__).parent / "project"


def make_demo(folder: Path) -> bool:
    """Copy the project, unless it is there already. False: it was there, as the user left it."""
    if (folder / FILE).exists():
        return False
    if folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder} is not empty, and no project is in it",
            expected="a new folder, or one in which the demo was made",
            fix="bowerbird demo SOME-NEW-FOLDER",
        )
    shutil.copytree(
        PROJECT,
        folder,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (folder / "__init__.py").unlink()
    (folder / ".gitignore").write_text(".bowerbird/\nreport/\n__pycache__/\n")
    return True
