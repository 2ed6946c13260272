"""What a threshold on the score of the first answer would keep, and how much of it is right."""

from __future__ import annotations

import numpy as np

from isthmus.search.task import RetrievalTask

PLACES = 11
"""Thresholds that are shown: quantiles of the first answers' scores, the lowest first."""


def thresholds_of(task: RetrievalTask) -> list[dict[str, float]]:
    """For thresholds from the loosest to the strictest, undisturbed.

    Returns:
        ``threshold``: a cosine, an inner product, or a Euclidean distance, which matches reach or
        stay below; ``answered``, the share of judged queries whose first answer does; ``right``,
        the share of those that is right. Empty where nothing is known to be right. The
        thresholds are not fitted: ``isthmus calibrate`` picks one at a stated rate of false
        matches, on queries held out.
    """
    judged = task.relevance.judged
    if not judged.any():
        return []
    answers = task.today()
    near = _nearness(task, answers)[judged]
    right = task.relevance.correct(answers)[judged]
    order = np.argsort(-near, kind="stable")
    near, kept = near[order], np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    sign = -1.0 if task.score == "euclidean" else 1.0
    found = []
    for place in np.unique(np.quantile(near, np.linspace(0, 1, PLACES), method="lower")):
        reach = int(np.searchsorted(-near, -place, side="right"))
        found.append(
            {
                "threshold": float(sign * place),
                "answered": reach / len(near),
                "right": float(kept[reach - 1]),
            }
        )
    return found


def _nearness(task: RetrievalTask, answers: np.ndarray) -> np.ndarray:
    """Cosine, inner product, or minus the distance of each query to its first answer: (n,)."""
    scores = task.plain().scores_of(answers)
    norms = np.linalg.norm(task.queries, axis=1)
    if task.score == "cosine":
        return scores / np.where(norms > 0, norms, 1.0)
    if task.score == "euclidean":
        return -np.sqrt(np.maximum(norms**2 - 2 * scores, 0.0))
    return scores
