"""The executor protocol on a Dask cluster."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from isthmus.engines.local import R, T, called, worker_killed
from isthmus.errors import IsthmusError, MissingExtra

PATIENCE = 300.0
"""Seconds that a cluster may be without any worker."""
TRIM = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**30}
"""Dask's own setting gives memory back to the system after each block, which halves a fold."""


class DaskExecutor:
    """Tasks of a ``distributed.Client``. The workers have Isthmus and see the files.

    Dask gives the tasks of a killed worker to another one, four times at most. It does not replace
    one that is killed while it starts, so a cluster may be left without any.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    @classmethod
    def at(cls, address: str) -> DaskExecutor:
        """Connect to the scheduler at ``HOST:PORT``; empty: start workers on this machine.

        Raises:
            MissingExtra: distributed is not installed.
        """
        try:
            from dask import config
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise MissingExtra("the engine dask://", "distributed", "dask") from error
        where: Any = address if "://" in address else f"tcp://{address}"
        if not address:
            with config.set(TRIM):
                where = LocalCluster(threads_per_worker=1, dashboard_address=":0")
        return cls(Client(where, set_as_default=False))

    def map(self, fn: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of the items.

        Raises:
            IsthmusError: ``worker-killed`` for an item that kills, ``no-workers`` where the cluster
                had none for :data:`PATIENCE` seconds.
        """
        from distributed import KilledWorker, protocol

        # a task, not scattered data: what a killed worker held is made anew
        held = self.client.submit(pickle.loads, protocol.pickle.dumps(fn), pure=False)
        futures = self.client.map(called, [held] * len(items), items, pure=False)
        try:
            while futures:
                yield self._result(futures[0])
                del futures[0]  # the cluster forgets it
        except KilledWorker as killed:
            raise worker_killed(str(killed).splitlines()[0].rstrip(".")) from None
        finally:
            self.client.cancel(futures)

    def _result(self, future: Any) -> Any:
        last = time.monotonic()  # when there was a worker
        while True:
            try:
                return future.result(timeout=PATIENCE / 10)
            except TimeoutError:
                if future.done():  # just now, or the error is the function's own
                    return future.result()
            if self.client.nthreads():
                last = time.monotonic()
            elif time.monotonic() - last > PATIENCE:
                raise IsthmusError(
                    "no-workers",
                    f"the cluster at {self.client.scheduler.address} has had no worker for "
                    f"{PATIENCE:g} seconds; start workers and begin again",
                )
