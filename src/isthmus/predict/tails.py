"""Both tails of the non-central χ², at any non-centrality.

SciPy's ``ncx2`` loses its way at large non-centrality, so the tails are integrated here. With
s = √λ, χ'²_d(λ) = (s + z)² + w, z ~ N(0, 1) and w ~ χ²_{d-1} independent. In polar coordinates of
the ball of squared radius x, z + s = √x sin θ:

    F(x) = ∫ φ(√x sin θ - s) √x cos θ · P[w < x cos²θ] dθ                       (many dimensions)
    F(x) = ∫ f_w(x cos²θ) 2x sin θ cos θ · P[|z + s| < √x sin θ] dθ             (large λ)

and likewise for 1 - F. Both integrands are smooth up to the ends, for every d >= 2, so
Gauss-Legendre nodes converge geometrically. The first has its wide factor in z, the second in w:
the wider is integrated over, so that no step is narrower than the bump it is weighted with.

:class:`Probits` holds Φ⁻¹(F) as a Chebyshev series, for tails that are wanted by the million.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

LEGENDRE = 96
COARSE = 193
REACH = 8.5
"""Tails are resolved to this many standard deviations, Φ(-8.5) = 1e-17; beyond, they are 0."""
TABLE_DIMENSIONS = 48


def noncentral_tails(x: np.ndarray, dim: int, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P[χ'²_d(λ) < x] and P[χ'²_d(λ) > x], each to about 1e-12 relative, for arrays that broadcast.

    Args:
        x: values, any sign. dim: degrees of freedom, at least 1. lam: non-centralities, >= 0.

    Source: polar form of the ball, derived in ``docs/formulas.md``. About 50 µs a value.
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

    def terms(theta: np.ndarray, upper: bool) -> np.ndarray:
        z = rho[:, None] * np.sin(theta) - s[:, None]
        cosine = np.cos(theta)
        tail = gammaincc if upper else gammainc
        rest = tail((dim - 1) / 2, 0.5 * (rho[:, None] * cosine) ** 2)
        return np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) * rho[:, None] * cosine * rest

    low, high = np.full(len(rho), -np.pi / 2), np.full(len(rho), np.pi / 2)
    outside = ndtr(-rho - s) + ndtr(s - rho)
    return _integral(terms, False, low, high), outside + _integral(terms, True, low, high)


def _by_rest(rho: np.ndarray, s: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import chdtrc, gammaln, ndtr, xlogy

    half = (dim - 1) / 2

    def terms(theta: np.ndarray, upper: bool) -> np.ndarray:
        reach, w = rho[:, None] * np.sin(theta), (rho[:, None] * np.cos(theta)) ** 2
        # 2 x sin cos f(x cos²), its power of cos collected so that d = 2 stays finite
        log = xlogy(2 * half - 1, rho[:, None] * np.cos(theta)) - 0.5 * w
        density = 2 * np.exp(log - half * np.log(2) - gammaln(half)) * reach
        if upper:
            return density * (ndtr(s[:, None] - reach) + ndtr(-reach - s[:, None]))
        return density * (ndtr(reach - s[:, None]) - ndtr(-reach - s[:, None]))

    low, high = np.zeros(len(rho)), np.full(len(rho), np.pi / 2)
    outside = chdtrc(dim - 1, rho * rho)
    return _integral(terms, False, low, high), outside + _integral(terms, True, low, high)


def _integral(terms, upper: bool, low: np.ndarray, high: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Gauss-Legendre over the part of [low, high] where a unimodal integrand can be seen."""
    rows = np.arange(len(low))
    share = np.linspace(0.0, 1.0, COARSE)
    for _ in range(3):  # each look is finer, until the bump fills the interval
        values = terms(low[:, None] + (high - low)[:, None] * share, upper)
        seen = values > 1e-20 * values.max(axis=1, keepdims=True)
        seen[rows, values.argmax(axis=1)] = True
        first = np.maximum(seen.argmax(axis=1) - 1, 0)
        last = np.minimum(COARSE - seen[:, ::-1].argmax(axis=1), COARSE - 1)
        low, high = low + (high - low) * share[first], low + (high - low) * share[last]
    nodes, weights = np.polynomial.legendre.leggauss(LEGENDRE)
    theta = 0.5 * (low + high)[:, None] + 0.5 * (high - low)[:, None] * nodes
    return 0.5 * (high - low) * (terms(theta, upper) @ weights)


def probit(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Φ⁻¹ of a probability given with its complement, from whichever is the smaller."""
    from scipy.special import ndtri

    return np.where(below < above, ndtri(below), -ndtri(above))


def noncentral_density(x: np.ndarray, dim: int, lam: np.ndarray) -> np.ndarray:
    """Density of χ'²_d(λ) at x > 0, for d below ``TABLE_DIMENSIONS`` (Bessel form)."""
    from scipy.special import gammaln, ive, xlogy

    order = dim / 2 - 1
    x, lam = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(lam, np.float64))
    root = np.sqrt(x * lam)
    central = np.exp(xlogy(order, x / 2) - x / 2 - lam / 2 - gammaln(dim / 2)) / 2
    near = root < 1e-6  # the Bessel function's first term: relative error root²/(2 d)
    safe = np.where(near, 1.0, root)
    ratio = np.where(near, 1.0, x / np.where(near, 1.0, lam))
    far = 0.5 * np.exp(-0.5 * (np.sqrt(x) - np.sqrt(lam)) ** 2) * ratio ** (order / 2)
    return np.where(near, central, far * ive(order, safe))


@dataclass(frozen=True, eq=False)
class Probits:
    """w(λ, t) = Φ⁻¹(F) at √x = centre(λ) + spread(λ) t: nearly w = t, as a Chebyshev series.

    ``error``: greatest relative error of F that was found between the nodes, times 4.
    """

    dim: int
    low: float
    high: float
    series: np.ndarray
    error: float

    @classmethod
    def over(cls, dim: int, least: float, greatest: float) -> Probits:
        """Fit for λ in [least, greatest]; the degrees grow until the error is below 1e-9."""
        low, high = np.log(least + dim), np.log(greatest + dim)
        high = max(high, low + 1e-3)
        made = None
        for shape in ((8, 8), (12, 16), (16, 32), (32, 24), (64, 32)):
            nodes = [np.cos(np.pi * (np.arange(n) + 0.5) / n) for n in (shape[0] + 1, shape[1] + 1)]
            values = cls._exact(dim, low, high, *nodes)
            left, right = (chebyshev.chebvander(u, n) for u, n in zip(nodes, shape, strict=True))
            series = np.linalg.solve(left, np.linalg.solve(right, values.T).T)
            between = np.linspace(-1, 1, 9), np.linspace(-1, 1, 41)
            exact = cls._exact(dim, low, high, *between)
            error = np.abs(chebyshev.chebgrid2d(*between, series) - exact)
            # d log F = φ(w)/Φ(w) dw, which is below |w| + 1 for negative w and below 1 for others
            relative = float((error * (1 + np.maximum(-exact, 0.0))).max())
            relative = relative if np.isfinite(relative) else np.inf
            if made is None or relative < made.error / 4:
                made = cls(dim, low, high, series, 4 * relative)
            if relative < 2.5e-10:
                break
        assert made is not None
        return made

    @staticmethod
    def _exact(dim: int, low: float, high: float, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        lam = np.exp(low + (high - low) * (u + 1) / 2) - dim
        lam = np.maximum(lam, 0.0)
        centre, spread = root_moments(dim, lam)
        rho = centre[:, None] + spread[:, None] * REACH * v
        return probit(*noncentral_tails(np.maximum(rho, 0.0) ** 2, dim, lam[:, None]))

    def along(self, lam: np.ndarray) -> np.ndarray:
        """Series in t / REACH for each λ: (len(λ), degree + 1)."""
        u = 2 * (np.log(lam + self.dim) - self.low) / (self.high - self.low) - 1
        return chebyshev.chebvander(np.clip(u, -1, 1), len(self.series) - 1) @ self.series


def root_moments(dim: int, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread of √χ'²_d(λ) to first order: what tails are standardised with."""
    mean, variance = dim + lam, 2 * dim + 4 * lam
    return np.sqrt(mean - variance / (4 * mean)), np.sqrt(variance / (4 * mean))


def evaluate(series: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Chebyshev series (n, p) of each row at its own points v (n, m): Clenshaw."""
    later = np.zeros_like(v)
    last = np.zeros_like(v)
    twice = 2 * v
    for k in range(series.shape[1] - 1, 0, -1):
        later, last = twice * later - last + series[:, k, None], later
    return v * later - last + series[:, :1]
