"""The executor protocol on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from isthmus.engines.local import ATTEMPTS, R, T, called, worker_killed
from isthmus.errors import MissingExtra


class RayExecutor:
    """Tasks of the Ray that this process is connected to. Its nodes have Isthmus and see the files.

    A task whose worker was killed is begun anew, three times in all.
    """

    @classmethod
    def at(cls, address: str) -> RayExecutor:
        """Connect to the server at ``HOST:PORT``; empty: what ``ray.init()`` finds or starts.

        Raises:
            MissingExtra: ray is not installed.
        """
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("the engine ray://", "ray", "ray") from error
        if not ray.is_initialized():
            where = f"ray://{address}" if address else None
            ray.init(where, log_to_driver=False, include_dashboard=False)
        return cls()

    def map(self, fn: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of the items. Raises ``worker-killed`` for one that kills."""
        import ray
        from ray import exceptions as faults

        held = ray.put(fn)
        task = ray.remote(max_retries=ATTEMPTS - 1)(called)
        results = [task.remote(held, item) for item in items]
        try:
            while results:
                yield ray.get(results[0])
                del results[0]  # the cluster forgets it
        except faults.RayTaskError as error:
            raise error.cause from None
        except (faults.WorkerCrashedError, faults.OutOfMemoryError) as killed:
            raise worker_killed(f"a worker of Ray was ended ({type(killed).__name__})") from None
        finally:
            if results:  # one that is done and cancelled as well may end this process (Ray 2.60)
                _, left = ray.wait(results, num_returns=len(results), timeout=0)
                for result in left:
                    ray.cancel(result)
