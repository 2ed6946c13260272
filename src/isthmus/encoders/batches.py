"""Lists of inputs, and work on the next of them while the last is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from isthmus.core.checks import at_least

T = TypeVar("T")
R = TypeVar("R")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut any iterable into lists of ``size``, lazily: never more than one list is held."""
    at_least(size, 1, "batch_size")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def ahead(
    function: Callable[[T], R], items: Iterable[T], threads: int = 1
) -> Generator[tuple[T, R], None, None]:
    """Yield (item, function(item)) in order, the function ``threads`` items ahead in as many.

    While a result is used, ``threads`` further items are at work or done; while one is awaited,
    one more is ready for the first thread that is free. The items themselves are taken in the
    caller's thread.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="isthmus-images")
    waiting: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # of a loop that was left early
