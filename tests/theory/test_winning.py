"""The chance that a stated candidate wins: against drawn noise and the formulas for the winner."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.search.scores import Ranking
from isthmus.theory.prediction import keep_probabilities
from isthmus.theory.winning import winning

LEVELS = (0.3, 3.0)


def drawn(
    queries: np.ndarray, candidates: np.ndarray, total: float, lists: np.ndarray | None
) -> np.ndarray:
    """(draws, n): the nearest candidate of each query under noise."""
    rng = np.random.default_rng(1)
    answers = []
    for _ in range(3000):
        noisy = candidates + rng.normal(size=candidates.shape) * np.sqrt(total / queries.shape[1])
        costs = ((queries[:, None] - noisy) ** 2).sum(2)
        if lists is None:
            answers.append(costs.argmin(1))
        else:
            listed = np.where(lists < 0, np.inf, np.take_along_axis(costs, lists, axis=1))
            answers.append(lists[np.arange(len(lists)), listed.argmin(1)])
    return np.array(answers)


@pytest.mark.parametrize("dim", [8, 96])
@pytest.mark.parametrize("listed", [False, True])
def test_chances_are_those_of_drawn_noise(rng: np.random.Generator, dim: int, listed: bool) -> None:
    queries, candidates = rng.normal(size=(5, dim)) / 3, rng.normal(size=(9, dim)) / 3 + 0.2
    lists = np.array([[0, 3, 5, -1], [1, 2, 4, 8], [7, 0, -1, -1], [6, 5, 4, 3], [2, 8, 1, 0]])
    aim = np.array([3, 8, 0, -1, 1])
    scale = 1.0 if dim == 8 else 4.0
    levels = [scale * level for level in LEVELS]
    ranking = Ranking.of(queries, candidates, "euclidean")
    found = winning(ranking, levels, [aim], lists if listed else None)
    assert found.shape == (1, len(levels), 5)
    for level, chances in zip(levels, found[0]):
        share = (drawn(queries, candidates, level, lists if listed else None) == aim).mean(0)
        np.testing.assert_allclose(chances, share, atol=0.035)
        assert chances[3] == 0


def test_chances_of_the_clean_answer_are_those_of_keeping_it(rng: np.random.Generator) -> None:
    queries, candidates = rng.normal(size=(20, 80)) / 9, rng.normal(size=(30, 80)) / 9
    ranking = Ranking.of(queries, candidates, "euclidean")
    best = ((queries[:, None] - candidates) ** 2).sum(2).argmin(1)
    every = np.tile(np.arange(30), (20, 1))
    for level in (0.05, 0.5):
        kept = keep_probabilities(ranking, level)
        assert kept is not None
        np.testing.assert_allclose(winning(ranking, [level], [best])[0, 0], kept.value, atol=2e-3)
        listed = winning(ranking, [level], [best], every)[0, 0]
        np.testing.assert_allclose(listed, kept.value, atol=1e-6)


def test_chances_of_all_candidates_add_to_one(rng: np.random.Generator) -> None:
    queries, candidates = rng.normal(size=(4, 70)) / 8, rng.normal(size=(6, 70)) / 8
    ranking = Ranking.of(queries, candidates, "euclidean")
    aims = [np.full(4, j) for j in range(6)]
    total = winning(ranking, [0.4], aims).sum(0)
    np.testing.assert_allclose(total, 1, atol=3e-3)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_candidates_far_behind_have_the_chances_of_the_integral(rng: np.random.Generator) -> None:
    """Much noise among candidates that differ much: leads behind the winner reach past λ = 0."""
    candidates = rng.normal(size=(40, 96)) * np.linspace(0.01, 0.12, 40)[:, None]
    queries = candidates[:8] + 0.02 * rng.normal(size=(8, 96))
    ranking = Ranking.of(queries, candidates, "euclidean")
    aims = [rng.permutation(40)[:8] for _ in range(3)]
    every = np.tile(np.arange(40), (8, 1))
    for level in (0.05, 0.5, 4.0):
        found = winning(ranking, [level], aims)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, winning(ranking, [level], aims, every), atol=2e-3)
