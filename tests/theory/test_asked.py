"""Noise on queries, and on both sides, by law: against draws and against ``predict``."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.search.scores import SCORES, Ranking
from isthmus.theory.curves.queries import Asked, AskedNoise, asked_chances
from isthmus.theory.curves.sweep import LEFT_OUT, Sweep
from isthmus.theory.prediction import keep_probabilities
from worlds import two_modalities

LEVELS = np.array([0.02, 0.3])


def scores_of(ranking: Ranking) -> np.ndarray:
    return np.concatenate([scores for _, scores in ranking.single().score_blocks()])


def chances(
    ranking: Ranking, aims: list[np.ndarray], both: bool, draws: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """(aims, L, T, n), and what the means are known to."""
    single, dim = ranking.single(), ranking.candidates.shape[1]
    noise = AskedNoise.of(single, np.sqrt(LEVELS / dim), draws=draws, seed=5)
    sweeps = [Sweep(single, LEVELS[i : i + 1]) for i in range(2)] if both else ()
    return asked_chances([Asked(noise, aims, ranking.score, None, sweeps)], single)[0]


@pytest.mark.parametrize(
    ("both", "biased"),
    [
        (False, False),
        (True, True),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((False, True), (True, False))),
    ],
)
@pytest.mark.parametrize("score", SCORES)
def test_chances_of_any_candidate_are_those_of_draws(score: str, both: bool, biased: bool) -> None:
    q, c = two_modalities(48, 32, seed=3)
    rng = np.random.default_rng(1)
    bias = rng.normal(size=48) * 0.02 if biased and score != "cosine" else None
    if score == "cosine":
        c = c / np.linalg.norm(c, axis=1, keepdims=True)
    ranking = Ranking.of(q, c, score, bias)
    order = np.argsort(-scores_of(ranking), axis=1)
    aims = [order[:, 0], order[:, 1], np.where(np.arange(48) < 30, order[:, 2], -1)]
    found, error = chances(ranking, aims, both)
    trials = 800
    assert (found[2][:, :, 30:] == 0).all()
    for level, total in enumerate(LEVELS):
        hits = np.zeros((3, trials, 48))
        for trial in range(trials):
            e, z = (rng.normal(size=x.shape) * np.sqrt(total / 32) for x in (q, c))
            answers = scores_of(Ranking.of(q + e, c + z * both, score, bias)).argmax(axis=1)
            hits[:, trial] = answers == np.stack(aims)
        for aim in range(3):
            mine, theirs = found[aim, level].mean(axis=1), hits[aim].mean(axis=1)
            spread = np.hypot(mine.std(ddof=1) / 8, theirs.std(ddof=1) / np.sqrt(trials))
            assert abs(mine.mean() - theirs.mean()) < 3.3 * spread + error[level]
            each = np.hypot(found[aim, level].std(axis=0) / 8, np.sqrt(0.25 / trials))
            off = np.abs(found[aim, level].mean(axis=0) - hits[aim].mean(axis=0))
            assert (off < 5 * each).all()


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_predict_says_the_same_of_each_query(score: str, both: bool) -> None:
    q, c = two_modalities(24, 64, seed=4)
    ranking = Ranking.of(q, c, score)
    found, _ = chances(ranking, [scores_of(ranking).argmax(axis=1)], both, draws=200)
    for level, total in enumerate(LEVELS):
        exact = keep_probabilities(
            ranking, total if both else 0.0, query_total=total, draws=64, directions=8192
        )
        assert exact is not None
        each = np.hypot(found[0, level].std(axis=0) / np.sqrt(200), exact.standard_error)
        assert (np.abs(found[0, level].mean(axis=0) - exact.value) < 5 * each + 5e-4).all()
        means = abs(found[0, level].mean() - exact.value.mean())
        assert means < 3.3 * each.mean() + 1e-4


def test_two_candidates_need_no_draws() -> None:
    """One direction is all there is, and it is integrated: D10's closed form, at every draw."""
    q, c = two_modalities(40, 64, seed=6)
    ranking = Ranking.of(q, c[:2], "dot")
    found, error = chances(ranking, [scores_of(ranking).argmax(axis=1)], False, draws=4)
    for level, total in enumerate(LEVELS):
        exact = keep_probabilities(ranking, query_total=total)
        assert exact is not None
        np.testing.assert_allclose(found[0, level], np.tile(exact.value, (4, 1)), atol=2e-5)
        assert LEFT_OUT <= error[level] < 1e-3


def test_noise_through_a_map_and_rows_that_are_one() -> None:
    """A query's noise goes through the closer's matrix; rows that are one cannot flip."""
    q, c = two_modalities(50, 64, seed=7)
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(64, 64)) / 8 * (np.arange(64) < 20)[:, None]
    c[1] = c[0]
    ranking = Ranking.of(q @ matrix.T, c, "dot").single()
    first = scores_of(ranking).argmax(axis=1)
    noise = AskedNoise.of(ranking, np.sqrt(LEVELS[1:] / 64), matrix=matrix, draws=64)
    found = asked_chances([Asked(noise, [first], "dot")], ranking)[0][0][0, 0]
    hits = np.zeros((600, 50))
    for trial in range(600):
        noisy = (q + rng.normal(size=q.shape) * np.sqrt(LEVELS[1] / 64)) @ matrix.T
        hits[trial] = scores_of(Ranking.of(noisy, c, "dot")).argmax(axis=1) == first
    spread = np.hypot(
        hits.mean(axis=1).std(ddof=1) / np.sqrt(600), found.mean(axis=1).std(ddof=1) / 8
    )
    assert abs(hits.mean() - found.mean()) < 3.3 * spread + 1e-4
