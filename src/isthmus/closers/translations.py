"""Translations that promise something: nothing moved, the paper's shift, and stored-number shifts.

Notation of this package: μ_q, μ_c are the means of queries and candidates, g = μ_q - μ_c the gap
vector that brings candidates to the queries, P the projector on the direction space of the
candidates' affine hull. Formulas and proofs are in ``docs/formulas.md``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isthmus.closers.closer import Closer, Guarantee
from isthmus.closers.promises import Given, hull_rank, length, off_hull


def no_closer(given: Given) -> Closer:
    """Leave everything as it is: the baseline every other closer is compared with."""
    return replace(given, strength=0.0).untouched("nothing is changed")


def orthogonal_shift(given: Given, *, variance: float | None = None) -> Closer:
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
    rank = hull_rank(given.candidates, variance)
    part = off_hull(given.candidates, given.gap, rank)
    step = given.strength * part
    spread, reach = given.variation(step)
    spanned = given.spans_hull(rank)
    held: dict[str, Any] = {} if variance is None else {"variance": variance}
    if not step.any():
        promise = given.exact("no gap outside the hull: nothing is moved")
    elif given.score == "dot":
        promise = given.exact("a candidate shift adds one constant per query")
    elif given.score == "cosine":
        condition = "candidates of equal norm, shift orthogonal to their differences"
        kept = spanned and given.normalised
        promise = Guarantee("cosine", "exact" if kept else "none", condition)
    elif spanned:
        promise = given.exact("the shift is orthogonal to all differences of the fitted candidates")
    else:
        promise = Guarantee(
            given.score,
            "bounded",
            "an answer keeps while its margin in -½ squared distance exceeds the bound, the most "
            "that ⟨v, x⟩ can differ between two fitted candidates",
            reach,
        )
    return given.closer(
        given.fixed,
        given.moved(step),
        promise,
        rank=float(rank),
        share=given.share_of_gap(part),
        norm_moved=length(step),
        variation=spread,
        **held,
    )


def center_queries(given: Given) -> Closer:
    """Queries lose their mean, and every candidate stores the number that makes up for it.

    ⟨q - μ, x_j⟩ + ⟨μ, x_j⟩ = ⟨q, x_j⟩ for any μ, so clean rankings are kept exactly at any number
    of candidates, while noise on candidates meets the shorter ‖q - μ‖ (``docs/formulas.md``, D11).
    Searched by dot, which ranks unit rows as cosine does.
    """
    return _centred(given, both=False)


def center_both(given: Given) -> Closer:
    """:func:`center_queries`, and candidates lose their own mean before they are stored.

    ⟨q, x⟩ = ⟨q - μ_q, x - μ_c⟩ + ⟨μ_q, x⟩ + a constant of the query: still exact at any number of
    candidates. Against plain noise it does what :func:`center_queries` does; against codes it also
    centres what is coded, which one-bit codes need (``docs/formulas.md``).
    """
    return _centred(given, both=True)


def _centred(given: Given, *, both: bool) -> Closer:
    step, off = given.strength * given.queries.mean, given.strength * given.candidates.mean
    promise = given.exact("the candidate bias ⟨μ, x⟩ is added to each candidate's score")
    candidate = given.moved(-off) if both else given.fixed
    return given.closer(given.moved(-step), candidate, promise, step, norm_moved=length(step))


def biased_shift(given: Given, *, side: str = "query") -> Closer:
    """Close the whole gap under Euclid and lose nothing: one candidate bias each.

    Moving queries by -g (or candidates by +g) changes -½‖q - x‖² by a constant of the query and
    -⟨g, x⟩; the candidate bias ⟨g, x_j⟩ puts that back, for any g and any number of candidates.
    Noise on candidates then meets the shorter ‖q - g - x‖ (D12). ``side="query"`` leaves stored
    vectors as they are.
    """
    step, on_query = given.strength * given.gap, side == "query"
    promise = given.exact("the candidate bias ⟨g, x⟩ is added to each candidate's score")
    bias = step if given.score == "euclidean" or on_query else None  # dot: the shift is free
    moved = given.moved(-step if on_query else step)
    maps = (moved, given.fixed) if on_query else (given.fixed, moved)
    return given.closer(*maps, promise, bias, norm_moved=length(step))
