"""Closers over a whole gallery: one pass, or lists of neighbours, against the law over all rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import stress
from isthmus.closers import fit
from isthmus.closers.closer import Closer
from isthmus.data.neighbours import Neighbours, read_neighbours
from isthmus.robustness import gallery as module
from isthmus.robustness.gallery import (
    GalleryFigures,
    gallery_figures,
    is_sampled,
    neighbour_figures,
)
from isthmus.search.opening import open_task
from isthmus.search.outcomes import outcome_of
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves import consistency_curve
from isthmus.theory.curves.consistency import swept
from isthmus.theory.curves.sweep import Sweep
from isthmus.theory.rows import closed_ranking
from refusals import refused
from worlds import two_modalities

LEVELS = (0.005, 0.04)
ROWS, DIM, SAMPLE = 1500, 64, 200


def rows_of(repeats: bool = True, near: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 queries, a gallery of float16 rows, some of which repeat, and what is right."""
    q, x = two_modalities(ROWS, DIM, seed=3)
    right = np.random.default_rng(0).permutation(ROWS)[:60]
    x = x.astype(np.float16)
    if near:  # two views of each item
        x[1::2] = x[::2] * np.float16(0.99) + x[1::2] * np.float16(0.02)
    if repeats:
        x[700:720] = x[right[:20]]
    return q[right].astype(np.float16), x, np.stack([np.arange(60), right], axis=1)


def task_of(
    most: int | None = SAMPLE, repeats: bool = True, near: bool = False, **options: Any
) -> RetrievalTask:
    q, x, relevance = rows_of(repeats, near)
    options = {"relevance": relevance, "summarised": True, "distinct": False} | options
    return open_task(q, x, max_rows=most, **options).distinct()


def closers_of(task: RetrievalTask, score: str = "cosine") -> list[Closer]:
    moments = task.query_moments, task.candidate_moments
    kind = {"normalised": task.normalised}
    plain = [fit("none", *moments, score=s, **kind) for s in ("dot", "euclidean", "cosine")]
    names = ("center-queries", "orthogonal-shift", "mean-shift", "ridge-shift", "low-rank-memo")
    names += ("biased-shift",)
    return [*plain, *(fit(name, *moments, **kind) for name in names)]


def expected(task: RetrievalTask, closer: Closer) -> list[float]:
    """By the law over all rows, in float64."""
    ranking = closed_ranking(closer, task.queries, task.candidates)
    spreads = None
    if closer.memo:
        stored = ranking.candidates.shape[1] - closer.memo
        spreads = np.linalg.norm(ranking.queries[:, :stored], axis=1) / np.sqrt(stored)
    curve = consistency_curve(ranking, LEVELS, spreads=spreads, items=task.candidate_items)
    assert curve is not None
    return curve.value.tolist()


def agrees(found: GalleryFigures, task: RetrievalTask, closers: list[Closer], atol: float) -> None:
    by_closer = {(c.name, c.score): c for c in closers}
    assert found.table
    for row in found.table:
        closer = by_closer[row["closer"], row["score"]]
        value = expected(task, closer)[LEVELS.index(row["level"])]
        assert row["consistency"] == pytest.approx(value, abs=atol)
        assert row["consistency_lo"] < row["consistency"] < row["consistency_hi"]
        if ("none", row["score"]) in by_closer:
            base = expected(task, by_closer["none", row["score"]])[LEVELS.index(row["level"])]
            assert row["gain"] == pytest.approx(value - base, abs=2 * atol)


@pytest.mark.slow
def test_one_pass_gives_the_figures_of_the_whole_gallery() -> None:
    sample, whole = task_of(), task_of(None)
    assert is_sampled(sample)
    assert not is_sampled(whole)
    closers = closers_of(sample)
    found = gallery_figures(sample, closers, LEVELS, "total")
    # closers fitted on all rows are the same: moments are of all rows
    agrees(found, whole, closers, 2e-5)
    assert (found.rows, found.different, found.queries) == (ROWS, ROWS - 20, 60)
    assert found.left_out == []
    # chances of the right row over all rows, from tests/theory, of plain search and a closer
    for closer in closers:
        if closer.name not in ("none", "center-queries", "biased-shift"):
            continue
        ranking = closed_ranking(closer, whole.queries, whole.candidates).single()
        right = np.full(60, -1)
        right[whole.relevance.pairs[:, 0]] = whole.relevance.pairs[:, 1]
        (curve,) = swept([Sweep(ranking, np.array(LEVELS))], ranking, [right])
        assert curve.aimed is not None
        mine = [r for r in found.table if (r["closer"], r["score"]) == (closer.name, closer.score)]
        np.testing.assert_allclose(
            [row["accuracy"] for row in mine], curve.aimed[0].mean(axis=1), atol=5e-5
        )
    outcome = outcome_of(whole.plain(), whole.relevance)
    assert found.clean is not None
    for k in (1, 5, 10):
        assert found.clean[f"recall@{k}"] == pytest.approx(outcome.hit(k).mean())
    dict_form = found.to_dict()
    assert len(dict_form["stress"]) == len(found.table)


def test_searches_that_rank_alike_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of()
    seen: list[int] = []
    plain = module.search_gallery

    def counted(source: Any, searches: Any, **options: Any) -> Any:
        seen.append(len(searches))
        return plain(source, searches, **options)

    monkeypatch.setattr(module, "search_gallery", counted)
    gallery_figures(task, closers_of(task), LEVELS, "total")
    # plain search by all scores of unit rows and four exact closers; mean-shift; ridge-shift
    assert seen == [3]


def test_named_items_are_no_rivals_of_each_other() -> None:
    names = np.arange(ROWS) // 2
    sample, whole = (task_of(most, False, True, candidate_items=names) for most in (SAMPLE, None))
    closers = closers_of(sample)[:2]
    found = gallery_figures(sample, closers, LEVELS, "total")
    agrees(found, whole, closers, 2e-5)
    rows = gallery_figures(task_of(SAMPLE, False, True), closers, LEVELS, "total").table
    assert found.table[0]["consistency"] > rows[0]["consistency"] + 0.1


@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_rows_of_any_norm_are_searched_as_they_are(score: str) -> None:
    q, x, relevance = rows_of(repeats=False)
    x = (x * np.random.default_rng(0).uniform(0.8, 1.2, (ROWS, 1))).astype(np.float32)
    options: dict[str, Any] = {"relevance": relevance, "score": score, "summarised": True}
    sample, whole = (open_task(q, x, max_rows=most, **options) for most in (SAMPLE, None))
    moments = sample.query_moments, sample.candidate_moments
    exact = "center-queries" if score == "dot" else "orthogonal-shift"
    closers = [fit(name, *moments, score=score, normalised=False) for name in ("none", exact)]
    if score == "euclidean":  # one that ranks as plain search does, and one with answers of its own
        biased = fit("biased-shift", *moments, normalised=False)
        assert biased.bias_weights is not None
        own = replace(biased, name="half-biased", bias_weights=0.5 * biased.bias_weights)
        closers += [biased, own]
    found = gallery_figures(sample, closers, LEVELS, "total")
    agrees(found, whole, closers, 2e-5)
    assert found.left_out == []


def lists_of(task: RetrievalTask, score: str, names: bool = True) -> Neighbours:
    """What a store would return for every query."""
    best = top_k(Ranking.of(task.queries, task.candidates, score), 80)
    scores = best.scores
    if score == "euclidean":
        squares = np.einsum("ij,ij->i", task.queries, task.queries)[:, None]
        scores = np.sqrt(np.maximum(squares - 2 * scores, 0))
    query = np.repeat(np.arange(len(scores)), 80)
    named = [f"id-{row}" for row in best.rows.ravel()]
    return read_neighbours(
        [query, named, np.round(scores.ravel(), 7)], len(scores), distances=score == "euclidean"
    )


def random_task(score: str) -> tuple[RetrievalTask, RetrievalTask]:
    """The whole gallery, and a task whose candidates are random rows of it."""
    q, x, _ = rows_of(repeats=False)
    options: dict[str, Any] = {"score": score, "paired": False, "summarised": True}
    some = np.random.default_rng(9).choice(ROWS, 1000, replace=False)
    whole = open_task(q, x, **options)
    return whole, open_task(q, x[some], **options)


@pytest.mark.slow
@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_lists_of_a_store_give_the_same_figures(score: str) -> None:
    whole, task = random_task(score)
    closers = closers_of(task)
    found = neighbour_figures(task, closers, LEVELS, "total", lists_of(whole, score), count=ROWS)
    agrees(found, whole, closers, 1e-4)
    taken = {(row["closer"], row["score"]) for row in found.table}
    if score == "cosine":  # unit rows: closers of every score rank like plain search
        assert {("center-queries", "dot"), ("orthogonal-shift", "euclidean")} <= taken
    assert {"ridge-shift, dot", "biased-shift, euclidean"} <= set(found.left_out)
    estimated = neighbour_figures(task, closers, LEVELS, "total", lists_of(whole, score))
    assert estimated.rows == pytest.approx(ROWS, rel=0.1)


def test_lists_that_do_not_fit_the_rows_are_refused() -> None:
    whole, task = random_task("cosine")
    closers, lists = closers_of(task), lists_of(whole, "cosine")
    for wrong, fact in ((1 - lists.scores, "expected about"), (-lists.scores, "last neighbour")):
        with refused("scores-do-not-fit", fact, "cosine"):
            given = replace(lists, scores=wrong)
            neighbour_figures(task, closers, LEVELS, "total", given, count=ROWS)
    short = Neighbours(lists.rows[:, :1], np.full((60, 1), 2.0), False)
    with refused("unknown-size", "0 random rows"):
        neighbour_figures(task, closers, LEVELS, "total", short)


def test_a_stress_table_has_the_whole_gallery_beside_the_sample(tmp_path: Path) -> None:
    q, x, relevance = rows_of()
    out = tmp_path / "table.json"
    options: dict[str, Any] = {"relevance": relevance, "trials": 2, "levels": LEVELS}
    options |= {"closers": "center-queries", "perturb": ["gaussian", "sq8"]}
    table = stress(q, x, max_candidates=SAMPLE, out=out, **options)
    whole = stress(q, x, **options)
    assert "gallery_rows" not in whole.rows()[0]
    law = [row for row in table.rows() if row["score"] == "dot" and row["family"] == "gaussian"]
    assert len(law) == 4
    by_law = [row for row in whole.rows() if row["score"] == "dot" and row["family"] == "gaussian"]
    for row, other in zip(law, by_law, strict=True):
        assert row["candidates"] <= SAMPLE
        assert row["gallery_rows"] == ROWS
        assert row["gallery_consistency"] == pytest.approx(other["predicted_consistency"], abs=2e-5)
        assert row["consistency"] > row["gallery_consistency"]
    assert {row["gallery_consistency"] for row in table.rows() if row["family"] == "sq8"} == {None}
    assert any(" of 1,500 rows" in note and "too high" in note for note in table.notes)
    assert not any("too high" in note for note in whole.notes)
    import json

    assert json.loads(out.read_text()) == table.rows()
