"""One local Ray for all tests of a process, as small as may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def local_ray(home: Path) -> Iterator[None]:
    """Two CPUs; workers begin with this process's environment, so with a home of the tests."""
    ray = pytest.importorskip("ray", reason="ray is not installed; make test-ray installs it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTIVE_SD_HOME", str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "300")  # a busy machine is no fault of ours
        patch.setenv("RAY_worker_niceness", "0")
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            log_to_driver=False,
            logging_level="ERROR",
        )
        yield
        ray.shutdown()
