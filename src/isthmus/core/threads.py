"""Own threads over blocks, each with one BLAS thread.

Waiting BLAS threads spin: on a busy machine they cost more than they bring, while a thread that
works on a block of its own waits for nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def blas_threads() -> int:
    """Threads that BLAS may use now: the cores, or fewer by OPENBLAS_NUM_THREADS and the like."""
    from threadpoolctl import threadpool_info

    found = [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]
    return max(found, default=1)


@contextmanager
def own_threads(most: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of at most ``most`` threads, and no more than BLAS may use; BLAS itself uses one."""
    from threadpoolctl import threadpool_limits

    workers = min(most, blas_threads())
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max(workers, 1)) as pool:
        yield pool
