"""The tile-by-tile search against whole lines of scores: same rows, same scores, same ties."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import topk as pool_module
from isthmus.search import scores as scores_module
from isthmus.search.scores import SCORES, Ranking, top_k


def slow(ranking: Ranking, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Line by line from the full matrix of scores, by the definition of a tie."""
    full = np.concatenate([s for _, s in ranking.score_blocks()])
    widths = np.asarray(ranking.tie_widths)[:, 0]
    rows = np.empty((len(full), k), np.int64)
    for i, line in enumerate(full):
        left, order = set(range(len(line))), []
        while len(order) < k:
            best = max(line[j] for j in left)
            run = sorted(j for j in left if best - line[j] <= widths[i])
            order += run
            left -= set(run)
        rows[i] = order[:k]
    ties = (full >= full.max(axis=1, keepdims=True) - widths[:, None]).sum(axis=1) - 1
    return rows, np.take_along_axis(full, rows, axis=1), ties


def whole_numbers(n: int, count: int, distinct: int, dtype: str, seed: int) -> tuple:
    """Small whole numbers, drawn again and again: every product is exact, and many tie."""
    rng = np.random.default_rng(seed)
    q = rng.integers(-3, 4, size=(n, 4)).astype(dtype)
    c = rng.integers(-3, 4, size=(distinct, 4)).astype(dtype)[rng.integers(0, distinct, count)]
    return q, c, rng.integers(-2, 3, count).astype(np.float64)


def check(ranking: Ranking, k: int) -> None:
    found = top_k(ranking, k)
    rows, scores, ties = slow(ranking, k)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.scores, scores)
    np.testing.assert_array_equal(found.ties, ties)
    assert found.rows.dtype == found.ties.dtype == np.int64
    assert found.scores.dtype == np.asarray(ranking.queries).dtype


@pytest.mark.parametrize("score", ["dot", "euclidean"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "tile", [pytest.param((1, 1), marks=pytest.mark.slow), (3, 2), (64, 16), (1000, 1000)]
)
@pytest.mark.parametrize("stored", [False, True])
def test_tie_heavy_rows_at_any_tile(
    score: str, dtype: str, tile: tuple[int, int], stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores_module, "TILE", tile)
    for seed, distinct in enumerate((1, 5, 60)):
        q, c, bias = whole_numbers(19, 90, distinct, dtype, seed)
        ranking = Ranking.of(q, c, score, bias if stored else None)
        for k in (1, 10, 90):
            check(ranking, k)


@given(
    n=st.integers(1, 12),
    count=st.integers(1, 40),
    distinct=st.integers(1, 12),
    seed=st.integers(0, 99),
    height=st.integers(1, 13),
    width=st.integers(1, 41),
    crowd=st.sampled_from([0, 3, 4096]),
    share=st.floats(0, 1),
    ordered=st.sampled_from([0, 1, -1]),
)
def test_any_sizes(
    n: int,
    count: int,
    distinct: int,
    seed: int,
    height: int,
    width: int,
    crowd: int,
    share: float,
    ordered: int,
) -> None:
    """Few or many ties, tiles of any shape, candidates that only rise or only fall."""
    q, c, bias = whole_numbers(n, count, distinct, "float32", seed)
    if ordered:
        c = c[np.argsort(ordered * (q[0] @ c.T), kind="stable")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores_module, "TILE", (height, width))
        patch.setattr(pool_module, "CROWD", crowd)
        for stored in (None, bias):
            check(Ranking.of(q, c, "dot", stored), 1 + int(share * (count - 1)))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_real_numbers_with_twins_at_any_number_of_threads(
    score: str, dtype: str, threads: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Products round differently by tile and by thread: rows and ties do not see it."""
    limits: Callable = pytest.importorskip("threadpoolctl").threadpool_limits
    base = rng.normal(size=(130, 65)) * rng.uniform(0.5, 2, size=(130, 1))
    c = base[rng.integers(0, 130, 390)].astype(dtype)
    q = rng.normal(size=(24, 65)).astype(dtype)
    for stored in (None, rng.normal(size=390) * (np.arange(390) % 7 == 0)):
        ranking = Ranking.of(q, c, score, stored)
        rows, values, ties = slow(ranking, 12)
        for tile in ((1024, 1024), (17, 101), (24, 12)):
            monkeypatch.setattr(scores_module, "TILE", tile)
            with limits(threads):
                found = top_k(ranking, 12)
            np.testing.assert_array_equal(found.rows, rows)
            np.testing.assert_array_equal(found.ties, ties)
            width = np.broadcast_to(ranking.tie_widths, values.shape)
            assert (np.abs(found.scores - values) <= width).all()


def test_a_crowd_of_twins_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries with too many ties are searched line by line; the others are not disturbed."""
    monkeypatch.setattr(pool_module, "CROWD", 50)
    monkeypatch.setattr(scores_module, "TILE", (20, 64))
    c = np.zeros((500, 3), np.float32)
    c[:, 0] = 1.0
    c[:, 1] = np.arange(500)
    q = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 5], [0, -1, 0]], np.float32)
    found = top_k(Ranking.of(q, c, "dot"), 3)
    expected = [[0, 1, 2], [499, 498, 497], [0, 1, 2], [0, 1, 2]]
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.ties, [499, 0, 499, 0])


def test_the_candidates_are_not_copied() -> None:
    """Peak of new memory stays a few tiles, far below that of the rows and of all scores."""
    import tracemalloc

    rng = np.random.default_rng(0)
    q = rng.normal(size=(300, 64)).astype(np.float32)
    c = rng.normal(size=(120_000, 64)).astype(np.float32)
    ranking = Ranking.of(q, c, "dot")
    tracemalloc.start()
    top_k(ranking, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < c.nbytes / 3
