"""Pages of a demo's feed, in seconds: ``python -m benchmarks.feed [DEMO] [--households 50]``.

DEMO: a folder in which `bowerbird demo` ended (by default the one of `make demo`). The feed is
opened as the server opens it, and asked in this process, without HTTP. CPU seconds are beside the
wall's: on a busy machine they say more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bowerbird.discovery.serving import views
from bowerbird.discovery.serving.publish import ShowingReader, open_reader, published
from bowerbird.workspace.project import put_on_path
from bowerbird.workspace.settings import load_settings


def timed(what: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    what()
    return time.perf_counter() - wall, time.process_time() - cpu


def told(name: str, seconds: list[tuple[float, float]]) -> None:
    (wall, cpu), (most, cpu_most) = np.percentile(np.array(seconds) * 1000, [50, 95], axis=0)
    print(f"{name:18} {wall:9.0f} {most:9.0f}   {cpu:9.0f} {cpu_most:9.0f}   {len(seconds):4}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", nargs="?", type=Path, default=Path("demo"))
    parser.add_argument("--households", type=int, default=50)
    options = parser.parse_args()
    if not (options.demo / "bowerbird.toml").exists():
        print(f"nothing measured: there is no project in {options.demo}; make demo")
        return
    loaded = load_settings(options.demo)
    put_on_path(Path(loaded.project))
    home = loaded.home()
    _, job, _ = published(home, "feed:shop/home")
    kept: list[ShowingReader] = []
    opened = timed(lambda: kept.append(open_reader(job)))
    (feed,) = kept
    every = feed.households()
    some = [every[n] for n in np.linspace(0, len(every) - 1, options.households + 1).astype(int)]
    pages = [timed(partial(feed.page, one, 20)) for one in some]
    shown = [timed(partial(views.household, feed, one, 24)) for one in some[1:]]
    print("milliseconds        wall p50       p95     CPU p50       p95      n")
    told("opening", [opened])
    told("the first page", pages[:1])
    told("a page", pages[1:])
    told("a page as HTML", shown)


if __name__ == "__main__":
    main()
