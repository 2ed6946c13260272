"""Advice: chosen on some queries, reported on the others, honest about what cannot be seen."""

from __future__ import annotations

import json
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from commands import run
from isthmus.closers import METHODS, fit
from isthmus.closers.closer import Closer
from isthmus.core.seeds import stream
from isthmus.core.statistics import wilson
from isthmus.data.moments import Moments
from isthmus.errors import LabelsError, OptionError, ShapeError
from isthmus.perturb.codecs import fit_codec, measure_error
from isthmus.perturb.noise import gaussian
from isthmus.robustness import Perturbation
from isthmus.search.relevance import (
    Relevance,
    no_relevance,
    relevance_by_labels,
    relevance_by_pairs,
)
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask
from isthmus.theory.prediction import keep_probabilities
from isthmus.workflows.recommendation import Advice, Question, recommend
from isthmus.workflows.recommendation import advise as advise_task
from isthmus.workflows.recommendation.recommending import trials_of
from isthmus.workflows.recommendation.settings import FitRows, settings_of
from isthmus.workflows.recommendation.wording import floor_needs
from refusals import refused
from worlds import two_modalities, unit_rows

LEVEL = 0.03
FEW = ("orthogonal-shift", "center-queries", "mean-shift", "centering", "ridge-shift")
Pair = tuple[np.ndarray, np.ndarray]
EXACT = [name for name in METHODS if METHODS[name].guarantee == "exact"]
RIDGES = [30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03]


def advise(q: Any, c: Any, relevance: Relevance | None = None, **options: Any) -> Advice:
    """Advice where nothing is right but what is said."""
    return recommend(q, c, relevance=relevance or no_relevance(len(q), len(c)), **options)


def split(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.ones((n, 1))
    return RetrievalTask.of(rows, rows).split(share, stream("recommend.split", seed))


@pytest.fixture(scope="module")
def pair() -> Pair:
    return two_modalities(120, 24, seed=1, gap=1.2)


@pytest.fixture(scope="module")
def advice(pair: Pair) -> Advice:
    return advise(*pair, relevance_by_pairs(120, 120), levels=LEVEL, closers=FEW, trials=12)


def row_named(advice: Advice, closer: str, score: str | None = None) -> Any:
    return next(r for r in advice.closers if r.closer == closer and score in (None, r.score))


def brute_flips(q: np.ndarray, c: np.ndarray, score: str, bias: Any, trials: int, seed: int) -> Any:
    """Flips by plain arithmetic in float64: scores of all pairs, noise on what is stored."""

    def answers(stored: np.ndarray) -> np.ndarray:
        if score == "euclidean":
            found = -0.5 * ((q[:, None, :] - stored[None, :, :]) ** 2).sum(axis=2)
        else:
            found = q @ stored.T
        if score == "cosine":
            found = found / np.linalg.norm(stored, axis=1)
        return (found + (0 if bias is None else bias)).argmax(axis=1)

    clean, dim = answers(c), c.shape[1]
    size = np.sqrt(LEVEL / dim)  # draws are of unit variance, for all levels
    noisy = [
        answers(c + size * gaussian(*c.shape, dim, seed=seed, trial=t, role="candidate", level=0))
        for t in range(trials)
    ]
    return np.mean([n != clean for n in noisy])


def test_flips_and_ranking_are_those_of_brute_force(pair: Pair, advice: Advice) -> None:
    q, c = pair
    first, second = split(120, 0.5, 0)
    mean = q[first].mean(axis=0)
    asked = q[second]
    want = {
        ("none", "cosine"): brute_flips(asked, c, "cosine", None, 12, 0),
        ("none", "dot"): brute_flips(asked, c, "dot", None, 12, 0),
        ("none", "euclidean"): brute_flips(asked, c, "euclidean", None, 12, 0),
        ("center-queries", "dot"): brute_flips(asked - mean, c, "dot", c @ mean, 12, 0),
    }
    for (closer, score), flips in want.items():
        got = row_named(advice, closer, score).test.flips
        assert got == pytest.approx(flips, abs=2 / (60 * 12)), (closer, score)
    able = [r for r in advice.closers if r.passes]
    assert [r.rank for r in able] == list(range(1, len(able) + 1))
    assert all(a.test.flips <= b.test.flips for a, b in pairwise(able))
    assert all(r.rank is None for r in advice.closers[len(able) :])
    assert min(want, key=lambda k: want[k]) == ("center-queries", "dot")
    assert able[0].closer == "center-queries"
    known = sorted(
        (r for r in able if r.test.predicted is not None), key=lambda r: r.test.predicted
    )
    assert [r.predicted_rank for r in known] == list(range(1, len(known) + 1))


def test_predictions_are_those_of_the_formula(pair: Pair, advice: Advice) -> None:
    q, c = pair
    first, second = split(120, 0.5, 0)
    mean = q[first].mean(axis=0)
    ranking = Ranking.of(q[second] - mean, c, "dot", c @ mean)
    row = row_named(advice, "center-queries")
    kept = keep_probabilities(ranking, LEVEL)
    assert kept is not None
    assert row.test.predicted == pytest.approx(1 - kept.value.mean(), abs=1e-6)
    assert row.test.predicted == pytest.approx(row.test.flips, abs=0.03)
    assert row_named(advice, "none", "cosine").test.predicted is None


def test_the_best_exact_closer_is_recommended_with_its_numbers(advice: Advice) -> None:
    assert (advice.name, advice.score, advice.nothing) == ("center-queries", "dot", False)
    row, plain = row_named(advice, "center-queries"), advice.plain
    assert (plain.closer, plain.score) == ("none", "cosine")
    assert row.shown == "by guarantee"
    assert row.test.removed == pytest.approx(plain.test.flips - row.test.flips, abs=1e-6)
    assert 0 < row.test.removed_ci[0] <= row.test.removed <= row.test.removed_ci[1]
    for number in (row.test.flips, plain.test.flips, row.validation.flips, plain.validation.flips):
        assert f"{number:.1%}" in advice.reason
    assert "by its guarantee" in advice.reason
    assert "theory predicts" in advice.notes[0]
    assert any(n.startswith("accuracy is") for n in advice.notes)


def test_a_law_is_no_measurement_beside_its_prediction(advice: Advice) -> None:
    wide = two_modalities(120, 64, seed=1, gap=1.2)  # there every score has a law
    lawful = advise(*wide, relevance_by_pairs(120, 120), levels=LEVEL, closers=FEW)
    row = row_named(lawful, "center-queries")
    assert (row.test.by_law, row.validation.by_law) == (True, True)
    assert f"{row.test.flips:.1%} flips are by law, not counted" in lawful.notes[0]
    assert not any("measured" in note or "predicts" in note for note in lawful.notes)
    assert not any(row.test.by_law for row in advice.closers)  # twelve draws were asked for


def test_nothing_of_the_judging_half_reaches_the_choice(pair: Pair, advice: Advice) -> None:
    """Other judging queries and another truth of them: settings and calibration figures stay."""
    q, c = pair
    _, second = split(120, 0.5, 0)
    other = q.copy()
    other[second] = unit_rows(np.random.default_rng(5).normal(size=(len(second), 24)))
    labels = np.arange(120)
    labels[second] = labels[second][::-1]
    again = advise(
        other, c, relevance_by_labels(labels, 120, 120), levels=LEVEL, closers=FEW, trials=12
    )

    def told(one: Advice) -> dict[Any, Any]:
        return {
            (r.closer, r.score): (
                dict(r.options),
                r.validation.flips,
                r.validation.clean_agreement,
                r.validation.clean_accuracy,
            )
            for r in one.closers
        }

    assert told(again) == told(advice)
    assert again.plain.test.flips != advice.plain.test.flips
    settings = [(c.closer, dict(c.options), c.validation_after) for c in advice.changes]
    assert [(c.closer, dict(c.options), c.validation_after) for c in again.changes] == settings


def test_a_setting_keeps_the_floor_or_comes_nearest_to_it() -> None:
    q, c = two_modalities(120, 24, seed=1, gap=0.5)
    closers = ("ridge-shift", "mean-shift")
    strict = advise(q, c, levels=LEVEL, closers=closers, trials=6)
    loose = advise(q, c, levels=LEVEL, closers=closers, trials=6, floor=0.5)
    row, other = row_named(strict, "ridge-shift"), row_named(loose, "ridge-shift")
    assert row.validation.clean_agreement == 1
    assert 0.5 <= other.validation.clean_agreement < 1
    assert other.options["ridge"] < row.options["ridge"]
    assert other.test.flips < row.test.flips
    assert row.tried == len(RIDGES)
    far = row_named(strict, "mean-shift")
    assert not far.passes
    assert far.shown == "missed"
    assert far.strength == 0.25  # no strength keeps the floor; the least one comes nearest
    assert far.validation.flips > 0  # measured all the same


@pytest.mark.slow
def test_every_closer_that_applies_is_tried() -> None:
    q, c = two_modalities(50, 8, seed=1, gap=1.2)
    got = advise(q, c, relevance_by_pairs(50, 50), levels=LEVEL, trials=1)
    assert {r.closer for r in got.closers} == set(METHODS)
    assert got.skipped == {}
    alone = advise(q, c, levels=LEVEL, trials=1, closers=("procrustes", "center-queries"))
    assert set(alone.skipped) == {"procrustes"}
    assert "pairs" in alone.skipped["procrustes"]
    assert alone.changes == ()
    assert alone.plain.test.accuracy is None
    raw = advise(3 * q, 2 * c, score="euclidean", levels=0.3, trials=1)
    assert {r.score for r in raw.closers} == {"euclidean"}
    assert {"center-queries", "center-both", "procrustes"} == set(raw.skipped)
    assert not raw.setup["unit_rows"]


def test_settings_begin_with_the_plainest() -> None:
    assert settings_of("none", 8, 1) == [{}]
    assert settings_of("center-queries", 8, 1)[0] == {"strength": 1.0}
    assert settings_of("subspace", 8, 1)[0] == {}
    assert settings_of("low-rank-memo", 8, 1) == [{"rank": 1}]
    assert settings_of("low-rank-memo", 8, 64)[-1] == {"rank": 8}
    assert [s["ridge"] for s in settings_of("ridge-shift", 8, 1)] == sorted(RIDGES, reverse=True)


def test_floats_beside_the_vector_are_limited(pair: Pair) -> None:
    got = [
        advise(*pair, levels=LEVEL, closers="low-rank-memo", trials=6, floats_per_candidate=b)
        for b in (0, 8)
    ]
    assert got[0].nothing
    assert row_named(got[0], "low-rank-memo").floats_per_candidate == 1
    assert "keeps 1 floats for each candidate, and 0 were allowed" in got[0].notes[0]
    assert (got[1].name, got[1].options["rank"] > 1) == ("low-rank-memo", True)
    number = advise(
        3 * pair[0],
        pair[1],
        score="dot",
        levels=LEVEL,
        closers="center-queries",
        trials=6,
        floats_per_candidate=0,
    )
    assert number.nothing
    assert row_named(number, "center-queries").rank == 1
    assert "every closer that keeps the answers keeps more floats" in number.reason


def test_do_nothing_where_queries_are_disturbed(pair: Pair) -> None:
    got = advise(*pair, relevance_by_pairs(120, 120), levels=LEVEL, targets="queries", trials=6)
    assert got.nothing
    assert got.name == "none"
    assert "no closer that keeps rankings can help (D10)" in got.reason
    assert got.control is not None
    assert got.control["largest_difference"] <= 1 / 60
    assert {r.closer for r in got.closers} == set(EXACT)
    assert len(got.control["flips"]) == len(got.closers)
    assert got.changes  # labels may still show that changing answers helps


def test_do_nothing_where_no_closer_keeps_the_floor(pair: Pair) -> None:
    got = advise(*pair, levels=LEVEL, closers="whitening", trials=3, floor=0.999)
    assert got.nothing
    keeps = row_named(got, "whitening").test.clean_agreement
    # plain search by other scores keeps the answers of unit rows, and gains nothing here
    assert keeps < 0.999
    raw = advise(2 * pair[0], pair[1], score="dot", levels=LEVEL, closers="whitening", trials=3)
    keeps = row_named(raw, "whitening").test.clean_agreement
    assert raw.reason.startswith("do nothing: no closer keeps 100.0% of the answers")
    assert f"keeps {keeps:.1%}" in raw.reason


def test_do_nothing_where_the_gain_may_be_none() -> None:
    q, c = two_modalities(120, 24, seed=1, gap=0.0)
    got = advise(2 * q, c, score="euclidean", levels=0.05, closers="biased-shift", trials=4)
    assert got.nothing
    assert "includes 0" in got.reason or "is below 0" in got.reason
    assert got.closer.name == "none"
    row = row_named(got, "biased-shift")
    assert row.passes
    assert row.test.removed_ci[0] <= 0


def test_do_nothing_where_the_noise_is_below_resolution(pair: Pair) -> None:
    got = advise(*pair, levels=1e-9, closers=FEW, trials=3)
    assert got.nothing
    assert "below what 60 queries resolve" in got.reason


def wrong_prior(seed: int) -> tuple[np.ndarray, np.ndarray, Relevance]:
    """Classes whose texts lean by chance on what all pictures share: a prior that is wrong."""
    rng = np.random.default_rng(seed)
    classes, n, dim = 12, 400, 32
    common = np.zeros(dim)
    common[0] = 1.0
    meaning = 0.5 * unit_rows(rng.normal(size=(classes, dim)))
    labels = rng.integers(classes, size=n)
    pictures = 1.5 * common + meaning[labels] + 0.08 * rng.normal(size=(n, dim))
    texts = meaning + np.outer(0.25 * rng.normal(size=classes), common)
    return unit_rows(pictures), unit_rows(texts), relevance_by_labels(labels, n, classes)


def test_changing_answers_on_purpose_is_named_apart() -> None:
    q, c, truth = wrong_prior(2)
    got = advise(q, c, truth, levels=0.02, closers=FEW, trials=4)
    raising = [x for x in got.changes if x.raises]
    assert raising
    top = raising[0]
    assert top.closer == "centering"
    assert top.clean_agreement < 1
    first, second = split(400, 0.5, 0)
    closer = fit(
        "centering",
        Moments.of(q[first], precise=True),
        Moments.of(c, precise=True),
        strength=top.strength,
    )
    labels = truth.pairs[:, 1][second]
    before = (q[second] @ c.T).argmax(axis=1) == labels
    after = (closer.query(q[second]) @ closer.candidate(c).T).argmax(axis=1) == labels
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    assert (top.before, top.after) == (before.mean(), after.mean())
    assert (top.won, top.lost) == (won, lost)
    assert top.p == pytest.approx(
        binomtest(won, won + lost).pvalue * len(got.changes), rel=1e-9, abs=0
    )
    assert top.p < 0.01
    note = next(n for n in got.notes if n.startswith("changing answers on purpose raises accuracy"))
    assert f"{top.before:.3f} without it, {top.after:.3f} with it" in note
    assert "Not recommended here" in note
    assert got.name != "centering"
    assert not any("on purpose" in n for n in advise(q, c, levels=0.02, closers=FEW).notes)


def test_a_closer_that_learns_the_calibration_half_by_heart_is_found_out() -> None:
    """Few pairs, many dimensions: a rotation fits those it saw and misplaces the others."""
    q, c = two_modalities(120, 96, seed=5, gap=0.1, noise=2.0)
    got = advise(q, c, relevance_by_pairs(120, 120), levels=LEVEL, closers="procrustes", trials=2)
    turned = got.changes[0]
    assert turned.validation_after > turned.validation_before + 0.2
    assert turned.after < turned.before
    assert not turned.raises
    assert not any("on purpose" in n for n in got.notes)


def test_codecs_flip_against_todays_exact_search(pair: Pair) -> None:
    q, c = pair
    truth = relevance_by_pairs(120, 120)
    closers = ("center-queries", "center-both", "ridge-shift", "mean-shift")
    got = advise(q, c, truth, perturb="sq4", score="dot", closers=closers)
    first, second = split(120, 0.5, 0)
    half = trials_of(RetrievalTask.of(q, c), first, second, Question("sq4")).test.task
    half = half.candidate_calibration
    exact = (q[second] @ c.T).argmax(axis=1)
    codec = fit_codec("sq4", c[half])
    coded = (q[second] @ codec.through(c).astype(float).T).argmax(axis=1)
    plain = row_named(got, "none", "dot").test
    assert plain.flips == pytest.approx((coded != exact).mean())
    assert plain.accuracy == pytest.approx((coded == second).mean())
    assert plain.clean_accuracy == pytest.approx((exact == second).mean())
    mean, off = q[first].mean(axis=0), c.mean(axis=0)
    codec = fit_codec("sq4", c[half] - off)
    shifted = (q[second] - mean) @ codec.through(c - off).astype(float).T + c @ mean
    both = row_named(got, "center-both")
    if both.strength == 1:
        assert both.test.flips == pytest.approx((shifted.argmax(axis=1) != exact).mean())
    assert both.bytes == codec.bytes_per_vector(24)
    moved = row_named(got, "mean-shift")  # its own undisturbed answers do not count, today's do
    gap = mean - off
    asked = unit_rows(q[second] - moved.strength * gap)
    found = (asked @ fit_codec("sq4", c[half]).through(c).astype(float).T).argmax(axis=1)
    assert moved.test.clean_agreement < 1
    assert moved.test.flips == pytest.approx((found != exact).mean())
    assert all(r.test.predicted is None for r in got.closers)
    assert got.setup["levels"] == []


def test_the_ridge_knows_the_codecs_own_error(pair: Pair) -> None:
    q, c = pair
    first, second = split(120, 0.5, 0)
    trials = trials_of(RetrievalTask.of(q, c), first, second, Question("sq4"))
    task, got = trials.test.task, trials.fit_rows.noise
    centred = c - c.mean(axis=0)
    rest = np.setdiff1d(np.arange(120), task.candidate_calibration)
    want = measure_error(
        fit_codec("sq4", centred[task.candidate_calibration]), centred[rest]
    ).variance
    np.testing.assert_allclose(got, want, rtol=1e-9)
    perturbations = [Perturbation("gaussian", "candidates", v, "total") for v in (0.02, 0.04)]
    noisy = FitRows.of(task, first, perturbations)
    np.testing.assert_allclose(noisy.noise, 0.03 / 24)
    np.testing.assert_allclose(noisy.queries.mean, q[first].mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(noisy.candidates.mean, c.mean(axis=0), atol=1e-12)


def test_one_bit_codes_want_centred_rows() -> None:
    q, c = two_modalities(400, 32, seed=4, gap=1.0)
    got = advise(q, c, relevance_by_pairs(400, 400), perturb="rabitq", score="dot")
    assert not got.nothing
    assert "differ from exact search" in got.reason
    assert row_named(got, "center-both").test.removed_ci[0] > 0
    ridge = row_named(got, "ridge-shift")
    assert ridge.test.flips < got.plain.test.flips


def test_codecs_of_queries_are_fitted_on_the_calibration_half(pair: Pair) -> None:
    q, c = pair
    first, second = split(120, 0.5, 0)
    task = RetrievalTask.of(q, c, score="dot")
    half = trials_of(task, first, second, Question("sq4", "queries")).test
    m = Moments.of(q[first], precise=True), Moments.of(c, precise=True)
    got = half.measured(half.searches([fit("none", *m, score="dot")]))[0]
    coded = fit_codec("sq4", q[first]).through(q[second]).astype(float)
    want = ((coded @ c.T).argmax(axis=1) != (q[second] @ c.T).argmax(axis=1)).mean()
    assert got.flips.mean() == pytest.approx(want)
    told = advise(q, c, score="dot", perturb="sq4", targets="queries", closers="center-queries")
    assert told.control is None
    assert any("not about this" in n for n in told.notes)


def test_near_ties_count_as_kept_and_changes_do_not(pair: Pair) -> None:
    q, c = pair
    twins = np.vstack([c, c + 1e-9 * np.random.default_rng(0).normal(size=c.shape)])
    task = RetrievalTask.of(q, twins, score="dot")
    half = trials_of(task, np.arange(60), np.arange(60, 120), Question(levels=0.01, trials=1)).test
    assert half.same(half.today).all()
    assert half.same((half.today + 120) % 240).all()
    assert not half.same((half.today + 1) % 120 + 120).any()


def test_the_floor_says_what_so_few_queries_can_show(pair: Pair) -> None:
    for floor in (0.5, 0.9, 0.95, 0.999):
        n = floor_needs(floor)
        assert n is not None
        assert wilson(n, n).low >= floor > wilson(n - 1, n - 1).low
    assert floor_needs(1.0) is None
    q, c = pair
    got = advise(q, c, levels=0.03, closers=("ridge-shift", "center-queries"), floor=0.8, trials=4)
    row = row_named(got, "ridge-shift")
    assert row.shown == ("by count" if row.test.clean_agreement_ci[0] >= 0.8 else "unresolved")
    strict = advise(q, c, levels=0.03, closers="database-shift", floor=0.999, trials=4)
    note = [n for n in strict.notes if "counting cannot show the floor 0.999 with 60" in n]
    assert len(note) == 1
    assert f"{floor_needs(0.999)} unchanged answers would" in note[0]
    assert not any("counting cannot show" in n for n in got.notes if row.shown == "by count")


def test_multiple_choice_keeps_to_its_lists(pair: Pair) -> None:
    q, c = pair
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(120)[:5] for _ in range(120)])
    task = RetrievalTask.of(q, c, lists=lists)
    question = Question(levels=0.3, closers="center-queries", trials=6)
    got = advise_task(task, question)
    first, second = split(120, 0.5, 0)
    clean = trials_of(task, first, second, question).test.today
    assert (clean[:, None] == lists[second]).any(axis=1).all()
    assert got.plain.test.predicted is None
    assert 0 < got.plain.test.flips < 0.5


@pytest.mark.slow
def test_the_same_seed_gives_the_same_advice(pair: Pair, advice: Advice) -> None:
    truth = relevance_by_pairs(120, 120)
    again = advise(*pair, truth, levels=LEVEL, closers=FEW, trials=12)
    assert again.to_dict() == advice.to_dict()
    other = advise(*pair, truth, levels=LEVEL, closers=FEW, trials=12, seed=1)
    assert other.to_dict() != advice.to_dict()


def test_the_record_is_plain_and_the_closer_saves(advice: Advice, pair: Pair, here: Path) -> None:
    told = json.loads(json.dumps(advice.to_dict()))
    assert told["closer"] == "center-queries"
    assert told["setup"]["calibration_queries"] == told["setup"]["judging_queries"] == 60
    assert {"calibration", "judging"} <= set(told["rows"][0])
    assert len(advice.rows()) == len(advice.closers)
    assert all(not isinstance(v, dict | list | tuple) for r in advice.rows() for v in r.values())
    assert advice.rows()[0]["flips_lo"] <= advice.rows()[0]["flips"] <= advice.rows()[0]["flips_hi"]
    advice.closer.save(here / "c.safetensors")
    loaded = Closer.load(here / "c.safetensors")
    q, c = pair
    np.testing.assert_array_equal(loaded.query(q), advice.closer.query(q))
    first, _ = split(120, 0.5, 0)
    np.testing.assert_allclose(loaded.query.offset, -q[first].mean(axis=0), atol=1e-12)
    closed = loaded.query(q) @ c.T + loaded.candidate_bias(c)
    np.testing.assert_array_equal(closed.argmax(axis=1), (q @ c.T).argmax(axis=1))


BAD: list[tuple[dict[str, Any], type[Exception], str, str]] = [
    ({"score": "manhattan"}, OptionError, "unknown-score", "'manhattan'"),
    ({"targets": "left"}, OptionError, "unknown-target", "'left'"),
    ({"perturb": "pink"}, OptionError, "unknown-family", "'pink'"),
    ({"perturb": "pink", "levels": 0.1}, OptionError, "unknown-family", "'pink'"),
    ({"perturb": "sq8", "levels": 0.1}, OptionError, "no-levels-of", "sq8 has no level"),
    ({"levels": ()}, OptionError, "no-level", "0.022"),
    ({"levels": -1}, OptionError, "bad-level", "above 0"),
    ({"levels": float("nan")}, OptionError, "bad-level", "above 0"),
    ({"convention": "sigma"}, OptionError, "unknown-convention", "'sigma'"),
    ({"perturb": "sq8", "convention": "total"}, OptionError, "no-convention-of", "sq8"),
    ({"floor": 1.5}, OptionError, "bad-share", "floor 1.5"),
    ({"fit_share": 1.0}, OptionError, "bad-share", "1.0"),
    ({"fit_share": 0.001}, ShapeError, "too-few-queries", "leaves 0 to fit on"),
    ({"trials": 0}, OptionError, "bad-number", "trials 0; expected"),
    ({"floats_per_candidate": -1}, OptionError, "bad-number", "floats_per_candidate -1; expected"),
    ({"seed": -1}, OptionError, "bad-number", "seed -1"),
    ({"closers": "magic"}, OptionError, "unknown-closer", "'magic'"),
    ({"closers": ()}, OptionError, "no-closer", "center-queries"),
    ({"relevance": no_relevance(119, 120)}, LabelsError, "relevance-of-other-rows", "119"),
]


@pytest.mark.parametrize(("options", "kind", "code", "fact"), BAD)
def test_refusals(pair: Pair, options: Any, kind: Any, code: str, fact: str) -> None:
    with refused(code, fact, kind=kind):
        advise(*pair, **options)


def test_rows_are_refused_as_elsewhere(pair: Pair) -> None:
    q, c = (side.copy() for side in pair)
    bad, zero = q.copy(), c.copy()
    bad[3, 2], zero[4] = np.nan, 0
    for code, fact, queries, candidates in (
        ("unequal-dimensions", "20", q, c[:, :20]),
        ("too-few-rows", "at least 2 rows", q, c[:1]),
        ("too-few-queries", "leaves 2 to fit on and 1 to score", q[:3], c),
        ("not-finite", "1 of 120 rows", bad, c),
        ("zero-rows", "row 4", q, zero),
    ):
        with refused(code, fact):
            advise(queries, candidates)


@pytest.fixture
def files(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, side in zip(("q", "c"), pair, strict=True):
        np.save(f"{name}.npy", side.astype(np.float32))
    return tmp_path


def command(capsys: pytest.CaptureFixture[str], words: str) -> tuple[int, str, str]:
    return run(capsys, "recommend", *words.split())


QUICK = "q.npy c.npy --level 0.03 --closers center-queries,mean-shift --trials 6 "


def test_the_command_prints_the_ranking_and_writes_the_closer(
    files: Path, pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = command(capsys, QUICK + "--out closer.safetensors")
    assert code == 0
    assert ">1 center-queries" in out
    assert max(map(len, out.splitlines())) <= 80
    out = " ".join(out.split())
    assert "by its guarantee" in out
    assert "wrote closer.safetensors" in out
    direct = advise(
        *(s.astype(np.float32) for s in pair),
        relevance_by_pairs(120, 120),
        levels=(0.03,),
        closers=("center-queries", "mean-shift"),
        trials=6,
    )
    assert direct.reason in out
    np.testing.assert_allclose(
        Closer.load("closer.safetensors").query.offset, direct.closer.query.offset, atol=1e-12
    )
    code, out, err = command(capsys, QUICK + "--json")
    assert code == 0
    assert json.loads(out)["closer"] == "center-queries"
    assert "center-queries" in err


def test_the_command_takes_labels_and_samples_queries(
    files: Path, pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("few.npy", pair[1][:10])
    np.save("labels.npy", np.arange(120) % 10)
    words = (
        "q.npy few.npy --labels labels.npy --perturb bins-32 --json --max-queries 80 "
        "--closers center-queries,centering"
    )
    code, out, _ = command(capsys, words)
    assert code == 0
    told = json.loads(out)
    assert told["setup"]["calibration_queries"] + told["setup"]["judging_queries"] == 80
    assert told["setup"]["candidates"] == 10
    assert told["plain"]["judging"]["accuracy"] is not None


CLI_BAD = [
    ("q.npy nowhere.npy", "there is no file or folder 'nowhere.npy'"),
    ("q.npy c.npy --out new.npy", "a closer is a .safetensors file"),
    ("q.npy c.npy --level x", "--levels x: expected numbers"),
    ("q.npy c.npy --perturb magic", "family 'magic' is unknown"),
]


def test_every_closer_is_shown_whole_in_80_columns(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = command(capsys, "q.npy c.npy --perturb int8 --floor 0.9 --max-queries 60")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert " distribution- " in out
    assert " normalization " in out


@pytest.mark.parametrize(("words", "sentence"), CLI_BAD)
def test_the_command_refuses_in_one_sentence(
    files: Path, capsys: pytest.CaptureFixture[str], words: str, sentence: str
) -> None:
    before = sorted(p.name for p in files.iterdir())
    code, out, err = command(capsys, words)
    assert (code, out) == (1, "")
    assert err.startswith("isthmus: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in files.iterdir()) == before


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real embeddings."""
    name = os.environ.get("ISTHMUS_REAL_DATA")
    if not name:
        pytest.skip("real embeddings are not here: ISTHMUS_REAL_DATA names no folder")
    return Path(name)


def both(folder: Path, name: str) -> Pair:
    rows = np.load(folder / f"modgap/features_{name}.npy", allow_pickle=False)
    return rows[0], rows[1]


@pytest.mark.real_data
@pytest.mark.parametrize("turned", [False, True])
def test_coco_under_noise(real: Path, turned: bool) -> None:
    q, c = both(real, "clip")[:: -1 if turned else 1]
    got = advise(q, c, relevance_by_pairs(500, 500), closers=(*EXACT, "mean-shift"))
    assert got.name in ("center-queries", "span", "subspace")  # which is a matter of the draws
    row = row_named(got, "center-queries")
    assert row.test.clean_agreement == row.validation.clean_agreement == 1
    assert row.strength == 1
    assert 0.2 < row.test.removed / got.plain.test.flips < 0.35
    assert row.test.removed > 0.8 * max(r.test.removed for r in got.closers if r.passes)
    assert row.test.predicted == pytest.approx(row.test.flips, abs=0.015)
    assert {r.closer for r in got.closers[:4]} == {
        "center-queries",
        "center-both",
        "span",
        "subspace",
    }
    assert row_named(got, "mean-shift").shown == "missed"
    assert row_named(got, "orthogonal-shift").test.flips > row.test.flips


@pytest.mark.real_data
@pytest.mark.parametrize("turned", [False, True])
def test_coco_through_rabitq(real: Path, turned: bool) -> None:
    q, c = both(real, "clip")[:: -1 if turned else 1]
    closers = ("biased-shift", "center-queries", "center-both", "ridge-shift", "database-shift")
    truth = relevance_by_pairs(500, 500)
    got = advise(q, c, truth, perturb="rabitq", score="dot", closers=closers, floor=0.9)
    best, ridge = row_named(got, "center-both"), row_named(got, "ridge-shift")
    assert got.name in ("biased-shift", "center-both")  # one search, where the code's mean is μ_c
    assert best.test.flips == row_named(got, "biased-shift").test.flips
    assert [r.rank for r in (best, ridge)] == [2, 3]
    assert 0.38 < best.test.flips < 0.48
    assert ridge.test.flips < best.test.flips + 0.08
    for row in (best, ridge):
        assert row.test.removed_ci[0] > 0.08
        assert row.test.accuracy > got.plain.test.accuracy + 0.05
    assert row_named(got, "center-queries").test.flips > best.test.flips + 0.1


@pytest.mark.real_data
def test_videoclip_gains_by_centring_on_purpose(real: Path) -> None:
    q, c = both(real, "videoclip")[::-1]
    got = advise(q, c, relevance_by_pairs(100, 100), levels=0.02, trials=2)
    top = next(x for x in got.changes if x.raises)
    assert top.closer == "centering"
    assert (top.before, top.after) == (0.18, 0.44)
    assert top.p < 0.01
    turned = next(x for x in got.changes if x.closer == "procrustes")
    assert turned.validation_after > 0.9
    assert turned.after < turned.before


@pytest.mark.real_data
def test_two_texts_of_one_name_leave_nothing_to_gain(real: Path) -> None:
    a, b = (np.load(real / f"imagenet-text/{n}.npy") for n in ("a", "a_photo_of_a"))
    got = advise(
        a,
        b,
        relevance_by_pairs(1000, 1000),
        levels=0.005,
        trials=4,
        closers=("center-queries", "centering", "mean-shift"),
    )
    assert got.plain.test.clean_accuracy > 0.98
    assert not [x for x in got.changes if x.raises]


def test_the_page_runs_and_names_what_the_record_has(
    files: Path, advice: Advice, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs/recommend.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- runnable: advise -->\n```python\n(.*?)^```$", page, re.M | re.S)
    assert block is not None
    wide = two_modalities(120, 64, seed=1, gap=1.2)
    for name, side in zip(("images", "captions"), wide, strict=True):
        np.save(f"{name}.npy", side)
    left: dict[str, Any] = {}
    exec(compile(block[1], "docs/recommend.md", "exec"), left)
    assert left["advice"].reason in capsys.readouterr().out
    assert Path("closer.safetensors").exists()
    told = advice.to_dict()
    keys = {*told, *told["rows"][0], *told["rows"][0]["judging"]} - {"strength", "dim"}
    assert [k for k in sorted(keys) if f"`{k}`" not in page] == []


def test_nothing_is_recommended_where_pairs_are_broken() -> None:
    a, b = two_modalities(120, 32)
    sound = recommend(a, b, trials=2, closers="center-queries", perturb="rabitq")
    assert sound.warnings == ()
    a, b = np.delete(a, 30, axis=0), b[:-1]
    found = recommend(a, b, trials=2, closers="center-queries", perturb="rabitq")
    assert found.nothing
    assert (found.name, found.closer.name) == ("none", "none")
    assert found.reason.startswith("no recommendation: pairs-slipped: the pairs slip")
    assert found.to_dict()["warnings"][0]["severity"] == "broken"


def test_nothing_is_recommended_for_collapsed_rows() -> None:
    a, _ = two_modalities(120, 32)
    narrow = np.eye(32)[0] + 0.02 * np.random.default_rng(0).normal(size=(90, 32))
    found = recommend(a, narrow, trials=2, closers="center-queries")
    assert found.reason.startswith("no recommendation: collapsed: candidates")
