"""Projections: queries on the candidates' span, both sides to fewer dimensions, directions apart.

Under dot, only the part of a query inside the direction space of the candidates' hull tells them
apart, so everything else may go (``docs/formulas.md``, D11 to D14).
"""

from __future__ import annotations

import numpy as np

from isthmus.closers.maps import AffineMap, Closer, Guarantee
from isthmus.closers.promises import (
    all_or_nothing,
    blended,
    exact,
    hull_rank,
    linear_score,
    reach_off,
    spans_hull,
)
from isthmus.data.moments import Moments
from isthmus.errors import OptionError


def span(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "dot",
    strength: float = 1.0,
    variance: float | None = None,
    center: bool = True,
    normalised: bool = True,
) -> Closer:
    """Queries are projected on the candidates' span: what cannot tell candidates apart is dropped.

    dot: q -> P(q - μ_q), with the candidate bias ⟨μ_q, x_j⟩ (``center=False``: Pq, no number).
    euclidean: q -> μ_c + P(q - μ_c), no number. Exact for the fitted candidates, whose differences
    P holds. It matters where candidates are few: once they span the space, P is the identity.

    Args:
        variance: keep only the leading directions that hold this share of the candidates'
            variance; answers then change within a bound.
        center: dot only: also take off the queries' mean and store a number per candidate.
    """
    score = linear_score("span", score, normalised)
    rank = hull_rank(candidates, variance)
    basis = candidates.spectrum[1][:, :rank]
    onto = basis @ basis.T
    center = center and score == "dot"
    middle = queries.mean if center else candidates.mean
    offset = -onto @ middle if center else middle - onto @ middle
    if score == "dot" and not center:
        offset = np.zeros(queries.dim)
    query = blended(queries.dim, onto, offset, strength, normalised=normalised)
    bias = strength * queries.mean if center and strength else None
    guarantee = _span_promise(queries, candidates, score, strength, rank, normalised)
    fixed = AffineMap(queries.dim, normalised=normalised)
    moved = strength * (onto @ queries.mean + offset - queries.mean)  # what the mean query moves
    facts = {"rank": float(rank), "norm_moved": float(np.linalg.norm(moved))}
    return Closer("span", score, strength, query, fixed, guarantee, bias, facts)


def subspace(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "dot",
    strength: float = 1.0,
    variance: float | None = None,
    rank: int | None = None,
    normalised: bool = True,
) -> Closer:
    """Both sides to r dimensions, the candidates' span: smaller vectors, the same answers.

    B holds the candidates' first r principal directions. dot: Bᵀ(q - μ_q), Bᵀ(x - μ_c) and the
    candidate bias ⟨μ_q, x_j⟩; euclidean: Bᵀ(q - μ_c), Bᵀ(x - μ_c). Exact at the full rank of the
    fitted candidates; fewer directions (``rank``, or ``variance`` as a share) change answers
    within a bound under dot of unit rows. Strength is 0 or 1.

    Raises:
        OptionError: both ``rank`` and ``variance``, or a rank that is not between 1 and d.
    """
    score = linear_score("subspace", score, normalised)
    if rank is not None:
        if variance is not None:
            raise OptionError("options-exclude", "subspace takes rank or variance, not both")
        _check_rank(rank, candidates.dim)
    kept = rank or max(hull_rank(candidates, variance), 1)
    fixed = AffineMap(queries.dim, normalised=normalised)
    if not all_or_nothing("subspace", strength):
        nothing = exact(score, normalised, "strength 0: nothing is changed")
        return Closer("subspace", score, 0.0, fixed, fixed, nothing)
    down = np.ascontiguousarray(candidates.spectrum[1][:, :kept].T)
    middle = queries.mean if score == "dot" else candidates.mean
    return Closer(
        "subspace",
        score,
        strength,
        AffineMap(queries.dim, down, -down @ middle, normalised),
        AffineMap(queries.dim, down, -down @ candidates.mean, normalised),
        _span_promise(queries, candidates, score, 1.0, kept, normalised),
        queries.mean if score == "dot" else None,
        {"rank": float(kept), "dimensions": float(kept)},
    )


def low_rank_memo(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "dot",
    strength: float = 1.0,
    rank: int = 2,
    normalised: bool = True,
) -> Closer:
    """The few directions that hold the gap are kept in float, apart from the stored vector.

    x -> ((I - UUᵀ)x, Uᵀx), where the last r coordinates stay in float (``Closer.memo``): dot
    products and distances of the long rows are those of the rows. Noise and codes then hit
    ‖(I - UUᵀ)q‖ only. U holds μ_q and μ_c, then the leading directions of what is left of the
    queries' second moment, which shorten ‖(I - UUᵀ)q‖ most. Costs r floats per candidate instead
    of one number. Strength is 0 or 1.

    Raises:
        OptionError: rank is not between 1 and d.
    """
    score = linear_score("low-rank-memo", score, normalised)
    dim = queries.dim
    _check_rank(rank, dim)
    fixed = AffineMap(dim, normalised=normalised)
    if not all_or_nothing("low-rank-memo", strength):
        nothing = exact(score, normalised, "strength 0: nothing is changed")
        return Closer("low-rank-memo", score, 0.0, fixed, fixed, nothing)
    apart = _memo_directions(queries, candidates, rank)
    matrix = np.vstack([np.eye(dim) - apart @ apart.T, apart.T])
    side = AffineMap(dim, matrix, None, normalised)
    gap = queries.mean - candidates.mean
    total = float(gap @ gap)
    return Closer(
        "low-rank-memo",
        score,
        strength,
        side,
        side,
        exact(score, normalised, "the last coordinates are kept in float and added to the score"),
        None,
        {
            "rank": float(apart.shape[1]),
            "share": float(np.sum((apart.T @ gap) ** 2)) / total if total else 0.0,
        },
        memo=apart.shape[1],
    )


def drop_dimensions(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    share: float = 0.75,
    normalised: bool = True,
) -> Closer:
    """Leave out the coordinates that hold most of the gap, on both sides, and normalise again.

    The fewest coordinates that hold ``share`` of |g|²; ``strength`` scales how many of them. A
    baseline: on CLIP a handful of coordinates hold three quarters of the squared gap.
    """
    gap = queries.mean - candidates.mean
    order = np.argsort(-np.abs(gap), kind="stable")
    held = np.cumsum(gap[order] ** 2)
    most = int(np.searchsorted(held, share * held[-1] - 1e-15)) + 1 if held[-1] > 0 else 0
    count = int(np.clip(round(strength * most), 0, queries.dim - 1))
    fixed = AffineMap(queries.dim, normalised=normalised)
    if count == 0:
        nothing = exact(score, normalised, "no coordinate is dropped: nothing is changed")
        return Closer("drop-dimensions", score, strength, fixed, fixed, nothing)
    kept = np.sort(order[count:])
    side = AffineMap(queries.dim, np.eye(queries.dim)[kept], None, normalised, normalised)
    return Closer(
        "drop-dimensions",
        score,
        strength,
        side,
        side,
        Guarantee(score, "none", "coordinates that tell candidates apart are dropped"),
        facts={
            "dropped": float(count),
            "dimensions": float(len(kept)),
            "share": float(held[count - 1] / held[-1]),
        },
    )


def _check_rank(rank: int, dim: int) -> None:
    if rank > dim:
        raise OptionError("option-range", f"rank={rank}; expected 1 to {dim}")


def _span_promise(
    queries: Moments, candidates: Moments, score: str, strength: float, rank: int, normalised: bool
) -> Guarantee:
    """Exact where the directions kept hold every difference; else bounded for unit rows by dot."""
    if strength == 0 or spans_hull(candidates, rank):
        return exact(
            score,
            normalised,
            "what is dropped of a query is orthogonal to all differences of the fitted candidates",
        )
    if score != "dot" or not normalised:
        return Guarantee(score, "none", "directions that tell candidates apart are dropped")
    length = abs(strength) * (1 + float(np.linalg.norm(queries.mean)))
    return Guarantee(
        score,
        "bounded",
        "an answer keeps while its margin exceeds the bound, the longest query times the most that "
        "two fitted candidates differ in the directions dropped",
        length * reach_off(candidates, rank, normalised),
    )


def _memo_directions(queries: Moments, candidates: Moments, rank: int) -> np.ndarray:
    """Orthonormal columns (d, r): the means first, then the queries' leading directions."""
    means = np.stack([queries.mean, candidates.mean], axis=1)
    left, sizes, _ = np.linalg.svd(means, full_matrices=False)
    apart = left[:, sizes > 1e-10 * max(float(sizes[0]), 1e-300)][:, :rank]
    more = rank - apart.shape[1]
    if more > 0:
        rest = np.eye(queries.dim) - apart @ apart.T
        vectors = np.linalg.eigh(rest @ queries.covariance() @ rest)[1]
        lead = vectors[:, ::-1][:, :more]
        apart = np.linalg.qr(np.hstack([apart, lead]))[0]
    return np.ascontiguousarray(apart)
