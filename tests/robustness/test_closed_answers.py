"""Answers after closing from float32 rows are those of a float64 search of mapped rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.closers import METHODS
from isthmus.closers.closer import Closer
from isthmus.robustness import answers as module
from isthmus.robustness import closed_answers, closed_searches
from isthmus.search.relevance import no_relevance
from isthmus.search.scores import SCORES, first_best
from isthmus.search.task import RetrievalTask
from isthmus.theory.rows import closed_ranking
from worlds import fitted, task_of, two_modalities, unit_rows

Rows = tuple[np.ndarray, np.ndarray]
STRENGTHS = (1.0, 0.5, 1.7)


def twins() -> Rows:
    """Unit rows; every candidate has a twin that float32 cannot tell from it, some an equal one."""
    queries, candidates = two_modalities(60, 24, seed=3)
    near = unit_rows(candidates + 1e-9 * np.random.default_rng(5).normal(size=candidates.shape))
    return queries, np.vstack([candidates, near, candidates[::4]])


def far(distance: float) -> Rows:
    """Rows of many lengths, all of them far from zero."""
    queries, candidates = twins()
    rng = np.random.default_rng(6)
    lengths = (rng.uniform(0.5, 2, size=(len(side), 1)) for side in (queries, candidates))
    queries, candidates = (
        side * size + distance for side, size in zip((queries, candidates), lengths, strict=True)
    )
    return queries, candidates


WORLDS: dict[str, Callable[[], Rows]] = {
    "unit": twins,
    "raw": lambda: far(0.2),
    "off": lambda: far(30),
    "far": lambda: far(3e4),
}


def searched(queries: np.ndarray, candidates: np.ndarray) -> RetrievalTask:
    return task_of(queries, candidates, no_relevance(len(queries), len(candidates)))


def closers_of(name: str, queries: np.ndarray, candidates: np.ndarray) -> list[Closer]:
    """A method at every score and strength that it takes."""
    method = METHODS[name]
    normalised = np.allclose(np.linalg.norm(candidates, axis=1), 1)
    return [
        fitted(name, queries, candidates, score=score, normalised=normalised, **options)
        for score in SCORES
        if score in method.scores
        for options in ([{"strength": s} for s in STRENGTHS] if method.has_strength else [{}])
    ]


def in_float64(closer: Closer, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Whole lines of float64 scores of rows mapped in float64."""
    ranking = closed_ranking(closer, queries, candidates)
    return np.concatenate(
        [first_best(s, ranking.tie_widths[i : i + len(s)]) for i, s in ranking.score_blocks()]
    )


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", METHODS)
def test_answers_are_those_of_float64(name: str, world: str) -> None:
    queries, candidates = WORLDS[world]()
    closers = closers_of(name, queries, candidates)
    found = closed_answers(searched(queries, candidates), closers)
    for closer, answers in zip(closers, found, strict=True):
        expected = in_float64(closer, queries, candidates)
        np.testing.assert_array_equal(answers, expected, f"{closer.score} {closer.strength}")


def test_unit_rows_are_never_mapped_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a closer whose queries lie between those known needs no product of its own."""
    made: list[float] = []
    blend = module.Blend

    def counted(*parts: Any, weight: float, **more: Any) -> module.Blend:
        made.append(weight)
        return blend(*parts, weight=weight, **more)

    def refuse(*_: Any) -> None:
        raise AssertionError("rows were mapped in float64")

    monkeypatch.setattr(module, "closed_searches", refuse)
    monkeypatch.setattr(module, "Blend", counted)
    queries, candidates = twins()
    closed_answers(
        searched(queries, candidates),
        [c for name in METHODS for c in closers_of(name, queries, candidates)],
    )
    linear = ("standardise", "procrustes", "coral", "gaussian-ot")
    of_each = len(SCORES) * len(STRENGTHS) - 1  # all but the first
    assert len(made) == len(linear) * of_each
    assert set(np.round(made, 9)) == {0.5, 1.0, 1.7}


@pytest.mark.parametrize("with_", ["lists", "items"])
def test_lists_and_items_are_kept_to(with_: str) -> None:
    queries, candidates = twins()
    task, rng = searched(queries, candidates), np.random.default_rng(2)
    if with_ == "lists":
        lists = np.sort(rng.permuted(np.tile(np.arange(len(candidates)), (60, 1)), axis=1)[:, :5])
        task = replace(task, lists=lists)
    else:
        task = replace(task, candidate_items=np.arange(len(candidates)) // 3 * 3)
    closers = [
        closer
        for name in ("none", "mean-shift", "whitening", "standardise")
        for closer in closers_of(name, queries, candidates)
    ]
    searches = closed_searches(task, closers)
    for search, answers in zip(searches, closed_answers(task, closers), strict=True):
        np.testing.assert_array_equal(answers, search.clean_top1)


def test_no_closers_have_no_answers() -> None:
    task = searched(*twins())
    assert closed_answers(task, []) == []


@pytest.mark.parametrize("name", ["low-rank-memo", "subspace", "whitening", "mean-shift"])
def test_products_that_are_kept_change_no_answer(name: str) -> None:
    """And no product is taken twice."""
    queries, candidates = twins()
    task, closers = searched(queries, candidates), closers_of(name, queries, candidates)
    plain = closed_searches(task, closers)
    for before, search in zip(plain, closed_searches(task, closers, kept=True), strict=True):
        np.testing.assert_array_equal(search.clean_top1, before.clean_top1)
        assert ("product" in vars(search)) == (search.moved is None)
        if search.moved is None:
            single = search.clean.single()
            whole = vars(search.product)["whole"]
            np.testing.assert_allclose(whole, single.queries @ single.candidates.T, atol=1e-5)
