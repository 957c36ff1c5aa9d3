"""Ray is an engine too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from bowerbird.core.engine import Engine
from bowerbird.testing.engine_conformance import (
    WORKERS,
    EngineConformance,
    beats,
    wait_until,
)

pytestmark = pytest.mark.slow

# Where the test session's Ray is, for the driver that a test kills.
ADDRESS = "BOWERBIRD_TEST_RAY_ADDRESS"


def open_ray() -> Engine:
    from bowerbird.engines.ray import RayEngine

    return RayEngine(os.environ.get(ADDRESS), WORKERS)


@pytest.fixture(scope="session")
def ray_of_the_session() -> Iterator[None]:
    """Ray, started once: engines that open meanwhile share it."""
    import ray

    ray.init(
        num_cpus=4 * WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    os.environ[ADDRESS] = ray.get_runtime_context().gcs_address
    yield
    del os.environ[ADDRESS]
    ray.shutdown()


@pytest.mark.usefixtures("ray_of_the_session")
class TestRay(EngineConformance):
    opens = "tests.engines.test_ray:open_ray"
    gaps: ClassVar[dict[str, str]] = {
        "test_a_worker_that_was_killed_is_told_with_its_signal": "never: nor the signal",
        "test_a_worker_that_exited_is_told_with_its_code": "never: Ray does not tell the code",
    }


@pytest.mark.usefixtures("ray_of_the_session")
def test_a_users_folder_is_sent_to_the_cluster(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "store").mkdir(parents=True)
    (project / "store" / "prices.py").write_text("def of(what): return what * 2\n")
    (project / "flat.py").write_text("from store.prices import of\n")
    program = (
        "import sys, shutil; from bowerbird.core.engine import Task;"
        " from bowerbird.engines.ray import RayEngine;"
        " engine = RayEngine(sys.argv[1], 1, paths=(sys.argv[2],));"
        " shutil.rmtree(sys.argv[2]);"  # the cluster's nodes do not have it either
        " print([o.result() for o in engine.run([Task('a', 'flat:of', (4,))])]);"
        " engine.close()"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, os.environ[ADDRESS], str(project)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.stdout == "[8]\n", said.stderr


def test_ray_started_for_a_driver_dies_with_it_and_says_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, ray; from bowerbird.testing.engine_conformance import *;"
        " from bowerbird.engines.ray import *;"
        " engine = RayEngine(None, 2);"
        " outcomes(engine, task('a', 'die', tries=1));"
        " list(engine.run([task('b', 'beat', sys.argv[1])]))"
    )
    environment = {name: each for name, each in os.environ.items() if name != "RAY_ADDRESS"}
    driver = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**environment, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        stdout=subprocess.PIPE,
    )
    try:
        assert wait_until(lambda: beats(tmp_path) > 0, 30)
        family = psutil.Process(driver.pid).children(recursive=True)
        # Ray's two agents wait a minute for its control store to come back, then leave.
        family = [process for process in family if "Agent" not in process.name()]
    finally:
        driver.kill()
        said, _ = driver.communicate()
    assert said == b""
    gone, left = psutil.wait_procs(family, timeout=20)
    assert gone
    assert left == []


def test_what_ray_says_of_a_lost_worker_is_cut_to_the_reason() -> None:
    from bowerbird.engines.ray import gist

    page = (
        "The actor died.\n\tclass_name: Seat Worker exit detail: Worker unexpectedly exits. End of"
        " file. Some common causes include: (1) the process was killed by the OOM killer"
    )
    assert gist(page) == "Worker unexpectedly exits. End of file."
    assert gist("The node died.") == "The node died."
