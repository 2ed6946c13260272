"""Rows on disk -> stats and moments, one partition at a time, through an engine.

A partition is a range of row numbers of one or two inputs, so that pairs whose shards are cut
differently still fold. Files are opened where they are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from isthmus.core.arrays import to_numpy, unit, working
from isthmus.core.threads import own_threads
from isthmus.data import Rows, open_rows
from isthmus.data.chunk_sums import SUBCHUNK
from isthmus.data.moments import Fold, Moments, PairMoments
from isthmus.data.parts import Engine, over_parts
from isthmus.data.row_checks import check_count, checked_rows
from isthmus.data.row_stats import RowStats
from isthmus.engines import ProcessExecutor

BLOCK_ROWS = 8192
LANES = 2
PARTITION_ROWS = 500_000
PRECISE_ROWS = 100_000
SERIAL_ROWS = 20_000
"""Rows that are summarised in less time than processes take to start."""


@dataclass(frozen=True)
class Partition:
    """Rows [start, stop) of ``a`` and, where paired, of ``b``. Opened anew by whoever folds it."""

    a: Rows
    b: Rows | None
    start: int
    stop: int
    normalised: bool
    precise: bool


@dataclass(frozen=True, eq=False)
class Summary:
    """What one pass over one or two inputs leaves: row statistics and moments. Mergeable."""

    stats_a: RowStats
    stats_b: RowStats | None
    a: Moments
    pair: PairMoments | None

    def merge(self, later: Summary) -> Summary:
        """Both ranges of rows."""
        both = self.stats_b is not None and later.stats_b is not None
        return Summary(
            self.stats_a.merge(later.stats_a),
            self.stats_b.merge(later.stats_b) if both else None,  # type: ignore[union-attr,arg-type]
            self.a.merge(later.a),
            self.pair.merge(later.pair) if self.pair and later.pair else None,
        )


class _Lane:
    """Sums of every second block of a partition, with buffers of its own for one block."""

    def __init__(self, partition: Partition) -> None:
        self.precise, self.normalised = partition.precise, partition.normalised
        dim_b = partition.b.dim if partition.b else None
        self.sums = Fold(partition.a.dim, dim_b, self.precise, self.normalised)
        self.held: list[np.ndarray] = []

    def hold(self, raw: tuple[np.ndarray, ...]) -> None:
        """Copy a block of one or two sides, float16 as float32: a source reuses its buffers."""
        if not self.held:
            self.held = [np.empty(rows.shape, working(rows[:0]).dtype) for rows in raw]
        self.held = [rows[: len(new)] for rows, new in zip(self.held, raw)]
        for rows, new in zip(self.held, raw):
            np.copyto(rows, new)

    def add(self, start: int, dtypes: list[str]) -> list[RowStats]:
        """Look at the rows that are held, the first of which is row ``start``, and sum them."""
        seen, ready = [], []
        for rows, dtype in zip(self.held, dtypes):
            stats = RowStats.of(rows, offset=start, dtype=dtype)
            if stats.nonfinite:
                np.nan_to_num(rows, copy=False)  # refused once all bad rows are counted
            rows = working(rows, double=self.precise)
            for at in range(0, len(rows) if self.normalised else 0, SUBCHUNK):
                part = rows[at : at + SUBCHUNK]  # small enough to stay in the cache
                part[...] = unit(part)
            ready.append(rows)
            seen.append(stats)
        self.sums.add(ready[0], ready[1] if len(ready) > 1 else None)
        return seen


def fold(partition: Partition) -> Summary:
    """Read one partition block by block. Memory: a few blocks and the (d, d) sums.

    Even and odd blocks have sums of their own, which two threads add up, or one where BLAS may use
    but one: the numbers are the same.
    """
    sides = [partition.a] + ([partition.b] if partition.b is not None else [])
    streams = [side.blocks(BLOCK_ROWS, partition.start, partition.stop) for side in sides]
    lanes = [_Lane(partition) for _ in range(LANES)]
    pending: deque[Future[list[RowStats]]] = deque()
    stats: list[list[RowStats]] = []
    with own_threads(LANES) as pool:
        start = partition.start
        for number, raw in enumerate(zip(*streams, strict=True)):
            if len(pending) == LANES:  # the lane of this block is done with the one before
                stats.append(pending.popleft().result())
            lane = lanes[number % LANES]
            lane.hold(raw)
            pending.append(pool.submit(lane.add, start, [str(rows.dtype) for rows in raw]))
            start += len(raw[0])
        stats += [future.result() for future in pending]
    found = [reduce(RowStats.merge, side) for side in zip(*stats)]
    if partition.b is None:
        alone = reduce(Moments.merge, [lane.sums.moments_a() for lane in lanes])
        return Summary(found[0], None, alone, None)
    pair = reduce(PairMoments.merge, [lane.sums.pair_moments() for lane in lanes])
    return Summary(found[0], found[1], pair.a, pair)


def partitions(
    a: Rows, b: Rows | None, *, normalised: bool, precise: bool, rows: int = PARTITION_ROWS
) -> list[Partition]:
    """Cut the rows where shards end and wherever a piece would be longer than ``rows``."""
    cuts = sorted({*a.shard_bounds, *range(0, a.rows, rows), a.rows})
    return [
        Partition(a, b, start, stop, normalised, precise)
        for start, stop in pairwise(cuts)
        if stop > start
    ]


def summarise(
    a: Rows,
    b: Rows | None = None,
    *,
    normalised: bool = True,
    precise: bool | None = None,
    engine: Engine = None,
    on_partition: Callable[[int, int], None] | None = None,
) -> Summary:
    """RowStats and moments of one input, or of two paired ones.

    Args:
        a, b: opened inputs; with ``b``, row i of both belong together.
        normalised: divide each row by its norm first; the moments remember it.
        precise: float64 products; None: up to 100,000 rows.
        engine: maps over partitions (:func:`isthmus.engines.open_engine`); None: processes for
            several of more than 20,000 rows.
        on_partition: called with (done, all) after each partition.

    Raises:
        ShapeError: an input of fewer than 2 rows.
    """
    for source in (a, b):
        if source is not None:
            check_count(source.rows, source.name)
    exact = a.rows <= PRECISE_ROWS if precise is None else precise
    parts = partitions(a, b, normalised=normalised, precise=exact)
    several = len(parts) > 1 and a.rows > SERIAL_ROWS
    found = over_parts(fold, parts, engine, ProcessExecutor() if several else None)
    whole: Summary | None = None
    for done, summary in enumerate(found, start=1):
        whole = summary if whole is None else whole.merge(summary)
        if on_partition is not None:
            on_partition(done, len(parts))
    assert whole is not None, "a source of 2 rows or more has a partition"
    return whole


def opened(rows: Any, name: str) -> Rows:
    """A row source from a file name or an array in memory, checked for shape and dtype."""
    if isinstance(rows, str) or hasattr(rows, "__fspath__") or hasattr(rows, "shard_bounds"):
        return open_rows(rows)
    return open_rows(to_numpy(checked_rows(rows, name)))
