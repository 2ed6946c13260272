"""Mixed pools: gain, places and shares against slow references, and what the closings do there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

import test_docs
from isthmus.closers import fit
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
from isthmus.search.relevance import (
    Relevance,
    outcome_of,
    relevance_by_judgements,
    relevance_by_pairs,
)
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
def closings() -> dict[str, dict[str, PoolCloser]]:
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
    assert at("center-both", 0.5) < at("none", 0.5) + 0.01  # the gap stays in its stored numbers


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
    assert mixed_share(a[:21], b[:21], moments(a), moments(b)) == {}


def test_the_page_s_example_runs(files_wide: Any, capsys: Any) -> None:
    assert test_docs.run_blocks("mixed")[1] == ["mixed"]
    assert len(capsys.readouterr().out.splitlines()) == 6 * 3 + 6 * 2


def test_every_column_is_documented(world: Any, closings: Any) -> None:
    page = test_docs.page("mixed")
    columns = mixed_curve(*world[:2], closings, ratios=(0.5,))[0]
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
    ):
        assert at(name, 0.5) == pytest.approx(middle, abs=0.0015), name
    assert at("center-both", 0.5) < 0.001
    cost = cross_cost(a[rest], b[rest], closings)
    for name, i2t, t2i in (
        ("none", 0.676, 0.612),
        ("mean-shift", 0.368, 0.416),
        ("database-shift", 0.456, 0.500),
        ("centering", 0.628, 0.596),
        ("center-both, levelled", 0.676, 0.612),
    ):
        assert row(cost, closing=name, queries="a")["recall@1"] == pytest.approx(i2t, abs=1e-9)
        assert row(cost, closing=name, queries="b")["recall@1"] == pytest.approx(t2i, abs=1e-9)
