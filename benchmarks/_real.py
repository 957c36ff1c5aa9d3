"""Where real data lie: in $BOWERBIRD_TEST_DATA, or in ../shared/data beside the checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SHARED = Path(os.environ.get("BOWERBIRD_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def real(name: str) -> Path:
    """The file of this name under the data; ends the program where it is missing."""
    path = SHARED / name
    if not path.exists():
        sys.exit(f"{name} is not under {SHARED.name}: BOWERBIRD_TEST_DATA names the folder of data")
    return path
