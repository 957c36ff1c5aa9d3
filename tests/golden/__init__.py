"""Texts that are compared exactly, and how they are made anew.

A golden file is what people or programs see: a change of one is a decision. To make them anew, run
the test that failed with ``BOWERBIRD_GOLDEN=write``, read the difference with ``git diff``, and
commit the files together with the change that explains it::

    BOWERBIRD_GOLDEN=write python -m pytest tests/core/test_plans.py
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent


def golden(name: str, text: str) -> str:
    """What the golden file of that name holds; it is written first where that was asked for."""
    path = FOLDER / name
    if os.environ.get("BOWERBIRD_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")
