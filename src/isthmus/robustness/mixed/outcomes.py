"""What happened to each query of a mixed pool: gain, recall, shares and places. No averages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from isthmus.core.arrays import to_numpy
from isthmus.core.topk import lines_top_k
from isthmus.errors import OptionError, ShapeError
from isthmus.search.items import best_items, rows_for
from isthmus.search.relevance import Relevance
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import RetrievalTask

BLOCK = 2**18
"""Scores looked at at once, where they are known."""


@dataclass(frozen=True, eq=False)
class PoolScores:
    """Scores (n, K) of a pool that are known, and how close ties are, (n, 1)."""

    scores: np.ndarray
    tie_widths: np.ndarray

    def score_blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first query row, scores (b, K)) for consecutive queries, as a ranking has them."""
        step = max(1, BLOCK // max(self.scores.shape[1], 1))
        for start in range(0, len(self.scores), step):
            yield start, self.scores[start : start + step]


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
    ranking: Ranking | PoolScores,
    relevance: Relevance,
    is_a: np.ndarray,
    *,
    k: int = 10,
    items: np.ndarray | None = None,
) -> PoolOutcome:
    """Search a pool exactly. O(n K d) in blocks; one block of scores is held at a time.

    Args:
        ranking: n queries and K documents, or their scores.
        relevance: relevant documents of each query.
        is_a: (K,) bool, True for documents of side a. k: depth.
        items: (K,) lowest row of each document's item, where documents are not items. An item
            counts once, at its best document, and is relevant where one of its documents is.

    Raises:
        OptionError: k below 1 or above K. ShapeError: ``is_a`` does not fit the pool. LabelsError:
        ``relevance`` does not.
    """
    if isinstance(ranking, PoolScores):
        asked, count = ranking.scores.shape
    else:
        asked, count = (int(side.shape[0]) for side in (ranking.queries, ranking.candidates))
    relevance.checked(asked, count)
    if np.shape(is_a) != (count,):
        raise ShapeError(
            "one-flag-per-document",
            f"a pool of {count} documents was given {np.size(is_a)} sides; expected one each",
        )
    is_a = np.asarray(is_a, bool)
    depth = k if items is None else rows_for(items, k)
    if not 1 <= depth <= count:
        raise OptionError("bad-k", f"k={k} of {count} candidates; expected 1 to {count}")
    shared = relevance if items is None else relevance.shared(None, items)
    best, *places = _looked_at(ranking, shared, is_a, depth)
    among = relevance
    sides = is_a[best[:, :k]]
    if items is not None:
        among = relevance.merged(np.arange(relevance.queries), items)
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
        *places,
    )


def _best_rows(ranked: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """(n, k): the best row of each of the first k items of ranked rows (n, r)."""
    out = np.empty((len(ranked), k), np.int64)
    for i, line in enumerate(ranked):
        first = np.sort(np.unique(items[line], return_index=True)[1])[:k]
        out[i] = line[first]
    return out


def _looked_at(
    ranking: Ranking | PoolScores, relevance: Relevance, is_a: np.ndarray, depth: int
) -> tuple[np.ndarray, ...]:
    """The best rows (n, depth), the place of each query's best relevant document, the shares of its
    own and the other modality above it, and whether it is of side a: one pass over the scores."""
    widths = to_numpy(ranking.tie_widths)
    rights = relevance.of_query()
    best = np.empty((relevance.queries, depth), np.int64)
    out = np.full((3, relevance.queries), np.nan)
    side = np.zeros(relevance.queries, bool)
    totals = np.array([(~is_a).sum(), is_a.sum()])
    for start, block in ranking.score_blocks():
        scores = to_numpy(block)
        part = slice(start, start + len(scores))
        best[part] = lines_top_k(scores, depth, widths[part])[0]
        rows, target, passed = _passed(scores, rights[part], widths[part, 0], is_a)
        same = is_a[target].astype(int)
        side[start + rows] = is_a[target]
        each = np.arange(len(rows))
        out[0, start + rows] = passed.sum(axis=1)
        out[1, start + rows] = _share(passed[each, same], totals[same] - 1)
        out[2, start + rows] = _share(passed[each, 1 - same], totals[1 - same])
    return best, *out, side


def _passed(
    scores: np.ndarray, rights: list[np.ndarray], widths: np.ndarray, is_a: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The queries (m,) that have a relevant document, the best placed one (m,), and how many
    documents of either side stand above it, (m, 2)."""
    counts = np.fromiter(map(len, rights), np.int64, len(rights))
    rows = np.flatnonzero(counts)
    target = np.concatenate(rights)[(np.cumsum(counts) - counts)[rows]]
    judged = scores if len(rows) == len(scores) else scores[rows]
    level = scores[rows, target]
    above = judged > (level + widths[rows])[:, None]
    level -= widths[rows]
    near = np.count_nonzero(judged >= level[:, None], axis=1)
    slow = (counts[rows] > 1) | (near > np.count_nonzero(above, axis=1) + 1)
    for i in np.flatnonzero(slow):
        row = rows[i]
        target[i], above[i] = _above(scores[row], rights[row], float(widths[row]))
    sides = np.stack([~is_a, is_a], axis=1).astype(np.float32)
    return rows, target, (above.astype(np.float32) @ sides).astype(np.int64)


def _above(line: np.ndarray, right: np.ndarray, width: float) -> tuple[int, np.ndarray]:
    """The best placed relevant row, and (K,) bool: rows before it; the lower row wins a tie."""
    best = line[right].max()
    target = int(right[line[right] >= best - width].min())
    above = line > best + width
    above[:target] |= np.abs(line[:target] - best) <= width
    return target, above


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Shares, NaN of nothing."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
