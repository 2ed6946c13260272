"""De-hubbing correctors against their formulas, written out over the full score matrix."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from bench.correctors import over_splits, skewness, split_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import softmax

from isthmus.metrics.gap import hubness_skew
from isthmus.search.correctors import (
    CORRECTORS,
    OPTIONS,
    Corrector,
    bank,
    fit_corrector,
    shared_rows,
)
from isthmus.search.scores import Ranking, top1, top_k
from refusals import refused
from test_docs import run_blocks
from worlds import fitted, two_modalities, unit_rows

SCORES = ("dot", "cosine", "euclidean")
FEW = {"csls": {"k": 3}, "nnn": {"k": 4}, "dynamic-inverted-softmax": {"reach": 2}}
"""Options that suit 40 bank queries."""


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries to score (30, 12), candidates (70, 12) and a bank (40, 12); none of unit norm."""
    a, b = two_modalities(70, 12, seed=2)
    lengths = np.random.default_rng(5).uniform(0.5, 2, (2, 70, 1))
    a, b = a * lengths[0], b * lengths[1]
    return a[:30], b, a[30:]


def scores(queries: np.ndarray, candidates: np.ndarray, score: str) -> np.ndarray:
    """The score matrix (n, K) by SciPy, constants of the query included."""
    if score == "dot":
        return np.array([[sum(q * x) for x in candidates] for q in queries])
    if score == "cosine":
        return 1 - cdist(queries, candidates, "cosine")
    return -0.5 * cdist(queries, candidates, "sqeuclidean")


def conneau(queries, candidates, rows, score, k) -> np.ndarray:
    """CSLS with both terms; the r of a query over its k nearest candidates."""
    s, banked = scores(queries, candidates, score), scores(rows, candidates, score)
    of_query = np.sort(s, axis=1)[:, -k:].mean(axis=1)
    of_candidate = np.sort(banked, axis=0)[-k:].mean(axis=0)
    return 2 * s - of_query[:, None] - of_candidate[None, :]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("k", [1, 3, 40])
def test_csls_ranks_as_the_formula_with_both_terms(world, score: str, k: int) -> None:
    queries, candidates, rows = world
    full = conneau(queries, candidates, rows, score, k)
    corrector = fit_corrector("csls", candidates, rows, score=score, k=k)
    found = corrector.search(Ranking.of(queries, candidates, score), 70).rows
    np.testing.assert_array_equal(found, np.argsort(-full, axis=1))
    assert (found != np.argsort(-scores(queries, candidates, score), axis=1)).any()


@pytest.mark.parametrize("score", SCORES)
def test_nnn_takes_the_mean_of_the_best_off(world, score: str) -> None:
    queries, candidates, rows = world
    best = np.sort(scores(rows, candidates, score), axis=0)[-4:].mean(axis=0)
    corrector = fit_corrector("nnn", candidates, rows, score=score, k=4, alpha=0.6)
    np.testing.assert_allclose(corrector.offset, -0.6 * best, atol=1e-12)
    found = corrector.search(Ranking.of(queries, candidates, score), 70).rows
    full = scores(queries, candidates, score) - 0.6 * best
    np.testing.assert_array_equal(found, np.argsort(-full, axis=1))
    half = fit_corrector("nnn", candidates, rows, score=score, k=4, alpha=0.5)
    csls = fit_corrector("csls", candidates, rows, score=score, k=4)
    np.testing.assert_array_equal(half.offset, csls.offset)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("beta", [1.0, 20.0])
def test_inverted_softmax_is_a_softmax_over_the_bank(world, score: str, beta: float) -> None:
    queries, candidates, rows = world
    s, banked = scores(queries, candidates, score), scores(rows, candidates, score)
    full = np.exp(beta * s) / np.exp(beta * banked).sum(axis=0)
    corrector = fit_corrector("inverted-softmax", candidates, rows, score=score, beta=beta)
    found = corrector.search(Ranking.of(queries, candidates, score), 70).rows
    np.testing.assert_array_equal(found, np.argsort(-full, axis=1))
    # the share of one bank query in its own softmax, by SciPy: exp(β(s + offset)) / B
    mine = np.exp(beta * (banked[7] + corrector.offset)) / len(rows)
    np.testing.assert_allclose(mine, softmax(beta * banked, axis=0)[7], rtol=1e-9)


@pytest.mark.parametrize("score", SCORES)
def test_inverted_softmax_lies_between_the_mean_and_the_maximum(world, score: str) -> None:
    _, candidates, rows = world
    banked = scores(rows, candidates, score)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        low, high = (
            fit_corrector("inverted-softmax", candidates, rows, score=score, beta=beta).offset
            for beta in (1e-6, 1e6)
        )
    np.testing.assert_allclose(low, -banked.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(high, -banked.max(axis=0), atol=1e-5)


def test_a_small_beta_is_centring_of_the_queries_without_a_candidate_bias(world) -> None:
    queries, candidates, rows = (unit_rows(side) for side in world)
    soft = fit_corrector("inverted-softmax", candidates, rows, score="dot", beta=1e-7)
    centred = Ranking.of(queries - rows.mean(axis=0), candidates, "dot")
    corrected = soft.search(Ranking.of(queries, candidates, "dot"), 5).rows
    np.testing.assert_array_equal(corrected, top_k(centred, 5).rows)


@pytest.mark.parametrize("reach", [1, 2, 70])
def test_dynamic_corrects_only_queries_that_land_on_a_hub(world, reach: int) -> None:
    queries, candidates, rows = world
    s, banked = scores(queries, candidates, "cosine"), scores(rows, candidates, "cosine")
    hubs = {int(j) for line in np.argsort(-banked, axis=1)[:, :reach] for j in line}
    soft = np.exp(20 * banked).sum(axis=0)
    wanted = []
    for line in s:
        on = int(line.argmax()) in hubs
        wanted.append(np.argsort(-(np.exp(20 * line) / soft if on else line))[:6])
    corrector = fit_corrector("dynamic-inverted-softmax", candidates, rows, reach=reach)
    assert set(np.flatnonzero(corrector.active)) == hubs
    ranking = Ranking.of(queries, candidates, "cosine")
    found = corrector.search(ranking, 6)
    np.testing.assert_array_equal(found.rows, wanted)
    left = ~corrector.active[top1(ranking)]
    assert left.any() == (reach < 70)
    np.testing.assert_allclose(found.scores[left], top_k(ranking, 6).scores[left], rtol=1e-12)
    with refused("corrects-some"):
        corrector.apply(ranking)


@pytest.mark.parametrize("name", CORRECTORS)
def test_blocks_change_nothing(name: str, world, monkeypatch) -> None:
    queries, candidates, rows = world
    whole = fit_corrector(name, candidates, rows, score="euclidean", **FEW.get(name, {}))
    monkeypatch.setattr(bank, "BLOCK", 7)
    monkeypatch.setattr("isthmus.search.scores.BLOCK_ELEMENTS", 90)
    parts = fit_corrector(name, candidates, rows, score="euclidean", **FEW.get(name, {}))
    np.testing.assert_allclose(parts.offset, whole.offset, atol=1e-13)
    ranking = Ranking.of(queries, candidates, "euclidean")
    np.testing.assert_array_equal(parts.search(ranking, 3).rows, whole.search(ranking, 3).rows)


@pytest.mark.parametrize("name", CORRECTORS)
@pytest.mark.parametrize("score", SCORES)
def test_array_api_rows_take_the_same_path(name: str, score: str, world) -> None:
    numpy = fit_corrector(name, world[1], world[2], score=score, **FEW.get(name, {}))
    queries, candidates, rows = (array_api_strict.asarray(side) for side in world)
    other = fit_corrector(name, candidates, rows, score=score, **FEW.get(name, {}))
    np.testing.assert_allclose(other.offset, numpy.offset, atol=1e-12)
    found = other.search(Ranking.of(queries, candidates, score), 4)
    plain = numpy.search(Ranking.of(world[0], world[1], score), 4)
    np.testing.assert_array_equal(found.rows, plain.rows)


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("name", CORRECTORS)
def test_short_floats_lose_only_their_rounding(name: str, dtype: str, world) -> None:
    _, candidates, rows = (side.astype(dtype) for side in world)
    short = fit_corrector(name, candidates, rows, **FEW.get(name, {}))
    exact = fit_corrector(name, candidates.astype("f8"), rows.astype("f8"), **FEW.get(name, {}))
    np.testing.assert_allclose(short.offset, exact.offset, atol=1e-6)
    assert short.offset.dtype == np.float64


def test_a_bank_row_of_great_length_does_not_overflow(world) -> None:
    _, candidates, rows = world
    corrector = fit_corrector("inverted-softmax", candidates, 1e4 * rows, score="dot", beta=50.0)
    best = scores(1e4 * rows, candidates, "dot").max(axis=0)
    np.testing.assert_allclose(corrector.offset, -best, atol=np.log(40) / 50 + 1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from(SCORES), st.sampled_from(sorted(CORRECTORS)))
def test_order_of_rows_does_not_matter_and_copies_of_the_bank_neither(seed, score, name) -> None:
    rng = np.random.default_rng(seed)
    candidates, rows = rng.normal(size=(9, 4)), rng.normal(size=(6, 4))
    options = {"csls": {"k": 2}, "nnn": {"k": 2}}.get(name, {})
    base = fit_corrector(name, candidates, rows, score=score, **options)
    turned = rng.permutation(9), rng.permutation(6)
    again = fit_corrector(name, candidates[turned[0]], rows[turned[1]], score=score, **options)
    np.testing.assert_allclose(again.offset, base.offset[turned[0]], atol=1e-12)
    if "k" in options:
        options = {"k": 2 * options["k"]}
    twice = fit_corrector(name, candidates, np.concatenate([rows, rows]), score=score, **options)
    np.testing.assert_allclose(twice.offset, base.offset, atol=1e-12)
    queries = rng.normal(size=(3, 4))
    found = base.search(Ranking.of(queries, candidates, score), 4)
    if score == "cosine":  # a query's length is no part of its cosine
        longer = base.search(Ranking.of(7 * queries, candidates, score), 4)
        np.testing.assert_array_equal(found.rows, longer.rows)


def test_on_top_of_an_exact_closer_the_answers_are_those_without_it(world) -> None:
    queries, candidates, rows = (unit_rows(side) for side in world)
    closer = fitted("center-queries", rows, candidates)
    stored = closer.candidate_bias(candidates)
    moved = closer.apply(candidates, "candidate")
    for name in CORRECTORS:
        options = FEW.get(name, {})
        plain = fit_corrector(name, candidates, rows, score="dot", **options)
        closed = fit_corrector(
            name, moved, closer.apply(rows, "query"), score=closer.score, bias=stored, **options
        )
        np.testing.assert_allclose(closed.offset, plain.offset, atol=1e-12)
        ranking = Ranking.of(closer.apply(queries, "query"), moved, closer.score, stored)
        np.testing.assert_array_equal(
            closed.search(ranking, 5).rows,
            plain.search(Ranking.of(queries, candidates, "dot"), 5).rows,
        )


@pytest.mark.parametrize("name", CORRECTORS)
def test_save_and_load(name: str, world, here: Path) -> None:
    queries, candidates, rows = world
    corrector = fit_corrector(name, candidates, rows, **FEW.get(name, {}))
    corrector.save(here / "c.safetensors")
    read = Corrector.load(here / "c.safetensors")
    np.testing.assert_array_equal(read.offset, corrector.offset)
    assert (read.name, read.score, read.facts) == (name, "cosine", corrector.facts)
    ranking = Ranking.of(queries, candidates, "cosine")
    np.testing.assert_array_equal(read.search(ranking, 3).rows, corrector.search(ranking, 3).rows)
    assert read.changes_answers


def test_a_bank_that_holds_scored_queries_is_found(world) -> None:
    queries, candidates, rows = world
    mixed = np.concatenate([rows, queries[[4, 9]]])
    np.testing.assert_array_equal(shared_rows(mixed, queries), [4, 9])
    assert not len(shared_rows(rows, queries))
    with refused("bank-holds-scored", "rows 4, 9"):
        fit_corrector("csls", candidates, mixed, scored=queries)
    fit_corrector("csls", candidates, rows, scored=queries)
    fit_corrector("csls", candidates, mixed)  # not asked


def test_options_are_those_of_the_functions() -> None:
    for name, function in CORRECTORS.items():
        assert list(OPTIONS[name]) == [p for p in signature(function).parameters if p != "bank"]


def test_refusals(world) -> None:
    queries, candidates, rows = world
    broken = rows.copy()
    broken[3, 2] = np.nan
    soft, dynamic = "inverted-softmax", "dynamic-inverted-softmax"
    for code, fact, name, bank_rows, options in (
        ("unknown-corrector", "'hub'", "hub", rows, {}),
        ("unknown-score", "'l2'", "csls", rows, {"score": "l2"}),
        ("unknown-option", "csls has no option 'beta'", "csls", rows, {"beta": 3}),
        ("bad-k", "csls takes the mean over the k=41", "csls", rows, {"k": 41}),
        ("bad-k", "nnn takes the mean over the k=0", "nnn", rows, {"k": 0}),
        ("empty-bank", "no queries", soft, rows[:0], {}),
        *(("bad-beta", f"beta={b}", soft, rows, {"beta": b}) for b in (0, -1, np.inf, np.nan)),
        ("bad-alpha", "alpha=nan", "nnn", rows, {"alpha": np.nan}),
        ("bad-k", "k=71 of 70", dynamic, rows, {"reach": 71}),
        ("dimensions-differ", "one model", "csls", rows[:, :5], {}),
        ("bias-length", "3 biases for 70", "csls", rows, {"bias": np.ones(3)}),
        ("not-finite", "a bias is NaN", "csls", rows, {"bias": np.full(70, np.nan)}),
        ("not-finite", "the bank holds NaN or infinity in row 3", "csls", broken, {}),
    ):
        with refused(code, fact):
            fit_corrector(name, candidates, bank_rows, **options)
    corrector = fit_corrector("csls", candidates, rows)
    with refused("bias-length", "69 candidates"):
        corrector.apply(Ranking.of(queries, candidates[:-1], "cosine"))
    with refused("score-mismatch", "ranking is by dot"):
        corrector.apply(Ranking.of(queries, candidates, "dot"))
    with refused("not-normalised"):
        corrector.apply(Ranking.of(queries, candidates, "cosine", np.ones(70)))


def test_the_skew_of_the_bench_is_that_of_the_gap_report(world) -> None:
    queries, candidates, rows = (unit_rows(side) for side in world)
    plain = top_k(Ranking.of(queries, candidates, "cosine"), 10)
    assert skewness(plain, 70) == pytest.approx(hubness_skew(queries, candidates))
    corrector = fit_corrector("csls", candidates, rows)
    found = corrector.search(Ranking.of(queries, candidates, "cosine"), 10)
    wider = np.column_stack([queries, np.ones(30)]), np.column_stack([candidates, corrector.offset])
    assert skewness(found, 70) == pytest.approx(hubness_skew(*wider))


def test_the_page_runs(pairs_wide, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, side in zip(("images", "captions"), pairs_wide, strict=True):
        np.save(f"{name}.npy", (2 * side).astype(np.float32))
    left, names = run_blocks("correctors")
    assert names == ["corrector"]
    queries, stored, rows = (unit_rows(left[name]) for name in ("queries", "stored", "bank"))
    best = np.sort(rows @ stored.T, axis=0)[-5:]
    np.testing.assert_allclose(left["offset"], -0.5 * best.mean(axis=0), atol=1e-6)
    by_hand = (queries @ stored.T - 0.5 * best.mean(axis=0)).argmax(axis=1)
    np.testing.assert_array_equal(left["found"].rows[:, 0], by_hand)


@pytest.mark.real_data
def test_figures_of_clip_on_coco(coco: np.ndarray) -> None:
    images, texts = map(unit_rows, coco)
    captions_ask = over_splits(texts, images, 20)
    figures = {t: (row["r1"], row["clean"], row["skew"]) for t, row in captions_ask.items()}
    expected = {
        "none": (0.603, 1.0, 1.639),
        "csls": (0.657, 0.817, 0.817),
        "nnn": (0.662, 0.745, 0.516),
        "inverted-softmax": (0.653, 0.733, 0.324),
        "dynamic-inverted-softmax": (0.646, 0.783, 0.765),
    }
    for title, wanted in expected.items():
        assert figures[title] == pytest.approx(wanted, abs=6e-4)
    images_ask = over_splits(images, texts, 20)
    assert images_ask["csls"]["gain"] == pytest.approx(0.024, abs=6e-4)
    assert images_ask["inverted-softmax"]["gain"] == pytest.approx(-0.014, abs=6e-4)  # it costs
    # partners of bank queries among the candidates flatter every corrector
    strangers = over_splits(images, texts, 20, "strangers")
    partners = over_splits(images, texts, 20, "partners")
    for title in set(strangers) - {"none"}:
        assert partners[title]["gain"] > strangers[title]["gain"] + 0.01


@pytest.mark.parametrize("setting", ["strangers", "partners"])
def test_the_bench_keeps_bank_scored_and_strangers_apart(setting: str) -> None:
    bank_rows, scored, stored = split_of(20, setting, 3)
    assert not set(bank_rows) & set(scored)
    np.testing.assert_array_equal(stored[: len(scored)], scored)
    assert (set(stored[len(scored) :]) == set(bank_rows)) == (setting == "partners")
    assert set(bank_rows) & set(stored) == (set(bank_rows) if setting == "partners" else set())
    halves = split_of(20, "halves", 3)
    assert set(halves[0]) | set(halves[1]) == set(range(20))
    assert not set(halves[0]) & set(halves[2])
