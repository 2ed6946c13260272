"""What became of each query: the rank of what is right, ties. Nothing is averaged here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.arrays import to_numpy
from isthmus.search.items import ItemColumns
from isthmus.search.relevance import Relevance
from isthmus.search.scores import Ranking, first_best


@dataclass(frozen=True, eq=False)
class Outcome:
    """What happened to each of n queries in one search.

    ``top1`` (n,): the answer. ``rank`` (n,): place of the first right candidate, 0 is best; -1
    where none is known. ``ties`` (n,): other candidates tied with the answer.
    """

    top1: np.ndarray
    rank: np.ndarray
    ties: np.ndarray

    def hit(self, k: int) -> np.ndarray:
        """(n,) bool: a right candidate is among the first k; only queries that have one count."""
        judged = self.rank >= 0
        return (self.rank[judged] < k).astype(bool)


def best_listed(ranking: Ranking, lists: np.ndarray) -> np.ndarray:
    """The best candidate row of each query's own list, (n,) int64; ties take the lowest row."""
    widths = to_numpy(ranking.tie_widths)
    answers = np.empty(len(lists), np.int64)
    step = max(1, 2**22 // max(lists.shape[1] * int(ranking.candidates.shape[1]), 1))
    for start in range(0, len(lists), step):
        rows = lists[start : start + step]
        options = ranking.candidates[rows]
        scores = np.einsum("nd,ncd->nc", ranking.queries[start : start + step], options)
        if ranking.scale is not None:
            scores = scores * ranking.scale[rows]
        if ranking.offset is not None:
            scores = scores + ranking.offset[rows]
        scores = np.where(rows >= 0, scores, -np.inf)
        tied = scores >= scores.max(axis=1, keepdims=True) - widths[start : start + step]
        answers[start : start + step] = np.where(tied, rows, np.iinfo(np.int64).max).min(axis=1)
    return answers


def outcome_of(ranking: Ranking, relevance: Relevance, items: np.ndarray | None = None) -> Outcome:
    """Search every query exactly and place its first right candidate. O(n K d), blocked.

    The place of a candidate counts those that score higher, and tied ones of a lower row. With
    ``items`` (K,), the lowest row of each row's item, items are searched, placed and counted, each
    by its best row, and the answer is the item's lowest row.
    """
    widths = ranking.tie_widths
    columns = None if items is None else ItemColumns.of(items)
    right = relevance.of_query()
    if items is not None and columns is not None:
        right = [np.unique(np.searchsorted(columns.rows, items[rows])) for rows in right]
    top, rank, ties = [], [], []
    for start, block in ranking.score_blocks():
        if columns is not None:
            block = columns.best(to_numpy(block))
        scores = to_numpy(block)
        level = widths[start : start + len(scores), :]
        width = to_numpy(level)
        top.append(to_numpy(first_best(block, level)))
        ties.append((scores >= scores.max(axis=1, keepdims=True) - width).sum(axis=1) - 1)
        rank.append(_first_right(scores, right[start : start + len(scores)], width[:, 0]))
    answers = np.concatenate(top).astype(np.int64)
    if columns is not None:
        answers = columns.rows[answers]
    return Outcome(answers, np.concatenate(rank), np.concatenate(ties))


def _first_right(scores: np.ndarray, rows: list[np.ndarray], widths: np.ndarray) -> np.ndarray:
    places = np.full(len(scores), -1, np.int64)
    for i, right in enumerate(rows):
        if len(right) == 0:
            continue
        line, width = scores[i], float(widths[i])
        best = line[right].max()
        first = int(right[line[right] >= best - width].min())
        above = int((line > best + width).sum())
        level = int((np.abs(line[:first] - best) <= width).sum())
        places[i] = above + level
    return places
