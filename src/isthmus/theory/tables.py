"""Tails of the non-central χ² as Chebyshev series, one table per number of dimensions.

With ρ = √x, F(λ, ρ) is analytic in both and nearly Φ(t) at ρ = centre(λ) + spread(λ) t. A table is
made once a process for each d, in a few tenths of a second, and holds for every λ from 0 up:

* far from the origin (λ + d >= ``EDGE``): Φ⁻¹(F), nearly t, as a series in (λ + d)^-½ and t;
* near it, where √χ'² feels that it cannot be negative: F itself, as a series in λ and ρ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev

from isthmus.theory.tails import REACH, mixture, noncentral_tails, probit, root_moments

EDGE = 200.0
SURE = 128
"""From this many dimensions on nothing is near the origin."""
NEAR = 23.5
"""Roots covered near the origin: centre + REACH · spread at the edge, and a little."""
SMALL = 1e-8
CHECKS = (23, 57)
DEGREES = ((512, 12), (256, 16), (0, 32))
"""Degree in t from so many dimensions on."""

Tail = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(u (a,), v (b,)) in [-1, 1] -> (a, b)."""


@dataclass(frozen=True, eq=False)
class Roots:
    """Where √χ'²(λ) lives: root = centre + width · v for v in [-1, 1]; ``near`` the origin or not.

    All (p,).
    """

    lam: np.ndarray
    centre: np.ndarray
    width: np.ndarray
    near: np.ndarray


@dataclass(frozen=True, eq=False)
class Table:
    """F(λ, √x) for one d.

    ``far_error``: of F, relative to F + ``SMALL``. ``near_error``: of F, absolute. Both are the
    greatest that were found off the nodes, times 4.
    """

    dim: int
    least: float
    far: np.ndarray
    near: np.ndarray
    far_error: float
    near_error: float

    def roots(self, lam: np.ndarray) -> Roots:
        """The range of each λ (p,)."""
        centre, width = root_moments(self.dim, lam)
        width = width * REACH
        near = lam + self.dim < self.least
        centre[near] = width[near] = NEAR / 2
        return Roots(lam, centre, width, near)

    def far_series(self, lam: np.ndarray) -> np.ndarray:
        """Φ⁻¹(F) in powers of v for each λ far from the origin, (p, degree + 1)."""
        u = 2 * np.sqrt(self.least / np.maximum(lam + self.dim, self.least)) - 1
        return np.asarray(chebyshev.chebvander(u, len(self.far) - 1) @ self.far)

    def near_series(self, lam: np.ndarray) -> np.ndarray:
        """F in Chebyshev polynomials of v for each λ near the origin, (p, degree + 1)."""
        u = 2 * lam / (self.least - self.dim) - 1
        return np.asarray(chebyshev.chebvander(u, len(self.near) - 1) @ self.near)

    def near_survival(self, lam: np.ndarray, v: np.ndarray) -> np.ndarray:
        """P[√χ'² > root] near the origin at the same v (m,) for all: a product of matrices."""
        at = self.near @ chebyshev.chebvander(v, self.near.shape[1] - 1).T
        u = 2 * lam / (self.least - self.dim) - 1
        return np.clip(1.0 - chebyshev.chebvander(u, len(self.near) - 1) @ at, 0.0, 1.0)

    def survival(self, roots: Roots, root: np.ndarray) -> np.ndarray:
        """P[√χ'² > root], for root (p, m)."""
        from scipy.special import ndtr

        v = (root - roots.centre[:, None]) / roots.width[:, None]
        inside = np.clip(v, -1.0, 1.0)
        if not roots.near.any():
            out = ndtr(-horner(self.far_series(roots.lam), inside))
        else:
            out, far = np.empty_like(v), ~roots.near
            out[far] = ndtr(-horner(self.far_series(roots.lam[far]), inside[far]))
            series = self.near_series(roots.lam[roots.near])
            out[roots.near] = np.clip(1.0 - evaluate(series, inside[roots.near]), 0.0, 1.0)
        out[v < -1] = 1.0
        out[v > 1] = 0.0
        return np.asarray(out)


@lru_cache(maxsize=256)
def table_of(dim: int) -> Table:
    """The table of d >= 1 degrees of freedom."""
    least = EDGE if dim < SURE else float(dim)
    degree = next(n for dims, n in DEGREES if dim >= dims)
    far, far_error = _fit(_far(dim, least), (28, degree), True)
    # coefficients fall faster than powers' own grow, so that nothing is lost
    far = far @ np.array([_powers(k, degree) for k in range(degree + 1)])
    near, near_error = np.zeros((1, 1)), 0.0
    if dim < SURE:
        near, near_error = _fit(_near(dim), (48, 112), False)
    return Table(dim, least, far, near, 4 * far_error, 4 * near_error)


def _far(dim: int, least: float) -> Tail:
    def tail(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        lam = np.maximum(4 * least / (u + 1) ** 2 - dim, 0.0)
        centre, spread = root_moments(dim, lam)
        root = centre[:, None] + spread[:, None] * REACH * v
        return probit(*noncentral_tails(np.maximum(root, 0.0) ** 2, dim, lam[:, None]))

    return tail


def _near(dim: int) -> Tail:
    def tail(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return mixture(dim, (EDGE - dim) * (u + 1) / 2, NEAR * (v + 1) / 2)

    return tail


def _fit(tail: Tail, shape: tuple[int, int], by_probit: bool) -> tuple[np.ndarray, float]:
    """Interpolate at Chebyshev nodes; the greatest error on a grid that is not the nodes."""
    nodes = [np.cos(np.pi * (np.arange(n + 1) + 0.5) / (n + 1)) for n in shape]
    left, right = (chebyshev.chebvander(u, n) for u, n in zip(nodes, shape, strict=True))
    series = np.linalg.solve(left, np.linalg.solve(right, tail(*nodes).T).T)
    between = np.linspace(nodes[0].min(), 1, CHECKS[0]), np.linspace(-1, 1, CHECKS[1])
    exact = tail(*between)
    error = np.abs(chebyshev.chebgrid2d(*between, series) - exact)
    if by_probit:  # dF = φ(w) dw
        error *= np.exp(-0.5 * exact**2) / np.sqrt(2 * np.pi) / (_normal_below(exact) + SMALL)
    worst = float(error.max())
    return series, worst if np.isfinite(worst) else np.inf


def _normal_below(w: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return np.asarray(ndtr(w))


def _powers(k: int, degree: int) -> np.ndarray:
    """Chebyshev's polynomial of degree k in powers, (degree + 1,)."""
    powers = chebyshev.cheb2poly(np.eye(degree + 1)[k])
    return np.pad(powers, (0, degree + 1 - len(powers)))


def horner(series: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Powers (n, p) of each row at its own points v (n, m)."""
    out = np.empty_like(v)
    out[:] = series[:, -1, None]
    for k in range(series.shape[1] - 2, -1, -1):
        out *= v
        out += series[:, k, None]
    return out


def evaluate(series: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Chebyshev series (n, p) of each row at its own points v (n, m): Clenshaw."""
    later, last, spare = np.zeros_like(v), np.zeros_like(v), np.empty_like(v)
    twice = 2 * v
    for k in range(series.shape[1] - 1, 0, -1):
        np.multiply(twice, later, out=spare)
        spare -= last
        spare += series[:, k, None]
        later, last, spare = spare, later, last
    return np.asarray(v * later - last + series[:, :1])
