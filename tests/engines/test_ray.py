"""Ray is an engine too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import ClassVar

import pytest

from bowerbird.core.engine import Engine
from bowerbird.testing.engine_conformance import WORKERS, EngineConformance

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
