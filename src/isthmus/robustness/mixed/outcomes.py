"""What happened to each query of a mixed pool: gain, recall, shares and places. No averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.arrays import to_numpy
from isthmus.errors import OptionError, ShapeError
from isthmus.search.items import best_items, rows_for
from isthmus.search.relevance import Relevance
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import RetrievalTask


@dataclass(frozen=True, eq=False)
class PoolOutcome:
    """Per query, each (n,); NaN where a query has no relevant document or a share has no rival.

    ``ndcg``: nDCG at k. ``first``: 1 where the best document is relevant. ``recall``: share of the
    relevant documents among the k best. ``share_a``: share of side a among the k best. ``place``:
    of the best placed relevant document, 0 is first. ``over_same``, ``over_other``: shares of the
    other documents of that document's own modality, and of the other modality, that stand above it.
    ``relevant_a``: that document is of side a.
    """

    ndcg: np.ndarray
    first: np.ndarray
    recall: np.ndarray
    share_a: np.ndarray
    place: np.ndarray
    over_same: np.ndarray
    over_other: np.ndarray
    relevant_a: np.ndarray

    @property
    def displaced(self) -> np.ndarray:
        """``over_other`` - ``over_same``, (n,), in [-1, 1]: the rank penalty of the modality.

        0 where both modalities let the same share of their documents pass; 1 where all of the other
        modality and none of its own stand above the relevant document.
        """
        return self.over_other - self.over_same


def ndcg_at(found: np.ndarray, relevance: Relevance, k: int) -> np.ndarray:
    """Normalised discounted cumulative gain of the k best, (n,); NaN where nothing is relevant.

    A relevant document at place i (from 0) gains its grade, 1 where there are none, over
    log2(i + 2) (Järvelin and Kekäläinen 2002; the gain of trec_eval and scikit-learn). The ideal
    has the best of *all* documents that are relevant in the pool on top: what was not retrieved
    counts against a query.

    Args:
        found: (n, k or more) document rows, best first, -1 for none.

    Raises:
        OptionError: k below 1 or above the depth of ``found``. LabelsError: another number of
        queries than ``relevance`` is about.
    """
    if not 1 <= k <= found.shape[1]:
        raise OptionError(
            "k-out-of-range", f"nDCG at {k} of {found.shape[1]} documents found; expected 1 to all"
        )
    relevance.checked(len(found), relevance.candidates)
    weight = 1 / np.log2(np.arange(2, k + 2))
    gains = np.where(found[:, :k] >= 0, relevance.gain(found[:, :k].T).T, 0.0)
    query = relevance.pairs[:, 0]
    grades = np.ones(len(query)) if relevance.grades is None else relevance.grades
    order = np.lexsort((-grades, query))
    place = np.arange(len(query)) - np.searchsorted(query, query)
    worth = np.where(place < k, grades[order] * weight[np.minimum(place, k - 1)], 0.0)
    ideal = np.bincount(query, worth, minlength=relevance.queries)
    gain: np.ndarray = gains @ weight / np.where(ideal > 0, ideal, np.nan)
    return gain


def ranked_gain(task: RetrievalTask, k: int = 10) -> np.ndarray:
    """nDCG at k of plain search, (n,): among items, as :func:`ndcg_at`. O(n K d)."""
    items = task.candidate_items
    k = min(k, len(task.candidates) if items is None else len(np.unique(items)))
    best = top_k(task.plain(), k if items is None else rows_for(items, k)).rows
    among = task.relevance
    if items is not None:
        among = among.merged(np.arange(among.queries), items)
    return ndcg_at(best_items(best, items, k), among, k)


def _right(found: np.ndarray, relevance: Relevance) -> np.ndarray:
    """(n, k) bool: the document is relevant; places that hold none (-1) are not."""
    return relevance.correct(found.T).T & (found >= 0)


def search_pool(
    ranking: Ranking,
    relevance: Relevance,
    is_a: np.ndarray,
    *,
    k: int = 10,
    items: np.ndarray | None = None,
) -> PoolOutcome:
    """Search a pool exactly. O(n K d) in blocks; one block of scores is held at a time.

    Args:
        ranking: n queries and K documents. relevance: relevant documents of each query.
        is_a: (K,) bool, True for documents of side a. k: depth.
        items: (K,) lowest row of each document's item, where documents are not items. An item
            counts once, at its best document, and is relevant where one of its documents is.

    Raises:
        OptionError: k below 1 or above K. ShapeError: ``is_a`` does not fit the pool. LabelsError:
        ``relevance`` does not.
    """
    count = int(ranking.candidates.shape[0])
    relevance.checked(int(ranking.queries.shape[0]), count)
    if np.shape(is_a) != (count,):
        raise ShapeError(
            "one-flag-per-document",
            f"a pool of {count} documents was given {np.size(is_a)} sides; expected one each",
        )
    is_a = np.asarray(is_a, bool)
    best, among = top_k(ranking, k if items is None else rows_for(items, k)).rows, relevance
    sides = is_a[best[:, :k]]
    if items is not None:
        among = relevance.merged(np.arange(relevance.queries), items)
        relevance = relevance.shared(None, items)
        best, ranked = best_items(best, items, k), best
        sides = is_a[_best_rows(ranked, items, k)]
    right = _right(best, among)
    relevant = np.bincount(among.pairs[:, 0], minlength=relevance.queries)
    judged = relevant > 0
    return PoolOutcome(
        ndcg_at(best, among, k),
        np.where(judged, right[:, 0], np.nan),
        np.where(judged, right.sum(axis=1) / np.maximum(relevant, 1), np.nan),
        sides.mean(axis=1),
        *_places(ranking, relevance, is_a),
    )


def _best_rows(ranked: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """(n, k): the best row of each of the first k items of ranked rows (n, r)."""
    out = np.empty((len(ranked), k), np.int64)
    for i, line in enumerate(ranked):
        first = np.sort(np.unique(items[line], return_index=True)[1])[:k]
        out[i] = line[first]
    return out


def _places(
    ranking: Ranking, relevance: Relevance, is_a: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Place of each query's best relevant document, and the shares of each modality above it."""
    widths = to_numpy(ranking.tie_widths)[:, 0]
    rights = relevance.of_query()
    out = np.full((3, relevance.queries), np.nan)
    side = np.zeros(relevance.queries, bool)
    totals = np.array([(~is_a).sum(), is_a.sum()])
    for start, block in ranking.score_blocks():
        for i, line in enumerate(to_numpy(block), start):
            if len(rights[i]):
                target, above = _above(line, rights[i], float(widths[i]))
                side[i] = is_a[target]
                same = int(side[i])
                passed = np.array([(above & ~is_a).sum(), (above & is_a).sum()])
                out[0, i] = passed.sum()
                out[1, i] = _share(passed[same], totals[same] - 1)
                out[2, i] = _share(passed[1 - same], totals[1 - same])
    return out[0], out[1], out[2], side


def _above(line: np.ndarray, right: np.ndarray, width: float) -> tuple[int, np.ndarray]:
    """The best placed relevant row, and (K,) bool: rows before it; the lower row wins a tie."""
    best = line[right].max()
    target = int(right[line[right] >= best - width].min())
    above = line > best + width
    above[:target] |= np.abs(line[:target] - best) <= width
    return target, above


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole > 0 else float("nan")
