"""One pass over a gallery in blocks: the answers, places and rows of brute force over all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.data import open_rows
from isthmus.engines.local import SerialExecutor
from isthmus.search import gallery as module
from isthmus.search import running
from isthmus.search.gallery import Gallery, search_gallery
from isthmus.search.scores import Ranking
from refusals import refused
from worlds import full_scores, two_modalities, unit_rows

QUERIES, ROWS, DIM = 30, 700, 24


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 97)
    monkeypatch.setattr(running, "TILE", 13)
    monkeypatch.setattr(module, "PAIRS", 7)


def rows_of(dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Queries as they are searched, and a gallery that is not of unit norm."""
    q, x = two_modalities(ROWS, DIM, seed=1)
    lengths = np.random.default_rng(2).uniform(0.5, 2, (ROWS, 1))
    return q[:QUERIES].astype(np.float32), (x * lengths).astype(dtype)


def passed(q: np.ndarray, source: object, score: str, **options: object) -> Gallery:
    options = {"normalised": False, "top": 20, "random": 50} | options
    return search_gallery(open_rows(source), [lambda x: Ranking.of(q, x, score)], **options)


@pytest.mark.parametrize("score", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("normalised", [False, True])
def test_best_rows_and_places_are_those_of_brute_force(score: str, normalised: bool) -> None:
    q, x = rows_of()
    pairs = np.array([[0, 5], [0, 9], [3, 3], [29, 699], [29, 1], [29, 2]])
    found = passed(q, x, score, normalised=normalised, right=pairs)
    whole = full_scores(q, unit_rows(x) if normalised else x, score)
    order = np.argsort(-whole, axis=1, kind="stable")
    np.testing.assert_array_equal(found.heads[0].rows, order[:, :20])
    for i in range(QUERIES):
        right = pairs[pairs[:, 0] == i, 1]
        expected = (whole[i] > whole[i, right].max()).sum() if len(right) else -1
        assert found.above[i] == expected
    assert (found.rows, found.count) == (ROWS, ROWS)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_random_rows_are_rows_of_the_gallery_however_it_is_cut(dtype: str, tmp_path: Path) -> None:
    q, x = rows_of(dtype)
    for i, start in enumerate(range(0, ROWS, 300)):
        np.save(tmp_path / f"part-{i}.npy", x[start : start + 300])
    here, there = passed(q, x, "dot", seed=3), passed(q, str(tmp_path), "dot", seed=3)
    assert len(np.unique(here.random_rows)) == 50
    np.testing.assert_array_equal(here.random, x[here.random_rows].astype(np.float32))
    for name in ("random", "random_rows"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
    np.testing.assert_array_equal(here.heads[0].rows, there.heads[0].rows)
    assert (passed(q, x, "dot", seed=4).random_rows != here.random_rows).any()


def test_rows_that_repeat_are_left_out_and_rows_keep_their_numbers() -> None:
    q, x = rows_of()
    repeats = np.random.default_rng(0).random(ROWS) < 0.3
    found = passed(q, x, "dot", repeats=repeats, right=np.array([[4, 11]]))
    kept = np.flatnonzero(~repeats)
    whole = full_scores(q, x[kept], "dot")
    np.testing.assert_array_equal(found.heads[0].rows, kept[np.argsort(-whole, axis=1)[:, :20]])
    assert found.count == len(kept)
    assert not repeats[found.random_rows].any()
    np.testing.assert_array_equal(found.random, x[found.random_rows])
    assert found.above[4] == (whole[4] > q[4] @ x[11] + 1e-6).sum()


def test_numbers_of_every_row_come_in_order_also_where_an_engine_cuts_the_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PART_BLOCKS", 2)
    q, x = rows_of()
    repeats = np.random.default_rng(0).random(ROWS) < 0.3
    asked = [lambda rows: rows[:, 0], lambda rows: rows.sum(axis=1)]
    for engine in (None, SerialExecutor()):
        found = passed(q, x, "dot", repeats=repeats, numbers=asked, engine=engine)
        for numbers, of in zip(found.numbers, asked, strict=True):
            np.testing.assert_allclose(numbers, of(x), rtol=1e-6)


def test_each_search_has_its_own_best_rows_and_the_first_places_what_is_right() -> None:
    q, x = rows_of()
    searches = [lambda r, s=s: Ranking.of(q, r, s) for s in ("euclidean", "dot")]
    both = search_gallery(
        open_rows(x), searches, normalised=False, right=np.array([[0, 0]]), top=5, random=10
    )
    for head, score in zip(both.heads, ("euclidean", "dot")):
        alone = passed(q, x, score, top=5, random=10, right=np.array([[0, 0]]))
        np.testing.assert_array_equal(head.rows, alone.heads[0].rows)
        if score == "euclidean":
            np.testing.assert_array_equal(both.above, alone.above)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    q, x = rows_of()
    found = []
    for threads in (1, 4):
        monkeypatch.setattr("isthmus.core.threads.blas_threads", lambda n=threads: n)
        found.append(passed(q, x, "cosine", right=np.array([[0, 5]])))
    np.testing.assert_array_equal(found[0].heads[0].scores, found[1].heads[0].scores)
    np.testing.assert_array_equal(found[0].above, found[1].above)


def test_refusals() -> None:
    q, x = rows_of()
    with refused("bad-k", "top=701 of 700 different rows"):
        passed(q, x, "dot", top=701)
    same = np.tile(x[:1], (9000, 1)).astype(np.float32)
    with refused("too-many-ties", "query 0"):
        passed(q, same, "dot")
