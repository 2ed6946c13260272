"""Input-level stress: the split of a perturbation, and answers with replaced rows."""

import numpy as np
import pytest

from isthmus.robustness import Perturbation, closed_searches
from isthmus.robustness.inputs import diagnose, measure_inputs
from isthmus.search.task import RetrievalTask
from refusals import refused
from worlds import fitted


def world(seed=0, n=30, d=12, gap=1.0):
    """Candidates fill the first 6 of 12 directions; queries stand off by ``gap`` along the last."""
    rng = np.random.default_rng(seed)
    candidates = np.zeros((n, d))
    candidates[:, :6] = rng.standard_normal((n, 6))
    queries = candidates + 0.3 * rng.standard_normal((n, d))
    queries[:, -1] += gap
    return rng, RetrievalTask.of(queries, candidates)


def searches(task):
    sides = task.queries, task.candidates
    plain = fitted("none", *sides, score="dot", normalised=False)
    return closed_searches(task, [plain, fitted("center-queries", *sides, normalised=False)])


def moved(task, moves, target="candidates"):
    clean = getattr(task, target)
    return diagnose(clean, clean + moves, task, target=target)


def test_shares_of_a_known_perturbation():
    rng, task = world(n=400)
    moves = np.zeros_like(task.candidates)
    moves[:, 0] = 3.0 * rng.choice([-1, 1], len(moves))  # inside the span, own
    moves[:, 8] = 4.0  # outside the span, shared by all
    found = moved(task, moves)
    assert found.energy == pytest.approx(25.0)
    assert found.in_span == pytest.approx(9 / 25)
    assert found.off_span == pytest.approx(16 / 25)
    mean = moves.mean(axis=0)
    assert found.shared == pytest.approx((mean @ mean) / 25)
    gap = task.queries.mean(axis=0) - task.candidates.mean(axis=0)
    assert found.along_gap == pytest.approx(((moves @ gap) ** 2).mean() / (gap @ gap) / 25)
    assert list(found.to_dict())[:2] == ["side", "energy"]
    assert "target" not in found.to_dict()


def test_disturbance_is_the_variance_it_adds_to_a_score():
    rng, task = world(n=2000, gap=2.0)
    moves = 0.1 * rng.standard_normal(task.candidates.shape)
    found = moved(task, moves)
    added = task.queries @ moves.T
    assert found.disturbance == pytest.approx(added.var(axis=1).mean(), rel=1e-6)
    centred = (task.queries - task.queries.mean(axis=0)) @ moves.T
    ratio = centred.var(axis=1).mean() / added.var(axis=1).mean()
    assert found.disturbance_ratio == pytest.approx(ratio, rel=1e-6)
    assert found.helps
    assert found.disturbance_ratio < 0.7


def test_moved_queries_never_promise_help():
    _, task = world(gap=3.0)
    found = moved(task, 0.1, target="queries")
    assert not found.helps
    assert found.disturbance_ratio == 1.0
    assert "no closing that keeps clean answers can help" in found.words
    still = moved(task, 0.0)
    assert (still.energy, still.words) == (0, "nothing moved, so nothing can flip")


def test_biases_computed_again_give_plain_answers_and_clean_ones_do_not():
    rng, task = world(gap=2.0, n=60)
    queries, candidates = task.queries, task.candidates
    plain, closed = searches(task)
    drawn = [candidates + 0.8 * rng.standard_normal(candidates.shape) for _ in range(3)]

    def answers(search, bias):
        hit = Perturbation("f", "candidates", 1.0, "input")
        return measure_inputs(search, hit, drawn, bias=bias).answers

    expected = np.stack([(queries @ rows.T).argmax(axis=1) for rows in drawn])
    np.testing.assert_array_equal(answers(plain, "clean"), expected)
    np.testing.assert_array_equal(answers(closed, "again"), expected)
    mean = queries.mean(axis=0)
    by_hand = [((queries - mean) @ rows.T + candidates @ mean).argmax(axis=1) for rows in drawn]
    np.testing.assert_array_equal(answers(closed, "clean"), by_hand)
    assert (answers(closed, "clean") != expected).any()


def test_perturbed_queries_replace_queries():
    _, task = world()
    rows = task.queries[::-1].copy()
    for search in searches(task):
        result = measure_inputs(search, Perturbation("f", "queries", 1.0, "input"), [rows])
        np.testing.assert_array_equal(result.answers[0], (rows @ task.candidates.T).argmax(axis=1))


def test_misfits_are_refused():
    _, task = world()
    search, few = searches(task)[0], task.candidates[1:]
    with refused("unequal-shapes", "(29, 12)", "row i of one"):
        diagnose(task.candidates, few, task, target="candidates")
    with refused("unequal-shapes", "perturbed candidates have shape (29, 12)"):
        measure_inputs(search, Perturbation("f", "candidates", 1.0), [few])
    with refused("unknown-input-target", "both"):
        measure_inputs(search, Perturbation("f", "both", 1.0), [])
    with refused("unknown-input-target", "never"):
        measure_inputs(search, Perturbation("f", "candidates", 1.0), [], bias="never")
