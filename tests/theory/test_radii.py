"""Certified radii against the attacks that reach them, against other formulas, against search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.stats import binomtest, norm

from isthmus.errors import OptionError
from isthmus.perturb.worst_case import worst_candidates, worst_queries, worst_rotations
from isthmus.search.scores import Ranking
from isthmus.search.shared import Moved, Product
from isthmus.theory.hyperbola import nearest_on_branch
from isthmus.theory.radii import (
    candidate_radius,
    certified_radii,
    joint_radius,
    query_angle,
    query_radius,
    smoothing_certificate,
    smoothing_radius,
)
from refusals import refused
from worlds import two_modalities, unit_rows

SHARES = ((1.001, 1.0), (0.999, 0.0))


def answers(queries: np.ndarray, candidates: np.ndarray, score: str, bias=None) -> np.ndarray:
    """Plain argmax in float64, no ties looked for: (n,)."""
    scores = queries @ candidates.T
    if score == "cosine":
        scores = scores / np.linalg.norm(candidates, axis=1)
    if score == "euclidean":
        scores = scores - 0.5 * (candidates**2).sum(axis=1)
    return (scores + (0.0 if bias is None else bias)).argmax(axis=1)


def queries_flipped(q, c, score, radius, norm="l2", bias=None) -> float:
    clean = answers(q, c, score, bias)
    moved = worst_queries(q, c, radius, score, norm=norm, bias=bias)
    return float((answers(moved, c, score, bias) != clean).mean())


def candidates_flipped(q, c, score, radius, norm="l2", bias=None) -> float:
    clean = answers(q, c, score, bias)
    flips = 0
    for i in range(len(q)):
        moved = worst_candidates(q[i], c, int(clean[i]), float(radius[i]), score, norm=norm)
        assert_moves(moved - c, radius[i], norm)
        flips += answers(q[i : i + 1], moved, score, bias)[0] != clean[i]
    return flips / len(q)


def assert_moves(moves: np.ndarray, radius: float, norm: str) -> None:
    size = np.abs(moves).max(axis=1) if norm == "linf" else np.linalg.norm(moves, axis=1)
    assert size.max() <= radius * (1 + 1e-9) + 1e-15


def replay_everything(q: np.ndarray, c: np.ndarray) -> None:
    """At 1.001 r every answer flips, at 0.999 r none: every radius, dot and Euclidean."""
    for score in ("dot", "euclidean"):
        ranking = Ranking.of(q, c, score)
        turn = query_angle(ranking)
        clean = answers(q, c, score)
        for share, flips in SHARES:
            for how in ("l2", "linf"):
                radius = share * query_radius(ranking, how)
                assert queries_flipped(q, c, score, radius, how) == flips, (score, how, share)
                radius = share * candidate_radius(ranking, how)
                assert candidates_flipped(q, c, score, radius, how) == flips, (score, how, share)
            turned = worst_rotations(q, c, share * turn, score)
            np.testing.assert_allclose(
                np.linalg.norm(turned, axis=1), np.linalg.norm(q, axis=1), rtol=1e-9
            )
            assert (answers(turned, c, score) != clean).mean() == flips, (score, "angle", share)
        move = 0.5 * float(np.quantile(candidate_radius(ranking), 0.5))
        assert joint_flipped(q, c, score, move, 1.001) == 1.0
        assert joint_flipped(q, c, score, move, 0.999) == 0.0


def joint_flipped(q, c, score, move, share, bias=None) -> float:
    """Share of certified queries that flip when moved ``share`` of the joint radius."""
    joint = joint_radius(Ranking.of(q, c, score, bias), move)
    clean = answers(q, c, score, bias)
    some = np.flatnonzero((joint.radius > 0) & np.isfinite(joint.radius))
    assert len(some) > 0.2 * len(q)
    flips = 0
    for i in some:
        moved = q[i] + share * joint.radius[i] * joint.direction[i]
        rows = worst_candidates(moved, c, int(clean[i]), move, score)
        flips += answers(moved[None, :], rows, score, bias)[0] != clean[i]
    return flips / len(some)


@pytest.mark.slow
def test_every_attack_flips_just_outside_its_radius_and_not_inside() -> None:
    q, c = two_modalities(500, 24, seed=1)
    replay_everything(q, c[:120])


def test_rows_of_any_length() -> None:
    rng = np.random.default_rng(4)
    q, c = rng.normal(size=(60, 12)), rng.normal(size=(25, 12)) + 0.3
    replay_everything(q, c)


@pytest.mark.real_data
@pytest.mark.slow
def test_every_attack_on_clip_and_coco(coco: np.ndarray) -> None:
    replay_everything(*map(unit_rows, coco))


# --- queries ----------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_the_query_radius_by_a_double_loop(score: str) -> None:
    rng = np.random.default_rng(0)
    q, c = rng.normal(size=(20, 7)), rng.normal(size=(9, 7))
    bias = rng.normal(size=9) * 0.3
    ranking = Ranking.of(q, c, score, bias)
    got = {how: query_radius(ranking, how) for how in ("l2", "linf")}
    for i in range(20):
        value = c @ q[i] + bias - (0.5 * (c**2).sum(axis=1) if score == "euclidean" else 0.0)
        best = value.argmax()
        for how, dual in (("l2", 2), ("linf", 1)):
            radius = min(
                (value[best] - value[j]) / np.linalg.norm(c[j] - c[best], dual)
                for j in range(9)
                if j != best
            )
            assert got[how][i] == pytest.approx(radius, rel=1e-9)
    for share, flips in SHARES:
        for how in ("l2", "linf"):
            assert queries_flipped(q, c, score, share * got[how], how, bias) == flips


def test_no_move_of_the_query_within_the_radius_flips() -> None:
    rng = np.random.default_rng(2)
    q, c = rng.normal(size=(15, 6)), rng.normal(size=(10, 6))
    radius, clean = query_radius(Ranking.of(q, c, "dot")), answers(q, c, "dot")
    for i in range(15):
        wild = rng.normal(size=(200, 6))
        wild *= 0.999 * radius[i] / np.linalg.norm(wild, axis=1, keepdims=True)
        assert (answers(q[i] + wild, c, "dot") == clean[i]).all()


def test_cosine_counts_candidates_over_their_norms() -> None:
    rng = np.random.default_rng(3)
    q, c = rng.normal(size=(30, 8)), rng.normal(size=(12, 8)) * rng.uniform(0.2, 3, (12, 1))
    plain = query_radius(Ranking.of(q, unit_rows(c), "dot"))
    np.testing.assert_allclose(query_radius(Ranking.of(q, c, "cosine")), plain, rtol=1e-9)
    for share, flips in SHARES:
        assert queries_flipped(q, c, "cosine", share * plain) == flips


def test_on_the_sphere_the_angle_is_the_arcsine_of_the_radius() -> None:
    q, c = two_modalities(60, 10, seed=5)
    ranking = Ranking.of(q, c, "dot")
    np.testing.assert_allclose(query_angle(ranking), np.arcsin(query_radius(ranking)), rtol=1e-7)
    np.testing.assert_allclose(query_angle(Ranking.of(3 * q, c, "dot")), query_angle(ranking))


def test_a_plane_that_misses_the_sphere_is_no_rival() -> None:
    q, c = np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [-1.0, 0.0]])
    near = Ranking.of(q, c, "dot", np.array([1.0, 0.0]))
    assert query_angle(near)[0] == pytest.approx(2 * np.pi / 3)  # 2 cos φ = -1
    assert np.isinf(query_angle(Ranking.of(q, c, "dot", np.array([5.0, 0.0])))[0])


def test_a_stored_bias_leaves_the_query_radius_alone() -> None:
    """Centring queries moves them all alike, so no query noise is met better or worse."""
    a, b = two_modalities(30, 20, seed=6)
    mean = a.mean(axis=0)
    plain, centred = Ranking.of(a, b, "dot"), Ranking.of(a - mean, b, "dot", b @ mean)
    np.testing.assert_allclose(query_radius(centred), query_radius(plain), rtol=1e-9)
    assert (candidate_radius(centred) > candidate_radius(plain)).mean() > 0.9
    margins = np.sort(a @ b.T, axis=1)
    expected = (margins[:, -1] - margins[:, -2]) / 2 / np.linalg.norm(a - mean, axis=1)
    np.testing.assert_allclose(candidate_radius(centred), expected, rtol=1e-9)


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_an_exact_twin_of_the_winner_is_no_rival_of_the_query(score: str) -> None:
    """No query tells a candidate from its twin, so the radius is that to the next different one."""
    for seed in range(5):
        a, b = two_modalities(30, 50, seed=seed)
        twins = np.vstack([b, b])
        for how in ("l2", "linf"):
            once = query_radius(Ranking.of(a, b, score), how)
            np.testing.assert_allclose(query_radius(Ranking.of(a, twins, score), how), once, 1e-6)
        assert candidate_radius(Ranking.of(a, twins, score)).max() <= 1e-12


def test_one_candidate_is_never_lost() -> None:
    a, b = two_modalities(5, 6)
    for score in ("dot", "euclidean"):
        ranking = Ranking.of(a, b[:1], score)
        assert np.isinf(query_radius(ranking)).all()
        assert np.isinf(query_radius(ranking, "linf")).all()
        assert np.isinf(query_angle(ranking)).all()
        for how in ("l2", "linf"):
            assert np.isinf(candidate_radius(ranking, how)).all()
        assert np.isinf(joint_radius(ranking, 0.1).radius).all()


# --- candidates -------------------------------------------------------------------------------


def test_the_euclidean_candidate_radius_is_half_the_difference_of_distances() -> None:
    q, c = two_modalities(40, 16, seed=7)
    far = np.sort(np.linalg.norm(q[:, None] - c[None], axis=2), axis=1)
    got = candidate_radius(Ranking.of(q, c, "euclidean"))
    np.testing.assert_allclose(got, (far[:, 1] - far[:, 0]) / 2, rtol=1e-9)


def test_it_falls_with_the_height_over_the_candidates() -> None:
    """½ (√(r_2² + h²) - √(r_1² + h²)): the gap enters by the height alone, and hurts."""
    c = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    heights = np.array([0.0, 0.5, 1.0, 2.0, 8.0])
    q = np.stack([np.full(5, 0.2), np.zeros(5), heights], axis=1)
    got = candidate_radius(Ranking.of(q, c, "euclidean"))
    expected = 0.5 * (np.sqrt(0.64 + heights**2) - np.sqrt(0.04 + heights**2))
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert (np.diff(got) < 0).all()


def test_a_spread_gap_hurts_more_than_a_peaky_one_in_the_largest_coordinate() -> None:
    c = np.zeros((2, 16))
    c[1, 0] = 1.0
    q = np.zeros((2, 16))
    q[:, 0] = 0.2
    q[0, 1] = 1.0
    q[1, 1:] = 1 / np.sqrt(15)
    peaky, spread = candidate_radius(Ranking.of(q, c, "euclidean"), "linf")
    assert spread < peaky
    for row, got in zip(q, (peaky, spread), strict=True):
        root = brentq(
            lambda r, row=row: (
                (np.maximum(np.abs(row - c[1]) - r, 0) ** 2).sum()
                - ((np.abs(row - c[0]) + r) ** 2).sum()
            ),
            0,
            2,
            xtol=1e-14,
        )
        assert got == pytest.approx(root, rel=1e-9)


@pytest.mark.parametrize("size", [0.1, 3.0])
@pytest.mark.parametrize("how", ["l2", "linf"])
def test_candidate_biases_enter_the_euclidean_radius(how: str, size: float) -> None:
    rng = np.random.default_rng(8)
    q, c = rng.normal(size=(40, 5)), rng.normal(size=(8, 5))
    bias = rng.normal(size=8) * size  # at 3.0 rivals would be carried past the query
    radius = candidate_radius(Ranking.of(q, c, "euclidean", bias), how)
    for share, flips in SHARES:
        assert candidates_flipped(q, c, "euclidean", share * radius, how, bias) == flips


def test_a_query_of_length_zero_ranks_by_candidate_biases_alone() -> None:
    _, b = two_modalities(6, 8, seed=1)
    bias = np.array([0.0, 1.0, 0.5, 0.2, 0.1, 0.3])
    ranking = Ranking.of(np.zeros((2, 8)), b, "dot", bias)
    for how in ("l2", "linf"):
        assert np.isinf(candidate_radius(ranking, how)).all()


# --- both -------------------------------------------------------------------------------------


@given(a=st.floats(0.01, 2), b=st.floats(0.01, 2), depth=st.floats(1e-3, 5), t=st.floats(0, 5))
@settings(max_examples=60, deadline=None)
def test_the_nearest_point_of_a_branch(a: float, b: float, depth: float, t: float) -> None:
    p = a * np.sqrt(1 + t * t / b / b) + depth
    one = np.ones(1)
    foot = nearest_on_branch(p * one, t * one, a * one, b * one, b * one, a * one)
    got = np.hypot(foot[0] - p, foot[1] - t)[0]
    assert foot[0][0] == pytest.approx(a * np.sqrt(1 + foot[1][0] ** 2 / b**2), rel=1e-9)
    grid = np.concatenate([np.linspace(0, 12, 20001), foot[1][0] * np.linspace(0.99, 1.01, 2001)])
    far = np.hypot(a * np.sqrt(1 + grid**2 / b**2) - p, grid - t)
    assert got <= far.min() + 1e-9
    assert got >= far.min() - 1e-3


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_the_joint_radius_by_a_general_optimiser(score: str) -> None:
    """Least query move to where the worst candidates draw level, found by SLSQP."""
    rng = np.random.default_rng(9)
    q, c = unit_rows(rng.normal(size=(6, 4)) + 0.5), unit_rows(rng.normal(size=(2, 4)) - 0.3)
    bias = np.array([0.03, -0.02]) if score == "dot" else None
    move = 0.05
    joint = joint_radius(Ranking.of(q, c, score, bias), move)
    best = answers(q, c, score, bias)
    for i in range(6):
        one, two = c[best[i]], c[1 - best[i]]

        def lead(z: np.ndarray, one=one, two=two, best=int(best[i])) -> float:
            if score == "euclidean":
                return np.linalg.norm(z - two) - np.linalg.norm(z - one) - 2 * move
            return z @ (one - two) + bias[best] - bias[1 - best] - 2 * move * np.linalg.norm(z)

        if lead(q[i]) <= 0:
            assert joint.radius[i] == 0
            continue
        found = [
            minimize(
                lambda z, i=i: ((z - q[i]) ** 2).sum(),
                q[i] + 0.3 * rng.normal(size=4),
                constraints={"type": "eq", "fun": lead},
                tol=1e-14,
            )
            for _ in range(8)
        ]
        least = min(np.sqrt(f.fun) for f in found if f.success)
        assert joint.radius[i] == pytest.approx(least, rel=1e-4)


def test_candidate_biases_enter_the_joint_radius_of_dot() -> None:
    a, b = two_modalities(80, 16, seed=10)
    mean = a.mean(axis=0)
    for share, flips in SHARES:
        assert joint_flipped(a - mean, b, "dot", 0.01, share, b @ mean) == flips


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_the_joint_radius_has_the_others_as_its_ends(score: str) -> None:
    q, c = two_modalities(50, 12, seed=11)
    ranking = Ranking.of(q, c, score)
    whole, alone = candidate_radius(ranking), query_radius(ranking)
    none = joint_radius(ranking, 0.0)
    np.testing.assert_allclose(none.radius, alone, rtol=1e-9)
    for i in range(0, 50, 7):
        one = Ranking.of(q[i : i + 1], c, score)
        before = joint_radius(one, 0.999 * whole[i]).radius[0]
        assert 0 < before < 0.01 * alone[i] + 1e-3
        assert joint_radius(one, 1.001 * whole[i]).radius[0] == 0
    moves = np.linspace(0, float(np.median(whole)), 5)
    radii = np.array([joint_radius(ranking, m).radius for m in moves])
    assert (np.diff(radii, axis=0) <= 1e-12).all()


# --- smoothing --------------------------------------------------------------------------------


def test_two_candidates_smoothed_have_the_plain_radius_at_every_sigma() -> None:
    rng = np.random.default_rng(12)
    q, c = rng.normal(size=(20, 6)), rng.normal(size=(2, 6))
    plain = query_radius(Ranking.of(q, c, "dot"))
    for sigma in (0.3, 1.0, 4.0):
        first = norm.cdf(plain / sigma)
        np.testing.assert_allclose(smoothing_radius(first, 1 - first, sigma), plain, rtol=1e-6)


def test_smoothing_by_hand() -> None:
    got = smoothing_radius(np.array([0.9, 0.5, 0.2]), np.array([0.05, 0.5, 0.7]), 2.0)
    np.testing.assert_allclose(got, [norm.ppf(0.9) - norm.ppf(0.05), 0, 0])
    certified = smoothing_certificate(np.array([0, 500, 990, 1000]), 1000, 0.25, 0.99)
    low = [binomtest(k, 1000, alternative="greater").proportion_ci(0.99).low for k in (990, 1000)]
    np.testing.assert_allclose(certified, [0, 0, *(0.25 * norm.ppf(low))], rtol=1e-9)


def test_refusals() -> None:
    a, b = two_modalities(5, 6)
    ranking, cosine = Ranking.of(a, b, "euclidean"), Ranking.of(a, b, "cosine")
    biased = Ranking.of(a, b, "euclidean", np.arange(5.0))
    half, one = np.array([0.5]), np.array([1.0])
    calls = [
        ("unknown-norm", "'l1'", lambda: query_radius(ranking, "l1")),
        ("unknown-norm", "'l1'", lambda: candidate_radius(ranking, "l1")),
        ("no-formula", "radius of candidates under cosine", lambda: candidate_radius(cosine)),
        ("no-formula", "joint radius under cosine", lambda: joint_radius(cosine, 0.1)),
        ("no-formula", "biases under euclidean", lambda: joint_radius(biased, 0.1)),
        ("bad-level", "candidate_move -1", lambda: joint_radius(ranking, -1)),
        ("bad-sigma", "sigma=0", lambda: smoothing_radius(half, half, 0)),
        ("bad-probability", "outside 0 to 1", lambda: smoothing_radius(one + 1, half, 1.0)),
        ("bad-counts", "draws=10", lambda: smoothing_certificate(np.array([11]), 10, 1.0)),
    ]
    for code, fact, call in calls:
        with refused(code, fact):
            call()
    for fact, attack in (
        ("norm 'l1'", lambda: worst_queries(a, b, np.ones(5), "dot", norm="l1")),
        ("norm 'l1'", lambda: worst_candidates(a[0], b, 0, 0.1, "dot", norm="l1")),
        ("no worst case of candidates", lambda: worst_candidates(a[0], b, 0, 0.1, "cosine")),
    ):
        with pytest.raises(OptionError, match=fact):
            attack()


def over_all_rivals(
    q: np.ndarray, c: np.ndarray, score: str, first: np.ndarray, bias: np.ndarray | float = 0.0
) -> np.ndarray:
    """The least of margin over distance from the winner, in float64."""
    scores = q @ c.T - (0.5 * (c**2).sum(axis=1) if score == "euclidean" else 0.0) + bias
    margin = scores[np.arange(len(q)), first][:, None] - scores
    between = np.linalg.norm(c[first][:, None] - c[None], axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(between == 0, np.inf, margin / between).min(axis=1)


def carried_by_bisection(margin: np.ndarray, far: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How far each rival and the winner move, each for itself, until they tie; one by one."""
    low, high = np.zeros(far.shape), np.full(far.shape, far.max() + np.sqrt(2 * margin.max()))
    for _ in range(90):
        r = 0.5 * (low + high)
        # what the rival gains is ½ u² - ½ (u - r)₊², what the winner loses ½ (u + r)² - ½ u²
        gain = 0.5 * far**2 - 0.5 * np.maximum(far - r, 0.0) ** 2 + 0.5 * (own + r) ** 2
        over = gain - 0.5 * own**2 > margin
        high, low = np.where(over, r, high), np.where(over, low, r)
    return 0.5 * (low + high)


@pytest.mark.parametrize("size", [0.0, 0.05, 1.5])
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_leading_rivals_set_the_radii_of_all_rivals(score: str, size: float) -> None:
    """Against the least over all rivals in float64: to 1e-12, however near or far they are."""
    rng = np.random.default_rng(8)
    q, c = two_modalities(300, 48, seed=8)
    c[40] = c[41]  # twins
    c[50] = c[51] + 1e-6 * rng.normal(size=48)
    q[:20] = c[:20] * 1.2  # easy: no rival is near
    bias = rng.normal(size=300) * size if size else None  # 1.5: rivals stop at the query
    for items in (None, np.arange(300) // 2 * 2):
        ranking = Ranking.of(q, c, score, bias)
        found = certified_radii((ranking, None, None), items=items)[0]
        first = answers(q, c, score, bias)
        u = np.linalg.norm(q[:, None] - c[None], axis=2)
        scores = (q @ c.T if score == "dot" else -0.5 * u**2) + (0.0 if bias is None else bias)
        margin = scores[np.arange(300), first][:, None] - scores
        between = np.linalg.norm(c[first][:, None] - c[None], axis=2)
        mates = np.arange(300)[None] == first[:, None]
        if items is not None:
            mates = items[None] == items[first][:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            slow = np.where(mates | (between < 1e-9), np.inf, margin / between).min(axis=1)
        sure = ~np.isin(first, (40, 41, 50, 51))  # ties are the search's own
        np.testing.assert_allclose(found.query[sure], slow[sure], rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(found.query, query_radius(ranking, items=items))
        np.testing.assert_array_equal(found.candidate, candidate_radius(ranking, items=items))
        if score == "dot":
            each = margin / (2 * np.linalg.norm(q, axis=1)[:, None])
        else:
            each = carried_by_bisection(margin, u, u[np.arange(300), first][:, None])
        slow = np.where(mates, np.inf, each).min(axis=1)
        np.testing.assert_allclose(found.candidate[sure], slow[sure], rtol=1e-9, atol=1e-12)
        assert 0 < found.share <= 1


@pytest.mark.parametrize("size", [0.0, 0.1, 30.0])
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_rows_that_float32_does_not_hold_have_the_same_radii_in_their_unit(
    score: str, size: float
) -> None:
    rng = np.random.default_rng(9)
    q, c = rng.normal(size=(90, 5)), rng.normal(size=(8, 5))
    bias = -np.sort(rng.normal(size=8)) * size if size else None  # 30: rivals stop at the query
    for items in (None, np.arange(8) // 4 * 4):
        found, large = (
            certified_radii((ranking, None, None), items=items)[0]
            for ranking in (
                Ranking.of(q, c, score, bias),
                Ranking.of(1e9 * q, 1e9 * c, score, None if bias is None else 1e18 * bias),
            )
        )
        assert found.share > large.share == 0
        np.testing.assert_allclose(large.query, 1e9 * found.query, rtol=1e-7)
        np.testing.assert_allclose(large.candidate, 1e9 * found.candidate, rtol=1e-7)


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_searches_share_distances_where_all_candidates_move_alike(score: str) -> None:
    """Plain search, ones with other answers, by rows and by biases, and one whose rows are divided
    by their norms."""
    rng = np.random.default_rng(6)
    c = 0.1 * rng.normal(size=(400, 8))
    # the runner-up is often a neighbour of the answer, and a rival far behind sets the radius
    c[200:] = c[:200] + 0.02 * rng.random((200, 1)) * rng.normal(size=(200, 8))
    q = 1.3 * c[rng.permutation(150)] + 0.01 * rng.normal(size=(150, 8))
    a, b = 0.04 * rng.normal(size=(2, 8))
    product = Product.of(q, c)
    ends = [(q, c), (q + a, c + b), (q + a, c + b), (unit_rows(q + a), unit_rows(c + b))]
    biases = [None, None, 0.01 * rng.normal(size=400), None]
    rankings = [Ranking.of(*rows, score, bias) for rows, bias in zip(ends, biases, strict=True)]
    moves = [
        Moved.of(product, rankings[0]),
        Moved.of(product, rankings[1], (a, b)),
        Moved.of(product, rankings[2], (a, b)),
        Moved.of(product, rankings[3], (a, b), (True, True)),
    ]
    winners = [answers(*rows, score, bias) for rows, bias in zip(ends, biases, strict=True)]
    for one in (1, 2):
        assert 0.1 < (winners[0] != winners[one]).mean() < 0.9
    together = certified_radii(*zip(rankings, winners, moves, strict=True), product=product)
    all_of_them = zip(together, rankings, ends, winners, biases, strict=True)
    for found, ranking, rows, first, bias in all_of_them:
        slow = over_all_rivals(*rows, score, first, 0.0 if bias is None else bias)
        np.testing.assert_allclose(found.query, slow, rtol=1e-9)
        np.testing.assert_allclose(found.candidate, candidate_radius(ranking), rtol=1e-12)


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_radii_from_a_product_of_rows_before_they_moved(score: str) -> None:
    """Where most queries have long lists of rivals, against the least over all in float64."""
    rng = np.random.default_rng(5)
    c = unit_rows(rng.normal(size=(400, 64)))
    q = unit_rows(c[:150] + 0.05 * rng.normal(size=(150, 64)))
    a, b = 0.01 * rng.normal(size=(2, 64))
    product = Product.of(q, c)
    ranking = Ranking.of(q + a, c + b, score)
    shared = product, Moved.of(product, ranking, (a, b))
    first = answers(q + a, c + b, score)
    found = certified_radii((ranking, first, shared[1]), product=shared[0])[0]
    assert found.share < 0.5
    alone = certified_radii((ranking, None, None))[0]
    np.testing.assert_allclose(found.query, alone.query, rtol=1e-12)
    np.testing.assert_allclose(found.candidate, alone.candidate, rtol=1e-12)
    slow = over_all_rivals(q + a, c + b, score, first)
    np.testing.assert_allclose(found.query, slow, rtol=1e-9)
