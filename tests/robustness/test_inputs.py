"""Input-level stress: the split of a perturbation, and answers with replaced rows."""

import numpy as np
import pytest

from isthmus.closers import fit
from isthmus.data.moments import Moments
from isthmus.errors import OptionError, ShapeError
from isthmus.robustness import closed_searches
from isthmus.robustness.inputs import diagnose, measure_inputs
from isthmus.search.relevance import relevance_by_pairs
from isthmus.search.task import RetrievalTask


def world(seed=0, n=30, d=12, gap=1.0):
    """Candidates fill the first 6 of 12 directions; queries stand off by ``gap`` along the last."""
    rng = np.random.default_rng(seed)
    candidates = np.zeros((n, d))
    candidates[:, :6] = rng.standard_normal((n, 6))
    queries = candidates + 0.3 * rng.standard_normal((n, d))
    queries[:, -1] += gap
    return rng, queries, candidates


def task_of(queries, candidates):
    half = np.arange(len(candidates) // 2)
    truth = relevance_by_pairs(len(queries), len(candidates))
    return RetrievalTask.of(
        queries, candidates, truth, candidate_calibration=half, query_calibration=half
    )


def searches(task):
    moments = (Moments.of(task.queries, precise=True), Moments.of(task.candidates, precise=True))
    return closed_searches(
        task,
        [
            fit("none", *moments, score="dot", normalised=False),
            fit("center-queries", *moments, normalised=False),
        ],
    )


def test_shares_of_a_known_perturbation():
    rng, queries, candidates = world(n=400)
    moves = np.zeros_like(candidates)
    moves[:, 0] = 3.0 * rng.choice([-1, 1], len(candidates))  # inside the span, own
    moves[:, 8] = 4.0  # outside the span, shared by all
    found = diagnose(candidates, candidates + moves, queries, candidates, side="candidates")
    assert found.energy == pytest.approx(25.0)
    assert found.in_span == pytest.approx(9 / 25)
    assert found.off_span == pytest.approx(16 / 25)
    mean = moves.mean(axis=0)
    assert found.shared == pytest.approx((mean @ mean) / 25)
    gap = queries.mean(axis=0) - candidates.mean(axis=0)
    assert found.along_gap == pytest.approx(((moves @ gap) ** 2).mean() / (gap @ gap) / 25)


def test_disturbance_is_the_variance_it_adds_to_a_score():
    rng, queries, candidates = world(n=2000, gap=2.0)
    moves = 0.1 * rng.standard_normal(candidates.shape)
    found = diagnose(candidates, candidates + moves, queries, candidates, side="candidates")
    added = queries @ moves.T
    assert found.disturbance == pytest.approx(added.var(axis=1).mean(), rel=1e-6)
    centred = (queries - queries.mean(axis=0)) @ moves.T
    assert found.disturbance_ratio == pytest.approx(
        centred.var(axis=1).mean() / added.var(axis=1).mean(), rel=1e-6
    )
    assert found.helps
    assert found.disturbance_ratio < 0.7


def test_query_side_never_promises_help():
    _, queries, candidates = world(gap=3.0)
    found = diagnose(queries, queries + 0.1, queries, candidates, side="queries")
    assert not found.helps
    assert found.disturbance_ratio == 1.0
    assert "no closing that keeps clean answers can help" in found.words


def test_nothing_moved():
    _, queries, candidates = world()
    found = diagnose(candidates, candidates, queries, candidates, side="candidates")
    assert found.energy == 0
    assert found.words == "nothing moved, so nothing can flip"


def test_numbers_computed_again_give_plain_answers_and_clean_ones_do_not():
    rng, queries, candidates = world(gap=2.0, n=60)
    task = task_of(queries, candidates)
    plain, closed = searches(task)
    drawn = [candidates + 0.8 * rng.standard_normal(candidates.shape) for _ in range(3)]

    def answers(search, bias):
        return measure_inputs(
            task, search, drawn, side="candidates", family="f", level=1.0, bias=bias
        ).answers

    expected = np.stack([(queries @ rows.T).argmax(axis=1) for rows in drawn])
    np.testing.assert_array_equal(answers(plain, "clean"), expected)
    np.testing.assert_array_equal(answers(closed, "again"), expected)
    by_hand = np.stack(
        [
            ((queries - queries.mean(axis=0)) @ rows.T + candidates @ queries.mean(axis=0)).argmax(
                axis=1
            )
            for rows in drawn
        ]
    )
    np.testing.assert_array_equal(answers(closed, "clean"), by_hand)
    assert (answers(closed, "clean") != expected).any()


def test_query_side_replaces_queries():
    _, queries, candidates = world()
    task = task_of(queries, candidates)
    plain, closed = searches(task)
    moved = queries[::-1].copy()
    for search in (plain, closed):
        result = measure_inputs(task, search, [moved], side="queries", family="f", level=1.0)
        np.testing.assert_array_equal(result.answers[0], (moved @ candidates.T).argmax(axis=1))


def test_misfits_are_refused():
    _, queries, candidates = world()
    task = task_of(queries, candidates)
    search = searches(task)[0]
    with pytest.raises(ShapeError, match="expected row i of one to be row i of the other"):
        diagnose(candidates, candidates[1:], queries, candidates, side="candidates")
    with pytest.raises(ShapeError, match=r"perturbed candidates have shape \(29, 12\)"):
        measure_inputs(task, search, [candidates[1:]], side="candidates", family="f", level=1.0)
    with pytest.raises(OptionError, match="say queries or candidates"):
        measure_inputs(task, search, [], side="both", family="f", level=1.0)  # type: ignore[arg-type]
