"""Search and tasks against a slow full-matrix oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from isthmus.errors import LabelsError, NotPaired
from isthmus.search import scores as scores_module
from isthmus.search.outcomes import outcome_of
from isthmus.search.relevance import (
    Relevance,
    no_relevance,
    relevance_by_judgements,
    relevance_by_labels,
    relevance_by_pairs,
)
from isthmus.search.scores import SCORES, Ranking, check_score, top1, top_k
from refusals import refused
from worlds import full_scores, two_modalities, unit_rows


def oracle_order(full: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """All candidates of each query, best first; equal scores (to ``tolerance``) by row."""
    out = []
    for line in full:
        left = list(range(len(line)))
        order: list[int] = []
        while left:
            best = max(line[j] for j in left)
            tied = sorted(j for j in left if line[j] >= best - tolerance)
            order.extend(tied)
            left = [j for j in left if j not in tied]
        out.append(order)
    return np.array(out)


def oracle_rank(full: np.ndarray, known: Relevance, tolerance: float = 0.0) -> np.ndarray:
    """Place of the first right candidate of each query, -1 where it has none."""
    order = oracle_order(full, tolerance)
    out = np.full(len(full), -1)
    for i, line in enumerate(order):
        right = {int(c) for q, c in known.pairs if q == i}
        places = [p for p, j in enumerate(line) if int(j) in right]
        if places:
            out[i] = places[0]
    return out


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("block", [1, 3, 7, 1000])
def test_top_k_matches_the_full_matrix(
    score: str, block: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    q = rng.normal(size=(23, 5)) * rng.uniform(0.3, 3, size=(23, 1))
    c = rng.normal(size=(17, 5)) * rng.uniform(0.3, 3, size=(17, 1))
    monkeypatch.setattr(scores_module, "BLOCK_ELEMENTS", block * 17)
    expected = oracle_order(full_scores(q, c, score))
    ranking = Ranking.of(q, c, score)
    for k in (1, 2, 10, 16, 17):
        found = top_k(ranking, k)
        np.testing.assert_array_equal(found.rows, expected[:, :k])
        assert (found.ties == 0).all()
        assert (np.diff(found.scores, axis=1) <= 0).all()
    np.testing.assert_array_equal(top1(ranking), expected[:, 0])
    outcome = outcome_of(ranking, relevance_by_judgements(np.array([[0, 3], [22, 16]]), 23, 17))
    np.testing.assert_array_equal(outcome.top1, expected[:, 0])


@pytest.mark.parametrize("score", SCORES)
def test_ranking_values_are_the_score_up_to_a_constant_of_the_query(
    score: str, rng: np.random.Generator
) -> None:
    q, c = rng.normal(size=(6, 4)), rng.normal(size=(9, 4)) * 2
    values = np.concatenate([s for _, s in Ranking.of(q, c, score).score_blocks()])
    full = full_scores(q, c, score)
    if score == "euclidean":
        full = -0.5 * full**2 + 0.5 * (q**2).sum(axis=1)[:, None]
    elif score == "cosine":
        full = full * np.linalg.norm(q, axis=1)[:, None]
    np.testing.assert_allclose(values, full, atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_tied_gives_the_lowest_rows_first(score: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    q = unit_rows(rng.normal(size=(50, 37))).astype(dtype)
    c = np.tile(unit_rows(rng.normal(size=(1, 37))).astype(dtype), (29, 1))
    found = top_k(Ranking.of(q, c, score), 7)
    np.testing.assert_array_equal(found.rows, np.tile(np.arange(7), (50, 1)))
    assert (found.ties == 28).all()
    assert (top1(Ranking.of(q, c, score)) == 0).all()
    outcome = outcome_of(Ranking.of(q, c, score), relevance_by_labels(np.arange(50) % 29, 50, 29))
    np.testing.assert_array_equal(outcome.rank, np.arange(50) % 29)
    assert (outcome.ties == 28).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_duplicates_are_in_row_order_and_counted(
    score: str, dtype: str, rng: np.random.Generator
) -> None:
    base = rng.normal(size=(40, 33))
    c = base[rng.integers(0, 40, 120)].astype(dtype)
    q = rng.normal(size=(31, 33)).astype(dtype)
    full = full_scores(q, c, score)
    expected = oracle_order(full, 1e-9)
    found = top_k(Ranking.of(q, c, score), 25)
    if dtype == "float64":
        np.testing.assert_array_equal(found.rows, expected[:, :25])
    twins = [(c == c[i]).all(axis=1).sum() - 1 for i in expected[:, 0]]
    np.testing.assert_array_equal(found.ties, twins)
    np.testing.assert_array_equal(found.rows[:, 0], expected[:, 0])


@given(
    n=st.integers(1, 9),
    k=st.integers(1, 14),
    distinct=st.integers(1, 6),
    seed=st.integers(0, 60),
    score=st.sampled_from(SCORES),
)
def test_ties_of_small_whole_numbers(n: int, k: int, distinct: int, seed: int, score: str) -> None:
    """Whole-number rows tie exactly and often; the oracle sees the same ties."""
    rng = np.random.default_rng(seed)
    q = rng.integers(-2, 3, size=(n, 3)).astype(float)
    c = rng.integers(-2, 3, size=(distinct, 3)).astype(float)[rng.integers(0, distinct, k)]
    if score == "cosine":
        q[:, 0], c[:, 0] = 3, 3
    full = full_scores(q, c, score)
    expected = oracle_order(full, 1e-9)
    ranking = Ranking.of(q, c, score)
    for depth in range(1, k + 1):
        np.testing.assert_array_equal(top_k(ranking, depth).rows, expected[:, :depth])
    relevance = np.unique(rng.integers(0, [n, k], size=(5, 2)), axis=0)
    right = relevance_by_judgements(relevance, n, k)
    outcome = outcome_of(ranking, right)
    np.testing.assert_array_equal(outcome.rank, oracle_rank(full, right, 1e-9))
    np.testing.assert_array_equal(outcome.top1, expected[:, 0])
    best = full.max(axis=1, keepdims=True)
    np.testing.assert_array_equal(outcome.ties, (full >= best - 1e-9).sum(axis=1) - 1)


@pytest.mark.parametrize("score", SCORES)
def test_half_precision_rows_are_searched_in_float32(score: str, rng: np.random.Generator) -> None:
    q = rng.normal(size=(20, 48)).astype(np.float16)
    c = rng.normal(size=(30, 48)).astype(np.float16)
    expected = oracle_order(full_scores(q, c, score))
    np.testing.assert_array_equal(top_k(Ranking.of(q, c, score), 5).rows, expected[:, :5])
    big = (rng.normal(size=(20, 48)) * 400).astype(np.float16)  # squares leave float16
    expected = oracle_order(full_scores(big, c, score))
    np.testing.assert_array_equal(top1(Ranking.of(big, c, score)), expected[:, 0])


def test_a_query_of_another_size_does_not_make_ties(rng: np.random.Generator) -> None:
    """A tie is measured at the size of the query's own scores, not of the longest query's."""
    q = rng.normal(size=(30, 8)).astype(np.float32)
    c = rng.normal(size=(20, 8)).astype(np.float32)
    expected = top_k(Ranking.of(q, c, "dot"), 5)
    sized = q * np.float32(10.0) ** np.arange(-15, 15, dtype=np.float32)[:, None]
    for score in ("dot", "cosine"):
        found = top_k(Ranking.of(sized, c, score), 5)
        assert (found.ties == 0).all()
    np.testing.assert_array_equal(top_k(Ranking.of(sized, c, "dot"), 5).rows, expected.rows)


def test_other_array_libraries_find_the_same(rng: np.random.Generator) -> None:
    strict = pytest.importorskip("array_api_strict")
    _same_search(strict.asarray, rng)


@pytest.mark.torch
def test_torch_finds_the_same(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    _same_search(torch.tensor, rng)


def _same_search(convert: Callable[[np.ndarray], Any], rng: np.random.Generator) -> None:
    c = rng.normal(size=(20, 6))[rng.integers(0, 20, 40)]
    q, bias = rng.normal(size=(30, 6)), rng.normal(size=40)
    for score in SCORES:
        for stored in (None, bias):
            here = Ranking.of(q, c, score, stored)
            there = Ranking.of(convert(q), convert(c), score, stored)
            np.testing.assert_array_equal(top1(there), top1(here))
            np.testing.assert_array_equal(top_k(there, 7).rows, top_k(here, 7).rows)
            right = relevance_by_judgements(np.array([[0, 0], [29, 39]]), 30, 40)
            np.testing.assert_array_equal(
                outcome_of(there, right).rank, outcome_of(here, right).rank
            )


def test_a_bias_adds_to_the_ranking(rng: np.random.Generator) -> None:
    q, c, bias = rng.normal(size=(9, 4)), rng.normal(size=(12, 4)), rng.normal(size=12) * 3
    for score in SCORES:
        plain = np.concatenate([s for _, s in Ranking.of(q, c, score).score_blocks()])
        found = top1(Ranking.of(q, c, score, bias))
        np.testing.assert_array_equal(found, (plain + bias).argmax(axis=1))


@pytest.mark.parametrize("first", SCORES)
@pytest.mark.parametrize("second", SCORES)
def test_a_search_of_unit_rows_is_stated_under_another_score(first: str, second: str) -> None:
    rng = np.random.default_rng(2)
    q, c, bias = rng.normal(size=(9, 4)), unit_rows(rng.normal(size=(12, 4))), rng.normal(size=12)
    for stored in (None, bias):
        ranking = Ranking.of(q, c, first, stored)
        other = ranking.under(second)
        assert other.score == second
        scores = [next(r.score_blocks())[1] for r in (ranking, other)]
        apart = scores[0] - scores[1]  # a constant of the query
        np.testing.assert_allclose(apart, np.broadcast_to(apart[:, :1], apart.shape), atol=1e-12)
    c[5] *= 1.01
    ranking = Ranking.of(q, c, first)
    if first == second:
        assert ranking.under(second) is ranking
        return
    with refused("scores-differ", "candidate 5 has norm 1.01"):
        ranking.under(second)


def test_biases_add_up() -> None:
    rng = np.random.default_rng(3)
    q, c, bias = rng.normal(size=(9, 4)), rng.normal(size=(12, 4)), rng.normal(size=12)
    for score in SCORES:
        twice = Ranking.of(q, c, score, bias).with_bias(bias)
        once = Ranking.of(q, c, score, 2 * bias)
        np.testing.assert_allclose(twice.bias, 2 * bias)
        np.testing.assert_allclose(twice.offset, once.offset)
        assert Ranking.of(q, c, score, 0 * bias).bias is None


def test_what_does_not_fit_is_refused() -> None:
    eye = np.eye(3)
    with refused("unknown-score", "'cos'"):
        check_score("cos")
    with refused("unknown-score", "'l2'"):
        Ranking.of(eye, eye, "l2")
    with refused("dimensions-differ", "3 dimensions, candidates 2"):
        Ranking.of(eye, eye[:, :2], "dot")
    with refused("bias-length", "2 biases for 3 candidates"):
        Ranking.of(eye, eye, "dot", np.zeros(2))
    for k in (0, 4, -1):
        with refused("bad-k", f"k={k} of 3"):
            top_k(Ranking.of(eye, eye, "dot"), k)
    with pytest.raises(NotPaired, match=r"queries has 3 rows and candidates has 4"):
        relevance_by_pairs(3, 4)
    with pytest.raises(LabelsError, match=r"first 4 at row 2; there are 4 candidates"):
        relevance_by_labels([0, 1, 4], 3, 4)
    with pytest.raises(LabelsError, match=r"first 3 at row 0; there are 3 queries"):
        relevance_by_judgements([[3, 0]], 3, 4)


# --- tasks ------------------------------------------------------------------------------------


def test_zero_shot_accuracy_matches_sklearn(rng: np.random.Generator) -> None:
    q, c = rng.normal(size=(200, 6)), rng.normal(size=(15, 6))
    labels = rng.integers(0, 15, 200)
    right = relevance_by_labels(labels, 200, 15)
    for score in SCORES:
        outcome = outcome_of(Ranking.of(q, c, score), right)
        full = full_scores(q, c, score)
        for k in (1, 3, 5, 10):
            expected = top_k_accuracy_score(labels, full, k=k, labels=np.arange(15))
            assert outcome.hit(k).mean() == pytest.approx(expected)
        np.testing.assert_array_equal(right.correct(outcome.top1), outcome.rank == 0)


def test_retrieval_by_pairs_in_both_directions() -> None:
    a, b = two_modalities(80, 12, seed=1)
    for q, c in ((a, b), (b, a)):
        right = relevance_by_pairs(80, 80)
        outcome = outcome_of(Ranking.of(q, c, "cosine"), right)
        full = q @ c.T
        place = [(full[i] > full[i, i]).sum() for i in range(80)]
        np.testing.assert_array_equal(outcome.rank, place)
        assert outcome.hit(5).mean() == np.mean(np.array(place) < 5)
        np.testing.assert_array_equal(right.reversed().pairs, right.pairs)


def test_many_to_many_relevance_counts_the_best_right_candidate(rng: np.random.Generator) -> None:
    q, c = rng.normal(size=(40, 5)), rng.normal(size=(70, 5))
    relevance = np.column_stack([rng.integers(0, 30, 90), rng.integers(0, 70, 90)])
    right = relevance_by_judgements(relevance, 40, 70)
    full = full_scores(q, c, "cosine")
    outcome = outcome_of(Ranking.of(q, c, "cosine"), right)
    np.testing.assert_array_equal(outcome.rank, oracle_rank(full, right))
    assert (outcome.rank[30:] == -1).all()
    np.testing.assert_array_equal(right.judged, outcome.rank >= 0)
    for k in (1, 5, 10):
        assert len(outcome.hit(k)) == right.judged.sum()
        expected = (outcome.rank[right.judged] < k).mean()
        assert outcome.hit(k).mean() == expected
    np.testing.assert_array_equal(right.correct(outcome.top1), outcome.rank == 0)
    stacked = np.stack([outcome.top1, rng.integers(0, 70, 40)])
    together = right.correct(stacked)
    assert together.shape == (2, 40)
    np.testing.assert_array_equal(together[1], right.correct(stacked[1]))
    back = outcome_of(Ranking.of(c, q, "cosine"), right.reversed())
    np.testing.assert_array_equal(back.rank, oracle_rank(full.T, right.reversed()))


@given(st.integers(0, 200))
def test_reversed_and_restricted_relevance_agree_with_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = 7, 9
    pairs = rng.integers(0, [n, m], size=(rng.integers(1, 20), 2))
    right = relevance_by_judgements(pairs, n, m)
    known = {(int(q), int(c)) for q, c in pairs}
    assert {tuple(p) for p in right.pairs.tolist()} == known
    back = right.reversed()
    assert {(q, c) for c, q in back.pairs.tolist()} == known
    assert (back.queries, back.candidates) == (m, n)
    some_q = rng.permutation(n)[: rng.integers(1, n + 1)]
    some_c = rng.permutation(m)[: rng.integers(1, m + 1)]
    part = right.restricted(some_q, some_c)
    expected = {
        (i, j)
        for i, q in enumerate(some_q)
        for j, c in enumerate(some_c)
        if (int(q), int(c)) in known
    }
    assert {tuple(p) for p in part.pairs.tolist()} == expected
    for i, right in enumerate(part.of_query()):
        assert set(right.tolist()) == {j for q, j in expected if q == i}
    assert len(part.of_query()) == len(some_q)


def test_no_relevance_judges_nothing(rng: np.random.Generator) -> None:
    right = no_relevance(5, 6)
    outcome = outcome_of(Ranking.of(rng.normal(size=(5, 3)), rng.normal(size=(6, 3)), "dot"), right)
    assert not right.judged.any()
    assert (outcome.rank == -1).all()
    assert len(outcome.hit(1)) == 0
    assert right.reversed().pairs.shape == right.restricted(np.arange(2), np.arange(3)).pairs.shape
    assert not right.correct(outcome.top1).any()
