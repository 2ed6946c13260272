"""How likely each answer survives Gaussian noise, from the clean rows (``docs/prediction.md``).

Noise is independent over rows and coordinates. A level is E‖ε‖² of a row's noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.arrays import to_numpy, unit
from isthmus.core.levels import total_variance
from isthmus.core.statistics import Z95
from isthmus.data.records import Record
from isthmus.errors import OptionError
from isthmus.search.opening import open_task
from isthmus.search.scores import Ranking
from isthmus.theory.both import averaged_kept, two_kept
from isthmus.theory.candidates import cosine_kept, dot_kept, euclidean_kept
from isthmus.theory.integrals import Kept
from isthmus.theory.queries import query_kept
from isthmus.theory.rows import CleanRows, check_dims, check_noise, closed_ranking

if TYPE_CHECKING:
    from isthmus.closers.closer import Closer

LEAST_DRAWS = 4
LEAST_COSINE = 64
"""Dimensions from which on the law of cosine is known well."""


@dataclass(frozen=True, eq=False)
class Prediction(Record):
    """Predicted chance that each query keeps its answer.

    Attributes:
        consistency: mean of ``keep`` over the queries. flips: 1 - consistency.
        score, closer: how it is searched; closer ``none`` is plain search.
        noise, query_noise: E‖ε‖² of a candidate's and of a query's noise.
        method: the formula, in one line.
        keep: (n,) chance that the answer survives. low, high: (n,) what it is known to lie
            between: error bounds of the formula, and 95 % limits of what was drawn.
    """

    consistency: float
    flips: float
    score: str
    closer: str
    noise: float
    query_noise: float
    method: str
    keep: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """One line per query."""
        columns = zip(self.keep.tolist(), self.low.tolist(), self.high.tolist(), strict=True)
        return [{"query": i, "keep": k, "low": a, "high": b} for i, (k, a, b) in enumerate(columns)]

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """Mean flips, and the first queries."""
        return f"{self.flips:.1%} of {len(self.keep)} answers flip ({self.method})", self.rows()


def predict(
    queries: Any,
    candidates: Any,
    *,
    score: str | None = None,
    noise: float = 0.022,
    query_noise: float = 0.0,
    convention: str = "total",
    closer: Closer | None = None,
    normalised: bool | None = None,
    candidate_items: Any = None,
    seed: int = 0,
) -> Prediction:
    """How likely each query keeps its first answer under Gaussian noise, without drawing any.

    Args:
        queries, candidates: (n, d) and (K, d) arrays, tensors, paths, globs or ``Rows``.
        score: dot, euclidean or cosine; cosine has formulas for noise on one side alone. None: the
            closer's score, or dot.
        noise, query_noise: levels of noise on every candidate and on every query, after the
            closer's maps. convention: what a level means: ``total`` (E‖ε‖² of a row),
            ``coordinate`` (variance per coordinate) or ``spread`` (share of the variance of the
            candidates as searched).
        closer: a fitted closer; its coordinates in full precision carry no noise.
        normalised: divide rows by their norms first. None: under cosine alone (a closer that was
            fitted on unit rows normalises by itself).
        candidate_items: (K,) names or a file of them: rows with one name are one item, and the
            chance is at least that of the answer's row against rows of other items. Rows that
            repeat an earlier row exactly are one item by themselves.
        seed: of the formulas that draw (noise on queries, more than two candidates).

    Raises:
        OptionError: no formula, a closer of another score, a level that is no variance.
        ShapeError: dimensions do not fit.

    Cost: as :func:`keep_probabilities`; rows are held in float64.
    Source: D10 to D13 of ``docs/formulas.md``.

    >>> import numpy as np
    >>> a, b = np.random.default_rng(0).normal(size=(2, 50, 16))
    >>> prediction = predict(a, b, noise=0.5)
    >>> prediction.keep.shape
    (50,)
    >>> bool((prediction.low <= prediction.keep).all())
    True
    """
    score = score or ("dot" if closer is None else closer.score)
    if closer is not None and score != closer.score:
        raise OptionError(
            "score-mismatch",
            f"{closer.name} is searched by {closer.score}, not {score}; leave the score out",
        )
    task = open_task(
        queries,
        candidates,
        score=score,
        paired=False,
        candidate_items=candidate_items,
        distinct=False,
    ).distinct(queries=False)
    asked, stored, memo = task.queries, task.candidates, 0
    if normalised and not task.normalised:
        asked, stored = unit(asked), unit(stored)
    if closer is None:
        ranking = Ranking.of(asked, stored, score)
    else:
        ranking, memo = closed_ranking(closer, asked, stored), closer.memo
    dims = int(ranking.candidates.shape[1]) - memo
    spread = float(to_numpy(ranking.candidates)[:, :dims].var(axis=0).sum())
    square = float(np.einsum("ij,ij->", stored, stored)) / len(stored)
    levels = [
        total_variance(level, convention, dims, spread, square) for level in (noise, query_noise)
    ]
    kept = keep_probabilities(
        ranking,
        levels[0],
        query_total=levels[1],
        noisy_dims=dims,
        seed=seed,
        items=task.candidate_items,
    )
    if kept is None:
        raise OptionError(
            "no-formula",
            f"such noise on candidates has no formula under {score}; search by dot or euclidean",
        )
    reach = kept.error_bound + Z95 * kept.standard_error
    mean = float(kept.value.mean())
    return Prediction(
        consistency=mean,
        flips=1.0 - mean,
        score=score,
        closer="none" if closer is None else closer.name,
        noise=levels[0],
        query_noise=levels[1],
        method=kept.method,
        keep=kept.value,
        low=np.clip(kept.value - reach, 0.0, 1.0),
        high=np.clip(kept.value + reach, 0.0, 1.0),
    )


def keep_probabilities(
    ranking: Ranking,
    total: float = 0.0,
    *,
    query_total: float = 0.0,
    noisy_dims: int | None = None,
    draws: int = 64,
    directions: int = 4096,
    seed: int = 0,
    items: np.ndarray | None = None,
) -> Kept | None:
    """P[top-1 survives noise] for each query, with what it is known to; None without a formula.

    Args:
        ranking: clean queries (n, d) and candidates (K, d) as they are searched (after a closer's
            maps), candidate biases included. Cosine has formulas for noise on one side alone, from
            64 dimensions on where that is the candidates.
        total: E‖ε‖² of one candidate's noise. query_total: E‖e‖² of a query's noise.
        noisy_dims: candidates carry noise in their first ``noisy_dims`` coordinates only, ``total``
            spread evenly over those; a query's noise is in all.
        draws: of the query's noise, where both sides are noisy and K > 2 (at least 4).
        directions: for noise on queries alone and K > 2. seed: of draws and directions.
        items: (K,) lowest row of each row's item. Rivals are rows of other items; that another row
            of the winner's item may save the answer is left out, so the chance is a lower bound
            where the winner's item has several rows. None: every row is an item.

    Returns:
        :class:`Kept`. Noise on candidates, and K = 2, is exact to ``error_bound`` (about 1e-8, and
        1e-5 under cosine); the rest has a ``standard_error``.

    Raises:
        OptionError: a level that is no variance, ``noisy_dims`` or ``draws`` out of range.

    Source: D10 to D13 of ``docs/formulas.md``. Cost: there and in ``docs/prediction.md``.
    """
    check_noise(total)
    check_noise(query_total, "query_total")
    dims = check_dims(noisy_dims, int(ranking.candidates.shape[1]))
    count = len(ranking.candidates) if items is None else len(np.unique(items))
    if count < 2:
        return None
    clean = CleanRows.of(ranking, items)
    n = len(clean.queries)
    if ranking.score == "cosine" and total > 0:
        if query_total > 0 or not LEAST_COSINE <= dims == clean.queries.shape[1]:
            return None
        return cosine_kept(clean, 1 / to_numpy(ranking.scale).astype(np.float64), total)
    if total == 0 and query_total == 0:
        return Kept(np.ones(n), np.zeros(n), np.zeros(n), "no noise")
    if total == 0:
        return query_kept(clean, query_total, directions, seed)
    if query_total == 0:
        return (dot_kept if ranking.score == "dot" else euclidean_kept)(clean, total, dims)
    if len(clean.candidates) == 2 and dims == clean.queries.shape[1]:
        return two_kept(clean, total, query_total)
    if draws < LEAST_DRAWS:
        raise OptionError(
            "too-few-draws", f"draws={draws}; a standard error needs {LEAST_DRAWS} or more"
        )
    return averaged_kept(clean, total, query_total, dims, draws, seed)
