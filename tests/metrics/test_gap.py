"""Every number of the gap report against brute force over all pairs, or another library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import skew
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from isthmus.data.moments import Moments, PairMoments, subspace_overlap
from isthmus.metrics import gap_report
from isthmus.metrics.gap import (
    bures_square,
    from_moments,
    from_sample,
    held_out_separability,
    hubness_skew,
    lda_accuracy,
    norm_interval,
    top_energy,
    uniformity,
)
from isthmus.metrics.gap_report import GapReport, measure
from isthmus.workflows.audits import audit
from refusals import refused
from worlds import two_modalities, unit_rows

Rows = tuple[np.ndarray, np.ndarray]


def report_of(a: np.ndarray, b: np.ndarray, *, paired: bool = True, unit: bool = True) -> GapReport:
    return measure(a, b, paired=paired, normalised=unit)


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def mean_over_pairs(a: np.ndarray, b: np.ndarray, fn: Any, *, same: bool = False) -> float:
    return float(
        np.mean(
            [fn(x, y) for i, x in enumerate(a) for j, y in enumerate(b) if not (same and i == j)]
        )
    )


def test_cosines_rmg_and_alignment_by_brute_force(pairs_small: Rows) -> None:
    a, b = pairs_small
    got = report_of(a, b)
    intra_a = mean_over_pairs(a, a, cosine, same=True)
    intra_b = mean_over_pairs(b, b, cosine, same=True)
    matched = float(np.mean([cosine(x, y) for x, y in zip(a, b, strict=True)]))
    assert got["intra_cosine"]["a"] == pytest.approx(intra_a, rel=1e-10)
    assert got["intra_cosine"]["b"] == pytest.approx(intra_b, rel=1e-10)
    assert got["cross_cosine"] == pytest.approx(mean_over_pairs(a, b, cosine), rel=1e-10)
    assert got["matched_cosine"] == pytest.approx(matched, rel=1e-10)
    squares = [float((x - y) @ (x - y)) for x, y in zip(a, b, strict=True)]
    assert got["alignment"] == pytest.approx(np.mean(squares), rel=1e-10)

    def distance(x: np.ndarray, y: np.ndarray) -> float:
        return (1 - cosine(x, y)) / 2

    within = (
        mean_over_pairs(a, a, distance, same=True) + mean_over_pairs(b, b, distance, same=True)
    ) / 2
    apart = (1 - matched) / 2
    assert got["rmg"] == pytest.approx(apart / (apart + within), rel=1e-10)


def test_norms_and_means(pairs_small: Rows) -> None:
    a, b = pairs_small
    got = report_of(a, b)
    gap = b.mean(axis=0) - a.mean(axis=0)
    assert got["norm"] == pytest.approx(np.linalg.norm(gap), rel=1e-12)
    assert got["centroid_cosine"] == pytest.approx(cosine(a.mean(0), b.mean(0)), rel=1e-12)
    assert got["mean_norm"]["a"] == pytest.approx(np.linalg.norm(a.mean(0)), rel=1e-12)
    assert got["mean_norm"]["b"] == pytest.approx(np.linalg.norm(b.mean(0)), rel=1e-12)
    along = gap / np.linalg.norm(gap)
    for side, rows in (("a", a), ("b", b)):
        share = (rows @ along).var() / rows.var(axis=0).sum()
        assert got["variance_share_along_gap"][side] == pytest.approx(share, rel=1e-9)
        values = np.linalg.eigvalsh(np.cov(rows.T, ddof=0))
        share = values[values > 1e-15] / values[values > 1e-15].sum()
        entropy = float(np.exp(-(share * np.log(share)).sum()))
        assert got["effective_rank"][side] == pytest.approx(entropy, rel=1e-9)
        spread = values.sum() ** 2 / (values**2).sum()
        assert got["participation_ratio"][side] == pytest.approx(spread, rel=1e-9)


@pytest.mark.parametrize(("n", "dim"), [(60, 24), (40, 96)])
def test_frechet_and_bures_against_scipy(n: int, dim: int) -> None:
    a, b = two_modalities(n, dim, seed=2)
    sa, sb = np.cov(a.T, ddof=0), np.cov(b.T, ddof=0)
    root = sqrtm(sa + 1e-14 * np.eye(dim))
    cross = sqrtm(root @ sb @ root + 1e-16 * np.eye(dim))
    transport = float(np.trace(sa) + np.trace(sb) - 2 * np.trace(cross).real)
    got = report_of(a, b)
    assert got["bures"] == pytest.approx(transport, rel=1e-4)
    square = float(((b.mean(0) - a.mean(0)) ** 2).sum())
    assert got["frechet"] == pytest.approx(square + got["bures"], rel=1e-12)
    assert got["frechet_centroid_share"] == pytest.approx(square / got["frechet"], rel=1e-12)
    assert bures_square(Moments.of(a), Moments.of(a)) == pytest.approx(0, abs=1e-7)
    assert got["bures"] == pytest.approx(bures_square(Moments.of(b), Moments.of(a)), rel=1e-9)


def test_bures_of_axis_aligned_gaussians_has_a_closed_form(rng: np.random.Generator) -> None:
    base = np.vstack([np.eye(4), -np.eye(4)])
    x, y = base * np.array([1.0, 2, 3, 4]), base * np.array([2.0, 2, 1, 0])
    expected = ((np.array([1.0, 2, 3, 4]) - np.array([2.0, 2, 1, 0])) ** 2).sum() * 2 / 8
    assert bures_square(Moments.of(x), Moments.of(y)) == pytest.approx(expected)


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_uniformity_by_brute_force(pairs_small: Rows, t: float) -> None:
    a, b = pairs_small

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.exp(-t * ((x - y) ** 2).sum()))

    same = np.log(mean_over_pairs(a, a, kernel, same=True))
    cross = np.log(mean_over_pairs(a, b, kernel))
    assert uniformity(a, a, same=True, t=t) == pytest.approx(same, rel=1e-10)
    assert uniformity(a, b, same=False, t=t) == pytest.approx(cross, rel=1e-10)
    if t == 2.0:
        got = report_of(a, b)["uniformity"]  # of float32 products
        assert got["a"] == pytest.approx(same, abs=2e-6)
        assert got["cross"] == pytest.approx(cross, abs=2e-6)
        assert got["b"] == pytest.approx(uniformity(b, b, same=True), abs=2e-6)


def test_lda_accuracy_formula_and_meaning() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(5, 5))
    a = rng.normal(size=(60_000, 5)) @ mix
    b = rng.normal(size=(60_000, 5)) @ mix + rng.normal(size=5)
    got = lda_accuracy(Moments.of(a), Moments.of(b))
    assert got is not None
    rows, side = np.vstack([a, b]), np.repeat([0, 1], 60_000)
    learned = LinearDiscriminantAnalysis().fit(rows, side).score(rows, side)
    assert got == pytest.approx(learned, abs=0.004)


def test_separability_of_separate_and_mixed_sets() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(400, 6)), rng.normal(size=(300, 6))
    assert held_out_separability(a, b) == pytest.approx(0.5, abs=0.08)
    assert held_out_separability(a, b + 10) == 1
    half = held_out_separability(a, b + np.array([2.0, 0, 0, 0, 0, 0]))
    assert half == pytest.approx(0.8413, abs=0.03)  # Φ(1): two standard deviations apart
    assert held_out_separability(a[:7], b) is None
    assert held_out_separability(np.ones((9, 6)), np.ones((9, 6))) is None


@pytest.mark.parametrize(("dim", "share", "keep"), [(24, 0.1, 2), (5, 0.1, 1), (30, 0.5, 15)])
def test_energy_is_that_of_the_largest_coordinates(dim: int, share: float, keep: int) -> None:
    gap = np.random.default_rng(dim).normal(size=dim)
    order = sorted((float(g) ** 2 for g in gap), reverse=True)
    assert top_energy(gap, share) == pytest.approx(sum(order[:keep]) / sum(order))
    assert top_energy(np.zeros(dim)) is None


def test_subspace_overlap_by_principal_angles(pairs_small: Rows) -> None:
    from scipy.linalg import subspace_angles

    a, b = pairs_small
    for k in (1, 3, 10):
        ua = np.linalg.svd(a - a.mean(0))[2][:k].T
        ub = np.linalg.svd(b - b.mean(0))[2][:k].T
        expected = (np.cos(subspace_angles(ua, ub)) ** 2).mean()
        got = subspace_overlap(Moments.of(a), Moments.of(b), k)
        assert got == pytest.approx(expected, rel=1e-8)
    assert subspace_overlap(Moments.of(a), Moments.of(a)) == pytest.approx(1)


def test_hubness_skew_against_scipy(pairs_small: Rows) -> None:
    a, b = pairs_small
    for queries, candidates in ((a, b), (b, a)):
        counts = np.zeros(len(candidates))
        for q in queries:
            counts[np.argsort(-(candidates @ q))[:10]] += 1
        assert hubness_skew(queries, candidates) == pytest.approx(skew(counts), rel=1e-10)
    assert report_of(a, b)["hubness_skew"]["b_to_a"] == hubness_skew(b, a)
    assert hubness_skew(a, b[:19]) is None


def test_float32_products_give_the_hubness_of_float64_and_nearly_its_uniformity() -> None:
    rng = np.random.default_rng(4)
    a, b = (unit_rows(rng.normal(size=(1500, 24))) for _ in range(2))
    b[::3] = b[1::3] * (1 + 1e-9)  # what float32 cannot tell apart, at the tenth place too
    found = from_sample(a, b)
    assert found["hubness_skew"] == {"a_to_b": hubness_skew(a, b), "b_to_a": hubness_skew(b, a)}
    for key, one, other in (("a", a, a), ("b", b, b), ("cross", a, b)):
        exact = uniformity(one, other, same=key != "cross")
        assert found["uniformity"][key] == pytest.approx(exact, abs=2e-6)
    far = from_sample(100 * a, 100 * b)["uniformity"]["b"]  # long rows stay in float64
    assert far == uniformity(100 * b, 100 * b, same=True)


# --- finite samples and intervals -------------------------------------------------------------


def test_the_corrected_norm_is_right_on_average() -> None:
    """E‖gap‖² over draws is the true square plus noise; the correction takes the noise off."""
    rng = np.random.default_rng(0)
    dim, n, m, true = 20, 12, 9, 1.0
    shift = np.zeros(dim)
    shift[0] = true
    raw, fixed, paired = [], [], []
    for draw in range(3000):
        shared = rng.normal(size=(n, dim))
        a = shared + 0.5 * rng.normal(size=(n, dim)) + shift
        free = rng.normal(size=(m, dim)) * 1.5
        if draw < 25:
            got = from_moments(Moments.of(a), Moments.of(free), None, normalised=False)
        gap = free.mean(0) - a.mean(0)
        noise = a.var(axis=0, ddof=1).sum() / n + free.var(axis=0, ddof=1).sum() / m
        raw.append(float(gap @ gap))
        fixed.append(float(gap @ gap) - noise)
        if draw < 25:
            assert got["norm_unbiased"] == pytest.approx(np.sqrt(max(fixed[-1], 0)), abs=1e-9)
        b = shared + 0.5 * rng.normal(size=(n, dim))
        difference = a - b
        expected = (difference.mean(0) ** 2).sum() - difference.var(axis=0, ddof=1).sum() / n
        if draw < 25:
            pair = PairMoments.of(a, b)
            both = from_moments(pair.a, pair.b, pair, normalised=False)
            root = np.sqrt(max(expected, 0))
            assert both["norm_unbiased_paired"] == pytest.approx(root, abs=1e-9)
        paired.append(expected)
    assert np.mean(raw) > 1.5 * true**2
    assert np.mean(fixed) == pytest.approx(true**2, abs=0.15)
    assert np.mean(paired) == pytest.approx(true**2, abs=0.03)


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_of_the_norm_covers_the_truth(paired: bool) -> None:
    rng = np.random.default_rng(3)
    dim, n = 4, 150
    shift = np.array([1.0, 0.5, 0, 0])
    inside, widths = 0, []
    for _ in range(400):
        shared = rng.normal(size=(n, dim))
        a = shared + 0.5 * rng.normal(size=(n, dim)) + shift
        b = (shared if paired else rng.normal(size=(n, dim))) + 0.5 * rng.normal(size=(n, dim))
        pair = PairMoments.of(a, b) if paired else None
        low, high = norm_interval(Moments.of(a), Moments.of(b), pair)
        inside += low <= np.linalg.norm(shift) <= high
        widths.append(high - low)
    assert 0.92 <= inside / 400 <= 0.98
    deviation = np.sqrt((0.5 if paired else 2.5) / n)  # of the gap's coordinate along itself
    assert np.mean(widths) == pytest.approx(2 * 1.96 * deviation, rel=0.05)


@pytest.mark.slow
def test_jackknife_intervals_cover_the_truth() -> None:
    def draw(n: int, seed: int) -> Rows:
        rng = np.random.default_rng([seed, 8])
        shared = rng.normal(size=(n, 6)) + 0.7
        return (
            unit_rows(shared + rng.normal(size=(n, 6)) + np.eye(6)[0]),
            unit_rows(shared + rng.normal(size=(n, 6)) - np.eye(6)[1]),
        )

    a, b = draw(50_000, 99)
    truth = from_moments(Moments.of(a), Moments.of(b), PairMoments.of(a, b))
    flat = {
        **truth,
        "intra_cosine_a": truth["intra_cosine"]["a"],
        "intra_cosine_b": truth["intra_cosine"]["b"],
    }
    hits: dict[str, int] = {}
    for seed in range(80):
        report = report_of(*draw(200, seed))
        for name, (low, high) in report["intervals"].items():
            assert low <= high
            hits[name] = hits.get(name, 0) + (low <= flat[name] <= high)
    assert set(hits) >= {"norm", "rmg", "matched_cosine", "centroid_cosine", "intra_cosine_a"}
    for name, count in hits.items():
        if name != "energy_top10":
            assert count / 80 >= 0.88, name


def test_jackknife_points_are_the_report_s_own(pairs_small: Rows) -> None:
    got = report_of(*pairs_small)
    for name, (low, high) in got["intervals"].items():
        key, _, side = name.rpartition("_") if name.startswith("intra") else (name, "", "")
        value = got[key][side] if side else got[name]
        assert (low + high) / 2 == pytest.approx(value, rel=1e-9), name


# --- what cannot be said ----------------------------------------------------------------------


def test_unpaired_rows_have_no_pair_metrics_and_say_why(pairs_small: Rows) -> None:
    a, b = pairs_small
    got = report_of(a, b[:50], paired=False)
    for key in ("matched_cosine", "rmg", "alignment", "norm_unbiased_paired"):
        assert got[key] is None
        assert "needs pairs" in got.why_null[key]
    assert got["cross_cosine"] is not None
    assert "rmg" not in got["intervals"]


def test_rows_that_are_not_unit_have_no_cosine_metrics(pairs_small: Rows) -> None:
    a, b = pairs_small
    got = report_of(a * 3, b, unit=False)
    for key in ("matched_cosine", "rmg", "alignment", "cross_cosine"):
        assert got[key] is None
        assert "rows were not normalised" in got.why_null[key]
    assert got["intra_cosine"] == {"a": None, "b": None}
    assert "rows were not normalised" in got.why_null["intra_cosine"]


def test_few_rows_few_candidates_and_equal_rows_are_explained(pairs_wide: Rows) -> None:
    a, b = pairs_wide
    got = report_of(a, b)
    assert got["separability"]["lda"] is None
    assert "40 rows do not fill 96 dimensions" in got.why_null["separability.lda"]
    few = report_of(a[:7], b[:7])
    assert few["hubness_skew"] == {"a_to_b": None, "b_to_a": None}
    assert "at least 20 candidates" in few.why_null["hubness_skew.a_to_b"]
    assert "at least 8 rows" in few.why_null["separability.held_out"]
    equal = np.tile(a[:1], (9, 1))
    alike = report_of(equal, b[:9])
    assert alike["variance_share_along_gap"]["a"] is None
    assert "all rows of this side are the same" in alike.why_null["variance_share_along_gap.a"]
    nothing = report_of(equal, equal)
    assert nothing["norm"] == 0
    assert nothing["energy_top10"] is None
    assert nothing["frechet_centroid_share"] is None


def test_every_null_has_a_reason(pairs_wide: Rows) -> None:
    a, b = pairs_wide
    equal = np.tile(a[:1], (9, 1))
    for report in (
        report_of(a, b[:30], paired=False),
        report_of(a * 2, b, unit=False),
        report_of(a[:5], b[:5]),
        report_of(equal, equal),
        report_of(equal, b[:9]),
    ):
        for key, value in report.values.items():
            inner = value if isinstance(value, dict) else {"": value}
            for side, number in inner.items():
                if number is None:
                    assert key in report.why_null or f"{key}.{side}" in report.why_null, (key, side)


def test_the_subspaces_compared_are_said(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    assert from_moments(Moments.of(a), Moments.of(b), None)["subspace_k"] == 4


@pytest.mark.parametrize(
    ("norm", "word"),
    [(0.7, "severe"), (0.63, "severe"), (0.4, "moderate"), (0.19, "moderate"), (0.1, "low")],
)
def test_severity_words(norm: float, word: str) -> None:
    assert GapReport({"norm": norm}).severity == word
    assert GapReport({"norm": norm}).to_dict() == {"norm": norm, "severity": word, "why_null": {}}


# --- the facade -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paired", "kept"),
    [
        (True, 60),
        (False, 40),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((True, 40), (False, 60))),
    ],
)
@pytest.mark.usefixtures("no_verdict")
def test_measure_is_the_gap_of_an_audit(
    paired: bool, kept: int, pairs_small: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap_report, "MAX_ROWS", kept)
    monkeypatch.setattr(gap_report, "SAMPLE_ROWS", 30)
    a, b = pairs_small[0][:60], 2 * pairs_small[1][:60]
    np.save(tmp_path / "b.npy", b)
    got = measure(a, tmp_path / "b.npy", paired=paired, seed=3)
    report = audit(a, b, paired=paired, seed=3, trials=2, max_candidates=kept).report
    assert got.to_dict() == report["gap"]
    assert got["sample"]["a"] == 30
    assert got["sample"]["of_a"] == 60
    codes = {w["code"] for w in report["warnings"]} - {"fit-equals-score", "candidates-sampled"}
    assert "not-unit-norm" in codes
    assert {w.code for w in got.warnings} == codes


def test_the_record_tells_values_and_intervals(pairs_small: Rows, tmp_path: Path) -> None:
    got = report_of(*pairs_small)
    assert got.interval("norm") == tuple(got["norm_ci"])
    assert got.interval("intra_cosine.a") == tuple(got["intervals"]["intra_cosine_a"])
    with refused("no-interval", "'bures'", "rmg"):
        got.interval("bures")
    lines = {(r["measure"], r["part"]): r for r in got.rows()}
    assert lines["norm", ""]["low"] == got["norm_ci"][0]
    assert lines["intra_cosine", "b"]["value"] == got["intra_cosine"]["b"]
    few = {(r["measure"], r["part"]): r for r in report_of(*(x[:7] for x in pairs_small)).rows()}
    assert "at least 8 rows" in few["separability", "held_out"]["why_null"]
    assert got.to_arrow().num_rows == len(lines)
    assert "gap 0." in got._repr_html_() or "gap 1." in got._repr_html_()
    assert len(got._repr_html_()) < 30_000
    assert json.loads(got.save(tmp_path / "gap.json").read_text())["norm"] == got["norm"]
