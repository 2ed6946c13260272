"""Every score as a store would compute it on the rows of the files, normalised or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.arrays import row_norms
from isthmus.search.inputs import Input
from isthmus.search.scores import SCORES, Ranking
from isthmus.search.shared import Moved
from isthmus.search.task import RetrievalTask


def by_score(task: RetrievalTask) -> list[dict[str, Any]]:
    """Plain search of the files' rows by each score, the one in use first.

    Returns:
        ``score``, ``agreement`` of first answers with the score in use, ``accuracy`` (None where
        nothing is known to be right). The cosine is left out where a row is zero.
    """
    q, c = task.queries, task.candidates
    lengths: tuple[np.ndarray | None, np.ndarray | None] = None, None
    if task.normalised:
        q, c = _of_file(task.query_input, q), _of_file(task.candidate_input, c)
        lengths = row_norms(q), row_norms(c)
    zero = not (row_norms(q).all() and row_norms(c).all())
    scores = [task.score, *(s for s in SCORES if s != task.score)]
    scores = [score for score in scores if score != "cosine" or not zero]
    rankings = [Ranking.of(q, c, score, facts=task.facts) for score in scores]
    # rows of the file are the task's rows times their norms
    every = task.answers([(r, Moved.of(task.product, r, lengths=lengths)) for r in rankings])
    relevance, found, today = task.relevance, [], every[0]
    for score, answers in zip(scores, every, strict=True):
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
