"""Noise, codecs, intervals and the grid, each against a brute-force reference."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from isthmus.closers import fit
from isthmus.core.levels import total_variance
from isthmus.core.statistics import (
    grouped_jackknife,
    mcnemar,
    paired_difference,
    quantiles,
    share_over_trials,
    wilson,
)
from isthmus.data.moments import Moments
from isthmus.errors import OptionError
from isthmus.perturb import noise as noise_module
from isthmus.perturb.codecs import SignBits, UniformQuantiser
from isthmus.perturb.noise import gaussian
from isthmus.robustness import (
    COLUMNS,
    Perturbation,
    closed_searches,
    default_perturbations,
    gain,
    grid,
    measure_perturbation,
    overlap_at,
    row_of,
)
from isthmus.search.relevance import no_relevance, relevance_by_labels
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask
from refusals import refused
from worlds import fitted, set_up, task_of, two_modalities

NAME: dict[str, Any] = {"seed": 3, "trial": 0, "role": "candidate", "level": 0.02}


# --- noise ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [4, 512])
def test_noise_has_the_variance_it_says(dim: int) -> None:
    total = 0.3
    drawn = gaussian(400_000 // dim, dim, total, **NAME).astype(np.float64)
    assert (drawn**2).sum(axis=1).mean() == pytest.approx(total, rel=0.02)
    assert drawn.mean() == pytest.approx(0, abs=4 * np.sqrt(total / dim / drawn.size))
    assert drawn.var() == pytest.approx(total / dim, rel=0.02)
    flat = drawn.ravel() / drawn.std()
    assert (flat**4).mean() == pytest.approx(3, abs=0.1)


def test_level_conventions() -> None:
    assert total_variance(0.04, "total", 512, 0.5) == 0.04
    assert total_variance(0.04, "coordinate", 512, 0.5) == pytest.approx(0.04 * 512)
    assert total_variance(0.04, "spread", 512, 0.5) == pytest.approx(0.02)
    for level in (-0.1, np.nan, np.inf):
        with refused("bad-level", str(level)):
            total_variance(level, "total", 4, 1)
    with refused("unknown-convention", "'sigma'", "total"):
        total_variance(0.1, "sigma", 4, 1)


def test_noise_does_not_depend_on_how_many_rows_are_asked() -> None:
    whole = gaussian(2500, 6, 0.1, **NAME)
    for rows in (1, 7, 1023, 1024, 1025, 2048):
        np.testing.assert_array_equal(gaussian(rows, 6, 0.1, **NAME), whole[:rows])
    np.testing.assert_array_equal(gaussian(2500, 6, 0.1, dtype=np.float64, **NAME), whole)
    assert noise_module.BLOCK_ROWS == 1024  # part of the numbers: changing it changes results


def test_every_name_of_a_stream_gives_other_noise() -> None:
    base = gaussian(8, 5, 0.1, **NAME)
    for change in ({"seed": 4}, {"trial": 1}, {"role": "query"}, {"level": 0.03}):
        other = gaussian(8, 5, 0.1, **{**NAME, **change})
        assert abs(np.corrcoef(base.ravel(), other.ravel())[0, 1]) < 0.5
        assert (base != other).all()
    blocks = gaussian(2048, 5, 0.1, **NAME)
    assert (blocks[:1024] != blocks[1024:]).any()


def test_the_numbers_of_the_noise_are_pinned() -> None:
    got = gaussian(2, 2, 2.0, seed=0, trial=0, role="candidate", level=0.005)
    low, high = struct.unpack("<II", struct.pack("<d", 0.005))
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([0, 0, 1, low, high, 0])))
    np.testing.assert_array_equal(got, rng.standard_normal((2, 2), dtype=np.float32))


# --- codecs -----------------------------------------------------------------------------------


@given(
    bins=st.sampled_from([2, 3, 16, 255, 256, 257, 65536]),
    seed=st.integers(0, 20),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_decoding_is_within_half_a_step_inside_the_range(bins: int, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    calibration = rng.normal(size=(30, 4)) * size
    codec = UniformQuantiser.fit(calibration, bins)
    back = codec.through(calibration)
    assert np.abs(back - calibration).max() <= codec.step / 2 * (1 + 1e-9)
    codes = codec.encode(calibration)
    assert codes.min() == 0
    assert codes.max() == bins - 1
    assert codes.dtype == (np.uint8 if bins <= 256 else np.uint16)
    order = np.argsort(calibration, axis=None)
    assert (np.diff(codes.astype(int).ravel()[order]) >= 0).all()


@pytest.mark.parametrize("bins", [2, 32, 256, 65536])
def test_values_outside_the_calibration_saturate_and_never_wrap(bins: int) -> None:
    codec = UniformQuantiser.fit(np.array([[-1.0, 1.0]]), bins)
    wild = np.array([[-1e30, -5.0, -1.0000001, 1.0, 1.0000001, 1.2, 5.0, 1e30, np.inf, -np.inf]])
    codes = codec.encode(wild)[0]
    assert codes[[0, 1, 2, 9]].tolist() == [0] * 4
    assert codes[3:9].tolist() == [bins - 1] * 6
    back = codec.decode(codec.encode(wild))
    assert back.min() >= -1
    assert back.max() <= 1


def test_one_range_serves_both_sides_and_edge_cases() -> None:
    codec = UniformQuantiser.fit(np.array([[0.0, 8.0]]), 4)
    assert codec.encode(np.array([[0.0, 1.9, 2.0, 7.9]])).tolist() == [[0, 0, 1, 3]]
    assert codec.decode(np.array([[0, 1, 2, 3]], np.uint8)).tolist() == [[1.0, 3.0, 5.0, 7.0]]
    flat = UniformQuantiser.fit(np.full((3, 2), 0.7), 16)
    np.testing.assert_array_equal(flat.through(np.array([[0.1, 9.0]])), [[0.7, 0.7]])
    assert UniformQuantiser.fit(np.eye(2), 256).bytes_per_vector(512) == 512
    assert UniformQuantiser.fit(np.eye(2), 32).bytes_per_vector(512) == 320
    assert UniformQuantiser.fit(np.eye(2), 33).bytes_per_vector(8) == 6
    for bins in (1, 0, 65537):
        with pytest.raises(OptionError, match=rf"bins {bins}; expected at least 2 and at most"):
            UniformQuantiser.fit(np.eye(2), bins)


@pytest.mark.parametrize("dim", [8, 13, 64])
def test_sign_bits_rank_by_hamming_distance(dim: int, rng: np.random.Generator) -> None:
    rows, queries = rng.normal(size=(40, dim)), rng.normal(size=(9, dim))
    codec = SignBits.fit(rows)
    assert codec.scale == pytest.approx(np.abs(rows).mean())
    codes = codec.encode(rows)
    assert codes.shape == (40, -(-dim // 8))
    np.testing.assert_array_equal(codec.through(rows), np.where(rows >= 0, 1, -1) * codec.scale)
    other = SignBits.fit(queries)
    hamming = ((rows >= 0)[None] != (queries >= 0)[:, None]).sum(axis=2)
    for score in ("dot", "cosine", "euclidean"):
        ranking = Ranking.of(other.through(queries), codec.through(rows), score)
        scores = np.concatenate([s for _, s in ranking.score_blocks()])
        for line, distance in zip(scores, hamming, strict=True):
            np.testing.assert_array_equal(
                np.argsort(-np.round(line, 9), kind="stable"), np.argsort(distance, kind="stable")
            )
    assert codec.bytes_per_vector(dim) == -(-dim // 8)
    assert SignBits.fit(rows).encode(np.array([[0.0, -0.0, -1e-30, 1e-30]])).tolist() == [
        [0b11010000]
    ]


# --- intervals --------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (1, 10), (5, 10), (10, 10), (853, 1000)])
def test_wilson_is_the_textbook_interval(hits: int, count: int) -> None:
    z, p = norm.ppf(0.975), hits / count
    centre = (p + z**2 / 2 / count) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(p * (1 - p) / count + z**2 / 4 / count**2)
    got = wilson(hits, count)
    assert got.mean == p
    assert got.low == pytest.approx(max(centre - reach, 0), abs=1e-9)
    assert got.high == pytest.approx(min(centre + reach, 1), abs=1e-9)
    assert np.isnan(wilson(0, 0).mean)


def test_one_trial_or_certain_outcomes_take_wilson() -> None:
    outcomes = np.random.default_rng(0).random((1, 80)) < 0.7
    assert share_over_trials(outcomes) == wilson(int(outcomes.sum()), 80)
    assert share_over_trials(np.ones((9, 50), bool)) == wilson(50, 50)
    assert share_over_trials(np.zeros((9, 50), bool)) == wilson(0, 50)


def test_intervals_cover_where_queries_of_a_trial_hang_together() -> None:
    """Outcomes share a draw per trial and a skill per query; a binomial interval would be short."""
    rng = np.random.default_rng(1)
    trials, queries, repeats = 30, 60, 250
    many = rng.normal(size=400_000)
    truth = norm.cdf(0.5 + many * np.sqrt(0.3**2 + 0.8**2)).mean()
    inside = naive = 0
    for repeat in range(repeats):
        shared = 0.3 * rng.normal(size=(trials, 1))
        skill = 0.8 * rng.normal(size=(1, queries))
        kept = 0.5 + shared + skill + rng.normal(size=(trials, queries)) > 0
        got = share_over_trials(kept, seed=repeat)
        assert got.low <= got.mean <= got.high
        assert got.mean == kept.mean()
        inside += got.low <= truth <= got.high
        small = binomtest(int(kept.sum()), kept.size).proportion_ci(method="wilson")
        naive += small.low <= truth <= small.high
    assert inside / repeats >= 0.92
    assert naive / repeats <= 0.8


def test_paired_differences_and_mcnemar() -> None:
    rng = np.random.default_rng(2)
    before = rng.random((20, 200)) < 0.7
    after = before | (rng.random((20, 200)) < 0.3)
    got = paired_difference(before, after)
    assert got.mean == pytest.approx(after.mean() - before.mean(), abs=1e-6)
    assert 0 < got.low < got.mean < got.high
    same = paired_difference(before, before)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    a, b = before[0], after[0]
    won = int((~a & b).sum())
    assert mcnemar(a, b) == pytest.approx(min(1, 2 * 0.5**won))
    assert mcnemar(a, a) == 1
    flips = rng.random(40) < 0.5
    lost, gained = int((flips & ~a[:40]).sum()), int((~flips & a[:40]).sum())
    assert mcnemar(flips, a[:40]) == pytest.approx(binomtest(lost, lost + gained).pvalue)


def test_grouped_jackknife_of_a_mean_is_student_s_interval() -> None:
    from scipy.stats import t

    x = np.random.default_rng(0).normal(size=200)
    parts = x.reshape(20, 10)
    got = grouped_jackknife(
        lambda g: {"mean": float(np.delete(parts, g, axis=0).mean())}, {"mean": x.mean()}, 20
    )
    expected = t.interval(0.95, 19, x.mean(), parts.mean(axis=1).std(ddof=1) / np.sqrt(20))
    assert got["mean"] == pytest.approx(expected, rel=1e-9)


def test_quantiles() -> None:
    got = quantiles(np.arange(101.0))
    assert got == {"q05": 5, "q25": 25, "q50": 50, "q75": 75, "q95": 95}
    some = quantiles(np.append(np.arange(101.0), [np.inf] * 99))
    assert (some["q25"], some["q50"], some["q75"], some["q95"]) == (49, 99, None, None)


# --- the grid ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def task() -> RetrievalTask:
    a, b = two_modalities(70, 40, seed=2)
    return task_of(a[:50], b, relevance_by_labels(np.arange(50), 50, 70))


def closers_of(task: RetrievalTask) -> list[Any]:
    q = Moments.of(task.queries, precise=True)
    c = Moments.of(task.candidates, precise=True)
    return [
        fit("none", q, c, score="cosine"),
        fit("none", q, c, score="euclidean"),
        fit("mean-shift", q, c),
        fit("orthogonal-shift", q, c),
        fit("center-queries", q, c),
    ]


def loop_answers(q: np.ndarray, c: np.ndarray, score: str, bias: np.ndarray | None) -> list[int]:
    """Best candidate of each query by a double loop."""
    out = []
    for x in q:
        best, best_value = 0, -np.inf
        for j, y in enumerate(c):
            if score == "dot":
                value = float(x @ y)
            elif score == "cosine":
                value = float(x @ y / np.linalg.norm(y))
            else:
                value = -0.5 * float((x - y) @ (x - y))
            value += 0 if bias is None else float(bias[j])
            if value > best_value:
                best, best_value = j, value
        out.append(best)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("side", ["candidates", "queries", "both"])
def test_gaussian_noise_by_a_double_loop(task: RetrievalTask, side: Any) -> None:
    perturbation, trials, seed = Perturbation("gaussian", side, 0.05, "total"), 3, 11
    searches = closed_searches(task, closers_of(task))
    results = measure_perturbation(task, searches, perturbation, trials=trials, seed=seed)
    truth = np.arange(50)
    for search, result in zip(searches, results, strict=True):
        closer = search.closer
        q, c = closer.query(task.queries), closer.candidate(task.candidates)
        bias = closer.candidate_bias(task.candidates)
        clean = np.array(loop_answers(q, c, closer.score, bias))
        before = np.array(loop_answers(task.queries, task.candidates, closer.score, None))
        answers = []
        for trial in range(trials):
            named = {"seed": seed, "trial": trial, "level": 0.0}  # of all levels
            size = np.sqrt(0.05 / 40)
            e = size * gaussian(50, 40, 40, role="query", **named) if side != "candidates" else 0
            f = size * gaussian(70, 40, 40, role="candidate", **named) if side != "queries" else 0
            answers.append(loop_answers(q + e, c + f, closer.score, bias))
        expected = np.array(answers)
        assert (result.answers == expected).mean() > 0.998  # float32 against float64
        row = row_of(task, result, seed)
        assert row["consistency"] == pytest.approx((expected == clean).mean(), abs=0.01)
        assert row["agreement"] == pytest.approx((expected == before).mean(), abs=0.01)
        assert row["accuracy"] == pytest.approx((expected == truth).mean(), abs=0.01)
        assert row["clean_agreement"] == (clean == before).mean()
        assert row["clean_accuracy"] == (clean == truth).mean()
        assert (row["predicted_consistency"] is None) == (
            side == "both" or (side == "candidates" and closer.score == "cosine")
        )
        assert row["consistency_lo"] <= row["consistency"] <= row["consistency_hi"]


@pytest.mark.parametrize("family", ["uniform-quantisation", "sign-bits"])
@pytest.mark.parametrize("side", ["candidates", "queries", "both"])
def test_codec_perturbations_by_hand(task: RetrievalTask, family: Any, side: Any) -> None:
    perturbation = Perturbation(family, side, 16.0)
    searches = closed_searches(task, closers_of(task))
    for search, result in zip(
        searches, measure_perturbation(task, searches, perturbation, trials=9, seed=0), strict=True
    ):
        q, c = search.queries, search.candidates

        def through(rows: np.ndarray, calibration: np.ndarray) -> np.ndarray:
            if family == "sign-bits":
                return np.where(rows >= 0, 1.0, -1.0) * np.abs(calibration).mean()
            low, high = calibration.min(), calibration.max()
            step = (high - low) / 16
            return low + (np.clip(np.floor((rows - low) / step), 0, 15) + 0.5) * step

        coded_c = through(c, c[task.candidate_calibration]) if side != "queries" else c
        coded_q = through(q, q[task.query_calibration]) if side != "candidates" else q
        expected = loop_answers(coded_q, coded_c, search.score, search.bias)
        assert result.trials == 1
        assert (result.answers[0] == expected).mean() >= (0.8 if family == "sign-bits" else 1)
        size = {"sign-bits": 5, "uniform-quantisation": 20}[family]
        assert result.bytes_per_vector == (None if side == "queries" else size)


@pytest.mark.parametrize("side", ["candidates", "queries"])
def test_codecs_never_see_rows_outside_the_calibration_split(
    task: RetrievalTask, side: Any
) -> None:
    """A giant row that the split leaves out saturates; it does not widen everyone's
    perturbations."""
    q, c = task.queries.copy(), task.candidates.copy()
    rows, kept = (
        (c, task.candidate_calibration) if side == "candidates" else (q, task.query_calibration)
    )
    giant = int(np.setdiff1d(np.arange(len(rows)), kept)[0])
    rows[giant] *= 50
    case = replace(task, queries=q, candidates=c)
    closer = fit("none", Moments.of(q), Moments.of(c), score="euclidean", normalised=False)
    perturbation = Perturbation("uniform-quantisation", side, 64.0)
    result = grid(case, [closer], [perturbation], trials=1)[0]
    others = np.arange(len(q)) != (giant if side == "queries" else -1)
    assert result.kept[0][others].mean() > 0.85
    rows[giant] /= 50
    rows[kept[0]] *= 50  # inside the split it does
    wide = grid(case, [closer], [perturbation], trials=1)[0]
    others = np.arange(len(q)) != (kept[0] if side == "queries" else -1)
    assert wide.kept[0][others].mean() < 0.6


def test_results_come_in_the_order_of_closers_and_perturbations(task: RetrievalTask) -> None:
    closers = closers_of(task)[:2]
    noise, code = (
        Perturbation("gaussian", "candidates", 0.05, "total"),
        Perturbation("sq8", "candidates", 1.0),
    )
    asked = [noise, code, replace(noise, level=0.3)]
    results = grid(task, closers, asked, trials=2)
    assert [result.perturbation for result in results] == asked * 2
    assert [result.search.closer for result in results] == [c for c in closers for _ in asked]


@pytest.mark.slow
def test_all_closers_meet_the_same_noise(task: RetrievalTask) -> None:
    closers = closers_of(task)
    perturbations = [Perturbation("gaussian", "candidates", 0.05, "total")]
    together = grid(task, closers, perturbations, trials=4, seed=1)
    for closer, result in zip(closers, together, strict=True):
        alone = grid(task, [closer], perturbations, trials=4, seed=1)[0]
        np.testing.assert_array_equal(alone.answers, result.answers)
        more = grid(
            task,
            [closer],
            [Perturbation("gaussian", "candidates", 0.01, "total"), *perturbations],
            trials=6,
            seed=1,
        )[1]
        np.testing.assert_array_equal(more.answers[:4], result.answers)
    other = grid(task, closers, perturbations, trials=4, seed=2)
    assert (other[0].answers != together[0].answers).any()


def test_query_noise_tells_no_exact_closer_from_another(task: RetrievalTask) -> None:
    """The control of theory: query noise moves score differences alike before and after."""
    perturbation = Perturbation("gaussian", "queries", 0.1, "total")
    results = measure_perturbation(
        task, closed_searches(task, closers_of(task)), perturbation, trials=10, seed=0
    )
    exact = [r for r in results if r.search.closer.guarantee.kind == "exact"]
    assert len(exact) == 4
    assert 0.3 < exact[0].kept.mean() < 0.98
    for result in exact[1:]:
        np.testing.assert_array_equal(result.answers, exact[0].answers)


def test_no_noise_flips_nothing(task: RetrievalTask) -> None:
    twins = task_of(task.queries, np.vstack([task.candidates] * 2), no_relevance(50, 140))
    for side in ("candidates", "queries", "both"):
        perturbation = Perturbation("gaussian", side, 0.0, "total")  # type: ignore[arg-type]
        for result in grid(twins, closers_of(twins), [perturbation], trials=2):
            assert result.kept.all(), (side, result.search.closer.name)


def test_spread_is_measured_where_the_noise_falls(task: RetrievalTask) -> None:
    """Candidates made twice as large meet twice the noise: no gain from a mere rescaling."""
    from isthmus.closers.closer import Closer, Guarantee
    from isthmus.closers.maps import AffineMap

    def scaled(size: float) -> Closer:
        side = AffineMap(40, np.eye(40) * size)
        return Closer("none", "euclidean", 1.0, side, side, Guarantee("euclidean", "exact", "x"))

    perturbation = Perturbation("gaussian", "candidates", 0.05, "spread")
    small, large = grid(task, [scaled(1.0), scaled(4.0)], [perturbation], trials=4)
    np.testing.assert_array_equal(small.answers, large.answers)
    assert large.predicted == pytest.approx(small.predicted, abs=1e-6)
    fixed = grid(
        task,
        [scaled(1.0), scaled(4.0)],
        [Perturbation("gaussian", "candidates", 0.05, "total")],
        trials=4,
    )
    assert fixed[1].kept.mean() > fixed[0].kept.mean()


def test_overlap_by_brute_force(task: RetrievalTask, rng: np.random.Generator) -> None:
    search = set_up(task, fitted("none", task.queries, task.candidates))
    moved = task.candidates + rng.normal(size=(70, 40)) * 0.05
    noisy = Ranking.of(task.queries, moved, "dot")
    shares = []
    for q in task.queries:
        before = set(np.argsort(-(task.candidates @ q))[:10].tolist())
        after = set(np.argsort(-(moved @ q))[:10].tolist())
        shares.append(len(before & after) / 10)
    clean = Ranking.of(task.queries, task.candidates, "dot")
    assert overlap_at(clean, noisy) == pytest.approx(np.mean(shares))
    assert overlap_at(clean, clean) == 1
    assert overlap_at(search.clean, search.clean) == 1
    few = Ranking.of(task.queries, task.candidates[:19], "dot")
    assert np.isnan(overlap_at(few, few))


def test_rows_have_the_contract_s_columns_and_are_json(task: RetrievalTask) -> None:
    assert len(COLUMNS) == 23
    small = task_of(task.queries[:12], task.candidates[:12], no_relevance(12, 12))
    for case in (task, small):
        results = grid(case, closers_of(case), default_perturbations(), trials=2, control_trials=1)
        assert len(results) == 5 * (9 + 4 + 2)
        for result in results:
            row = row_of(case, result, 0)
            assert list(row)[: len(COLUMNS)] == list(COLUMNS)
            json.dumps(row, allow_nan=False)
            count = {"gaussian": 2 if row["side"] == "candidates" else 1}
            assert row["trials"] == count.get(row["family"], 1)
        names = [r.search.closer.name for r in results[::15]]
        assert names == ["none", "none", "mean-shift", "orthogonal-shift", "center-queries"]


def test_gain_is_the_paired_difference_of_flips(task: RetrievalTask) -> None:
    perturbation = Perturbation("gaussian", "candidates", 0.05, "total")
    results = grid(task, closers_of(task), [perturbation], trials=10)
    got = gain(results[0], results[4])
    assert got["gain"] == pytest.approx(results[4].kept.mean() - results[0].kept.mean(), abs=1e-6)
    assert got["gain_lo"] <= got["gain"] <= got["gain_hi"]
