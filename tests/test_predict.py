"""Predicted flips against simulation, radii against the attack that reaches them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from isthmus.predict import candidate_radius, keep_probability, query_radius
from isthmus.scores import Ranking, top1
from worlds import two_modalities, unit_rows


def simulate(
    q: np.ndarray, c: np.ndarray, score: str, total: float, draws: int, bias: np.ndarray | None
) -> np.ndarray:
    """Share of noise draws on the candidates that keep each query's answer, (n,)."""
    rng = np.random.default_rng(0)
    clean = top1(Ranking.of(q, c, score, bias))
    stored = 0.0 if bias is None else bias
    kept = np.zeros(len(q))
    for _ in range(draws):
        noisy = c + rng.normal(size=c.shape) * np.sqrt(total / c.shape[1])
        if score == "dot":
            scores = q @ noisy.T + stored
        else:
            scores = q @ noisy.T - 0.5 * (noisy**2).sum(axis=1) + stored
        kept += scores.argmax(axis=1) == clean
    return kept / draws


@pytest.mark.parametrize("score", ["dot", "euclidean"])
@pytest.mark.parametrize("total", [0.005, 0.04, 0.3])
@pytest.mark.parametrize(("n", "dim"), [(20, 64), (60, 128)])
def test_the_predicted_share_is_the_simulated_one(
    score: str, total: float, n: int, dim: int
) -> None:
    a, b = two_modalities(n, dim, seed=n)
    a = a[:30]
    predicted = keep_probability(Ranking.of(a, b, score), score, total)
    assert predicted is not None
    assert ((predicted > 0) & (predicted <= 1 + 1e-12)).all()
    draws = 800 if n < 50 else 300
    measured = simulate(a, b, score, total, draws, None)
    error = np.sqrt(0.25 / draws)
    assert np.abs(predicted - measured).max() <= 4.2 * error + 0.004
    assert predicted.mean() == pytest.approx(measured.mean(), abs=0.02)


def test_a_stored_bias_enters_the_dot_prediction() -> None:
    a, b = two_modalities(40, 64, seed=1)
    mean = a.mean(axis=0)
    q, bias = a - mean, b @ mean
    predicted = keep_probability(Ranking.of(q, b, "dot", bias), "dot", 0.03)
    assert predicted is not None
    measured = simulate(q, b, "dot", 0.03, 1500, bias)
    assert np.abs(predicted - measured).max() < 0.06
    plain = keep_probability(Ranking.of(a, b, "dot"), "dot", 0.03)
    assert predicted.mean() > plain.mean()


def test_two_candidates_have_closed_forms() -> None:
    rng = np.random.default_rng(2)
    q, c = rng.normal(size=(50, 64)), rng.normal(size=(2, 64)) * 0.2 + 0.3
    total = 0.8
    sigma = np.sqrt(total / 64)
    dots = q @ c.T
    margin = np.abs(dots[:, 0] - dots[:, 1])
    expected = norm.cdf(margin / (np.sqrt(2) * sigma * np.linalg.norm(q, axis=1)))
    got = keep_probability(Ranking.of(q, c, "dot"), "dot", total)
    np.testing.assert_allclose(got, expected, atol=1e-9)
    squares = ((q[:, None, :] - c[None, :, :]) ** 2).sum(axis=2)
    difference = np.abs(squares[:, 0] - squares[:, 1])
    spread = 2 * sigma * np.sqrt(squares.sum(axis=1) + 64 * sigma**2)  # D14
    got = keep_probability(Ranking.of(q, c, "euclidean"), "euclidean", total)
    np.testing.assert_allclose(got, norm.cdf(difference / spread), atol=1e-6)


def test_edges_of_the_prediction() -> None:
    a, b = two_modalities(10, 16)
    ranking = Ranking.of(a, b, "dot")
    np.testing.assert_array_equal(keep_probability(ranking, "dot", 0.0), np.ones(10))
    assert keep_probability(Ranking.of(a, b, "cosine"), "cosine", 0.1) is None
    assert keep_probability(Ranking.of(a, b[:1], "dot"), "dot", 0.1) is None
    drowned = keep_probability(ranking, "dot", 1e9)
    np.testing.assert_allclose(drowned, 0.1, atol=1e-3)
    twins = np.vstack([b[:1], b[:1], -b[:1]])
    got = keep_probability(Ranking.of(b[:1], twins, "dot"), "dot", 1e-4)
    np.testing.assert_allclose(got, 0.5, atol=1e-6)  # a twin wins every other draw
    levels = [keep_probability(ranking, "dot", t).mean() for t in (0.001, 0.01, 0.1, 1)]
    assert levels == sorted(levels, reverse=True)


def test_only_near_rivals_matter() -> None:
    """Leaving out all but the nearest 256 candidates changes nothing that can be seen."""
    a, b = two_modalities(400, 64, seed=3)
    whole = Ranking.of(a[:20], b, "dot")
    got = keep_probability(whole, "dot", 0.04)
    measured = simulate(a[:20], b, "dot", 0.04, 200, None)
    assert np.abs(got - measured).max() < 0.15
    assert got.mean() == pytest.approx(measured.mean(), abs=0.02)


# --- radii ------------------------------------------------------------------------------------


def rivals(scores: np.ndarray, best: int) -> list[int]:
    return [j for j in range(len(scores)) if j != best]


@pytest.mark.parametrize("score", ["dot", "euclidean"])
@pytest.mark.parametrize("unit", [True, False])
def test_the_query_radius_is_where_the_worst_case_flips(score: str, unit: bool) -> None:
    rng = np.random.default_rng(4)
    q, c = rng.normal(size=(40, 12)), rng.normal(size=(25, 12)) + 0.3
    if unit:
        q, c = unit_rows(q), unit_rows(c)
    ranking = Ranking.of(q, c, score)
    radius, clean = query_radius(ranking), top1(ranking)

    def answer(query: np.ndarray) -> int:
        return int(top1(Ranking.of(query[None, :], c, score))[0])

    for i in range(40):
        directions = {j: c[j] - c[clean[i]] for j in rivals(c, clean[i])}
        outside = [q[i] + 1.001 * radius[i] * d / np.linalg.norm(d) for d in directions.values()]
        inside = [q[i] + 0.999 * radius[i] * d / np.linalg.norm(d) for d in directions.values()]
        assert any(answer(x) != clean[i] for x in outside)
        assert all(answer(x) == clean[i] for x in inside)
        wild = rng.normal(size=(30, 12))
        wild *= 0.999 * radius[i] / np.linalg.norm(wild, axis=1, keepdims=True)
        assert all(answer(q[i] + w) == clean[i] for w in wild)


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_the_candidate_radius_is_where_the_worst_case_flips(score: str) -> None:
    rng = np.random.default_rng(5)
    q, c = rng.normal(size=(40, 12)), rng.normal(size=(25, 12)) + 0.3
    ranking = Ranking.of(q, c, score)
    radius, clean = candidate_radius(ranking, score), top1(ranking)
    for i in range(40):
        for share, flips in ((1.001, True), (0.999, False)):
            r = share * radius[i]
            if score == "euclidean":
                away = c - q[i]
                away = away / np.linalg.norm(away, axis=1, keepdims=True)
                moved = c - r * away  # rivals come nearer, the winner goes away
                moved[clean[i]] = c[clean[i]] + r * away[clean[i]]
            else:
                towards = q[i] / np.linalg.norm(q[i])
                moved = c + r * towards
                moved[clean[i]] = c[clean[i]] - r * towards
            found = int(top1(Ranking.of(q[i : i + 1], moved, score))[0])
            assert bool(found != clean[i]) is flips


def test_a_stored_bias_leaves_the_query_radius_alone() -> None:
    """Centring queries moves them all alike, so no query noise is met better or worse."""
    a, b = two_modalities(30, 20, seed=6)
    mean = a.mean(axis=0)
    plain, centred = Ranking.of(a, b, "dot"), Ranking.of(a - mean, b, "dot", b @ mean)
    np.testing.assert_allclose(query_radius(centred), query_radius(plain), rtol=1e-9)
    assert (candidate_radius(centred, "dot") > candidate_radius(plain, "dot")).mean() > 0.9
    margins = np.sort(a @ b.T, axis=1)
    expected = (margins[:, -1] - margins[:, -2]) / 2 / np.linalg.norm(a - mean, axis=1)
    np.testing.assert_allclose(candidate_radius(centred, "dot"), expected, rtol=1e-9)


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_an_exact_twin_of_the_winner_is_no_rival_of_the_query(score: str) -> None:
    """No query tells a candidate from its twin, so the radius is that to the next different one."""
    for seed in range(5):
        a, b = two_modalities(30, 50, seed=seed)
        twins = np.vstack([b, b])
        once = query_radius(Ranking.of(a, b, score))
        np.testing.assert_allclose(query_radius(Ranking.of(a, twins, score)), once, rtol=1e-6)
        assert candidate_radius(Ranking.of(a, twins, score), score).max() <= 1e-12


def test_a_query_of_length_zero_ranks_by_stored_numbers_alone() -> None:
    _, b = two_modalities(6, 8, seed=1)
    bias = np.array([0.0, 1.0, 0.5, 0.2, 0.1, 0.3])
    ranking = Ranking.of(np.zeros((2, 8)), b, "dot", bias)
    np.testing.assert_allclose(keep_probability(ranking, "dot", 0.3), 1.0)
    assert np.isinf(candidate_radius(ranking, "dot")).all()
