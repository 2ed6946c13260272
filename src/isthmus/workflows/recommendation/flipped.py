"""Which queries change their first answer, today and with the closing: a table to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.search.inputs import Input
from isthmus.search.task import RetrievalTask
from isthmus.workflows.recommendation.parts import Measured

MOST = 300
"""Queries that are listed at most, those first of which the answer changes most surely."""
LEAST_SHARE = 0.05
"""Share of draws from which on a change is worth a line."""


def flipped_queries(
    task: RetrievalTask,
    test: np.ndarray,
    measured: Sequence[tuple[Closer, Measured, Measured]],
    advice: dict[str, Any],
) -> dict[str, Any]:
    """The judging queries whose answer changes under the disturbance that the advice is about.

    Args:
        test: rows of the judging queries. advice: closer, score and ``judged_on``.
        measured: per closer the figures of both parts, under that disturbance.

    Returns:
        ``disturbance``; one entry per query in ``queries`` and ``answers`` (file rows),
        ``query_ids`` and ``answer_ids`` (None where rows have no ids), ``today`` and ``closed``
        (share of draws in which the answer changes; None: no closing is advised); ``of``, how
        many queries change at all.
    """
    by_closer = {(c.name, c.score): test.flips.mean(axis=0) for c, _, test in measured}
    today = by_closer["none", task.score]
    acts = advice["closer"] not in (None, "none")
    closed = by_closer[advice["closer"], advice["score"]] if acts else None
    worst = today if closed is None else np.maximum(today, closed)
    found = np.flatnonzero(worst >= LEAST_SHARE)
    listed = np.sort(found[np.argsort(-worst[found], kind="stable")][:MOST])
    queries, answers = test[listed], task.today()[test[listed]]
    return {
        "disturbance": advice["judged_on"],
        "queries": _rows(task.query_input, queries),
        "answers": _rows(task.candidate_input, answers),
        "query_ids": _ids(task.query_input, queries),
        "answer_ids": _ids(task.candidate_input, answers),
        "today": today[listed].tolist(),
        "closed": None if closed is None else closed[listed].tolist(),
        "of": len(found),
    }


def _rows(given: Input | None, places: np.ndarray) -> list[int]:
    """Rows of the file, where the task holds some of them."""
    found: list[int] = (places if given is None else given.rows[places]).tolist()
    return found


def _ids(given: Input | None, places: np.ndarray) -> list[Any] | None:
    ids = None if given is None else given.ids
    return None if ids is None else ids[places].tolist()
