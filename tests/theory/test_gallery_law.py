"""Consistency over a gallery from best rows and random ones, against the law over all rows."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.search.scores import Ranking, top_k
from isthmus.theory.curves import consistency_curve
from isthmus.theory.curves.gallery import HeldRows, gallery_curve, has_law
from worlds import two_modalities

LEVELS = (0.0, 0.005, 0.022, 0.04, 0.3)
ROWS, TOP = 3000, 60


def whole_ranking(score: str, bias: bool = False) -> Ranking:
    q, x = two_modalities(ROWS, 64, seed=5)
    offset = np.random.default_rng(0).normal(size=ROWS) * 0.02 if bias else None
    return Ranking.of(q[:40].astype(np.float32), x.astype(np.float32), score, offset)


def held_of(
    whole: Ranking, count: int, named: bool = True, items: np.ndarray | None = None
) -> tuple[Ranking, HeldRows]:
    """The random rows as a search of their own, and what is held."""
    best = top_k(whole, TOP)
    random = np.sort(np.random.default_rng(1).choice(ROWS, count, replace=False))
    bias = None if whole.bias is None else whole.bias[random]
    some = Ranking.of(whole.queries, whole.candidates[random], whole.score, bias)
    return some, HeldRows(ROWS, best.rows, best.scores, random if named else None, items)


@pytest.mark.parametrize(
    ("score", "bias"), [("dot", False), ("dot", True), ("euclidean", False), ("cosine", False)]
)
@pytest.mark.parametrize("named", [True, False])
def test_all_rows_as_random_rows_give_the_law_over_all(score: str, bias: bool, named: bool) -> None:
    whole = whole_ranking(score, bias)
    some, held = held_of(whole, ROWS, named)
    expected, found = consistency_curve(whole, LEVELS), gallery_curve(some, LEVELS, held)
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found.kept, expected.kept, atol=2e-5)


@pytest.mark.parametrize("score", ["dot", "euclidean", "cosine"])
def test_a_sample_is_within_its_stated_error_and_small_where_noise_is(score: str) -> None:
    whole = whole_ranking(score)
    some, held = held_of(whole, 600)
    expected, found = consistency_curve(whole, LEVELS), gallery_curve(some, LEVELS, held)
    assert expected is not None
    assert found is not None
    missed = np.abs(found.value - expected.value)
    assert (missed <= 2 * found.error + 1e-5).all()  # error is a 95 % limit
    assert (missed[:3] < 1e-4).all()
    assert found.error[-1] > 5e-4  # at much noise what is beyond the best rows does matter


def test_shaped_noise_takes_the_spreads_of_the_queries() -> None:
    whole = whole_ranking("dot")
    some, held = held_of(whole, ROWS)
    spreads = np.linspace(0.05, 0.2, len(whole.queries))
    expected = consistency_curve(whole, LEVELS, spreads=spreads)
    found = gallery_curve(some, LEVELS, held, spreads=spreads)
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found.kept, expected.kept, atol=2e-5)


def test_other_rows_of_the_winners_item_are_no_rivals() -> None:
    whole = whole_ranking("dot")
    items = np.arange(ROWS) // 3 * 3
    some, held = held_of(whole, ROWS, items=items)
    expected = consistency_curve(whole, LEVELS, items=items)
    found = gallery_curve(some, LEVELS, held)
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found.kept, expected.kept, atol=2e-5)


def test_lists_of_different_lengths_are_taken_as_they_are() -> None:
    whole = whole_ranking("dot")
    some, held = held_of(whole, ROWS)
    rows, scores = held.rows.copy(), held.scores.copy()
    rows[::2, 25:], scores[::2, 25:] = -1, -np.inf
    expected = consistency_curve(whole, LEVELS)
    found = gallery_curve(some, LEVELS, HeldRows(ROWS, rows, scores, None))
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found.kept, expected.kept, atol=2e-5)


def test_where_there_is_no_law_there_is_no_figure() -> None:
    whole = whole_ranking("cosine")
    lengths = np.linspace(0.5, 2, ROWS, dtype=np.float32)[:, None]
    q, x, bias = whole.queries, whole.candidates, np.arange(float(ROWS))
    lawful = Ranking.of(q[:, :8], x[:, :8], "dot", bias), Ranking.of(q, x, "euclidean"), whole
    assert all(map(has_law, lawful))
    for ranking in (
        Ranking.of(q, x, "euclidean", bias),
        Ranking.of(q[:, :8], x[:, :8], "euclidean"),
        Ranking.of(q, x * lengths, "cosine"),
    ):
        assert not has_law(ranking)
        assert gallery_curve(ranking, LEVELS, held_of(ranking, 100)[1]) is None
