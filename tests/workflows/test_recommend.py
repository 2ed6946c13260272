"""The decision of an audit keeps its floor, does nothing where nothing helps, says its numbers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from isthmus.closers import fit
from isthmus.data.moments import Moments
from isthmus.robustness import Perturbation, Result, grid
from isthmus.search.task import RetrievalTask
from isthmus.workflows.recommendation import Question, Rules, advise, decide_on_results
from isthmus.workflows.recommendation.deciding import choose
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


def decided(
    task: RetrievalTask, results: list[Result], score: str, floor: float = 1.0, **options: Any
) -> dict[str, Any]:
    return decide_on_results(replace(task, score=score), results, Rules(floor), **options)


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_the_exact_closer_with_fewest_flips_is_chosen(task: RetrievalTask, score: str) -> None:
    results = results_of(task, STANDARD)
    got = decided(task, results, score)
    assert (got["closer"], got["score"]) == ("center-queries", "dot")
    assert got["clean_agreement"] == 1
    assert got["flip_reference"] == "own"
    judged = [r for r in results if r.perturbation.target == "candidates"]
    base = [r for r in judged if (r.search.closer.name, r.search.score) == ("none", score)]
    chosen = [r for r in judged if r.search.closer.name == "center-queries"]
    before = 1 - np.mean([r.kept for r in base])
    after = 1 - np.mean([r.kept for r in chosen])
    assert got["flips_before"] == pytest.approx(before)
    assert got["flips_after"] == pytest.approx(after)
    assert got["flips_removed"] == pytest.approx(before - after, abs=1e-6)
    low, high = got["flips_removed_ci"]
    assert 0 < low <= got["flips_removed"] <= high
    for part in (
        f"{got['flips_after']:.1%} of 80 answers flip instead of {got['flips_before']:.1%}",
        f"{(before - after) / before:.0%} of the flips",
        "keeps every undisturbed answer by its guarantee",
        "levels 0.01, 0.03",
    ):
        assert part in got["reason"]
    assert "validation" not in got["reason"]
    assert [r["closer"] for r in got["rejected"]] == ["mean-shift"]
    assert "of the clean answers" in got["rejected"][0]["why"]


def test_a_closer_below_the_floor_is_taken_only_where_the_floor_allows(task: RetrievalTask) -> None:
    results = results_of(task, [("none", {"score": "cosine"}), ("mean-shift", {})])
    agreement = float(results[-1].search.clean_agreement.mean())
    assert 0 < agreement < 1
    strict = decided(task, results, "cosine")
    assert strict["closer"] == "none"
    assert strict["reason"].startswith("do nothing: no closer keeps 100.0% of the answers")
    assert strict["flips_removed"] == 0
    assert f"{1 - agreement:.1%}" in strict["rejected"][0]["why"]
    assert decided(task, results, "cosine", agreement)["rejected"] == []
    above = decided(task, results, "cosine", agreement + 1e-9)
    assert above["closer"] == "none"
    assert len(above["rejected"]) == 1


def test_where_nothing_helps_it_says_do_nothing() -> None:
    rng = np.random.default_rng(0)
    q, c = unit_rows(rng.normal(size=(80, 40))), unit_rows(rng.normal(size=(80, 40)))
    q, c = q - q.mean(axis=0), c - c.mean(axis=0)  # no gap at all, and a zero mean
    case = task_of(unit_rows(q), unit_rows(c))
    got = decided(case, results_of(case, STANDARD), "dot")
    assert got["closer"] == "none"
    assert got["reason"].startswith("do nothing: the best that keeps the answers")
    assert f"{got['flips_before']:.1%} of answers flip" in got["reason"]
    assert got["flips_after"] == got["flips_before"]


def test_query_noise_is_no_reason_to_close(task: RetrievalTask) -> None:
    got = decided(task, results_of(task, STANDARD), "cosine", target="queries")
    assert got["closer"] == "none"
    assert "gaussian on queries, levels 0.03" in got["judged_on"]


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
    got = decided(case, results, "euclidean")
    assert got["closer"] == "none"
    assert got["rejected"][0]["closer"] == "center-queries"
    assert got["rejected"][0]["clean_agreement"] == pytest.approx(share)
    assert decided(case, results, "dot")["closer"] == "center-queries"


def test_strengths_of_one_closer_are_judged_apart(task: RetrievalTask) -> None:
    strengths = [("center-queries", {"strength": s}) for s in (0.25, 1.0)]
    results = results_of(task, [("none", {"score": "dot"}), *strengths])
    full = 1 - np.mean([r.kept for r in results[-3:-1]])
    assert decided(task, results, "dot")["flips_after"] == pytest.approx(full)


def test_audit_and_recommend_decide_by_one_code(task: RetrievalTask) -> None:
    """The figures of advice's test queries, put to the audit's decision, give the same closer."""
    question = Question(levels=[0.01, 0.03], closers=["orthogonal-shift", "center-queries"])
    advice = advise(task, question)
    audited = decided(task, results_of(task, STANDARD), "cosine")
    assert (advice.name, advice.score) == (audited["closer"], audited["score"])
    words = "keeps every undisturbed answer by its guarantee"
    assert words in advice.reason
    assert words in audited["reason"]
    assert advice.setup["flip_reference"] == audited["flip_reference"] == "own"


@pytest.mark.parametrize("turned", [False, True])
def test_the_closer_is_picked_by_its_flips_on_the_validation_queries(turned: bool) -> None:
    def closer(order: int, validation: float, test: float) -> Any:
        def part(flips: float) -> Any:
            return SimpleNamespace(flips=flips, removed=0.5 - flips)

        figures = SimpleNamespace(
            passes=True, floats_per_candidate=0, validation=part(validation), test=part(test)
        )
        measured = SimpleNamespace(flips=np.full((2, 50), validation))
        return SimpleNamespace(figures=figures, measured=measured, order=order, is_plain=False)

    first, second = closer(0, 0.4, 0.1), closer(1, 0.1, 0.4)
    if turned:
        first, second = closer(0, 0.1, 0.4), closer(1, 0.4, 0.1)
    assert choose(Rules(), [first, second]) is (first if turned else second)
