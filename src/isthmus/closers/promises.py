"""What fitters share: promises, the candidates' hull, blending, and the checks of options."""

from __future__ import annotations

import numpy as np

from isthmus.closers.maps import AffineMap, Guarantee
from isthmus.data.moments import Moments
from isthmus.errors import CloserError, OptionError

NEGLIGIBLE = 1e-10
FINE = 1e-9


def exact(score: str, normalised: bool, condition: str) -> Guarantee:
    """An exact promise; maps that begin by normalising keep the answers of unit candidates only."""
    if normalised and score != "cosine":
        condition += "; candidates of unit norm"
    return Guarantee(score, "exact", condition)


def full_sight(candidates: Moments) -> bool:
    """Whether the moments' products are fine enough to tell rounding from small directions."""
    return candidates.resolution <= FINE


def variation(candidates: Moments, step: np.ndarray, normalised: bool) -> tuple[float, float]:
    """How much ⟨step, x⟩ varies over candidates: standard deviation, and the most two can differ.

    (a_i - a_j)² <= 2 Σ (a - mean)² for any two of n numbers; unit rows are at most 2 apart.
    """
    variance = max(candidates.variance_along(step), 0.0)
    if not full_sight(candidates):
        variance += candidates.resolution * float(candidates.spectrum[0][0])
    length = float(np.linalg.norm(step))
    reach = float(np.sqrt(2 * candidates.count * variance))
    return length * float(np.sqrt(variance)), length * (min(reach, 2.0) if normalised else reach)


def hull_rank(candidates: Moments, variance: float | None) -> int:
    """Directions kept as the candidates' hull: the exact rank, or those holding ``variance``."""
    if variance is not None and not 0 < variance <= 1:
        raise OptionError(
            "option-range", f"variance={variance} is not a share; expected a number in (0, 1]"
        )
    if variance is None or variance == 1:
        if not full_sight(candidates) and candidates.count <= candidates.dim:
            raise CloserError(
                "moments-too-coarse",
                "these moments were formed in float32, which cannot tell rounding from the "
                "smallest directions of the hull; compute them with precise=True",
            )
        return candidates.rank
    values = candidates.spectrum[0]
    held = np.cumsum(values) / max(float(values.sum()), np.finfo(float).tiny)
    kept = int(np.searchsorted(held, variance - 1e-12)) + 1
    return min(kept, candidates.rank)


def off_hull(candidates: Moments, vector: np.ndarray, rank: int) -> np.ndarray:
    """The part of a vector (d,) orthogonal to the candidates' first ``rank`` directions.

    Projected twice, so that what is left is orthogonal to rounding; what is shorter than 1e-10 of
    the vector is rounding itself and becomes exactly zero.
    """
    basis = candidates.spectrum[1][:, :rank]
    part = vector - basis @ (basis.T @ vector)
    part = part - basis @ (basis.T @ part)
    if np.linalg.norm(part) <= NEGLIGIBLE * np.linalg.norm(vector):
        return np.zeros_like(part)
    return part


def reach_off(candidates: Moments, rank: int, normalised: bool) -> float:
    """The most that two fitted candidates can differ outside their first ``rank`` directions."""
    left = float(candidates.spectrum[0][rank:].sum())
    if not full_sight(candidates):
        left += candidates.resolution * candidates.dim * float(candidates.spectrum[0][0])
    reach = float(np.sqrt(2 * candidates.count * left))
    return min(reach, 2.0) if normalised else reach


def spans_hull(candidates: Moments, rank: int) -> bool:
    """Whether the first ``rank`` directions surely hold all differences of the candidates."""
    return rank >= candidates.rank and (full_sight(candidates) or rank == candidates.dim)


def linear_score(name: str, score: str, normalised: bool) -> str:
    """The score a closer with a candidate bias is searched with: dot for unit rows by cosine.

    Raises:
        OptionError: cosine of rows that are not normalised first, whose ranking dot does not keep.
    """
    if score == "cosine" and not normalised:
        raise OptionError(
            "cosine-of-raw-rows",
            f"{name} works under dot and euclidean (got cosine of rows as they are); normalise "
            "the rows first, then cosine and dot rank alike",
        )
    return "dot" if score == "cosine" else score


def blended(
    dim: int,
    matrix: np.ndarray | None,
    offset: np.ndarray | None,
    strength: float,
    *,
    normalised: bool,
    renormalised: bool = False,
) -> AffineMap:
    """(1 - s)·identity + s·(matrix, offset): the plain identity at strength 0."""
    if strength == 0:
        return AffineMap(dim, normalised=normalised)
    if matrix is not None and strength != 1:
        matrix = (1 - strength) * np.eye(dim) + strength * matrix
    moved = None if offset is None or not offset.any() else strength * offset
    return AffineMap(dim, matrix, moved, normalised, renormalised)


def all_or_nothing(name: str, strength: float) -> bool:
    """Whether a closer that has no half-way form is on.

    Raises:
        OptionError: a strength other than 0 and 1.
    """
    if strength not in (0, 1):
        raise OptionError(
            "option-range", f"{name} has strength 0 (off) or 1 (on), got {strength:g}"
        )
    return bool(strength)
