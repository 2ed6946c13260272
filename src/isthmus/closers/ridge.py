"""The shift that weighs noise removed against answers changed (D9, D15 of ``docs/formulas.md``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.closers.closer import Closer, Guarantee
from isthmus.closers.promises import Given, length
from isthmus.data.moments import Moments
from isthmus.errors import OptionError, ShapeError

ONE_BIT_ERROR = 0.6
"""Error variance of a one-bit code over the rows' variance, the default noise (RaBitQ's is .6)."""
CERTAIN = 1e-12
"""Noise in every direction above this share of all variance: the system has one solution."""


def ridge_shift(
    given: Given, *, ridge: float = 1 / 3, noise: float | np.ndarray | None = None
) -> Closer:
    """A translation that needs no candidate bias, chosen so that little is lost.

    dot (D15): queries lose a = (Σ_ε + λΣ_c)⁻¹ Σ_ε μ_q, the minimum of ‖μ_q - a‖² in Σ_ε plus
    λ aᵀΣ_c a, the noise that is left plus the answers that change; candidates lose their own mean,
    which is free. euclidean (D9): candidates move by v = (Σ_ε + λΣ_c)⁻¹ Σ_ε g.

    λ → ∞ leaves only directions in which candidates do not vary (the paper's projection), λ → 0
    is the full shift.

    Args:
        ridge: λ, above 0.
        noise: covariance Σ_ε of the noise on candidates: one variance per dimension (a number, or
            (d,)), or (d, d), as a codec's measured error on a calibration split gives it. None:
            .6 of the candidates' mean variance per dimension, which one-bit codes have.

    Raises:
        OptionError: the noise is not positive. ShapeError: the noise has another size.
    """
    candidates, euclidean = given.candidates, given.score == "euclidean"
    epsilon, size = _noise(candidates, noise)
    target = given.gap if euclidean else given.queries.mean
    step = given.strength * _least_loss(candidates, epsilon, ridge, target)
    spread, reach = given.variation(step)
    total = float(target @ target)
    facts: dict[str, Any] = {
        "ridge": ridge,
        "noise": size,
        "norm_moved": length(step),
        "variation": spread,
        "share": float(step @ step) / total if total else 0.0,
    }
    if not step.any():
        return given.untouched("strength 0 or nothing to move: nothing is moved", **facts)
    promise = Guarantee(
        given.score,
        "bounded",
        "an answer keeps while its margin exceeds the bound, the most that ⟨v, x⟩ can differ "
        "between two fitted candidates",
        reach,
    )
    if euclidean:
        return given.closer(given.fixed, given.moved(step), promise, **facts)
    stored = given.moved(-given.strength * candidates.mean)
    return given.closer(given.moved(-step), stored, promise, **facts)


def _least_loss(
    candidates: Moments, epsilon: np.ndarray, ridge: float, target: np.ndarray
) -> np.ndarray:
    """(Σ_ε + λΣ_c)⁻¹ Σ_ε t; from the kept spectrum where the noise is alike in all directions."""
    level, total = np.diag(epsilon), ridge * candidates.total_variance
    apart = np.array_equal(epsilon, np.diag(level))
    if apart and level.min() == level.max():
        values, vectors = candidates.spectrum
        found: np.ndarray = vectors @ (level / (level + ridge * values) * (vectors.T @ target))
        return found
    system = epsilon + ridge * candidates.covariance()
    if apart and level.min() > CERTAIN * (total + level.sum()):
        return np.asarray(np.linalg.solve(system, epsilon @ target))
    return np.linalg.lstsq(system, epsilon @ target, rcond=None)[0]


def _noise(candidates: Moments, noise: float | np.ndarray | None) -> tuple[np.ndarray, float]:
    """The noise covariance (d, d) and its mean variance per dimension."""
    dim = candidates.dim
    if noise is None:
        noise = ONE_BIT_ERROR * candidates.total_variance / dim or 1.0
    given = np.asarray(noise, np.float64)
    if given.shape not in ((), (dim,), (dim, dim)):
        raise ShapeError(
            "noise-shape",
            f"noise has shape {given.shape}; expected one variance, ({dim},) or ({dim}, {dim})",
        )
    full = given if given.ndim == 2 else np.diag(np.broadcast_to(given, dim))
    if not np.isfinite(full).all() or np.trace(full) <= 0 or np.diag(full).min() < 0:
        raise OptionError(
            "not-a-covariance", "noise is no covariance: expected finite, non-negative variances"
        )
    return full, float(np.trace(full)) / dim
