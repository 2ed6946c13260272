"""What one pool of both modalities does today, and what levels it: the audit's last verdict."""

from __future__ import annotations

from typing import Any

from isthmus.robustness.mixed.levelling import PoolCloser, closing_name
from isthmus.robustness.mixed.measured import mixed_of
from isthmus.robustness.mixed.pools import Given, pools_of
from isthmus.search.task import RetrievalTask
from isthmus.workflows.recommendation.wording import HELPS, NOTHING, SAFE

LEAST_PAIRS = 40
DRAWS = 5
MAX_PAIRS = 1000


def pool_verdict(
    task: RetrievalTask, names: tuple[str, str], seed: int
) -> tuple[dict[str, Any], PoolCloser | None]:
    """The verdict of :func:`isthmus.mixed`, where both sides can be stored: where rows are pairs.

    Returns:
        The verdict as ``report.json`` has it under ``mixed`` (empty where there is none), and the
        closer that levels the pool, where it helps.
    """
    if not task.paired or len(task.queries) < LEAST_PAIRS or task.score == "euclidean":
        return {}, None
    given = Given(
        None,
        task.queries,
        task.candidates,
        relevance_a=None,
        relevance_b=None,
        score="cosine" if task.normalised else "dot",
        names=names,
        share=0.5,
        draws=DRAWS,
        fit_share=0.5,
        max_queries=MAX_PAIRS,
        seed=seed,
        looked_at=True,
    )
    found = mixed_of(given, pools_of(given))
    name = closing_name(found.closer.strength)
    before, after = found.row("none"), found.row(name)
    state = HELPS if found.helps else NOTHING if found.uneven else SAFE
    entry = {
        "state": state,
        "closing": name if found.helps else "none",
        "file": None,
        "k": found.k,
        "ndcg_before": before["ndcg"],
        "ndcg_after": after["ndcg"] if found.helps else before["ndcg"],
        "interval": after["difference_ci"],
        "queries": found.scored,
        "sentences": found.sentences(),
    }
    return {"verdict": entry}, found.closer if found.helps else None
