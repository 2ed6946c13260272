"""Maps that match more than the mean: spread, covariance, rotation. Baselines of the literature.

All but :func:`whitening` map queries to where candidates are and leave stored vectors alone. None
promises anything of the clean answers. Formulas and sources are in ``docs/formulas.md``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.closers.maps import AffineMap, Closer, Guarantee, RowMap, chain
from isthmus.closers.promises import blended, exact
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import ShapeError

SHRINKAGE = 0.1


def standardise(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    normalised: bool = True,
) -> Closer:
    """Mean and spread of every dimension are matched: q -> μ_c + (q - μ_q)·σ_c/σ_q.

    Mean-and-standard-deviation matching as in TOMCap. A dimension in which queries do not vary is
    shifted only.
    """
    deviation_q, deviation_c = (np.sqrt(np.diag(m.covariance())) for m in (queries, candidates))
    flat = deviation_q <= 1e-12 * max(float(deviation_q.max()), 1e-300)
    scale = np.where(flat, 1.0, deviation_c / np.where(flat, 1.0, deviation_q))
    return _to_candidates(
        "standardise", queries, candidates, np.diag(scale), score, strength, normalised
    )


def coral(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    shrinkage: float = SHRINKAGE,
    normalised: bool = True,
) -> Closer:
    """Whiten queries and colour them as candidates: q -> Σ_c^½ Σ_q^-½ (q - μ_q) + μ_c.

    Sun et al. 2016. ``shrinkage`` adds that share of the mean variance to both covariances, without
    which small directions of few rows are blown up.
    """
    into = _power(candidates, shrinkage, 0.5) @ _power(queries, shrinkage, -0.5)
    return _to_candidates("coral", queries, candidates, into, score, strength, normalised)


def gaussian_ot(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    shrinkage: float = SHRINKAGE,
    normalised: bool = True,
) -> Closer:
    """The optimal transport map between the two Gaussian fits, from queries to candidates.

    q -> μ_c + Σ_q^-½ (Σ_q^½ Σ_c Σ_q^½)^½ Σ_q^-½ (q - μ_q): closes the Fréchet distance and says
    nothing of pairs. ``shrinkage`` as in :func:`coral`.
    """
    root, inverse = (_power(queries, shrinkage, exponent) for exponent in (0.5, -0.5))
    values, vectors = np.linalg.eigh(root @ _power(candidates, shrinkage, 1) @ root)
    into = inverse @ _raised(values, vectors, 0.5) @ inverse
    return _to_candidates("gaussian-ot", queries, candidates, into, score, strength, normalised)


def procrustes(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    pairs: PairMoments | None = None,
    scale: bool = False,
    normalised: bool = True,
) -> Closer:
    """The rotation that brings paired queries closest to their candidates, after centring.

    q -> μ_c + W(q - μ_q), W = VUᵀ from the singular vectors of the paired cross scatter USVᵀ
    (Schönemann 1966). Directions in which pairs have nothing in common stay as they are. Distances
    within the queries are kept, rankings across are not.

    Args:
        pairs: moments of (queries, candidates) pairs, rows as they enter the maps.
        scale: also the best common scale.

    Raises:
        ShapeError: pairs of another dimension.
    """
    assert pairs is not None, "the registry says that it needs them"
    if (pairs.a.dim, pairs.b.dim) != (queries.dim, candidates.dim):
        raise ShapeError(
            "unequal-dimensions",
            f"pairs have {pairs.a.dim} and {pairs.b.dim} dimensions, queries and candidates "
            f"{queries.dim}; give the pairs' rows as they enter the maps",
        )
    cross = pairs.cross.T  # (d_c, d_q) so that W = argmin ‖W(q - μ_q) - (x - μ_c)‖
    nudge = 1e-9 * float(np.linalg.norm(cross)) / np.sqrt(queries.dim) * np.eye(queries.dim)
    left, sizes, right = np.linalg.svd(cross + nudge)
    turn = left @ right
    if scale:
        spread = float(np.trace(pairs.a.scatter))
        turn = turn * (float(sizes.sum()) / spread if spread else 1.0)
    return _to_candidates("procrustes", queries, candidates, turn, score, strength, normalised)


def whitening(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    shrinkage: float = SHRINKAGE,
    normalised: bool = True,
) -> Closer:
    """Each side is centred and whitened by its own covariance: Σ^-½(x - μ), then cosine.

    As whitened CLIP does. It acts even where the two sides are alike.
    """
    sides = []
    for m in (queries, candidates):
        white = _power(m, shrinkage, -0.5)
        sides.append(blended(m.dim, white, -white @ m.mean, strength, normalised=normalised))
    if strength == 0:
        promise = exact(score, normalised, "strength 0: nothing is changed")
    else:
        promise = Guarantee(score, "none", "each side is rescaled by its own covariance")
    return Closer("whitening", score, strength, sides[0], sides[1], promise)


def realign(
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strength: float = 1.0,
    query_rows: Any = None,
    normalised: bool = True,
) -> Closer:
    """ReAlign: centre, match the trace, normalise, and centre again what the sphere displaced.

    q -> unit(μ_c + s(q - μ_q)) with s = √(tr Σ_c / tr Σ_q), then unit(· - μ' + μ_c), where μ' is
    the mean of the first result: no function of moments, so it needs rows.

    Args:
        query_rows: (n, d) query rows, as they enter the maps, from which μ' is taken.
    """
    spread = 1.0  # queries all alike, or candidates all alike: nothing to match
    if queries.total_variance > 0 and candidates.total_variance > 0:
        spread = float(np.sqrt(candidates.total_variance / queries.total_variance))
    fixed = AffineMap(queries.dim, normalised=normalised)
    if strength == 0:
        nothing = exact(score, normalised, "strength 0: nothing is changed")
        return Closer("realign", score, 0.0, fixed, fixed, nothing)
    matrix = spread * np.eye(queries.dim)
    offset = candidates.mean - spread * queries.mean
    first = blended(queries.dim, matrix, offset, strength, normalised=normalised, renormalised=True)
    drift = np.asarray(first(np.asarray(query_rows, np.float64))).mean(axis=0)
    again = strength * (candidates.mean - drift)
    query: RowMap = chain(first, AffineMap(queries.dim, None, again, False, True))
    return Closer(
        "realign",
        score,
        strength,
        query,
        fixed,
        Guarantee(score, "none", "queries are scaled, moved and normalised twice"),
        facts={
            "scale": spread,
            "norm_moved": strength * float(np.linalg.norm(queries.mean - candidates.mean)),
        },
    )


def _to_candidates(
    name: str,
    queries: Moments,
    candidates: Moments,
    matrix: np.ndarray,
    score: str,
    strength: float,
    normalised: bool,
) -> Closer:
    """q -> μ_c + A(q - μ_q), blended with the identity; candidates stay."""
    offset = candidates.mean - matrix @ queries.mean
    query = blended(queries.dim, matrix, offset, strength, normalised=normalised)
    still = strength == 0
    return Closer(
        name,
        score,
        strength,
        query,
        AffineMap(queries.dim, normalised=normalised),
        exact(score, normalised, "strength 0: nothing is changed")
        if still
        else Guarantee(score, "none", "queries are mapped onto the candidates' distribution"),
        facts={"norm_moved": strength * float(np.linalg.norm(queries.mean - candidates.mean))},
    )


def _power(moments: Moments, shrinkage: float, exponent: float) -> np.ndarray:
    """(Σ + shrinkage·mean variance·I) to a power, from the spectrum the moments keep."""
    values, vectors = moments.spectrum
    floor = shrinkage * moments.total_variance / moments.dim
    return _raised(values + floor, vectors, exponent, moments.resolution)


def _raised(
    values: np.ndarray, vectors: np.ndarray, exponent: float, resolution: float = 0.0
) -> np.ndarray:
    """VΛᵖVᵀ; directions that are rounding next to the largest become null ones."""
    real = values > max(resolution, 1e-12) * max(float(values.max()), 1e-300)
    raised = np.where(real, np.where(real, values, 1.0) ** exponent, 0.0)
    return (vectors * raised) @ vectors.T
