"""How far apart matches and non-matches lie: area under the ROC curve, d′."""

from __future__ import annotations

import numpy as np

from isthmus.core.statistics import grouped_jackknife
from isthmus.deploy.thresholds.nulls import Scores

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
