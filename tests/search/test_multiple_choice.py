"""Questions with their own options: against a plain loop, and what is refused."""

import numpy as np
import pytest

from isthmus.closers import fit
from isthmus.data.moments import Moments
from isthmus.errors import LabelsError
from isthmus.robustness import Perturbation, closed_searches, measure_perturbation
from isthmus.search.outcomes import best_listed
from isthmus.search.relevance import multiple_choice
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask
from refusals import refused


def quiz(rng, n=40, k=25, c=4, d=8):
    queries, candidates = rng.standard_normal((n, d)), rng.standard_normal((k, d))
    lists = np.stack([rng.permutation(k)[:c] for _ in range(n)])
    lists[::5, -1] = -1
    return queries, candidates, lists, rng.integers(0, c - 1, n)


@pytest.mark.parametrize("score", ["dot", "cosine", "euclidean"])
def test_the_answer_is_the_best_of_each_list(score):
    rng = np.random.default_rng(3)
    queries, candidates, lists, _ = quiz(rng)
    bias = rng.standard_normal(len(candidates))
    got = best_listed(Ranking.of(queries, candidates, score, bias), lists)
    for i, row in enumerate(lists):
        values = {}
        for j in row[row >= 0]:
            x = candidates[j]
            values[j] = (
                bias[j]
                + {
                    "dot": queries[i] @ x,
                    "cosine": queries[i] @ x / np.linalg.norm(x),
                    "euclidean": -0.5 * ((queries[i] - x) ** 2).sum()
                    + 0.5 * queries[i] @ queries[i],
                }[score]
            )
        assert got[i] == max(values, key=lambda j: values[j])


def test_tied_options_give_the_lowest_row():
    candidates = np.ones((6, 3))
    lists = np.array([[5, 2, 4], [3, 5, -1]])
    assert best_listed(Ranking.of(np.ones((2, 3)), candidates, "dot"), lists).tolist() == [2, 3]


def test_all_candidates_as_options_is_plain_search():
    rng = np.random.default_rng(5)
    queries, candidates, _, _ = quiz(rng)
    everything = np.tile(np.arange(len(candidates)), (len(queries), 1))
    scores = queries @ candidates.T
    got = best_listed(Ranking.of(queries, candidates, "dot"), everything)
    np.testing.assert_array_equal(got, scores.argmax(axis=1))


def test_the_named_option_is_right_and_unknown_answers_are_not_judged():
    lists, relevance = multiple_choice([[3, 1], [0, 2], [1, 2]], [1, 0, -1], 4)
    assert relevance.task == "multiple-choice"
    assert relevance.pairs.tolist() == [[0, 1], [1, 0]]
    assert relevance.judged.tolist() == [True, True, False]
    assert lists.dtype == np.int64


def test_stress_answers_within_the_lists_and_exact_closers_keep_them():
    rng = np.random.default_rng(7)
    queries, candidates, lists, right = quiz(rng, n=60)
    queries += 2.0
    lists, relevance = multiple_choice(lists, right, len(candidates))
    half = np.arange(10)
    task = RetrievalTask.of(
        queries,
        candidates,
        relevance,
        candidate_calibration=half,
        query_calibration=half,
        lists=lists,
    )
    moments = Moments.of(queries, precise=True), Moments.of(candidates, precise=True)
    closers = [
        fit("none", *moments, score="dot", normalised=False),
        fit("center-queries", *moments, normalised=False),
    ]
    searches = closed_searches(task, closers)
    for result in measure_perturbation(
        task, searches, Perturbation("gaussian", "candidates", 1.0, "total"), trials=3, seed=1
    ):
        assert (result.answers[:, :, None] == lists[None]).any(axis=2).all()
        assert result.search.clean_agreement.all()
        assert result.predicted is None
    assert not np.array_equal(searches[0].clean_top1, (queries @ candidates.T).argmax(axis=1))


@pytest.mark.parametrize(
    ("lists", "right", "code", "fact"),
    [
        ([1, 2], [0], "bad-options", "shape (2,)"),
        ([[0.5, 1.0]], [0], "bad-options", "dtype float64"),
        ([[0, 1]], [0, 1], "bad-options", "2 right answers for 1 questions"),
        ([[0, 9]], [0], "option-out-of-range", "there are 4 candidates"),
        ([[0, -2]], [0], "option-out-of-range", "below -1"),
        ([[0, -1]], [0], "too-few-options", "question 0"),
        ([[0, 1], [2, 2]], [0, 0], "option-twice", "question 1"),
        ([[0, 1]], [2], "answer-not-listed", "question 0"),
        ([[0, 1, -1]], [2], "answer-not-listed", "question 0"),
    ],
)
def test_bad_questions_are_refused(lists, right, code, fact):
    with refused(code, fact, kind=LabelsError):
        multiple_choice(np.array(lists), np.array(right), 4)
