"""The executor protocol and its default: processes of this machine.

What travels is a partition (file names and row numbers), never rows; what comes back is a small
record that merges. A cluster engine is an adapter with the same one method. All of them do an item
anew whose worker was killed, so ``fn`` must not mind being begun twice.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
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
ATTEMPTS = 3
"""How often an item is begun whose worker is killed, each time by a fresh one."""
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")
_LOG = logging.getLogger("isthmus.engines")


class Executor(Protocol):
    """``map(fn, items)`` in order; items are small, and what ``fn`` holds is sent once a worker.

    ``fn`` and items can be pickled. Their errors are raised here as they are there.
    """

    def map(self, fn: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of the items, as they become available."""
        ...


def called(fn: Callable[[T], R], item: T) -> R:
    """``fn(item)``: what clusters run, which hold ``fn`` and are sent items."""
    return fn(item)


class SerialExecutor:
    """One after another in this process: for one partition, tests and debuggers."""

    def map(self, fn: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Plain ``map``."""
        return map(fn, items)


class ProcessExecutor:
    """Fresh processes, each with its share of the cores for BLAS.

    They import the module of the function, and not the program that is running: scripts without a
    main guard, notebooks, standard input and daemonic processes may use it. The variables of the
    environment are theirs alone. Where one is killed, a fresh one does what it was doing.

    Args:
        workers: processes; None takes one per core.

    Raises:
        IsthmusError: a worker crashed, or the same item was being done when three were killed.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1

    def map(self, fn: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Run ``fn`` over items in processes that start fresh (no forked locks or threads)."""
        workers = min(self.workers, len(items))
        if workers > 1 and getattr(getattr(fn, "func", fn), "__module__", None) == "__main__":
            _LOG.info("a function of the program itself is called in this process alone")
            workers = 1
        if workers <= 1 or not sys.executable:
            yield from map(fn, items)
            return
        with _Crew(workers) as crew, ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(crew.call, fn, item) for item in items]
            try:
                for future in futures:
                    yield future.result()
            finally:
                crew.dismiss()  # so that no thread waits for a worker
                pool.shutdown(wait=False, cancel_futures=True)


class _Crew:
    """Workers of one map, each doing one item at a time; who is killed is replaced."""

    def __init__(self, workers: int) -> None:
        self.threads = str(max(1, (os.cpu_count() or 1) // workers))
        self.free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self.stack, self.lock, self.dismissed = ExitStack(), threading.Lock(), False
        self.workers: list[_Worker] = []
        with self.stack:
            for _ in range(workers):
                self.free.put(self._fresh())
            self.stack = self.stack.pop_all()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()
        self.stack.close()

    def _fresh(self) -> _Worker:
        with self.lock:
            if self.dismissed:
                raise _Killed("nobody waits for an answer any more")
            self.workers.append(self.stack.enter_context(_Worker(self.threads)))
            return self.workers[-1]

    def dismiss(self) -> None:
        """End all of them; no more are started."""
        with self.lock:
            self.dismissed = True
            for worker in self.workers:
                worker.process.kill()

    def call(self, fn: Callable[[T], R], item: T) -> R:
        """What ``fn`` gives, by whichever worker is free."""
        worker = self.free.get()
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return worker(fn, item)
                except _Killed as killed:
                    worker, why = self._fresh(), str(killed)
                    if attempt < ATTEMPTS:
                        _LOG.warning("%s; what it was doing is done by a fresh one", why)
            raise worker_killed(f"{why}, {ATTEMPTS} times with the same part of the rows")
        finally:
            self.free.put(worker)


def worker_killed(how: str) -> IsthmusError:
    """The refusal of a part that no worker survives."""
    return IsthmusError(
        "worker-killed", f"{how}; give workers more memory, or let fewer of them work at once"
    )


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
        if code >= 0:
            return IsthmusError(
                "worker-crashed",
                f"a worker process ended ({how}); what it is asked must be importable there, and "
                "the program itself is not",
            )
        why = ", most likely because memory ran out" if how == "SIGKILL" else ""
        return _Killed(f"a worker process was ended ({how}){why}")
