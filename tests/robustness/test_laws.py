"""Rows of the stress table that go by a law: against draws, and what they say of themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.core.arrays import Facts
from isthmus.robustness import (
    Perturbation,
    closed_searches,
    measure_perturbation,
    measure_perturbations,
    row_of,
    rows_of,
)
from isthmus.robustness import draws as drawing
from isthmus.robustness.draws import checked_queries
from isthmus.robustness.laws import CHECKS
from isthmus.robustness.searches import ClosedSearch
from isthmus.search.relevance import relevance_by_judgements
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves import consistency, curves_over
from isthmus.theory.prediction import keep_probabilities
from worlds import fitted, task_of, two_modalities

CLOSERS = (
    ("none", {"score": "cosine"}),
    ("none", {"score": "dot"}),
    ("none", {"score": "euclidean"}),
    ("center-queries", {}),
    ("orthogonal-shift", {}),
    ("biased-shift", {"score": "euclidean"}),
    ("mean-shift", {"score": "cosine"}),
    ("span", {}),
)
LEVELS = [Perturbation("gaussian", "candidates", level, "total") for level in (0.05, 0.3)]


@pytest.fixture(scope="module")
def task() -> RetrievalTask:
    q, c = two_modalities(160, 72, seed=21)
    right = np.column_stack([np.arange(120), np.arange(120)])
    right = np.vstack([right, [[5, 40], [7, 41], [7, 42]]])  # some have several right answers
    return task_of(q[:130], c, relevance_by_judgements(right, 130, 160))


def searches_of(task: RetrievalTask) -> list:
    closers = [fitted(name, task.queries, task.candidates, **o) for name, o in CLOSERS]
    return closed_searches(task, closers)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["candidates", "queries", "both"])
def test_shares_by_law_are_those_of_400_draws(task: RetrievalTask, target: Any) -> None:
    searches = searches_of(task)
    levels = [replace(level, target=target) for level in LEVELS]
    by_law = measure_perturbations(task, searches, levels, trials=60, seed=3, by_law=True)
    drawn = measure_perturbations(task, searches, levels, trials=400, seed=4)
    judged = task.relevance.judged
    for laws, draws in zip(by_law, drawn, strict=True):
        for law, draw in zip(laws, draws, strict=True):
            name = f"{law.search.closer.name} {law.search.score}"
            assert law.law is not None, name
            assert law.kept.shape == (1 if target == "candidates" else len(law.kept), 130)
            assert len(law.kept) >= (4 if target != "candidates" else 1)
            pairs = (
                (law.kept, draw.kept),
                (law.as_today, draw.as_today),
                (law.correct(task.relevance)[:, judged], draw.correct(task.relevance)[:, judged]),
                (law.flips("own"), draw.flips("own")),
            )
            for found, outcomes in pairs:
                shares = outcomes.mean(axis=1)
                error = shares.std(ddof=1) / np.sqrt(len(shares))
                if len(found) > 1:
                    error = np.hypot(error, found.mean(axis=1).std(ddof=1) / np.sqrt(len(found)))
                # 64 comparisons: 3.5 standard errors are one in 2,000 each
                known = law.law.error if target == "candidates" else 1e-4
                assert abs(found.mean() - shares.mean()) < 3.5 * error + known, name
            if target == "candidates":
                assert draw.predicted == pytest.approx(law.kept.mean(), abs=1e-6)


def test_what_closing_cannot_change_is_one_law(task: RetrievalTask) -> None:
    """Noise on queries: closers that rank alike have the same chances, and no gain at all."""
    level = Perturbation("gaussian", "queries", 0.3, "total")
    results = measure_perturbation(task, searches_of(task), level, trials=60, seed=3, by_law=True)
    plain = results[1].kept
    for result in results:
        assert result.law is not None
        exact = result.search.closer.guarantee.kind == "exact"
        if exact and result.search.score == "dot" and result.search.closer.name != "span":
            np.testing.assert_array_equal(result.kept, plain)
    rows = {row["closer"]: row for row in rows_of(task, results, 0)}
    row = rows["center-queries"]
    assert (row["gain"], row["gain_lo"], row["gain_hi"]) == (0, 0, 0)
    assert rows["mean-shift"]["gain"] != 0
    assert row["interval_covers"] == "queries and draws"
    assert 1e-5 < row["law_error"] < 0.02


def test_a_row_says_what_it_goes_by_and_what_its_intervals_cover(task: RetrievalTask) -> None:
    searches = searches_of(task)[:2]
    law, drawn = (
        row_of(
            task, measure_perturbation(task, searches, LEVELS[0], trials=30, seed=3, by_law=b)[1], 3
        )
        for b in (True, False)
    )
    assert (law["by"], law["interval_covers"], law["trials"]) == ("law", "queries", CHECKS)
    assert (drawn["by"], drawn["interval_covers"], drawn["trials"]) == (
        "drawn",
        "queries and draws",
        30,
    )
    assert law["checked_lo"] < law["checked"] < law["checked_hi"]
    assert drawn["checked"] is drawn["checked_lo"] is drawn["law_error"] is None
    assert (law["checked_queries"], drawn["checked_queries"]) == (130, None)
    assert (
        law["checked"]
        != law["consistency"]
        == pytest.approx(law["predicted_consistency"], abs=1e-6)
    )
    # the check is of the same draws as the first of a drawn row
    again = measure_perturbation(task, searches, LEVELS[0], trials=CHECKS, seed=3)[1]
    assert law["checked"] == again.kept.mean()
    assert law["consistency_lo"] < law["consistency"] < law["consistency_hi"]


@pytest.mark.parametrize("target", ["candidates", "queries", "both"])
def test_laws_of_many_queries_are_checked_on_a_sample(
    task: RetrievalTask, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the sample the draws are those of all queries, and nothing else of a row changes."""
    levels = [replace(level, target=target) for level in LEVELS]
    mapped = fitted("whitening", task.queries, task.candidates, score="dot")  # shares no product
    searches = [*searches_of(task), *closed_searches(task, [mapped])]
    for module in ("draws", "searches"):
        monkeypatch.setattr(f"isthmus.robustness.{module}.HEAD", 30)
    drawn = measure_perturbations(task, searches, levels, trials=CHECKS, seed=3)
    whole = measure_perturbations(task, searches, levels, trials=60, seed=3, by_law=True)
    monkeypatch.setattr("isthmus.robustness.draws.CHECKED", 50)
    rows = checked_queries(task, 3)
    assert rows is not None
    assert len(np.unique(rows)) == 50
    assert rows.max() > 80
    assert not np.array_equal(rows, checked_queries(task, 4))
    found = measure_perturbations(task, searches, levels, trials=60, seed=3, by_law=True)
    for one, all_of_them, draws in zip(*map(sum, (found, whole, drawn), ([],) * 3), strict=True):
        np.testing.assert_array_equal(one.answers, draws.answers[:, rows])
        np.testing.assert_array_equal(one.checked, draws.kept[:, rows])
        assert one.overlap == draws.overlap
        before, after = (row_of(task, result, 3) for result in (all_of_them, one))
        assert (before["checked_queries"], after["checked_queries"]) == (130, 50)
        assert after["checked"] == draws.kept[:, rows].mean()
        assert {name for name in before if before[name] != after[name]} <= {
            "checked",
            "checked_lo",
            "checked_hi",
            "checked_queries",
        }


def test_there_is_no_law_for_what_no_formula_speaks_of(task: RetrievalTask) -> None:
    searches = searches_of(task)[:1]
    items = np.arange(160)
    items[1] = 0
    of_items = replace(task, candidate_items=items)
    many = np.column_stack([np.zeros(6, int), np.arange(6)])
    of_many = replace(task, relevance=relevance_by_judgements(many, 130, 160))
    short = task_of(task.queries[:, :40], task.candidates[:, :40], task.relevance)
    cases = [
        (task, Perturbation("uniform", "candidates", 0.05, "total")),
        (task, Perturbation("gaussian", "shared", 0.05, "total")),
        (task, Perturbation("covariance", "candidates", 0.05, "total")),
        (short, LEVELS[0]),
        (of_items, LEVELS[0]),
        (of_many, LEVELS[0]),
        (of_items, replace(LEVELS[0], target="queries")),
        (of_many, replace(LEVELS[0], target="both")),
        (short, replace(LEVELS[0], target="both")),
        (task, Perturbation("uniform", "queries", 0.05, "total")),
    ]
    for case, perturbation in cases:
        mine = searches if case is task else searches_of(case)[:1]
        result = measure_perturbation(case, mine, perturbation, trials=5, seed=0, by_law=True)[0]
        assert result.law is None
        assert result.answers.shape == (5, 130)
        assert row_of(case, result, 0)["by"] == "drawn"


@pytest.mark.parametrize("few", [60 * 50, 60 * 50 - 1])
def test_in_few_dimensions_many_rows_are_drawn_and_not_predicted(
    monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(consistency, "FEW_PAIRS", few)
    q, c = two_modalities(60, 3, seed=5)
    task = task_of(q, c[:50], relevance_by_judgements(np.zeros((1, 2), int), 60, 50))
    closers = [("none", {"score": "euclidean"}), ("biased-shift", {"score": "euclidean"})]
    searches = closed_searches(task, [fitted(name, q, c[:50], **o) for name, o in closers])
    level = replace(LEVELS[0], level=0.01)
    results = measure_perturbation(task, searches, level, trials=300, seed=3, by_law=True)
    curves = curves_over(task.product, [(s.clean, s.moved) for s in searches], [0.01])
    for search, result, curve in zip(searches, results, curves, strict=True):
        row = row_of(task, result, 0)
        assert (row["by"], row["trials"]) == ("drawn", 300)
        exact = keep_probabilities(search.clean, 0.01).value.mean()
        shares = result.kept.mean(axis=1)
        error = shares.std(ddof=1) / np.sqrt(300)
        assert 5 * error < abs(shares.mean() - 1)
        assert abs(shares.mean() - exact) < 3.5 * error
        if few < 60 * 50:
            assert row["predicted_consistency"] is curve is None
        else:
            assert row["predicted_consistency"] == pytest.approx(exact, abs=1e-6)
            assert curve.value[0] == pytest.approx(exact, abs=1e-6)


def test_parts_of_the_queries_have_the_laws_of_all_and_multiply_nothing(
    task: RetrievalTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products that closers which do more than move rows have of their own are cut, too."""
    closers = [
        fitted("low-rank-memo", task.queries, task.candidates, score="dot"),
        fitted("whitening", task.queries, task.candidates, score="dot"),
        fitted("subspace", task.queries, task.candidates, score="euclidean", rank=66),
    ]
    searches = closed_searches(task, closers, kept=True)
    assert all(search.moved is None for search in searches)
    rows = np.arange(3, 90, 4)
    part = replace(task.restricted(rows), facts=Facts())
    some = [search.restricted(part, rows) for search in searches]
    level = Perturbation("gaussian", "candidates", 0.3, "total")
    expected = laws_of(part, closed_searches(part, closers), level)
    multiply, made = np.matmul, []

    def counted(a: np.ndarray, b: np.ndarray, **more: Any) -> np.ndarray:
        made.append(b.shape)
        return multiply(a, b, **more)

    monkeypatch.setattr(np, "matmul", counted)
    found = laws_of(part, some, level)
    assert not [shape for shape in made if shape[1] == len(task.candidates)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_laws_from_the_product_of_the_rows_are_those_of_mapped_rows(
    task: RetrievalTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = Perturbation("gaussian", "candidates", 0.3, "total")
    closers = [
        *(fitted(name, task.queries, task.candidates, **o) for name, o in CLOSERS[:-1]),
        fitted("center-both", task.queries, task.candidates, score="dot"),
        fitted("ridge-shift", task.queries, task.candidates, score="euclidean", noise=0.1),
    ]
    searches = closed_searches(task, closers)
    assert all(search.moved is not None for search in searches)
    shared = laws_of(task, searches, level)
    monkeypatch.setattr(ClosedSearch, "moved", None)
    for search, one, other in zip(
        searches, shared, laws_of(task, closed_searches(task, closers), level), strict=True
    ):
        name = f"{search.closer.name} {search.score}"
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=name)


def laws_of(task: RetrievalTask, searches: list, level: Perturbation) -> list[np.ndarray]:
    """Chances to keep the answer, by laws alone."""
    found = measure_perturbations(task, searches, [level], trials=60, seed=3, by_law=True, tabled=0)
    return [result.law.kept for result in found[0]]


@pytest.mark.parametrize("target", ["candidates", "shared", "queries", "both"])
def test_draws_from_shared_products_are_those_of_disturbed_rows(
    target: Any, task: RetrievalTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [Perturbation("gaussian", target, level, "total") for level in (0.05, 0.3)]
    closers = [
        *(fitted(name, task.queries, task.candidates, **o) for name, o in CLOSERS),
        fitted("mean-shift", task.queries, task.candidates, score="cosine", side="candidate"),
        fitted("centering", task.queries, task.candidates, score="cosine"),
    ]
    searches = closed_searches(task, closers)
    shared = measure_perturbations(task, searches, levels, trials=3, seed=5)
    monkeypatch.setattr(drawing._Trial, "_shares", lambda *_: False)
    alone = measure_perturbations(task, searches, levels, trials=3, seed=5)
    for some, others in zip(shared, alone, strict=True):
        for one, other in zip(some, others, strict=True):
            name = f"{one.search.closer.name} {one.search.score}"
            np.testing.assert_array_equal(one.answers, other.answers, name)


def test_draws_kept_for_others_are_those_of_each_by_itself(task: RetrievalTask) -> None:
    asked = [
        Perturbation(family, target, 0.05, "total")
        for family in ("gaussian", "uniform")
        for target in ("candidates", "shared", "queries", "both")
    ]

    def answers(task: RetrievalTask, some: list[Perturbation], seed: int) -> list[np.ndarray]:
        searches = searches_of(task)[2:]
        found = measure_perturbations(task, searches, some, trials=2, seed=seed)
        return [result.answers for results in found for result in results]

    seen = []
    for seed in (0, 1):
        seen.append(answers(task, asked, seed))
        fresh = (replace(task, facts=Facts()) for _ in asked)
        alone = [answers(own, [one], seed) for own, one in zip(fresh, asked, strict=True)]
        np.testing.assert_array_equal(seen[-1], np.concatenate(alone))
    assert not np.array_equal(*seen)
