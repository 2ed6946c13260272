"""What noise of one level does to the scores of a block of queries, under dot and Euclidean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from isthmus.theory.curves.leads import LevelGroup, LogTable, Nodes, tabulated

SHAPE = 0.06
"""Times 1/μ: error of the expansion for Euclidean search, as found against the exact integral."""
ALIKE = 1e-5
"""Change of a lead, from one winner's distance to another, that is let pass."""


class DotNoise:
    """Dot: scores are normal, with one spread a query; the lead is the margin over it."""

    error = 0.0

    def __init__(self, scale: np.ndarray, dtype: np.dtype) -> None:
        self.scale = scale
        with np.errstate(divide="ignore"):
            self.per_unit = (1 / scale).astype(dtype)

    def margins(self, reach: float) -> np.ndarray:
        return reach * self.scale

    def leads(self, margin: np.ndarray, query: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return margin * self.per_unit[query]

    def logs(self, counted: np.ndarray, group: LevelGroup) -> np.ndarray:
        """Logarithm of the product over rivals, (b, levels, nodes)."""
        assert group.table is not None
        return (counted @ group.table).reshape(len(counted), len(group.levels), -1)


class EuclideanNoise:
    """Euclidean: roots of noisy squared distances over σ², √χ'²_d(λ), which are nearly normal.

    With μ = d + λ the mean of the square, s² the root's variance and c² = μ - s², the lead of a
    rival is (c_j - c_1) / s_j. What is not normal goes by Cornish and Fisher's expansion to the
    second order in the skewness.
    """

    def __init__(self, square: np.ndarray, variance: float, nodes: Nodes, dtype: np.dtype) -> None:
        self.nodes, self.variance, self.dtype = nodes, variance, dtype
        self.mean = nodes.dim + square / variance
        self.centre, self.spread, _ = expanded_moments(self.mean, nodes.dim)
        self.scale = variance * self.centre * self.spread  # margin per unit of lead, near lead 0
        self.error = SHAPE / self.mean

    def margins(self, reach: float) -> np.ndarray:
        return 0.5 * self.variance * ((self.centre + reach) ** 2 + 1 - self.mean)

    def leads(self, margin: np.ndarray, query: np.ndarray) -> np.ndarray:
        dim, kind = self.nodes.dim, self.dtype.type
        rise = margin * kind(2 / self.variance)
        mean = self.mean.astype(self.dtype)[query] + rise
        share = 1 / mean
        square = 1 + share * (
            kind((1 - dim) / 2) + share * (kind(-1.5 * dim) + share * kind(0.875 * dim * dim))
        )
        centre, own = self.centre.astype(self.dtype), (self.spread**2).astype(self.dtype)
        rise = rise - square + own[query]
        return rise / ((np.sqrt(mean - square) + centre[query]) * np.sqrt(square))

    def logs(self, counted: np.ndarray, group: LevelGroup) -> np.ndarray:
        """Logarithm of the product over rivals, (b, 1, nodes): linear between tables in log μ."""
        place = np.log(self.mean)
        low, high = float(place.min()), float(place.max())
        gap, skew = self._spacing(low)
        if skew * (gap + high - low) < ALIKE:
            middle = self._table(round((low + high) / 2 / gap), gap, group.leads)
            return (counted @ middle)[:, None, :]
        found = np.zeros((len(counted), 1, len(self.nodes.t)), np.float32)
        below = np.floor(place / gap).astype(int)
        for i in np.unique(below):
            mine = below == i
            pair = [self._table(i + step, gap, group.leads) for step in (0, 1)]
            both = (counted[mine] @ np.concatenate(pair, axis=1)).reshape(mine.sum(), 2, -1)
            share = (place[mine] / gap - i).astype(np.float32)[:, None]
            found[mine, 0] = both[:, 0] + share * (both[:, 1] - both[:, 0])
        return found

    def _spacing(self, low: float) -> tuple[float, float]:
        """Distance of tables in log μ, the same for all blocks, and the greatest skewness."""
        skew = float(expanded_moments(np.exp(np.array([low])), self.nodes.dim)[2][0])
        wanted = np.sqrt(8 * ALIKE / skew)
        return float(2.0 ** np.floor(np.log2(min(wanted, 0.5)))), skew

    def _table(self, i: int, gap: float, leads: np.ndarray) -> LogTable:
        key = (gap, i)
        if key not in self.nodes.tables:
            w = self._probits(float(np.exp(i * gap)))
            self.nodes.tables[key] = tabulated(w, leads)
        return self.nodes.tables[key]

    def _probits(self, mean: float) -> Callable[[np.ndarray], np.ndarray]:
        """w(lead, t): the normal score of a rival's distance where it meets the winner's."""
        dim = self.nodes.dim
        centre, spread, skew = (x[0] for x in expanded_moments(np.array([mean]), dim))
        z = -self.nodes.t
        root = centre + spread * (z + skew * (z * z - 1) - skew**2 * (2 * z**3 - 5 * z))

        def w(lead: np.ndarray) -> np.ndarray:
            theirs = np.full_like(lead, spread)
            for _ in range(8):  # their mean and spread, given where the lead puts their centre
                _, theirs, skews = expanded_moments((centre + theirs * lead) ** 2 + theirs**2, dim)
            v = (root - centre) / theirs - lead
            return np.asarray(v - skews * (v * v - 1) + skews**2 * (4 * v**3 - 7 * v))

        return w


def expanded_moments(mean: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, spread and a sixth of the skewness of √χ'²_d(λ), d + λ = mean, to order 1/d²."""
    share = 1 / mean
    square = 1 + share * ((1 - dim) / 2 + share * (-1.5 * dim + share * 0.875 * dim * dim))
    half = 4 * mean - 2 * dim  # the variance of χ'²
    skew = 8 * (3 * mean - 2 * dim) / half**1.5 - 1.5 * np.sqrt(half) * share
    return np.sqrt(mean - square), np.sqrt(square), skew / 6
