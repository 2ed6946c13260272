"""Small synthetic rows for the core's tests, and slow references to hold the fast code against."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.closers import fit
from isthmus.closers.closer import Closer
from isthmus.data.moments import Moments, PairMoments
from isthmus.robustness import ClosedSearch
from isthmus.search.relevance import Relevance, relevance_by_pairs
from isthmus.search.task import RetrievalTask
from isthmus.workflows.recommendation import Rules
from isthmus.workflows.recommendation.verdicts import Verdict, unjudged


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows over their norms, float64."""
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def two_modalities(
    n: int, dim: int, *, gap: float = 0.8, noise: float = 0.6, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows of n pairs that share content, with a gap between the two sides: (n, d) each."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(1 + np.arange(dim) / 4)
    content = rng.normal(size=(n, dim)) * scale
    axis = rng.normal(size=dim)
    axis *= gap * np.linalg.norm(scale) / np.linalg.norm(axis)
    common = rng.normal(size=dim)
    common *= np.linalg.norm(scale) / np.linalg.norm(common)
    a = content + noise * rng.normal(size=(n, dim)) * scale + common + axis
    b = content + noise * rng.normal(size=(n, dim)) * scale + common - axis
    return unit_rows(a), unit_rows(b)


def task_of(
    queries: np.ndarray, candidates: np.ndarray, relevance: Relevance | None = None, seed: int = 0
) -> RetrievalTask:
    """One direction, with half of either side as the codecs' calibration."""
    rng = np.random.default_rng(seed)
    relevance = relevance or relevance_by_pairs(len(queries), len(candidates))
    task = RetrievalTask.of(queries, candidates, relevance, direction="a_to_b")
    return task.calibrated(rng)


def fitted(method: str, queries: np.ndarray, candidates: np.ndarray, **options: object) -> Closer:
    """A closer fitted on float64 moments of the rows as they enter its maps."""
    if options.get("normalised", True):
        queries, candidates = unit_rows(queries), unit_rows(candidates)
    if method == "procrustes":
        count = min(len(queries), len(candidates))
        pairs = PairMoments.of(queries[:count], candidates[:count], precise=True)
        options = {"pairs": pairs, **options}
    if method == "realign":
        options = {"query_rows": queries, **options}
    moments = Moments.of(queries, precise=True), Moments.of(candidates, precise=True)
    return fit(method, *moments, **options)


def set_up(task: RetrievalTask, closer: Closer) -> ClosedSearch:
    """A closer set up on a task, beside plain search under its own score."""
    return ClosedSearch.of(task, closer, task.today(closer.score))


def leave_verdict_out(patch: pytest.MonkeyPatch) -> None:
    """Audits have no verdict, as where there are too few queries to judge, and recommend one."""
    taken = {"closer": "center-queries", "score": "dot", "options": {}, "judged_on": "noise 0.04"}
    taken |= {"flips_before": 0.2, "flips_after": 0.1, "flips_removed_ci": [0.05, 0.15]}

    def nothing(task: RetrievalTask, rules: Rules, *_: object) -> Verdict:
        found = unjudged(task, rules)
        return replace(found, entries=[], recommendation=found.recommendation | taken)

    patch.setattr("isthmus.workflows.audits.direction.verdict_of", nothing)


def full_scores(queries: np.ndarray, candidates: np.ndarray, score: str) -> np.ndarray:
    """The score itself, pair by pair in float64 (higher is better): (n, K)."""
    out = np.empty((len(queries), len(candidates)))
    for i, q in enumerate(np.asarray(queries, np.float64)):
        for j, x in enumerate(np.asarray(candidates, np.float64)):
            if score == "dot":
                out[i, j] = q @ x
            elif score == "cosine":
                out[i, j] = q @ x / np.linalg.norm(q) / np.linalg.norm(x)
            else:
                out[i, j] = -np.linalg.norm(q - x)
    return out
