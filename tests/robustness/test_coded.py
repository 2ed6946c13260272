"""Codes searched together and in float32 have the answers of a float64 search of each by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.core.topk import lines_top_k
from isthmus.perturb.codecs import coded_ranking, fit_codec
from isthmus.robustness import Perturbation, closed_searches, measure_perturbations
from isthmus.robustness.signs import sign_product
from isthmus.search.relevance import no_relevance
from isthmus.search.scores import Ranking, first_best
from isthmus.search.task import RetrievalTask
from worlds import fitted, task_of, two_modalities, unit_rows

CLOSERS: dict[str, dict[str, Any]] = {
    "none": {"score": "cosine"},
    "center-queries": {},
    "orthogonal-shift": {},
    "mean-shift": {"score": "cosine"},
    "span": {},
    "low-rank-memo": {"rank": 1},
}
DEPTH = 7


@pytest.fixture(scope="module")
def task() -> RetrievalTask:
    return task_of(*two_modalities(120, 80, seed=8))


def float64_scores(ranking: Ranking) -> np.ndarray:
    return np.concatenate([np.array(s) for _, s in ranking.score_blocks()])


def first_answers(ranking: Ranking) -> np.ndarray:
    return first_best(float64_scores(ranking), ranking.tie_widths)


@pytest.mark.parametrize("family", ["fp16", "int8", "rabitq", "sq4", "sign-bits"])
@pytest.mark.parametrize("target", ["candidates", "both"])
def test_answers_of_codes_are_those_of_float64(
    task: RetrievalTask, family: Any, target: Any
) -> None:
    closers = [
        fitted(name, task.queries, task.candidates, **options) for name, options in CLOSERS.items()
    ]
    searches = closed_searches(task, closers)
    asked = [Perturbation(family, target, 1.0, None, depth) for depth in (0, DEPTH)]
    plain, again = measure_perturbations(task, searches, asked, trials=1, seed=0)
    for search, once, twice in zip(searches, plain, again, strict=True):
        dim = search.stored_dims
        stored, queries = (
            fit_codec(asked[0].codec, rows[some, :dim])
            for rows, some in (
                (search.candidates, task.candidate_calibration),
                (search.queries, task.query_calibration),
            )
        )
        ranking = coded_ranking(
            search.queries,
            search.candidates,
            stored,
            score=search.score,
            bias=search.bias,
            query_codec=queries if target == "both" else None,
            stored=dim,
        )
        np.testing.assert_array_equal(once.answers[0], first_answers(ranking))
        listed, _, _ = lines_top_k(float64_scores(ranking), DEPTH, ranking.tie_widths)
        clean = float64_scores(search.clean)
        outside = np.ones_like(clean, bool)
        np.put_along_axis(outside, listed, False, axis=1)
        clean[outside] = -np.inf
        expected = first_best(clean, search.clean.tie_widths)
        np.testing.assert_array_equal(twice.answers[0], expected)
        inside = (listed == search.clean_top1[:, None]).any(axis=1).mean()
        assert twice.extra["in_shortlist"] == pytest.approx(inside)


@pytest.mark.parametrize("depth", [0, DEPTH])
def test_ties_of_symmetric_sign_codes_are_those_of_float64(depth: int) -> None:
    few = task_of(*two_modalities(90, 9, seed=3))  # ten scores for ninety candidates
    closers = [fitted(n, few.queries, few.candidates, **o) for n, o in CLOSERS.items()]
    searches = closed_searches(few, [c for c in closers if not c.memo])
    asked = [Perturbation("sign-bits", "both", 1.0, None, depth)]
    tied = []
    for search, found in zip(
        searches, measure_perturbations(few, searches, asked, trials=1, seed=0)[0], strict=True
    ):
        sides = search.candidates, search.queries
        rows = few.candidate_calibration, few.query_calibration
        stored, queries = (fit_codec("sign", s[r]) for s, r in zip(sides, rows, strict=True))
        ranking = coded_ranking(
            *reversed(sides), stored, score=search.score, bias=search.bias, query_codec=queries
        )
        top, _, ties = lines_top_k(float64_scores(ranking), 10, ranking.tie_widths)
        clean, _, _ = lines_top_k(float64_scores(search.clean), 10, search.clean.tie_widths)
        assert found.overlap == (top[:, :, None] == clean[:, None]).any(axis=2).mean()
        tied.append(ties.any())
        if depth:
            expected = top[:, :depth]
            inside = (expected == search.clean_top1[:, None]).any(axis=1).mean()
            assert found.extra["in_shortlist"] == inside
        else:
            np.testing.assert_array_equal(found.answers[0], top[:, 0])
    assert any(tied)


@pytest.mark.parametrize(
    ("queries", "dim"), [(1, 5), (2, 5), (7, 128), (333, 2047), (13, 5001), (2100, 3)]
)
def test_products_of_signs_are_exact(queries: int, dim: int) -> None:
    rng = np.random.default_rng(dim)
    rows = rng.normal(size=(40, dim))
    asked = np.resize(rows, (queries, dim)) * np.where(np.arange(queries) % 3, 1, -1)[:, None]
    found = np.empty((queries, len(rows)))
    product = sign_product(Ranking(asked, rows, "dot"))  # the largest sums there are, and others
    product.blocks(lambda part, block: found.__setitem__(part, block))
    np.testing.assert_array_equal(found, np.sign(asked) @ np.sign(rows).T)


@pytest.mark.parametrize(("family", "depths"), [("rabitq", (0, DEPTH)), ("fp16", (0,))])
def test_searches_outside_the_table_have_the_same_answers(
    task: RetrievalTask, family: Any, depths: tuple[int, ...]
) -> None:
    closers = [fitted(n, task.queries, task.candidates, **o) for n, o in CLOSERS.items()]
    searches = closed_searches(task, closers)
    asked = [Perturbation(family, "candidates", 1.0, None, depth) for depth in depths]
    shown, short = (
        measure_perturbations(task, searches, asked, trials=1, seed=0, tabled=tabled)
        for tabled in (None, 1)
    )
    for whole, part in zip(shown, short, strict=True):
        assert [np.isnan(one.overlap) for one in part] == [False] + [True] * (len(closers) - 1)
        for one, other in zip(whole, part, strict=True):
            np.testing.assert_array_equal(one.answers, other.answers)
            assert "codec_error" in one.extra


def test_by_law_nothing_is_drawn_for_what_stands_in_no_table(task: RetrievalTask) -> None:
    closers = [fitted(n, task.queries, task.candidates, **o) for n, o in CLOSERS.items()]
    searches = closed_searches(task, closers)
    asked = [Perturbation("gaussian", "candidates", 0.02, "total")]
    (drawn,), (bare,) = (
        measure_perturbations(task, searches, asked, trials=3, seed=0, by_law=True, tabled=tabled)
        for tabled in (None, 0)
    )
    for one, other in zip(drawn, bare, strict=True):
        assert other.trials == 0
        np.testing.assert_array_equal(one.kept, other.kept)


def test_codes_of_tiny_error_are_not_taken_for_what_they_code() -> None:
    rng = np.random.default_rng(2)
    queries, rows = two_modalities(150, 80, seed=4)
    twins = unit_rows(np.vstack([rows, rows + 1e-4 * rng.normal(size=rows.shape)]))
    near = task_of(queries, twins, no_relevance(len(queries), len(twins)))
    search = closed_searches(near, [fitted("none", queries, rows, score="dot")])
    asked = [Perturbation("fp16", "candidates", 1.0)]
    (shown,), (short,) = (
        measure_perturbations(near, search, asked, trials=1, seed=0, tabled=tabled)[0]
        for tabled in (None, 0)
    )
    np.testing.assert_array_equal(shown.answers, short.answers)
    assert (short.answers[0] != search[0].clean_top1).any()
