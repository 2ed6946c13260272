"""What score means a match: brute force, thresholds by simulation, the record, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binomtest

import commands
import test_docs
from isthmus.closers import fit
from isthmus.data.moments import Moments
from isthmus.deploy.thresholds import Calibration, Null, calibrate
from isthmus.deploy.thresholds.figures import separation_of
from isthmus.deploy.thresholds.intervals import (
    drawn_rate,
    false_matches_at_most,
    order,
    over_both_draws,
    pair_threshold,
    search_threshold,
    share_by_query,
    share_of_pairs,
)
from isthmus.deploy.thresholds.nulls import collect, same_side, score_blocks, sizes_of
from isthmus.errors import CorruptFile, FileError
from isthmus.search.relevance import (
    relevance_by_judgements,
    relevance_by_labels,
    relevance_by_pairs,
)
from isthmus.search.task import RetrievalTask
from refusals import refused
from worlds import fitted, full_scores, two_modalities, unit_rows


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    """160 pairs in 24 dimensions, not unit norm."""
    a, b = two_modalities(160, 24, seed=8)
    rng = np.random.default_rng(1)
    return a * rng.uniform(0.5, 2, (160, 1)), b * rng.uniform(0.5, 2, (160, 1))


PAIRS = relevance_by_pairs(160, 160)
MANY = relevance_by_judgements([[0, 3], [0, 5], [7, 3], [8, 8], [8, 9], [150, 0]], 160, 160)


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("relevance", [PAIRS, MANY], ids=["pairs", "relevance"])
def test_scores_are_those_of_full_searches(world, score, relevance):
    a, b = world
    table = full_scores(a, b, score)
    found = collect(RetrievalTask(a, b, relevance, score))
    match = np.zeros(table.shape, bool)
    match[tuple(relevance.pairs.T)] = True
    np.testing.assert_allclose(found.match, table[tuple(relevance.pairs.T)])
    np.testing.assert_allclose(found.pairs, np.where(match, np.nan, table))
    np.testing.assert_allclose(found.best, np.where(match, -np.inf, table).max(axis=1))
    assert sizes_of(160) == [1, 2, 5, 10, 20, 50, 100, 160]
    assert (found.by_size[10] <= found.by_size[100]).all()
    assert (found.by_size[100] <= found.by_size[160]).all()
    assert found.by_size[10].mean() < found.by_size[160].mean()


def test_many_candidates_are_sampled_for_pairs_but_searched_in_full(world, monkeypatch):
    a, b = world
    monkeypatch.setattr("isthmus.deploy.thresholds.nulls.MOST_PAIRS", 160 * 30)
    found = collect(RetrievalTask(a, b, PAIRS, "dot"))
    table = a @ b.T
    np.fill_diagonal(table, np.nan)
    assert found.pairs.shape == (160, 30)
    columns = [int(np.flatnonzero(np.isclose(table[5], s))[0]) for s in found.pairs[5] if s == s]
    np.testing.assert_allclose(found.pairs[90][:20], table[90, columns][:20], equal_nan=True)
    np.testing.assert_allclose(found.best, np.nanmax(table, axis=1))


def test_a_candidate_bias_is_added(world):
    a, b = world
    bias = np.linspace(-1, 1, 160)
    (_, dot), *_ = score_blocks(a, b, "dot", bias)
    np.testing.assert_allclose(dot, a @ b.T + bias)
    (_, far), *_ = score_blocks(a, b, "euclidean", bias)
    np.testing.assert_allclose(far, -0.5 * full_scores(a, b, "euclidean") ** 2 + bias)


@pytest.mark.parametrize(
    "relevance", [PAIRS, MANY, relevance_by_labels(np.arange(160) % 9, 160, 160)]
)
def test_pairs_of_one_side_leave_out_what_shares_a_partner(world, relevance):
    a, _ = world
    partners = [set(rows.tolist()) for rows in relevance.of_query()]
    table = full_scores(a, a, "cosine")
    slow = [
        table[i, j] for i in range(160) for j in range(i + 1, 160) if not partners[i] & partners[j]
    ]
    np.testing.assert_allclose(
        np.sort(same_side(a, relevance, "cosine")), np.sort(slow), atol=1e-12
    )


def test_area_and_d_prime(world):
    from sklearn.metrics import roc_auc_score

    a, b = world
    for relevance in (PAIRS, MANY):
        task = RetrievalTask(np.round(a, 1), np.round(b, 1), relevance, "dot")  # some ties
        scores = collect(task)
        null = scores.null
        got = separation_of(scores)
        right = np.r_[np.ones(len(scores.match)), np.zeros(len(null))]
        area = roc_auc_score(right, np.r_[scores.match, null])
        assert got["auc"] == pytest.approx(area)
        spread = np.sqrt((scores.match.var() + null.var()) / 2)
        assert got["d_prime"] == pytest.approx((scores.match.mean() - null.mean()) / spread)


def test_the_interval_of_the_area_covers():
    rng = np.random.default_rng(0)
    area = 0.9213503964748575  # Φ(2 / √2): normal scores two apart
    inside = 0
    for _ in range(100):
        table = rng.normal(size=(60, 60)) + 2 * np.eye(60)
        task = RetrievalTask(table, np.eye(60), relevance_by_pairs(60, 60), "dot")
        low, high = separation_of(collect(task))["auc_ci"]
        inside += low <= area <= high
    assert 88 <= inside <= 100


def test_thresholds_by_order_statistics():
    assert [order(0.001, n) for n in (998, 999, 1998, 1999)] == [0, 1, 1, 2]
    assert order(0.1, 9) == 1
    rng = np.random.default_rng(0)
    null = rng.permutation(1000).astype(float)  # 0 … 999
    got = search_threshold(null, 0.05)
    assert got.value == 950  # the 50th largest of 1,000: 49 lie above
    assert got.resolved
    few, many = binomtest(50, 1000).proportion_ci(0.95, "exact")
    assert got.low == pytest.approx(999 - 1000 * many, abs=8)
    assert got.high == pytest.approx(999 - 1000 * few, abs=8)
    got = search_threshold(null[:30], 0.01)
    assert not got.resolved
    assert got.value == null[:30].max()
    assert got.high is None


def test_the_rate_of_a_threshold_is_kept_on_average_and_its_interval_covers():
    """Uniform scores: the true quantile is 1 - rate, and the rate of a threshold is 1 - it."""
    rng = np.random.default_rng(0)
    found = [search_threshold(rng.uniform(size=400), 0.05) for _ in range(1000)]
    rates = np.array([1 - t.value for t in found])
    assert rates.mean() == pytest.approx(20 / 401, abs=3 * rates.std() / np.sqrt(1000))
    covered = np.mean([t.low <= 0.95 <= t.high for t in found])
    assert covered > 0.94


def two_way(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Scores with effects of row and column, variances 0.3, 0.3 and 0.4: standard normal each."""
    rows, columns = rng.normal(size=(n, 1)), rng.normal(size=(1, m))
    return np.sqrt(0.3) * (rows + columns) + np.sqrt(0.4) * rng.normal(size=(n, m))


def test_intervals_of_pairs_cover_although_pairs_share_rows_and_columns():
    rng = np.random.default_rng(0)
    edge, rate = 1.6448536269514722, 0.05  # the true quantile of a standard normal
    inside, naive, edges = 0, 0, 0
    for _ in range(200):
        table = two_way(rng, 80, 60)
        np.fill_diagonal(table, np.nan)
        known = np.isfinite(table)
        hits = (table > edge) & known
        got = share_of_pairs(hits, known)
        inside += got.low <= rate <= got.high
        plain = binomtest(int(hits.sum()), int(known.sum())).proportion_ci(method="wilson")
        naive += plain.low <= rate <= plain.high
        between = pair_threshold(table, rate)
        edges += between.low <= edge <= (np.inf if between.high is None else between.high)
    assert inside >= 180
    assert edges >= 180
    assert naive < 130  # as if all pairs were independent


def test_the_held_out_rate_of_pairs_holds_the_stated_one_over_both_draws():
    """Where queries differ by more than candidates do; candidates are the same for both halves."""
    rng = np.random.default_rng(0)
    both = alone = 0
    for _ in range(200):
        table = np.sqrt(0.5) * rng.normal(size=(160, 1)) + np.sqrt(0.5) * rng.normal(size=(160, 60))
        fitted, held = np.split(table, 2)
        every, edge = np.ones((80, 60), bool), pair_threshold(fitted, 0.05).value
        share = share_of_pairs(held > edge, every)
        got = over_both_draws(share, share_of_pairs(fitted > edge, every))
        assert got.effective < min(share.effective, 80 * 60)
        both += got.low <= 0.05 <= got.high
        alone += share.low <= 0.05 <= share.high
    assert both >= 188 > alone


def test_one_pair_a_query_is_a_plain_binomial():
    hits = np.arange(50) < 13
    got = share_by_query(hits, np.arange(50))
    plain = binomtest(13, 50).proportion_ci(method="exact")
    assert (got.mean, got.effective) == pytest.approx((0.26, 50))
    assert (got.low, got.high) == pytest.approx((plain.low, plain.high))
    alike = share_by_query(np.repeat(hits, 4), np.repeat(np.arange(50), 4))  # four copies of each
    assert (alike.low, alike.high) == pytest.approx((got.low, got.high))
    assert share_by_query(np.zeros(20, bool), np.arange(20) // 2).high == pytest.approx(
        binomtest(0, 10).proportion_ci(method="exact").high
    )


@given(seed=st.integers(0, 10**6), count=st.integers(2, 6000), rate=st.floats(0.001, 0.3))
def test_p_values(seed, count, rate):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=count), 2)  # ties
    asked = np.r_[scores[:50], rng.normal(size=50) * 3, -9, 9]
    null = Null.of(scores)
    got = null.p_value(asked)
    slow = (1 + (scores[None] >= asked[:, None]).sum(1)) / (count + 1)
    assert (got >= slow - 1e-15).all()  # never too small
    tail = asked > np.sort(scores)[max(0, count - 900)]
    np.testing.assert_allclose(got[tail], slow[tail])
    np.testing.assert_allclose(got, slow, atol=0.002 + 2 / (count + 1) if count > 2000 else 1e-12)
    edge = search_threshold(scores, rate)
    if edge.resolved and rate * count < 900:
        np.testing.assert_array_equal(got <= rate + 1e-12, asked > edge.value)
    again = Null.read(json.loads(json.dumps(null.to_dict())))
    np.testing.assert_array_equal(again.p_value(asked), got)
    assert np.isnan(null.p_value(np.nan))


def test_what_is_judged_is_not_what_was_fitted(world):
    a, b = world
    plain = calibrate(a, b, false_match_rate=0.05, score="dot", seed=4)
    rng = np.random.default_rng([4, 0xCA1])
    rng.permutation(160)
    held = np.sort(rng.permutation(160)[80:])
    other = a.copy()
    other[held] = 5 * other[held]  # higher scores of the judged half, all of them
    moved = calibrate(other, b, false_match_rate=0.05, score="dot", seed=4)
    assert moved.thresholds == plain.thresholds
    low = plain.figures["pair"]["held_out"]["false_match_rate"]
    assert moved.figures["pair"]["held_out"]["false_match_rate"] > 2 * low
    assert plain.figures["fit_queries"] == plain.figures["held_out_queries"] == 80


def test_figures_of_the_held_out_half(world):
    a, b = world
    got = calibrate(a, b, false_match_rate=0.05, score="dot", seed=4)
    rng = np.random.default_rng([4, 0xCA1])
    rng.permutation(160)
    split = rng.permutation(160)
    fit_rows, held = np.sort(split[:80]), np.sort(split[80:])
    table = a @ b.T
    match = np.diag(table).copy()
    np.fill_diagonal(table, -np.inf)
    null = np.sort(table[fit_rows][np.isfinite(table[fit_rows])])
    edge = null[len(null) - order(0.05, len(null))]
    part = got.figures["pair"]
    assert part["threshold"] == pytest.approx(edge)
    false = (table[held] > edge).sum() / (80 * 159)
    assert part["held_out"]["false_match_rate"] == pytest.approx(false)
    assert part["held_out"]["match_rate"] == pytest.approx((match[held] > edge).mean())
    shares = (share_of_pairs(table[r] > edge, np.isfinite(table[r])) for r in (held, fit_rows))
    both = over_both_draws(*shares)
    assert part["held_out"]["false_match_rate_ci"] == pytest.approx([both.low, both.high])
    any_false = (table[held].max(1) > edge).mean()
    assert part["held_out"]["searches_with_false_match"] == pytest.approx(any_false)
    best = np.sort(table[fit_rows].max(1))[80 - order(0.05, 80)]
    assert got.figures["search"]["threshold"] == pytest.approx(best)
    judged = got.figures["search"]["held_out"]
    assert judged["false_match_rate"] == pytest.approx((table[held].max(1) > best).mean())
    assert got.p_value(edge + 1e-9) <= 0.05 < got.p_value(edge)
    assert got.is_match([edge, edge + 1e-9]).tolist() == [False, True]
    assert got.p_value(best + 1e-9, per="search") <= 0.05 < got.p_value(best, per="search")


def codes(found: Calibration) -> list[str]:
    return [w["code"] for w in found.figures["warnings"]]


def test_input_warnings(world):
    a, b = world
    fine = calibrate(a, b, false_match_rate=0.2)
    assert codes(fine) == ["one-threshold-for-both"]
    same = fine.figures["same_modality"]["queries"]
    assert same["null"]["mean"] > fine.figures["pair"]["null"]["mean"] + 0.2
    small = calibrate(a, b, false_match_rate=0.00001)
    assert codes(small).count("rate-below-resolution") == 2
    assert not small.figures["pair"]["resolved"]
    assert "no-truth" in codes(calibrate(a, b, false_match_rate=0.2, paired=False))
    other_order = a, b[np.random.default_rng(0).permutation(160)]
    mixed = calibrate(*other_order, false_match_rate=0.2, paired=True)
    assert codes(mixed)[:2] == ["pairs-without-signal", "rows-out-of-order"]
    assert "matches-without-signal" in codes(mixed)
    unsaid = codes(calibrate(*other_order, false_match_rate=0.2))
    assert {"measured-unpaired", "no-truth"} <= set(unsaid)
    slipped = calibrate(np.delete(a, 30, axis=0), b[:-1], false_match_rate=0.2)
    assert codes(slipped)[0] == "pairs-slipped"
    part = calibrate(a, b, false_match_rate=0.2, max_queries=50)
    assert "queries-sampled" in codes(part)
    assert part.figures["fit_queries"] + part.figures["held_out_queries"] == 50
    other = np.random.default_rng(0).normal(size=(2, 160, 24))
    assert codes(calibrate(*other, false_match_rate=0.2, paired=False)) == ["no-truth"]


def test_a_closer_comes_first(world):
    a, b = world
    plain = calibrate(unit_rows(a), unit_rows(b), false_match_rate=0.05, score="dot")
    centred = calibrate(a, b, false_match_rate=0.05, closer=fitted("center-queries", a, b))
    assert centred.closer == "center-queries"
    assert centred.score == "dot"
    assert centred.figures["same_modality"] == {"queries": None, "candidates": None}
    assert "adds a bias" in centred.figures["why_null"]["same_modality"]
    assert plain.figures["why_null"] == {}
    for per, value in plain.thresholds.items():  # its candidate bias brings every score back
        assert centred.thresholds[per] == pytest.approx(value)
    for normalised in (True, False):  # of rows as given, in the second case
        shift = fitted("mean-shift", a, b, score="cosine", normalised=normalised)
        moved = calibrate(a, b, false_match_rate=0.05, closer=shift)
        by_hand = calibrate(shift.query(a), shift.candidate(b), false_match_rate=0.05)
        assert moved.thresholds == pytest.approx(by_hand.thresholds, abs=1e-12)
    assert abs(moved.thresholds["pair"] - plain.thresholds["pair"]) > 0.1


def test_the_record_comes_back_and_refuses_other_rows(world, here):
    a, b = world
    found = calibrate(a, b, false_match_rate=0.05, model="two towers")
    found.save(here / "match.json")
    again = Calibration.load(here / "match.json", dim=24, score="cosine", model="two towers")
    asked = np.linspace(-1, 1, 501)
    for per in ("pair", "search"):
        np.testing.assert_array_equal(again.p_value(asked, per), found.p_value(asked, per))
    assert again.thresholds == found.thresholds
    assert (again.candidates, again.false_match_rate, again.closer) == (160, 0.05, None)
    assert again.to_dict() == found.to_dict()
    assert again._repr_html_() == found._repr_html_()
    assert found.to_arrow().column("threshold").to_pylist() == list(found.thresholds.values())
    assert found.save(here / "match.parquet").exists()
    for code, other in (
        ("unequal-dimensions", {"dim": 32}),
        ("calibration-of-another-score", {"score": "dot"}),
        ("calibration-of-another-model", {"model": "another"}),
    ):
        with refused(code, *map(str, other.values())):
            Calibration.load(here / "match.json", **other)
    with refused("unknown-per", "pair, search"):
        again.p_value(0.1, per="row")
    with refused("unknown-suffix", "match.npy"):
        found.save(here / "match.npy")


def test_what_is_no_calibration_is_refused(world, here):
    calibrate(*world, false_match_rate=0.05).save(here / "match.json")
    got = json.loads((here / "match.json").read_text())
    falling = {p: {**n, "values": n["values"][::-1]} for p, n in got["nulls"].items()}
    uneven = {p: {**n, "values": [2, 1]} for p, n in got["nulls"].items()}
    with refused("no-such-file", "none.json", kind=FileError):
        Calibration.load(here / "none.json")
    for content, code, fact in (
        (b"no json", "not-json", "broken.json"),
        (b"\xff\xfe", "not-utf8", "broken.json"),
        ([1], "wrong-kind", "broken.json"),
        ({**got, "nulls": {}}, "damaged-file", "'pair'"),
        ({**got, "dim": None}, "damaged-file", "missing or unreadable"),
        ({**got, "nulls": uneven}, "damaged-file", "in length"),
        ({**got, "nulls": falling}, "damaged-file", "do not rise"),
    ):
        written = content if isinstance(content, bytes) else json.dumps(content).encode()
        (here / "broken.json").write_bytes(written)
        with refused(code, fact, kind=CorruptFile):
            Calibration.load(here / "broken.json")


@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        ({"false_match_rate": 0.0}, "rate-out-of-range", "0.0"),
        ({"false_match_rate": float("nan")}, "rate-out-of-range", "nan"),
        ({"score": "manhattan"}, "unknown-score", "manhattan"),
        ({"candidates": np.ones((9, 7))}, "unequal-dimensions", "candidates has 7"),
        ({"queries": np.full((160, 24), np.inf)}, "not-finite", "queries holds NaN or infinity"),
        ({"candidates": np.zeros((160, 24))}, "zero-rows", "160 zero vectors"),
        ({"relevance": relevance_by_pairs(9, 9)}, "relevance-of-other-rows", "9 queries"),
        ({"max_queries": 3}, "too-few-queries", "3 queries"),
        ({"max_queries": 1}, "too-few-queries", "1 queries"),
        ({"max_queries": -1}, "too-few-queries", "0 queries"),
        ({"relevance": [[4, j] for j in range(160)]}, "query-without-non-match", "query 4"),
        ({"paired": True, "labels": np.zeros(160, int)}, "relevance-twice", "labels"),
    ],
)
def test_refusals(world, change, code, fact):
    a, b = world
    with refused(code, fact):
        calibrate(**{"queries": a, "candidates": b, "false_match_rate": 0.05, **change})


def test_a_closer_of_another_score_or_dimension_is_refused(world):
    a, b = world
    closer = fitted("center-queries", a, b)
    with refused("score-of-another-closer", "searched by dot"):
        calibrate(a, b, closer=closer, score="cosine")
    with refused("unequal-dimensions", "fitted for 24"):
        calibrate(a[:, :8], b[:, :8], closer=closer)
    holed = np.vstack([a[:-1], np.zeros(24)])
    with refused("zero-rows", "1 zero vector"):  # this closer normalises rows
        calibrate(holed, b, closer=closer)


# a decision per query


def kinds_of(count: int) -> np.ndarray:
    return np.where(np.arange(count) % 3 == 0, "short", "long")


def test_a_decision_is_a_conformal_p_value_of_its_kind_and_size(world):
    """Against brute force: all scores of the fitted queries of the kind, none of a subset."""
    a, b = (unit_rows(side) for side in world)
    kinds = kinds_of(160)
    found = calibrate(a, b, false_match_rate=0.1, kinds=kinds, seed=4)
    rng = np.random.default_rng([4, 0xCA1])
    rng.permutation(160)
    order = rng.permutation(160)
    table = a @ b.T
    np.fill_diagonal(table, -np.inf)
    asked = np.linspace(table.max(1).min() - 0.05, table.max() + 0.05, 60)
    for kind in ("short", "long"):
        rows = order[kinds[order] == kind]
        null = table[rows[: len(rows) // 2]].max(axis=1)
        slow = (1 + (null[None] >= asked[:, None]).sum(1)) / (len(null) + 1)
        got = found.decide(asked, kind=kind)
        np.testing.assert_allclose(got.p_value, slow)
        np.testing.assert_array_equal(got.match, slow <= 0.1)
        np.testing.assert_array_equal(got.match, asked > got.threshold)
        for size in (100, 51):  # between two sizes the larger one's null
            null = found.kinds[kind][100]
            np.testing.assert_allclose(
                found.decide(asked, kind=kind, size=size).p_value, null.p_value(asked)
            )
    twice = found.decide(asked, kind="long", size=320).p_value
    np.testing.assert_allclose(twice, np.minimum(1, 2 * found.decide(asked, kind="long").p_value))
    every = found.decide(asked)
    np.testing.assert_allclose(every.p_value, found.p_value(asked, "search"))
    mixed = found.decide(asked, kind=np.where(asked > 0.5, "short", "long"))
    low = asked <= 0.5
    np.testing.assert_array_equal(mixed.p_value[low], found.decide(asked, kind="long").p_value[low])


def test_the_null_of_a_size_is_the_best_of_a_random_part(world):
    """A part is drawn for each query, so its mean is that of all parts of this size."""
    a, b = (unit_rows(side) for side in world)
    table = a @ b.T
    np.fill_diagonal(table, np.nan)
    rising = np.sort(table, axis=1)[:, :159]  # NaN last
    runs = [collect(RetrievalTask(a, b, PAIRS, "dot"), seed=s).by_size for s in range(20)]
    for size in (1, 5, 20):
        # the best of m of N: rank i (from below) with chance C(i, m - 1) / C(N, m)
        from scipy.special import comb

        chance = comb(np.arange(159), size - 1) / comb(159, size)
        drawn = np.array([np.nanmean(run[size]) for run in runs])
        assert drawn.mean() == pytest.approx((rising @ chance).mean(), abs=0.02)
        assert drawn.std() < 0.03  # one part for all queries would scatter much more


def test_decisions_of_rows_are_those_of_their_scores(world):
    a, b = world
    found = calibrate(a, b, false_match_rate=0.1)
    part = np.arange(20, 60)
    got = found.decide(a[:9], b[part])
    table = full_scores(a[:9], b[part], "cosine")
    by_scores = found.decide(table)
    np.testing.assert_allclose(got.score, table.max(axis=1))
    np.testing.assert_array_equal(got.answer, table.argmax(axis=1))
    np.testing.assert_array_equal(got.p_value, by_scores.p_value)
    assert set(got.size) == {40}
    filtered = np.full((9, 160), np.nan)
    filtered[:, part] = table
    again = found.decide(filtered)
    np.testing.assert_array_equal(again.answer, part[got.answer])
    np.testing.assert_array_equal(again.p_value, got.p_value)
    nothing = found.decide(np.full((1, 160), np.nan))
    assert (nothing.match[0], nothing.answer[0], nothing.size[0]) == (False, -1, 0)
    assert np.isnan(nothing.p_value[0])
    twins = found.decide(a[:9], np.repeat(b[part], 3, axis=0))
    np.testing.assert_array_equal(twins.size, got.size)
    lines = got.to_arrow().to_pylist()
    assert [line["decision"] for line in lines] == np.where(got.match, "match", "nothing").tolist()
    assert got.to_dict()["matches"] == int(got.match.sum())
    assert "queries have a match" in got._repr_html_()
    shift = fitted("center-queries", a, b)
    through = calibrate(a, b, false_match_rate=0.1, closer=shift)
    plain = calibrate(unit_rows(a), unit_rows(b), false_match_rate=0.1, score="dot")
    np.testing.assert_allclose(
        through.decide(a, b, closer=shift).p_value, plain.decide(unit_rows(a), unit_rows(b)).p_value
    )
    with refused("calibration-of-another-closer", "center-queries"):
        through.decide(a, b)
    with refused("unknown-kind", "none"):
        found.decide(table, kind="other")
    with refused("bad-size", "0"):
        found.decide(table, size=0)
    with refused("unequal-dimensions", "24"):
        found.decide(a[:, :8], b[:, :8])


def test_without_enough_nulls_nothing_is_decided_to_match(world):
    a, b = world
    found = calibrate(a, b, false_match_rate=0.001)
    got = found.decide([np.inf, 5.0])
    assert not got.match.any()
    assert np.isinf(got.threshold).all()
    assert got.p_value.tolist() == [1 / 81] * 2


def test_repeated_rows_count_once_and_their_twins_are_right(world):
    a, b = world
    plain = calibrate(a, b, false_match_rate=0.1)
    q, x = np.repeat(np.arange(160), 3), np.r_[np.arange(160), np.arange(0, 160, 2)]
    right = np.where(np.arange(160) % 2, np.arange(160), 160 + np.arange(160) // 2)
    pairs = np.column_stack([3 * np.arange(160) + 2, right])  # of the last twin, the last twin
    got = calibrate(a[q], b[x], relevance=pairs, false_match_rate=0.1)
    assert got.thresholds == plain.thresholds
    assert got.figures["search"] == plain.figures["search"]
    assert (got.figures["queries"], got.figures["distinct_queries"]) == (480, 160)
    assert (got.figures["candidates"], got.figures["distinct_candidates"]) == (240, 160)
    assert got.candidates == 160
    scores = full_scores(a[:5], b[x], "cosine")
    np.testing.assert_array_equal(got.decide(scores).size, 160)


def test_kinds_too_small_are_named_and_left_out(world):
    a, b = world
    kinds = np.r_[["rare"] * 3, ["few"] * 10, ["many"] * 147]
    found = calibrate(a, b, false_match_rate=0.1, kinds=kinds)
    assert found.figures["kinds_left_out"] == ["rare"]
    assert list(found.kinds) == ["few", "many"]
    assert {"kinds-left-out", "rate-below-resolution"} <= set(codes(found))
    fits = {part["kind"]: part["fit_queries"] for part in found.figures["kinds"]}
    assert fits == {"few": 5, "many": 73}
    with refused("unknown-kind", "'few', 'many'"):
        found.decide([0.1], kind=["rare"])
    with refused("unequal-lengths", "159 kinds for 160 rows"):
        calibrate(a, b, kinds=kinds[1:])


def test_a_file_of_the_first_schema_decides_by_its_one_null(world, here):
    found = calibrate(*world, false_match_rate=0.1, kinds=kinds_of(160))
    found.save(here / "match.json")
    asked = np.linspace(-1, 1, 101)
    again = Calibration.load(here / "match.json")
    for kind in (None, "short"):
        for size in (None, 1, 30, 900):
            one, other = (f.decide(asked, kind=kind, size=size) for f in (found, again))
            np.testing.assert_array_equal(one.p_value, other.p_value)
    stored = json.loads((here / "match.json").read_text())
    assert stored["schema"] == 1
    for name in ("by_size", "kinds"):
        del stored[name]
    (here / "old.json").write_text(json.dumps(stored))
    old = Calibration.load(here / "old.json")
    np.testing.assert_array_equal(old.decide(asked).p_value, found.p_value(asked, "search"))
    stored["kinds"] = {"short": []}
    (here / "broken.json").write_text(json.dumps(stored))
    with refused("damaged-file", "broken.json", kind=CorruptFile):
        Calibration.load(here / "broken.json")


def test_the_table_of_thresholds_is_that_of_first_answers(world):
    a, b = world
    got = calibrate(a, b, false_match_rate=0.05, score="dot", seed=4)
    rng = np.random.default_rng([4, 0xCA1])
    rng.permutation(160)
    split = rng.permutation(160)
    table = a @ b.T
    first, score = table.argmax(1), table.max(1)
    right = first == np.arange(160)
    np.fill_diagonal(table, -np.inf)
    null, held = np.sort(table[split[:80]].max(1)), split[80:]
    lines = got.figures["table"]
    assert [line["stated"] for line in lines] == [0.5, 0.2, 0.1, 0.05, 0.02]
    for line in lines:
        edge = null[80 - order(line["stated"], 80)]
        shown = score[held] > edge
        assert line["threshold"] == pytest.approx(edge)
        assert line["precision"] == pytest.approx(right[held][shown].mean())
        assert line["recall"] == pytest.approx((right[held] & shown).mean())
        assert line["false_match_rate"] == pytest.approx((table[held].max(1) > edge).mean())
    unknown = calibrate(a, b, false_match_rate=0.05, paired=False).figures["table"]
    assert {(line["precision"], line["recall"]) for line in unknown} == {(None, None)}


@pytest.mark.slow
def test_the_rate_holds_for_new_queries_of_every_kind_and_size():
    """Short queries score higher with everything; 12 draws, judged on new queries without match."""
    from bench.thresholds import holds, of_made_rows

    rate = 0.05
    runs = [run for seed in range(12) for run in of_made_rows(seed, rate, 600, 300)]
    for apart in (True, False):
        group = [run for run in runs if ("one for all" not in run.kind) == apart]
        inside = [holds(drawn_rate(r.hits, r.count, r.fitted), rate) for r in group]
        assert len(inside) == 72
        assert (np.mean(inside) > 0.9) == apart
    for kind in ("short", "long"):
        rates = [run.hits / run.count for run in runs if run.kind == kind]
        assert 0.6 * rate < np.mean(rates) < 1.25 * rate


def test_the_held_out_interval_is_beta_binomial():
    for hits, count, rate, many in ((0, 50, 0.02, 99), (7, 250, 0.01, 250), (30, 60, 0.4, 20)):
        slow = betabinom.cdf(hits, count, rate * (many + 1), (1 - rate) * (many + 1))
        assert false_matches_at_most(hits, count, rate, many) == pytest.approx(slow)
        got = drawn_rate(hits, count, many)
        low, high = (
            betabinom(count, end * (many + 1), (1 - end) * (many + 1))
            for end in (got.low or 0.5, got.high)
        )
        assert high.cdf(hits) == pytest.approx(0.025, abs=1e-6)
        assert got.low == 0 or low.sf(hits - 1) == pytest.approx(0.025, abs=1e-6)
    assert drawn_rate(0, 9, 9).low == 0
    assert drawn_rate(9, 9, 9).high == 1


@pytest.mark.slow
def test_the_held_out_interval_holds_the_stated_rate_over_both_draws():
    """250 to fit on, 250 to judge on, 1 %: Wilson's interval misses it in one draw of nine."""
    rng = np.random.default_rng(0)
    rate, inside, wilson = order(0.01, 250) / 251, 0, 0
    for _ in range(1000):
        fitted, held = rng.uniform(size=(2, 250))
        hits = int((held > search_threshold(fitted, 0.01).value).sum())
        got = drawn_rate(hits, 250, 250)
        inside += got.low <= rate <= got.high
        plain = binomtest(hits, 250).proportion_ci(method="wilson")
        wilson += plain.low <= rate <= plain.high
    assert inside >= 950
    assert wilson < 920


# the command


@pytest.fixture
def files(world, tmp_path, monkeypatch) -> Path:
    a, b = world
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    np.save(tmp_path / "few.npy", b[:40])
    np.save(tmp_path / "labels.npy", np.arange(160) % 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, words: str) -> tuple[int, str, str]:
    """Standard output as one line of words."""
    code, out, err = commands.run(capsys, *words.split())
    return code, " ".join(out.split()), err


def test_the_command_saves_and_says(files, capsys):
    words = "calibrate a.npy b.npy --false-match-rate 0.05 --out m.json --model towers"
    code, out, err = run(capsys, words)
    assert (code, err) == (0, "")
    found = Calibration.load("m.json", dim=24, model="towers")
    assert f"per pair: a match scores above {found.thresholds['pair']:.4g}" in out
    assert f"per search: a match scores above {found.thresholds['search']:.4g}" in out
    assert "queries among themselves" in out
    assert out.endswith("wrote m.json")
    same = calibrate("a.npy", "b.npy", false_match_rate=0.05, model="towers")
    assert found.to_dict() == same.to_dict()


def test_the_command_in_json_with_labels_and_a_closer(files, capsys):
    words = "calibrate a.npy few.npy --labels labels.npy --json --false-match-rate 0.1"
    code, out, err = run(capsys, words)
    assert code == 0
    got = json.loads(out)
    assert got["truth"] == "zero-shot"
    assert got["match"]["count"] == 160
    assert "per search" in err
    a, b = (unit_rows(np.load(f"{n}.npy")) for n in "ab")
    moments = Moments.of(a, precise=True), Moments.of(b, precise=True)
    fit("mean-shift", *moments, score="cosine").save("c.safetensors")
    code, out, _ = run(capsys, "calibrate a.npy b.npy --closer c.safetensors --json")
    assert code == 0
    assert json.loads(out)["closer"] == "mean-shift"


def test_the_first_lines_say_which_threshold_to_use_for_which_kind(files, capsys):
    Path("kinds.csv").write_text("\n".join(["kind", *kinds_of(160)]))
    np.save("kinds.npy", kinds_of(160))
    words = ("calibrate", "a.npy", "b.npy", "--false-match-rate", "0.05", "--kinds")
    code, out, err = commands.run(capsys, *words, "kinds.csv")
    assert (code, err) == (0, "")
    found = calibrate("a.npy", "b.npy", false_match_rate=0.05, kinds="kinds.npy")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    parts = [(f"kind '{part['kind']}'", part["threshold"]) for part in found.figures["kinds"]]
    parts += [("every kind together", found.thresholds["search"])]
    assert " ".join(out.split()).startswith(
        " ".join(
            f"Use {t:.4g} for {who}: a query's best candidate of 160 is a match if its score is "
            f"above {t:.4g}."
            for who, t in parts
        )
    )
    star = [line for line in lines if line.startswith("*")]
    assert len(star) == 1
    assert "5%" in star[0]
    code, out, _ = commands.run(capsys, *words, "kinds.npy", "--json")
    assert json.loads(out)["kinds"] == json.loads(json.dumps(found.figures["kinds"]))


def test_too_few_queries_name_the_strictest_rate_that_they_can_tell(files, capsys):
    _, out, _ = run(capsys, "calibrate a.npy b.npy")
    assert out.startswith(
        "No threshold for every query at 0.1% false matches: that needs 1,998 queries, half to fit "
        "on and half held out, and there are 160. The strictest rate that these can tell is "
    )
    pair = calibrate("a.npy", "b.npy").thresholds["pair"]
    assert f"A single pair by itself is a match above {pair:.4g}." in " ".join(out.split())
    threshold = out.partition("threshold 0.")[2][:4]
    rate = out.partition("--false-match-rate ")[2].partition(". ")[0]
    assert 1 / 81 <= float(rate) < 1.02 / 81
    _, told, _ = run(capsys, f"calibrate a.npy b.npy --false-match-rate {rate}")
    assert told.startswith(f"Use 0.{threshold} for every query")
    _, refused, _ = run(capsys, f"calibrate a.npy b.npy --false-match-rate {1 / 82}")
    assert refused.startswith("No threshold")


def test_repeats_are_said(files, capsys):
    np.save("twice.npy", np.repeat(np.load("a.npy"), 2, axis=0))
    np.save("pairs.npy", np.column_stack([np.arange(320), np.arange(320) // 2]))
    code, out, _ = run(capsys, "calibrate twice.npy b.npy --relevance pairs.npy")
    assert code == 0
    assert "160 of 320 queries repeat another row: each counts once" in out


def test_unpaired_means_that_nothing_matches(files, capsys):
    code, out, _ = run(capsys, "calibrate a.npy b.npy --unpaired --json")
    got = json.loads(out)
    assert code == 0
    assert got["match"] is got["separation"] is got["truth"] is None
    assert set(got["why_null"]) == {"match", "separation"}
    assert got["pair"]["null"]["count"] == 80 * 160


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ("a.npy none.npy", "none.npy"),
        ("a.npy few.npy --paired", "row i cannot belong to row i"),
        ("a.npy b.npy --out m.npy", "a calibration is a .json file"),
        ("a.npy b.npy --closer a.npy", "a.npy"),
        ("a.npy b.npy --labels labels.npy --paired", "labels"),
    ],
)
def test_the_command_refuses_in_one_sentence(files, capsys, words, fact):
    commands.refused_in_one_sentence(capsys, f"calibrate {words}", fact)


@pytest.mark.real_data
def test_coco_thresholds(coco):
    """What docs/calibrate.md says of CLIP on COCO."""
    got = calibrate(*coco, false_match_rate=0.01).figures
    assert got["match"]["mean"] == pytest.approx(0.310, abs=0.001)  # matched cosine, published
    assert got["pair"]["null"]["mean"] == pytest.approx(0.162, abs=0.002)
    assert got["same_modality"]["queries"]["null"]["mean"] == pytest.approx(0.531, abs=0.001)
    assert got["same_modality"]["candidates"]["null"]["mean"] == pytest.approx(0.515, abs=0.001)
    assert got["separation"]["auc"] == pytest.approx(0.989, abs=0.002)
    low, high = got["pair"]["held_out"]["false_match_rate_ci"]
    assert low < 0.01 < high
    for side in ("queries", "candidates"):
        assert got["same_modality"][side]["above_cross_threshold"] > 0.95
    assert got["search"]["threshold"] > got["pair"]["threshold"] + 0.03


def test_the_example_of_the_page_runs(files_wide, pairs_wide, capsys):
    calibrate("images.npy", "captions.npy", false_match_rate=0.1).save("match.json")
    left, names = test_docs.run_blocks("calibrate")
    assert names == ["decide", "load"]
    np.testing.assert_allclose(left["best"], (pairs_wide[0] @ pairs_wide[1].T).max(1), rtol=1e-5)
    assert left["found"].match.sum() > left["found"].size[0] / 3
    assert capsys.readouterr().out.endswith("0.7\n")


def test_every_key_is_on_the_page(world):
    got = calibrate(*world, false_match_rate=0.05).figures
    page = test_docs.page("calibrate")
    keys = set(got) | set(got["search"]) | set(got["pair"]) | set(got["table"][0])
    assert [k for k in sorted(keys) if f"`{k}`" not in page] == []
