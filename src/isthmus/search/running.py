"""The k best rows of each query, of rows that arrive block by block, in any order, anywhere.

What is kept of some rows merges with what is kept of others, on this machine or on a cluster, into
what one search over all of them gives, ties included (:mod:`isthmus.core.topk`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from isthmus.core.topk import Pool
from isthmus.errors import OptionError, ShapeError, ValuesError
from isthmus.search.scores import Ranking, TopK, joined, scored

TILE = 1024
"""Queries, and rows, whose scores are held at once."""


class Searched:
    """Queries (n, d) among any rows, both sides as a closer maps them; None: as they are."""

    def __init__(self, queries: np.ndarray, score: str, closer: Any = None) -> None:
        self.score, self.closer = score, closer
        self.queries = np.asarray(queries if closer is None else closer.query(queries), np.float32)

    def __call__(self, rows: np.ndarray) -> Ranking:
        closer = self.closer
        if closer is None:
            return Ranking.of(self.queries, rows, self.score)
        bias = None if closer.bias_weights is None else closer.candidate_bias(rows)
        return Ranking.of(self.queries, closer.candidate(rows), closer.score, bias)


class RunningTopK:
    """The best rows so far; :meth:`add` rows, :meth:`merge` what others found, then :meth:`best`.

    Memory: about 20 bytes a row that is kept, k a query, and three times that while they are
    sorted. It can be pickled.

    Args:
        k: how many rows of each query.
        widths: (n,) scores closer than this are tied. None: rounding, at the size of the scores of
            the rows that come first; parts that are to agree to the last tie are given the same.
        line: (n,) scores; ``above`` then counts the rows that score higher.

    >>> import numpy as np
    >>> from isthmus import Ranking, top_k
    >>> queries, rows = np.eye(3, 8), np.random.default_rng(0).normal(size=(50, 8))
    >>> halves = [RunningTopK(5), RunningTopK(5)]
    >>> for half, first in zip(halves, (0, 25)):
    ...     half.add(Ranking.of(queries, rows[first : first + 25], "dot"), first)
    >>> halves[0].merge(halves[1])
    >>> whole = top_k(Ranking.of(queries, rows, "dot"), 5)
    >>> bool((halves[0].best().rows == whole.rows).all())
    True
    """

    def __init__(
        self, k: int, *, widths: np.ndarray | None = None, line: np.ndarray | None = None
    ) -> None:
        self.k, self.widths, self.line, self.rows = k, widths, line, 0
        self.tiles: list[_Tile] = []

    def add(
        self, ranking: Ranking, first: int = 0, threads: ThreadPoolExecutor | None = None
    ) -> None:
        """Search rows (c, d), the candidates of ``ranking``, of which the first is row ``first``.

        Every call has the same queries. NumPy rows. O(n c d).
        """
        count = len(ranking.queries)
        if not self.tiles:
            widths = ranking.tie_widths[:, 0] if self.widths is None else self.widths
            for at in range(0, count, TILE):
                part = slice(at, min(at + TILE, count))
                pool = Pool(self.k, widths[part], ranking.queries.dtype)
                self.tiles.append(_Tile(part, pool, self.line))
        self._fit(count)
        self.rows += len(ranking.candidates)
        list((threads.map if threads else map)(lambda tile: tile.look(ranking, first), self.tiles))

    def merge(self, other: RunningTopK) -> None:
        """Take in what was found among other rows, for the same queries and k.

        Raises:
            ShapeError: other queries, or another k.
        """
        if not other.tiles:
            return
        if not self.tiles:
            self.tiles = [tile.emptied(self.k, self.line) for tile in other.tiles]
        self._fit(other.tiles[-1].part.stop, other.k)
        self.rows += other.rows
        for mine, theirs in zip(self.tiles, other.tiles, strict=True):
            mine.pool.merge(theirs.pool)
            mine.above += theirs.above

    def __getstate__(self) -> dict[str, Any]:
        for tile in self.tiles:
            tile.pool.prune()  # less to send
        return vars(self)

    def best(self, threads: ThreadPoolExecutor | None = None) -> TopK:
        """The k best rows of all that were added and merged.

        Raises:
            OptionError: fewer rows than k. ValuesError: thousands of rows are tied at the last
                place that is kept.
        """
        if self.rows < self.k:
            raise OptionError("bad-k", f"k={self.k} of {self.rows} rows; expected 1 to {self.rows}")
        return joined(list((threads.map if threads else map)(_Tile.best, self.tiles)))

    @property
    def above(self) -> np.ndarray:
        """(n,) how many rows score above the line."""
        return np.concatenate([tile.above for tile in self.tiles])

    def _fit(self, queries: int, k: int | None = None) -> None:
        mine = self.tiles[-1].part.stop
        if queries != mine or k not in (None, self.k):
            raise ShapeError(
                "unequal-lengths",
                f"the {k or self.k} best of {queries} queries do not go with the {self.k} best of "
                f"{mine}; search the same queries everywhere",
            )


class _Tile:
    """What some queries have found so far."""

    def __init__(self, part: slice, pool: Pool, line: np.ndarray | None) -> None:
        self.part, self.pool = part, pool
        self.line = None if line is None else line[part, None]
        self.above = np.zeros(part.stop - part.start, np.int64)

    def emptied(self, k: int, line: np.ndarray | None) -> _Tile:
        """The same queries before any row, with memory of its own."""
        pool = Pool(k, self.pool.widths, self.pool.level.dtype)
        return _Tile(self.part, pool, line)

    def look(self, ranking: Ranking, first: int) -> None:
        """Take in a block of rows."""
        queries = ranking.queries[self.part]
        buffer = np.empty(len(queries) * TILE, queries.dtype)
        for at in range(0, len(ranking.candidates), TILE):
            some = slice(at, min(at + TILE, len(ranking.candidates)))
            size = some.stop - at
            scores = scored(ranking, queries, some, buffer[: len(queries) * size].reshape(-1, size))
            self.pool.add(scores, first + at)
            if self.line is not None:
                self.above += np.count_nonzero(scores > self.line, axis=1)

    def best(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, scores and ties, best first."""
        found = self.pool.best()
        if self.pool.crowded.any():
            row = self.part.start + int(self.pool.crowded.argmax())
            raise ValuesError(
                "too-many-ties",
                f"thousands of candidates score alike for query {row}, so its best cannot be "
                "told; are the rows rounded to a few values?",
            )
        return found
