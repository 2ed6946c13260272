"""Rows on disk -> stats and moments, one partition at a time, through an executor.

A partition is a range of row numbers of one or two inputs, so that pairs whose shards are cut
differently still fold. Files are opened where they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from isthmus.core.arrays import to_numpy, unit, working
from isthmus.data import Rows, open_rows
from isthmus.data.moments import Moments, PairMoments
from isthmus.data.row_checks import check_count, checked_rows
from isthmus.data.row_stats import RowStats
from isthmus.engines.local import Executor, ProcessExecutor, SerialExecutor

BLOCK_ROWS = 8192
PARTITION_ROWS = 500_000
PRECISE_ROWS = 100_000


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


def fold(partition: Partition) -> Summary:
    """Read one partition block by block. Memory: two blocks and the (d, d) sums."""
    stats: list[RowStats | None] = [None, None]
    names = [partition.a.name, partition.b.name if partition.b else ""]

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        start = partition.start
        streams: list[Iterator[Any]] = [
            partition.a.blocks(BLOCK_ROWS, partition.start, partition.stop)
        ]
        if partition.b is not None:
            streams.append(partition.b.blocks(BLOCK_ROWS, partition.start, partition.stop))
        for raw in zip(*streams, strict=True):
            ready = []
            for side, rows in enumerate(raw):
                seen = RowStats.of(rows, offset=start)
                known = stats[side]
                stats[side] = seen if known is None else known.merge(seen)
                if seen.nonfinite:
                    rows = np.nan_to_num(rows)  # refused once all bad rows are counted
                rows = working(rows, double=partition.precise)
                ready.append(unit(rows) if partition.normalised else rows)
            start += len(raw[0])
            yield ready[0], ready[1] if len(ready) > 1 else None

    dim = partition.a.dim
    kind = {"precise": partition.precise, "normalised": partition.normalised}
    if partition.b is None:
        moments = Moments.over((a for a, _ in blocks()), dim, **kind)
        assert stats[0] is not None, names
        return Summary(stats[0], None, moments, None)
    pair = PairMoments.over(
        ((a, b) for a, b in blocks() if b is not None), dim, partition.b.dim, **kind
    )
    assert stats[0] is not None, names
    return Summary(stats[0], stats[1], pair.a, pair)


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
    executor: Executor | None = None,
    on_partition: Callable[[int, int], None] | None = None,
) -> Summary:
    """RowStats and moments of one input, or of two paired ones.

    Args:
        a, b: opened inputs; with ``b``, row i of both belong together.
        normalised: divide each row by its norm first; the moments remember it.
        precise: float64 products; None: up to 100,000 rows.
        executor: maps over partitions; None: this process for one, processes for several.
        on_partition: called with (done, all) after each partition.

    Raises:
        ShapeError: an input of fewer than 2 rows.
    """
    for source in (a, b):
        if source is not None:
            check_count(source.rows, source.name)
    exact = a.rows <= PRECISE_ROWS if precise is None else precise
    parts = partitions(a, b, normalised=normalised, precise=exact)
    engine = executor or (ProcessExecutor() if len(parts) > 1 else SerialExecutor())
    whole: Summary | None = None
    for done, summary in enumerate(engine.map(fold, parts), start=1):
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
