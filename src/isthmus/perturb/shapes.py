"""Shapes of additive noise: which directions an error takes, at the same E‖ε‖².

White draws z of E‖z‖² = ``total`` become z B diag(w) Bᵀ with B (d, r) orthonormal and ‖w‖² = d, so
that E‖ε‖² stays ``total`` whatever the shape: families can be compared level by level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.errors import OptionError

FLAT = 1e-10
"""Directions with less than this share of the largest singular value count as none."""


@dataclass(frozen=True, eq=False)
class Met:
    """Rows that a noise meets, in the coordinates that it is added in.

    Attributes:
        calibration: (c, d) rows of the disturbed role that may be learned from.
        candidates: (K, d) all candidates.
        gap: (d,) the gap vector; its sign says nothing here.
    """

    calibration: np.ndarray
    candidates: np.ndarray
    gap: np.ndarray


@dataclass(frozen=True, eq=False)
class Shape:
    """Directions (d, r) orthonormal, and how much of the noise each gets, (r,)."""

    directions: np.ndarray
    weights: np.ndarray

    def __call__(self, white: np.ndarray) -> np.ndarray:
        """Shape white noise (n, d); O(n d r). The dtype stays."""
        b = self.directions.astype(white.dtype)
        return ((white @ b) * self.weights.astype(white.dtype)) @ b.T

    def spreads(self, queries: np.ndarray, total: float) -> np.ndarray:
        """Standard deviation of ⟨q, ε⟩ for each query, (n,): what D11 has for σ‖q‖."""
        along = (queries @ self.directions) * self.weights
        return np.sqrt(total / queries.shape[1]) * np.linalg.norm(along, axis=1)


def covariance_shape(rows: np.ndarray) -> Shape:
    """Noise with the covariance of these rows (n, d), scaled. O(n d min(n, d)).

    Raises:
        OptionError: the rows are all alike.
    """
    sizes, directions = _principal(rows, "noise with their covariance")
    return Shape(directions, sizes * np.sqrt(rows.shape[1] / (sizes @ sizes)))


def span_shape(candidates: np.ndarray, *, inside: bool) -> Shape:
    """Noise inside, or outside, the direction space of the candidates' affine hull.

    Raises:
        OptionError: outside was asked of candidates that fill the space.
    """
    dim = candidates.shape[1]
    _, basis = _principal(candidates, "noise in their span")
    if not inside:
        full = np.linalg.qr(basis, mode="complete")[0]
        basis = full[:, basis.shape[1] :]
        if not basis.shape[1]:
            raise OptionError(
                "no-noise-direction",
                f"{len(candidates)} candidates span all {dim} dimensions, so there is no noise "
                "off their span; take fewer candidates or leave off-span out",
            )
    rank = basis.shape[1]
    return Shape(basis, np.full(rank, np.sqrt(dim / rank)))


def line_shape(direction: np.ndarray) -> Shape:
    """Noise along one direction (d,), such as the gap.

    Raises:
        OptionError: the direction is zero.
    """
    length = float(np.linalg.norm(direction))
    if length == 0:
        raise OptionError(
            "no-noise-direction",
            "there is no gap, so there is no noise along it; leave along-gap out",
        )
    return Shape((direction / length)[:, None], np.array([np.sqrt(len(direction))]))


def _principal(rows: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    centred = rows - rows.mean(axis=0)
    _, sizes, right = np.linalg.svd(centred, full_matrices=False)
    kept = sizes > FLAT * max(float(sizes[0]), float(np.abs(rows).max()) * 1e-3)
    if not kept.any():
        raise OptionError(
            "no-noise-direction",
            f"all rows are alike, so there is no {what}; give rows that differ",
        )
    return sizes[kept], right[kept].T
