"""Flip probabilities and certified radii, from the clean rows alone (``docs/formulas.md``).

The noise is Gaussian and independent over candidates, E‖ε‖² = ``total``, so each coordinate has
variance σ² = total / d.

* dot (D11): P[keep] = ∫ φ(t) ∏_{j≠1} Φ(t + (s_1 - s_j) / (σ‖q‖)) dt. Exact.
* euclidean (D12): squared distances are independent non-central χ². Their normal approximation,
  mean ‖u_j‖² + dσ² and variance 4σ²‖u_j‖² + 2dσ⁴, goes into the same one-dimensional integral;
  at d >= 64 it is within .003 of the exact integral (tested by simulation).
"""

from __future__ import annotations

import numpy as np

from isthmus.scores import Ranking, top1

NODES = 48
RIVALS = 256
"""Candidates kept in the integral: the nearest ones; farther ones are beaten almost surely."""


def keep_probability(ranking: Ranking, score: str, total: float) -> np.ndarray | None:
    """P[top-1 survives noise on the candidates] for each query, (n,); None where no formula is.

    Args:
        ranking: clean queries and candidates as they are searched (after a closer's maps).
        score: dot or euclidean; cosine has no closed form here.
        total: E‖ε‖² of one candidate's noise.

    Cost: O(n (K d + min(K, 256) · 48)).
    """
    if score not in ("dot", "euclidean") or len(ranking.candidates) < 2:
        return None
    if total == 0:
        return np.ones(len(ranking.queries))
    dim = ranking.candidates.shape[1]
    per_coordinate = total / dim
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    heavy = weights > 1e-14 * weights.sum()  # the rest cannot be seen in float64 probabilities
    nodes, weights = nodes[heavy], weights[heavy] / weights.sum()
    parts = []
    squares = np.einsum("ij,ij->i", ranking.queries, ranking.queries)
    for start, scores in ranking.score_blocks():
        best, rivals = _winner_and_rivals(scores)
        q_square = squares[start : start + len(scores)]
        if score == "dot":
            spread_1 = np.sqrt(per_coordinate * q_square)
            spread_j = np.broadcast_to(spread_1[:, None], rivals.shape)
        else:  # halved squared distances, so that differences are differences of rankings
            spread_1 = _distance_spread(q_square - 2 * best, per_coordinate, dim)
            spread_j = _distance_spread(q_square[:, None] - 2 * rivals, per_coordinate, dim)
        parts.append(_keep(best[:, None] - rivals, spread_1, spread_j, nodes, weights))
    return np.concatenate(parts)


def _winner_and_rivals(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep = min(RIVALS + 1, scores.shape[1])
    near = -np.partition(-scores, keep - 1, axis=1)[:, :keep]
    winner = near.argmax(axis=1)
    rows = np.arange(len(near))
    best = near[rows, winner]
    near[rows, winner] = near[:, -1]
    return best, near[:, :-1]


def _distance_spread(square: np.ndarray, variance: float, dim: int) -> np.ndarray:
    """Standard deviation of half a noisy squared distance whose clean square is given."""
    square = np.maximum(square, 0.0)
    return 0.5 * np.sqrt(4 * variance * square + 2 * dim * variance**2)


def _keep(
    margins: np.ndarray,
    spread_1: np.ndarray,
    spread_j: np.ndarray,
    nodes: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    from scipy.special import ndtr

    total = np.zeros(len(margins))
    spread_j = np.maximum(spread_j, 1e-300)  # a query of length 0 meets no noise under dot
    lead, slope = margins / spread_j, spread_1[:, None] / spread_j
    for node, weight in zip(nodes, weights, strict=True):
        total += weight * ndtr(lead + slope * node).prod(axis=1)
    return total


def query_radius(ranking: Ranking) -> np.ndarray:
    """Smallest ‖e‖ of a query that changes its answer, (n,): min_j m_j / ‖x_j - x_1‖.

    For dot and euclidean (``scale`` None). The gap does not enter. O(n K d).
    """
    candidates = ranking.candidates
    squares = np.einsum("ij,ij->i", candidates, candidates)
    winners = top1(ranking)
    parts = []
    for start, scores in ranking.score_blocks():
        first = winners[start : start + len(scores)]
        rows = np.arange(len(scores))
        margin = scores[rows, first][:, None] - scores
        between = squares[first][:, None] + squares[None, :] - 2 * candidates[first] @ candidates.T
        noise = 64 * np.finfo(between.dtype).eps * (squares[first][:, None] + squares[None, :])
        reach = np.sqrt(np.where(between > noise, between, 0.0))  # an exact twin is no rival
        with np.errstate(divide="ignore", invalid="ignore"):
            radius = np.maximum(margin, 0.0) / reach
        radius[rows, first] = np.inf
        radius[reach == 0] = np.inf
        parts.append(np.nan_to_num(radius, nan=np.inf, posinf=np.inf).min(axis=1))
    return np.concatenate(parts)


def candidate_radius(ranking: Ranking, score: str) -> np.ndarray:
    """Largest r such that no candidate moved by less than r changes the answer, (n,).

    Euclidean: ½ min_j (‖u_j‖ - ‖u_1‖); dot: min_j (s_1 - s_j) / (2‖q‖). O(n K d).
    """
    squares = np.einsum("ij,ij->i", ranking.queries, ranking.queries)
    parts = []
    for start, scores in ranking.score_blocks():
        two = -np.partition(-scores, 1, axis=1)[:, :2]
        q_square = squares[start : start + len(scores)]
        if score == "euclidean":
            near = np.sqrt(np.maximum(q_square[:, None] - 2 * two, 0.0))
            parts.append((near[:, 1] - near[:, 0]) / 2)
        else:
            length = np.sqrt(q_square)
            free = np.full(len(length), np.inf)  # a query of length 0 ranks by stored numbers
            parts.append(np.divide(two[:, 0] - two[:, 1], 2 * length, out=free, where=length > 0))
    return np.concatenate(parts)
