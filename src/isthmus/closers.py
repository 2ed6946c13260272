"""Fitters: moments of queries and candidates -> a :class:`~isthmus.maps.Closer`. No rows here.

Notation: μ_q, μ_c are the means of queries and candidates, g = μ_q - μ_c the gap vector that
brings candidates to the queries, P the projector on the direction space of the candidates' affine
hull. All four are stated in ``docs/formulas.md``; sources: the base paper (arXiv 2603.29080,
section 4) for ``orthogonal-shift``, and the translation table of ``docs/formulas.md`` for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.errors import CloserError, OptionError, ShapeError
from isthmus.maps import AffineMap, Closer, Guarantee
from isthmus.moments import Moments
from isthmus.scores import SCORES, check_score

NEGLIGIBLE = 1e-10
FINE = 1e-9


def no_closer(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 0.0,
    unit_in: bool = True,
) -> Closer:
    """Leave everything as it is: the baseline every other closer is compared with."""
    side = AffineMap(queries.dim, unit_in=unit_in)
    return Closer("none", score, 0.0, side, side, _exact(score, unit_in, "nothing is changed"))


def mean_shift(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    renormalise: bool = True,
    side: str = "query",
    unit_in: bool = True,
) -> Closer:
    """Move one modality by the whole gap: q -> q - strength·g (or x -> x + strength·g).

    The plain closing, as most of the literature does it. It adds ⟨g, x⟩ to each candidate's score,
    which differs between candidates, so it promises nothing of the clean answers (with one
    exception: moving candidates under dot without renormalising adds one constant per query).

    Args:
        queries, candidates: moments of the rows as they enter (unit rows where ``unit_in``).
        score: dot, cosine or euclidean.
        strength: 0 the identity, 1 the means meet (before renormalising).
        renormalise: divide the moved rows by their norms.
        side: ``query`` or ``candidate``: which rows move.
        unit_in: the maps begin by normalising rows.
    """
    if side not in ("query", "candidate"):
        raise OptionError(f"side '{side}' is unknown; say 'query' or 'candidate'")
    step = strength * (queries.mean - candidates.mean)
    moved = AffineMap(queries.dim, None, -step if side == "query" else step, unit_in, renormalise)
    fixed = AffineMap(queries.dim, unit_in=unit_in)
    if not step.any():  # not even renormalised: strength 0 leaves everything as it is
        guarantee = _exact(score, unit_in, "strength 0 or no gap: nothing is moved")
        moved = fixed
    elif side == "candidate" and score == "dot" and not renormalise:
        guarantee = _exact(score, unit_in, "a candidate shift adds one constant per query")
    else:
        guarantee = Guarantee(
            score, "none", "the shift adds ⟨g, x⟩, which differs between candidates"
        )
    return Closer(
        "mean-shift",
        score,
        strength,
        moved if side == "query" else fixed,
        moved if side == "candidate" else fixed,
        guarantee,
        facts={"norm_moved": float(np.linalg.norm(step))},
    )


def orthogonal_shift(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "euclidean",
    strength: float = 1.0,
    variance: float | None = None,
    unit_in: bool = True,
) -> Closer:
    """The paper's closing: candidates move along the part of the gap orthogonal to their hull.

    x -> x + strength·(I - V Vᵀ)g, ranked without renormalising (arXiv 2603.29080, eq. 11 and
    Theorem 3.5). V spans the candidates' differences: all of them by default (exact rank), or the
    leading principal directions that hold the share ``variance`` of their variance (truncated:
    more of the gap closes and some answers change, at most as ``guarantee.bound`` says).

    Raises:
        OptionError: ``variance`` is not in (0, 1].
        CloserError: exact rank was asked of moments whose products are float32 and whose spectrum
            does not separate rounding from small directions; compute them with ``precise=True``.
    """
    gap = queries.mean - candidates.mean
    rank = hull_rank(candidates, variance)
    part = off_hull(candidates, gap, rank)
    step = strength * part
    fixed = AffineMap(queries.dim, unit_in=unit_in)
    total = float(gap @ gap)
    share = float(part @ part) / total if total else 0.0
    variation, reach = _variation(candidates, step, unit_in)
    exact = rank >= candidates.rank and (_full_sight(candidates) or rank == candidates.dim)
    if not step.any() or score == "dot":
        guarantee = _exact(
            score,
            unit_in,
            "a candidate shift adds one constant per query"
            if step.any()
            else "no gap outside the hull: nothing is moved",
        )
    elif score == "cosine":
        condition = "candidates of equal norm, shift orthogonal to their differences"
        guarantee = Guarantee(score, "exact" if exact and unit_in else "none", condition)
    elif exact:
        guarantee = _exact(
            score, unit_in, "the shift is orthogonal to all differences of the fitted candidates"
        )
    else:
        guarantee = Guarantee(
            score,
            "bounded",
            "an answer keeps while its margin in -½ squared distance exceeds the bound, the most "
            "that ⟨v, x⟩ can differ between two fitted candidates",
            reach,
        )
    return Closer(
        "orthogonal-shift",
        score,
        strength,
        fixed,
        AffineMap(queries.dim, None, step, unit_in) if step.any() else fixed,
        guarantee,
        facts={
            "rank": float(rank),
            "share": share,
            "norm_moved": float(np.linalg.norm(step)),
            "variation": variation,
            **({} if variance is None else {"variance": variance}),
        },
    )


def center_queries(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "dot",
    strength: float = 1.0,
    unit_in: bool = True,
) -> Closer:
    """Queries lose their mean, and every candidate stores the number that makes up for it.

    ⟨q - μ, x_j⟩ + ⟨μ, x_j⟩ = ⟨q, x_j⟩ for any μ, so clean rankings are kept exactly at any number
    of candidates, while noise on candidates meets the shorter ‖q - μ‖ (``docs/formulas.md``, D11).
    Exact for dot; for cosine where candidates have unit norm, in which case it is searched by dot.

    Raises:
        OptionError: the score is euclidean (there the candidates' side is the one that moves).
    """
    if score == "euclidean" or (score == "cosine" and not unit_in):
        raise OptionError(
            f"center-queries works under the dot score (got {score}); unit rows ranked by cosine "
            "or by distance have the same clean ranking under dot"
        )
    step = strength * queries.mean
    return Closer(
        "center-queries",
        "dot",
        strength,
        AffineMap(queries.dim, None, -step if step.any() else None, unit_in),
        AffineMap(queries.dim, unit_in=unit_in),
        _exact("dot", unit_in, "the stored bias ⟨μ, x⟩ is added to each candidate's score"),
        step if step.any() else None,
        {"norm_moved": float(np.linalg.norm(step))},
    )


def _exact(score: str, unit_in: bool, condition: str) -> Guarantee:
    """An exact promise; maps that begin by normalising keep the answers of unit candidates only."""
    if unit_in and score != "cosine":
        condition += "; candidates of unit norm"
    return Guarantee(score, "exact", condition)


def _full_sight(candidates: Moments) -> bool:
    """Whether the moments' products are fine enough to tell rounding from small directions."""
    return candidates.resolution <= FINE


def _variation(candidates: Moments, step: np.ndarray, unit_in: bool) -> tuple[float, float]:
    """How much ⟨step, x⟩ varies over candidates: standard deviation, and the most two can differ.

    (a_i - a_j)² <= 2 Σ (a - mean)² for any two of n numbers; unit rows are at most 2 apart.
    """
    variance = max(candidates.variance_along(step), 0.0)
    if not _full_sight(candidates):
        variance += candidates.resolution * float(candidates.spectrum[0][0])
    length = float(np.linalg.norm(step))
    reach = float(np.sqrt(2 * candidates.count * variance))
    return length * float(np.sqrt(variance)), length * (min(reach, 2.0) if unit_in else reach)


def hull_rank(candidates: Moments, variance: float | None) -> int:
    """Directions kept as the candidates' hull: the exact rank, or those holding ``variance``."""
    if variance is not None and not 0 < variance <= 1:
        raise OptionError(f"variance={variance} is not a share; expected a number in (0, 1]")
    if variance is None or variance == 1:
        if not _full_sight(candidates) and candidates.count <= candidates.dim:
            raise CloserError(
                "these moments were formed in float32, which cannot tell rounding from the "
                "smallest directions of the hull; compute them with precise=True"
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


CLOSERS: dict[str, Callable[..., Closer]] = {
    "none": no_closer,
    "mean-shift": mean_shift,
    "orthogonal-shift": orthogonal_shift,
    "center-queries": center_queries,
}
"""Every closer by its name, as ``isthmus close --method`` takes it."""


def fit(
    method: str, queries: Moments, candidates: Moments, *, score: str | None = None, **options: Any
) -> Closer:
    """Fit one closer by name.

    Args:
        method: a key of :data:`CLOSERS`.
        queries, candidates: moments of the rows as they enter the maps.
        score: dot, cosine or euclidean; None takes the closer's own default.
        options: ``strength``, ``unit_in`` and the closer's own.

    Raises:
        OptionError: an unknown method, score or option. ShapeError: the dimensions differ.
    """
    if method not in CLOSERS:
        raise OptionError(f"method '{method}' is unknown; choose one of {', '.join(CLOSERS)}")
    if queries.dim != candidates.dim:
        raise ShapeError(
            f"queries have {queries.dim} dimensions, candidates {candidates.dim}; "
            "both must come from one model"
        )
    if score is not None:
        check_score(score)
        options["score"] = score
    strength = options.get("strength", 1.0)
    if not np.isfinite(strength):
        raise OptionError(f"strength {strength} is not a number; 0 changes nothing, 1 closes fully")
    try:
        return CLOSERS[method](queries, candidates, **options)
    except TypeError as wrong:
        if "unexpected keyword" not in str(wrong):
            raise
        option = str(wrong).partition("argument ")[2].split("'")[1]
        raise OptionError(f"{method} has no option '{option}'") from None


__all__ = [
    "CLOSERS",
    "SCORES",
    "center_queries",
    "fit",
    "hull_rank",
    "mean_shift",
    "no_closer",
    "off_hull",
    "orthogonal_shift",
]
