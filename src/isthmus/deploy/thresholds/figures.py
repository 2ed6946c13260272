"""The figures of a calibration: what was fitted on one half, and what the other half says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.statistics import Share, grouped_jackknife, quantiles, wilson
from isthmus.deploy.thresholds.intervals import (
    Threshold,
    drawn_rate,
    order,
    over_both_draws,
    pair_threshold,
    search_threshold,
    share_by_query,
    share_of_pairs,
)
from isthmus.deploy.thresholds.nulls import Null, Scores, same_side
from isthmus.deploy.thresholds.warnings import warnings_of
from isthmus.search.opening import item_notes
from isthmus.search.relevance import Relevance
from isthmus.search.task import RetrievalTask

RATES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0001)
"""Stated rates in the table of thresholds, as far as the nulls resolve them."""
LEAST_OF_KIND = 4
"""Queries that a kind needs: two to fit on, two to judge on."""
TAIL, GRID = 500, 100
"""Scores kept of the null of each kind and size."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Thresholds per pair and per search at one rate.

    ``scores`` of all queries, of which ``fit`` are the rows that the thresholds are from
    (``fitted``), ``held`` those that they are judged on (``held_out``). ``kind`` (n,): names, or
    None.
    """

    rate: float
    scores: Scores
    fit: np.ndarray
    held: np.ndarray
    kind: np.ndarray | None
    fitted: Scores
    held_out: Scores
    pair: Threshold
    search: Threshold

    @classmethod
    def of(
        cls,
        rate: float,
        scores: Scores,
        fit: np.ndarray,
        held: np.ndarray,
        kind: np.ndarray | None = None,
    ) -> Judged:
        """Fit on the queries ``fit``, to be judged on ``held``."""
        fitted, held_out = scores.of(fit), scores.of(held)
        pair, search = pair_threshold(fitted.pairs, rate), search_threshold(fitted.best, rate)
        return cls(rate, scores, fit, held, kind, fitted, held_out, pair, search)

    def kinds(self) -> list[str]:
        """Names of kinds with queries enough."""
        if self.kind is None:
            return []
        names, counts = np.unique(self.kind, return_counts=True)
        return [str(name) for name in names[counts >= LEAST_OF_KIND]]

    def of_kind(self, name: str) -> tuple[Scores, Scores]:
        """The scores fitted on, and held out, of one kind of query."""
        assert self.kind is not None
        fit, held = (rows[self.kind[rows] == name] for rows in (self.fit, self.held))
        return self.scores.of(fit), self.scores.of(held)

    def nulls(self, name: str | None = None) -> dict[int, Null]:
        """Size -> null of the best of so many, of all queries fitted on, or of one kind's."""
        fitted = self.fitted if name is None else self.of_kind(name)[0]
        known = {size: best[~np.isnan(best)] for size, best in fitted.by_size.items()}
        return {size: Null.of(best, TAIL, GRID) for size, best in known.items() if len(best)}


def figures_of(
    judged: Judged,
    task: RetrievalTask,
    relevance: Relevance,
    different: int,
    *,
    biased: bool,
    seed: int,
) -> dict[str, Any]:
    """Everything measured, plain numbers: the ``figures`` of a calibration.

    Args:
        task: queries that were scored, rows as they are scored. relevance: of all queries.
        different: how many queries differ.
        biased: a candidate bias was added to the scores.
    """
    scores, known = judged.scores, len(relevance.pairs) > 0
    matched = len(scores.match) > 0
    figures: dict[str, Any] = {
        "false_match_rate": judged.rate,
        "queries": relevance.queries,
        "candidates": relevance.candidates,
        "distinct_queries": different,
        "distinct_candidates": len(task.candidates),
        "truth": relevance.task if known else None,
        "fit_queries": len(judged.fitted.best),
        "held_out_queries": len(judged.held_out.best),
        "null_candidates": scores.pairs.shape[1],
        "seed": seed,
        "pair": _pair_figures(judged),
        "search": _search_figures(judged.fitted, judged.held_out, judged.rate),
        "table": _table(judged.fitted, judged.held_out, judged.rate),
        "kinds": [_kind_figures(judged, name) for name in judged.kinds()],
        "kinds_left_out": _left_out(judged),
        "match": _spread(scores.match) if matched else None,
        "separation": separation_of(scores) if matched else None,
        "same_modality": {
            name: None if biased else _same(side, judged, seed)
            for name, side in (("queries", task), ("candidates", task.reversed()))
        },
        "why_null": _reasons(known, biased),
    }
    figures["warnings"] = [w.to_dict() for w in (*item_notes(task), *warnings_of(figures))]
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
    null = judged.fitted.pairs
    both = over_both_draws(share, share_of_pairs(null > edge, np.isfinite(null)))
    return {
        **_threshold(judged.pair),
        "null": _spread(judged.fitted.null),
        "held_out": {
            **both.named("false_match_rate"),
            "pairs": int(known.sum()),
            "effective_pairs": share.effective,
            **_searches(held_out, edge).named("searches_with_false_match"),
            **_matches(held_out, edge),
        },
    }


def _search_figures(fitted: Scores, held_out: Scores, rate: float) -> dict[str, Any]:
    threshold = search_threshold(fitted.best, rate)
    return {
        **_threshold(threshold),
        "null": _spread(fitted.best),
        "held_out": {
            **_false_matches(fitted.best, held_out.best, threshold.value),
            **_matches(held_out, threshold.value),
        },
        "by_candidates": _by_size(fitted, held_out, rate),
    }


def _false_matches(fitted: np.ndarray, held_out: np.ndarray, edge: float) -> dict[str, Any]:
    """Share of the held-out searches (m,) that pass, with the interval of both draws."""
    if not len(held_out):
        return {"false_match_rate": None, "false_match_rate_ci": None, "searches": 0}
    share = drawn_rate(int((held_out > edge).sum()), len(held_out), len(fitted))
    return {**share.named("false_match_rate"), "searches": len(held_out)}


def _by_size(fitted: Scores, held_out: Scores, rate: float) -> list[dict[str, Any]]:
    """Thresholds by the number of candidates that are searched, each judged on held-out queries."""
    found = []
    for size, best in fitted.by_size.items():
        known = best[~np.isnan(best)]
        if not len(known):
            continue
        threshold = search_threshold(known, rate)
        other = held_out.by_size[size]
        found.append(
            {"candidates": size, **_threshold(threshold), "null_mean": float(known.mean())}
            | {"held_out": _false_matches(known, other[~np.isnan(other)], threshold.value)}
        )
    return found


def _kind_figures(judged: Judged, name: str) -> dict[str, Any]:
    fitted, held_out = judged.of_kind(name)
    return {
        "kind": name,
        "fit_queries": len(fitted.best),
        "held_out_queries": len(held_out.best),
        **_search_figures(fitted, held_out, judged.rate),
        "table": _table(fitted, held_out, judged.rate),
    }


def _left_out(judged: Judged) -> list[str]:
    if judged.kind is None:
        return []
    return sorted(set(judged.kind.tolist()) - set(judged.kinds()))


def _table(fitted: Scores, held: Scores, asked: float) -> list[dict[str, Any]]:
    """What the first answers of held-out queries are worth above the thresholds of several rates.

    ``precision``: of the first answers above it, how many are right. ``recall``: of the queries
    that have a match, how many get it as a first answer above it. ``false_match_rate``: of the
    searches whose matches are taken away, how many answer above it.
    """
    null = fitted.best
    first, right = np.maximum(held.best, held.best_match), held.best_match > held.best
    has_match = int(np.isfinite(held.best_match).sum())
    lines = []
    for rate in sorted({*RATES, asked}, reverse=True):
        if order(rate, len(null)) < 1 and rate != asked:
            continue
        edge = search_threshold(null, rate).value
        shown = int((first > edge).sum())
        found = int(((first > edge) & right).sum())
        lines.append(
            {"stated": rate, "threshold": edge, **_false_matches(null, held.best, edge)}
            | {
                "precision": found / shown if shown and has_match else None,
                "recall": found / has_match if has_match else None,
            }
        )
    return lines


def _same(side: RetrievalTask, judged: Judged, seed: int) -> dict[str, Any] | None:
    """The queries' own pairs: their null, their threshold, and what the cross threshold lets by."""
    null = same_side(side.queries, side.relevance, side.score, items=side.query_items, seed=seed)
    if not len(null):
        return None
    return {
        "null": _spread(null),
        "threshold": search_threshold(null, judged.rate).value,
        "above_cross_threshold": float((null > judged.pair.value).mean()),
    }


GROUPS = 20


def separation_of(scores: Scores) -> dict[str, float | list[float] | None]:
    """AUC (Mann-Whitney, ties one half) and d′ of matches against non-matching pairs.

    d′ = (mean of matches - mean of non-matches) / √((their variances' sum) / 2). Intervals: a
    jackknife over 20 groups of queries; the candidates are taken as they are.
    """
    groups = np.arange(len(scores.best)) % min(GROUPS, len(scores.best))
    count = int(groups.max()) + 1
    owner = groups[scores.match_query]
    null = [scores.pairs[groups == g] for g in range(count)]
    null = [np.sort(part[np.isfinite(part)]) for part in null]
    wins = np.zeros((count, count))  # of matches of group g over non-matches of group h
    for h, part in enumerate(null):
        below = np.searchsorted(part, scores.match, "left")
        upto = np.searchsorted(part, scores.match, "right")
        wins[:, h] = np.bincount(owner, weights=(below + upto) / 2, minlength=count)
    matches = np.bincount(owner, minlength=count).astype(float)
    nulls = np.array([len(part) for part in null], float)
    m_sums = np.array([np.bincount(owner, scores.match**p, count) for p in (1, 2)])
    n_sums = np.array([[(part**p).sum() for part in null] for p in (1, 2)])

    def of(kept: np.ndarray) -> dict[str, float]:
        t, n = matches[kept].sum(), nulls[kept].sum()
        means = m_sums[0, kept].sum() / t, n_sums[0, kept].sum() / n
        spread = (
            m_sums[1, kept].sum() / t - means[0] ** 2 + n_sums[1, kept].sum() / n - means[1] ** 2
        )
        return {
            "auc": float(wins[np.ix_(kept, kept)].sum() / (t * n)),
            "d_prime": float((means[0] - means[1]) / np.sqrt(max(spread / 2, 1e-300))),
        }

    every = np.arange(count)
    whole = of(every)
    if count < 2 or (matches == matches.sum()).any():
        return {**whole, "auc_ci": None, "d_prime_ci": None}
    ends = grouped_jackknife(lambda g: of(every[every != g]), whole, count)
    low, high = ends["auc"]
    return {**whole, "auc_ci": [max(low, 0.0), min(high, 1.0)], "d_prime_ci": list(ends["d_prime"])}
