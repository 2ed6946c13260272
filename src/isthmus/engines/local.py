"""The executor protocol and its default: processes of this machine.

What travels is a partition (file names and row numbers), never rows; what comes back is a small
record that merges. A cluster engine is an adapter with the same one method.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, Protocol, TypeVar

from isthmus.errors import IsthmusError

T = TypeVar("T")
R = TypeVar("R")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PROGRAM = """
import pickle, signal, sys, os
signal.signal(signal.SIGINT, signal.SIG_IGN)
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
sys.path[:] = pickle.load(sys.stdin.buffer)
while True:
    try:
        call, item = pickle.load(sys.stdin.buffer)
    except EOFError:
        os._exit(0)
    try:
        answer = call(item), None
    except Exception as error:
        answer = None, error
    pickle.dump(answer, answers)
    answers.flush()
"""
"""What a worker runs. It ends when its pipe does, and so with the process that started it."""
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")
_LOG = logging.getLogger("isthmus.engines")


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
    """Fresh processes, each with its share of the cores for BLAS.

    They import the module of the function, and not the program that is running: scripts without a
    main guard, notebooks, standard input and daemonic processes may use it. The variables of the
    environment are theirs alone. What a worker was doing when it was killed is done here.

    Args:
        workers: processes; None takes one per core.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1

    def map(self, fn: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Run ``fn`` over items in processes that start fresh (no forked locks or threads)."""
        workers = min(self.workers, len(items))
        if workers > 1 and getattr(fn, "__module__", None) == "__main__":
            _LOG.info("a function of the program itself is called in this process alone")
            workers = 1
        if workers <= 1 or not sys.executable:
            yield from map(fn, items)
            return
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

        def call(item: T) -> R:
            worker = free.get()
            try:
                return worker(fn, item)
            finally:
                free.put(worker)

        with ExitStack() as stack:
            crew = [stack.enter_context(_Worker(threads)) for _ in range(workers)]
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            for worker in crew:
                stack.callback(worker.process.kill)  # first of all, so that no thread waits for it
                free.put(worker)
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            for item, future in [(item, pool.submit(call, item)) for item in items]:
                try:
                    yield future.result()
                except _Killed as killed:
                    _LOG.warning("%s", killed)
                    yield fn(item)


class _Killed(Exception):
    """A worker is gone, and its item not done."""


class _Worker:
    """One process, which answers calls one after another."""

    def __init__(self, threads: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM],  # -P: no module of the working folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | dict.fromkeys(THREAD_VARIABLES, threads),
        )
        self._send(sys.path)

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def __call__(self, fn: Callable[[Any], Any], item: Any) -> Any:
        """What ``fn`` gives or raises there."""
        try:
            self._send((fn, item))
            found, error = pickle.load(self.process.stdout)  # type: ignore[arg-type]
        except (EOFError, OSError):
            raise self._ended() from None
        if error is not None:
            raise error
        return found

    def _send(self, what: Any) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # then there is no answer either
            pickle.dump(what, self.process.stdin)
            self.process.stdin.flush()

    def _ended(self) -> Exception:
        code = self.process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if how in CRASHES:
            return IsthmusError(
                "worker-crashed",
                f"a worker process crashed ({how}), which is a fault of a library that it uses; "
                "report it with the versions of NumPy and PyArrow",
            )
        why = ", most likely because memory ran out" if how == "SIGKILL" else ""
        return _Killed(
            f"a worker process was ended ({how}){why}; what the others have done is kept, and its "
            "part is done in this process"
        )
