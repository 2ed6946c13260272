"""The gap report: every number that says how far apart two modalities are, and in what way.

Most come from moments alone (:func:`from_moments`), some need pairs, some need rows
(:func:`from_sample`, a seeded sample whose size is stated). Rows are unit rows unless said
otherwise. What the input does not allow is None, with a reason in ``why_null``. Formulas and
sources stand beside each key in ``docs/formulas.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.core.seeds import stream
from isthmus.core.statistics import grouped_jackknife
from isthmus.data.moments import Moments, PairMoments

SUBSPACE_K = 10
HUBNESS_K = 10
JACKKNIFE_GROUPS = 20
UNIFORMITY_T = 2.0
SAMPLE_ROWS = 4000
TOP_SHARE = 0.10
SEVERE, MODERATE = 0.63, 0.19


@dataclass(frozen=True)
class GapReport:
    """Named numbers of one pair of modalities; ``to_dict`` is the ``gap`` of ``report.json``."""

    values: dict[str, Any]
    why_null: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def severity(self) -> str:
        """``severe`` (>= .63), ``moderate`` (>= .19) or ``low``: the scale of I0T (2412.14384)."""
        norm = self.values["norm"]
        return "severe" if norm >= SEVERE else "moderate" if norm >= MODERATE else "low"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, with ``severity`` and ``why_null``."""
        return {**self.values, "severity": self.severity, "why_null": self.why_null}


def measure_gap(
    a: Moments,
    b: Moments,
    pair: PairMoments | None,
    sample_a: np.ndarray,
    sample_b: np.ndarray,
    *,
    paired: bool,
    unit_rows: bool = True,
    rows_a: int | None = None,
    rows_b: int | None = None,
    seed: int = 0,
) -> GapReport:
    """Everything there is to say of a gap.

    Args:
        a, b: moments of all rows of the two modalities.
        pair: moments of the pairs, or None where rows are not paired.
        sample_a, sample_b: (s, d) float64 rows for the metrics that need rows, drawn with
            ``seed``; the same places on both sides where ``paired``.
        unit_rows: whether rows were normalised; cosine metrics are None otherwise.
        rows_a, rows_b: how many rows there are, when the samples are not all of them.
    """
    values = from_moments(a, b, pair, unit_rows=unit_rows)
    values |= from_sample(sample_a, sample_b, seed=seed)
    values["intervals"] = {
        name: interval
        for name, interval in _intervals(sample_a, sample_b, paired, unit_rows).items()
        if values.get(name, 0) is not None
    }
    values["sample"] = {
        "a": len(sample_a),
        "b": len(sample_b),
        "of_a": rows_a or a.count,
        "of_b": rows_b or b.count,
        "seed": seed,
    }
    why = _reasons(a, b, paired, unit_rows, values)
    return GapReport(values, why)


def from_moments(
    a: Moments, b: Moments, pair: PairMoments | None, *, unit_rows: bool = True
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
    return values | cosines(a, b, pair, unit_rows)


def cosines(a: Moments, b: Moments, pair: PairMoments | None, unit_rows: bool) -> dict[str, Any]:
    """Mean cosines, RMG and alignment of unit rows, from first moments and the pairs' trace."""
    if not unit_rows:
        empty: dict[str, Any] = dict.fromkeys(
            ("cross_cosine", "matched_cosine", "rmg", "alignment")
        )
        return empty | {"intra_cosine": {"a": None, "b": None}}
    intra = {"a": _intra(a), "b": _intra(b)}
    values: dict[str, Any] = {"intra_cosine": intra, "cross_cosine": float(a.mean @ b.mean)}
    if pair is None:
        return values | {"matched_cosine": None, "rmg": None, "alignment": None}
    return values | _of_pairs(pair.matched_dot, intra["a"], intra["b"])


def _of_pairs(matched: float, intra_a: float, intra_b: float) -> dict[str, float | None]:
    """What the mean matched cosine says, beside the mean intra-modal cosines.

    RMG is Schrodi et al.'s official formula (ICLR 2025): d(x, y) = (1 - cos) / 2, mean matched
    distance over itself plus the mean of the two mean intra-modal distances (off the diagonal).
    """
    apart = (1 - matched) / 2
    within = ((1 - intra_a) / 2 + (1 - intra_b) / 2) / 2
    rmg = apart / (apart + within) if apart + within > 0 else None
    return {"matched_cosine": matched, "rmg": rmg, "alignment": 2 - 2 * matched}


def _intra(m: Moments) -> float:
    """Mean cosine over ordered pairs of different unit rows: (‖Σx‖² - n) / (n (n - 1))."""
    n = m.count
    return float((n * n * (m.mean @ m.mean) - n) / (n * (n - 1)))


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
    reach = 1.959964 * float(np.sqrt(max(variance, 0.0)))
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


def subspace_overlap(a: Moments, b: Moments, k: int = SUBSPACE_K) -> float | None:
    """(1/k) ‖U_aᵀ U_b‖²_F of the k leading principal directions: 1 the same, k/d by chance."""
    k = min(k, a.rank, b.rank)
    if k == 0:
        return None
    product = a.spectrum[1][:, :k].T @ b.spectrum[1][:, :k]
    return float((product**2).sum() / k)


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
    """The metrics that need rows: uniformity, held-out separability, hubness. O(s² d)."""
    return {
        "uniformity": {
            "a": uniformity(a, a, same=True),
            "b": uniformity(b, b, same=True),
            "cross": uniformity(a, b, same=False),
        },
        "held_out": held_out_separability(a, b, seed=seed),
        "hubness_skew": {"a_to_b": hubness_skew(a, b), "b_to_a": hubness_skew(b, a)},
    }


def uniformity(a: np.ndarray, b: np.ndarray, *, same: bool, t: float = UNIFORMITY_T) -> float:
    """log mean exp(-t ‖x - y‖²) over pairs, off the diagonal where both are one set.

    Wang and Isola 2020 (t = 2); the cross form is Fahim et al. 2024's.
    """
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :]
    kernel = np.exp(-t * np.maximum(squares - 2 * a @ b.T, 0.0))
    if same:
        n = len(a)
        return float(np.log((kernel.sum() - np.trace(kernel)) / (n * (n - 1))))
    return float(np.log(kernel.mean()))


def held_out_separability(a: np.ndarray, b: np.ndarray, *, seed: int = 0) -> float | None:
    """Balanced accuracy on one half of a linear rule fitted on the other half, both ways round.

    The rule is linear discriminant analysis with the pooled covariance shrunk a tenth towards
    the sphere. None below 8 rows a side.
    """
    if min(len(a), len(b)) < 8:
        return None
    rng = stream("gap.separability", seed)
    order_a, order_b = rng.permutation(len(a)), rng.permutation(len(b))
    halves_a = a[order_a[: len(a) // 2]], a[order_a[len(a) // 2 :]]
    halves_b = b[order_b[: len(b) // 2]], b[order_b[len(b) // 2 :]]
    scores = []
    for fit, test in ((0, 1), (1, 0)):
        mean_a, mean_b = halves_a[fit].mean(axis=0), halves_b[fit].mean(axis=0)
        pooled = (np.cov(halves_a[fit].T) + np.cov(halves_b[fit].T)) / 2
        pooled = np.atleast_2d(pooled)
        level = np.trace(pooled) / len(pooled)
        shrunk = 0.9 * pooled + 0.1 * level * np.eye(len(pooled))
        if level == 0:
            return None
        normal = np.linalg.solve(shrunk, mean_b - mean_a)
        cut = normal @ (mean_a + mean_b) / 2
        right_a = (halves_a[test] @ normal < cut).mean()
        right_b = (halves_b[test] @ normal >= cut).mean()
        scores.append((right_a + right_b) / 2)
    return float(np.mean(scores))


def hubness_skew(queries: np.ndarray, candidates: np.ndarray, k: int = HUBNESS_K) -> float | None:
    """Skewness of N_k(j), how often candidate j is among a query's k best by dot product.

    Radovanović et al. 2010. None below 2k candidates, or where every candidate is as frequent.
    """
    if len(candidates) < 2 * k:
        return None
    counts = np.zeros(len(candidates), np.int64)
    for start in range(0, len(queries), 1024):
        scores = queries[start : start + 1024] @ candidates.T
        near = np.argpartition(-scores, k, axis=1)[:, :k]
        counts += np.bincount(near.ravel(), minlength=len(candidates))
    centred = counts - counts.mean()
    spread = centred.std()
    return float((centred**3).mean() / spread**3) if spread > 0 else None


def _intervals(
    a: np.ndarray, b: np.ndarray, paired: bool, unit_rows: bool
) -> dict[str, list[float]]:
    """Delete-a-group jackknife intervals of the cheap metrics, on the sample."""
    groups = min(JACKKNIFE_GROUPS, len(a) // 2, len(b) // 2)
    if groups < 2:
        return {}
    sums = [_Sums.of(a[g::groups], b[g::groups], paired) for g in range(groups)]
    whole = _Sums.total(sums)
    low_high = grouped_jackknife(
        lambda g: whole.without(sums[g]).metrics(unit_rows), whole.metrics(unit_rows), groups
    )
    return {name: [low, high] for name, (low, high) in low_high.items()}


@dataclass(frozen=True)
class _Sums:
    """Counts, sums and the sum of matched dots of one group of rows."""

    n: int
    m: int
    sum_a: np.ndarray
    sum_b: np.ndarray
    dots: float | None

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray, paired: bool) -> _Sums:
        dots = float(np.einsum("ij,ij->", a, b)) if paired else None
        return cls(len(a), len(b), a.sum(axis=0), b.sum(axis=0), dots)

    @classmethod
    def total(cls, parts: list[_Sums]) -> _Sums:
        dots = None if parts[0].dots is None else sum(p.dots or 0.0 for p in parts)
        return cls(
            sum(p.n for p in parts),
            sum(p.m for p in parts),
            np.sum([p.sum_a for p in parts], axis=0),
            np.sum([p.sum_b for p in parts], axis=0),
            dots,
        )

    def without(self, part: _Sums) -> _Sums:
        dots = None if self.dots is None else self.dots - (part.dots or 0.0)
        return _Sums(
            self.n - part.n, self.m - part.m, self.sum_a - part.sum_a, self.sum_b - part.sum_b, dots
        )

    def metrics(self, unit_rows: bool) -> dict[str, float]:
        zero = np.zeros((len(self.sum_a), 0))
        a = Moments(self.n, self.sum_a / self.n, zero)
        b = Moments(self.m, self.sum_b / self.m, zero)
        gap = b.mean - a.mean
        lengths = np.linalg.norm(a.mean), np.linalg.norm(b.mean)
        values = {
            "norm": float(np.linalg.norm(gap)),
            "centroid_cosine": float(a.mean @ b.mean / max(lengths[0] * lengths[1], 1e-300)),
            "energy_top10": top_energy(gap) or 0.0,
        }
        if unit_rows:
            values["intra_cosine_a"], values["intra_cosine_b"] = _intra(a), _intra(b)
            if self.dots is not None:
                paired = _of_pairs(self.dots / self.n, _intra(a), _intra(b))
                values |= {name: value or 0.0 for name, value in paired.items()}
        return values


def _reasons(
    a: Moments, b: Moments, paired: bool, unit_rows: bool, values: dict[str, Any]
) -> dict[str, str]:
    """Why a key is None; also folds ``lda`` and ``held_out`` into ``separability``."""
    values["separability"] = {"lda": values.pop("lda"), "held_out": values.pop("held_out")}
    why = {}
    if not paired:
        for key in ("norm_unbiased_paired", "matched_cosine", "rmg", "alignment"):
            why[key] = "needs pairs: row i of a belonging to row i of b"
    if not unit_rows:
        for key in ("cross_cosine", "matched_cosine", "rmg", "alignment", "intra_cosine"):
            why[key] = "a cosine metric; rows were not normalised"
    if values["separability"]["lda"] is None:
        why["separability.lda"] = (
            f"{min(a.count, b.count)} rows do not fill {a.dim} dimensions, so the pooled "
            "covariance is singular and a plane separates any two sets"
        )
    if values["separability"]["held_out"] is None:
        why["separability.held_out"] = "needs at least 8 rows a side that differ"
    for direction, skew in values["hubness_skew"].items():
        if skew is None:
            why[f"hubness_skew.{direction}"] = f"needs at least {2 * HUBNESS_K} candidates"
    for key in (
        "centroid_cosine",
        "energy_top10",
        "frechet_centroid_share",
        "subspace_overlap",
        "rmg",
    ):
        if values[key] is None and key not in why:
            why[key] = "undefined: the vectors it divides by are zero"
    for side in ("a", "b"):
        if values["variance_share_along_gap"][side] is None:
            why[f"variance_share_along_gap.{side}"] = "all rows of this side are the same"
    return why
