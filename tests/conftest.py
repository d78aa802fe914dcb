"""Fixtures that every test may use: one Ray cluster a session, and the folder of public data sets.

The environment is set here, before anything imports torch, Ray or MLflow, and reaches the processes that tests start.
"""

from __future__ import annotations

import gc
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

PROJECT = Path(__file__).resolve().parent.parent

# One thread, so that sums are taken in the same order on every machine and in every process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# Ray accepts `disabled` and `token`, and reads any other word as `disabled`. With the token in the environment nobody
# else on the machine can run code in the tests' cluster, and no token file is written to the home folder.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
# Keeps every port on loopback, on Linux too. Asking `ray.init` for 127.0.0.1 does not: it is resolved to the machine's
# outer address, and all ports listen everywhere.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Left to itself Ray gives its workers what other processes leave of the CPU: on a busy machine they start in minutes.
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.pop("RAY_ADDRESS", None)

# Tests never write to the tracking server of whoever runs them.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
    os.environ.pop(variable, None)

# A test's time says more about the machine than about the code; on CI the examples are the same every time.
settings.register_profile("rlgan", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("rlgan")


# Thousands of collected tests are a million objects that live to the end. The garbage collector is not to go through
# them again and again: to collect them took 61 s with it and takes 46 s without.
gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what tests make, and not at the tests."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the Ray session, so that no test can start Ray in the fast loop unnoticed."""
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and torch sees none")


@pytest.fixture(scope="session", autouse=True)
def shared_folder_stays_bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test leaves a file where another could find it: tests write into the folders that they are given."""
    yield
    entries = tmp_path_factory.getbasetemp().iterdir()
    left = sorted(
        path.name for path in entries if path.is_file() and path.name != ".lock"
    )  # pytest locks with the latter
    assert not left, f"tests wrote {left} into the folder that all tests share; write into tmp_path"


@pytest.fixture(scope="session", autouse=True)
def networks_of_images_are_kept_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Networks that tests train are not kept among the user's; all processes of a session share them."""
    base = tmp_path_factory.getbasetemp()
    os.environ["RLGAN_CACHE"] = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache")


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray cluster of two CPUs on loopback, started once; one that is already running is used and left alone."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=150 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="WARNING",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of public data sets: RLGAN_DATA, or `shared/data` beside the project; skips where there is none."""
    folder = Path(os.environ.get("RLGAN_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; RLGAN_DATA names another folder")
    return folder
