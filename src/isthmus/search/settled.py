"""First answers of a float64 search from float32 scores: near ties are settled in float64.

A float32 product of unit rows is off by some 1e-7. Where the best score leads the next by more than
:data:`NEAR` its place is certain; the candidates of the other queries that are that near the best
are scored again in float64, one by one, with the order of ties of :mod:`isthmus.search.scores`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isthmus.core.arrays import EPS64
from isthmus.core.topk import settle

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
    def of(
        cls, ranking: Ranking, terms: np.ndarray | None = None, off: np.ndarray | float = 0.0
    ) -> Settled:
        """O((n + K) d). ``terms`` (n,): sizes of the terms that float32 scores are made of, where
        these are larger than the ranking's own. ``off`` (n,): by so much at most two scores lie
        apart otherwise than the ranking's, besides rounding."""
        own = np.asarray(ranking.rounding(1.0 / TIE_ULPS))[:, 0]
        sizes = own if terms is None else np.maximum(own, terms)
        dim = ranking.queries.shape[1]
        near = (nearness(sizes, dim) + off).astype(np.float32)
        return cls(ranking, sizes, TIE_ULPS * EPS64 * own, near)

    @property
    def fits(self) -> bool:
        """Whether float32 holds such scores."""
        sizes = self.sizes[self.sizes > 0]
        return not len(sizes) or bool(sizes.max() < LARGEST and sizes.min() > SMALLEST)

    def best(self, scores: np.ndarray, part: slice, listed: np.ndarray | None = None) -> np.ndarray:
        """The answers (b,) of the queries in ``part``. Their float32 scores (b, K) are written to,
        and left as they were.

        ``listed`` (b, c): the candidates, ascending, that scores (b, c) are of; None: all.
        """
        rows = np.arange(len(scores))
        first = scores.argmax(axis=1)
        best = scores[rows, first]
        level = best - self.near[part]
        scores[rows, first] = -np.inf
        doubtful = np.flatnonzero(scores.max(axis=1) >= level)
        answers = first.copy() if listed is None else listed[rows, first]
        if len(doubtful):
            near = scores[doubtful] >= level[doubtful, None]
            near[np.arange(len(doubtful)), first[doubtful]] = True
            among = None if listed is None else listed[doubtful]
            answers[doubtful] = self._settled(part.start + doubtful, near, among)
        scores[rows, first] = best
        return answers

    def leading(self, scores: np.ndarray, part: slice, k: int) -> np.ndarray:
        """Candidates (b, k), ascending, of the k best of each query, of float32 scores (b, K).

        What is near the k-th is settled in float64, tied ones by row.
        """
        count = scores.shape[1]
        if k >= count:
            return np.tile(np.arange(count), (len(scores), 1))
        near = self.near[part]
        at = np.flatnonzero(scores >= (_reached(scores, k) - near)[:, None])
        query, column = np.divmod(at, count)
        value = scores.ravel()[at]
        starts = np.searchsorted(query, np.arange(len(scores)))
        lines = _lines(value, query, starts, k)
        kth = np.partition(lines, lines.shape[1] - k, axis=1)[:, lines.shape[1] - k]
        above = value - kth[query]
        sure, maybe = above > near[query], np.abs(above) <= near[query]
        lacking = k - np.bincount(query[sure], minlength=len(scores))
        open_ones = np.bincount(query[maybe], minlength=len(scores)) > lacking
        taken = sure | (maybe & ~open_ones[query])
        stops = np.append(starts[1:], len(at))
        for i in np.flatnonzero(open_ones):
            mine = starts[i] + np.flatnonzero(maybe[starts[i] : stops[i]])
            taken[mine[self._first(part.start + i, column[mine], lacking[i])]] = True
        return column[taken].reshape(len(scores), k)

    def exact(self, scores: np.ndarray, part: slice, right: list[np.ndarray]) -> np.ndarray:
        """Float32 scores (b, K) as float64, exact where a comparison with the best, or with the
        best of the candidates ``right`` of a query, depends on it."""
        near = self.near[part, None]
        close = scores >= scores.max(axis=1, keepdims=True) - near
        for line, rows, mine, width in zip(scores, right, close, near, strict=True):
            if len(rows):
                mine |= np.abs(line - line[rows].max()) <= width
        query, candidate = np.divmod(np.flatnonzero(close), scores.shape[1])
        out = scores.astype(np.float64)
        out[query, candidate] = self.ranking.scores_of(candidate, part.start + query)
        return out

    def _first(self, query: int, candidates: np.ndarray, count: int) -> np.ndarray:
        """Places of the first ``count`` of some candidates of a query, ascending, in float64."""
        scores = self.ranking.scores_of(candidates, np.full(len(candidates), query))
        order = np.argsort(-scores, kind="stable")
        ranked = order[settle(candidates[order], scores[order], float(self.widths[query]))]
        return np.asarray(ranked[:count])

    def _settled(
        self, rows: np.ndarray, near: np.ndarray, listed: np.ndarray | None = None
    ) -> np.ndarray:
        """Lowest candidate within a tie of the best of some queries (b,), among ``near`` (b, K),
        or of those that are ``listed`` (b, c)."""
        answers = np.empty(len(rows), np.int64)
        counts = np.count_nonzero(near, axis=1)
        group = np.cumsum(counts) // max(1, GATHERED // self.ranking.queries.shape[1])
        for here in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(group)) + 1):
            query, candidate = np.nonzero(near[here])
            if listed is not None:
                candidate = listed[here][query, candidate]
            scores = self.ranking.scores_of(candidate, rows[here][query])
            starts = np.flatnonzero(np.diff(query, prepend=-1))
            level = np.maximum.reduceat(scores, starts) - self.widths[rows[here]]
            tied = np.flatnonzero(scores >= level[query])
            answers[here] = candidate[tied[np.searchsorted(query[tied], np.arange(len(here)))]]
        return answers


def nearness(sizes: np.ndarray, dim: int) -> np.ndarray:
    """Float32 scores of rows of ``dim`` dimensions, whose largest terms are ``sizes``, may be in
    another order where they lie no farther apart."""
    return np.asarray(NEAR * max(1.0, float(np.sqrt(dim / 512))) * sizes)


def surely_largest(
    scores: np.ndarray, k: int, near: np.ndarray, exact: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Columns (b, k) of the k largest of float32 scores (b, K), in no order.

    ``exact``: some rows (m,) -> their scores (m, K) in float64, which are looked at where the k-th
    and the next are within ``near`` (b,).
    """
    best = largest(scores, k + 1)
    edge = np.take_along_axis(scores, best[:, k - 1 :], axis=1)
    doubtful = np.flatnonzero(edge[:, 0] - edge[:, 1] <= near)
    if len(doubtful):
        best[doubtful] = largest(exact(doubtful), k + 1)
    return best[:, :k]


def largest(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns (b, k) of the k largest scores (b, K) of each row, best first; ties by column."""
    at = np.flatnonzero(scores >= _reached(scores, k)[:, None])
    row, column = np.divmod(at, scores.shape[1])
    starts = np.searchsorted(row, np.arange(len(scores)))
    order = np.argsort(-_lines(scores.ravel()[at], row, starts, k), axis=1, kind="stable")[:, :k]
    return np.asarray(column[starts[:, None] + order])


def _lines(values: np.ndarray, row: np.ndarray, starts: np.ndarray, least: int) -> np.ndarray:
    """Values of each row, which begin at ``starts`` (b,), as lines (b, most) filled with -inf, of
    ``least`` values or more."""
    place = np.arange(len(values)) - starts[row]
    out = np.full((len(starts), place.max(initial=least - 1) + 1), -np.inf, values.dtype)
    out[row, place] = values
    return out


def _reached(scores: np.ndarray, k: int) -> np.ndarray:
    """A number (b,) that k of each query's scores (b, K) reach: the k-th largest, or that of the
    largest of each of some groups, which is no larger and found in one pass."""
    for groups in (32 * k, max(4 * k, 64)):  # long lines of groups are compared fast
        fold = scores.shape[1] // groups
        if fold > 1:
            scores = scores[:, : fold * groups].reshape(len(scores), fold, groups).max(axis=1)
    place = scores.shape[1] - k
    return np.asarray(np.partition(scores, place, axis=1)[:, place])
