"""The grid at once, against integrals taken one by one, draws, and the exact predictions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import CubicSpline
from scipy.special import gammainc, gammaln, ndtr
from scipy.stats import norm

from isthmus.core import threads
from isthmus.search.scores import Ranking
from isthmus.search.shared import Moved, Product
from isthmus.theory.curves import consistency, consistency_curve, consistency_curves, leads, sweep
from isthmus.theory.curves.consistency import swept
from isthmus.theory.curves.sweep import Sweep
from isthmus.theory.prediction import keep_probabilities
from isthmus.theory.rows import closed_ranking
from refusals import refused
from worlds import fitted, two_modalities, unit_rows

SLOW = pytest.mark.slow
LEVELS = (0.005, 0.022, 0.04, 0.3)


def quad_dot(margins: np.ndarray, spread: float) -> float:
    """D11 with SciPy's adaptive rule; margins of the rivals, without the winner."""
    lead = margins / spread

    def inside(t: float) -> float:
        return float(np.exp(-0.5 * t * t) / np.sqrt(2 * np.pi) * ndtr(t + lead).prod())

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
@pytest.mark.parametrize(
    ("n", "count", "dim"), [(6, 2, 3), (6, 60, 16), pytest.param(8, 700, 40, marks=SLOW)]
)
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


@pytest.mark.parametrize("dim", [64, pytest.param(512, marks=SLOW)])
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
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=SLOW)])
def test_the_curve_is_within_its_error_of_the_exact_predictions(score: str, dtype: str) -> None:
    q, c = two_modalities(400, 128, seed=4)
    ranking = Ranking.of(q[:150].astype(dtype), c.astype(dtype), score)
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
            patch.setattr(threads, "MOST", 1)
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
    curve = consistency_curve(few, LEVELS[:2])
    assert curve.method == "level by level"
    for level, kept in zip(LEVELS, curve.kept, strict=False):
        np.testing.assert_allclose(kept, keep_probabilities(few, level).value, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.005, 0.04, 0.3])
@pytest.mark.parametrize(("score", "spread"), [("dot", 0.1), ("euclidean", 0.02), ("euclidean", 0)])
def test_the_law_is_that_of_predict_with_candidate_biases(
    score: str, spread: float, level: float
) -> None:
    q, c = two_modalities(300, 256, seed=11)
    bias = spread * np.random.default_rng(1).normal(size=300) if spread else None
    ranking = Ranking.of(q.astype(np.float32), c.astype(np.float32), score, bias)
    curve = consistency_curve(ranking, [level])
    exact = keep_probabilities(ranking, level)
    assert abs(curve.value[0] - exact.value.mean()) < 1e-5
    assert np.abs(curve.kept[0] - exact.value).max() < 2e-4
    assert abs(curve.value[0] - exact.value.mean()) < curve.error[0]


# --- cosine -----------------------------------------------------------------------------------


def cosine_kept(q: np.ndarray, c: np.ndarray, total: float) -> np.ndarray:
    """P[keep] of every query with nothing expanded: tan of the angle is R / A with A normal and R²
    non-central χ², so the chance that a rival's A / R is below k is an integral over R."""
    dim = c.shape[1]
    sigma = np.sqrt(total / dim)
    along = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ c.T / sigma
    rest = np.maximum((c**2).sum(axis=1) / sigma**2 - along**2, 0.0)
    z, weight = np.polynomial.hermite_e.hermegauss(40)
    weight = weight / weight.sum()
    out = np.empty(len(q))
    for i, (a, square) in enumerate(zip(along, rest, strict=True)):
        # √χ'² of d - 1: its distance from the origin along the mean, and the others' chi
        others = np.sqrt(2) * np.exp(gammaln((dim - 1) / 2) - gammaln((dim - 2) / 2))
        width = np.sqrt(dim - 2 - others**2)
        radius = np.sqrt(
            (np.sqrt(square)[:, None, None] + z[:, None]) ** 2 + (others + width * z[None, :]) ** 2
        )
        weights = weight[:, None] * weight[None, :]
        first = int((a / np.sqrt(a**2 + rest[i])).argmax())
        middle = a[first] / np.sqrt(rest[i][first] + dim - 1)
        k = np.linspace(
            middle - 8 / np.sqrt(dim + rest[i][first]) * 1.5,
            middle + 12 / np.sqrt(dim + rest[i][first]),
            200,
        )
        below = np.stack(
            [(ndtr(x * radius - a[:, None, None]) * weights).sum(axis=(1, 2)) for x in k]
        )
        density = CubicSpline(k, below[:, first])(k, 1)
        out[i] = np.trapezoid(density * np.delete(below, first, axis=1).prod(axis=1), k)
    return out


@pytest.mark.parametrize("level", [0.3, *(pytest.param(x, marks=SLOW) for x in (0.02, 1.0))])
def test_cosine_is_the_integral_of_each_query(level: float) -> None:
    q, c = two_modalities(60, 96, seed=12)
    q = q[:8] * np.linspace(0.5, 2, 8)[:, None]
    curve = consistency_curve(Ranking.of(q, c, "cosine"), [level])
    exact = cosine_kept(q, c, level)
    assert np.abs(curve.kept[0] - exact).max() < 3e-5 + 2 * curve.error[0]
    assert abs(curve.value[0] - exact.mean()) < 1e-5 + curve.error[0]
    alone = keep_probabilities(Ranking.of(q, c, "cosine"), level)
    assert (np.abs(alone.value - exact) < 2e-5 + alone.error_bound).all()
    assert abs(curve.value[0] - alone.value.mean()) < (1e-5 if level < 0.1 else curve.error[0])


@pytest.mark.parametrize("score", ["dot", "euclidean", "cosine"])
def test_chances_of_any_candidate_agree_with_400_draws(score: str) -> None:
    """The answer's, and those of another candidate to be the answer: within 3 standard errors."""
    q, c = two_modalities(120, 64, seed=13)
    c = c / np.linalg.norm(c, axis=1, keepdims=True)
    plain = Ranking.of(q, c, score)
    second = np.argsort(-next(plain.score_blocks())[1], axis=1)[:, :3]
    aims = [second[:, 0], second[:, 1], second[:, 2], np.full(120, -1)]
    levels = [0.04, 0.3]
    curve = swept([Sweep(plain.single(), np.array(levels))], plain.single(), aims)[0]
    np.testing.assert_allclose(curve.aimed[0], curve.kept)
    assert not curve.aimed[3].any()
    rng = np.random.default_rng(5)
    for i, level in enumerate(levels):
        shares = np.empty((400, 3))
        for row in shares:
            noisy = c + rng.normal(size=c.shape) * np.sqrt(level / 64)
            scores = next(Ranking.of(q, noisy, score).score_blocks())[1]
            row[:] = (scores.argmax(axis=1)[:, None] == second).mean(axis=0)
        error = shares.std(axis=0, ddof=1) / np.sqrt(400)
        assert (np.abs(shares.mean(axis=0) - curve.aimed[:3, i].mean(axis=1)) < 3 * error).all()


def test_biases_that_bend_the_law_are_in_its_error() -> None:
    q, c = two_modalities(300, 256, seed=11)
    bias = 0.1 * np.random.default_rng(1).normal(size=300)
    ranking = Ranking.of(q, c, "euclidean", bias)
    curve = consistency_curve(ranking, [0.04])
    exact = keep_probabilities(ranking, 0.04).value
    off = np.abs(curve.kept[0] - exact)
    assert 1e-4 < off.max() < 10 * curve.error[0]
    assert abs((curve.kept[0] - exact).mean()) < curve.error[0]


def test_rounding_is_that_of_float32_where_scores_are_of_other_rows() -> None:
    """Queries moved far along what no candidate has: the products stay small, the terms do not."""
    q, c = two_modalities(30, 70, seed=3)
    c[:, 0] = 0.0
    far = np.eye(70)[0] * 1000
    product = Product.of(q, c)
    ranking = Ranking.of(q + far, c, "dot")
    moved = Moved.of(product, ranking, (far, None))
    assert np.abs(moved.column).max() == 0
    size = np.linalg.norm(q + far, axis=1) * np.linalg.norm(c, axis=1).max()
    one = Sweep(ranking, np.array([0.1]), moved=moved)
    np.testing.assert_allclose(one.rounding, size * np.finfo(np.float32).eps, rtol=1e-6)


def test_there_is_none_for_a_single_candidate_nor_for_cosine_of_few_dimensions() -> None:
    q, c = two_modalities(10, 16)
    assert consistency_curve(Ranking.of(q, c[:1], "dot"), [0.1]) is None
    assert consistency_curve(Ranking.of(q, c, "cosine"), [0.1]) is None
    q, c = two_modalities(10, 64)
    uneven = Ranking.of(q, c * np.linspace(1, 2, 10)[:, None], "cosine")
    curve = consistency_curve(uneven, [0.1])
    assert curve.method == "level by level"
    np.testing.assert_allclose(curve.kept[0], keep_probabilities(uneven, 0.1).value)


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


@pytest.mark.slow
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
        alone = consistency_curve(closed_ranking(closer, q, c).single(), totals)
        assert curve is not None
        assert alone is not None
        np.testing.assert_allclose(curve.kept, alone.kept, atol=3e-5, err_msg=closer.name)
        np.testing.assert_allclose(curve.error, alone.error, rtol=0.3, equal_nan=True)


def test_half_precision_rows_go_through_many_closers() -> None:
    q, c = two_modalities(90, 64, seed=4)
    closers = [fitted("center-queries", q, c, strength=s) for s in (0.0, 1.0)]
    exact = consistency_curves(q, c, closers, [0.05])
    half = consistency_curves(q.astype(np.float16), c.astype(np.float16), closers, [0.05])
    for one, other in zip(exact, half, strict=True):
        assert one is not None
        assert other is not None
        assert one.value[0] == pytest.approx(other.value[0], abs=2e-3)
