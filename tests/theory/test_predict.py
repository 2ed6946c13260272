"""Flip probabilities against simulation, against quadrature with SciPy's distributions, and against
a finer computation of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.prediction import normal_approximation
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from scipy.integrate import quad
from scipy.special import betainc, ndtr
from scipy.stats import chi2, multivariate_normal, ncx2, norm, poisson

from isthmus.search.scores import Ranking, top1
from isthmus.theory.both import normal_two
from isthmus.theory.integrals import Kept, RivalPairs, Rule, integrate, legendres, trapezoids
from isthmus.theory.prediction import keep_probabilities, predict
from isthmus.theory.tables import EDGE, SURE, evaluate, horner, table_of
from isthmus.theory.tails import mixture, noncentral_tails
from refusals import refused
from worlds import fitted, two_modalities, unit_rows

Z = 4.5
"""Standard errors that a simulation may be off by: 1 in 150,000 by chance."""


def simulate(
    q: np.ndarray,
    c: np.ndarray,
    score: str,
    total: float,
    draws: int,
    *,
    bias: np.ndarray | None = None,
    query_total: float = 0.0,
    dims: int | None = None,
) -> np.ndarray:
    """Share of noise draws that keep each query's answer, (n,)."""
    rng = np.random.default_rng(0)
    clean = top1(Ranking.of(q, c, score, bias))
    dims, kept = dims or c.shape[1], np.zeros(len(q))
    for _ in range(draws):
        noisy = c.copy()
        noisy[:, :dims] += rng.normal(size=(len(c), dims)) * np.sqrt(total / dims)
        asked = q + rng.normal(size=q.shape) * np.sqrt(query_total / q.shape[1])
        scores = asked @ noisy.T + (0.0 if bias is None else bias)
        if score == "euclidean":
            scores -= 0.5 * (noisy**2).sum(axis=1)
        if score == "cosine":
            scores /= np.linalg.norm(noisy, axis=1)
        kept += scores.argmax(axis=1) == clean
    return kept / draws


def agree(kept: Kept, measured: np.ndarray, draws: int) -> None:
    """Within sampling error, query by query."""
    p = np.clip(kept.value, 0, 1)
    spread = np.sqrt(p * (1 - p) / draws + kept.standard_error**2) + 0.5 / draws
    assert (np.abs(measured - p) <= Z * spread).all()


def kept_of(q, c, score: str, total: float = 0.0, bias=None, **options) -> Kept:
    found = keep_probabilities(Ranking.of(q, c, score, bias), total, **options)
    assert found is not None
    return found


# --- tails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 3, 10, 47, 100, 512])
@pytest.mark.parametrize("lam", [0.0, 0.3, 20.0, 300.0])
def test_tails_are_scipy_s_at_moderate_non_centrality(dim: int, lam: float) -> None:
    spread = np.sqrt(2 * dim + 4 * lam)
    x = np.maximum(dim + lam + spread * np.linspace(-4, 5, 19), 1e-3)
    below, above = noncentral_tails(x, dim, np.full(19, lam))
    reference = (chi2(dim) if lam == 0 else ncx2(dim, lam)).cdf(x)
    np.testing.assert_allclose(below, reference, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(above, 1 - reference, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(below + above, 1, atol=1e-11)


@pytest.mark.parametrize("dim", [2, 9, 512])
@pytest.mark.parametrize("lam", [1e3, 1e5, 1e7])
def test_tails_at_large_non_centrality_by_an_integral_over_the_rest(dim: int, lam: float) -> None:
    """P[(s + z)² + w < x] with w ~ χ²_{d-1}, by SciPy's general quadrature."""
    s = np.sqrt(lam)
    for shift in (-3.0, -0.5, 0.0, 2.0):
        x = (np.sqrt(lam + dim) + shift) ** 2

        def inner(w: float, x: float = x) -> float:
            return chi2.pdf(w, dim - 1) * ndtr(np.sqrt(x - w) - s)

        low, high = chi2.ppf([1e-15, 1 - 1e-15], dim - 1)
        reference = quad(inner, low, min(high, x), limit=400, epsabs=1e-12, epsrel=1e-12)[0]
        assert noncentral_tails(x, dim, np.float64(lam))[0] == pytest.approx(reference, rel=1e-6)


@pytest.mark.parametrize("dim", [1, 5, 64])
def test_the_poisson_mixture_is_scipy_s_distribution(dim: int) -> None:
    lam, root = np.array([1e-3, 1.0, 40.0]), np.linspace(0.2, 14, 12)
    for row, value in zip(lam, mixture(dim, lam, root), strict=True):
        np.testing.assert_allclose(value, ncx2.cdf(root**2, dim, row), atol=1e-10)
    for row, value in zip(lam, mixture(dim, lam, root, density=True), strict=True):
        np.testing.assert_allclose(value, 2 * root * ncx2.pdf(root**2, dim, row), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 2, 7, 24, 64, 127, 128, 300, 512, 1024])
def test_a_table_is_as_good_as_it_says_off_its_nodes(dim: int) -> None:
    table, rng = table_of(dim), np.random.default_rng(dim)
    lam = np.concatenate([10 ** rng.uniform(-3, 9, 60), rng.uniform(0, 2 * EDGE, 60)])
    roots = table.roots(lam)
    v = rng.uniform(-1, 1, (120, 40))
    root = roots.centre[:, None] + roots.width[:, None] * v
    got = table.survival(roots, root)
    exact = noncentral_tails(np.maximum(root, 0) ** 2, dim, lam[:, None])[1]
    below = noncentral_tails(np.maximum(root, 0) ** 2, dim, lam[:, None])[0]
    rounding = 1e-12 + 4e-16 * np.sqrt(lam)[:, None]
    bound = table.far_error * (below + 1e-8) + table.near_error + rounding
    assert (np.abs(got - exact) <= bound).all()
    assert table.far_error < 1e-8
    if dim < SURE:
        close = np.flatnonzero(roots.near)
        same = table.near_survival(lam[close], v[0])
        at = roots.centre[close, None] + roots.width[close, None] * v[0]
        np.testing.assert_allclose(same, table.survival(table.roots(lam[close]), at), atol=1e-10)


def test_polynomials_are_numpy_s() -> None:
    rng = np.random.default_rng(0)
    series, v = rng.normal(size=(4, 7)), rng.uniform(-1, 1, (4, 5))
    for i in range(4):
        np.testing.assert_allclose(evaluate(series, v)[i], chebyshev.chebval(v[i], series[i]))
        np.testing.assert_allclose(horner(series, v)[i], np.polyval(series[i, ::-1], v[i]))


# --- D11 and D12: noise on candidates ----------------------------------------------------------


@pytest.mark.parametrize("score", ["dot", "euclidean"])
@pytest.mark.parametrize("total", [0.005, 0.3, 8.0])
@pytest.mark.parametrize(
    ("n", "dim"), [(30, 2), pytest.param(30, 16, marks=pytest.mark.slow), (60, 128)]
)
def test_the_predicted_share_is_the_simulated_one(
    score: str, total: float, n: int, dim: int
) -> None:
    a, b = two_modalities(n, dim, seed=n)
    agree(kept_of(a[:25], b, score, total), simulate(a[:25], b, score, total, 1500), 1500)


@pytest.mark.parametrize("dim", [1, 2, 5, 24, 80])
@pytest.mark.parametrize("total", [0.05, 1.0, 30.0])
def test_euclid_by_quadrature_over_scipy_s_distributions(dim: int, total: float) -> None:
    rng = np.random.default_rng(dim)
    q, c = rng.normal(size=(4, dim)), 0.7 * rng.normal(size=(6, dim))
    got = kept_of(q, c, "euclidean", total)
    variance = total / dim
    nodes, weights = np.polynomial.legendre.leggauss(200)
    for i in range(4):
        lam = np.sort(((q[i] - c) ** 2).sum(axis=1)) / variance

        low = max(0.0, np.sqrt(dim + lam[0]) - 9)
        root = low + 9 * (nodes + 1)
        density = 2 * root * ncx2.pdf(root**2, dim, lam[0])
        above = ncx2.sf(root[:, None] ** 2, dim, lam[None, 1:])
        exact = 9 * (weights * density) @ above.prod(axis=1)
        assert abs(got.value[i] - exact) <= got.error_bound[i] + 1e-8


def test_dot_by_quadrature() -> None:
    rng = np.random.default_rng(3)
    q, c = rng.normal(size=(5, 9)), rng.normal(size=(7, 9))
    got = kept_of(q, c, "dot", 0.5)
    for i in range(5):
        lead = np.sort(c @ q[i])[::-1] / np.sqrt(0.5 / 9) / np.linalg.norm(q[i])
        exact = quad(
            lambda t, m=lead[0] - lead[1:]: norm.pdf(t) * ndtr(m + t).prod(), -9, 9, epsabs=1e-12
        )[0]
        assert abs(got.value[i] - exact) <= got.error_bound[i] + 1e-10


def finer(q, c, total: float) -> np.ndarray:
    """D12 by 200 Legendre nodes over exact tails, nothing pruned, no table: (n,)."""
    dim = c.shape[1]
    nodes, weights = np.polynomial.legendre.leggauss(200)
    out = np.empty(len(q))
    for i in range(len(q)):
        lam = np.sort(((q[i] - c) ** 2).sum(axis=1)) * dim / total
        low = max(0.0, np.sqrt(lam[0] + dim) - 11)
        root = low + 11 * (nodes + 1)
        step = 1e-4  # density by a central difference of exact tails, to O(h⁴)
        ends = [np.maximum(root + k * step, 0) for k in (-2, -1, 1, 2)]
        tail = [noncentral_tails(e**2, dim, np.float64(lam[0]))[0] for e in ends]
        density = (tail[0] - 8 * tail[1] + 8 * tail[2] - tail[3]) / (12 * step)
        above = noncentral_tails(root[None, :] ** 2, dim, lam[1:, None])[1]
        out[i] = 11 * (weights * density) @ above.prod(axis=0)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 6, 40, 100, 200])
def test_error_bounds_are_honest(dim: int) -> None:
    rng = np.random.default_rng(dim)
    for total in (0.02, 0.5, 5.0):
        q, c = unit_rows(rng.normal(size=(3, dim))), unit_rows(rng.normal(size=(15, dim)))
        got = kept_of(q, c, "euclidean", total)
        assert (np.abs(got.value - finer(q, c, total)) <= got.error_bound + 2e-10).all()
        assert got.error_bound.max() < 2e-8


@given(rivals=st.integers(0, 300), spread=st.floats(0.05, 6), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_quadrature_s_own_bound_is_honest(rivals: int, spread: float, seed: int) -> None:
    """D11's integral with any leads, by the rules in use and by the finest trapezoid alone."""
    leads = np.abs(np.random.default_rng(seed).normal(size=rivals)) * spread
    pairs = RivalPairs(np.zeros(rivals, np.int64), np.arange(rivals))

    def winner(queries: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.broadcast_to(8.5 * norm.pdf(8.5 * v), (len(queries), len(v)))

    def survival(which: np.ndarray, v: np.ndarray) -> np.ndarray:
        return ndtr(leads[which, None] + 8.5 * v)

    v = np.linspace(-1, 1, 2001)
    fine = (Rule(v, np.full(2001, 1e-3), 0.0),)
    exact = integrate(np.zeros(1, np.int64), pairs, winner, survival, fine)[0][0]
    for rules in (trapezoids(), legendres()):
        value, error = integrate(np.zeros(1, np.int64), pairs, winner, survival, rules)
        assert abs(value[0] - exact) <= error[0] + 1e-12
        assert error[0] < 1e-8


@given(
    dim=st.sampled_from([1, 2, 3, 8, 30, 90, 200]),
    size=st.floats(1e-3, 1e3),
    total=st.floats(1e-4, 1e3),
    count=st.integers(2, 12),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_theorem_a_height_always_hurts(
    dim: int, size: float, total: float, count: int, seed: int
) -> None:
    """P[keep] falls in the query's distance h from the candidates' hull, for every K, d and σ."""
    rng = np.random.default_rng(seed)
    c = np.zeros((count, dim + 1))
    c[:, :dim] = rng.normal(size=(count, dim))
    q = np.zeros((4, dim + 1))
    q[:, :dim] = rng.normal(size=dim)
    q[:, dim] = np.array([0.0, 0.5, 1.0, 4.0]) * size
    got = kept_of(q, c, "euclidean", total)
    assert (np.diff(got.value) <= 2 * got.error_bound.max() + 1e-12).all()
    assert (got.value >= 1 / count - got.error_bound - 1e-12).all()


def test_far_away_any_candidate_is_as_good() -> None:
    c = np.zeros((5, 8))
    c[:, :4] = np.random.default_rng(0).normal(size=(5, 4))
    q = np.zeros((1, 8))
    q[0, 7] = 1e7
    got = kept_of(q, c, "euclidean", 1.0)
    assert got.value[0] == pytest.approx(0.2, abs=1e-4)


def test_large_non_centrality_has_the_normal_limit() -> None:
    """Tiny noise: costs are normal with slope 2‖u_j‖, and two candidates have a closed form."""
    rng = np.random.default_rng(6)
    c = rng.normal(size=(2, 30))
    for sigma in (1e-4, 1e-6):
        u = c[1] - c[0]
        q = c.mean(axis=0) + 5 * rng.normal(size=(6, 30)) * 1.0
        q -= ((q - c.mean(axis=0)) @ u)[:, None] * u / (u @ u)  # on the bisector
        q -= np.linspace(0, 3, 6)[:, None] * sigma * u / np.linalg.norm(u)
        far = ((q[:, None] - c[None]) ** 2).sum(axis=2)
        margin = 0.5 * np.abs(far[:, 1] - far[:, 0])
        got = kept_of(q, c, "euclidean", 30 * sigma**2)
        expected = ndtr(margin / sigma / np.sqrt(far.sum(axis=1)))
        np.testing.assert_allclose(got.value, expected, atol=1e-4 if sigma > 1e-5 else 2e-6)
    assert kept_of(q, c, "euclidean", 1e-290).value.shape == (6,)


def test_biases_under_euclid() -> None:
    a, b = two_modalities(20, 12, seed=1)
    bias = 0.05 * np.random.default_rng(0).normal(size=20)
    got = kept_of(a, b, "euclidean", 0.1, bias)
    agree(got, simulate(a, b, "euclidean", 0.1, 3000, bias=bias), 3000)
    plain = kept_of(a, b, "euclidean", 0.1)
    assert np.abs(got.value - plain.value).max() > 0.05
    same = kept_of(a, b, "euclidean", 0.1, np.full(20, 3.0))  # one number for all changes nothing
    np.testing.assert_allclose(same.value, plain.value, atol=3e-8)


def test_a_stored_bias_enters_the_dot_prediction() -> None:
    a, b = two_modalities(40, 64, seed=1)
    mean = a.mean(axis=0)
    q, bias = a - mean, b @ mean
    predicted = kept_of(q, b, "dot", 0.03, bias)
    agree(predicted, simulate(q, b, "dot", 0.03, 1500, bias=bias), 1500)
    assert predicted.value.mean() > kept_of(a, b, "dot", 0.03).value.mean()


@pytest.mark.parametrize("score", ["dot", "euclidean"])
@pytest.mark.parametrize("dims", [1, 3, 11])
def test_noise_on_leading_coordinates(score: str, dims: int) -> None:
    a, b = two_modalities(25, 12, seed=2)
    got = kept_of(a, b, score, 0.1, noisy_dims=dims)
    agree(got, simulate(a, b, score, 0.1, 2500, dims=dims), 2500)
    if score == "dot":  # coordinates that carry no noise only move the clean scores
        whole = kept_of(a[:, :dims], b[:, :dims], "dot", 0.1, a[0, dims:] @ b[:, dims:].T)
        assert whole.value[0] == pytest.approx(got.value[0], abs=1e-7)


def test_rotation_of_all_rows_changes_no_euclidean_prediction() -> None:
    a, b = two_modalities(30, 20, seed=4)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    moved = kept_of(a @ turn + 3, b @ turn + 3, "euclidean", 0.1)
    np.testing.assert_allclose(moved.value, kept_of(a, b, "euclidean", 0.1).value, atol=3e-8)


def test_float32_rows_are_read_as_they_are() -> None:
    a, b = two_modalities(30, 20, seed=4)
    low = a.astype(np.float32), b.astype(np.float32)
    for score in ("dot", "euclidean"):
        wide = kept_of(low[0].astype(np.float64), low[1].astype(np.float64), score, 0.05)
        np.testing.assert_allclose(kept_of(*low, score, 0.05).value, wide.value, atol=1e-7)


# --- D13 and D14: two candidates ----------------------------------------------------------------


def doubly_noncentral(dim: int, plus: float, minus: float) -> float:
    """P[χ'²_d(λ+) < χ'²_d(λ-)]: the Poisson mixture of incomplete beta functions."""
    plus, minus = 0.5 * plus, 0.5 * minus
    m, n = (
        np.arange(max(0, int(v - 9 * np.sqrt(v))), int(v + 9 * np.sqrt(v) + 30))
        for v in (plus, minus)
    )
    beta = betainc(dim / 2 + m[:, None], dim / 2 + n[None, :], 0.5)
    return float(poisson.pmf(m, plus) @ beta @ poisson.pmf(n, minus))


@pytest.mark.parametrize("dim", [1, 3, 8, 20])
@pytest.mark.parametrize(("total", "query_total"), [(0.4, 0.9), (2.0, 0.1)])
def test_two_candidates_both_noisy_are_a_doubly_non_central_f(
    dim: int, total: float, query_total: float
) -> None:
    rng = np.random.default_rng(dim)
    q, c = rng.normal(size=(8, dim)), rng.normal(size=(2, dim))
    got = kept_of(q, c, "euclidean", total, query_total=query_total)
    wide, slim = np.sqrt(2 * total / dim), np.sqrt(2 * total / dim + 4 * query_total / dim)
    for i in range(4):
        best = int(((q[i] - c) ** 2).sum(axis=1).argmin())
        w, z = (c[1 - best] - c[best]) / wide, (2 * q[i] - c[0] - c[1]) / slim
        lam = 0.5 * ((w + z) ** 2).sum(), 0.5 * ((w - z) ** 2).sum()
        assert abs(got.value[i] - doubly_noncentral(dim, *lam)) <= got.error_bound[i] + 1e-10


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_two_candidates_both_noisy_by_simulation_with_biases(score: str) -> None:
    rng = np.random.default_rng(5)
    q, c, bias = rng.normal(size=(15, 6)), rng.normal(size=(2, 6)), np.array([0.4, -0.2])
    got = kept_of(q, c, score, 0.8, bias, query_total=0.5)
    agree(got, simulate(q, c, score, 0.8, 6000, bias=bias, query_total=0.5), 6000)


def test_both_sides_noisy_tend_to_one_side_noisy() -> None:
    rng = np.random.default_rng(7)
    q, c = rng.normal(size=(10, 5)), rng.normal(size=(2, 5))
    for score in ("dot", "euclidean"):
        nearly = kept_of(q, c, score, 1e-9, query_total=0.7)
        alone = kept_of(q, c, score, 0.0, query_total=0.7)
        np.testing.assert_allclose(nearly.value, alone.value, atol=1e-4)
        nearly = kept_of(q, c, score, 0.7, query_total=1e-9)
        np.testing.assert_allclose(nearly.value, kept_of(q, c, score, 0.7).value, atol=1e-4)


def test_two_candidates_have_closed_forms() -> None:
    rng = np.random.default_rng(2)
    q, c = rng.normal(size=(50, 64)), rng.normal(size=(2, 64)) * 0.2 + 0.3
    total = 0.8
    sigma = np.sqrt(total / 64)
    dots = q @ c.T
    margin = np.abs(dots[:, 0] - dots[:, 1])
    expected = norm.cdf(margin / (np.sqrt(2) * sigma * np.linalg.norm(q, axis=1)))
    np.testing.assert_allclose(kept_of(q, c, "dot", total).value, expected, atol=1e-8)
    far = np.sort(np.linalg.norm(q[:, None, :] - c[None, :, :], axis=2), axis=1)
    close = normal_two(far[:, 0], far[:, 1], np.zeros(50), 64, total)
    got = kept_of(q, c, "euclidean", total).value
    np.testing.assert_allclose(got, close, atol=1e-4)
    assert np.abs(got - close).max() > 1e-5  # D14 approximates, D12 does not


def test_the_normal_approximation_is_within_a_hundredth_at_eight_dimensions() -> None:
    """And closer as d grows: it is for reading, not for predicting."""
    worst = normal_approximation()
    assert worst["8"] < 0.011
    assert worst["64"] < 0.0013
    assert worst["64"] < worst["8"] < worst["2"]


def test_the_normal_approximation_by_its_own_parts() -> None:
    """Height and in-span distance enter as the distance does; closing lowers h, not dσ²."""
    assert normal_two(0.3, 0.5, 0.4, 10, 0.2) == pytest.approx(
        normal_two(0.5, np.sqrt(0.41), 0.0, 10, 0.2)
    )
    by_hand = (0.25 - 0.09) / (2 * np.sqrt(0.02) * np.sqrt(0.34 + 0.32 + 0.2))
    assert normal_two(0.3, 0.5, 0.4, 10, 0.2) == pytest.approx(ndtr(by_hand))
    assert normal_two(0.3, 0.5, 1e6, 10, 0.2) == pytest.approx(0.5, abs=1e-6)


# --- D10: noise on queries ----------------------------------------------------------------------


def test_query_noise_with_two_candidates_is_normal() -> None:
    rng = np.random.default_rng(9)
    q, c = rng.normal(size=(30, 7)), rng.normal(size=(2, 7))
    for score in ("dot", "euclidean", "cosine"):
        got = kept_of(q, c, score, query_total=2.0)
        rows = unit_rows(c) if score == "cosine" else c
        value = q @ rows.T - (0.5 * (c**2).sum(axis=1) if score == "euclidean" else 0)
        reach = np.sqrt(2.0 / 7) * np.linalg.norm(rows[0] - rows[1])
        np.testing.assert_allclose(got.value, ndtr(np.abs(value[:, 0] - value[:, 1]) / reach))
        assert got.standard_error.max() == got.error_bound.max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("score", ["dot", "euclidean", "cosine"])
@pytest.mark.parametrize(("count", "dim"), [(6, 3), (12, 30), (40, 10)])
def test_query_noise_by_simulation(score: str, count: int, dim: int) -> None:
    a, b = two_modalities(40, dim, seed=3)
    got = kept_of(a[:20], b[:count], score, query_total=0.2)
    measured = simulate(a[:20], b[:count], score, 0.0, 3000, query_total=0.2)
    agree(got, measured, 3000)
    assert got.standard_error.max() < 0.01


def test_query_noise_by_scipy_s_multivariate_normal() -> None:
    rng = np.random.default_rng(10)
    q, c = rng.normal(size=(6, 5)), rng.normal(size=(4, 5))
    got = kept_of(q, c, "dot", query_total=1.5, directions=2**15)
    for i in range(6):
        best = int((c @ q[i]).argmax())
        rivals = np.delete(c, best, axis=0) - c[best]
        exact = multivariate_normal.cdf(
            -rivals @ q[i],
            np.zeros(3),
            0.3 * rivals @ rivals.T,
            rng=0,
            maxpts=100_000,
            abseps=1e-5,
            releps=1e-5,
        )
        assert got.value[i] == pytest.approx(exact, abs=5 * got.standard_error[i] + 5e-5)


def test_the_gap_does_not_enter_query_noise() -> None:
    a, b = two_modalities(25, 12, seed=4)
    off = 3 * np.random.default_rng(0).normal(size=12)
    first = kept_of(a, b, "dot", query_total=0.1)
    second = kept_of(a, b + off, "dot", query_total=0.1)
    np.testing.assert_allclose(first.value, second.value, atol=1e-9)


def test_all_candidates_one_point_stay_so_under_query_noise() -> None:
    c = np.ones((3, 4))
    np.testing.assert_array_equal(kept_of(np.eye(4), c, "dot", query_total=1.0).value, 1.0)


# --- both sides, many candidates ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_both_sides_noisy_by_simulation(score: str) -> None:
    a, b = two_modalities(15, 20, seed=5)
    got = kept_of(a, b, score, 0.1, query_total=0.1, draws=64)
    agree(got, simulate(a, b, score, 0.1, 3000, query_total=0.1), 3000)
    assert 0 < got.standard_error.mean() < 0.03
    again = kept_of(a, b, score, 0.1, query_total=0.1, draws=64)
    np.testing.assert_array_equal(got.value, again.value)


@pytest.mark.slow
def test_ten_candidates_as_quoted() -> None:
    """Rao-Blackwell against a plain simulation, ten candidates, noise on both sides."""
    rng = np.random.default_rng(1)
    q, c = rng.normal(size=(3, 16)) * 0.4, rng.normal(size=(10, 16)) * 0.4
    got = kept_of(q, c, "euclidean", 0.5, query_total=0.3, draws=200)
    agree(got, simulate(q, c, "euclidean", 0.5, 8000, query_total=0.3), 8000)


# --- edges ---------------------------------------------------------------------------------------


def test_edges_of_the_prediction() -> None:
    a, b = two_modalities(10, 16)
    ranking = Ranking.of(a, b, "dot")
    np.testing.assert_array_equal(keep_probabilities(ranking, 0.0).value, np.ones(10))
    assert keep_probabilities(Ranking.of(a, b, "cosine"), 0.1) is None
    assert keep_probabilities(Ranking.of(a, b[:1], "dot"), 0.1) is None
    assert keep_probabilities(Ranking.of(a, b, "cosine"), 0.1, query_total=0.1) is None
    for score in ("dot", "euclidean"):
        drowned = keep_probabilities(Ranking.of(a, b, score), 1e9).value
        np.testing.assert_allclose(drowned, 0.1, atol=1e-3)
        levels = [keep_probabilities(ranking, t).value.mean() for t in (0.001, 0.01, 0.1, 1)]
        assert levels == sorted(levels, reverse=True)
        twins = np.vstack([b[:1], b[:1], -b[:1]])
        got = keep_probabilities(Ranking.of(b[:1], twins, score), 1e-4).value
        np.testing.assert_allclose(got, 0.5, atol=1e-6)  # a twin wins every other draw


def test_a_query_of_length_zero_meets_no_noise_under_dot() -> None:
    _, b = two_modalities(6, 8, seed=1)
    bias = np.array([0.0, 1.0, 0.5, 0.2, 0.1, 0.3])
    ranking = Ranking.of(np.zeros((2, 8)), b, "dot", bias)
    np.testing.assert_allclose(keep_probabilities(ranking, 0.3).value, 1.0)


@pytest.mark.parametrize(
    ("code", "fact", "options"),
    [
        ("bad-level", "total -1", {"total": -1}),
        ("bad-level", "query_total nan", {"query_total": np.nan}),
        ("bad-dims", "noisy_dims=7 of 6", {"noisy_dims": 7}),
        ("too-few-draws", "draws=3", {"query_total": 0.1, "draws": 3}),
    ],
)
def test_refusals(code: str, fact: str, options: dict[str, float]) -> None:
    a, b = two_modalities(5, 6)
    with refused(code, fact):
        keep_probabilities(Ranking.of(a, b, "dot"), **({"total": 0.1} | options))


# --- the facade ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["center-queries", "orthogonal-shift", "low-rank-memo", None])
@pytest.mark.parametrize("convention", ["total", "coordinate", "spread"])
def test_predict_is_the_formula_on_what_the_closer_searches(
    name: str | None, convention: str, tmp_path: Path
) -> None:
    a, b = two_modalities(40, 12, seed=3)
    closer = None if name is None else fitted(name, a, b)
    q, x, bias, dims = a, b, None, 12
    if closer is not None:
        q, x, bias = closer.query(a), closer.candidate(b), closer.candidate_bias(b)
        dims = x.shape[1] - closer.memo
    score = "dot" if closer is None else closer.score
    level = {"total": 1, "coordinate": dims, "spread": x[:, :dims].var(axis=0).sum()}[convention]
    expected = kept_of(q, x, score, 0.03 * level, bias, noisy_dims=dims)
    np.save(tmp_path / "a.npy", a)
    got = predict(tmp_path / "a.npy", b, noise=0.03, convention=convention, closer=closer)
    np.testing.assert_allclose(got.keep, expected.value, atol=1e-9)
    assert got.consistency == pytest.approx(expected.value.mean())
    assert got.flips == pytest.approx(1 - got.consistency)
    assert got.noise == pytest.approx(0.03 * level)
    assert (got.score, got.closer) == (score, name or "none")
    assert ((got.low <= got.keep) & (got.keep <= got.high)).all()
    table = got.to_arrow()
    assert table.column_names == ["query", "keep", "low", "high"]
    assert len(table) == 40


def test_predict_normalises_under_cosine_or_where_it_is_asked() -> None:
    a, b = two_modalities(30, 8, seed=4)
    long = 3 * a, 2 * b
    for options in ({"score": "cosine", "noise": 0.0, "query_noise": 0.1}, {"normalised": True}):
        got, plain = predict(*long, **options), predict(a, b, **options)
        np.testing.assert_allclose(got.keep, plain.keep, atol=1e-9)
    assert predict(*long).flips < predict(a, b).flips  # the same noise is less of a longer row
    drawn = predict(a, b, query_noise=0.1, seed=1)
    exact = kept_of(a, b, "dot", 0.022, query_total=0.1, seed=1)
    reach = exact.error_bound + norm.ppf(0.975) * exact.standard_error
    np.testing.assert_allclose(drawn.high, np.minimum(exact.value + reach, 1), rtol=1e-6)
    np.testing.assert_allclose(drawn.low, np.maximum(exact.value - reach, 0), rtol=1e-6)
    assert (drawn.keep != predict(a, b, query_noise=0.1, seed=2).keep).any()
    assert "answers flip" in drawn.card()[0]


def test_predict_refuses_what_has_no_formula() -> None:
    a, b = two_modalities(30, 8, seed=4)
    with refused("no-formula", "under cosine"):
        predict(a, b, score="cosine")  # below 64 dimensions
    with refused("no-formula", "under cosine"):
        predict(*two_modalities(30, 64, seed=4), score="cosine", query_noise=0.1)
    with refused("score-mismatch", "searched by dot, not euclidean"):
        predict(a, b, score="euclidean", closer=fitted("center-queries", a, b))
    with refused("unknown-convention", "sigma"):
        predict(a, b, convention="sigma")


@pytest.mark.real_data
def test_the_prediction_of_clip_on_coco(coco: np.ndarray) -> None:
    """D11 and D12 on 500 COCO pairs, three levels: figures of docs/prediction.md."""
    expected = {"euclidean": (0.8802, 0.7655, 0.6993), "dot": (0.8976, 0.7968, 0.7383)}
    for score, shares in expected.items():
        for total, share in zip((0.005, 0.022, 0.04), shares, strict=True):
            got = kept_of(*map(unit_rows, coco), score, total)
            assert got.value.mean() == pytest.approx(share, abs=6e-5)
            assert got.error_bound.max() < 2e-8
