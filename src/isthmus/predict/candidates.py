"""Noise on candidates alone: D11 (dot) and D12 (Euclidean), exact for any number of candidates.

Error bounds. Leaving out rivals can only raise the integral, by at most the sum of their pairwise
chances to beat the winner (union bound): Φ(-m/(√2 σ‖q‖)) under dot, Chernoff's bound under
Euclidean. A relative error ρ of every rival's chance F_j moves the integral by at most about
ρ · P[exactly one rival beats the winner] <= ρ, however many rivals there are.
"""

from __future__ import annotations

import numpy as np

from isthmus.predict.integrals import REACH, Kept, Pairs, integrate
from isthmus.predict.rows import Clean
from isthmus.predict.tails import (
    TABLE_DIMENSIONS,
    Probits,
    evaluate,
    noncentral_density,
    noncentral_tails,
    root_moments,
)

PRUNED = 1e-9
"""Rivals are left out while their chances sum to less than this."""
ROUNDING = 1e-13
SERIES_LIMIT = 1e-7


def dot_kept(clean: Clean, total: float, dims: int) -> Kept:
    """D11 over every query. O(n K d), then 35 to 69 normal tails per rival that is not pruned."""
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
        pairs = Pairs.of(near)
        leads = lead[pairs.query, pairs.rival]

        def winner(queries: np.ndarray, t: np.ndarray) -> np.ndarray:
            return np.broadcast_to(_normal(t), (len(queries), len(t)))

        def survival(which: np.ndarray, t: np.ndarray, leads: np.ndarray = leads) -> np.ndarray:
            return ndtr(leads[which, None] + t)

        value[part], change = integrate(len(lead), pairs, winner, survival)
        missed = np.where(near, 0.0, ndtr(-lead / np.sqrt(2))).sum(axis=1)
        error[part] = change + missed + ROUNDING
    return Kept(np.clip(value, 0, 1), error, np.zeros(n), "D11: one-dimensional integral, dot")


def _normal(t: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * t * t) / np.sqrt(2 * np.pi)


def euclidean_kept(clean: Clean, total: float, dims: int) -> Kept:
    """D12 over every query, stored numbers and noise on leading coordinates included.

    A candidate's cost ½‖u_j - ε_j‖² - β_j is ½σ²χ'²_r(λ_j) + κ_j, with λ_j = ‖u_j‖²/σ² over the r
    noisy coordinates and κ_j the rest of the half square less β_j.
    """
    variance = total / dims
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
    pairs = Pairs.of(near)
    there, lifts = lam[near], lift[near]
    if dim >= TABLE_DIMENSIONS:
        ends = np.concatenate([own, there])
        table = Probits.over(dim, float(ends.min()), float(ends.max()))
        if table.error <= SERIES_LIMIT:
            value, change = _by_series(table, own, pairs, there, lifts)
            return value, change + missed + table.error + ROUNDING
    value, change = _by_tails(dim, own, pairs, there, lifts)
    return value, change + missed + 1e-10


def _chernoff(own: np.ndarray, lam: np.ndarray, lift: np.ndarray, dim: int) -> np.ndarray:
    """A bound on P[χ'²(λ_j) + lift < χ'²(λ_1)]: any θ gives one, this is near the best."""
    mean = np.maximum(lam - own + lift, 0.0)
    theta = np.minimum(mean / (4 * dim + 4 * (lam + own)), 0.45)
    log = -0.5 * dim * np.log1p(-4 * theta * theta) - theta * lift
    log += own * theta / (1 - 2 * theta) - lam * theta / (1 + 2 * theta)
    return np.exp(np.minimum(log, 0.0))


def _by_series(
    table: Probits, own: np.ndarray, pairs: Pairs, lam: np.ndarray, lift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from numpy.polynomial import chebyshev
    from scipy.special import ndtr

    centre, spread = root_moments(table.dim, own)
    mine = table.along(own)
    slope = chebyshev.chebder(mine, axis=1)
    theirs = table.along(lam)
    there, width = root_moments(table.dim, lam)

    def winner(queries: np.ndarray, t: np.ndarray) -> np.ndarray:
        v = np.broadcast_to(t / REACH, (len(queries), len(t)))
        return _normal(evaluate(mine[queries], v)) * evaluate(slope[queries], v) / REACH

    def survival(which: np.ndarray, t: np.ndarray) -> np.ndarray:
        query = pairs.query[which]
        x = (centre[query, None] + spread[query, None] * t) ** 2 - lift[which, None]
        v = (np.sqrt(np.maximum(x, 0.0)) - there[which, None]) / (REACH * width[which, None])
        w = evaluate(theirs[which], np.clip(v, -1.0, 1.0))
        return np.where(v < -1, 1.0, np.where(v > 1, 0.0, ndtr(-w)))

    return integrate(len(own), pairs, winner, survival)


def _by_tails(
    dim: int, own: np.ndarray, pairs: Pairs, lam: np.ndarray, lift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Few dimensions, or a series that did not converge: every tail integrated by itself.

    Gauss-Legendre over the winner's root √χ'², whose density is analytic up to 0; the error is
    the difference of two rules.
    """
    starts = np.searchsorted(pairs.query, np.arange(len(own) + 1))
    rules = [np.polynomial.legendre.leggauss(m) for m in (64, 96)]
    values = np.empty((2, len(own)))
    for i, square in enumerate(own):
        mine = slice(starts[i], starts[i + 1])
        middle = np.sqrt(square + dim)
        low, high = max(0.0, np.sqrt(square) - 9.0), middle + 9.0
        for k, (nodes, weights) in enumerate(rules):
            root = low + (high - low) * (nodes + 1) / 2
            density = weights * (high - low) * root * _density(root**2, dim, square)
            x = root[None, :] ** 2 - lift[mine, None]
            above = noncentral_tails(x, dim, lam[mine, None])[1]
            values[k, i] = density @ above.prod(axis=0)
    return values[1], np.abs(values[1] - values[0])


def _density(x: np.ndarray, dim: int, lam: float) -> np.ndarray:
    if dim < TABLE_DIMENSIONS:
        return noncentral_density(x, dim, np.float64(lam))
    square = np.float64(lam)  # F_{d-2} - F_d = 2 f_d
    return (noncentral_tails(x, dim - 2, square)[0] - noncentral_tails(x, dim, square)[0]) / 2
