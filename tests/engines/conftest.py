"""Real clusters on this machine, two workers each, started once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.engines import DaskExecutor, Executor, RayExecutor
from isthmus.engines.dask import TRIM


@pytest.fixture(scope="session")
def dask_workers() -> Iterator[Any]:
    """A scheduler with two workers that nannies watch."""
    distributed = pytest.importorskip("distributed")
    import dask

    with (
        dask.config.set(TRIM),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def dask_cluster(dask_workers: Any) -> str:
    """The address of a scheduler whose two workers have started.

    A nanny whose worker is killed while it starts gives up, and the cluster closes one whose worker
    is away when it looks; without both workers every later test would wait for ever.
    """
    until = time.monotonic() + 60
    while [str(n.process and n.process.status) for n in dask_workers.workers.values()] != (
        ["Status.running"] * 2
    ):
        assert time.monotonic() < until, "the two workers of Dask have not started"
        dask_workers.scale(2)  # again and again: one may be closed in the meantime
        time.sleep(0.2)
    return str(dask_workers.scheduler_address.removeprefix("tcp://"))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """This process is connected to a Ray of two workers."""
    ray = pytest.importorskip("ray")
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


@pytest.fixture(params=["dask", "ray"])
def cluster(request: pytest.FixtureRequest) -> Executor:
    """An engine on a real cluster."""
    started = request.getfixturevalue(f"{request.param}_cluster")
    return DaskExecutor.at(started) if request.param == "dask" else RayExecutor.at("")
