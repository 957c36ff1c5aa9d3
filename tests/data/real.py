"""Real data that tests use where they lie; where they do not, the tests are left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks._real import SHARED


def real(name: str) -> Path:
    """The file or folder of this name; skips the test where it is missing."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {name} under ../shared/data, nor in $BOWERBIRD_TEST_DATA")
    return path
