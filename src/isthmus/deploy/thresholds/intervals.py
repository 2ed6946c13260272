"""Thresholds from a null sample, and shares of pairs that are not independent.

A score is called a match where it lies *above* a threshold τ. With τ the j-th largest of N
exchangeable null scores, the next null score lies above it with probability at most j / (N + 1)
(a conformal threshold; Vovk et al. 2005), so j = ⌊rate · (N + 1)⌋. Below one there is no such j.

Pairs of n queries and K candidates share rows and columns, so n·K pairs are worth far fewer. Their
variance is the two-way clustered one (Cameron, Gelbach & Miller 2011), from which an effective
number of independent pairs goes into Clopper and Pearson's interval (Korn & Graubard 1998). The
interval of a threshold is that of its share, read off the null (Woodruff 1952).

A rate on held-out queries has two draws in it: the queries that the threshold is from, and those
it is judged on. The true rate of the j-th largest of N is Beta(j, N + 1 - j), so the false matches
among M further queries are beta-binomial; :func:`drawn_rate` inverts that, as Clopper and Pearson
invert the binomial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.statistics import CONFIDENCE, Share

TAIL = (1 - CONFIDENCE) / 2


@dataclass(frozen=True)
class Threshold:
    """Scores above ``value`` are called matches. ``low``, ``high``: 95 %; None: beyond the sample.

    ``resolved``: whether the sample has a score for this rate at all.
    """

    value: float
    low: float | None
    high: float | None
    resolved: bool


@dataclass(frozen=True)
class Rate(Share):
    """A share with its 95 % interval, and how many independent outcomes it is worth."""

    effective: float


def order(rate: float, count: int) -> int:
    """j of the j-th largest null score; 0 where the sample is too small for the rate."""
    return int(np.floor(rate * (count + 1) + 1e-9))


def search_threshold(null: np.ndarray, rate: float) -> Threshold:
    """Threshold of independent null scores (N,); its interval is that of order statistics.

    The number of null scores above the true quantile is binomial (N, rate); its 2.5 % and 97.5 %
    points name the two order statistics.
    """
    from scipy.stats import binom

    falling = np.sort(null)[::-1]
    j = order(rate, len(falling))
    few, many = (int(binom.ppf(q, len(falling), rate)) for q in (TAIL, 1 - TAIL))
    low = float(falling[many]) if many < len(falling) else None
    high = float(falling[few - 1]) if few >= 1 else None
    return Threshold(float(falling[max(j, 1) - 1]), low, high, j >= 1)


def pair_threshold(null: np.ndarray, rate: float) -> Threshold:
    """Threshold of null scores of pairs (n, m), NaN where a pair is no non-match."""
    known = np.isfinite(null)
    falling = np.sort(null[known])[::-1]
    j = order(rate, len(falling))
    value = float(falling[max(j, 1) - 1])
    share = share_of_pairs((null > value) & known, known)
    at = int(np.ceil(share.high * len(falling)))
    low = float(falling[at]) if at < len(falling) else None
    at = int(np.floor(share.low * len(falling)))
    high = float(falling[at - 1]) if at >= 1 else None
    return Threshold(value, low, high, j >= 1)


def false_matches_at_most(hits: int, count: int, rate: float, fitted: int) -> float:
    """P(at most ``hits`` of ``count`` queries pass) a threshold of ``rate`` from ``fitted`` others.

    Beta-binomial with parameters rate · (N + 1) and (1 - rate) · (N + 1). O(hits).
    """
    from scipy.special import betaln, gammaln

    a, b = rate * (fitted + 1), (1 - rate) * (fitted + 1)
    k = np.arange(hits + 1)
    ways = gammaln(count + 1) - gammaln(k + 1) - gammaln(count - k + 1)
    return float(np.exp(ways + betaln(k + a, count - k + b) - betaln(a, b)).sum())


def drawn_rate(hits: int, count: int, fitted: int) -> Share:
    """Held-out false-match rate of a threshold per search, with the stated rates it agrees with.

    Args:
        hits: of ``count`` held-out queries, those above a threshold from ``fitted`` others.

    The 95 % interval holds the rate j / (N + 1) that the threshold was made for in 95 % of draws
    of *both* samples (equal-tailed, so in more where counts are small).
    """
    from scipy.optimize import brentq

    def end(hits: int, chance: float) -> float:
        gap = lambda rate: false_matches_at_most(hits, count, rate, fitted) - chance  # noqa: E731
        return float(brentq(gap, 1e-12, 1 - 1e-12, xtol=1e-9))

    low = 0.0 if hits == 0 else end(hits - 1, 1 - TAIL)
    high = 1.0 if hits == count else end(hits, TAIL)
    return Share(hits / count, low, high)


def over_both_draws(held_out: Rate, fitted: Rate) -> Rate:
    """A held-out share of pairs whose interval counts the draw of the fitted pairs too.

    Variances add, so effective counts add as reciprocals.
    """
    count = 1 / (1 / held_out.effective + 1 / fitted.effective)
    return _rate_at(held_out.mean, count)


def share_of_pairs(hits: np.ndarray, known: np.ndarray) -> Rate:
    """Share of known entries (n, m) that are hits, clustered by row and by column."""
    total = int(known.sum())
    mean = float(hits.sum() / total)
    rows = hits.sum(axis=1) - mean * known.sum(axis=1)
    columns = hits.sum(axis=0) - mean * known.sum(axis=0)
    alone = total * mean * (1 - mean)
    variance = max(float(rows @ rows + columns @ columns) - alone, float(rows @ rows), alone)
    return _rate(mean, variance / total**2, min(int(known.any(axis=1).sum()), total), total)


def share_by_query(hits: np.ndarray, query: np.ndarray) -> Rate:
    """Share of hits (m,) where several may belong to one query (m,): clustered by query."""
    mean = float(hits.mean())
    _, group = np.unique(query, return_inverse=True)
    rows = np.bincount(group, weights=hits - mean)
    variance = max(float(rows @ rows), len(hits) * mean * (1 - mean))
    return _rate(mean, variance / len(hits) ** 2, len(rows), len(hits))


def _rate(mean: float, variance: float, clusters: int, total: int) -> Rate:
    """Clopper-Pearson at the effective count; where all are alike, a cluster counts once."""
    count = float(clusters) if variance == 0 else min(mean * (1 - mean) / variance, total)
    return _rate_at(mean, count)


def _rate_at(mean: float, count: float) -> Rate:
    from scipy.stats import beta

    x = mean * count
    low = 0.0 if x <= 0 else float(beta.ppf(TAIL, x, count - x + 1))
    high = 1.0 if x >= count else float(beta.ppf(1 - TAIL, x + 1, count - x))
    return Rate(mean, low, high, count)
