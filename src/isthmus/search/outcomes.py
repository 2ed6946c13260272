"""What became of each query: the rank of what is right, ties. Nothing is averaged here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isthmus.core.arrays import Array, to_numpy
from isthmus.search.items import ItemColumns
from isthmus.search.relevance import Relevance
from isthmus.search.scores import Ranking, first_best
from isthmus.search.settled import Settled
from isthmus.search.shared import Moved, Product


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


def outcome_of(
    ranking: Ranking,
    relevance: Relevance,
    items: np.ndarray | None = None,
    product: Product | None = None,
) -> Outcome:
    """Search every query exactly and place its first right candidate. O(n K d), blocked.

    The place of a candidate counts those that score higher, and tied ones of a lower row. With
    ``items`` (K,), the lowest row of each row's item, items are searched, placed and counted, each
    by its best row, and the answer is the item's lowest row. ``product``: of the rows of a float64
    ranking; scores are taken from it, and those that are near an answer in float64.
    """
    widths = to_numpy(ranking.tie_widths)
    columns = None if items is None else ItemColumns.of(items)
    right = relevance.of_query()
    if items is not None and columns is not None:
        right = [np.unique(np.searchsorted(columns.rows, items[rows])) for rows in right]
    answers, rank, ties = np.empty((3, relevance.queries), np.int64)

    def look(part: slice, block: Array) -> None:
        if columns is not None:
            block = columns.best(to_numpy(block))
        scores, width = to_numpy(block), widths[part]
        answers[part] = to_numpy(first_best(scores, width))
        ties[part] = (scores >= scores.max(axis=1, keepdims=True) - width).sum(axis=1) - 1
        rank[part] = _first_right(scores, right[part], width[:, 0])

    if product is None or columns is not None or not _looked_at(product, ranking, right, look):
        for start, block in ranking.score_blocks():
            look(slice(start, start + int(block.shape[0])), block)
    return Outcome(answers if columns is None else columns.rows[answers], rank, ties)


def _looked_at(
    product: Product,
    ranking: Ranking,
    right: list[np.ndarray],
    look: Callable[[slice, np.ndarray], None],
) -> bool:
    """Show all scores, made of a product; False where float32 does not hold them."""
    moved = Moved.of(product, ranking)
    settled = Settled.of(ranking, moved.sizes)

    def work(part: slice, products: np.ndarray) -> None:
        look(part, settled.exact(moved.scores(products, part), part, right[part]))

    if settled.fits:
        product.blocks(work)
    return settled.fits


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
