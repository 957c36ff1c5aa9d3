"""Kill the demo in every step, and compare its end with one that nobody disturbed.

``python -m tests.demo.kill_everywhere FOLDER --against UNDISTURBED [--late SHARE]`` does it to the
whole demo, in a new FOLDER; UNDISTURBED was made by ``bowerbird demo`` on the same code and is only
read. SHARE: how far into a step the kill comes, of the seconds that the step took there; 0 kills it
as soon as its log says that it began.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bowerbird.demo.making import make_demo

_BEGAN = re.compile(r"--- \S+ (\S+) attempt (\S+): ")
_ENDED = re.compile(r"--- \w+(:|$)")


def bowerbird(
    folder: Path, *words: str, timeout: float | None = 900
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bowerbird", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def running(folder: Path) -> dict[str, str]:
    """The target and attempt of each step whose log says that it began, and not that it ended."""
    found = {}
    for path in (folder / ".bowerbird" / "state" / "logs").rglob("*.log"):
        last = None
        for line in path.read_text().splitlines():
            text = line.partition(" ")[2]
            if began := _BEGAN.match(text):
                last = began.groups()
            elif _ENDED.match(text):
                last = None
        if last is not None:
            found[last[0]] = last[1]
    return found


def kills(
    folder: Path, late: Mapping[str, float] | None = None, *, patience: float = 600
) -> Iterator[tuple[str, ...]]:
    """Apply, kill it in the next step that was not killed yet, and again, until each was.

    Gives the steps (by target) that each kill hit. late: seconds from a step's begin to its kill;
    at once, for those that it does not name.
    """
    hit: set[str] = set()
    while True:
        before = running(folder)
        applying = subprocess.Popen(
            [sys.executable, "-m", "bowerbird", "apply"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            aim = _begun(folder, applying, before, hit, patience)
            if aim is not None:
                time.sleep((late or {}).get(aim, 0.0))
        finally:
            if applying.poll() is None:
                os.killpg(applying.pid, signal.SIGKILL)
            ended = applying.wait()
        if aim is None:
            assert ended == 0, f"apply ended with {ended}; killed so far: {sorted(hit)}"
            return
        struck = sorted(target for target, _ in running(folder).items() - before.items())
        assert aim in struck, f"{aim} ended before it could be killed"
        hit |= set(struck)
        yield tuple(struck)


def _begun(
    folder: Path,
    applying: subprocess.Popen[bytes],
    before: Mapping[str, str],
    hit: set[str],
    patience: float,
) -> str | None:
    """The first step to begin that was not hit yet; None once the apply has ended."""
    until = time.monotonic() + patience
    while applying.poll() is None:
        assert time.monotonic() < until, f"nothing new began in {patience} s"
        for target, _ in sorted(running(folder).items() - before.items()):
            if target not in hit:
                return target
        time.sleep(0.02)
    return None


def figures(folder: Path) -> dict[str, Any]:
    """All of a report that must not depend on who was killed when.

    Left out: run ids, times, bytes and rates; which neighbour index was chosen, as the cheapest in
    measured seconds is; and the recall of HNSW graphs, which two threads build in either order.
    """
    view = json.loads((folder / "report" / "report.json").read_text())
    near = view["neighbors"]
    return {
        "numbers": [[n["label"], n["value"]] for n in view["numbers"] if n["unit"] != "seconds"],
        "households": [
            one | {"page": {k: v for k, v in one["page"].items() if k != "release"}}
            for one in view["households"]
        ],
        **{name: view[name] for name in ("comparisons", "ablations", "goals", "training")},
        "recall": {p["label"]: p["recall"] for p in near["points"] if "HNSW" not in p["label"]},
        "neighbors": [near[name] for name in ("k", "items", "queries", "published")],
        "rows": {step["ref"]: step["rows"] for step in view["cost"]["steps"]},
        "lineage": [_declared(reason) for reason in view["lineage"]],
    }


def _declared(reason: dict[str, Any]) -> list[Any]:
    """A reason without its versions, times and runs."""
    inputs = [_declared(one) for one in reason["inputs"]]
    return [reason["ref"], reason["definition"], reason["rows"], inputs]


def contents(folder: Path) -> dict[str, list[str]]:
    """Hashes of all files of rows and of releases, by what they belong to: nothing left behind.

    Left out: Iceberg's metadata and what a feed pins, which name snapshots.
    """
    warehouse, found = folder / ".bowerbird" / "warehouse", {}
    for path in sorted(warehouse.rglob("*")):
        if (
            not path.is_file()
            or "metadata" in path.parts
            or path.parent.match("releases/shop/home/*/*/*")
        ):
            continue
        name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}.*", "", str(path.relative_to(warehouse)))
        found.setdefault(name, []).append(hashlib.sha256(path.read_bytes()).hexdigest())
    return {name: sorted(hashes) for name, hashes in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--against", type=Path, required=True)
    parser.add_argument("--late", type=float, default=0.0)
    options = parser.parse_args()
    before = json.loads((options.against / "report" / "report.json").read_text())
    late = {s["ref"]: options.late * (s["seconds"] or 0) for s in before["cost"]["steps"]}
    make_demo(options.folder)
    start, count = time.monotonic(), 0
    for count, struck in enumerate(kills(options.folder, late, patience=3600), start=1):
        print(f"{time.monotonic() - start:6.0f} s  kill {count}: {', '.join(struck)}", flush=True)
    ended = bowerbird(options.folder.parent, "demo", options.folder.name, timeout=None)
    print(ended.stdout, ended.stderr)
    same = True
    for what, read in (("figures", figures), ("contents", contents)):
        one, other = read(options.against), read(options.folder)
        for name in sorted(one.keys() | other.keys()):
            equal = one.get(name) == other.get(name)
            same = same and equal
            print(f"{what} {name}: {'equal' if equal else 'DIFFERENT'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
