"""Tasks that the conformance suite of engines runs: importable in any worker."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bowerbird.core.errors import SpecError
from bowerbird.core.inside import tell, worker_state

# A task that waits for something the suite does must not outlive a suite that failed.
_PATIENCE_SECONDS = 20.0


class Nested:
    """Holds a function, so that a nested name can be asked for."""

    @staticmethod
    def double(number: int) -> int:
        return 2 * number


class UnpicklableError(Exception):
    """Cannot be pickled: it carries a lock."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.lock = threading.Lock()


class OneWayError(Exception):
    """Pickles, and cannot be unpickled: `args` is not what its constructor takes."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


class OneWayUserError(SpecError):
    """An error of a user's own, made from ours, that pickles and cannot be unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (_never, ())


def _never() -> None:
    raise TypeError("this was not meant to come back")


not_callable = 7


def add(one: int, two: int = 0) -> int:
    return one + two


def pid() -> int:
    return os.getpid()


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def hold(size: int) -> int:
    return len(bytearray(os.urandom(1)) * size)


def fill_memory() -> None:
    held = []
    while True:
        held.append(b"x" * 10_000_000)
        time.sleep(0.001)


def raise_value_error() -> None:
    raise ValueError("no such luck")


def raise_ours() -> None:
    raise SpecError("a bad width", where="specs/a.yaml", expected="a number", fix="width: 3")


def raise_unpicklable() -> None:
    raise UnpicklableError("locked")


def raise_one_way() -> None:
    raise OneWayError("there", "not back")


def raise_one_way_of_ours() -> None:
    raise OneWayUserError("there, not back")


def return_unpicklable() -> Any:
    return threading.Lock()


def leave_by_sys_exit() -> None:
    sys.exit(3)


def shout(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (what the test is about)


def say(lines: int) -> int:
    for line in range(lines):
        tell(f"line {line}", done=line + 1, total=lines)
    return lines


def say_and_wait_for(path: str) -> None:
    """Ends only once somebody who heard it has made the file."""
    tell("here")
    _wait_for(Path(path))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_hard(code: int) -> None:
    os._exit(code)


def die_at_first(folder: str, name: str) -> int:
    """Die by SIGKILL at the first try; then tell how many tries there were."""
    tries = _count(Path(folder), name)
    if tries == 1:
        die()
    return tries


def die_always(folder: str, name: str) -> None:
    _count(Path(folder), name)
    die()


def beat(folder: str) -> None:
    """Append to a file, every 20 ms, as long as this task lives (10 seconds at most)."""
    with (Path(folder) / f"beat-{os.getpid()}-{threading.get_ident()}").open("a") as file:
        for _ in range(500):
            file.write(".")
            file.flush()
            time.sleep(0.02)


def meet(folder: str, name: str, others: list[str]) -> int:
    """Return once all the others are there too, which takes them running at the same time."""
    tries = _count(Path(folder), name)
    for other in others:
        _wait_for(Path(folder) / f"{other}.{tries}")
    return tries


def meet_dying_at_first(folder: str, name: str, others: list[str]) -> int:
    """`meet`, then die at the first try."""
    tries = meet(folder, name, others)
    if tries == 1:
        die()
    return tries


def meet_and_raise(folder: str, name: str, others: list[str]) -> None:
    meet(folder, name, others)
    raise_value_error()


def meet_and_hang(folder: str, name: str, others: list[str]) -> None:
    """As a member of a distributed training hangs when another has failed."""
    meet(folder, name, others)
    time.sleep(_PATIENCE_SECONDS)


def set_up(folder: str, name: str) -> str:
    """A set-up that counts its calls; the state it returns is this call's own name."""
    return f"{name}.{os.getpid()}.{threading.get_ident()}.{_count(Path(folder), name)}"


def set_up_badly() -> None:
    raise ValueError("no model here")


def state() -> Any:
    time.sleep(0.02)
    return worker_state()


def _count(folder: Path, name: str) -> int:
    """Which time this is, counted in files: workers share no memory."""
    for number in range(1, 1000):
        try:
            (folder / f"{name}.{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    raise AssertionError("called a thousand times")


def _wait_for(path: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"nobody made {path.name}")
        time.sleep(0.005)
