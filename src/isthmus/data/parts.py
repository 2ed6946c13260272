"""Rows cut into parts, each of which an engine's worker reads and works through by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from isthmus.engines import Executor, open_engine
from isthmus.engines.opening import Engine

P = TypeVar("P")
R = TypeVar("R")


def cut(rows: int, size: int) -> list[tuple[int, int]]:
    """(start, stop) of consecutive parts of ``size`` rows; the last may be shorter."""
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


def over_parts(
    work: Callable[[P], R], parts: Sequence[P], engine: Engine, usual: Executor | None = None
) -> Iterator[R]:
    """What ``work`` gives for each part, in their order, by the engine or else by the usual one."""
    by = open_engine(engine) or usual
    return map(work, parts) if by is None else by.map(work, parts)
