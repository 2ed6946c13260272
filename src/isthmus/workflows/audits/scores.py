"""Every score as a store would compute it on the rows of the files, normalised or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.arrays import row_norms
from isthmus.search.scores import SCORES, Ranking
from isthmus.search.task import Input, RetrievalTask


def by_score(task: RetrievalTask) -> list[dict[str, Any]]:
    """Plain search of the files' rows by each score, the one in use first.

    Returns:
        ``score``, ``agreement`` of first answers with the score in use, ``accuracy`` (None where
        nothing is known to be right). The cosine is left out where a row is zero.
    """
    q, c = task.queries, task.candidates
    if task.normalised:
        q, c = _of_file(task.query_input, q), _of_file(task.candidate_input, c)
    zero = not (row_norms(q).all() and row_norms(c).all())
    relevance, found = task.relevance, []
    today = None
    for score in (task.score, *(s for s in SCORES if s != task.score)):
        if score == "cosine" and zero:
            continue
        answers = task.best(Ranking.of(q, c, score))
        today = answers if today is None else today
        right = relevance.correct(answers)[relevance.judged]
        found.append(
            {
                "score": score,
                "agreement": float((answers == today).mean()),
                "accuracy": float(right.mean()) if len(right) else None,
            }
        )
    return found


def _of_file(given: Input | None, rows: np.ndarray) -> np.ndarray:
    """The same rows as the file has them."""
    return rows if given is None else given.source.take(given.rows).astype(np.float64)
