"""The figures of a calibration: what was fitted on one half, and what the other half says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.statistics import Share, quantiles, wilson
from isthmus.deploy.thresholds.intervals import (
    Threshold,
    pair_threshold,
    search_threshold,
    share_by_query,
    share_of_pairs,
)
from isthmus.deploy.thresholds.nulls import Scores, same_side
from isthmus.deploy.thresholds.separation import separation_of
from isthmus.deploy.thresholds.warnings import warnings_of
from isthmus.search.relevance import Relevance
from isthmus.search.task import RetrievalTask


@dataclass(frozen=True, eq=False)
class Judged:
    """Thresholds per pair and per search at one rate.

    ``scores`` of all queries, ``fitted`` of those that the thresholds are from, ``held_out`` of
    those that they are judged on.
    """

    rate: float
    scores: Scores
    fitted: Scores
    held_out: Scores
    pair: Threshold
    search: Threshold

    @classmethod
    def of(cls, rate: float, scores: Scores, fit: np.ndarray, held: np.ndarray) -> Judged:
        """Fit on the queries ``fit``, to be judged on ``held``."""
        fitted, held_out = scores.of(fit), scores.of(held)
        pair, search = pair_threshold(fitted.pairs, rate), search_threshold(fitted.best, rate)
        return cls(rate, scores, fitted, held_out, pair, search)


def figures_of(
    judged: Judged, task: RetrievalTask, relevance: Relevance, *, biased: bool, seed: int
) -> dict[str, Any]:
    """Everything measured, plain numbers: the ``figures`` of a calibration.

    Args:
        task: queries that were scored, rows as they are scored. relevance: of all queries.
        biased: a candidate bias was added to the scores.
    """
    scores, known = judged.scores, len(relevance.pairs) > 0
    matched = len(scores.match) > 0
    figures: dict[str, Any] = {
        "false_match_rate": judged.rate,
        "queries": relevance.queries,
        "candidates": relevance.candidates,
        "truth": relevance.task if known else None,
        "fit_queries": len(judged.fitted.best),
        "held_out_queries": len(judged.held_out.best),
        "null_candidates": scores.pairs.shape[1],
        "seed": seed,
        "pair": _pair_figures(judged),
        "search": _search_figures(judged),
        "match": _spread(scores.match) if matched else None,
        "separation": separation_of(scores) if matched else None,
        "same_modality": {
            name: None if biased else _same(side, judged, seed)
            for name, side in (("queries", task), ("candidates", task.reversed()))
        },
        "why_null": _reasons(known, biased),
    }
    figures["warnings"] = [w.to_dict() for w in warnings_of(figures)]
    return figures


def _reasons(known: bool, biased: bool) -> dict[str, str]:
    """Which parts are null, and why."""
    found = {}
    if not known:
        found = dict.fromkeys(("match", "separation"), "nothing says which pairs match")
    if biased:
        found["same_modality"] = (
            "the closer adds a bias to each candidate's score, which pairs of one side do not have"
        )
    return found


def _spread(values: np.ndarray) -> dict[str, Any]:
    """Count, mean, standard deviation and quantiles."""
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "std": float(values.std()),
        **quantiles(values),
    }


def _threshold(threshold: Threshold) -> dict[str, Any]:
    return {
        "threshold": threshold.value,
        "threshold_ci": [threshold.low, threshold.high],
        "resolved": threshold.resolved,
    }


def _matches(held_out: Scores, threshold: float) -> dict[str, Any]:
    """Share of the held-out matching pairs above a threshold."""
    if not len(held_out.match):
        return {"match_rate": None, "match_rate_ci": None}
    return share_by_query(held_out.match > threshold, held_out.match_query).named("match_rate")


def _searches(held_out: Scores, threshold: float) -> Share:
    """Share of the held-out searches whose best non-match lies above a threshold."""
    return wilson(int((held_out.best > threshold).sum()), len(held_out.best))


def _pair_figures(judged: Judged) -> dict[str, Any]:
    held_out, edge = judged.held_out, judged.pair.value
    known = np.isfinite(held_out.pairs)
    share = share_of_pairs((held_out.pairs > edge) & known, known)
    return {
        **_threshold(judged.pair),
        "null": _spread(judged.fitted.null),
        "held_out": {
            **share.named("false_match_rate"),
            "pairs": int(known.sum()),
            "effective_pairs": share.effective,
            **_searches(held_out, edge).named("searches_with_false_match"),
            **_matches(held_out, edge),
        },
    }


def _search_figures(judged: Judged) -> dict[str, Any]:
    held_out, edge = judged.held_out, judged.search.value
    return {
        **_threshold(judged.search),
        "null": _spread(judged.fitted.best),
        "held_out": {
            **_searches(held_out, edge).named("false_match_rate"),
            "searches": len(held_out.best),
            **_matches(held_out, edge),
        },
        "by_candidates": [
            {"candidates": size}
            | _threshold(search_threshold(best, judged.rate))
            | {"null_mean": float(best.mean())}
            for size, best in judged.fitted.by_size.items()
        ],
    }


def _same(side: RetrievalTask, judged: Judged, seed: int) -> dict[str, Any] | None:
    """The queries' own pairs: their null, their threshold, and what the cross threshold lets by."""
    null = same_side(side.queries, side.relevance, side.score, seed=seed)
    if not len(null):
        return None
    return {
        "null": _spread(null),
        "threshold": search_threshold(null, judged.rate).value,
        "above_cross_threshold": float((null > judged.pair.value).mean()),
    }
