"""Projections: queries on the candidates' span, both sides to fewer dimensions, directions apart.

Under dot, only the part of a query inside the direction space of the candidates' hull tells them
apart, so everything else may go (``docs/formulas.md``, D11 to D14).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.closers.closer import Closer, Guarantee
from isthmus.closers.maps import AffineMap
from isthmus.closers.promises import Given, hull_rank, length
from isthmus.core.checks import in_range
from isthmus.errors import OptionError


def span(given: Given, *, variance: float | None = None, center: bool = True) -> Closer:
    """Queries are projected on the candidates' span: what cannot tell candidates apart is dropped.

    dot: q -> P(q - μ_q), with the candidate bias ⟨μ_q, x_j⟩ (``center=False``: Pq, no number).
    euclidean: q -> μ_c + P(q - μ_c), no number. Exact for the fitted candidates, whose differences
    P holds. It matters where candidates are few: once they span the space, P is the identity.

    Args:
        variance: keep only the leading directions that hold this share of the candidates'
            variance; answers then change within a bound.
        center: dot only: also take off the queries' mean and store a number per candidate.
    """
    mean, dot = given.queries.mean, given.score == "dot"
    rank = hull_rank(given.candidates, variance)
    basis = given.candidates.spectrum[1][:, :rank]
    onto = np.eye(given.dim) if rank == given.dim else basis @ basis.T
    center = center and dot
    if dot:
        offset = -onto @ mean if center else np.zeros(given.dim)
    else:
        offset = given.candidates.mean - onto @ given.candidates.mean
    # a projector on the whole space is the identity: queries only move
    whole = rank == given.dim
    query = given.moved(given.strength * offset) if whole else given.blended(onto, offset)
    return given.closer(
        query,
        given.fixed,
        _span_promise(given, rank),
        given.strength * mean if center else None,
        rank=float(rank),
        norm_moved=length(given.strength * (onto @ mean + offset - mean)),  # of the mean query
    )


def subspace(given: Given, *, variance: float | None = None, rank: int | None = None) -> Closer:
    """Both sides to r dimensions, the candidates' span: smaller vectors, the same answers.

    B holds the candidates' first r principal directions. dot: Bᵀ(q - μ_q), Bᵀ(x - μ_c) and the
    candidate bias ⟨μ_q, x_j⟩; euclidean: Bᵀ(q - μ_c), Bᵀ(x - μ_c). Exact at the full rank of the
    fitted candidates; fewer directions (``rank``, or ``variance`` as a share) change answers
    within a bound under dot of unit rows. Strength is 0 or 1.

    Raises:
        OptionError: both ``rank`` and ``variance``, or a rank that is not between 1 and d.
    """
    candidates, dot = given.candidates, given.score == "dot"
    if rank is not None:
        if variance is not None:
            raise OptionError("options-exclude", "subspace takes rank or variance, not both")
        in_range(rank, "rank", least=1, most=given.dim)
    kept = rank or max(hull_rank(candidates, variance), 1)
    if not given.is_on():
        return given.untouched()
    down = np.ascontiguousarray(candidates.spectrum[1][:, :kept].T)
    query, candidate = (
        AffineMap(given.dim, down, -down @ middle, given.normalised)
        for middle in (given.queries.mean if dot else candidates.mean, candidates.mean)
    )
    bias = given.queries.mean if dot else None
    facts: dict[str, Any] = {"rank": float(kept), "dimensions": float(kept)}
    return given.closer(query, candidate, _span_promise(given, kept), bias, **facts)


def low_rank_memo(given: Given, *, rank: int = 2) -> Closer:
    """The few directions that hold the gap are kept in float, apart from the stored vector.

    x -> ((I - UUᵀ)x, Uᵀx), where the last r coordinates stay in float (``Closer.memo``): dot
    products and distances of the long rows are those of the rows. Noise and codes then hit
    ‖(I - UUᵀ)q‖ only. U holds μ_q and μ_c, then the leading directions of what is left of the
    queries' second moment, which shorten ‖(I - UUᵀ)q‖ most. Costs r floats per candidate instead
    of one number. Strength is 0 or 1.

    Raises:
        OptionError: rank is not between 1 and d.
    """
    in_range(rank, "rank", least=1, most=given.dim)
    if not given.is_on():
        return given.untouched()
    apart = _memo_directions(given, rank)
    matrix = np.vstack([np.eye(given.dim) - apart @ apart.T, apart.T])
    side = AffineMap(given.dim, matrix, None, given.normalised)
    promise = given.exact("the last coordinates are kept in float and added to the score")
    held = apart.shape[1]
    share = given.share_of_gap(apart.T @ given.gap)
    return given.closer(side, side, promise, memo=held, rank=float(held), share=share)


def drop_dimensions(given: Given, *, share: float = 0.75) -> Closer:
    """Leave out the coordinates that hold most of the gap, on both sides, and normalise again.

    The fewest coordinates that hold ``share`` of |g|²; ``strength`` scales how many of them. A
    baseline: on CLIP a handful of coordinates hold three quarters of the squared gap.
    """
    order = np.argsort(-np.abs(given.gap), kind="stable")
    held = np.cumsum(given.gap[order] ** 2)
    most = int(np.searchsorted(held, share * held[-1] - 1e-15)) + 1 if held[-1] > 0 else 0
    count = int(np.clip(round(given.strength * most), 0, given.dim - 1))
    if count == 0:
        return given.untouched("no coordinate is dropped: nothing is changed")
    kept = np.sort(order[count:])
    side = AffineMap(given.dim, np.eye(given.dim)[kept], None, given.normalised, given.normalised)
    return given.closer(
        side,
        side,
        given.no_promise("coordinates that tell candidates apart are dropped"),
        dropped=float(count),
        dimensions=float(len(kept)),
        share=float(held[count - 1] / held[-1]),
    )


def _span_promise(given: Given, rank: int) -> Guarantee:
    """Exact where the directions kept hold every difference; else bounded for unit rows by dot."""
    if given.strength == 0 or given.spans_hull(rank):
        return given.exact(
            "what is dropped of a query is orthogonal to all differences of the fitted candidates"
        )
    if given.score != "dot" or not given.normalised:
        return given.no_promise("directions that tell candidates apart are dropped")
    longest = abs(given.strength) * (1 + length(given.queries.mean))
    return Guarantee(
        given.score,
        "bounded",
        "an answer keeps while its margin exceeds the bound, the longest query times the most that "
        "two fitted candidates differ in the directions dropped",
        longest * given.reach_off(rank),
    )


def _memo_directions(given: Given, rank: int) -> np.ndarray:
    """Orthonormal columns (d, r): the means first, then the queries' leading directions."""
    means = np.stack([given.queries.mean, given.candidates.mean], axis=1)
    left, sizes, _ = np.linalg.svd(means, full_matrices=False)
    apart = left[:, sizes > 1e-10 * max(float(sizes[0]), 1e-300)][:, :rank]
    more = rank - apart.shape[1]
    if more > 0:
        rest = np.eye(given.dim) - apart @ apart.T
        vectors = np.linalg.eigh(rest @ given.queries.covariance() @ rest)[1]
        lead = vectors[:, ::-1][:, :more]
        apart = np.linalg.qr(np.hstack([apart, lead]))[0]
    return np.ascontiguousarray(apart)
