"""The grid at once, against integrals taken one by one, draws, and the exact predictions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import CubicSpline
from scipy.special import gammainc, ndtr
from scipy.stats import norm

from isthmus.search.scores import Ranking
from isthmus.theory.curves import consistency, consistency_curve, consistency_curves, leads, sweep
from isthmus.theory.prediction import keep_probabilities
from isthmus.theory.rows import closed_ranking
from refusals import refused
from worlds import fitted, two_modalities, unit_rows

LEVELS = (0.005, 0.022, 0.04, 0.3)


def quad_dot(margins: np.ndarray, spread: float) -> float:
    """D11 with SciPy's adaptive rule; margins of the rivals, without the winner."""
    lead = margins / spread

    def inside(t: float) -> float:
        return float(norm.pdf(t) * ndtr(t + lead).prod())

    return quad(inside, -9, 9, epsabs=1e-10, epsrel=1e-10, limit=400)[0]


def roots_euclidean(squares: np.ndarray, dim: int, variance: float) -> float:
    """D12 by brute force: χ'² is (√λ + z)² + χ²_{d-1}, integrated over z on a fine grid."""
    lam = squares / variance
    z = np.linspace(-8.5, 8.5, 201)
    weight = norm.pdf(z) / norm.pdf(z).sum()
    first = int(lam.argmin())
    middle = np.sqrt(dim + lam[first])
    root = np.linspace(max(middle - 7, 0), middle + 7, 301)
    below = np.empty((len(lam), len(root)))
    for j, one in enumerate(lam):
        rest = np.maximum(root[:, None] ** 2 - (np.sqrt(one) + z) ** 2, 0.0)
        below[j] = gammainc((dim - 1) / 2, rest / 2) @ weight
    others = np.delete(1 - below, first, axis=0).prod(axis=0)
    density = CubicSpline(root, below[first])(root, 1)
    return float(np.trapezoid(density * others, root))


def margins_of(q: np.ndarray, c: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    scores = q @ c.T + (0 if bias is None else bias)
    return np.sort(scores.max(axis=1, keepdims=True) - scores, axis=1)[:, 1:]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "count", "dim"), [(12, 2, 3), (12, 60, 16), (8, 700, 40)])
def test_dot_is_the_integral_of_each_query(dtype: str, n: int, count: int, dim: int) -> None:
    q, c = two_modalities(max(n, count), dim, seed=1)
    q, c = q[:n] * np.linspace(0.5, 2, n)[:, None], c[:count]
    bias = np.random.default_rng(3).normal(size=count) * 0.1
    levels = (0.3, 1e-4, 0.0, 0.04, 3.0)  # in no order, and too far apart to share their cells
    for stored in (None, bias):
        ranking = Ranking.of(q.astype(dtype), c.astype(dtype), "dot", stored)
        curve = consistency_curve(ranking, levels)
        margins = margins_of(q, c, stored)
        assert (curve.kept[2] == 1).all()
        assert (curve.error < (1e-4 if dtype == "float64" else 3e-3)).all()
        for level, kept, error in zip(levels, curve.kept, curve.error, strict=True):
            if level == 0:
                continue
            spreads = np.sqrt(level / dim) * np.linalg.norm(q, axis=1)
            exact = [quad_dot(m, s) for m, s in zip(margins, spreads, strict=True)]
            assert np.abs(kept - exact).max() < 3e-5 + error
            assert abs(kept.mean() - np.mean(exact)) <= error
        np.testing.assert_allclose(curve.value, curve.kept.mean(axis=1))


@pytest.mark.parametrize("dim", [64, 512])
@pytest.mark.parametrize("share", [0.0, 0.3, 2.0, 30.0])
def test_euclidean_is_the_integral_of_each_query(dim: int, share: float) -> None:
    """``share`` is the winner's squared distance over E‖ε‖²: from a query that is its answer."""
    rng = np.random.default_rng(int(10 * share) + dim)
    total, count = 0.2, 25
    variance = total / dim
    squares = share * total + np.sort(rng.exponential(3.0, (3, count)), axis=1) * (
        1.5 * variance * np.sqrt(dim * (1 + share))
    )
    squares[:, 0] = share * total
    kept, error = [], []
    for line in squares:  # candidates at those distances from a query at the origin
        away = rng.normal(size=(count, dim))
        away *= np.sqrt(line / (away**2).sum(axis=1))[:, None]
        ranking = Ranking.of(np.zeros((1, dim)), away, "euclidean")
        curve = consistency_curve(ranking, [total, total / 30])
        kept.append(curve.kept[0, 0])
        error.append(curve.error[0])
        smaller = keep_probabilities(ranking, total / 30).value  # too steep for the grid in z
        assert abs(curve.value[1] - smaller[0]) < curve.error[1]
    exact = [roots_euclidean(line, dim, variance) for line in squares]
    assert 0.05 < np.mean(exact) < 0.99
    assert (np.abs(np.array(kept) - exact) < np.array(error) + 2e-5).all()
    assert max(error) < 1.5e-3 * 64 / dim


@pytest.mark.parametrize("score", ["dot", "euclidean"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_curve_is_within_its_error_of_the_exact_predictions(score: str, dtype: str) -> None:
    q, c = two_modalities(400, 128, seed=4)
    ranking = Ranking.of(q.astype(dtype), c.astype(dtype), score)
    curve = consistency_curve(ranking, LEVELS)
    assert (curve.error < 2e-4).all()
    for level, kept, error in zip(LEVELS, curve.kept, curve.error, strict=True):
        exact = keep_probabilities(ranking, level).value
        assert abs(kept.mean() - exact.mean()) < error
        assert np.abs(kept - exact).max() < 10 * error
    assert (np.diff(curve.value) < 0).all()


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_draws_of_the_noise_agree(score: str) -> None:
    rng = np.random.default_rng(8)
    q, c = two_modalities(60, 64, seed=8)
    stored = rng.normal(size=60) * 0.05 if score == "dot" else None
    ranking = Ranking.of(q, c, score, stored)
    curve = consistency_curve(ranking, (0.02, 0.2))
    clean = (q @ c.T + (0 if stored is None else stored)).argmax(axis=1)
    for level, kept in zip((0.02, 0.2), curve.kept, strict=True):
        same = np.zeros(60)
        for _ in range(1500):
            noisy = c + rng.normal(size=c.shape) * np.sqrt(level / 64)
            offset = -0.5 * (noisy**2).sum(axis=1) if score == "euclidean" else stored
            same += (q @ noisy.T + offset).argmax(axis=1) == clean
        standard = np.sqrt(np.maximum(kept * (1 - kept), 1e-4) / 1500)
        assert (np.abs(same / 1500 - kept) < 4.5 * standard).all()


def test_noise_of_any_covariance_goes_by_the_spread_of_each_query() -> None:
    rng = np.random.default_rng(9)
    q, c = two_modalities(40, 20, seed=9)
    mix = rng.normal(size=(20, 3)) / np.sqrt(60)  # noise in three directions, trace about 1
    spreads = np.linalg.norm(q @ mix, axis=1)
    curve = consistency_curve(Ranking.of(q, c, "dot"), [0.05], spreads=spreads)
    clean, same = (q @ c.T).argmax(axis=1), np.zeros(40)
    for _ in range(1500):
        noisy = c + np.sqrt(0.05) * rng.normal(size=(40, 3)) @ mix.T
        same += (q @ noisy.T).argmax(axis=1) == clean
    standard = np.sqrt(np.maximum(curve.kept[0] * (1 - curve.kept[0]), 1e-4) / 1500)
    assert (np.abs(same / 1500 - curve.kept[0]) < 4.5 * standard).all()
    plain = consistency_curve(Ranking.of(q, c, "dot"), [0.05])
    spreads = np.linalg.norm(q, axis=1) / np.sqrt(20)
    given = consistency_curve(Ranking.of(q, c, "dot"), [0.05], spreads=spreads)
    np.testing.assert_allclose(given.kept, plain.kept, atol=1e-7)


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_finer_cells_and_nodes_change_less_than_is_said(
    score: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, c = two_modalities(300, 64, seed=2)
    ranking = Ranking.of(q, c, score)
    coarse = consistency_curve(ranking, LEVELS).kept
    monkeypatch.setattr(leads, "BIN", leads.BIN / 2)
    monkeypatch.setattr(sweep, "STEP", sweep.STEP / 2)
    monkeypatch.setattr(sweep, "LAST", 7.0)
    fine = consistency_curve(ranking, LEVELS).kept
    assert np.abs(coarse - fine).mean(axis=1).max() < sweep.BINS_AND_NODES


def test_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    q, c = two_modalities(150, 64, seed=6)
    for score in ("dot", "euclidean"):
        ranking = Ranking.of(q, c, score)
        whole = consistency_curve(ranking, LEVELS).kept
        with monkeypatch.context() as patch:
            patch.setattr(consistency, "BLOCK_ROWS", 7)
            patch.setattr(consistency, "THREADS", 1)
            np.testing.assert_allclose(consistency_curve(ranking, LEVELS).kept, whole, atol=2e-5)


def test_twins_and_silent_queries() -> None:
    """An answer with an exact twin survives half the time; a query of length 0 meets no noise."""
    c = np.zeros((3, 64))
    c[0, 0] = c[1, 0] = 1.0
    c[2, 1] = -9.0
    q = np.array([[1.0] + [0.0] * 63, [0.0] * 64])
    curve = consistency_curve(Ranking.of(q, c, "dot"), [0.01, 0.3])
    np.testing.assert_allclose(curve.kept, [[0.5, 1.0], [0.5, 1.0]], atol=2e-5)
    away = consistency_curve(Ranking.of(q[:1], c, "euclidean"), [0.01])
    np.testing.assert_allclose(away.kept, 0.5, atol=1e-3)


def test_where_it_does_not_hold_the_levels_are_taken_one_by_one() -> None:
    q, c = two_modalities(30, 16, seed=5)
    few = Ranking.of(q, c, "euclidean")
    q, c = two_modalities(30, 64, seed=5)
    stored = Ranking.of(q, c, "euclidean", np.linspace(-0.1, 0.1, 30))
    for ranking in (few, stored):
        curve = consistency_curve(ranking, LEVELS[:2])
        assert curve.method == "level by level"
        assert np.isnan(curve.error).all()
        for level, kept in zip(LEVELS, curve.kept, strict=False):
            expected = keep_probabilities(ranking, level).value
            np.testing.assert_allclose(kept, expected, atol=1e-9)


def test_there_is_none_for_cosine_or_a_single_candidate() -> None:
    q, c = two_modalities(10, 16)
    assert consistency_curve(Ranking.of(q, c, "cosine"), [0.1]) is None
    assert consistency_curve(Ranking.of(q, c[:1], "dot"), [0.1]) is None


def test_what_makes_no_sense_is_refused() -> None:
    q, c = two_modalities(10, 16)
    dot = Ranking.of(q, c, "dot")
    for totals in ([], [-0.1], [np.nan], [np.inf]):
        with refused("bad-level", "not a list of variances"):
            consistency_curve(dot, totals)
    with refused("no-formula", "spreads were given under euclidean"):
        consistency_curve(Ranking.of(q, c, "euclidean"), [0.1], spreads=np.ones(10))
    with refused("bad-shape", "spreads have shape (3,)"):
        consistency_curve(dot, [0.1], spreads=np.ones(3))


def test_other_array_libraries_get_the_same() -> None:
    strict = pytest.importorskip("array_api_strict")
    q, c = two_modalities(20, 64, seed=7)
    for score in ("dot", "euclidean"):
        here = consistency_curve(Ranking.of(q, c, score), LEVELS)
        there = Ranking.of(strict.asarray(q), strict.asarray(c), score)
        np.testing.assert_allclose(consistency_curve(there, LEVELS).kept, here.kept)


@pytest.mark.real_data
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_coco_is_within_two_in_ten_thousand(score: str, coco: np.ndarray) -> None:
    ranking = Ranking.of(*(unit_rows(side).astype(np.float32) for side in coco), score)
    curve = consistency_curve(ranking, LEVELS)
    for level, kept, error in zip(LEVELS, curve.kept, curve.error, strict=True):
        exact = keep_probabilities(ranking, level).value
        assert abs(kept.mean() - exact.mean()) < min(error, 2e-4)


# --- many closers at once ---------------------------------------------------------------------


@pytest.mark.parametrize("normalised", [True, False])
def test_many_closers_at_once_equal_each_by_itself(normalised: bool) -> None:
    q, c = two_modalities(150, 80, seed=3)
    if not normalised:
        q, c = q * 1.3, c * np.linspace(0.8, 1.2, 150)[:, None]
    closers = [
        fitted(name, q, c, normalised=normalised, **options)
        for name, options in (
            ("none", {"score": "dot"}),
            ("none", {"score": "euclidean"}),
            ("center-queries", {}),
            ("center-queries", {"strength": 0.5}),
            ("center-both", {}),
            ("orthogonal-shift", {"score": "euclidean"}),
            ("biased-shift", {"score": "euclidean"}),
            ("biased-shift", {"score": "dot", "side": "candidate"}),
            ("ridge-shift", {}),
            ("mean-shift", {"score": "euclidean", "side": "candidate", "renormalise": False}),
            ("mean-shift", {"score": "cosine"}),
            ("span", {}),
            ("low-rank-memo", {}),
        )
    ]
    if not normalised:
        closers = [k for k in closers if k.score != "cosine"]
    totals = [0.0, 0.02, 0.3]
    found = consistency_curves(q, c, closers, totals)
    assert len(found) == len(closers)
    for closer, curve in zip(closers, found, strict=True):
        alone = consistency_curve(closed_ranking(closer, q, c), totals)
        if closer.score == "cosine":
            assert curve is None
            continue
        assert curve is not None
        assert alone is not None
        np.testing.assert_allclose(curve.kept, alone.kept, atol=3e-5, err_msg=closer.name)
        np.testing.assert_allclose(curve.error, alone.error, rtol=0.2, equal_nan=True)


def test_half_precision_rows_go_through_many_closers() -> None:
    q, c = two_modalities(90, 64, seed=4)
    closers = [fitted("center-queries", q, c, strength=s) for s in (0.0, 1.0)]
    exact = consistency_curves(q, c, closers, [0.05])
    half = consistency_curves(q.astype(np.float16), c.astype(np.float16), closers, [0.05])
    for one, other in zip(exact, half, strict=True):
        assert one is not None
        assert other is not None
        assert one.value[0] == pytest.approx(other.value[0], abs=2e-3)
