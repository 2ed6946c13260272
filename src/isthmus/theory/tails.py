"""Both tails of the non-central χ², at any non-centrality.

SciPy's ``ncx2`` loses its way at large non-centrality, so the tails are integrated here. With
s = √λ, χ'²_d(λ) = (s + z)² + w, z ~ N(0, 1) and w ~ χ²_{d-1} independent. In polar coordinates of
the ball of squared radius x, z + s = √x sin θ:

    F(x) = ∫ φ(√x sin θ - s) √x cos θ · P[w < x cos²θ] dθ                       (many dimensions)
    F(x) = ∫ f_w(x cos²θ) 2x sin θ cos θ · P[|z + s| < √x sin θ] dθ             (large λ)

and likewise for 1 - F. Both integrands are smooth up to the ends, for every d >= 2, so
Gauss-Legendre nodes converge geometrically. The narrower factor is the one integrated over, so that
the other is a step no narrower than the bump it is weighted with, and 96 nodes do.

:mod:`isthmus.theory.tables` holds them as Chebyshev series, for tails wanted by the million.
"""

from __future__ import annotations

import numpy as np

LEGENDRE = 96
SHAPE = 0.06
"""Times 1/μ: error of the expansions for Euclidean search and cosine, as found against the exact
integrals."""
WIDE = 13.0
REACH = 8.5
"""Tails are resolved to this many standard deviations, Φ(-8.5) = 1e-17; beyond, they are 0."""


def noncentral_tails(x: np.ndarray, dim: int, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P[χ'²_d(λ) < x] and P[χ'²_d(λ) > x] for arrays that broadcast, to about 1e-11 relative within
    ``REACH`` standard deviations (times √λ / 10⁴ beyond λ = 10⁸).

    Args:
        x: values, any sign. dim: degrees of freedom, at least 1. lam: non-centralities, >= 0.

    Source: polar form of the ball, derived in ``docs/formulas.md``. About 10 µs a value.
    """
    from scipy.special import ndtr

    x, lam = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(lam, np.float64))
    shape, x, s = x.shape, x.ravel(), np.sqrt(lam.ravel())
    rho = np.sqrt(np.maximum(x, 0.0))
    if dim == 1:
        below = ndtr(rho - s) - ndtr(-rho - s)
        return below.reshape(shape), (ndtr(s - rho) + ndtr(-rho - s)).reshape(shape)
    below, above = np.zeros(len(x)), np.ones(len(x))
    far = s * s > dim / 2
    for side in (far, ~far):
        for part in np.array_split(np.flatnonzero(side & (x > 0)), max(1, side.sum() // 4000)):
            if len(part):
                piece = _by_rest if side is far else _by_axis
                below[part], above[part] = piece(rho[part], s[part], dim)
    return below.reshape(shape), above.reshape(shape)


def _by_axis(rho: np.ndarray, s: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import gammainc, gammaincc, ndtr

    # z lies within WIDE of 0, even in a tail of either factor
    low = np.arcsin(np.clip((s - WIDE) / rho, -1.0, 1.0))
    high = np.arcsin(np.clip((s + WIDE) / rho, -1.0, 1.0))
    theta, weights = _nodes(low, high)
    z = rho[:, None] * np.sin(theta) - s[:, None]
    reach = rho[:, None] * np.cos(theta)
    weights = weights * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) * reach
    half = (dim - 1) / 2, 0.5 * reach**2
    outside = ndtr(-rho - s) + ndtr(s - rho)
    below = (weights * gammainc(*half)).sum(axis=1)
    return below, outside + (weights * gammaincc(*half)).sum(axis=1)


def _by_rest(rho: np.ndarray, s: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import chdtrc, gammaln, ndtr, xlogy

    half = (dim - 1) / 2
    # √w = ρ cos θ lies within WIDE of √d
    low = np.arccos(np.minimum(1.0, (np.sqrt(dim) + WIDE) / rho))
    high = np.arccos(np.clip((np.sqrt(dim) - WIDE) / rho, 0.0, 1.0))
    theta, weights = _nodes(low, high)
    reach, root = rho[:, None] * np.sin(theta), rho[:, None] * np.cos(theta)
    # 2 x sin cos f(x cos²), its power of cos collected so that d = 2 stays finite
    log = xlogy(2 * half - 1, root) - 0.5 * root**2
    weights = weights * 2 * np.exp(log - half * np.log(2) - gammaln(half)) * reach
    left, right = ndtr(reach - s[:, None]), ndtr(-reach - s[:, None])
    away = ndtr(s[:, None] - reach)
    return (
        (weights * (left - right)).sum(axis=1),
        chdtrc(dim - 1, rho * rho) + (weights * (away + right)).sum(axis=1),
    )


def _nodes(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre on [low, high], (n, LEGENDRE) nodes and weights."""
    nodes, weights = np.polynomial.legendre.leggauss(LEGENDRE)
    half = 0.5 * (high - low)[:, None]
    return 0.5 * (low + high)[:, None] + half * nodes, half * weights


def mixture(dim: int, lam: np.ndarray, root: np.ndarray, density: bool = False) -> np.ndarray:
    """P[√χ'²_d(λ) < root], or its density, for small λ: (len(λ), len(root)).

    The Poisson mixture of central χ², a product of matrices with as many inner terms as a Poisson
    variable of mean max λ / 2 can reach. To about 1e-14.
    """
    from scipy.special import gammainc, gammaln, xlogy

    mean = 0.5 * np.asarray(lam, np.float64)[:, None]
    top = float(mean.max(initial=0.0))
    k = np.arange(int(top + 9 * np.sqrt(top) + 40))
    share = np.exp(xlogy(k, mean) - mean - gammaln(k + 1))
    half, square = dim / 2 + k[:, None], 0.5 * np.asarray(root, np.float64)[None, :] ** 2
    if not density:
        return np.asarray(share @ gammainc(half, square))
    # 2 ρ f(ρ²), its power of ρ collected: finite at 0 for every d >= 1
    log = xlogy(2 * half - 1, root[None, :]) - square - gammaln(half) - (half - 1) * np.log(2)
    return np.asarray(share @ np.exp(log))


def probit(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Φ⁻¹ of a probability given with its complement, from whichever is the smaller."""
    from scipy.special import ndtri

    return np.where(below < above, ndtri(below), -ndtri(above))


def root_moments(dim: int, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread of √χ'²_d(λ) to first order: what tails are standardised with."""
    mean, variance = dim + lam, 2 * dim + 4 * lam
    return np.sqrt(mean - variance / (4 * mean)), np.sqrt(variance / (4 * mean))


def root_variance(share: np.ndarray, dim: int) -> np.ndarray:
    """Variance of √χ'²_d(λ), ``share`` = 1 / (d + λ), to order 1/d², in the precision of these."""
    return 1 + share * ((1 - dim) / 2 + share * (-1.5 * dim + share * (0.875 * dim * dim)))


def expanded_moments(mean: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, spread and a sixth of the skewness of √χ'²_d(λ), d + λ = mean, to order 1/d²."""
    share = 1 / mean
    square = root_variance(share, dim)
    half = 4 * mean - 2 * dim  # the variance of χ'²
    skew = 8 * (3 * mean - 2 * dim) / half**1.5 - 1.5 * np.sqrt(half) * share
    return np.sqrt(mean - square), np.sqrt(square), skew / 6
