"""What noise of one level does to the scores of a block of queries: dot, Euclidean, cosine.

Each has ``error`` (b,), ``scale`` (b,) (margin of a unit of lead near 0), ``margins(reach)`` (b,)
(margin from which on a rival is out of reach), ``leads(margin, query, bias)`` and
``logs(counted, group, asked)``, the logarithm of the product over rivals for some of the queries,
``asked`` (m,), (m, levels, nodes).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from isthmus.theory.curves.leads import Leads, LevelGroup, LogTable, Nodes, bent, tabulated
from isthmus.theory.tails import SHAPE, expanded_moments, root_variance

LIFTED = 0.2
"""In the place of ``SHAPE`` under Euclidean search with candidate biases."""
LEAST_MEAN = 0.75
"""Least μ / d that moments are asked for: no rival is below 1, and tables look a little further."""
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

    def leads(self, margin: np.ndarray, query: np.ndarray, bias: np.ndarray | None = None) -> Leads:
        with np.errstate(invalid="ignore"):
            return Leads(margin * self.per_unit[query])

    def logs(self, counted: np.ndarray, group: LevelGroup, asked: np.ndarray) -> np.ndarray:
        """Logarithm of the product over rivals, (m, levels, nodes)."""
        assert group.table is not None
        return (counted @ group.table).reshape(len(counted), len(group.levels), -1)


class EuclideanNoise:
    """Euclidean: roots of noisy squared distances over σ², √χ'²_d(λ), which are nearly normal.

    With μ = d + λ the mean of the square, s² the root's variance and c² = μ - s², the lead of a
    rival is (c_j - c_1) / s_j. What is not normal goes by Cornish and Fisher's expansion to the
    second order in the skewness. With candidate biases β a rival wins where χ'²_j < χ'²_1 + ℓ_j,
    ℓ_j = 2 (β_j - β_1) / σ²: its lead is (c_j - √(c_1² + ℓ_j)) / s_j, and the root bends.
    """

    def __init__(
        self,
        square: np.ndarray,
        variance: float,
        nodes: Nodes,
        dtype: np.dtype,
        lifts: tuple[np.ndarray, float] | None = None,
    ) -> None:
        """``square`` (b,): squared distances of the winners. ``lifts``: β_1 (b,) and the greatest
        β."""
        self.nodes, self.variance, self.dtype, self.lifts = nodes, variance, dtype, lifts
        self.mean = nodes.dim + square / variance
        self.centre, self.spread, _ = expanded_moments(self.mean, nodes.dim)
        self.scale = variance * self.centre * self.spread  # margin per unit of lead, near lead 0
        self.error = (SHAPE if lifts is None else LIFTED) / self.mean

    def margins(self, reach: float) -> np.ndarray:
        widest = 0.5 * self.variance * ((self.centre + reach) ** 2 + 1 - self.mean)
        if self.lifts is None:
            return widest
        # of rivals at the greatest distance that a bias makes up for
        most = 2 * (self.lifts[1] - self.lifts[0]) / self.variance
        own = np.sqrt(self.centre**2 + np.maximum(most, 0.0))
        return 0.5 * self.variance * ((own + reach) ** 2 + 1 - own**2)

    def leads(self, margin: np.ndarray, query: np.ndarray, bias: np.ndarray | None = None) -> Leads:
        dim, kind = self.nodes.dim, self.dtype.type
        rise = margin * kind(2 / self.variance)
        mean = self.mean.astype(self.dtype)[query] + rise
        centre, own = self.centre.astype(self.dtype), (self.spread**2).astype(self.dtype)
        lift = None
        if self.lifts is not None:
            assert bias is not None
            mine = self.lifts[0].astype(self.dtype)[query]
            lift = (bias.astype(self.dtype) - mine) * kind(2 / self.variance)
            mean += lift
        square = root_variance(1 / mean, dim)
        theirs, ours = np.sqrt(mean - square), centre[query]
        rise = rise - square + own[query]  # c_j² - (c_1² + ℓ_j)
        if lift is None:
            return Leads(rise / ((theirs + ours) * np.sqrt(square)))
        level = np.sqrt(np.maximum(ours * ours + lift, kind(1.0)))
        spread = np.sqrt(square)
        lead = rise / ((theirs + level) * spread)
        steep = np.sqrt(own)[query] / spread
        slope = steep * ours / level - self._assumed(lead, query)
        bend = -kind(0.5) * steep * np.sqrt(own)[query] * lift / level**3
        return Leads(lead, slope, bend)

    def _assumed(self, lead: np.ndarray, query: np.ndarray) -> np.ndarray:
        """s_1 / s_j of a rival whose lead has nothing to do with a bias, which tables are of."""
        root, dim = self.centre[query] + self.spread[query] * lead, self.nodes.dim
        _, theirs, _ = expanded_moments(np.maximum(root**2 + 1, LEAST_MEAN * dim), dim)
        return np.asarray(self.spread[query] / theirs, self.dtype)

    def logs(self, counted: np.ndarray, group: LevelGroup, asked: np.ndarray) -> np.ndarray:
        """Logarithm of the product over rivals, (m, 1, nodes): linear between tables in log μ."""
        place = np.log(self.mean[asked])
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
        key = (gap, i, len(leads), self.lifts is None)
        if key not in self.nodes.tables:
            w = self._probits(float(np.exp(i * gap)))
            table = tabulated(w, leads)
            self.nodes.tables[key] = table if self.lifts is None else bent(table, self.nodes.t)
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
                mean_of = np.maximum((centre + theirs * lead) ** 2 + theirs**2, LEAST_MEAN * dim)
                _, theirs, skews = expanded_moments(mean_of, dim)
            v = (root - centre) / theirs - lead
            return np.asarray(v - skews * (v * v - 1) + skews**2 * (4 * v**3 - 7 * v))

        return w


class CosineNoise:
    """Cosine: cos > κ where A > k R, A = ⟨q̂, x + ε⟩ normal, R = ‖the rest‖ = σ √χ'²_{d-1}
    independent of it, k = κ / √(1 - κ²). A - k R is nearly normal.

    In units of σ, with C the mean of A, μ and s mean and spread of R, and k = C_1 / μ_1 where the
    winner's noise is 0, the lead of a rival is (k μ_j - C_j) / √(1 + k² s_j²). All stored rows
    have the norm ``norm``.
    """

    def __init__(
        self,
        score: np.ndarray,
        length: np.ndarray,
        norm: float,
        variance: float,
        nodes: Nodes,
        dtype: np.dtype,
    ) -> None:
        """``score`` (b,): ⟨q, x⟩ / ‖x‖ of the winners. ``length`` (b,): ‖q‖."""
        self.nodes, self.dtype = nodes, dtype
        self.size = norm / np.sqrt(variance) / np.where(length > 0, length, 1.0)
        self.along = self.size * score
        self.mean = nodes.dim - 1 + (norm**2 / variance - self.along**2)
        self.centre, self.spread, _ = expanded_moments(self.mean, nodes.dim - 1)
        self.steep = self.along / self.centre
        self.total = 1 + self.steep**2 * self.spread**2
        self.per_score = self.size * (1 + self.steep**2) / np.sqrt(self.total)
        self.scale = np.where(length > 0, 1 / self.per_score, 0.0)
        self.error = SHAPE / self.mean

    def margins(self, reach: float) -> np.ndarray:
        far = reach / self.centre
        return self.scale * reach * (1 + far) + far**2 / self.size * self.centre

    def leads(self, margin: np.ndarray, query: np.ndarray, bias: np.ndarray | None = None) -> Leads:
        kind, dim = self.dtype.type, self.nodes.dim - 1

        def of(values: np.ndarray) -> np.ndarray:
            return values.astype(self.dtype)[query]

        steep, ours, total = of(self.steep), of(self.centre), of(self.total)
        short = margin * of(self.size)
        more = short * (2 * of(self.along) - short)  # how much farther the rest of a rival is
        square = root_variance(1 / (of(self.mean) + more), dim)
        more += of(self.spread**2) - square
        theirs = np.sqrt(np.maximum(ours * ours + more, kind(1.0)))
        own = 1 + steep * steep * square
        lead = (steep * more / (theirs + ours) + short) / np.sqrt(own)
        curve = steep * square * np.sqrt(total) / (own * ours)
        slope = theirs / ours * np.sqrt(total / own) - lead * curve - 1
        bend = kind(0.5) * lead * square * (3 * steep * curve / np.sqrt(total) * ours - 1)
        return Leads(lead, slope, bend / (ours * ours))

    def logs(self, counted: np.ndarray, group: LevelGroup, asked: np.ndarray) -> np.ndarray:
        """Logarithm of the product over rivals, (m, 1, nodes)."""
        key = (0.0, 0, len(group.leads), False)
        if key not in self.nodes.tables:
            plain = tabulated(lambda lead: -lead - self.nodes.t, group.leads)
            self.nodes.tables[key] = bent(plain, self.nodes.t)
        return (counted @ self.nodes.tables[key])[:, None, :]
