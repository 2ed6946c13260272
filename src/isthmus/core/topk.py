"""The k best of scores that arrive tile by tile, with a defined order of ties.

A pool keeps, for each of some queries, every candidate whose score is not below the k-th best so
far less the width of a tie. What is left at the end is what a search over whole lines of scores
would have looked at, so the answers, and the ties, are the same.
"""

from __future__ import annotations

import numpy as np

CROWD = 4096
"""A query with more candidates than this tied at its k-th best is searched by itself."""

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows (b, k), scores (b, k) and ties (b,) of consecutive queries."""


class Pool:
    """Candidates of some queries that may yet be among the k best, or tied with the k-th.

    ``level`` (b,): scores below it cannot; it only rises. ``crowded`` (b,) bool: queries with so
    many ties that they are better searched one by one; nothing is kept of them.
    """

    def __init__(self, k: int, widths: np.ndarray, dtype: np.dtype) -> None:
        self.k, self.widths = k, widths.copy()
        self.level = np.full(len(widths), -np.inf, dtype)
        self.crowded = np.zeros(len(widths), bool)
        self.fresh = 0
        self.query = self.row = np.empty(0, np.int64)
        self.value = np.empty(0, dtype)
        self.new: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, scores: np.ndarray, first: int) -> None:
        """Look at a tile of scores (b, c) of the candidates from row ``first`` on."""
        size = scores.shape[1]
        at = self._reaching(scores)
        if len(at) > 4 * self.k * len(scores) and size >= self.k:
            kth = np.partition(scores, size - self.k, axis=1)[:, size - self.k]
            self.level = np.maximum(self.level, kth - self.widths)
            at = self._reaching(scores)
        query, column = np.divmod(at, size)
        self.new.append((query, column + first, scores.ravel()[at]))
        self.fresh += len(at)
        if self.fresh > self.k * len(scores):
            self.prune()

    def _reaching(self, scores: np.ndarray) -> np.ndarray:
        return np.flatnonzero(scores >= self.level[:, None])

    def prune(self) -> None:
        """Sort what was kept by query, falling score and row; raise the level; drop what fell."""
        query, row, value = (
            np.concatenate(column)
            for column in zip((self.query, self.row, self.value), *self.new, strict=True)
        )
        order = np.lexsort((row, -value, query))
        query, row, value = query[order], row[order], value[order]
        start = np.searchsorted(query, np.arange(len(self.level)))
        size = np.diff(start, append=len(query))
        full = size >= self.k
        kth = value[start[full] + self.k - 1]
        self.level[full] = np.maximum(self.level[full], kth - self.widths[full])
        kept = value >= self.level[query]
        sizes = np.bincount(query[kept], minlength=len(self.level))
        self.crowded |= sizes > CROWD + 2 * self.k
        self.level[self.crowded] = np.inf
        kept &= ~self.crowded[query]
        self.query, self.row, self.value = query[kept], row[kept], value[kept]
        self.new, self.fresh = [], 0

    def merge(self, other: Pool) -> None:
        """Take in what a pool of the same queries and k kept of other candidates."""
        self.widths = np.maximum(self.widths, other.widths)
        self.level = np.maximum(self.level, other.level)
        self.crowded = self.crowded | other.crowded
        self.new += [(other.query, other.row, other.value), *other.new]
        self.prune()

    def best(self) -> Part:
        """The answers of the queries that are not crowded; zeros for the others."""
        self.prune()
        k, fine = self.k, ~self.crowded
        rows, scores = (np.zeros((len(fine), k), t) for t in (np.int64, self.level.dtype))
        ties = np.zeros(len(fine), np.int64)
        start = np.searchsorted(self.query, np.arange(len(fine)))
        stop = np.append(start[1:], len(self.query))
        pick = start[fine, None] + np.arange(k)
        rows[fine], scores[fine] = self.row[pick], self.value[pick]
        near = self.value[:-1] - self.value[1:] <= self.widths[self.query[1:]]
        near &= self.query[:-1] == self.query[1:]
        for i in np.unique(self.query[1:][near]):
            mine = slice(start[i], stop[i])
            row, value, width = self.row[mine], self.value[mine], self.widths[i]
            order = settle(row, value, float(width))[:k]
            rows[i], scores[i] = row[order], value[order]
            ties[i] = (value >= value[0] - width).sum() - 1
        return rows, scores, ties


def lines_top_k(scores: np.ndarray, k: int, widths: np.ndarray) -> Part:
    """The k best of whole lines of scores (b, K), with tie widths (b, 1); lines with ties one by
    one."""
    count = scores.shape[1]
    kth = np.partition(scores, count - k, axis=1)[:, count - k]
    near = scores >= kth[:, None] - widths
    alone = np.count_nonzero(near, axis=1) == k  # none is tied with the k-th
    rows = np.zeros((len(scores), k), np.int64)
    rows[alone] = (near if alone.all() else near[alone]).nonzero()[1].reshape(-1, k)
    value = np.take_along_axis(scores, rows, axis=1)
    order = np.argsort(-value, axis=1, kind="stable")
    rows, value = (np.take_along_axis(part, order, axis=1) for part in (rows, value))
    tied = (value[:, :-1] - value[:, 1:] <= widths).any(axis=1) | ~alone
    for i in np.flatnonzero(tied):
        line, width = scores[i], float(widths[i, 0])
        pool = np.flatnonzero(near[i])  # ascending rows: lower wins a tie
        ranked = pool[np.argsort(-line[pool], kind="stable")]
        rows[i] = ranked[settle(ranked, line[ranked], width)[:k]]
    best = np.take_along_axis(scores, rows, axis=1)
    level = best.max(axis=1, keepdims=True) - widths
    ties = np.count_nonzero(best >= level, axis=1) - 1
    all_tied = ties == k - 1  # and others, perhaps
    ties[all_tied] = np.count_nonzero(scores[all_tied] >= level[all_tied], axis=1) - 1
    return rows, best, ties


def settle(ranked: np.ndarray, values: np.ndarray, width: float) -> np.ndarray:
    """Order in which runs of tied candidates are by row; a run is measured from its first member.

    ``ranked`` rows and their ``values`` come best first.
    """
    order = np.arange(len(ranked))
    if len(ranked) < 2 or not (values[:-1] - values[1:] <= width).any():
        return order
    start = 0
    while start < len(order):
        stop = start + int((values[start] - values[start:] <= width).sum())
        order[start:stop] = start + np.argsort(ranked[start:stop])
        start = stop
    return order
