"""The contract of an engine, as tests: every engine runs them, ours and outsiders'.

::

    class TestMyEngine(EngineConformance):
        opens = "acme.engines:open_my_engine"     # -> an Engine with two workers
        gaps = {"test_what_it_cannot": "never: reason"}

A gap is expected to fail: one that passes turns the suite red, so that the list stays true. A gap
whose test would take the test process down (a task that kills its worker, where the worker is this
process) is not run at all.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import pytest

from bowerbird.core.engine import Engine, Event, Outcome, Resources, Setup, Task
from bowerbird.core.errors import (
    BowerbirdError,
    CancelledError,
    FunctionError,
    LostWorkerError,
    SpecError,
    StepError,
    UserError,
)
from bowerbird.engines.calls import named

TASKS = "bowerbird.testing.engine_tasks"
WORKERS = 2

Test = TypeVar("Test", bound=Callable[..., None])


def deadly(test: Test) -> Test:
    """This test ends the process that its task runs in."""
    test.deadly = True  # type: ignore[attr-defined]
    return test


def task(key: str, name: str, *args: Any, tries: int = 3, memory: int | None = None) -> Task:
    """A task that calls one of `engine_tasks`."""
    resources = Resources(memory_bytes=memory)
    return Task(key=key, call=f"{TASKS}:{name}", args=args, tries=tries, resources=resources)


def outcomes(engine: Engine, *tasks: Task, **options: Any) -> dict[str, Outcome]:
    """Run to the end."""
    return {outcome.key: outcome for outcome in engine.run(tasks, **options)}


def error_of(outcome: Outcome) -> BowerbirdError:
    assert outcome.error is not None, outcome
    return outcome.error


def beats(folder: Path) -> int:
    """How much the `beat` tasks have written."""
    return sum(path.stat().st_size for path in folder.glob("beat-*"))


def wait_until(true: Callable[[], bool], seconds: float = 15.0) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def is_still(folder: Path) -> bool:
    """Does no `beat` task write any more, a second from now at the latest?"""

    def quiet() -> bool:
        before = beats(folder)
        time.sleep(0.1)
        return beats(folder) == before

    return wait_until(quiet, 1.0)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with contextlib.suppress(OSError, IndexError):
        # Ended, and not yet buried by whoever is its parent now.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


class EngineConformance:
    """Subclass it, name what opens your engine, declare your gaps."""

    opens: ClassVar[str]
    """``"module:name"`` of a function without arguments: an engine of two workers. It is called
    here, and in a driver of its own that a test kills."""

    gaps: ClassVar[dict[str, str]] = {}
    """Test name -> ``"never: why"`` or ``"notyet: what is missing"``."""

    in_flight: ClassVar[int] = 8
    """How many tasks the engine may have taken without having handed out their outcomes."""

    driver_environment: ClassVar[dict[str, str]] = {}
    """Set for the driver that a test kills."""

    _shared: ClassVar[Engine | None] = None

    @pytest.fixture(autouse=True)
    def _declared_gap(self, request: pytest.FixtureRequest) -> None:
        unknown = [name for name in self.gaps if not hasattr(self, name)]
        assert not unknown, f"gaps that name no test: {unknown}"
        why = self.gaps.get(request.node.originalname)
        if why is None:
            return
        assert why.startswith(("never: ", "notyet: ")), why
        if hasattr(request.function, "deadly"):
            pytest.skip(why)
        request.node.add_marker(pytest.mark.xfail(reason=why, strict=True))

    @pytest.fixture(name="engine")
    def _engine(self) -> Engine:
        """One engine for all tests of a class; override the fixture where that does not do."""
        shared = type(self)._shared
        if shared is None:
            shared = type(self)._shared = self.fresh()
        return shared

    @classmethod
    def teardown_class(cls) -> None:
        if cls._shared is not None:
            cls._shared.close()
            cls._shared = None

    @classmethod
    def fresh(cls) -> Engine:
        """An engine for a test that closes it."""
        return cast("Engine", named(cls.opens)())

    # Outcomes.

    def test_every_task_has_one_outcome(self, engine: Engine) -> None:
        tasks = [task(str(number), "add", number, 1) for number in range(30)]
        got = list(engine.run(tasks))
        assert sorted(outcome.key for outcome in got) == sorted(each.key for each in tasks)
        assert {o.key: o.result() for o in got} == {str(n): n + 1 for n in range(30)}

    def test_no_tasks_have_no_outcomes(self, engine: Engine) -> None:
        assert list(engine.run([])) == []

    def test_keyword_arguments_arrive(self, engine: Engine) -> None:
        asked = Task(key="a", call=f"{TASKS}:add", args=(1,), kwargs={"two": 2})
        assert outcomes(engine, asked)["a"].result() == 3

    def test_a_nested_name_is_found(self, engine: Engine) -> None:
        assert outcomes(engine, task("a", "Nested.double", 4))["a"].result() == 8

    def test_outcomes_come_as_tasks_end(self, engine: Engine) -> None:
        list(engine.run([task(str(n), "sleep", 0.05) for n in range(WORKERS)]))  # warm
        keys = [o.key for o in engine.run([task("slow", "sleep", 0.5), task("quick", "add", 1)])]
        assert keys == ["quick", "slow"]

    def test_usage_is_measured(self, engine: Engine) -> None:
        got = outcomes(engine, task("sleep", "sleep", 0.2), task("spin", "spin", 0.2))
        slept, spun = got["sleep"].usage, got["spin"].usage
        assert slept is not None
        assert spun is not None
        assert 0.2 <= slept.seconds < 2
        assert slept.cpu_seconds < 0.1
        assert spun.cpu_seconds >= 0.15
        assert slept.peak_bytes > 1_000_000

    def test_a_tasks_peak_is_its_own(self, engine: Engine) -> None:
        size = 200_000_000
        tasks = (task(name, call, size) for name, call in (("hold", "hold"), ("none", "add")))
        got = {}
        for each in tasks:  # one after the other, so that the second may get the first's worker
            got.update(outcomes(engine, each))
        held, idle = got["hold"].usage, got["none"].usage
        assert held is not None
        assert idle is not None
        assert held.peak_bytes > size > idle.peak_bytes

    # Errors.

    def test_an_error_is_an_outcome_and_the_others_go_on(self, engine: Engine) -> None:
        got = outcomes(engine, task("bad", "raise_value_error"), task("good", "add", 1))
        assert got["good"].result() == 1
        assert got["bad"].tries == 1
        with pytest.raises(StepError, match="ValueError: no such luck"):
            got["bad"].result()

    def test_an_error_brings_its_traceback_as_a_note(self, engine: Engine) -> None:
        error = error_of(outcomes(engine, task("bad", "raise_value_error"))["bad"])
        assert "in raise_value_error" in "\n".join(error.__notes__)
        assert "Traceback" not in str(error)

    def test_an_error_of_ours_travels_whole(self, engine: Engine) -> None:
        error = error_of(outcomes(engine, task("bad", "raise_ours"))["bad"])
        assert type(error) is SpecError
        assert (error.problem, error.where) == ("a bad width", "specs/a.yaml")
        assert (error.expected, error.fix) == ("a number", "width: 3")

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("raise_unpicklable", "UnpicklableError: locked"),
            ("raise_one_way", "OneWayError: there not back"),
        ],
    )
    def test_an_error_that_cannot_travel_is_told(
        self, engine: Engine, name: str, said: str
    ) -> None:
        error = error_of(outcomes(engine, task("bad", name))["bad"])
        assert type(error) is StepError
        assert error.problem == said

    def test_an_error_of_ours_that_cannot_travel_is_told(self, engine: Engine) -> None:
        error = error_of(outcomes(engine, task("bad", "raise_one_way_of_ours"))["bad"])
        assert type(error) is StepError
        assert error.problem == "OneWayUserError: there, not back"

    def test_a_result_that_cannot_travel_is_an_error_that_names_the_task(
        self, engine: Engine
    ) -> None:
        got = outcomes(engine, task("odd", "return_unpicklable"), task("good", "add", 1))
        assert "'odd'" in error_of(got["odd"]).problem
        assert got["good"].result() == 1

    def test_an_argument_that_cannot_travel_is_an_error_that_names_the_task(
        self, engine: Engine
    ) -> None:
        got = outcomes(engine, task("odd", "add", threading.Lock(), 1), task("good", "add", 1))
        assert "the arguments of task 'odd'" in error_of(got["odd"]).problem
        assert got["good"].result() == 1

    @pytest.mark.parametrize(
        ("call", "reason"),
        [
            ("no_such_module:f", "No module named 'no_such_module'"),
            (f"{TASKS}:no_such_function", "no 'no_such_function' in"),
            (f"{TASKS}:not_callable", "cannot be called"),
            ("no_colon", "does not name a function"),
        ],
    )
    def test_a_function_that_is_not_there_is_named_with_the_reason(
        self, engine: Engine, call: str, reason: str
    ) -> None:
        error = error_of(outcomes(engine, Task(key="a", call=call))["a"])
        assert type(error) is FunctionError
        assert call in error.problem
        assert reason in error.problem

    def test_sys_exit_ends_the_task_and_not_the_worker(self, engine: Engine) -> None:
        got = outcomes(engine, task("exit", "leave_by_sys_exit"))["exit"]
        assert error_of(got).problem == "SystemExit: 3"
        assert got.tries == 1

    # Lost workers.

    @deadly
    def test_a_task_whose_worker_was_lost_is_tried_again(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        got = outcomes(engine, task("a", "die_at_first", str(tmp_path), "a"))["a"]
        assert got.result() == 2
        assert got.tries == 2

    @deadly
    def test_a_task_that_loses_every_worker_is_named_after_its_tries(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        asked = [task("a", "die_always", str(tmp_path), "a", tries=2), task("good", "add", 1)]
        got = outcomes(engine, *asked)
        error = error_of(got["a"])
        assert type(error) is LostWorkerError
        assert "'a'" in error.problem
        assert got["a"].tries == 2
        assert len(list(tmp_path.glob("a.*"))) == 2
        assert got["good"].result() == 1

    @deadly
    def test_a_worker_that_was_killed_is_told_with_a_hint_at_memory(self, engine: Engine) -> None:
        error = error_of(outcomes(engine, task("a", "die", tries=1))["a"])
        assert "memory" in str(error.fix)

    @deadly
    def test_a_worker_that_was_killed_is_told_with_its_signal(self, engine: Engine) -> None:
        error = error_of(outcomes(engine, task("a", "die", tries=1))["a"])
        assert "SIGKILL" in error.problem

    @deadly
    def test_a_worker_that_exited_is_told_with_its_code(self, engine: Engine) -> None:
        error = error_of(outcomes(engine, task("a", "exit_hard", 7, tries=1))["a"])
        assert type(error) is LostWorkerError
        assert "code 7" in error.problem

    @deadly
    def test_a_task_that_eats_memory_is_stopped(self, engine: Engine) -> None:
        eater = task("eater", "fill_memory", memory=600_000_000)
        got = outcomes(engine, eater, task("good", "add", 1))
        error = error_of(got["eater"])
        assert "'eater'" in error.problem
        assert "600 MB" in str(error)
        assert got["good"].result() == 1
        assert outcomes(engine, task("after", "add", 1))["after"].result() == 1

    # Events.

    def test_events_come_in_order_and_before_their_outcome(self, engine: Engine) -> None:
        said: list[Event | str] = []
        for outcome in engine.run([task("a", "say", 3)], on_event=said.append):
            said.append(outcome.key)  # noqa: PERF401 (`on_event` appends to it too)
        assert said == [
            *(Event(key="a", text=f"line {n}", done=n + 1, total=3) for n in range(3)),
            "a",
        ]

    def test_events_come_while_the_task_runs_in_the_thread_that_iterates(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        threads = []

        def hear(_: Event) -> None:
            threads.append(threading.current_thread())
            (tmp_path / "heard").touch()

        asked = task("a", "say_and_wait_for", str(tmp_path / "heard"))
        assert outcomes(engine, asked, on_event=hear)["a"].error is None
        assert threads == [threading.current_thread()]

    def test_what_is_printed_does_not_reach_the_drivers_standard_output(
        self, engine: Engine, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert outcomes(engine, task("a", "shout", "hello"))["a"].error is None
        assert "hello" not in capfd.readouterr().out

    # Set-up.

    def test_set_up_is_called_once_a_worker(self, engine: Engine, tmp_path: Path) -> None:
        setup = Setup(call=f"{TASKS}:set_up", args=(str(tmp_path), "model"))
        tasks = [task(str(number), "state") for number in range(12)]
        states = {o.result() for o in engine.run(tasks, setup=setup)}
        assert len(states) == len(list(tmp_path.iterdir())) <= WORKERS
        assert len({state.rpartition(".")[0] for state in states}) == len(states)

    def test_a_worker_is_never_used_for_another_set_up(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        for name in ("one", "two", "one"):
            setup = Setup(call=f"{TASKS}:set_up", args=(str(tmp_path), name))
            tasks = [task(str(number), "state") for number in range(4)]
            assert {o.result().split(".")[0] for o in engine.run(tasks, setup=setup)} == {name}
        assert outcomes(engine, task("a", "state"))["a"].result() is None

    def test_a_set_up_that_fails_fails_each_task(self, engine: Engine) -> None:
        setup = Setup(call=f"{TASKS}:set_up_badly")
        got = outcomes(engine, *(task(str(n), "state") for n in range(4)), setup=setup)
        assert {error_of(o).problem for o in got.values()} == {"ValueError: no model here"}

    # Gangs.

    def test_the_members_of_a_gang_run_at_the_same_time(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        names = [f"g{number}" for number in range(2 * WORKERS)]
        gangs = [names[:WORKERS], names[WORKERS:]]
        tasks = [task(name, "meet", str(tmp_path), name, gang) for gang in gangs for name in gang]
        got = outcomes(engine, *tasks, gang=WORKERS)
        assert {key: outcome.result() for key, outcome in got.items()} == dict.fromkeys(names, 1)

    def test_a_gang_larger_than_the_engine_is_refused(self, engine: Engine) -> None:
        with pytest.raises(UserError, match=f"gang of {WORKERS + 1}"):
            list(engine.run([task("a", "add", 1)], gang=WORKERS + 1))

    def test_tasks_that_make_no_whole_gang_are_refused(self, engine: Engine) -> None:
        with pytest.raises(UserError, match="no gang of"):
            list(engine.run([task("a", "add", 1)], gang=WORKERS))

    @deadly
    def test_a_gang_that_lost_a_member_is_started_again_whole(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        names = ["one", "two"]
        got = outcomes(
            engine,
            task("one", "meet", str(tmp_path), "one", names),
            task("two", "meet_dying_at_first", str(tmp_path), "two", names),
            gang=2,
        )
        assert {key: (o.result(), o.tries) for key, o in got.items()} == {
            "one": (2, 2),
            "two": (2, 2),
        }

    def test_a_gang_whose_member_fails_is_stopped(self, engine: Engine, tmp_path: Path) -> None:
        names = ["bad", "hanging"]
        started = time.monotonic()
        got = outcomes(
            engine,
            task("bad", "meet_and_raise", str(tmp_path), "bad", names),
            task("hanging", "meet_and_hang", str(tmp_path), "hanging", names),
            gang=2,
        )
        assert time.monotonic() - started < 10
        assert error_of(got["bad"]).problem == "ValueError: no such luck"
        assert "'bad'" in error_of(got["hanging"]).problem

    # Laziness, stopping, closing.

    def test_tasks_may_be_endless_and_few_are_taken(self, engine: Engine) -> None:
        taken = 0

        def endless() -> Iterator[Task]:
            nonlocal taken
            for number in itertools.count():
                taken += 1
                yield task(str(number), "add", number)

        running = engine.run(endless())
        for handed_out, _ in enumerate(itertools.islice(running, 50), start=1):
            assert taken <= handed_out + self.in_flight
        close(running)

    def test_an_error_of_the_one_who_makes_tasks_is_raised(self, engine: Engine) -> None:
        def broken() -> Iterator[Task]:
            yield task("a", "add", 1)
            raise KeyError("broken")

        with pytest.raises(KeyError, match="broken"):
            list(engine.run(broken()))
        assert outcomes(engine, task("a", "add", 1))["a"].result() == 1

    def test_closing_the_iterator_stops_tasks_in_flight(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        running = engine.run([task("first", "add", 1), task("beat", "beat", str(tmp_path))])
        assert next(running).key == "first"
        assert wait_until(lambda: beats(tmp_path) > 0)
        started = time.monotonic()
        close(running)
        assert time.monotonic() - started < 2
        assert is_still(tmp_path)

    def test_cancelling_stops_tasks_in_flight_within_a_second(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        cancel = threading.Event()
        raised_after = cancel_once_beating(engine, tmp_path, cancel)
        assert raised_after < 1.5
        assert is_still(tmp_path)
        assert outcomes(engine, task("after", "add", 1))["after"].result() == 1

    def test_cancelling_raises_within_a_second(self, engine: Engine, tmp_path: Path) -> None:
        assert cancel_once_beating(engine, tmp_path, threading.Event()) < 1.5

    def test_what_is_cancelled_before_it_starts_does_not_start(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        cancel = threading.Event()
        cancel.set()
        with pytest.raises(CancelledError):
            list(engine.run([task("beat", "beat", str(tmp_path))], cancel=cancel))
        assert beats(tmp_path) == 0

    def test_an_engine_that_was_closed_refuses(self) -> None:
        engine = self.fresh()
        assert outcomes(engine, task("a", "add", 1))["a"].result() == 1
        engine.close()
        engine.close()
        with pytest.raises(UserError, match="closed"):
            list(engine.run([task("a", "add", 1)]))

    def test_closing_an_engine_ends_its_workers(self) -> None:
        engine = self.fresh()
        pids = {o.result() for o in engine.run(task(str(n), "pid") for n in range(8))}
        engine.close()
        assert os.getpid() not in pids, "its workers are this process"
        assert wait_until(lambda: all(is_gone(pid) for pid in pids), 5)

    def test_closing_an_engine_ends_the_runs_that_are_open(self, tmp_path: Path) -> None:
        engine = self.fresh()

        def close_once_beating() -> None:
            wait_until(lambda: beats(tmp_path) > 0)
            engine.close()

        closer = threading.Thread(target=close_once_beating)
        closer.start()
        with pytest.raises(CancelledError):
            list(engine.run([task("beat", "beat", str(tmp_path))]))
        closer.join()

    # Several runs.

    def test_runs_in_several_threads_do_not_mix(self, engine: Engine) -> None:
        got: dict[int, list[int]] = {}

        def run(base: int) -> None:
            tasks = (task(str(n), "add", base, n) for n in range(20))
            got[base] = sorted(outcome.result() for outcome in engine.run(tasks))

        threads = [threading.Thread(target=run, args=(base,)) for base in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == {base: list(range(base, base + 20)) for base in (0, 100, 200)}

    def test_a_short_run_does_not_wait_for_a_long_one(self, engine: Engine) -> None:
        long = engine.run(task(str(n), "sleep", 0.05) for n in itertools.count())
        next(long)
        assert len(outcomes(engine, *(task(str(n), "sleep", 0.05) for n in range(4)))) == 4
        close(long)

    # The driver.

    def test_a_driver_that_dies_takes_its_workers_along(self, tmp_path: Path) -> None:
        program = (
            "import sys; from bowerbird.testing.engine_conformance import *;"
            " engine = named(sys.argv[1])();"
            " list(engine.run(task(str(n), 'beat', sys.argv[2]) for n in range(WORKERS)))"
        )
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            **self.driver_environment,
        }
        driver = subprocess.Popen(  # noqa: S603 (our own interpreter)
            [sys.executable, "-c", program, self.opens, str(tmp_path)], env=environment
        )
        try:
            beating = wait_until(lambda: len(list(tmp_path.glob("beat-*"))) == WORKERS, 30)
            assert beating, "the driver's tasks did not start"
        finally:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
        pids = [int(path.name.split("-")[1]) for path in tmp_path.glob("beat-*")]
        assert wait_until(lambda: all(is_gone(pid) for pid in pids), 10)


def close(running: Iterator[Outcome]) -> None:
    """Close an iterator, as leaving a loop for good does."""
    running.close()  # type: ignore[attr-defined]


def cancel_once_beating(engine: Engine, folder: Path, cancel: threading.Event) -> float:
    """Cancel a run once its task runs; how long until it raised?"""
    asked_at: list[float] = []

    def ask() -> None:
        wait_until(lambda: beats(folder) > 0)
        asked_at.append(time.monotonic())
        cancel.set()

    asker = threading.Thread(target=ask)
    asker.start()
    with pytest.raises(CancelledError):
        list(engine.run([task("beat", "beat", str(folder))], cancel=cancel))
    raised_at = time.monotonic()
    asker.join()
    return raised_at - asked_at[0]
