"""First answers of a float64 search from float32 scores: near ties are settled in float64.

A float32 product of unit rows is off by some 1e-7. Where the best score leads the next by more than
:data:`NEAR` its place is certain; the candidates of the other queries that are that near the best
are scored again in float64, one by one, with the order of ties of :mod:`isthmus.search.scores`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isthmus.core.arrays import EPS64

if TYPE_CHECKING:
    from isthmus.search.scores import Ranking

TIE_ULPS = 16
"""Scores that differ by so many roundings at the size of their terms are tied."""
NEAR = 4e-6
"""Scores this near the best, in units of the largest terms, are settled in float64 (up to 512
dimensions; the error of a sum grows with the root of its length)."""
LARGEST, SMALLEST = 1e15, 1e-15
"""Sizes of scores that float32 rows hold with room to spare."""
GATHERED = 2**20
"""Numbers of rows gathered at once to be scored again."""


@dataclass(frozen=True, eq=False)
class Settled:
    """A ranking of float64 NumPy rows, and how large each query's terms are.

    ``sizes`` (n,): the largest terms of a query's scores; ``widths`` (n,): scores closer than this
    are tied in float64; ``near`` (n,): float32 scores that are no farther from the best may be it.
    """

    ranking: Ranking
    sizes: np.ndarray
    widths: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, ranking: Ranking, terms: np.ndarray | None = None) -> Settled:
        """O((n + K) d). ``terms`` (n,): sizes of the terms that float32 scores are made of, where
        these are larger than the ranking's own."""
        own = np.asarray(ranking.rounding(1.0 / TIE_ULPS))[:, 0]
        sizes = own if terms is None else np.maximum(own, terms)
        dim = ranking.queries.shape[1]
        near = (NEAR * max(1.0, float(np.sqrt(dim / 512))) * sizes).astype(np.float32)
        return cls(ranking, sizes, TIE_ULPS * EPS64 * own, near)

    @property
    def fits(self) -> bool:
        """Whether float32 holds such scores."""
        sizes = self.sizes[self.sizes > 0]
        return not len(sizes) or bool(sizes.max() < LARGEST and sizes.min() > SMALLEST)

    def answers(self) -> np.ndarray:
        """The best candidate of each query, (n,) int64."""
        found = np.empty(len(self.sizes), np.int64)
        for start, scores in self.ranking.single().score_blocks():
            part = slice(start, start + len(scores))
            found[part] = self.best(scores, part)
        return found

    def best(self, scores: np.ndarray, part: slice) -> np.ndarray:
        """The answers (b,) of the queries in ``part``; spoils their float32 scores (b, K)."""
        rows = np.arange(len(scores))
        first = scores.argmax(axis=1)
        level = scores[rows, first] - self.near[part]
        scores[rows, first] = -np.inf
        doubtful = np.flatnonzero(scores.max(axis=1) >= level)
        if len(doubtful):
            near = scores[doubtful] >= level[doubtful, None]
            near[np.arange(len(doubtful)), first[doubtful]] = True
            first[doubtful] = self._settled(part.start + doubtful, near)
        return first

    def _settled(self, rows: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Lowest candidate within a tie of the best of some queries (b,), among ``near`` (b, K)."""
        answers = np.empty(len(rows), np.int64)
        counts = np.count_nonzero(near, axis=1)
        group = np.cumsum(counts) // max(1, GATHERED // self.ranking.queries.shape[1])
        for here in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(group)) + 1):
            query, candidate = np.nonzero(near[here])
            scores = self.ranking.scores_of(candidate, rows[here][query])
            starts = np.flatnonzero(np.diff(query, prepend=-1))
            level = np.maximum.reduceat(scores, starts) - self.widths[rows[here]]
            tied = np.flatnonzero(scores >= level[query])
            answers[here] = candidate[tied[np.searchsorted(query[tied], np.arange(len(here)))]]
        return answers
