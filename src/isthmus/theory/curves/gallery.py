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
        biases: (K,) candidate biases by row number; None: they do not count, or are not known.
        right: (n,) the score of the one row that is right, -inf where there is none or more, and
            ``right_rows`` (n,) its number. None: nothing is known to be right.
    """

    count: int
    rows: np.ndarray
    scores: np.ndarray
    random: np.ndarray | None
    items: np.ndarray | None = None
    biases: np.ndarray | None = None
    right: np.ndarray | None = None
    right_rows: np.ndarray | None = None

    def columns(self, rest: np.ndarray, part: slice, step: int = 1, first: int = 0) -> Columns:
        """Of the queries ``part`` the best rows and the random ones, (b, m + r).

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
        biases = None
        if self.biases is not None and self.random is not None:
            others = np.broadcast_to(self.biases[self.random[first::step]], rest.shape)
            biases = np.concatenate([self.biases[rows], others], axis=1)
        return Columns(scores, weights, biases)

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

    def aimed(self, found: Columns, part: slice) -> tuple[Columns, np.ndarray]:
        """The same with the right row in a column of its own, the first, of those queries of
        ``part``, and which, that have one that is not their answer."""
        assert self.right is not None
        assert self.right_rows is not None
        assert self.random is not None
        scores = found.scores
        rows = np.concatenate([self.rows[part], np.tile(self.random, (len(scores), 1))], axis=1)
        own, mine = self.right[part], self.right_rows[part]
        some = np.flatnonzero(np.isfinite(own) & (mine != self.rows[part, 0]))
        others = np.where(rows[some] == mine[some, None], -np.inf, scores[some])
        first = own[some, None].astype(scores.dtype)
        biases = None
        if found.biases is not None and self.biases is not None:
            biases = np.concatenate([self.biases[mine[some], None], found.biases[some]], axis=1)
        return (
            Columns(
                np.concatenate([first, others], axis=1),
                np.concatenate([np.ones_like(first), found.weights[some]], axis=1),
                biases,
            ),
            some,
        )


@dataclass(frozen=True, eq=False)
class Columns:
    """Scores (b, c) of some queries, how many rows each stands for, and candidate biases, None
    where these do not count."""

    scores: np.ndarray
    weights: np.ndarray
    biases: np.ndarray | None

    def chances(
        self, sweep: Sweep, asked: np.ndarray, aimed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`Sweep.block` of them, for the queries ``asked`` (b,); None: aimed at the best."""
        first = self.scores.argmax(axis=1) if aimed is None else aimed
        more = self.weights, self.biases
        return sweep.block(self.scores, asked, first, *more, behind=aimed is not None)


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
        None where there is no formula, as :func:`consistency_curve`, and for Euclidean search with
        candidate biases of which only those of the random rows are known. ``error`` holds 95 %
        limits of what another draw of random rows would change, from tenths of them at the first
        queries.
        ``aimed`` (1, L, n): chances that the right row is the answer, NaN where there is not one.

    Cost: a product of the queries and the random rows, and a few passes a level over the rivals
    within reach. Memory: the scores of 256 queries.
    """
    levels = np.asarray(totals, np.float64)
    biased = ranking.score == "euclidean" and ranking.bias is not None
    if not has_curve(ranking) or (biased and held.biases is None):
        return None
    most = None if held.biases is None else float(held.biases.max())
    sweep = Sweep(ranking, levels, spreads, count=held.count, most_bias=most)
    kept, error = np.empty((2, len(levels), len(ranking.queries)))
    missed = np.zeros(len(levels))
    right = None if held.right is None else np.full((1, *kept.shape), np.nan)
    for start, rest in ranking.score_blocks(TILE):
        part = slice(start, start + len(rest))
        columns, asked = held.columns(rest, part), np.arange(part.start, part.stop)
        kept[:, part], error[:, part] = columns.chances(sweep, asked)
        if right is not None:
            one = np.isfinite(held.right[part])  # type: ignore[index]
            right[0, :, part] = np.where(one, kept[:, part], np.nan)
            aimed, some = held.aimed(columns, part)
            if len(some):
                found, _ = aimed.chances(sweep, asked[some], np.zeros(len(some), np.int64))
                right[0, :, start + some] = found.T
        if not start and PARTS <= len(ranking.candidates) < held.count:
            tenths = [held.columns(rest, part, PARTS, first) for first in range(PARTS)]
            means = [tenth.chances(sweep, asked)[0].mean(axis=1) for tenth in tenths]
            missed = T95 * np.std(means, axis=0, ddof=1) / np.sqrt(PARTS)
    error = error.mean(axis=1) + missed
    return Curve(levels, kept.mean(axis=1), kept, error, "bins of leads, whole gallery", right)
