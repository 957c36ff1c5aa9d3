"""Every benchmark, one after another: ``python -m benchmarks [NAME …] [--keep]``.

Each prints a table of ratios that were measured side by side in one run; a ratio says something, a
second on another machine does not. ``--keep`` appends what was printed, under the machine's facts,
to ``benchmarks/results/NAME.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def facts() -> str:
    """What a reader must know of the machine to read the figures."""
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPUs of {_processor()}, load {load:.1f}, "
        f"Python {platform.python_version()}, Bowerbird {version('bowerbird')}"
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(names())}; none: all")
    parser.add_argument("--keep", action="store_true", help="append to benchmarks/results/")
    options = parser.parse_args()
    failed = False
    for name in options.names or names():
        print(f"\n== {name}: {facts()}", flush=True)
        ran = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        print(ran.stdout, flush=True)
        failed = failed or ran.returncode != 0
        if options.keep and ran.returncode == 0:
            kept = HERE / "results" / f"{name}.md"
            kept.parent.mkdir(exist_ok=True)
            with kept.open("a") as file:
                file.write(f"## {facts()}\n\n```\n{ran.stdout.rstrip()}\n```\n\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
