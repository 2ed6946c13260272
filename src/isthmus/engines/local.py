"""The executor protocol and its default: processes of the standard library.

What travels is a partition (file names and row numbers), never rows; what comes back is a small
record that merges. A cluster engine is an adapter with the same one method.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Executor(Protocol):
    """``map(fn, items)`` in order; ``fn`` and items can be pickled and are small."""

    def map(self, fn: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of the items, as they become available."""
        ...


class SerialExecutor:
    """One after another in this process: for one partition, tests and debuggers."""

    def map(self, fn: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Plain ``map``."""
        return map(fn, items)


class ProcessExecutor:
    """A pool of fresh processes, each with its share of the cores for BLAS.

    Args:
        workers: processes; None takes one per core.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1

    def map(self, fn: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Run ``fn`` over items in processes that start fresh (no forked locks or threads)."""
        if len(items) <= 1 or self.workers == 1:
            yield from map(fn, items)
            return
        workers = min(self.workers, len(items))
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        saved = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, threads))
        try:
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                yield from pool.map(fn, items)
        finally:
            _restore(saved)


def _restore(saved: dict[str, Any]) -> None:
    for name, value in saved.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
