"""Thresholds of an audit, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.search.relevance import relevance_by_pairs
from isthmus.search.task import RetrievalTask
from isthmus.workflows.audits.thresholds import thresholds_of
from worlds import two_modalities


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_thresholds_count_what_reaches_them(score: str) -> None:
    q, c = two_modalities(60, 8, seed=3)
    q = q * np.linspace(0.5, 2, 60)[:, None]
    task = RetrievalTask.of(q, c, relevance_by_pairs(60, 60), score=score)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, c)]
    apart = np.linalg.norm(q[:, None] - c[None], axis=2)
    table = {"cosine": unit[0] @ unit[1].T, "dot": q @ c.T, "euclidean": -apart}[score]
    first = table.argmax(axis=1)
    best, right = table.max(axis=1), first == np.arange(60)
    found = thresholds_of(task)
    assert found[0]["answered"] == 1.0
    assert len(found) > 8
    for line in found:
        place = -line["threshold"] if score == "euclidean" else line["threshold"]
        reached = best >= place - 1e-7
        assert line["answered"] == pytest.approx(reached.mean())
        assert line["right"] == pytest.approx(right[reached].mean())


def test_thresholds_need_something_right() -> None:
    q, c = two_modalities(30, 8, seed=3)
    assert thresholds_of(RetrievalTask.of(q, c)) == []
