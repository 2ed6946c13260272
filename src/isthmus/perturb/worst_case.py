"""The worst moves of a given size: what a certified radius promises nothing against.

Each function returns the moved rows. Replayed at 1.001 of the radius of
:mod:`isthmus.theory.prediction` they change the answer; at 0.999 they do not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isthmus.core.checks import one_of
from isthmus.errors import OptionError
from isthmus.search.scores import Ranking, top1

NORMS = ("l2", "linf")


def worst_queries(
    queries: np.ndarray,
    candidates: np.ndarray,
    radius: np.ndarray,
    score: str,
    *,
    norm: str = "l2",
    bias: np.ndarray | None = None,
) -> np.ndarray:
    """Queries moved by ``radius`` (n,), each to the rival that this brings farthest ahead: (n, d).

    The move is r Δ_j / ‖Δ_j‖ (``l2``) or r sign Δ_j (``linf``), Δ_j = x_j - x_1, with j the rival
    of least m_j - r‖Δ_j‖ (dual norm). O(n K d). Under cosine candidates count over their norms.

    Raises:
        OptionError: unknown norm or score.
    """
    one_of(norm, NORMS, "norm")
    out = np.array(queries, np.float64)
    for i, between, behind, near in _rivals(queries, candidates, score, bias):
        reach = np.linalg.norm(between, ord=2 if norm == "l2" else 1, axis=1)
        short = behind - radius[i] * reach
        short[reach <= near] = np.inf  # the answer and twins
        step = between[short.argmin()]
        step = step / np.linalg.norm(step) if norm == "l2" else np.sign(step)
        out[i] += radius[i] * step
    return out


def _rivals(
    queries: np.ndarray, candidates: np.ndarray, score: str, bias: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray, np.ndarray, float]]:
    """Of each query: its row, x_j - x_1 (K, d), how far each x_j is behind (K,), and the length
    up to which a difference is rounding."""
    ranking = Ranking.of(queries, candidates, score, bias)
    first = top1(ranking)
    rows = candidates if ranking.scale is None else candidates * ranking.scale[:, None]
    for start, scores in ranking.score_blocks():
        for i, line in enumerate(scores, start):
            answer = rows[first[i]]
            yield i, rows - answer, line[first[i]] - line, 1e-7 * float(np.linalg.norm(answer))


def worst_rotations(
    queries: np.ndarray, candidates: np.ndarray, angle: np.ndarray, score: str
) -> np.ndarray:
    """Each query turned by ``angle`` (n,) radians towards the rival that this brings farthest
    ahead, its length kept, (n, d)."""
    out = np.array(queries, np.float64)
    for i, between, behind, near in _rivals(queries, candidates, score):
        size = np.linalg.norm(queries[i])
        ahead = between @ queries[i] / size
        across = between - ahead[:, None] * queries[i] / size
        side = np.linalg.norm(across, axis=1)
        turned = size * (ahead * np.cos(angle[i]) + side * np.sin(angle[i]))
        short = behind + between @ queries[i] - turned
        short[side <= near] = np.inf
        j = short.argmin()
        out[i] = np.cos(angle[i]) * queries[i] + np.sin(angle[i]) * size * across[j] / side[j]
    return out


def worst_candidates(
    query: np.ndarray,
    candidates: np.ndarray,
    answer: int,
    radius: float,
    score: str,
    *,
    norm: str = "l2",
) -> np.ndarray:
    """All candidates moved by at most ``radius``, the worst against one query's answer: (K, d).

    Euclidean: the answer straight away from the query and every rival straight towards it (and not
    past it); in ``linf`` coordinate by coordinate. Dot: the answer against q, rivals along it, by
    r q / ‖q‖ or r sign q.

    Raises:
        OptionError: unknown norm, or cosine.
    """
    one_of(norm, NORMS, "norm")
    moved = np.array(candidates, np.float64)
    if score == "dot":
        size = np.linalg.norm(query)
        step = np.sign(query) if norm == "linf" else query / (size if size > 0 else 1.0)
        moved += radius * step
        moved[answer] = candidates[answer] - radius * step
        return moved
    if score != "euclidean":
        raise OptionError(
            "score-not-offered",
            f"no worst case of candidates under '{score}'; say dot or euclidean",
        )
    away = query - moved
    if norm == "linf":
        moved += np.clip(away, -radius, radius)
        moved[answer] = candidates[answer] - radius * np.where(away[answer] >= 0, 1.0, -1.0)
        return moved
    far = np.linalg.norm(away, axis=1)
    step = np.minimum(radius, far) / np.where(far > 0, far, 1.0)
    moved += step[:, None] * away
    unit = away[answer] / far[answer] if far[answer] > 0 else np.eye(len(query))[0]
    moved[answer] = candidates[answer] - radius * unit
    return moved
