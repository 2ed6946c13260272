"""Noise on candidates alone: D11 (dot), D12 (Euclidean), and the law of cosine.

The first two are exact for any number of candidates, the last up to a normal approximation.

Error bounds. Leaving out rivals can only raise the integral, by at most the sum of their pairwise
chances to beat the winner (union bound): Φ(-m/(√2 σ‖q‖)) under dot, Chernoff's bound under
Euclidean. A relative error ρ of every rival's chance F_j moves the integral by at most about
ρ · P[exactly one rival beats the winner] <= ρ, however many rivals there are; an absolute error δ
by at most δ times the number of rivals that were not left out. Rounding of squared distances moves
a margin by about eps √λ standard deviations.
"""

from __future__ import annotations

import numpy as np

from isthmus.theory.integrals import Kept, RivalPairs, Winner, integrate, legendres, trapezoids
from isthmus.theory.rows import CleanRows
from isthmus.theory.tables import NEAR, SMALL, Roots, Table, horner, table_of
from isthmus.theory.tails import REACH, SHAPE, expanded_moments, mixture

PRUNED = 1e-9
"""Rivals are left out while their chances sum to less than this."""
ROUNDING = 1e-13
LEAST_VARIANCE = 1e-200
EPS = float(np.finfo(np.float64).eps)


def dot_kept(clean: CleanRows, total: float, dims: int) -> Kept:
    """D11 over every query. O(n K d), then 69 or 137 normal tails per rival that is not pruned."""
    from scipy.special import ndtr, ndtri

    n, count = len(clean.queries), len(clean.candidates)
    lengths = np.linalg.norm(clean.queries[:, :dims], axis=1)
    spread = np.sqrt(total / dims) * lengths
    limit = -ndtri(PRUNED / count) * np.sqrt(2)
    value, error = np.empty(n), np.empty(n)
    for part, margins, first in clean.blocks():
        silent = spread[part] == 0  # a query of length 0 meets no noise
        lead = margins / np.where(silent, 1.0, spread[part])[:, None]
        lead[silent] = np.inf
        rows = np.arange(len(lead))
        lead[rows, first] = np.inf
        near = lead < limit
        pairs = RivalPairs.of(near)
        leads = lead[pairs.query, pairs.rival]

        def winner(queries: np.ndarray, v: np.ndarray) -> np.ndarray:
            return np.broadcast_to(REACH * _normal(REACH * v), (len(queries), len(v)))

        def survival(which: np.ndarray, v: np.ndarray, leads: np.ndarray = leads) -> np.ndarray:
            return np.asarray(ndtr(leads[which, None] + REACH * v))

        value[part], change = integrate(rows, pairs, winner, survival, trapezoids())
        missed = np.where(near, 0.0, ndtr(-lead / np.sqrt(2))).sum(axis=1)
        error[part] = change + missed + ROUNDING
    return Kept(np.clip(value, 0, 1), error, np.zeros(n), "D11: one-dimensional integral, dot")


def _normal(t: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-0.5 * t * t) / np.sqrt(2 * np.pi))


def euclidean_kept(clean: CleanRows, total: float, dims: int) -> Kept:
    """D12 over every query, candidate biases and noise on leading coordinates included.

    A candidate's cost ½‖u_j - ε_j‖² - β_j is ½σ²χ'²_r(λ_j) + κ_j, with λ_j = ‖u_j‖²/σ² over the r
    noisy coordinates and κ_j the rest of the half square less β_j.
    """
    variance = max(total / dims, LEAST_VARIANCE)
    n = len(clean.queries)
    value, error = np.empty(n), np.empty(n)
    whole = clean.queries.shape[1]
    for part, margins, first in clean.blocks():
        lam = clean.squares(part, dims) / variance
        rows = np.arange(len(lam))
        # in units of ½σ²: costs differ by 2 m / σ² when clean
        lift = np.zeros_like(lam)
        if dims < whole or clean.bias.any():
            lift = 2 * margins / variance - (lam - lam[rows, first][:, None])
        elif clean.items is not None:
            lift[np.isinf(margins)] = np.inf
        value[part], error[part] = shifted_kept(lam, lift, first, dims)
    return Kept(np.clip(value, 0, 1), error, np.zeros(n), "D12: one-dimensional integral, Euclid")


def shifted_kept(
    lam: np.ndarray, lift: np.ndarray, first: np.ndarray, dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """P[χ'²_d(λ_1) < χ'²_d(λ_j) + lift_j for all j], and its error bound, (n,) each.

    Args:
        lam: (n, K) non-centralities. lift: (n, K), 0 in the column of ``first`` (n,).
    """
    rows = np.arange(len(lam))
    own = lam[rows, first]
    chance = _chernoff(own[:, None], lam, lift, dim)
    chance[rows, first] = 0.0
    near = chance > PRUNED / lam.shape[1]
    missed = np.where(near, 0.0, chance).sum(axis=1)
    pairs = RivalPairs.of(near)
    table = table_of(dim)
    value, change = _integral(table, own, pairs, lam[near], lift[near])
    rivals = pairs.counts(len(own))
    series = table.far_error * (1 + SMALL * rivals) + table.near_error * rivals
    return value, change + missed + series + ROUNDING + 8 * EPS * np.sqrt(own)


def _chernoff(own: np.ndarray, lam: np.ndarray, lift: np.ndarray, dim: int) -> np.ndarray:
    """A bound on P[χ'²(λ_j) + lift < χ'²(λ_1)]: any θ gives one, this is near the best."""
    mean = np.maximum(lam - own + lift, 0.0)
    theta = np.minimum(mean / (4 * dim + 4 * (lam + own)), 0.45)
    rest = 1 - 4 * theta * theta
    log = -0.5 * dim * np.log(rest) - theta * lift
    log += theta * ((own - lam) + 2 * theta * (own + lam)) / rest
    return np.asarray(np.exp(np.minimum(log, 0.0)))


def _integral(
    table: Table, own: np.ndarray, pairs: RivalPairs, lam: np.ndarray, lift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The integral of every query over its winner's root √χ'², lifts in units of χ'²."""
    mine = table.roots(own)
    lifted = bool(lift.any())
    value, error = np.empty(len(own)), np.empty(len(own))

    def survival(which: np.ndarray, v: np.ndarray) -> np.ndarray:
        query = pairs.query[which]
        root = mine.centre[query, None] + mine.width[query, None] * v
        if lifted:
            root = np.sqrt(np.maximum(root * root - lift[which, None], 0.0))
        return table.survival(table.roots(lam[which]), root)

    def survival_near(which: np.ndarray, v: np.ndarray) -> np.ndarray:
        close = lam[which] + table.dim < table.least
        if lifted or not close.any():
            return survival(which, v)
        out = np.empty((len(which), len(v)))
        out[close] = table.near_survival(lam[which[close]], v)
        out[~close] = survival(which[~close], v)
        return out

    def winner_near(queries: np.ndarray, v: np.ndarray) -> np.ndarray:
        return NEAR / 2 * mixture(table.dim, own[queries], NEAR / 2 * (1 + v), density=True)

    rows = np.flatnonzero(~mine.near)
    winner = _by_slope(table, mine)
    value[rows], error[rows] = integrate(rows, pairs, winner, survival, trapezoids())
    rows = np.flatnonzero(mine.near)
    value[rows], error[rows] = integrate(rows, pairs, winner_near, survival_near, legendres())
    return value, error


def _by_slope(table: Table, mine: Roots) -> Winner:
    """Density in v far from the origin, from the table: φ(w) dw/dv."""
    series = table.far_series(mine.lam)
    slope = series[:, 1:] * np.arange(1, series.shape[1])

    def winner(queries: np.ndarray, v: np.ndarray) -> np.ndarray:
        v = np.broadcast_to(v, (len(queries), len(v)))
        return _normal(horner(series[queries], v)) * horner(slope[queries], v)

    return winner


def cosine_kept(clean: CleanRows, norms: np.ndarray, total: float) -> Kept:
    """The law of cosine over every query, nothing expanded but the moments of a root of χ'².

    A rival is below k = cot of the winner's angle where A_j - k R_j < 0 (``docs/formulas.md``).
    That is nearly normal; what is not is in the error, ``SHAPE`` / μ. O(n K d), and as many normal
    tails as :func:`dot_kept`.

    Args:
        norms: (K,) of the stored candidates, which ``clean`` holds divided by them.
    """
    from scipy.special import ndtr, ndtri

    n, count = len(clean.queries), len(clean.candidates)
    dim = clean.queries.shape[1]
    sizes = norms / np.sqrt(total / dim)
    lengths = np.linalg.norm(clean.queries, axis=1)
    limit = -ndtri(PRUNED / count) * np.sqrt(2)
    value, error = np.ones(n), np.zeros(n)
    for part, margins, first in clean.blocks():
        rows = np.arange(len(first))
        silent = lengths[part] == 0
        cosine = clean.queries[part] @ clean.candidates.T
        cosine /= np.where(silent, 1.0, lengths[part])[:, None]
        along = sizes * np.clip(cosine, -1.0, 1.0)
        mean = dim - 1 + sizes**2 - along**2
        centre, spread, _ = expanded_moments(mean, dim - 1)
        steep = (along / centre)[rows, first][:, None]
        lead = (steep * centre - along) / np.sqrt(1 + steep**2 * spread**2)
        lead[np.isinf(margins) | silent[:, None]] = np.inf
        lead[rows, first] = np.inf
        near = lead < limit
        pairs = RivalPairs.of(near)
        at = pairs.query, pairs.rival
        theirs = along[at], centre[at], spread[at]
        mine = tuple(x[rows, first] for x in (along, centre, spread))

        def winner(queries: np.ndarray, v: np.ndarray) -> np.ndarray:
            return np.broadcast_to(REACH * _normal(REACH * v), (len(queries), len(v)))

        def survival(
            which: np.ndarray,
            v: np.ndarray,
            theirs: tuple[np.ndarray, ...] = theirs,
            mine: tuple[np.ndarray, ...] = mine,
            query: np.ndarray = pairs.query,
        ) -> np.ndarray:
            at, (a, c, s) = query[which], (x[which, None] for x in theirs)
            k = _cotangent(mine[0][at, None], mine[1][at, None], mine[2][at, None], REACH * v)
            return np.asarray(ndtr((k * c - a) / np.sqrt(1 + k * k * s * s)))

        value[part], change = integrate(rows, pairs, winner, survival, trapezoids())
        missed = np.where(near, 0.0, ndtr(-lead / np.sqrt(2))).sum(axis=1)
        error[part] = change + missed + ROUNDING + SHAPE / mean[rows, first]
    return Kept(np.clip(value, 0, 1), error, np.zeros(n), "one-dimensional integral, cosine")


def _cotangent(
    along: np.ndarray, centre: np.ndarray, spread: np.ndarray, t: np.ndarray
) -> np.ndarray:
    """k at which the winner's score is t standard deviations up: (k μ - C) / √(1 + k² s²) = t."""
    square = centre**2 - t * t * spread**2
    root = np.maximum((centre * along) ** 2 - square * (along**2 - t * t), 0.0)
    return np.asarray((centre * along + np.sign(t) * np.sqrt(root)) / square)
