"""Own threads over blocks, each with one BLAS thread.

Waiting BLAS threads spin: on a busy machine they cost more than they bring, while a thread that
works on a block of its own waits for nobody.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

MOST = 4
"""Threads of :func:`over_blocks`: more hold more blocks than caches do."""

_allowed: ContextVar[int | None] = ContextVar("threads that BLAS was allowed", default=None)


def blas_threads() -> int:
    """Threads that BLAS may use now: the cores, or fewer by OPENBLAS_NUM_THREADS and the like.

    Within :func:`one_blas_thread`: those that it might use outside. A process may hold several
    BLAS libraries, and one that another package brought along takes no note of what was said to
    NumPy's. So the least that any of them may use holds.
    """
    allowed = _allowed.get()
    if allowed is not None:
        return allowed
    found = _libraries(len(sys.modules)).info()
    return min((lib["num_threads"] for lib in found if lib["user_api"] == "blas"), default=1)


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """The BLAS libraries of this process, looked for again where more ``modules`` are loaded: one
    look takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS uses one thread within, and what was set comes back. May be nested."""
    if _allowed.get() is not None:
        yield
        return
    token = _allowed.set(blas_threads())
    try:
        with _libraries(len(sys.modules)).limit(limits=1, user_api="blas"):
            yield
    finally:
        _allowed.reset(token)


@contextmanager
def own_threads(most: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of at most ``most`` threads, and no more than BLAS may use; BLAS itself uses one."""
    with one_blas_thread(), ThreadPoolExecutor(max(min(most, blas_threads()), 1)) as pool:
        yield pool


def over_blocks(work: Callable[[slice], None], rows: int, step: int) -> None:
    """``work`` on consecutive slices of at most ``step`` of ``rows`` rows, in several threads.

    What one slice gives must not depend on others. The first error is raised.
    """
    parts = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
    with one_blas_thread():
        if min(len(parts), blas_threads()) < 2:
            for part in parts:
                work(part)
            return
        with own_threads(min(MOST, len(parts))) as pool:
            list(pool.map(work, parts))


class Spare(threading.local):
    """Float32 memory that each thread uses again: what is fresh is cleared by the system first."""

    def __init__(self) -> None:
        self.held = np.empty(0, np.float32)

    def of(self, rows: int, columns: int) -> np.ndarray:
        """(rows, columns) of any numbers, until the same thread asks for the next."""
        if len(self.held) < rows * columns:
            self.held = np.empty(rows * columns, np.float32)
        return self.held[: rows * columns].reshape(rows, columns)
