"""Flip probabilities and certified radii, from the clean rows alone (``docs/prediction.md``).

Noise is Gaussian, independent over rows and coordinates. A level is E‖ε‖² of a row's noise.
"""

from __future__ import annotations

import numpy as np

from isthmus.errors import OptionError
from isthmus.search.scores import Ranking
from isthmus.theory.both import averaged_kept, two_kept
from isthmus.theory.candidates import dot_kept, euclidean_kept
from isthmus.theory.integrals import Kept
from isthmus.theory.normal import normal_two
from isthmus.theory.queries import query_kept
from isthmus.theory.radii import (
    Joint,
    candidate_radius,
    joint_radius,
    query_angle,
    query_radius,
    smoothing_certificate,
    smoothing_radius,
)
from isthmus.theory.rows import Clean, check_dims, check_noise


def keep_probabilities(
    ranking: Ranking,
    total: float = 0.0,
    *,
    query_total: float = 0.0,
    noisy_dims: int | None = None,
    draws: int = 64,
    directions: int = 4096,
    seed: int = 0,
) -> Kept | None:
    """P[top-1 survives noise] for each query, with what it is known to; None without a formula.

    Args:
        ranking: clean queries (n, d) and candidates (K, d) as they are searched (after a closer's
            maps), candidate biases included. Its score is dot or euclidean; cosine has a formula
            for noise on queries alone.
        total: E‖ε‖² of one candidate's noise. query_total: E‖e‖² of a query's noise.
        noisy_dims: candidates carry noise in their first ``noisy_dims`` coordinates only, ``total``
            spread evenly over those; a query's noise is in all.
        draws: of the query's noise, where both sides are noisy and K > 2 (at least 4).
        directions: for noise on queries alone and K > 2. seed: of draws and directions.

    Returns:
        :class:`Kept`. Noise on candidates, and K = 2, is exact to ``error_bound`` (about 1e-8);
        the rest has a ``standard_error``.

    Raises:
        OptionError: a level that is no variance, ``noisy_dims`` out of range.

    Source: D10 to D13 of ``docs/formulas.md``. Cost: there and in ``docs/prediction.md``.
    """
    check_noise(total)
    check_noise(query_total, "query_total")
    dims = check_dims(noisy_dims, int(ranking.candidates.shape[1]))
    if len(ranking.candidates) < 2 or (ranking.score == "cosine" and total > 0):
        return None
    clean = Clean.of(ranking)
    n = len(clean.queries)
    if total == 0 and query_total == 0:
        return Kept(np.ones(n), np.zeros(n), np.zeros(n), "no noise")
    if total == 0:
        return query_kept(clean, query_total, directions, seed)
    if query_total == 0:
        return (dot_kept if ranking.score == "dot" else euclidean_kept)(clean, total, dims)
    if len(clean.candidates) == 2 and dims == clean.queries.shape[1]:
        return two_kept(clean, total, query_total)
    if draws < 4:
        raise OptionError(f"draws={draws}; expected at least 4, for a standard error")
    return averaged_kept(clean, total, query_total, dims, draws, seed)


def keep_probability(ranking: Ranking, total: float) -> np.ndarray | None:
    """P[top-1 survives noise on the candidates] for each query, (n,); None where no formula is.

    The ``value`` of :func:`keep_probabilities` with noise on candidates alone.
    """
    if ranking.score == "cosine":
        return None
    kept = keep_probabilities(ranking, total)
    return None if kept is None else kept.value


__all__ = [
    "Joint",
    "Kept",
    "candidate_radius",
    "joint_radius",
    "keep_probabilities",
    "keep_probability",
    "normal_two",
    "query_angle",
    "query_radius",
    "smoothing_certificate",
    "smoothing_radius",
]
