"""What an engine costs a task that does nothing, beside the standard library's pools.

    python benchmarks/engines.py [--workers 2] [--tasks 100 1000 10000] [--ray]

Each engine is warm (its workers have imported the task) before it is measured. What is compared are
the ratios within one run: other processes of the machine slow all of them alike. The pools of the
standard library do less: one lost worker ends a ProcessPoolExecutor and hangs a Pool, neither can
stop a task that runs, nor say what a task used.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping

from bowerbird.core.engine import Engine, Task
from bowerbird.engines import EngineKind, open_engine

Runner = Callable[[int], int]
REFERENCE = "concurrent.futures"


def nothing(number: int) -> int:
    return number


@contextlib.contextmanager
def of_ours(kind: EngineKind, workers: int) -> Iterator[Runner]:
    engine: Engine = open_engine(kind, workers=workers)

    def run(count: int) -> int:
        call = "benchmarks.engines:nothing"
        return sum(1 for _ in engine.run(Task(str(n), call, (n,)) for n in range(count)))

    with contextlib.closing(engine):
        yield run


@contextlib.contextmanager
def of_futures(workers: int) -> Iterator[Runner]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:

        def run(count: int) -> int:
            futures = [pool.submit(nothing, number) for number in range(count)]
            return sum(1 for _ in concurrent.futures.as_completed(futures))

        yield run


@contextlib.contextmanager
def of_a_pool(workers: int) -> Iterator[Runner]:
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield lambda count: sum(1 for _ in pool.imap_unordered(nothing, range(count)))


def measured(
    runners: Mapping[str, contextlib.AbstractContextManager[Runner]], counts: list[int]
) -> dict[str, list[float]]:
    """Seconds by runner and count: the best of three, which other processes disturbed least."""
    seconds: dict[str, list[float]] = {}
    for name, opened in runners.items():
        with opened as run:
            run(50)
            seconds[name] = [min(_timed(run, count) for _ in range(3)) for count in counts]
    return seconds


def _timed(run: Runner, count: int) -> float:
    started = time.perf_counter()
    assert run(count) == count
    return time.perf_counter() - started


def printed(seconds: dict[str, list[float]], counts: list[int]) -> None:
    print(f"{platform.python_implementation()} {platform.python_version()}, ", end="")
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs")
    print("microseconds a task (tasks a second; time relative to " + REFERENCE + ")")
    print(f"{'':24}" + "".join(f"{count:>28,} tasks" for count in counts))
    for name, each in seconds.items():
        cells = [
            f"{1e6 * s / n:9.0f} ({n / s:8,.0f}/s; {s / ref:5.2f})"
            for s, n, ref in zip(each, counts, seconds[REFERENCE], strict=True)
        ]
        print(f"{name:24}" + "".join(f"{cell:>34}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--ray", action="store_true")
    asked = parser.parse_args()
    runners = {
        REFERENCE: of_futures(asked.workers),
        "multiprocessing.Pool": of_a_pool(asked.workers),
        "ours, threads": of_ours(EngineKind.THREADS, asked.workers),
        "ours, processes": of_ours(EngineKind.PROCESSES, asked.workers),
    }
    if asked.ray:
        runners["ours, ray"] = of_ours(EngineKind.RAY, asked.workers)
    printed(measured(runners, asked.tasks), asked.tasks)


if __name__ == "__main__":
    main()
