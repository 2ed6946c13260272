"""Consistency over a gallery of which only each query's best rows and some random rows are held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.search.scores import Ranking
from isthmus.theory.curves.consistency import Curve, has_curve
from isthmus.theory.curves.sweep import Sweep

TILE = 256
"""Queries whose scores are held at once."""
PARTS = 10
"""Parts of the random rows, each of which is taken for all, to see how much they differ."""
T95 = 2.262
"""Standard errors in a 95 % interval that is estimated from ten parts (Student, 9 degrees)."""

AS_HIGH = 1e-5
"""Relative difference of scores that a store may have rounded."""


@dataclass(frozen=True, eq=False)
class HeldRows:
    """What is held of a gallery of ``count`` rows, for one search.

    Attributes:
        rows, scores: (n, m) the best rows of each query and their scores, best first; -1 and -inf
            where there are fewer.
        random: (R,) numbers of the random rows, rising. None: not known; one that scores as high as
            the last of a query's best rows is taken to be among them.
        items: (K,) lowest row of each row's item, by row number; None: every row is an item.
    """

    count: int
    rows: np.ndarray
    scores: np.ndarray
    random: np.ndarray | None
    items: np.ndarray | None = None

    def weighted(
        self, rest: np.ndarray, part: slice, step: int = 1, first: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores (b, m + r) of the queries ``part`` and how many rows each stands for.

        ``rest`` (b, R) are those of the random rows, of which every ``step``-th from ``first`` is
        taken. Rivals that are none have -inf.
        """
        rows, best = self.rows[part], self.scores[part].astype(rest.dtype)
        rest = rest[:, first::step].copy()
        rest[self._among_best(rest, part, step, first)] = -np.inf
        others = np.isfinite(rest).sum(axis=1)
        stands_for = (self.count - np.isfinite(best).sum(axis=1)) / np.maximum(others, 1)
        scores = np.concatenate([best, rest], axis=1)
        if self.items is not None and self.random is not None:
            random = self.items[self.random[first::step]]
            named = np.concatenate([self.items[rows], [random] * len(rest)], axis=1)
            own = named == named[:, :1]
            own[:, 0] = False
            scores[own] = -np.inf
        weights = np.ones_like(scores)
        weights[:, rows.shape[1] :] = stands_for[:, None]
        return scores, weights

    def _among_best(self, rest: np.ndarray, part: slice, step: int, first: int) -> np.ndarray:
        """Which random rows are among a query's best, (b, r) bool."""
        if self.random is None:
            last = np.where(np.isfinite(self.scores[part]), self.scores[part], np.inf).min(axis=1)
            return np.asarray(rest >= (last - AS_HIGH * np.abs(last))[:, None])
        found, random = np.zeros(rest.shape, bool), self.random[first::step]
        at = np.searchsorted(random, self.rows[part])
        at[at == len(random)] = 0
        query, place = np.nonzero(random[at] == self.rows[part])
        found[query, at[query, place]] = True
        return found


def has_law(ranking: Ranking) -> bool:
    """Whether :func:`gallery_curve` has a formula for a search, told from some of its candidates:
    where :func:`consistency_curve` has bins, but not for Euclidean search with candidate biases."""
    return has_curve(ranking) and (ranking.score == "dot" or ranking.bias is None)


def gallery_curve(
    ranking: Ranking, totals: Sequence[float], held: HeldRows, *, spreads: np.ndarray | None = None
) -> Curve | None:
    """Share of answers that survive Gaussian noise on all candidates of a gallery, at every level.

    The best rows of a query are taken one by one, as :func:`consistency_curve` takes all. Each
    random row that is not among them stands for (count - m) / (random rows not among them) rows.

    Args:
        ranking: clean queries (n, d) and the random rows (R, d) as they are searched.
        totals: (L,) levels E‖ε‖². held: best rows of each query, as ``ranking`` scores them.
        spreads: as in :func:`consistency_curve`.

    Returns:
        None where there is no formula (:func:`has_law`). ``error`` holds 95 % limits of what
        another draw of random rows would change, from tenths of them at the first queries.

    Cost: a product of the queries and the random rows, and a few passes a level over the rivals
    within reach. Memory: the scores of 256 queries.
    """
    levels = np.asarray(totals, np.float64)
    if not has_law(ranking):
        return None
    sweep = Sweep(ranking, levels, spreads, count=held.count)
    kept, error = np.empty((2, len(levels), len(ranking.queries)))
    missed = np.zeros(len(levels))
    for start, rest in ranking.score_blocks(TILE):
        part = slice(start, start + len(rest))
        scores, weights = held.weighted(rest, part)
        asked = np.arange(part.start, part.stop)
        kept[:, part], error[:, part] = sweep.block(scores, asked, weights=weights)
        if not start and PARTS <= len(ranking.candidates) < held.count:
            tenths = [held.weighted(rest, part, PARTS, first) for first in range(PARTS)]
            means = [sweep.block(s, asked, weights=w)[0].mean(axis=1) for s, w in tenths]
            missed = T95 * np.std(means, axis=0, ddof=1) / np.sqrt(PARTS)
    error = error.mean(axis=1) + missed
    return Curve(levels, kept.mean(axis=1), kept, error, "bins of leads, whole gallery")
