"""Averages with intervals. Outcomes come in per query (and trial); the means are taken here.

All queries of a noise trial share the candidates' noise, so trials × queries are not independent:
:func:`share_over_trials` resamples trials and queries both (the two-way or "pigeonhole"
bootstrap, Owen 2007, https://doi.org/10.1214/07-AOAS122), which errs on the wide side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from isthmus.core.seeds import stream

CONFIDENCE = 0.95
RESAMPLES = 1000
EDGE = 1e-9
"""Nearest to an end of a range that log odds are taken."""
Z95 = 1.959964
"""Standard errors in a 95 % interval of a normal estimate, to either side."""


@dataclass(frozen=True)
class Share:
    """A mean of 0/1 outcomes with its 95 % interval."""

    mean: float
    low: float
    high: float

    def named(self, name: str) -> dict[str, Any]:
        """``name`` and ``name_ci``, as reports hold them."""
        return {name: self.mean, f"{name}_ci": [self.low, self.high]}


def wilson(hits: float, count: int, confidence: float = CONFIDENCE) -> Share:
    """Share of independent outcomes with Wilson's score interval (SciPy's ``binomtest``)."""
    if count == 0:
        return Share(float("nan"), float("nan"), float("nan"))
    from scipy.special import ndtri

    z, share = float(ndtri((1 + confidence) / 2)), round(hits) / count
    whole = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / whole
    reach = z / whole * float(np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2))
    low = centre - reach if share > 0 else 0.0
    return Share(float(hits / count), low, centre + reach if share < 1 else 1.0)


def share_over_trials(outcomes: np.ndarray, *, seed: int = 0) -> Share:
    """Mean of 0/1 outcomes, or of chances, (trials, queries), interval by resampling both.

    One trial of outcomes is a plain sample of queries and gets Wilson's interval, as do outcomes
    that are all alike (resampling them would claim certainty).
    """
    trials, queries = outcomes.shape
    mean = float(outcomes.mean()) if outcomes.size else float("nan")
    whole = outcomes.dtype == bool or bool(((outcomes == 0) | (outcomes == 1)).all())
    if (trials == 1 and whole) or mean in (0.0, 1.0):
        return wilson(outcomes.mean(axis=0).sum(), queries)
    return _resampled(mean, outcomes, seed)


def _resampled(
    mean: float, outcomes: np.ndarray, seed: int, confidence: float = CONFIDENCE
) -> Share:
    """The mean with the middle share ``confidence`` of the resampled ones."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled_means(outcomes, seed=seed), [tail, 1 - tail])
    return Share(mean, float(low), float(high))


def resampled_means(outcomes: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Means (1000,) of outcomes (trials, queries) with both axes drawn with replacement.

    The same seed draws the same trials and queries, so means of two closers can be subtracted
    (a paired bootstrap).
    """
    trials, queries = outcomes.shape
    by_trial, by_query = _draws(trials, queries, seed)
    inner = by_query @ outcomes.T.astype(np.float32)
    return (inner * by_trial).sum(axis=1, dtype=np.float64) / (trials * queries)


@lru_cache(maxsize=4)
def _draws(trials: int, queries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each trial and each query is drawn: (1000, trials), (1000, queries)."""
    rng = stream("bootstrap", seed)
    return _counts(rng, trials), _counts(rng, queries)


def _counts(rng: np.random.Generator, size: int) -> np.ndarray:
    drawn = rng.integers(size, size=(RESAMPLES, size))
    drawn += np.arange(RESAMPLES)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * size)
    return counts.reshape(RESAMPLES, size).astype(np.float32)


def paired_difference(
    before: np.ndarray, after: np.ndarray, *, seed: int = 0, confidence: float = CONFIDENCE
) -> Share:
    """Mean of ``after`` minus mean of ``before`` (each (trials, queries)), resampled together."""
    gain = after.astype(np.float32) - before.astype(np.float32)  # one trial stands beside many
    return _resampled(float(gain.mean(dtype=np.float64)), gain, seed, confidence)


def mcnemar(before: np.ndarray, after: np.ndarray) -> float:
    """Exact two-sided McNemar p-value for paired 0/1 outcomes (n,) each."""
    from scipy.special import bdtr

    lost = int((before & ~after).sum())
    won = int((~before & after).sum())
    return min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5)))


def grouped_jackknife(
    leave_out: Callable[[int], dict[str, float]],
    whole: dict[str, float],
    groups: int,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, tuple[float, float]]:
    """Delete-a-group jackknife intervals of several statistics at once.

    Args:
        leave_out: the statistics without group g. whole: the statistics of everything.
        groups: number of groups of (nearly) equal size.
        bounds: name -> range of the statistic. An interval that would leave it is made of the
            statistic's log odds within its range instead, which cannot.

    Returns:
        name -> (low, high), from Student's t with groups - 1 degrees of freedom.
    """
    from scipy.special import stdtrit

    parts = [leave_out(g) for g in range(groups)]
    reach = float(stdtrit(groups - 1, (1 + CONFIDENCE) / 2))
    intervals = {}
    for name, value in whole.items():
        values = np.array([p[name] for p in parts])
        low, high = _around(value, values, reach)
        least, most = (bounds or {}).get(name, (-np.inf, np.inf))
        if np.isfinite(most) and (low < least or high > most):
            odds = np.clip((np.array([value, *values]) - least) / (most - least), EDGE, 1 - EDGE)
            odds = np.log(odds / (1 - odds))
            ends = np.clip(_around(odds[0], odds[1:], reach), -700, 700)
            low, high = (least + (most - least) / (1 + np.exp(-end)) for end in ends)
        low, high = min(low, value), max(high, value)
        intervals[name] = (max(float(low), least), min(float(high), most))
    return intervals


def _around(value: float, values: np.ndarray, reach: float) -> tuple[float, float]:
    """``value`` and ``reach`` jackknife errors to either side."""
    groups = len(values)
    error = float(np.sqrt((groups - 1) / groups * ((values - values.mean()) ** 2).sum()))
    return value - reach * error, value + reach * error


def quantiles(values: np.ndarray) -> dict[str, float | None]:
    """The 5, 25, 50, 75 and 95 % quantiles, for reports; None where one is infinite."""
    finite = bool(np.isfinite(values).all())
    points = np.quantile(  # between a number and infinity nothing can be interpolated
        values, [0.05, 0.25, 0.5, 0.75, 0.95], method="linear" if finite else "lower"
    )
    numbers = [float(p) if np.isfinite(p) else None for p in points]
    return dict(zip(("q05", "q25", "q50", "q75", "q95"), numbers, strict=True))
