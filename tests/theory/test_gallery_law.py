"""Consistency over a gallery from best rows and random ones, against the law over all rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.search.scores import Ranking, top_k
from isthmus.theory.curves import consistency_curve
from isthmus.theory.curves.gallery import HeldRows, gallery_curve
from isthmus.theory.prediction import keep_probabilities
from worlds import two_modalities

LEVELS = (0.0, 0.005, 0.022, 0.04, 0.3)
ROWS, TOP = 3000, 60


def whole_ranking(score: str, bias: float = 0.0) -> Ranking:
    q, x = two_modalities(ROWS, 64, seed=5)
    offset = np.random.default_rng(0).normal(size=ROWS) * bias if bias else None
    return Ranking.of(q[:40].astype(np.float32), x.astype(np.float32), score, offset)


def held_of(
    whole: Ranking, count: int, named: bool = True, items: np.ndarray | None = None
) -> tuple[Ranking, HeldRows]:
    """The random rows as a search of their own, and what is held."""
    best = top_k(whole, TOP)
    random = np.sort(np.random.default_rng(1).choice(ROWS, count, replace=False))
    bias = None if whole.bias is None else whole.bias[random]
    some = Ranking.of(whole.queries, whole.candidates[random], whole.score, bias)
    known = whole.bias if named else None
    return some, HeldRows(ROWS, best.rows, best.scores, random if named else None, items, known)


PLAIN = ("dot", 0.0), ("dot", 0.02), ("euclidean", 0.0), ("cosine", 0.0)
BIASED = ("euclidean", 0.02)
"""Only where random rows are known by their numbers."""


@pytest.mark.parametrize(
    ("score", "bias", "named"),
    [(*case, named) for case in PLAIN for named in (True, False)] + [(*BIASED, True)],
)
def test_all_rows_as_random_rows_give_the_law_over_all(
    score: str, bias: float, named: bool
) -> None:
    whole = whole_ranking(score, bias)
    some, held = held_of(whole, ROWS, named)
    expected, found = consistency_curve(whole, LEVELS), gallery_curve(some, LEVELS, held)
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found.kept, expected.kept, atol=2e-5)


def test_rivals_that_a_bias_brings_from_far_away_are_within_reach() -> None:
    whole = whole_ranking("euclidean")
    x = whole.candidates.copy()
    x[::2, 0] += 3.0
    middle = whole.queries.mean(axis=0)
    bias = 0.5 * ((x - middle) ** 2).sum(axis=1) - 0.5 * ((whole.candidates - middle) ** 2).sum(
        axis=1
    )
    whole = Ranking.of(whole.queries, x, "euclidean", bias)
    some, held = held_of(whole, ROWS)
    expected, found = consistency_curve(whole, LEVELS), gallery_curve(some, LEVELS, held)
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found.kept, expected.kept, atol=2e-5)


@pytest.mark.parametrize(("score", "bias"), [*PLAIN[:3], BIASED])
@pytest.mark.parametrize("level", [0.005, 0.022, 0.04])
def test_whole_galleries_are_within_1e5_of_the_exact_prediction(
    score: str, bias: float, level: float
) -> None:
    whole = whole_ranking(score, bias)
    some, held = held_of(whole, ROWS)
    exact, found = keep_probabilities(whole, level), gallery_curve(some, [level], held)
    assert exact is not None
    assert found is not None
    assert 0.02 < 1 - exact.value.mean() < 0.9
    assert abs(found.value[0] - exact.value.mean()) < 1e-5
    assert np.abs(found.kept[0] - exact.value).max() < 1e-4


@pytest.mark.parametrize(("score", "bias"), [*PLAIN, BIASED])
def test_a_sample_is_within_its_stated_error_and_small_where_noise_is(
    score: str, bias: float
) -> None:
    whole = whole_ranking(score, bias)
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
    for ranking in (
        Ranking.of(q[:, :8], x[:, :8], "euclidean"),
        Ranking.of(q, x * lengths, "cosine"),
    ):
        assert gallery_curve(ranking, LEVELS, held_of(ranking, 100)[1]) is None
    biased = Ranking.of(q, x, "euclidean", bias)
    some, held = held_of(biased, 100)
    assert gallery_curve(some, LEVELS, held) is not None
    assert gallery_curve(some, LEVELS, replace(held, biases=None)) is None


def test_biases_of_listed_rows_matter_and_lists_do_not_tell_them() -> None:
    """The same lists, the same random rows, other rows: why stores' lists are not enough."""
    whole = whole_ranking("euclidean", bias=0.02)
    some, held = held_of(whole, ROWS)
    listed = np.unique(held.rows)
    other = held.biases.copy()
    other[listed] -= 0.1  # rows nearer to each query by as much, of the same scores
    found = [gallery_curve(some, LEVELS, replace(held, biases=b)) for b in (held.biases, other)]
    assert np.abs(found[0].value - found[1].value)[1:].max() > 1e-3
