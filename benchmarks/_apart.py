"""Contenders, each in a process of its own: seconds, CPU seconds, and the most memory it held.

A contender is a function of a folder that returns (rows, check): the check is the same for all, or
the benchmark says so. Its imports are made before the clock and the memory's mark are set.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

MB = 1e6

LEAN = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_TRIM_THRESHOLD_": "1000000"}
"""With the system's allocator, which gives the most back."""

HOUSE = {"ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}
"""As `bowerbird` runs, and for all others that use Arrow."""

Contender = Callable[[str], tuple[int, float]]


def asked(
    parser: argparse.ArgumentParser, contenders: Mapping[str, tuple[Contender, Iterable[str]]]
) -> argparse.Namespace:
    """What the command line asks. A contender's own process runs it, and ends here."""
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    found = parser.parse_args()
    if found.contender:
        measured(*contenders[found.contender], found.folder, found.limit)
        sys.exit()
    return found


def run(module: str, name: str, folder: str, limit: int | None = None) -> dict[str, Any]:
    """Run one contender of a module; `error` where it failed; "allocator" in the name: with the
    system's. limit: bytes of address space beyond what the imports map."""
    command = [sys.executable, "-m", module, "--contender", name, "--folder", folder]
    command += ["--limit", str(limit)] if limit else []
    # jemalloc maps far more than it holds, which a limit of address space forbids.
    pool = LEAN if "allocator" in name else {} if limit else HOUSE
    environment = {**os.environ, **pool}
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=3600, env=environment
    )
    if ran.returncode:
        said = (ran.stderr.strip() or f"ended with {ran.returncode}").splitlines()[-1]
        return {"error": said[:160]}
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def measured(contender: Contender, imports: Iterable[str], folder: str, limit: int | None) -> None:
    """In the child: run the contender and print what it took."""
    for name in imports:
        __import__(name)
    if limit:
        whole = limit + _status("VmSize")  # libraries map far more than they use
        resource.setrlimit(resource.RLIMIT_AS, (whole, whole))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    base = _status("VmRSS")
    cpu, start = time.process_time(), time.perf_counter()
    rows, check = contender(folder)
    seconds = time.perf_counter() - start
    told = {
        "seconds": seconds,
        "cpu": time.process_time() - cpu,
        "peak": _status("VmHWM"),
        "base": base,
        "rows": rows,
        "check": check,
    }
    print(json.dumps(told))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def best(rounds: Iterable[Mapping[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Of each contender its quickest round, with the least peak of all its rounds."""
    found: dict[str, dict[str, Any]] = {}
    for one in rounds:
        for name, told in one.items():
            had = found.get(name, told)
            if "error" in told or "error" in had:
                found[name] = told if "error" in told else had
                continue
            quick = min(had, told, key=lambda row: float(row["seconds"]))
            found[name] = {**quick, "peak": min(had["peak"], told["peak"])}
    return found


def report(title: str, found: Mapping[str, dict[str, Any]], ours: str) -> None:
    """The table, and ours against the best of the others."""
    print(f"--- {title} ({os.cpu_count()} CPUs)")
    print(f"{'':28}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}{'above imports':>15}{'rows':>12}")
    for name, told in found.items():
        if "error" in told:
            print(f"{name:28}  failed: {told['error']}")
            continue
        above = told["peak"] - told["base"]
        print(
            f"{name:28}{told['seconds']:9.2f}{told['cpu']:8.2f}{told['peak'] / MB:9.0f}"
            f"{above / MB:15.0f}{told['rows']:12,}"
        )
    good = {name: told for name, told in found.items() if "error" not in told}
    others = {name: told for name, told in good.items() if not name.startswith(ours)}
    for name in (name for name in good if name.startswith(ours)):
        mine = good[name]
        if not others:
            continue
        seconds = min(told["seconds"] for told in others.values())
        above = min(told["peak"] - told["base"] for told in others.values())
        peak = min(told["peak"] for told in others.values())
        print(
            f"{name}: {mine['seconds'] / seconds:.2f} of the best's seconds, "
            f"{(mine['peak'] - mine['base']) / above:.2f} of the least memory above imports "
            f"({mine['peak'] / peak:.2f} of the least whole peak)"
        )
        for other, told in others.items():
            same = told["rows"] == mine["rows"] and abs(
                told["check"] - mine["check"]
            ) <= 1e-6 * max(1.0, abs(mine["check"]))
            if not same:
                print(f"  {other} gave OTHER ROWS: {told['rows']:,}, {told['check']}")
