"""Mixed pools: gain, places and shares against slow references, and what the closings do there."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

import isthmus as im
import test_docs
from commands import refused_in_one_sentence, run
from isthmus.closers import fit
from isthmus.core.arrays import unit
from isthmus.core.seeds import stream
from isthmus.data.moments import Moments
from isthmus.robustness.mixed import (
    PoolCloser,
    cross_cost,
    mixed_curve,
    mixed_share,
    ndcg_at,
    pool_closers,
    pool_ranking,
    search_pool,
)
from isthmus.search.outcomes import outcome_of
from isthmus.search.relevance import Relevance, relevance_by_judgements, relevance_by_pairs
from isthmus.search.scores import Ranking, top1, top_k
from refusals import refused
from worlds import full_scores, two_modalities, unit_rows


def moments(rows: np.ndarray) -> Moments:
    return Moments.of(rows, precise=True)


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """120 documents as a and as b, and a third row of side b for each."""
    a, b = (side[:120] for side in two_modalities(600, 24, gap=1.2, seed=4))
    noise = np.random.default_rng(8).normal(size=b.shape) * 0.05
    return a, b, unit_rows(b + noise)


@pytest.fixture(scope="module")
def closings() -> dict[str, Any]:
    """Fitted on other documents of the same two modalities."""
    a, b = two_modalities(600, 24, gap=1.2, seed=4)  # the first 120 are the world
    return pool_closers(moments(a[300:]), moments(b[300:]))


def relevance(rng: np.random.Generator, queries: int, documents: int, most: int) -> Relevance:
    """Up to ``most`` relevant documents a query, for some none."""
    pairs = [
        (i, j)
        for i in range(queries)
        for j in rng.permutation(documents)[: rng.integers(0, most + 1)]
    ]
    return relevance_by_judgements(np.array(pairs or [(0, 0)]), queries, documents)


# --- gain -------------------------------------------------------------------------------------


def slow_ndcg(found: np.ndarray, relevant: set[int], k: int) -> float:
    """Written out: the ideal order is all relevant documents first, however few were found."""
    gain = sum(1 / math.log2(i + 2) for i, j in enumerate(found[:k]) if int(j) in relevant)
    return gain / sum(1 / math.log2(i + 2) for i in range(min(k, len(relevant))))


@given(seed=st.integers(0, 10_000), k=st.integers(1, 12), most=st.integers(1, 20))
def test_ndcg_is_that_of_scikit_learn_and_of_the_definition(seed: int, k: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    q, x = rng.normal(size=(9, 5)), rng.normal(size=(23, 5))
    right = relevance(rng, 9, 23, most)
    got = ndcg_at(top_k(Ranking.of(q, x, "dot"), 12).rows, right, k)
    rights = right.of_query()
    for i, line in enumerate(q @ x.T):
        if not len(rights[i]):
            assert np.isnan(got[i])
            continue
        judged = np.isin(np.arange(23), rights[i])
        expected = ndcg_score(judged[None].astype(int), line[None], k=k, ignore_ties=True)
        assert got[i] == pytest.approx(expected, abs=1e-12)
        slow = slow_ndcg(np.argsort(-line), set(map(int, rights[i])), k)
        assert got[i] == pytest.approx(slow, abs=1e-12)


def test_relevant_documents_that_were_not_found_count_against_a_query() -> None:
    right = relevance_by_judgements([(0, 0), (0, 5), (0, 6)], 1, 9)
    gain = ndcg_at(np.array([[0, 1, 2]]), right, 3)[0]
    assert gain == pytest.approx(1 / (1 + 1 / math.log2(3) + 0.5))
    assert ndcg_at(np.array([[0, -1, -1]]), right, 3)[0] == gain
    two = relevance_by_judgements([(0, 8), (1, 0)], 2, 9)  # -1 is nobody's document
    np.testing.assert_array_equal(ndcg_at(np.array([[8, -1], [-1, -1]]), two, 2), [1, 0])
    with refused("k-out-of-range", "nDCG at 4 of 3"):
        ndcg_at(np.array([[0, 1, 2]]), right, 4)
    with refused("relevance-of-other-rows", "there are 2"):
        ndcg_at(np.zeros((2, 3), int), right, 1)


# --- one pool ---------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), ties=st.booleans())
def test_places_and_shares_are_those_of_a_sorted_list(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    q, x = rng.normal(size=(8, 4)), rng.normal(size=(30, 4))
    if ties:
        x[::3] = x[0]
    is_a = rng.random(30) < 0.4
    right = relevance(rng, 8, 30, 4)
    ranking = Ranking.of(q, x, "dot")
    got = search_pool(ranking, right, is_a, k=7)
    np.testing.assert_array_equal(np.nan_to_num(got.place, nan=-1), outcome_of(ranking, right).rank)
    rights = right.of_query()
    for i, line in enumerate((q @ x.T).round(10)):
        order = np.argsort(-line, kind="stable")
        assert got.share_a[i] == pytest.approx(is_a[order[:7]].mean())
        relevant = set(map(int, rights[i]))
        if not relevant:
            assert np.isnan([got.ndcg[i], got.first[i], got.recall[i], got.displaced[i]]).all()
            continue
        place = next(p for p, j in enumerate(order) if int(j) in relevant)
        target = order[place]
        before = order[:place]
        assert got.place[i] == place
        assert got.relevant_a[i] == is_a[target]
        assert got.first[i] == (place == 0)
        assert got.recall[i] == pytest.approx(np.isin(rights[i], order[:7]).mean())
        same = (is_a[before] == is_a[target]).sum(), (is_a == is_a[target]).sum() - 1
        other = (is_a[before] != is_a[target]).sum(), (is_a != is_a[target]).sum()
        for (part, whole), name in ((same, "over_same"), (other, "over_other")):
            expected = part / whole if whole else np.nan
            assert getattr(got, name)[i] == pytest.approx(expected, nan_ok=True)


def test_a_pool_with_no_preference_displaces_nothing(rng: np.random.Generator) -> None:
    """Sides drawn at random: both let the same share pass, so the penalty is 0 on average."""
    q, x = rng.normal(size=(400, 6)), rng.normal(size=(400, 6))
    got = search_pool(Ranking.of(q, x, "dot"), relevance_by_pairs(400, 400), rng.random(400) < 0.3)
    error = got.displaced.std() / np.sqrt(400)
    assert abs(got.displaced.mean()) < 4 * error
    assert abs(got.share_a.mean() - 0.3) < 0.05


def test_search_pool_refuses_what_does_not_fit() -> None:
    ranking = Ranking.of(np.ones((2, 3)), np.ones((5, 3)), "dot")
    with refused("one-flag-per-document", "5 documents was given 4 sides"):
        search_pool(ranking, relevance_by_judgements([(0, 0)], 2, 5), np.ones(4, bool), k=2)
    with refused("relevance-of-other-rows", "3 queries"):
        search_pool(ranking, relevance_by_judgements([(0, 0)], 3, 5), np.ones(5, bool), k=2)


def table(ranking: Ranking) -> np.ndarray:
    """All scores, (n, K)."""
    return np.vstack([block for _, block in ranking.score_blocks()])


# --- closings of a pool -----------------------------------------------------------------------


def test_centring_in_a_pool_is_gr_clip(world: Any, closings: Any) -> None:
    """Each modality loses its own mean, queries that of theirs, all are normalised: cosine."""
    a, b, asked = world
    a_fit, b_fit = two_modalities(600, 24, gap=1.2, seed=4)
    mean_a, mean_b = a_fit[300:].mean(axis=0), b_fit[300:].mean(axis=0)
    own = np.arange(120) % 3 == 0  # documents of the queries' side, b
    pool = np.where(own[:, None], b, a)
    by_hand = unit_rows(pool - np.where(own[:, None], mean_b, mean_a))
    expected = full_scores(unit_rows(asked - mean_b), by_hand, "dot")
    scores = table(pool_ranking(closings["centering"]["b"], asked, pool, own))
    np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_queries_of_another_kind_have_a_mean_of_their_own(world: Any) -> None:
    """GR-CLIP's three means: of queries, of stored texts, of stored images."""
    a, b, asked = world
    asked = unit_rows(asked + 0.3 * a[0])
    closings = pool_closers(moments(a), moments(b), asking={"b": moments(asked)})
    own = np.arange(120) % 3 == 0
    pool = np.where(own[:, None], b, a)
    stored = unit_rows(pool - np.where(own[:, None], b.mean(axis=0), a.mean(axis=0)))
    scores = {name: table(pool_ranking(of["b"], asked, pool, own)) for name, of in closings.items()}
    by_hand = full_scores(unit_rows(asked - asked.mean(axis=0)), stored, "dot")
    np.testing.assert_allclose(scores["centering"], by_hand, atol=1e-12)
    means = np.where(own[:, None], b.mean(axis=0), a.mean(axis=0))
    levelled = scores["center-both, levelled"]
    np.testing.assert_allclose(levelled, asked @ (pool - means).T, atol=1e-12)
    for side in "ab":  # nothing is said of side a: as without
        plain = pool_closers(moments(a), moments(b))["centering"][side].closer
        same = np.array_equal(plain.query.offset, closings["centering"][side].closer.query.offset)
        assert same == (side == "a")


@given(seed=st.integers(0, 1000), side=st.sampled_from("ab"))
def test_a_levelled_bias_keeps_each_modality_s_own_ranking(seed: int, side: str) -> None:
    a, b = two_modalities(50, 12, gap=1.0, seed=seed)
    levelled = pool_closers(moments(a), moments(b))["center-both, levelled"][side]
    asked = {"a": a, "b": b}[side]
    own = np.random.default_rng(seed).random(50) < 0.5
    pool = np.where(own[:, None], asked, {"a": b, "b": a}[side])
    scores = table(pool_ranking(levelled, asked, pool, own))
    plain = asked @ pool.T
    means = {"a": (a.mean(axis=0), b.mean(axis=0)), "b": (b.mean(axis=0), a.mean(axis=0))}[side]
    for part, mean in ((own, means[0]), (~own, means[1])):
        moved = scores[:, part] - plain[:, part]  # one constant per query and modality
        np.testing.assert_allclose(moved, moved[:, :1] + 0 * moved, atol=1e-10)
        by_hand = asked @ (pool[part] - mean).T
        constant = scores[:, part] - by_hand
        np.testing.assert_allclose(constant, constant[:, :1] + 0 * moved, atol=1e-10)
    everything = scores - asked @ (pool - np.where(own[:, None], *means)).T
    np.testing.assert_allclose(everything, everything[:, :1] + 0 * everything, atol=1e-10)


def test_pool_closings_refuse_what_does_not_fit(world: Any) -> None:
    a, b, _ = world
    with refused("no-candidate-bias", "centering"):
        pool_closers(moments(a), moments(b), ("centering",), ("centering",))
    closer = fit("none", moments(a), moments(b))
    for own, fact in ((np.ones(3, bool), "(3,)"), (np.ones(120, int), "int64")):
        with refused("one-flag-per-document", fact, "120 documents"):
            pool_ranking(closer, a, b, own)


# --- standardised levelling -------------------------------------------------------------------


def by_formula(
    q: np.ndarray, x: np.ndarray, modality: np.ndarray, closer: PoolCloser
) -> np.ndarray:
    """(⟨q, x⟩ - ⟨q, μ_m⟩) / (qᵀ Σ_m q)^(s/2), one document at a time, (n, K)."""
    out = np.empty((len(q), len(x)))
    for i, asked in enumerate(q):
        for j, document in enumerate(x):
            m = modality[j]
            spread = 1.0
            if closer.covariances is not None:
                spread = float(asked @ closer.covariances[m] @ asked) ** (closer.strength / 2)
            out[i, j] = (asked @ document - asked @ closer.means[m]) / spread
    return out


def pool_of(seed: int, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries (20, 12), 60 documents of two modalities in disorder, one spread twice as wide."""
    a, b = two_modalities(40, 12, gap=1.0, seed=seed)
    modality = (np.random.default_rng(seed).random(60) < 0.4).astype(int)
    wide = unit_rows(a[:30] + 0.6 * (a[:30] - a.mean(axis=0)))
    documents = np.empty((60, 12))
    documents[modality == 0] = unit_rows(np.vstack([wide, a]))[: (modality == 0).sum()]
    documents[modality == 1] = np.vstack([b, b[::-1] + 0.01])[: (modality == 1).sum()]
    return b[20:].astype(dtype), unit_rows(documents).astype(dtype), modality


def closer_of(documents: np.ndarray, modality: np.ndarray, strength: float) -> PoolCloser:
    parts = {name: moments(documents[modality == m]) for m, name in enumerate(("image", "text"))}
    return PoolCloser.of(parts, strength)


@given(seed=st.integers(0, 1000), strength=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_scores_are_those_of_the_formula(seed: int, strength: float) -> None:
    q, x, modality = pool_of(seed)
    closer = closer_of(x, modality, strength)
    expected = by_formula(q, x, modality, closer)
    np.testing.assert_allclose(table(closer.ranking(q, x, modality)), expected, atol=1e-9)
    found = closer.search(q, x, modality, 60)
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(expected, found.rows, axis=1), atol=1e-9
    )
    assert (np.diff(found.scores, axis=1) <= 0).all()
    if strength == 1:  # every modality has mean 0 and variance 1 over its documents
        for m in (0, 1):
            np.testing.assert_allclose(expected[:, modality == m].mean(axis=1), 0, atol=1e-9)
            np.testing.assert_allclose(expected[:, modality == m].std(axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_every_ranking_within_a_modality_stays(dtype: Any, strength: float) -> None:
    """Row by row, against the order in which the store returned them, exact duplicates included."""
    for seed in range(5):
        q, x, modality = pool_of(seed, dtype)
        x[modality == 0] = np.where(
            np.arange((modality == 0).sum())[:, None] % 5 == 0,
            x[modality == 0][:1],
            x[modality == 0],
        )
        closer = closer_of(x.astype(np.float64), modality, strength)
        found = closer.search(q, x, modality, len(x))
        for m in (0, 1):
            own = np.flatnonzero(modality == m)
            plain = own[top_k(Ranking.of(unit(q), x[own], "cosine"), len(own)).rows]
            for i in range(len(q)):
                np.testing.assert_array_equal(found.rows[i][found.modality[i] == m], plain[i])


@given(
    seed=st.integers(0, 1000),
    k=st.integers(1, 15),
    more=st.integers(0, 3),
    strength=st.sampled_from([0.0, 1.0, 1.5]),
)
def test_merged_lists_are_the_whole_ranking(seed: int, k: int, more: int, strength: float) -> None:
    """The k best of each modality, from any store, rescored and merged."""
    q, x, modality = pool_of(seed)
    closer = closer_of(x, modality, strength)
    hits = {}
    for m, name in ((1, "text"), (0, "image")):  # the order of the lists does not matter
        own = np.flatnonzero(modality == m)
        scores = q @ x[own].T
        best = np.argsort(-scores, axis=1, kind="stable")[:, : min(k + more, len(own))]
        hits[name] = own[best], np.take_along_axis(scores, best, axis=1)
    got = closer.merge(q, hits, k)
    whole = by_formula(q, x, modality, closer)
    best_first = np.take_along_axis(whole, np.argsort(-whole, axis=1)[:, :k], axis=1)
    np.testing.assert_allclose(got.scores, best_first, atol=1e-9)
    np.testing.assert_allclose(np.take_along_axis(whole, got.rows, axis=1), best_first, atol=1e-9)
    np.testing.assert_array_equal(got.modality, modality[got.rows])
    assert all(len(set(line)) == k for line in got.rows)


def test_a_store_that_finds_less_than_k_is_merged() -> None:
    q, x, modality = pool_of(1)
    closer = closer_of(x, modality, 1.0)
    rows, scores = np.array([[3, -1], [-1, -1]]), np.array([[0.5, 0], [0, 0]])
    got = closer.merge(q[:2], {"image": (rows, scores), "text": (rows + 0, scores)}, 3)
    assert got.rows.tolist() == [[3, 3, -1], [-1, -1, -1]]
    assert np.isnan(got.scores[0, 2])
    assert got.modality[1].tolist() == [-1, -1, -1]


def test_a_modality_without_spread_is_levelled_only() -> None:
    q, x, modality = pool_of(2)
    x[modality == 1] = x[modality == 1][0]
    got = table(closer_of(x, modality, 1.0).ranking(q, x, modality))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got[:, modality == 1], 0, atol=1e-9)


def test_queries_of_any_norm_are_asked_as_unit_rows() -> None:
    q, x, modality = pool_of(3)
    closer = closer_of(x, modality, 1.0)
    for one, other in zip(closer.levels(q), closer.levels(7 * q), strict=True):
        np.testing.assert_allclose(one, other)
    raw = replace(closer, normalised=False)
    np.testing.assert_allclose(raw.levels(7 * q)[0], 7 * closer.levels(q)[0])
    np.testing.assert_allclose(raw.levels(7 * q)[1], 7 * closer.levels(q)[1])


@pytest.mark.parametrize("name", ["pool.safetensors", "pool.json"])
@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_a_pool_closer_is_read_back_bit_by_bit(name: str, strength: float, tmp_path: Any) -> None:
    _, x, modality = pool_of(4)
    closer = closer_of(x, modality, strength)
    back = PoolCloser.load(closer.save(tmp_path / name))
    np.testing.assert_array_equal(back.means, closer.means)
    assert (back.covariances is None) == (strength == 0)
    if strength:
        np.testing.assert_array_equal(back.covariances, closer.covariances)
    assert back.to_dict() == closer.to_dict()
    assert back.counts == ((modality == 0).sum(), (modality == 1).sum())


def test_pool_closers_refuse_what_does_not_fit(tmp_path: Any) -> None:
    q, x, modality = pool_of(5)
    closer = closer_of(x, modality, 1.0)
    one = moments(x)
    with refused("too-few-modalities", "1 modalities"):
        PoolCloser.of({"image": one})
    with refused("strength-out-of-range", "2.5"):
        PoolCloser.of({"image": one, "text": one}, 2.5)
    with refused("unequal-dimensions", "12, 5"):
        PoolCloser.of({"image": one, "text": moments(x[:, :5])})
    with refused("wrong-dim", "(20, 5)"):
        closer.levels(q[:, :5])
    with refused("one-modality-per-document", "60 documents"):
        closer.ranking(q, x, modality + 1)
    rows, scores = np.zeros((20, 2), int), np.zeros((20, 2))
    for hits, code, fact in (
        ({"audio": (rows, scores)}, "unknown-modality", "audio"),
        ({"image": (rows, scores[:3])}, "hits-do-not-fit", "(3, 2)"),
        ({"image": (rows, scores + np.array([0, 1]))}, "hits-out-of-order", "image"),
        ({"image": (rows - [1, 0], scores)}, "hits-out-of-order", "image"),
    ):
        with refused(code, fact):
            closer.merge(q, hits, 2)
    with refused("k-out-of-range", "k=0"):
        closer.merge(q, {"image": (rows, scores)}, 0)
    with refused("unknown-suffix", "pool.npz"):
        closer.save(tmp_path / "pool.npz")
    for text, code in (("[]", "wrong-kind"), ("{", "not-json")):
        (tmp_path / "bad.json").write_text(text)
        with refused(code, "bad.json"):
            PoolCloser.load(tmp_path / "bad.json")
    with refused("no-such-file", "none.json"):
        PoolCloser.load(tmp_path / "none.json")
    whole = json.loads(closer.save(tmp_path / "pool.json").read_text())
    for change in ({"covariances": [[1]]}, {"means": [1]}, {"names": ["a"]}):
        (tmp_path / "bad.json").write_text(json.dumps(whole | change))
        with refused("damaged-file", "bad.json"):
            PoolCloser.load(tmp_path / "bad.json")


# --- im.mixed ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def triple() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """160 documents as a and as b, whose spreads differ, and a query of each."""
    a, b = (side[:160] for side in two_modalities(600, 24, gap=1.2, seed=4))
    noise = np.random.default_rng(8).normal(size=b.shape)
    return unit_rows(a.mean(axis=0) + 0.4 * (a - a.mean(axis=0))), b, unit_rows(b + 0.1 * noise)


def test_relevance_puts_all_documents_in_one_pool(triple: Any) -> None:
    """Every column of every closing again from sorted lists; moments are of these documents."""
    a, b, q = triple
    right_a = np.column_stack([np.arange(0, 160, 2)] * 2)
    right_b = np.column_stack([np.arange(1, 120, 2)] * 2)
    got = im.mixed(q, a, b, relevance_a=right_a, relevance_b=right_b, k=5, seed=2)
    judged = np.union1d(right_a[:, 0], right_b[:, 0])
    drawn = stream("mixed.split", 2).permutation(judged)
    scored, on = np.sort(drawn[70:]), np.sort(drawn[:70])
    assert (got.scored, got.chosen_on, got.documents, got.draws) == (70, 70, (160, 160), 1)
    pool, is_a = np.vstack([a, b]), np.arange(320) < 160
    answer = np.where(np.arange(160) % 2 == 0, np.arange(160), np.arange(160) + 160)
    plain = q @ pool.T
    for name in ("none", "levelled", "standardised", "centering"):
        scores = plain.copy()
        for rows, side in ((is_a, a), (~is_a, b)):
            mean, cov = side.mean(axis=0), np.cov(side.T, bias=True)
            spread = np.sqrt(np.einsum("nd,de,ne->n", q, cov, q))[:, None]
            if name in ("levelled", "standardised"):
                scores[:, rows] -= (q @ mean)[:, None]
            if name == "standardised":
                scores[:, rows] /= spread
            if name == "centering":
                asked = unit_rows(q - q[on].mean(axis=0))
                scores[:, rows] = asked @ unit_rows(side - mean).T
        order = np.argsort(-scores, axis=1)[scored]
        line = got.row(name)
        gains = [slow_ndcg(o, {answer[i]}, 5) for o, i in zip(order, scored, strict=True)]
        assert line["ndcg"] == pytest.approx(np.mean(gains))
        assert line["share_a"] == pytest.approx(is_a[order[:, :5]].mean())
        assert line["recall@1"] == pytest.approx((order[:, 0] == answer[scored]).mean())
        assert line["ndcg_ci"][0] <= line["ndcg"] <= line["ndcg_ci"][1]
        assert line["difference"] == pytest.approx(line["ndcg"] - got.row("none")["ndcg"])
        for side, part in (("kept_a", slice(0, 160)), ("kept_b", slice(160, 320))):
            same = plain[scored, part].argmax(axis=1) == scores[scored, part].argmax(axis=1)
            assert line[side] == pytest.approx(same.mean())
        assert got.row(name, "a")["count"] + got.row(name, "b")["count"] == 70
    assert got.row("none", "a")["displaced"] > 0.5 > 0.1 > got.row("none", "b")["displaced"]
    assert got.row("standardised")["kept_a"] == got.row("levelled")["kept_b"] == 1
    assert got.row("centering")["kept_b"] < 1
    assert got.sentences()[0].startswith("Today text documents outrank image documents: ")
    np.testing.assert_allclose(got.closer.means, [a.mean(axis=0), b.mean(axis=0)])


def test_scored_queries_decide_nothing(triple: Any) -> None:
    """Other scored queries, other answers: strength, moments and the table of trials stay."""
    a, b, q = triple
    on, scored = np.split(stream("mixed.split", 0).permutation(160), [80])
    before = im.mixed(q, a, b, draws=2)
    changed = [side.copy() for side in (q, a, b)]
    for side in changed:
        side[scored] = unit_rows(np.random.default_rng(3).normal(size=(80, 24)))
    after = im.mixed(*changed, draws=2)
    assert after.strengths == before.strengths
    np.testing.assert_array_equal(after.closer.covariances, before.closer.covariances)
    assert after.row("none") != before.row("none")
    changed[1][on[:5]] = unit_rows(np.random.default_rng(4).normal(size=(5, 24)))
    assert im.mixed(*changed, draws=2).strengths != before.strengths


@pytest.mark.parametrize(("third", "setting"), [(True, "third row"), (False, "other form")])
def test_pairs_are_mixed_half_and_half(triple: Any, third: bool, setting: str) -> None:
    """The same figures as mixed_curve on the same halves and draws."""
    a, b, q = triple
    got = im.mixed(q if third else None, a, b, draws=1, share=0.3, seed=6)
    assert (got.setting, got.documents, got.scored) == (setting, (24, 56), 80)
    order = stream("mixed.split", 6).permutation(160)
    on, rest = np.sort(order[:80]), np.sort(order[80:])
    as_a = np.zeros(80, bool)
    as_a[stream("mixed.draws", 6, 0, 1).permutation(80)[:24]] = True
    pool = np.where(as_a[:, None], a[rest], b[rest])
    asked = q[rest] if third else np.where(as_a[:, None], b[rest], a[rest])
    closer = PoolCloser.of({"image": moments(a[on]), "text": moments(b[on])}, 1.0)
    scores = by_formula(asked, pool, np.where(as_a, 0, 1), closer)
    gains = [slow_ndcg(np.argsort(-line), {i}, 10) for i, line in enumerate(scores)]
    assert got.row("standardised")["ndcg"] == pytest.approx(np.mean(gains))
    plain = np.argsort(-(asked @ pool.T), axis=1)[:, :10]
    own = got.row("none")["share_own"]
    if third:
        assert own is None
    else:
        assert own == pytest.approx((as_a[plain] != as_a[:, None]).mean())
        assert got.closer.strength <= 1
        assert any("flatters" in s for s in got.sentences())


def test_the_form_that_is_not_stored_chooses_no_strength_above_1() -> None:
    """Rows of a modality are alike among themselves: burying the asker's own one is rewarded."""
    rng = np.random.default_rng(5)
    what, (own_a, own_b) = rng.normal(size=(200, 12)), rng.normal(size=(2, 200, 12))
    nothing = np.zeros((200, 12))
    a = unit_rows(np.hstack([what, 3 * own_a, nothing, nothing + 3]))
    b = unit_rows(np.hstack([what, nothing, 3 * own_b, nothing - 3]))
    got = im.mixed(None, a, b, draws=3)
    best = max(got.strengths, key=lambda line: line["ndcg"])
    assert best["closing"] in ("standardised, strength 1.5", "standardised, strength 2")
    assert got.closer.strength == 1
    assert got.row("levelled")["ndcg"] < got.row("standardised")["ndcg"] - 0.1
    assert got.helps


def test_lead_and_spread_are_those_of_the_scores(triple: Any) -> None:
    a, b, q = triple
    right = np.column_stack([np.arange(160)] * 2)
    lines = im.mixed(q, a, b, relevance_b=right).spreads
    scored = np.sort(stream("mixed.split", 0).permutation(160)[80:])
    for line, side in zip(lines, (a, b), strict=True):
        scores = q[scored] @ side.T
        assert line["level"] == pytest.approx(scores.mean())
        assert line["spread"] == pytest.approx(scores.std(axis=1).mean())
    assert lines[0]["lead"] is None
    matched = (q * b).sum(axis=1)[scored] - (q[scored] @ b.T).mean(axis=1)
    assert lines[1]["lead"] == pytest.approx(matched.mean())


def test_where_nothing_is_gained_it_says_so(rng: np.random.Generator) -> None:
    """One modality under two names: nobody outranks anybody."""
    rows = unit_rows(rng.normal(size=(200, 16)))
    q = unit_rows(rows + 0.1 * rng.normal(size=rows.shape))
    got = im.mixed(q, rows, unit_rows(rows + 1e-3), draws=4)
    assert not got.helps
    assert got.sentences()[0].startswith("Today neither modality outranks the other: ")
    assert got.sentences()[1].startswith("Leave the pool as it is")


@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        ({"score": "euclidean"}, "unknown-score", "euclidean"),
        ({"share": 1.0}, "not-a-share", "1"),
        ({"draws": 0}, "number-too-small", "draws 0; expected"),
        ({"names": ("x", "x")}, "bad-names", "x"),
        ({"fit_share": 0.0}, "too-few-queries", "leaves 0"),
        ({"max_queries": 10}, "too-few-queries", "5 to choose on"),
        ({"queries": None, "relevance_a": np.zeros((1, 2), int)}, "no-queries", "without queries"),
        ({"b": np.ones((7, 24))}, "unequal-lengths", "7"),
        ({"k": 81}, "bad-k", "k=81"),
    ],
)
def test_mixed_refuses_what_does_not_fit(triple: Any, change: Any, code: str, fact: str) -> None:
    a, b, q = triple
    with refused(code, fact):
        im.mixed(**{"queries": q, "a": a, "b": b, "draws": 1, **change})


def test_the_command_says_what_the_function_says(
    triple: Any, tmp_path: Any, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, rows in zip(("images", "texts", "queries"), triple, strict=True):
        np.save(f"{name}.npy", rows)
    words = "mixed queries.npy images.npy texts.npy --draws 2 --json --out pool.safetensors"
    code, out, err = run(capsys, *words.split())
    said, got = json.loads(out), im.mixed("queries.npy", "images.npy", "texts.npy", draws=2)
    assert code == 0
    assert said["table"] == json.loads(json.dumps(got.to_dict()))["table"]
    assert " ".join(err.split()).startswith(got.sentences()[0])
    assert PoolCloser.load("pool.safetensors").to_dict() == said["closer"]
    code, out, _ = run(capsys, *["mixed", "images.npy", "texts.npy", "--draws", "1"])
    assert code == 0
    assert "standardised" in out
    helps = im.mixed(None, "images.npy", "texts.npy", draws=1).helps
    assert ("--out pool.safetensors keeps it" in out) == helps
    assert max(len(line) for line in out.splitlines() if "%" in line and "." in line[:40]) < 112
    refused_in_one_sentence(capsys, "mixed images.npy texts.npy --out pool.npz", "pool.npz")


# --- the curve --------------------------------------------------------------------------------


def row(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    found = [r for r in rows if all(r[key] == value for key, value in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_the_curve_by_hand(world: Any, closings: Any) -> None:
    """One ratio, a third row asks: every number again from a sorted list of cosines."""
    a, b, asked = world
    rows = mixed_curve(a, b, closings, queries=asked, query_side="b", ratios=(0.3,), k=5, seed=3)
    as_a = np.zeros(120, bool)
    as_a[stream("mixed.draws", 3, 0).permutation(120)[:36]] = True
    pool = np.where(as_a[:, None], a, b)
    scores = full_scores(asked, pool, "cosine")
    places, gains, shares, cost = [], [], [], []
    for i, line in enumerate(scores):
        order = np.argsort(-line)
        place = int(np.flatnonzero(order == i)[0])
        places.append(place)
        gains.append(slow_ndcg(order, {i}, 5))
        shares.append(as_a[order[:5]].mean())
        swapped = full_scores(asked[i : i + 1], (b if as_a[i] else a)[i : i + 1], "cosine")[0, 0]
        moved = int((np.delete(line, i) > swapped).sum())
        cost.append(place - moved if as_a[i] else moved - place)
    for relevant, who in (("all", as_a | ~as_a), ("a", as_a), ("b", ~as_a)):
        got = row(rows, closing="none", relevant=relevant)
        assert got["count"] == who.sum()
        assert got["place"] == pytest.approx(np.mean(np.array(places)[who]))
        assert got["recall@1"] == pytest.approx((np.array(places)[who] == 0).mean())
        assert got["recall"] == pytest.approx((np.array(places)[who] < 5).mean())
        assert got["ndcg"] == pytest.approx(np.mean(np.array(gains)[who]))
        assert got["share_a"] == pytest.approx(np.mean(np.array(shares)[who]))
        assert got["cost_of_other"] == pytest.approx(np.mean(np.array(cost)[who]))
        assert got["expected"] == pytest.approx(0.3)
    assert row(rows, closing="none", relevant="a")["displaced"] > 0.5
    assert abs(row(rows, closing="centering", relevant="a")["displaced"]) < 0.1


def test_both_ends_are_plain_search_of_the_other_modality(world: Any, closings: Any) -> None:
    a, b, _ = world
    rows = mixed_curve(a, b, closings, ratios=(0, 1))
    cost = cross_cost(a, b, closings)
    for name in closings:
        for ratio, side in ((0.0, "a"), (1.0, "b")):
            end = row(rows, closing=name, ratio=ratio, relevant="all")
            assert end["queries"] == "other form"
            assert end["displaced"] is None
            assert end["cost_of_other"] is None
            assert end["recall@1"] == row(cost, closing=name, queries=side)["recall@1"]
    clean = (top1(Ranking.of(a, b, "cosine")) == np.arange(120)).mean()
    assert row(cost, closing="none", queries="a")["recall@1"] == clean
    for row_ in cost:
        assert row_["difference"] == pytest.approx(row_["recall@1"] - row_["plain"])
        assert row_["low"] <= row_["difference"] <= row_["high"]
        if row_["closing"] in ("none", "center-both", "center-both, levelled"):
            assert row_["clean_agreement"] == 1


def test_the_curve_sags_and_closings_lift_it(world: Any, closings: Any) -> None:
    a, b, asked = world
    rows = mixed_curve(a, b, closings, queries=asked, ratios=(0, 0.5, 1), draws=3)

    def at(name: str, ratio: float) -> float:
        return float(row(rows, closing=name, ratio=ratio, relevant="all")["ndcg"])

    assert at("none", 0.5) < (at("none", 0) + at("none", 1)) / 2 - 0.1
    assert row(rows, closing="none", ratio=0.5, relevant="a")["ndcg"] < 0.01
    for name in ("centering", "center-both, levelled", "database-shift"):
        assert at(name, 0.5) > at("none", 0.5) + 0.1
    assert at("center-both", 0.5) < at("none", 0.5) + 0.01  # the gap stays in its candidate biases


def test_fewer_documents_of_a_are_among_more(world: Any, closings: Any) -> None:
    """Same seed, same rows; another seed, other rows; draws are averaged over."""
    a, b, asked = world
    one = {"centering": closings["centering"]}
    first = mixed_curve(a, b, one, queries=asked, ratios=(0.5,), draws=2, seed=1)
    assert first == mixed_curve(a, b, one, queries=asked, ratios=(0.5,), draws=2, seed=1)
    assert first != mixed_curve(a, b, one, queries=asked, ratios=(0.5,), draws=2, seed=2)
    assert row(first, relevant="all")["count"] == 240
    alone = mixed_curve(a, b, one, queries=asked, ratios=(0.5,), draws=1, seed=1)
    assert row(alone, relevant="all")["ndcg"] != row(first, relevant="all")["ndcg"]


@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        ({"a": np.ones((5, 24))}, "unequal-lengths", "a has 5 rows and b has 120"),
        ({"query_side": "c"}, "unknown-side", "'c'"),
        ({"ratios": (1.5,)}, "not-a-share", "1.5"),
        ({"draws": 0}, "number-too-small", "0 draws"),
        ({"closings": {}}, "no-closing", "none"),
        ({"closings": {"none": {"b": None}}}, "side-without-closer", "side a"),
        ({"queries": np.ones((3, 24))}, "unequal-shapes", "(3, 24)"),
    ],
)
def test_the_curve_refuses_what_does_not_fit(
    world: Any, closings: Any, change: Any, code: str, fact: str
) -> None:
    a, b, _ = world
    with refused(code, fact):
        mixed_curve(**{"a": a, "b": b, "closings": closings, **change})


def test_plain_search_is_needed(world: Any, closings: Any) -> None:
    a, b, _ = world
    with refused("no-plain-closing", "none"):
        cross_cost(a, b, {"centering": closings["centering"]})


# --- what the audit shows ---------------------------------------------------------------------


def test_the_share_of_the_audit_is_as_it_was(world: Any) -> None:
    """Top-10 shares from full sorted lists, each query's own row left out of its pool."""
    a, b, _ = world
    got = mixed_share(a, b, moments(a), moments(b))
    centred = [unit_rows(side - side.mean(axis=0)) for side in (a, b)]
    for when, (x, y) in (("before", (a, b)), ("after", centred)):
        for key, asked, own in (("queries_a", x, 0), ("queries_b", y, len(x))):
            shares = []
            for i, q in enumerate(asked):
                line = np.concatenate([x @ q, y @ q])
                line[own + i] = -np.inf
                shares.append((np.argsort(-line)[:10] < len(x)).mean())
            assert got["a_share_at_10"][when][key] == pytest.approx(np.mean(shares), abs=1e-9)
    closer = PoolCloser.of({"a": moments(a), "b": moments(b)})
    for key, asked, own in (("queries_a", a, 0), ("queries_b", b, 120)):
        scores = by_formula(asked, np.vstack([a, b]), np.repeat([0, 1], 120), closer)
        scores[np.arange(120), own + np.arange(120)] = -np.inf
        share = (np.argsort(-scores, axis=1)[:, :10] < 120).mean()
        assert got["a_share_at_10"]["standardised"][key] == pytest.approx(share, abs=1e-9)
    assert mixed_share(a[:21], b[:21], moments(a), moments(b)) == {}


def test_the_share_is_that_of_float64_where_the_tenth_is_a_twin_of_the_next() -> None:
    """Row i of b is that of a, 1e-9 nearer to every query: each list is cut through a pair."""
    rng = np.random.default_rng(8)
    a = unit_rows(rng.normal(size=(60, 16)) / 4 + np.eye(16)[0])
    b = a + 1e-9 * np.eye(16)[0]
    got = mixed_share(a, b, moments(a), moments(b))["a_share_at_10"]["before"]
    assert got == {"queries_a": pytest.approx(0.4), "queries_b": pytest.approx(0.5)}


def test_the_share_of_rows_that_float32_cannot_hold_is_that_of_small_ones() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(2, 60, 16)) + np.eye(16)[:2, None]
    small = mixed_share(a, b, moments(a), moments(b))["a_share_at_10"]["before"]
    with np.errstate(over="raise"):
        large = mixed_share(a * 1e25, b * 1e25, moments(a * 1e25), moments(b * 1e25))
    assert large["a_share_at_10"]["before"] == small


def test_the_page_s_examples_run(files_wide: Any, capsys: Any) -> None:
    left, names = test_docs.run_blocks("mixed")
    assert names == ["store", "mixed"]
    assert len(capsys.readouterr().out.splitlines()) == 7 * 3 + 7 * 2
    documents = np.vstack([left["unit"]["image"], left["unit"]["caption"]])
    modality = np.repeat([0, 1], len(documents) // 2)
    whole = left["pool"].search(left["query"][None], documents, modality, 10)
    count = len(documents) // 2
    for (row, name, score), place, expected in zip(
        left["found"], whole.rows[0], whole.scores[0], strict=True
    ):
        assert row + count * (name == "caption") == place
        assert score == pytest.approx(expected)
    for name, (level, spread) in {
        n: (left["level"][n], left["spread"][n]) for n in ("image", "caption")
    }.items():
        given = left["pool"].parameters(left["query"])
        assert given[f"{name}_level"] == pytest.approx(level)
        assert given[f"{name}_spread"] == pytest.approx(spread)


def test_every_column_is_documented(world: Any, closings: Any) -> None:
    page = test_docs.page("mixed")
    columns = mixed_curve(*world[:2], closings, ratios=(0.5,))[0]
    columns |= im.mixed(None, *world[:2], draws=1).table[0]
    columns = {name for name in columns if not name.endswith("_ci")}
    assert [name for name in columns if f"`{name}`" not in page] == []


# --- real rows --------------------------------------------------------------------------------


@pytest.mark.real_data
def test_figures_of_clip_on_coco(coco: np.ndarray) -> None:
    """Closings fitted on 250 pairs of CLIP ViT-B/16, the other 250 are the corpus."""
    a, b = map(unit_rows, coco)
    order = np.random.default_rng(0).permutation(500)
    fit_on, rest = order[:250], order[250:]
    closings = pool_closers(moments(a[fit_on]), moments(b[fit_on]))
    curve = mixed_curve(a[rest], b[rest], closings, ratios=(0, 0.5, 1), draws=5)

    def at(name: str, ratio: float, key: str = "ndcg") -> float:
        return float(row(curve, closing=name, ratio=ratio, relevant="all")[key])

    assert at("none", 0.0) == pytest.approx(0.808, abs=0.0015)
    assert at("none", 0.5) < 0.001  # no answer is among the ten best: the gap hides them all
    assert at("none", 1.0) == pytest.approx(0.777, abs=0.0015)
    assert at("none", 0.5, "displaced") == pytest.approx(0.960, abs=0.0015)
    for name, middle in (
        ("mean-shift", 0.326),
        ("database-shift", 0.322),
        ("centering", 0.376),
        ("center-both, levelled", 0.327),
        ("standardised", 0.770),
    ):
        assert at(name, 0.5) == pytest.approx(middle, abs=0.0015), name
    assert at("center-both", 0.5) < 0.001
    verdict = im.mixed(None, a, b)
    for name, middle in (("none", 0), ("levelled", 0.288), ("standardised", 0.728)):
        assert verdict.row(name)["ndcg"] == pytest.approx(middle, abs=0.0015), name
    cost = cross_cost(a[rest], b[rest], closings)
    for name, i2t, t2i in (
        ("none", 0.676, 0.612),
        ("mean-shift", 0.368, 0.416),
        ("database-shift", 0.456, 0.500),
        ("centering", 0.628, 0.596),
        ("center-both, levelled", 0.676, 0.612),
        ("standardised", 0.676, 0.612),
    ):
        assert row(cost, closing=name, queries="a")["recall@1"] == pytest.approx(i2t, abs=1e-9)
        assert row(cost, closing=name, queries="b")["recall@1"] == pytest.approx(t2i, abs=1e-9)


# --- items and broken rows ----------------------------------------------------------------------


def test_an_item_counts_once_at_its_best_document(rng: np.random.Generator) -> None:
    q, x = rng.normal(size=(20, 6)), rng.normal(size=(15, 6))
    is_a, right = (
        rng.random(15) < 0.5,
        relevance_by_judgements([(i, i % 15) for i in range(20)], 20, 15),
    )
    once = search_pool(Ranking.of(q, x, "dot"), right, is_a, k=4)
    views = np.vstack([x, x - 0.01 * np.sign(x), x - 0.02 * np.sign(x)])  # three of each
    items = np.tile(np.arange(15), 3)
    many = relevance_by_judgements([(i, 15 + i % 15) for i in range(20)], 20, 45)  # a view is right
    got = search_pool(Ranking.of(q, views, "dot"), many, np.tile(is_a, 3), k=4, items=items)
    scores = (q @ views.T).reshape(20, 3, 15).max(axis=1)
    order = np.argsort(-scores, axis=1)[:, :4]
    hit = order == (np.arange(20) % 15)[:, None]
    np.testing.assert_allclose(got.recall, hit.any(axis=1))
    np.testing.assert_allclose(got.first, hit[:, 0])
    np.testing.assert_allclose(got.share_a, is_a[order].mean(axis=1))
    assert (once.recall == got.recall).mean() > 0.9
    by_row = search_pool(Ranking.of(q, views, "dot"), many, np.tile(is_a, 3), k=4)
    assert by_row.recall.mean() < got.recall.mean()


def test_pairs_that_share_an_item_are_one_document() -> None:
    pictures, captions = two_modalities(50, 24, seed=3)
    b = np.repeat(captions, 3, 0)
    b[1::3] += 0.01
    b[2::3] -= 0.01
    once = im.mixed(None, pictures, b[::3], draws=2)
    got = im.mixed(None, np.repeat(pictures, 3, 0), b, draws=2)
    assert got.documents == once.documents
    assert got.row("none")["ndcg"] == pytest.approx(once.row("none")["ndcg"])
    assert got.warnings[0].text == (
        "100 of 150 pairs hold an item of an earlier pair; each item is stored once"
    )
    near = np.repeat(pictures, 3, 0) + 1e-4 * np.arange(150)[:, None]
    named = im.mixed(None, near, b, draws=2, candidate_items_a=np.arange(150) // 3)
    assert named.documents == once.documents


def test_named_documents_are_items_across_both_sides() -> None:
    a, b = two_modalities(60, 24, seed=3)
    queries = unit_rows(a + b)
    right = np.column_stack([np.arange(60), np.arange(60)])
    both = {"relevance_a": right, "relevance_b": right, "share": 0.5, "k": 1}
    names = {"candidate_items_a": np.arange(60), "candidate_items_b": np.arange(60)}
    apart, one = (im.mixed(queries, a, b, **both, **items) for items in ({}, names))
    assert one.row("none")["recall"] == one.row("none")["recall@1"]  # two documents, one item
    assert apart.row("none")["recall"] == apart.row("none")["recall@1"] / 2
    one = im.mixed(queries, a, b, **both, query_items=np.arange(60) // 2)
    assert one.chosen_on + one.scored == 60


def test_no_advice_on_pairs_that_slip(
    tmp_path: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = two_modalities(300, 48)
    np.save("a.npy", np.delete(a, 40, axis=0))
    np.save("b.npy", b[:-1])
    code, out, _ = run(capsys, "mixed", "a.npy", "b.npy", "--out", "pool.json", "--draws", "1")
    assert code == 0
    assert out.startswith("BROKEN pairs-slipped")
    assert "No advice" in out
    assert "Use " not in out
    assert not (tmp_path / "pool.json").exists()
