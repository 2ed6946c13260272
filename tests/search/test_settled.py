"""First answers from float32 scores, near ties settled in float64: those of a float64 search."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.core.topk import lines_top_k
from isthmus.search.outcomes import outcome_of
from isthmus.search.relevance import no_relevance, relevance_by_judgements
from isthmus.search.scores import SCORES, Ranking, first_best, top1
from isthmus.search.settled import Settled, nearness, surely_largest
from isthmus.search.shared import Moved, Product
from isthmus.search.task import RetrievalTask

RNG = np.random.default_rng(4)


def in_float64(ranking: Ranking) -> np.ndarray:
    """Whole lines of float64 scores, no float32 anywhere."""
    widths = ranking.tie_widths
    return np.concatenate(
        [first_best(s, widths[i : i + len(s)]) for i, s in ranking.score_blocks()]
    )


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def closer_than_float32() -> tuple[np.ndarray, np.ndarray]:
    """Every candidate has a twin that is 1e-10 nearer to the query it is for, in a higher row."""
    rng = np.random.default_rng(4)
    queries = unit(rng.normal(size=(60, 24)) + 1)
    twins = unit(queries + 0.05 * rng.normal(size=queries.shape))
    return queries, np.vstack([twins, twins + 1e-10 * queries])


CASES = {
    "plain": lambda: (unit(RNG.normal(size=(90, 32))), unit(RNG.normal(size=(150, 32)))),
    "offset": lambda: (RNG.normal(size=(90, 32)) + 30, RNG.normal(size=(150, 32)) + 30),
    "codes": lambda: (np.sign(RNG.normal(size=(90, 32))), np.sign(RNG.normal(size=(400, 32)))),
    "float codes": lambda: (
        RNG.normal(size=(90, 32)),
        np.sign(RNG.normal(size=(400, 5)) @ np.ones((5, 32))),
    ),
    "near twins": closer_than_float32,
    "one point": lambda: (np.ones((5, 8)), np.ones((40, 8))),
    "zero queries": lambda: (np.zeros((5, 8)), RNG.normal(size=(40, 8))),
    "huge": lambda: (1e12 * RNG.normal(size=(20, 8)), 1e12 * RNG.normal(size=(40, 8))),
    "tiny": lambda: (1e-15 * RNG.normal(size=(20, 8)), 1e-15 * RNG.normal(size=(40, 8))),
}


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_float64(case: str, score: str, biased: bool) -> None:
    queries, candidates = CASES[case]()
    bias = 0.1 * RNG.normal(size=len(candidates)).round(1) if biased else None
    ranking = Ranking.of(queries, candidates, score, bias)
    np.testing.assert_array_equal(top1(ranking), in_float64(ranking))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("case", CASES)
def test_places_and_ties_from_a_product_are_those_of_float64(case: str, score: str) -> None:
    queries, candidates = CASES[case]()
    ranking, rng = Ranking.of(queries, candidates, score), np.random.default_rng(1)
    pairs = np.column_stack([rng.integers(len(side), size=200) for side in (queries, candidates)])
    right = relevance_by_judgements(np.unique(pairs, axis=0), len(queries), len(candidates))
    alone, shared = (
        outcome_of(ranking, right, product=product)
        for product in (None, Product.of(queries, candidates))
    )
    for name in ("top1", "rank", "ties"):
        np.testing.assert_array_equal(getattr(shared, name), getattr(alone, name), err_msg=name)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("case", [*CASES, "unlike", "biased"])
def test_searches_that_add_nothing_read_the_product_and_leave_it(case: str, score: str) -> None:
    queries, candidates = CASES[case if case in CASES else "plain"]()
    if case == "unlike":  # candidates of two lengths, which euclidean and cosine tell apart
        candidates[::2] *= 1.001
    bias = 0.1 * RNG.normal(size=len(candidates)) if case == "biased" else None
    nothing = no_relevance(len(queries), len(candidates))
    task = RetrievalTask(queries, candidates, nothing, score, normalised=False)
    ranking = Ranking.of(queries, candidates, score, bias)
    moved = Moved.of(task.product, ranking)
    if case in ("plain", "near twins", "unlike", "biased"):
        assert moved.bare == (case != "biased" and (score == "dot" or case != "unlike"))
    before = task.product.whole.copy()
    for answers in task.answers([(ranking, moved), (ranking, moved)]):
        np.testing.assert_array_equal(answers, in_float64(ranking))
    np.testing.assert_array_equal(task.product.whole, before)


@pytest.mark.parametrize("k", [1, 3, 30])
@pytest.mark.parametrize("case", [name for name in CASES if name not in ("one point", "tiny")])
def test_leading_candidates_are_those_of_float64(case: str, k: int) -> None:
    queries, candidates = CASES[case]()
    ranking = Ranking.of(queries, candidates, "dot")
    settled, single = Settled.of(ranking), ranking.single()
    found = np.concatenate(
        [
            settled.leading(scores, slice(start, start + len(scores)), k)
            for start, scores in single.score_blocks(7)
        ]
    )
    scores = np.concatenate([s for _, s in ranking.score_blocks()])
    expected, _, _ = lines_top_k(scores, k, ranking.tie_widths)
    np.testing.assert_array_equal(found, np.sort(expected, axis=1))


@pytest.mark.parametrize("k", [1, 7])
def test_the_surely_largest_are_those_of_float64(k: int) -> None:
    queries, candidates = closer_than_float32()
    exact = queries @ candidates.T
    near = nearness(np.ones(len(queries)), 24)
    asked = []

    def again(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows)
        return exact[rows]

    found = surely_largest(exact.astype(np.float32), k, near, again)
    expected = np.argsort(-exact, axis=1)[:, :k]
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(expected, axis=1))
    assert len(asked) == len(queries)


def test_what_float32_cannot_see_is_settled() -> None:
    queries, candidates = closer_than_float32()
    found = top1(Ranking.of(queries, candidates, "dot"))
    np.testing.assert_array_equal(found, np.arange(60) + 60)
    assert (Ranking.of(queries, candidates, "dot").single().queries.dtype) == np.float32
