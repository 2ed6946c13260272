"""Translations of the literature, as honest baselines: they change answers, and say so.

``docs/formulas.md`` has each in one line. Sources: Liang et al. 2022 (arXiv 2203.02053) for the
shift of both sides; Yaras et al., C3, I0T and GR-CLIP for centring with renormalisation; Zhou et
al. 2023 (arXiv 2302.11084) for distribution normalisation; PMC for the database shift.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isthmus.closers.maps import AffineMap, Closer, Guarantee
from isthmus.closers.promises import exact
from isthmus.data.moments import Moments


def mean_shift(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    renormalise: bool | None = None,
    side: str = "query",
    normalised: bool = True,
) -> Closer:
    """Move one modality by the whole gap: q -> q - strength·g (or x -> x + strength·g).

    The plain closing, as most of the literature does it. It adds ⟨g, x⟩ to each candidate's score,
    which differs between candidates, so it promises nothing of the clean answers (with one
    exception: moving candidates under dot without renormalising adds one constant per query).

    Args:
        queries, candidates: moments of the rows as they enter (unit rows where ``normalised``).
        score: dot, cosine or euclidean.
        strength: 0 the identity, 1 the means meet (before renormalising).
        renormalise: divide the moved rows by their norms. None: where ``normalised``.
        side: ``query`` or ``candidate``: which rows move.
        normalised: the maps begin by normalising rows.
    """
    renormalise = normalised if renormalise is None else renormalise
    step = strength * (queries.mean - candidates.mean)
    moved = AffineMap(
        queries.dim, None, -step if side == "query" else step, normalised, renormalise
    )
    fixed = AffineMap(queries.dim, normalised=normalised)
    if not step.any():  # not even renormalised: strength 0 leaves everything as it is
        guarantee = exact(score, normalised, "strength 0 or no gap: nothing is moved")
        moved = fixed
    elif side == "candidate" and score == "dot" and not renormalise:
        guarantee = exact(score, normalised, "a candidate shift adds one constant per query")
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


def database_shift(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    normalised: bool = True,
) -> Closer:
    """Move what is stored by the whole gap and normalise it again: unit(x + strength·g).

    What PMC does before a vector database codes its rows. Against plain search it changes answers.
    """
    moved = mean_shift(
        queries,
        candidates,
        score=score,
        strength=strength,
        renormalise=True,
        side="candidate",
        normalised=normalised,
    )
    return replace(moved, name="database-shift")


def liang_shift(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    normalised: bool = True,
) -> Closer:
    """Both sides meet half-way and are normalised: unit(q - ½ strength·g), unit(x + ½ strength·g).

    Liang et al. 2022; their λ is half of ``strength``.
    """
    half = 0.5 * strength * (queries.mean - candidates.mean)
    why = "both sides move along g and are normalised again"
    return _two_shifts(
        "liang-shift", queries.dim, score, strength, half, -half, normalised, True, why
    )


def centering(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    renormalise: bool | None = None,
    normalised: bool = True,
) -> Closer:
    """Each side loses its own mean and is normalised: unit(q - μ_q), unit(x - μ_c).

    GR-CLIP, I0T-post and many others; without ``renormalise`` the "collapse" of C3. It changes the
    number ⟨μ_q, x_j⟩ that a candidate gets from every query, so it changes answers on purpose:
    good where that number is a wrong prior, bad where training tuned it. It acts even where the
    two sides have the same mean.
    """
    renormalise = normalised if renormalise is None else renormalise
    off = strength * queries.mean, strength * candidates.mean
    why = "each candidate loses ⟨μ_q, x⟩, which differs between candidates"
    return _two_shifts(
        "centering", queries.dim, score, strength, *off, normalised, renormalise, why
    )


def distribution_normalization(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "dot",
    strength: float = 0.25,
    normalised: bool = True,
) -> Closer:
    """A quarter of each side's own mean is taken off, ranked by dot: q - λμ_q, x - λμ_c.

    Zhou et al. 2023, λ = ``strength`` = .25 as their code has it. No renormalising.
    """
    off = strength * queries.mean, strength * candidates.mean
    why = "each candidate loses λ⟨μ_q, x⟩, which differs between candidates"
    return _two_shifts(
        "distribution-normalization", queries.dim, score, strength, *off, normalised, False, why
    )


def _two_shifts(
    name: str,
    dim: int,
    score: str,
    strength: float,
    off_queries: np.ndarray,
    off_candidates: np.ndarray,
    normalised: bool,
    renormalise: bool,
    why: str,
) -> Closer:
    """Take a vector off each side; the identity (not even renormalised) where both are zero."""
    fixed = AffineMap(dim, normalised=normalised)
    if not off_queries.any() and not off_candidates.any():
        nothing = exact(score, normalised, "strength 0 or nothing to take off: nothing is moved")
        return Closer(name, score, strength, fixed, fixed, nothing)
    return Closer(
        name,
        score,
        strength,
        AffineMap(dim, None, -off_queries, normalised, renormalise),
        AffineMap(dim, None, -off_candidates, normalised, renormalise),
        Guarantee(score, "none", why),
        facts={"norm_moved": float(np.linalg.norm(off_queries - off_candidates))},
    )
