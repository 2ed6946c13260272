"""Rows as a calibration scores them: opened, different, through a closer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.errors import OptionError, ShapeError
from isthmus.search.opening import open_task
from isthmus.search.scores import check_score
from isthmus.search.task import RetrievalTask


def score_of(score: str | None, closer: Closer | None) -> str:
    """The score asked for, or the closer's, or cosine. Raises OptionError where they differ."""
    if closer is None:
        return check_score(score or "cosine")
    if score is not None and check_score(score) != closer.score:
        raise OptionError(
            "score-of-another-closer",
            f"score '{score}', but the closer {closer.name} is searched by {closer.score}; leave "
            "the score out, or fit a closer for it",
        )
    return closer.score


def opened(
    queries: Any, candidates: Any, score: str, closer: Closer | None, said: dict[str, Any]
) -> RetrievalTask:
    """The task of rows as they are searched, or as given where a closer maps them first."""
    if closer is None:
        return open_task(queries, candidates, score=score, **said)
    task = open_task(queries, candidates, score="dot", **said)
    cosine = score == "cosine" or closer.query.normalised or closer.candidate.normalised
    for side in (task.query_input, task.candidate_input):
        assert side is not None
        side.stats.refuse(side.name, cosine=cosine, source=side.source)
    if closer.query.dim != task.queries.shape[1]:
        raise ShapeError(
            "unequal-dimensions",
            f"rows have {task.queries.shape[1]} dimensions, but the closer was fitted for "
            f"{closer.query.dim}; use rows of the same model",
        )
    return replace(task, score=score)


def closed(task: RetrievalTask, closer: Closer | None) -> tuple[RetrievalTask, np.ndarray | None]:
    """The task of mapped rows, and the candidate bias (K,)."""
    if closer is None:
        return task, None
    bias = None if closer.bias_weights is None else closer.candidate_bias(task.candidates)
    queries, candidates = closer.query(task.queries), closer.candidate(task.candidates)
    return replace(task, queries=np.asarray(queries), candidates=np.asarray(candidates)), bias
