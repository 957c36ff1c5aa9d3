"""The engine of this machine is an engine, in threads and in processes."""

from __future__ import annotations

from typing import ClassVar

import pytest

from bowerbird.core.engine import Engine
from bowerbird.engines.local import Isolation, LocalEngine
from bowerbird.testing.engine_conformance import WORKERS, EngineConformance


def open_threads() -> Engine:
    return LocalEngine(WORKERS, Isolation.THREADS)


def open_processes() -> Engine:
    return LocalEngine(WORKERS, Isolation.PROCESSES)


SHARED = "never: a worker that is a thread dies with its process"
UNSTOPPABLE = "never: a thread cannot be stopped; its task is left to end, unheard"
UNPACKED = "never: nothing is pickled on the way to a thread"


class TestThreads(EngineConformance):
    opens = "tests.engines.test_local:open_threads"
    gaps: ClassVar[dict[str, str]] = {
        "test_a_tasks_peak_is_its_own": "never: memory is the process's",
        "test_a_result_that_cannot_travel_is_an_error_that_names_the_task": UNPACKED,
        "test_an_argument_that_cannot_travel_is_an_error_that_names_the_task": UNPACKED,
        "test_an_error_of_ours_that_cannot_travel_is_told": UNPACKED,
        "test_a_task_whose_worker_was_lost_is_tried_again": SHARED,
        "test_a_task_that_loses_every_worker_is_named_after_its_tries": SHARED,
        "test_a_worker_that_was_killed_is_told_with_a_hint_at_memory": SHARED,
        "test_a_worker_that_was_killed_is_told_with_its_signal": SHARED,
        "test_a_worker_that_exited_is_told_with_its_code": SHARED,
        "test_a_task_that_eats_memory_is_stopped": SHARED,
        "test_a_gang_that_lost_a_member_is_started_again_whole": SHARED,
        "test_closing_an_engine_ends_its_workers": SHARED,
        "test_what_is_printed_does_not_reach_the_drivers_standard_output": (
            "never: a thread prints where its process prints"
        ),
        "test_closing_the_iterator_stops_tasks_in_flight": UNSTOPPABLE,
        "test_cancelling_stops_tasks_in_flight_within_a_second": UNSTOPPABLE,
    }


@pytest.mark.slow
class TestProcesses(EngineConformance):
    opens = "tests.engines.test_local:open_processes"
