"""Translations that promise something: nothing moved, the paper's shift, and stored-number shifts.

Notation of this package: μ_q, μ_c are the means of queries and candidates, g = μ_q - μ_c the gap
vector that brings candidates to the queries, P the projector on the direction space of the
candidates' affine hull. Formulas and proofs are in ``docs/formulas.md``.
"""

from __future__ import annotations

import numpy as np

from isthmus.closers.maps import AffineMap, Closer, Guarantee
from isthmus.closers.promises import exact, hull_rank, linear_score, off_hull, spans_hull, variation
from isthmus.data.moments import Moments


def no_closer(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 0.0,
    normalised: bool = True,
) -> Closer:
    """Leave everything as it is: the baseline every other closer is compared with."""
    side = AffineMap(queries.dim, normalised=normalised)
    return Closer("none", score, 0.0, side, side, exact(score, normalised, "nothing is changed"))


def orthogonal_shift(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "euclidean",
    strength: float = 1.0,
    variance: float | None = None,
    normalised: bool = True,
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
    fixed = AffineMap(queries.dim, normalised=normalised)
    total = float(gap @ gap)
    share = float(part @ part) / total if total else 0.0
    spread, reach = variation(candidates, step, normalised)
    spanned = spans_hull(candidates, rank)
    if not step.any() or score == "dot":
        guarantee = exact(
            score,
            normalised,
            "a candidate shift adds one constant per query"
            if step.any()
            else "no gap outside the hull: nothing is moved",
        )
    elif score == "cosine":
        condition = "candidates of equal norm, shift orthogonal to their differences"
        guarantee = Guarantee(score, "exact" if spanned and normalised else "none", condition)
    elif spanned:
        guarantee = exact(
            score, normalised, "the shift is orthogonal to all differences of the fitted candidates"
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
        AffineMap(queries.dim, None, step, normalised) if step.any() else fixed,
        guarantee,
        facts={
            "rank": float(rank),
            "share": share,
            "norm_moved": float(np.linalg.norm(step)),
            "variation": spread,
            **({} if variance is None else {"variance": variance}),
        },
    )


def center_queries(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "dot",
    strength: float = 1.0,
    normalised: bool = True,
) -> Closer:
    """Queries lose their mean, and every candidate stores the number that makes up for it.

    ⟨q - μ, x_j⟩ + ⟨μ, x_j⟩ = ⟨q, x_j⟩ for any μ, so clean rankings are kept exactly at any number
    of candidates, while noise on candidates meets the shorter ‖q - μ‖ (``docs/formulas.md``, D11).
    Exact for dot; for cosine where candidates have unit norm, in which case it is searched by dot.

    Raises:
        OptionError: cosine of rows that are not normalised.
    """
    return _centred("center-queries", queries, candidates, score, strength, normalised, both=False)


def biased_shift(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "euclidean",
    strength: float = 1.0,
    side: str = "query",
    normalised: bool = True,
) -> Closer:
    """Close the whole gap under Euclid and lose nothing: one candidate bias each.

    Moving queries by -g (or candidates by +g) changes -½‖q - x‖² by a constant of the query and
    -⟨g, x⟩; the candidate bias ⟨g, x_j⟩ puts that back, for any g and any number of candidates.
    Noise on candidates then meets the shorter ‖q - g - x‖ (D12). ``side="query"`` leaves stored
    vectors as they are.

    Raises:
        OptionError: cosine of rows that are not normalised.
    """
    linear_score("biased-shift", score, normalised)  # cosine of unit rows ranks as euclid
    score = "euclidean" if score == "cosine" else score
    step = strength * (queries.mean - candidates.mean)
    fixed = AffineMap(queries.dim, normalised=normalised)
    guarantee = exact(
        score, normalised, "the candidate bias ⟨g, x⟩ is added to each candidate's score"
    )
    facts = {"norm_moved": float(np.linalg.norm(step))}
    if not step.any():
        return Closer("biased-shift", score, strength, fixed, fixed, guarantee, facts=facts)
    moved = AffineMap(queries.dim, None, -step if side == "query" else step, normalised)
    on_query = side == "query"
    bias = step if score == "euclidean" or on_query else None  # dot: a candidate shift is free
    query, candidate = (moved, fixed) if on_query else (fixed, moved)
    return Closer("biased-shift", score, strength, query, candidate, guarantee, bias, facts)


def center_both(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "dot",
    strength: float = 1.0,
    normalised: bool = True,
) -> Closer:
    """:func:`center_queries`, and candidates lose their own mean before they are stored.

    ⟨q, x⟩ = ⟨q - μ_q, x - μ_c⟩ + ⟨μ_q, x⟩ + a constant of the query: still exact at any number of
    candidates. Against plain noise it does what :func:`center_queries` does; against codes it also
    centres what is coded, which one-bit codes need (``docs/formulas.md``).

    Raises:
        OptionError: cosine of rows that are not normalised first.
    """
    return _centred("center-both", queries, candidates, score, strength, normalised, both=True)


def _centred(
    name: str,
    queries: Moments,
    candidates: Moments,
    score: str,
    strength: float,
    normalised: bool,
    *,
    both: bool,
) -> Closer:
    score = linear_score(name, score, normalised)
    step, off = strength * queries.mean, strength * candidates.mean
    return Closer(
        name,
        score,
        strength,
        AffineMap(queries.dim, None, -step if step.any() else None, normalised),
        AffineMap(queries.dim, None, -off if both and off.any() else None, normalised),
        exact(score, normalised, "the candidate bias ⟨μ, x⟩ is added to each candidate's score"),
        step if step.any() else None,
        {"norm_moved": float(np.linalg.norm(step))},
    )
