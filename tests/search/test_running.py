"""The best rows of parts of a gallery, merged, against one search over all of it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from isthmus import RunningTopK, fit, search_rows
from isthmus.search import gallery as gallery_module
from isthmus.search import running as running_module
from isthmus.search.scores import SCORES, Ranking, top_k
from refusals import refused
from worlds import two_modalities

CUTS = (0, 7, 8, 40, 90)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_module, "TILE", 5)
    monkeypatch.setattr(gallery_module, "BLOCK_ROWS", 16)


@pytest.mark.parametrize("score", ["dot", "euclidean"])
@pytest.mark.parametrize("distinct", [1, 5, 60])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_merged_parts_give_the_answers_and_ties_of_the_whole(
    score: str, distinct: int, order: tuple[int, ...]
) -> None:
    """Small whole numbers: every product is exact, and many tie."""
    rng = np.random.default_rng(distinct)
    q = rng.integers(-3, 4, size=(19, 4)).astype(float)
    c = rng.integers(-3, 4, size=(distinct, 4)).astype(float)[rng.integers(0, distinct, 90)]
    bias = rng.integers(-2, 3, 90).astype(float)
    whole = Ranking.of(q, c, score, bias)
    for k in (1, 2, 10, 90):
        expected = top_k(whole, k)
        merged = RunningTopK(k)
        for i in order:
            part = RunningTopK(k, widths=whole.tie_widths[:, 0], line=expected.scores[:, -1])
            for first in range(CUTS[i], CUTS[i + 1], 13):
                some = slice(first, min(first + 13, CUTS[i + 1]))
                part.add(Ranking.of(q, c[some], score, bias[some]), first)
            merged.merge(pickle.loads(pickle.dumps(part)))
        found = merged.best()
        for name in ("rows", "scores", "ties"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        full = np.concatenate([s for _, s in whole.score_blocks()])
        higher = (full > expected.scores[:, -1:]).sum(axis=1)
        np.testing.assert_array_equal(merged.above, higher)


@pytest.mark.parametrize("score", SCORES)
def test_rows_of_a_file_are_searched_through_a_closer_or_as_they_are(score: str) -> None:
    q, c = (side.astype(np.float32) for side in two_modalities(60, 12, seed=3))
    plain = search_rows(q[:20], c, 5, score=score)
    np.testing.assert_array_equal(plain.rows, top_k(Ranking.of(q[:20], c, score), 5).rows)
    closer = fit("biased-shift", q, c)
    closed = search_rows(q[:20], c, 5, closer=closer)
    moved = closer.candidates(c)
    ranking = Ranking.of(closer.query(q[:20]), moved.rows, closer.score, moved.bias)
    np.testing.assert_array_equal(closed.rows, top_k(ranking, 5).rows)
    assert (closed.scores != plain.scores).any()


def test_refusals() -> None:
    q, c = two_modalities(20, 6, seed=0)
    first, second = RunningTopK(3), RunningTopK(4)
    first.add(Ranking.of(q, c, "dot"))
    second.add(Ranking.of(q, c, "dot"))
    with refused("unequal-lengths", "the 4 best of 20 queries"):
        first.merge(second)
    with refused("unequal-lengths", "best of 5 queries"):
        first.add(Ranking.of(q[:5], c, "dot"), 20)
    with refused("bad-k", "k=21 of 20 rows"):
        search_rows(q, c, 21)
    few = RunningTopK(30)
    few.add(Ranking.of(q, c, "dot"))
    with refused("bad-k", "k=30 of 20 rows"):
        few.best()
