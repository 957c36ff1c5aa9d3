"""What worker processes promise beyond the contract of every engine."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bowerbird.core.engine import Event, Resources, Task
from bowerbird.core.errors import CancelledError, FunctionError, StepError
from bowerbird.core.inside import tell
from bowerbird.engines import pool
from bowerbird.engines.local import Isolation, LocalEngine
from bowerbird.testing.engine_conformance import (
    beats,
    error_of,
    is_gone,
    is_still,
    outcomes,
    task,
    wait_until,
)

pytestmark = pytest.mark.slow

HERE = "tests.engines.test_processes"


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    engine = LocalEngine(2)
    yield engine
    engine.close()


def here(key: str, name: str, *args: object, cpus: float = 1.0) -> Task:
    return Task(key=key, call=f"{HERE}:{name}", args=args, resources=Resources(cpus=cpus))


def sleep_in_c_holding_the_interpreter(folder: str) -> None:
    (Path(folder) / f"beat-{os.getpid()}-0").touch()
    ctypes.PyDLL(None).sleep(60)  # PyDLL does not release the interpreter's lock


def ignore_sigterm(folder: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / f"beat-{os.getpid()}-0").touch()
    time.sleep(60)


def leave_a_child_behind() -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid


def fork_a_child_and_die() -> None:
    """The child holds our end of the connection to the driver open."""
    if os.fork() == 0:
        time.sleep(60)
    os._exit(9)


def close_everything() -> None:
    os.closerange(3, 1000)


def together(folder: str, name: str) -> int:
    """How many run now, this one included."""
    mine = Path(folder) / name
    mine.touch()
    time.sleep(0.1)
    count = len(list(Path(folder).iterdir()))
    mine.unlink()
    return count


class Unknown:
    """Of a module that workers cannot import."""


def test_no_process_and_no_file_is_left_after_close() -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def processes() -> set[psutil.Process]:
        return set(psutil.Process().children(recursive=True))

    threads, files, before = threading.active_count(), open_files(), processes()
    for _ in range(2):
        engine = LocalEngine(2)
        outcomes(engine, task("a", "add", 1), task("b", "die", tries=2), task("c", "exit_hard", 1))
        running = engine.run([task("d", "add", 1), task("e", "sleep", 9)])
        next(running)
        running.close()
        engine.close()
    assert processes() <= before  # what another test started may still be there
    assert threading.active_count() <= threads
    assert open_files() <= files


def test_workers_keep_warm_and_outlive_the_thread_that_first_used_them(
    engine: LocalEngine,
) -> None:
    # A child that dies with its parent dies with the parent's *thread* (PR_SET_PDEATHSIG).
    pids: list[int] = []

    def use() -> None:
        pids.extend(o.result() for o in engine.run([task("a", "pid")]))

    for _ in range(3):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        time.sleep(0.05)
    assert len(set(pids)) == 1


def test_a_worker_busy_in_c_code_dies_with_its_driver(tmp_path: Path) -> None:
    program = (
        "import sys; from tests.engines.test_processes import *;"
        " list(LocalEngine(1).run("
        "[here('a', 'sleep_in_c_holding_the_interpreter', sys.argv[1])]))"
    )
    pid = kill_a_driver(program, tmp_path, signal.SIGKILL)
    assert wait_until(lambda: is_gone(pid), 2)


def test_ctrl_c_in_the_driver_stops_the_workers_at_once(tmp_path: Path) -> None:
    program = (
        # A suite that runs in the background is deaf to Ctrl-C, and so would its children be.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        " from tests.engines.test_processes import *;"
        " list(LocalEngine(1).run([task('a', 'beat', sys.argv[1])]))"
    )
    assert is_gone(kill_a_driver(program, tmp_path, signal.SIGINT, seconds=5))


def kill_a_driver(program: str, folder: Path, number: signal.Signals, seconds: float = 10) -> int:
    """Run a driver until its task runs, send it a signal that ends it within so many seconds; the
    worker's pid."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    driver = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: any(folder.glob("beat-*")))
    finally:
        driver.send_signal(number)
        driver.wait(seconds)
    return int(next(folder.glob("beat-*")).name.split("-")[1])


def test_a_driver_without_a_main_guard_works(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from bowerbird.core.engine import Task\n"
        "from bowerbird.engines import *\n"
        "engine = open_engine(EngineKind.PROCESSES, workers=2)\n"
        "print([o.result() for o in engine.run([Task('a', 'operator:add', (1, 2))])])\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    said = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert said.stdout == "[3]\n", said.stderr
    assert said.stderr == ""


def test_a_task_that_ignores_sigterm_is_stopped_within_a_second(
    engine: LocalEngine, tmp_path: Path
) -> None:
    running = engine.run([task("a", "add", 1), here("b", "ignore_sigterm", str(tmp_path))])
    next(running)
    assert wait_until(lambda: any(tmp_path.glob("beat-*")))
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 1
    assert is_gone(int(next(tmp_path.glob("beat-*")).name.split("-")[1]))


def test_what_a_task_started_ends_with_its_worker(engine: LocalEngine) -> None:
    child = outcomes(engine, here("a", "leave_a_child_behind"))["a"].result()
    assert not is_gone(child)
    engine.close()
    assert wait_until(lambda: is_gone(child), 2)


@pytest.mark.parametrize(
    ("name", "said"),
    [("fork_a_child_and_die", "code 9"), ("close_everything", "code 1")],
)
def test_a_worker_that_is_lost_in_an_odd_way_is_lost(
    engine: LocalEngine, name: str, said: str
) -> None:
    odd = Task(key="a", call=f"{HERE}:{name}", tries=1)
    assert said in error_of(outcomes(engine, odd)["a"]).problem


def test_a_worker_killed_while_idle_costs_no_try(engine: LocalEngine) -> None:
    pid = outcomes(engine, task("a", "pid"))["a"].result()
    os.kill(pid, signal.SIGKILL)
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT  # all of its threads are gone; it is not buried
    assert wait_until(lambda: os.waitid(os.P_PID, pid, look) is not None)
    assert outcomes(engine, task("b", "add", 1, tries=1))["b"].result() == 1


def test_closing_an_engine_waits_for_the_workers_that_were_busy(tmp_path: Path) -> None:
    engine = LocalEngine(1)
    running = engine.run([here("a", "ignore_sigterm", str(tmp_path)), task("b", "add", 1)])
    ended: list[BaseException] = []

    def iterate() -> None:
        try:
            list(running)
        except CancelledError as error:
            ended.append(error)

    thread = threading.Thread(target=iterate)
    thread.start()
    assert wait_until(lambda: any(tmp_path.glob("beat-*")))
    engine.close()
    assert is_gone(int(next(tmp_path.glob("beat-*")).name.split("-")[1]))
    thread.join()
    assert len(ended) == 1


def test_a_task_over_its_memory_is_not_tried_again(engine: LocalEngine) -> None:
    got = outcomes(engine, task("a", "fill_memory", memory=200_000_000))["a"]
    assert type(got.error) is StepError
    assert got.tries == 1


@pytest.mark.slow
def test_a_worker_that_earlier_tasks_filled_is_replaced(engine: LocalEngine) -> None:
    one = LocalEngine(1)
    try:
        pid = outcomes(one, here("fill", "fill_and_keep"))["fill"].result()
        after = outcomes(one, task("a", "pid", memory=120_000_000))["a"].result()
    finally:
        one.close()
    assert after != pid


_kept: list[bytes] = []


def fill_and_keep() -> int:
    _kept.append(b"x" * 150_000_000)
    return os.getpid()


def test_a_task_of_two_cpus_takes_two_places(engine: LocalEngine, tmp_path: Path) -> None:
    tasks = [here(str(number), "together", str(tmp_path), str(number), cpus=2) for number in "abc"]
    assert {o.result() for o in engine.run(tasks)} == {1}


def test_a_task_that_asks_for_more_than_there_is_gets_all(engine: LocalEngine) -> None:
    greedy = Task(key="a", call="operator:add", args=(1, 2), resources=Resources(cpus=64))
    assert outcomes(engine, greedy)["a"].result() == 3


def test_a_class_of_the_script_that_is_run_is_named_as_the_reason(engine: LocalEngine) -> None:
    Unknown.__module__, was = "__main__", Unknown.__module__
    sys.modules["__main__"].Unknown = Unknown  # type: ignore[attr-defined]
    try:
        error = error_of(outcomes(engine, task("a", "add", Unknown(), 1))["a"])
    finally:
        Unknown.__module__ = was
        del sys.modules["__main__"].Unknown  # type: ignore[attr-defined]
    assert type(error) is FunctionError
    assert "arguments of task 'a'" in error.problem


def test_large_arguments_and_results_travel(engine: LocalEngine) -> None:
    data = os.urandom(20_000_000)
    asked = Task(key="a", call="operator:add", args=(data, b"!"))
    assert outcomes(engine, asked)["a"].result() == data + b"!"


def say_a_lot(folder: str) -> None:
    wait_until((Path(folder) / "go").exists)
    for line in range(1000):
        tell(str(line))
    (Path(folder) / "said").touch()


def test_events_that_nobody_asks_for_do_not_pile_up(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "EVENTS_KEPT", 20)
    said: list[Event] = []
    talkative = [task("a", "add", 1), here("b", "say_a_lot", str(tmp_path))]
    running = engine.run(talkative, on_event=said.append)
    next(running)
    (tmp_path / "go").touch()
    assert wait_until((tmp_path / "said").exists)
    time.sleep(0.2)  # nobody iterates while the last ones arrive
    list(running)
    assert 20 <= len(said) < 100
    assert "were not kept" in said[-1].text


def test_an_iterator_that_the_collector_closes_at_a_bad_time_is_closed(
    engine: LocalEngine, tmp_path: Path
) -> None:
    running = engine.run([task("a", "add", 1), task("b", "beat", str(tmp_path))])
    next(running)
    assert wait_until(lambda: beats(tmp_path) > 0)
    with engine._pool._lock:  # as when the collector runs inside a change of the pool
        running.close()
    assert is_still(tmp_path)
    assert outcomes(engine, task("a", "add", 1))["a"].result() == 1


@pytest.mark.parametrize("isolation", Isolation)
def test_a_users_folder_is_importable(isolation: Isolation, tmp_path: Path) -> None:
    name = f"shop_{isolation.value}"
    (tmp_path / f"{name}.py").write_text("def price():\n    return 7\n")
    engine = LocalEngine(1, isolation, paths=(str(tmp_path),))
    try:
        assert outcomes(engine, Task(key="a", call=f"{name}:price"))["a"].result() == 7
    finally:
        engine.close()
    assert str(tmp_path) not in sys.path


def test_importing_the_room_loads_nothing_heavy() -> None:
    program = (
        "import sys, bowerbird.engines, bowerbird.engines.local;"
        " print({'ray', 'multiprocessing', 'concurrent', 'torch'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "set()\n"
