"""What score means a match: thresholds at a stated false-match rate, and p-values.

    from isthmus.deploy.thresholds import Calibration, calibrate
    found = calibrate(images, captions, truth=relevance_by_pairs(500, 500), rate=0.01)
    found.p_value(scores)

Thresholds are fitted on one half of the queries and judged on the other. Candidates are the
store's: they are the same for both halves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.closers.maps import Closer
from isthmus.core.arrays import to_numpy, working
from isthmus.core.seeds import stream
from isthmus.core.statistics import quantiles, wilson
from isthmus.data.embeddings import Embeddings, check_same_space
from isthmus.deploy.thresholds.intervals import (
    Rate,
    Threshold,
    pair_threshold,
    search_threshold,
    share_by_query,
    share_of_pairs,
)
from isthmus.deploy.thresholds.nulls import Scores, collect, same_side
from isthmus.deploy.thresholds.record import Calibration, Null
from isthmus.deploy.thresholds.separation import separation
from isthmus.deploy.thresholds.warnings import cautions_of
from isthmus.errors import OptionError, ShapeError
from isthmus.search.relevance import Relevance, no_relevance
from isthmus.search.scores import check_score

__all__ = ["Calibration", "Null", "calibrate"]


def calibrate(
    queries: Any,
    candidates: Any,
    *,
    truth: Relevance | None = None,
    rate: float = 0.001,
    score: str | None = None,
    closer: Closer | None = None,
    model: str | None = None,
    max_queries: int = 10_000,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Calibration:
    """Null and match distributions, thresholds on one half, judged on the other.

    Args:
        queries: (n, d). candidates: (K, d): the collection that is searched.
        truth: which pairs match (``tasks``); None: no pair does, the queries are strangers to the
            candidates.
        rate: stated false-match rate, above 0 and below 1.
        score: dot, cosine or euclidean; None: the closer's, or cosine.
        closer: its maps come first, and its stored numbers are added.
        model: the model's name, kept in the record. max_queries: a seeded sample above that.
        progress: told (what, done, all) as queries are scored.

    Raises:
        OptionError: a rate that is none, an unknown score, another score than the closer's, fewer
        than 4 queries, or a query that matches everything. ShapeError: dimensions that do not fit,
        or a truth that speaks of other rows. ValuesError: NaN, infinity, zero rows under cosine.

    Cost: O(n K d), scores in blocks; 32 MB of null scores beside float64 rows.
    """
    if not 0 < rate < 1:
        raise OptionError(
            f"false-match rate {rate} is not between 0 and 1; expected such as 0.001, one in 1,000"
        )
    score = _score(score, closer)
    q, c, dim = _rows(queries, candidates, score, closer)
    if truth is not None and (truth.queries, truth.candidates) != (len(q), len(c)):
        raise ShapeError(
            f"the truth speaks of {truth.queries} queries and {truth.candidates} candidates; "
            f"expected {len(q)} and {len(c)}"
        )
    if min(len(q), max_queries) < 4:
        raise OptionError(
            f"{min(len(q), max_queries)} queries; expected at least 4, two to fit and two to judge"
        )
    total = len(q)
    rng = stream("calibrate.split", seed)
    chosen = np.sort(rng.permutation(total)[:max_queries])
    known = no_relevance(total, len(c)) if truth is None else truth
    known = known.restricted(chosen, np.arange(len(c)))
    q = q[chosen]
    bias = None
    if closer is not None:
        bias = None if closer.bias is None else closer.bias_of(c)
        q, c = np.asarray(closer.query(q)), np.asarray(closer.candidate(c))

    scores = collect(q, c, known, score, bias, seed=seed, progress=progress)
    order = rng.permutation(len(q))
    fit, held = np.sort(order[: len(q) // 2]), np.sort(order[len(q) // 2 :])
    first, second = scores.of(fit), scores.of(held)
    pair, search = pair_threshold(first.pairs, rate), search_threshold(first.best, rate)
    apart = separation(scores) if len(scores.match) else None
    same: dict[str, Any] = {"queries": None, "candidates": None}
    if bias is None:  # a stored number belongs to a query's score alone: nothing to compare with
        same["queries"] = _same(q, known, score, rate, pair, seed)
        same["candidates"] = _same(c, known.reversed(), score, rate, pair, seed)
    figures: dict[str, Any] = {
        "false_match_rate": rate,
        "queries": total,
        "candidates": len(c),
        "truth": None if truth is None else truth.task,
        "fit_queries": len(fit),
        "held_out_queries": len(held),
        "null_candidates": scores.pairs.shape[1],
        "seed": seed,
        "pair": _pair_figures(first, second, pair),
        "search": _search_figures(first, second, search, rate),
        "match": _spread(scores.match) if len(scores.match) else None,
        "separation": apart,
        "same_modality": same,
        "why_null": _reasons(truth, bias is not None),
    }
    warnings = cautions_of(figures, truth, rate, len(q))
    figures["warnings"] = [w.to_dict() for w in warnings]
    return Calibration(
        model,
        score,
        dim,
        None if closer is None else closer.name,
        len(c),
        rate,
        {"pair": pair.value, "search": search.value},
        {"pair": Null.of(_finite(first.pairs)), "search": Null.of(first.best)},
        figures,
    )


def _score(score: str | None, closer: Closer | None) -> str:
    if closer is None:
        return check_score(score or "cosine")
    if score is not None and check_score(score) != closer.score:
        raise OptionError(
            f"score '{score}', but the closer {closer.name} is searched by {closer.score}; leave "
            "the score out, or fit a closer for it"
        )
    return closer.score


def _rows(
    queries: Any, candidates: Any, score: str, closer: Closer | None
) -> tuple[np.ndarray, np.ndarray, int]:
    unit_in = closer is not None and (closer.query.unit_in or closer.candidate.unit_in)
    doors = [
        Embeddings.of(rows, name, cosine=score == "cosine" or unit_in)
        for rows, name in ((queries, "queries"), (candidates, "candidates"))
    ]
    check_same_space("queries", doors[0].dim, "candidates", doors[1].dim)
    if closer is not None and closer.query.dim != doors[0].dim:
        raise ShapeError(
            f"rows have {doors[0].dim} dimensions, but the closer was fitted for "
            f"{closer.query.dim}; use rows of the same model"
        )
    q, c = (to_numpy(working(door.rows, double=True)) for door in doors)
    return q, c, doors[0].dim


def _reasons(truth: Relevance | None, numbers: bool) -> dict[str, str]:
    """Which parts are null, and why."""
    told = {}
    if truth is None or not len(truth.pairs):
        told = dict.fromkeys(("match", "separation"), "nothing says which pairs match")
    if numbers:
        told["same_modality"] = (
            "the closer adds a stored number to each candidate's score, which pairs of one side "
            "do not have"
        )
    return told


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _spread(values: np.ndarray) -> dict[str, Any]:
    """Count, mean, standard deviation and quantiles."""
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "std": float(values.std()),
        **quantiles(values),
    }


def _told(threshold: Threshold) -> dict[str, Any]:
    return {
        "threshold": threshold.value,
        "threshold_ci": [threshold.low, threshold.high],
        "resolved": threshold.resolved,
    }


def _matches(second: Scores, threshold: float) -> dict[str, Any]:
    """Share of the held-out true pairs above a threshold."""
    if not len(second.match):
        return {"match_rate": None, "match_rate_ci": None}
    share = share_by_query(second.match > threshold, second.match_query)
    return {"match_rate": share.mean, "match_rate_ci": [share.low, share.high]}


def _pair_figures(first: Scores, second: Scores, threshold: Threshold) -> dict[str, Any]:
    known = np.isfinite(second.pairs)
    share: Rate = share_of_pairs((second.pairs > threshold.value) & known, known)
    searches = wilson(int((second.best > threshold.value).sum()), len(second.best))
    return {
        **_told(threshold),
        "null": _spread(_finite(first.pairs)),
        "held_out": {
            "false_match_rate": share.mean,
            "false_match_rate_ci": [share.low, share.high],
            "pairs": int(known.sum()),
            "effective_pairs": share.effective,
            "searches_with_false_match": searches.mean,
            "searches_with_false_match_ci": [searches.low, searches.high],
            **_matches(second, threshold.value),
        },
    }


def _search_figures(
    first: Scores, second: Scores, threshold: Threshold, rate: float
) -> dict[str, Any]:
    share = wilson(int((second.best > threshold.value).sum()), len(second.best))
    by_size = [
        {"candidates": size, **_told(search_threshold(best, rate)), "null_mean": float(best.mean())}
        for size, best in first.by_size.items()
    ]
    return {
        **_told(threshold),
        "null": _spread(first.best),
        "held_out": {
            "false_match_rate": share.mean,
            "false_match_rate_ci": [share.low, share.high],
            "searches": len(second.best),
            **_matches(second, threshold.value),
        },
        "by_candidates": by_size,
    }


def _same(
    rows: np.ndarray, truth: Relevance, score: str, rate: float, cross: Threshold, seed: int
) -> dict[str, Any] | None:
    """One side's own pairs: their null, their threshold, and what the cross threshold lets by."""
    null = same_side(rows, truth, score, seed=seed)
    if not len(null):
        return None
    own = search_threshold(null, rate)
    return {
        "null": _spread(null),
        "threshold": own.value,
        "above_cross_threshold": float((null > cross.value).mean()),
    }
