"""Where real data lie: in $BOWERBIRD_TEST_DATA, or in ../shared/data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("BOWERBIRD_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def real(name: str) -> Path:
    """The file or folder of this name under the data; skips the test where it is missing."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {name} under ../shared/data, nor in $BOWERBIRD_TEST_DATA")
    return path
