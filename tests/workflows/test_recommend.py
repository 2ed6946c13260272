"""The recommendation keeps its floor, leaves alone what nothing helps, and says its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.closers import fit
from isthmus.data.moments import Moments
from isthmus.robustness import Perturbation, Result, grid
from isthmus.search.task import RetrievalTask
from isthmus.workflows.recommendation import recommend
from worlds import task_of, two_modalities, unit_rows

CELLS = [Perturbation("gaussian", "candidates", level, "total") for level in (0.01, 0.03)]


def results_of(task: RetrievalTask, closers: list[tuple[str, dict[str, Any]]]) -> list[Result]:
    q = Moments.of(task.queries, precise=True)
    c = Moments.of(task.candidates, precise=True)
    fits = [fit(name, q, c, **options) for name, options in closers]
    perturbations = [*CELLS, Perturbation("gaussian", "queries", 0.03, "total")]
    return grid(task, fits, perturbations, trials=12, seed=0)


@pytest.fixture(scope="module")
def task() -> RetrievalTask:
    return task_of(*two_modalities(80, 60, seed=1, gap=1.0))


STANDARD: list[tuple[str, dict[str, Any]]] = [
    ("none", {"score": "cosine"}),
    ("none", {"score": "euclidean"}),
    ("none", {"score": "dot"}),
    ("mean-shift", {}),
    ("orthogonal-shift", {}),
    ("center-queries", {}),
]


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_the_exact_closer_with_fewest_flips_is_chosen(task: RetrievalTask, score: str) -> None:
    results = results_of(task, STANDARD)
    got = recommend(results, score=score)
    assert (got.closer, got.score) == ("center-queries", "dot")
    assert got.clean_agreement == 1
    judged = [r for r in results if r.perturbation.target == "candidates"]
    base = [r for r in judged if (r.search.closer.name, r.search.score) == ("none", score)]
    chosen = [r for r in judged if r.search.closer.name == "center-queries"]
    before = 1 - np.mean([r.kept for r in base])
    after = 1 - np.mean([r.kept for r in chosen])
    assert got.flips_before == pytest.approx(before)
    assert got.flips_after == pytest.approx(after)
    assert got.flips_removed == pytest.approx(before - after, abs=1e-6)
    assert 0 < got.flips_removed_ci[0] <= got.flips_removed <= got.flips_removed_ci[1]
    for part in (
        f"{got.flips_before:.1%} of answers flip without it",
        f"{got.flips_after:.1%} with it",
        f"{(before - after) / before:.0%} of the flips",
        "100.0%",
        "levels 0.01, 0.03",
    ):
        assert part in got.reason
    assert got.to_dict()["closer"] == "center-queries"
    assert [r["closer"] for r in got.rejected] == ["mean-shift"]
    assert "of the clean answers" in got.rejected[0]["why"]


def test_a_closer_below_the_floor_is_taken_only_where_the_floor_allows(task: RetrievalTask) -> None:
    results = results_of(task, [("none", {"score": "cosine"}), ("mean-shift", {})])
    agreement = float(results[-1].search.clean_agreement.mean())
    assert 0 < agreement < 1
    strict = recommend(results, score="cosine")
    assert strict.closer == "none"
    assert strict.reason.startswith("leave it alone: no closer keeps 100.0% of the clean answers")
    assert strict.flips_removed == 0
    assert f"{1 - agreement:.1%}" in strict.rejected[0]["why"]
    barely = recommend(results, score="cosine", floor=agreement)
    assert barely.rejected == ()
    above = recommend(results, score="cosine", floor=agreement + 1e-9)
    assert above.closer == "none"
    assert len(above.rejected) == 1


def test_where_nothing_helps_it_says_leave_it_alone() -> None:
    rng = np.random.default_rng(0)
    q, c = unit_rows(rng.normal(size=(80, 40))), unit_rows(rng.normal(size=(80, 40)))
    q, c = q - q.mean(axis=0), c - c.mean(axis=0)  # no gap at all, and a zero mean
    results = results_of(task_of(unit_rows(q), unit_rows(c)), STANDARD)
    got = recommend(results, score="dot")
    assert got.closer == "none"
    assert got.reason.startswith("leave it alone: the best closer that keeps the clean answers")
    assert f"{got.flips_before:.1%} of answers flip" in got.reason
    assert got.flips_after == got.flips_before


def test_query_noise_is_no_reason_to_close(task: RetrievalTask) -> None:
    got = recommend(results_of(task, STANDARD), score="cosine", side="queries")
    assert got.closer == "none"
    assert "gaussian on queries, levels 0.03" in got.judged_on


def test_answers_are_compared_with_those_of_the_score_in_use() -> None:
    """Exact under dot is not exact for a user who searches by distance among unequal norms."""
    a, b = two_modalities(80, 60, seed=3, gap=1.0)
    b = b * np.random.default_rng(0).uniform(0.7, 1.4, size=(80, 1))
    case = task_of(a, b)
    closers: list[tuple[str, dict[str, Any]]] = [
        ("none", {"score": "euclidean", "normalised": False}),
        ("none", {"score": "dot", "normalised": False}),
        ("center-queries", {"normalised": False}),
    ]
    results = results_of(case, closers)
    assert results[-1].search.clean_agreement.all()  # under its own score
    by_distance = results[0].search.clean_top1
    share = float((results[-1].search.clean_top1 == by_distance).mean())
    assert share < 1
    got = recommend(results, score="euclidean")
    assert got.closer == "none"
    assert got.rejected[0]["closer"] == "center-queries"
    assert got.rejected[0]["clean_agreement"] == pytest.approx(share)
    assert recommend(results, score="dot").closer == "center-queries"


def test_strengths_of_one_closer_are_judged_apart(task: RetrievalTask) -> None:
    results = results_of(
        task,
        [
            ("none", {"score": "dot"}),
            ("center-queries", {"strength": 0.25}),
            ("center-queries", {"strength": 1.0}),
        ],
    )
    got = recommend(results, score="dot")
    full = 1 - np.mean([r.kept for r in results[-3:-1]])
    assert got.flips_after == pytest.approx(full)


def test_a_cosine_user_is_served_where_only_dot_was_measured(task: RetrievalTask) -> None:
    results = results_of(task, [("none", {"score": "dot"}), ("center-queries", {})])
    assert recommend(results, score="cosine").closer == "center-queries"
