"""Translations of the literature, as honest baselines: they change answers, and say so.

``docs/formulas.md`` has each in one line. Sources: Liang et al. 2022 (arXiv 2203.02053) for the
shift of both sides; Yaras et al., C3, I0T and GR-CLIP for centring with renormalisation; Zhou et
al. 2023 (arXiv 2302.11084) for distribution normalisation; PMC for the database shift.
"""

from __future__ import annotations

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.promises import Given, length


def mean_shift(given: Given, *, renormalise: bool | None = None, side: str = "query") -> Closer:
    """Move one modality by the whole gap: q -> q - strength·g (or x -> x + strength·g).

    The plain closing, as most of the literature does it. It adds ⟨g, x⟩ to each candidate's score,
    which differs between candidates, so it promises nothing of the clean answers (with one
    exception: moving candidates under dot without renormalising adds one constant per query).

    Args:
        renormalise: divide the moved rows by their norms. None: where ``normalised``.
        side: ``query`` or ``candidate``: which rows move.
    """
    renormalise = given.normalised if renormalise is None else renormalise
    step = given.strength * given.gap
    moved = given.moved(-step if side == "query" else step, renormalise)
    if not step.any():  # not even renormalised: strength 0 leaves everything as it is
        promise = given.exact("strength 0 or no gap: nothing is moved")
        moved = given.fixed
    elif side == "candidate" and given.score == "dot" and not renormalise:
        promise = given.exact("a candidate shift adds one constant per query")
    else:
        promise = given.no_promise("the shift adds ⟨g, x⟩, which differs between candidates")
    maps = (moved, given.fixed) if side == "query" else (given.fixed, moved)
    return given.closer(*maps, promise, norm_moved=length(step))


def database_shift(given: Given) -> Closer:
    """Move what is stored by the whole gap and normalise it again: unit(x + strength·g).

    What PMC does before a vector database codes its rows. Against plain search it changes answers.
    """
    return mean_shift(given, renormalise=True, side="candidate")


def liang_shift(given: Given) -> Closer:
    """Both sides meet half-way and are normalised: unit(q - ½ strength·g), unit(x + ½ strength·g).

    Liang et al. 2022; their λ is half of ``strength``.
    """
    why = "both sides move along g and are normalised again"
    return _two_shifts(given, 0.5 * given.gap, -0.5 * given.gap, True, why)


def centering(given: Given, *, renormalise: bool | None = None) -> Closer:
    """Each side loses its own mean and is normalised: unit(q - μ_q), unit(x - μ_c).

    GR-CLIP, I0T-post and many others; without ``renormalise`` the "collapse" of C3. It changes the
    number ⟨μ_q, x_j⟩ that a candidate gets from every query, so it changes answers on purpose:
    good where that number is a wrong prior, bad where training tuned it. It acts even where the
    two sides have the same mean.
    """
    renormalise = given.normalised if renormalise is None else renormalise
    why = "each candidate loses ⟨μ_q, x⟩, which differs between candidates"
    return _two_shifts(given, given.queries.mean, given.candidates.mean, renormalise, why)


def distribution_normalization(given: Given) -> Closer:
    """A quarter of each side's own mean is taken off, ranked by dot: q - λμ_q, x - λμ_c.

    Zhou et al. 2023, λ = ``strength`` = .25 as their code has it. No renormalising.
    """
    why = "each candidate loses λ⟨μ_q, x⟩, which differs between candidates"
    return _two_shifts(given, given.queries.mean, given.candidates.mean, False, why)


def _two_shifts(
    given: Given, queries: np.ndarray, candidates: np.ndarray, renormalise: bool, why: str
) -> Closer:
    """Take a vector off each side; the identity (not even renormalised) where both are zero."""
    off = given.strength * queries, given.strength * candidates
    if not off[0].any() and not off[1].any():
        return given.untouched("strength 0 or nothing to take off: nothing is moved")
    query, candidate = (given.moved(-vector, renormalise) for vector in off)
    return given.closer(query, candidate, given.no_promise(why), norm_moved=length(off[0] - off[1]))
