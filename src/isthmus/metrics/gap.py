"""Measures of the gap: how far apart two modalities are, and in what way.

Most come from moments alone (:func:`from_moments`), some need pairs, some need rows
(:func:`from_sample`). Rows are unit rows unless said otherwise. What the input does not allow is
None. Formulas and sources of each key are in ``docs/formulas.md``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.seeds import stream
from isthmus.core.statistics import Z95
from isthmus.data.moments import SUBSPACE_K, Moments, PairMoments, subspace_overlap
from isthmus.search.settled import largest, nearness, surely_largest

HUBNESS_K = 10
UNIFORMITY_T = 2.0
TOP_SHARE = 0.10
BLOCK_ROWS = 256
LONGEST_SQUARE = 16.0
"""Squared norms up to which float32 products are used."""


def from_moments(
    a: Moments, b: Moments, pair: PairMoments | None, *, normalised: bool = True
) -> dict[str, Any]:
    """The metrics that need counts, means and scatters only. O(d³) for the spectra."""
    gap = b.mean - a.mean
    square = float(gap @ gap)
    noise = a.total_variance / max(a.count - 1, 1) + b.total_variance / max(b.count - 1, 1)
    norm = float(np.sqrt(square))
    unbiased = float(np.sqrt(max(square - noise, 0.0)))
    unbiased_paired = None
    if pair is not None:  # the two means share their items, so part of the noise cancels
        shared = 2 * float(np.trace(pair.cross)) / pair.count / max(pair.count - 1, 1)
        unbiased_paired = float(np.sqrt(max(square - noise + shared, 0.0)))
    low, high = norm_interval(a, b, pair)
    high = max(norm, min(high, 2.0)) if normalised else high
    lengths = float(np.linalg.norm(a.mean)), float(np.linalg.norm(b.mean))
    transport = bures_square(a, b)
    values: dict[str, Any] = {
        "norm": norm,
        "norm_unbiased": unbiased,
        "norm_unbiased_paired": unbiased_paired,
        "norm_ci": [low, high],
        "centroid_cosine": float(a.mean @ b.mean) / (lengths[0] * lengths[1])
        if lengths[0] and lengths[1]
        else None,
        "mean_norm": {"a": lengths[0], "b": lengths[1]},
        "frechet": square + transport,
        "frechet_centroid_share": square / (square + transport) if square + transport else None,
        "bures": transport,
        "variance_share_along_gap": {"a": _share_along(a, gap), "b": _share_along(b, gap)},
        "effective_rank": {"a": a.effective_rank, "b": b.effective_rank},
        "participation_ratio": {"a": a.participation_ratio, "b": b.participation_ratio},
        "energy_top10": top_energy(gap),
        "subspace_overlap": subspace_overlap(a, b),
        "subspace_k": min(SUBSPACE_K, a.rank, b.rank),
        "lda": lda_accuracy(a, b),
    }
    return values | cosines(a, b, pair, normalised)


def cosines(a: Moments, b: Moments, pair: PairMoments | None, normalised: bool) -> dict[str, Any]:
    """Mean cosines, RMG and alignment of unit rows, from first moments and the pairs' trace."""
    if not normalised:
        empty: dict[str, Any] = dict.fromkeys(
            ("cross_cosine", "matched_cosine", "rmg", "alignment")
        )
        return empty | {"intra_cosine": {"a": None, "b": None}}
    intra = {"a": intra_cosine(a.count, a.mean), "b": intra_cosine(b.count, b.mean)}
    values: dict[str, Any] = {"intra_cosine": intra, "cross_cosine": float(a.mean @ b.mean)}
    if pair is None:
        return values | {"matched_cosine": None, "rmg": None, "alignment": None}
    return values | pair_values(pair.matched_dot, intra["a"], intra["b"])


def pair_values(matched: float, intra_a: float, intra_b: float) -> dict[str, float | None]:
    """What the mean matched cosine says, given the mean intra-modal cosines.

    RMG is Schrodi et al.'s official formula (ICLR 2025): d(x, y) = (1 - cos) / 2, mean matched
    distance over itself plus the mean of the two mean intra-modal distances (off the diagonal).
    """
    apart = (1 - matched) / 2
    within = ((1 - intra_a) / 2 + (1 - intra_b) / 2) / 2
    rmg = apart / (apart + within) if apart + within > 0 else None
    return {"matched_cosine": matched, "rmg": rmg, "alignment": 2 - 2 * matched}


def intra_cosine(n: int, mean: np.ndarray) -> float:
    """Mean cosine over ordered pairs of different unit rows: (‖Σx‖² - n) / (n (n - 1))."""
    return float((n * n * (mean @ mean) - n) / (n * (n - 1)))


def _share_along(m: Moments, gap: np.ndarray) -> float | None:
    total = m.total_variance
    return m.variance_along(gap) / total if total > 0 else None


def norm_interval(a: Moments, b: Moments, pair: PairMoments | None) -> tuple[float, float]:
    """95 % interval of the gap's length by the infinitesimal jackknife.

    Each row moves the length by its own coordinate along the gap, so the variance is that of the
    coordinates over n; pairs enter through their difference.
    """
    gap = b.mean - a.mean
    norm = float(np.linalg.norm(gap))
    variance = a.variance_along(gap) / max(a.count - 1, 1)
    variance += b.variance_along(gap) / max(b.count - 1, 1)
    if pair is not None and norm > 0:
        along = gap / norm
        variance -= 2 * float(along @ pair.cross @ along) / pair.count / max(pair.count - 1, 1)
    reach = Z95 * float(np.sqrt(max(variance, 0.0)))
    return max(norm - reach, 0.0), norm + reach


def bures_square(a: Moments, b: Moments) -> float:
    """tr Σa + tr Σb - 2 tr(Σa^½ Σb Σa^½)^½, population covariances; O(d³)."""
    values, vectors = a.spectrum
    root = vectors * np.sqrt(values)
    inner = root.T @ b.covariance() @ root
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh((inner + inner.T) / 2), 0.0)).sum()
    return float(max(a.total_variance + b.total_variance - 2 * cross, 0.0))


def top_energy(gap: np.ndarray, share: float = TOP_SHARE) -> float | None:
    """Share of |g|² held by the largest tenth of the coordinates (rounded down, at least one)."""
    squares = np.sort(gap**2)[::-1]
    total = squares.sum()
    keep = max(1, int(share * len(gap)))
    return float(squares[:keep].sum() / total) if total > 0 else None


def lda_accuracy(a: Moments, b: Moments) -> float | None:
    """Φ(½ √(gᵀ Σ̄⁻¹ g)): accuracy of the best linear rule between Gaussians of one covariance.

    None where the pooled covariance is singular (too few rows): any two sets are then separable.
    """
    pooled = (a.covariance() + b.covariance()) / 2
    if min(a.count, b.count) <= a.dim:
        return None
    gap = b.mean - a.mean
    from scipy.special import ndtr

    try:
        distance = float(gap @ np.linalg.solve(pooled, gap))
    except np.linalg.LinAlgError:
        return None
    return float(ndtr(0.5 * np.sqrt(max(distance, 0.0))))


def from_sample(a: np.ndarray, b: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """The metrics that need rows: uniformity, held-out separability, hubness.

    Three products of s rows, in float32 where rows are about of unit norm: uniformity is within
    2e-6 of that in float64, and hubness is the same. O(s² d).
    """
    most = max(float(np.einsum("ij,ij->i", side, side).max()) for side in (a, b))
    kind = np.float32 if most <= LONGEST_SQUARE else np.float64
    own: np.ndarray = a.astype(kind, copy=False)
    other: np.ndarray = b.astype(kind, copy=False)
    cross = own @ other.T
    return {
        "uniformity": {
            "a": uniformity(own, own, same=True),
            "b": uniformity(other, other, same=True),
            "cross": uniformity(own, other, same=False, products=cross),
        },
        "held_out": held_out_separability(a, b, seed=seed),
        "hubness_skew": {
            "a_to_b": _hubness_skew(cross, a, b),
            "b_to_a": _hubness_skew(cross.T, b, a),
        },
    }


def uniformity(
    a: np.ndarray,
    b: np.ndarray,
    *,
    same: bool,
    t: float = UNIFORMITY_T,
    products: np.ndarray | None = None,
) -> float:
    """log mean exp(-t ‖x - y‖²) over pairs, off the diagonal where both are one set.

    Wang and Isola 2020 (t = 2); the cross form is Fahim et al. 2024's. ``products``: a bᵀ where it
    is known. Of one set half the pairs are looked at.
    """
    first, then = (t * np.einsum("ij,ij->i", side, side) for side in (a, b))
    total = 0.0
    for start in range(0, len(a), BLOCK_ROWS):
        part, rest = slice(start, start + BLOCK_ROWS), slice(start if same else 0, None)
        kernel = 2 * t * (a[part] @ b[rest].T if products is None else products[part])
        kernel -= first[part, None]
        kernel -= then[rest]
        np.minimum(kernel, 0.0, out=kernel)
        np.exp(kernel, out=kernel)
        found = float(kernel.sum(axis=1).sum(dtype=np.float64))
        if same:  # pairs past the block count for themselves and for those below it
            block = kernel[:, : len(kernel)].astype(np.float64)
            found = 2 * found - float(block.sum() + np.trace(block))
        total += found
    mean = total / (len(a) * (len(b) - same))
    return float(np.log(mean)) if mean > 0 else float("-inf")  # rows far from unit norm


def held_out_separability(a: np.ndarray, b: np.ndarray, *, seed: int = 0) -> float | None:
    """Balanced accuracy on one half of a linear rule fitted on the other half, both ways round.

    The rule is linear discriminant analysis with the pooled covariance shrunk a tenth towards
    the sphere. None below 8 rows a side.
    """
    if min(len(a), len(b)) < 8:
        return None
    rng = stream("gap.separability", seed)
    order_a, order_b = rng.permutation(len(a)), rng.permutation(len(b))
    parts_a = a[order_a[: len(a) // 2]], a[order_a[len(a) // 2 :]]
    parts_b = b[order_b[: len(b) // 2]], b[order_b[len(b) // 2 :]]
    scores = []
    for fit, test in ((0, 1), (1, 0)):
        mean_a, mean_b = parts_a[fit].mean(axis=0), parts_b[fit].mean(axis=0)
        pooled = np.zeros((a.shape[1], a.shape[1]))
        for rows, mean in ((parts_a[fit], mean_a), (parts_b[fit], mean_b)):
            centred = rows - mean
            pooled += centred.T @ centred / (2 * (len(rows) - 1))
        level = np.trace(pooled) / len(pooled)
        shrunk = 0.9 * pooled + 0.1 * level * np.eye(len(pooled))
        if level == 0:
            return None
        normal = np.linalg.solve(shrunk, mean_b - mean_a)
        cut = normal @ (mean_a + mean_b) / 2
        right_a = (parts_a[test] @ normal < cut).mean()
        right_b = (parts_b[test] @ normal >= cut).mean()
        scores.append((right_a + right_b) / 2)
    return float(np.mean(scores))


def hubness_skew(queries: np.ndarray, candidates: np.ndarray, k: int = HUBNESS_K) -> float | None:
    """Skewness of N_k(j), how often candidate j is among a query's k best by dot product.

    Radovanović et al. 2010. None below 2k candidates, or where every candidate is as frequent.
    """
    return _hubness_skew(queries @ candidates.T, queries, candidates, k)


def _hubness_skew(
    products: np.ndarray, queries: np.ndarray, candidates: np.ndarray, k: int = HUBNESS_K
) -> float | None:
    """From products; where float32 cannot tell the k-th best from the next, the rows do."""
    if len(candidates) < 2 * k:
        return None
    counts = np.zeros(len(candidates), np.int64)
    sizes = np.linalg.norm(queries, axis=1) * np.linalg.norm(candidates, axis=1).max()
    near = nearness(sizes, queries.shape[1])
    for start in range(0, len(queries), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        scores = np.ascontiguousarray(products[part])
        if products.dtype == np.float32:
            exact = lambda some: queries[part][some] @ candidates.T  # noqa: B023, E731
            best = surely_largest(scores, k, near[part], exact)
        else:
            best = largest(scores, k)
        counts += np.bincount(best.ravel(), minlength=len(candidates))
    centred = counts - counts.mean()
    spread = centred.std()
    return float((centred**3).mean() / spread**3) if spread > 0 else None
