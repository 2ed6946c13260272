"""Maps that match more than the mean: spread, covariance, rotation. Baselines of the literature.

All but :func:`whitening` map queries to where candidates are and leave stored vectors alone. None
promises anything of the clean answers. Formulas and sources are in ``docs/formulas.md``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.maps import AffineMap, chain
from isthmus.closers.promises import Given, length
from isthmus.core.arrays import Facts
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import ShapeError

SHRINKAGE = 0.1
_KNOWN = Facts()
"""Matrices of moments, kept as long as these: every strength takes the same."""


def standardise(given: Given) -> Closer:
    """Mean and spread of every dimension are matched: q -> μ_c + (q - μ_q)·σ_c/σ_q.

    Mean-and-standard-deviation matching as in TOMCap. A dimension in which queries do not vary is
    shifted only.
    """
    sides = (given.queries, given.candidates)
    deviation_q, deviation_c = (np.sqrt(np.diag(m.covariance())) for m in sides)
    flat = deviation_q <= 1e-12 * max(float(deviation_q.max()), 1e-300)
    scale = np.where(flat, 1.0, deviation_c / np.where(flat, 1.0, deviation_q))
    return _to_candidates(given, np.diag(scale))


def coral(given: Given, *, shrinkage: float = SHRINKAGE) -> Closer:
    """Whiten queries and colour them as candidates: q -> Σ_c^½ Σ_q^-½ (q - μ_q) + μ_c.

    Sun et al. 2016. ``shrinkage`` adds that share of the mean variance to both covariances, without
    which small directions of few rows are blown up.
    """
    colour, white = _power(given.candidates, shrinkage, 0.5), _power(given.queries, shrinkage, -0.5)
    return _to_candidates(given, colour @ white)


def gaussian_ot(given: Given, *, shrinkage: float = SHRINKAGE) -> Closer:
    """The optimal transport map between the two Gaussian fits, from queries to candidates.

    q -> μ_c + Σ_q^-½ (Σ_q^½ Σ_c Σ_q^½)^½ Σ_q^-½ (q - μ_q): closes the Fréchet distance and says
    nothing of pairs. ``shrinkage`` as in :func:`coral`.
    """
    queries, candidates = given.queries, given.candidates

    def found() -> np.ndarray:
        root, inverse = (_power(queries, shrinkage, exponent) for exponent in (0.5, -0.5))
        values, vectors = np.linalg.eigh(root @ _power(candidates, shrinkage, 1) @ root)
        return np.asarray(inverse @ _raised(values, vectors, 0.5) @ inverse)

    return _to_candidates(given, _KNOWN.of(f"transport {shrinkage}", found, queries, candidates))


def procrustes(given: Given, *, pairs: PairMoments, scale: bool = False) -> Closer:
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
    if (pairs.a.dim, pairs.b.dim) != (given.dim, given.candidates.dim):
        raise ShapeError(
            "unequal-dimensions",
            f"pairs have {pairs.a.dim} and {pairs.b.dim} dimensions, queries and candidates "
            f"{given.dim}; give the pairs' rows as they enter the maps",
        )

    def found() -> tuple[np.ndarray, np.ndarray]:
        cross = pairs.cross.T  # (d_c, d_q) so that W = argmin ‖W(q - μ_q) - (x - μ_c)‖
        nudge = 1e-9 * length(cross) / np.sqrt(given.dim) * np.eye(given.dim)
        left, sizes, right = np.linalg.svd(cross + nudge)
        return left @ right, sizes

    turn, sizes = _KNOWN.of("turn", found, pairs)
    if scale:
        spread = float(np.trace(pairs.a.scatter))
        turn = turn * (float(sizes.sum()) / spread if spread else 1.0)
    return _to_candidates(given, turn)


def whitening(given: Given, *, shrinkage: float = SHRINKAGE) -> Closer:
    """Each side is centred and whitened by its own covariance: Σ^-½(x - μ), then cosine.

    As whitened CLIP does. It acts even where the two sides are alike.
    """
    if given.strength == 0:
        return given.untouched()

    def whitened(side: Moments) -> AffineMap:
        white = _power(side, shrinkage, -0.5)
        return given.blended(white, -white @ side.mean)

    promise = given.no_promise("each side is rescaled by its own covariance")
    return given.closer(whitened(given.queries), whitened(given.candidates), promise)


def realign(given: Given, *, query_rows: Any) -> Closer:
    """ReAlign: centre, match the trace, normalise, and centre again what the sphere displaced.

    q -> unit(μ_c + s(q - μ_q)) with s = √(tr Σ_c / tr Σ_q), then unit(· - μ' + μ_c), where μ' is
    the mean of the first result: no function of moments, so it needs rows.

    Args:
        query_rows: (n, d) query rows, as they enter the maps, from which μ' is taken.
    """
    if given.strength == 0:
        return given.untouched()
    queries, candidates = given.queries, given.candidates
    spread = 1.0  # queries all alike, or candidates all alike: nothing to match
    if queries.total_variance > 0 and candidates.total_variance > 0:
        spread = float(np.sqrt(candidates.total_variance / queries.total_variance))
    offset = candidates.mean - spread * queries.mean
    first = given.blended(spread * np.eye(given.dim), offset, renormalised=True)
    drift = np.asarray(first(np.asarray(query_rows, np.float64))).mean(axis=0)
    again = AffineMap(given.dim, None, given.strength * (candidates.mean - drift), False, True)
    return given.closer(
        chain(first, again),
        given.fixed,
        given.no_promise("queries are scaled, moved and normalised twice"),
        scale=spread,
        norm_moved=given.strength * length(given.gap),
    )


def _to_candidates(given: Given, matrix: np.ndarray) -> Closer:
    """q -> μ_c + A(q - μ_q), blended with the identity; candidates stay."""
    moved = given.strength * length(given.gap)
    if given.strength == 0:
        return given.untouched(norm_moved=moved)
    query = given.blended(matrix, given.candidates.mean - matrix @ given.queries.mean)
    why = "queries are mapped onto the candidates' distribution"
    return given.closer(query, given.fixed, given.no_promise(why), norm_moved=moved)


def _power(moments: Moments, shrinkage: float, exponent: float) -> np.ndarray:
    """(Σ + shrinkage·mean variance·I) to a power, from the spectrum the moments keep."""

    def found() -> np.ndarray:
        values, vectors = moments.spectrum
        floor = shrinkage * moments.total_variance / moments.dim
        return _raised(values + floor, vectors, exponent, moments.resolution)

    return _KNOWN.of(f"power {shrinkage} {exponent}", found, moments)


def _raised(
    values: np.ndarray, vectors: np.ndarray, exponent: float, resolution: float = 0.0
) -> np.ndarray:
    """VΛᵖVᵀ; directions that are rounding next to the largest become null ones."""
    real = values > max(resolution, 1e-12) * max(float(values.max()), 1e-300)
    raised = np.where(real, np.where(real, values, 1.0) ** exponent, 0.0)
    return (vectors * raised) @ vectors.T
