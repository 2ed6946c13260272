"""Families of the grid beyond plain Gaussian noise, each measured again by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.closers.controls import CONTROLS, OVERSHOOT, control, controls
from isthmus.closers.many import fit_many
from isthmus.data.moments import Moments
from isthmus.errors import OptionError
from isthmus.perturb.codecs import coded_ranking, fit_codec
from isthmus.perturb.families import CUTS, FAMILIES, NOISES
from isthmus.perturb.noise import box, drawn, gaussian, normal, stream
from isthmus.perturb.shapes import covariance_shape, line_shape, span_shape
from isthmus.robustness import (
    ClosedSearch,
    Perturbation,
    closed_searches,
    grid,
    measure_perturbation,
    perturbations_at,
    perturbations_of,
    row_of,
    rows_of,
)
from isthmus.search.scores import Ranking, top1
from isthmus.search.task import RetrievalTask
from refusals import refused
from worlds import fitted, full_scores, set_up, task_of, two_modalities, unit_rows

SLOW = pytest.mark.slow
NAME: dict[str, Any] = {"seed": 3, "trial": 0, "role": "candidate", "level": 0.02}


@pytest.fixture(scope="module")
def task() -> RetrievalTask:
    return task_of(*two_modalities(60, 24, seed=5))


@pytest.fixture(scope="module")
def few() -> RetrievalTask:
    """Six candidates in 24 dimensions: their span is far from all."""
    q, c = two_modalities(60, 24, seed=6)
    from isthmus.search.relevance import no_relevance

    return task_of(q, c[:6], no_relevance(60, 6))


# --- shapes of noise --------------------------------------------------------------------------


def test_box_noise_has_the_variance_it_says_in_any_number_of_blocks() -> None:
    noise = drawn(box, 3000, 8, 0.3, **NAME).astype(np.float64)
    assert (noise**2).sum(axis=1).mean() == pytest.approx(0.3, rel=0.03)
    assert np.abs(noise).max() <= np.sqrt(3 * 0.3 / 8) * (1 + 1e-6)
    assert (noise**4).mean() / (noise**2).mean() ** 2 == pytest.approx(1.8, abs=0.05)  # a box
    np.testing.assert_array_equal(drawn(box, 1100, 8, 0.3, **NAME), noise[:1100].astype(np.float32))


@pytest.mark.parametrize("name", ["covariance", "in-span", "off-span", "along-gap"])
def test_every_shape_keeps_the_level(name: str, rng: np.random.Generator) -> None:
    rows = rng.normal(size=(9, 12)) * np.linspace(0.1, 2, 12)
    shape = {
        "covariance": covariance_shape(rows),
        "in-span": span_shape(rows, inside=True),
        "off-span": span_shape(rows, inside=False),
        "along-gap": line_shape(rows[0]),
    }[name]
    full = shape(np.eye(12))
    assert np.trace(full @ full.T) == pytest.approx(12)  # E‖ε‖² of white draws stays
    white = gaussian(200_000, 12, 0.5, **NAME)
    drawn = shape(white)
    assert drawn.dtype == np.float32
    assert (drawn.astype(np.float64) ** 2).sum(axis=1).mean() == pytest.approx(0.5, rel=0.02)
    found = np.cov(drawn.T.astype(np.float64))
    centred = rows - rows.mean(axis=0)
    inside = np.linalg.pinv(centred) @ centred  # projector by another road
    expected = {
        "covariance": np.cov(rows.T) * 0.5 / np.trace(np.cov(rows.T)),
        "in-span": inside * 0.5 / 8,
        "off-span": (np.eye(12) - inside) * 0.5 / 4,
        "along-gap": np.outer(rows[0], rows[0]) * 0.5 / (rows[0] @ rows[0]),
    }[name]
    np.testing.assert_allclose(found, expected, atol=0.004 * 0.5)
    queries = rng.normal(size=(5, 12))
    np.testing.assert_allclose(
        shape.spreads(queries, 0.5), np.sqrt(np.diag(queries @ expected @ queries.T)), rtol=1e-6
    )


def test_shapes_that_cannot_be_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(OptionError, match=r"30 candidates span all 6 dimensions, so there is no"):
        span_shape(rng.normal(size=(30, 6)), inside=False)
    with pytest.raises(OptionError, match=r"all rows are alike, so there is no noise with their"):
        covariance_shape(np.ones((5, 4)))
    with pytest.raises(OptionError, match=r"there is no gap, so there is no noise along it"):
        line_shape(np.zeros(4))


def test_noise_on_candidates_is_shaped_by_what_is_stored(few: RetrievalTask) -> None:
    search = set_up(few, fitted("subspace", few.queries, few.candidates))
    assert search.stored_dims == 5
    inside = search.noise_shape("in-span", "candidate")
    assert inside is not None
    np.testing.assert_allclose(inside(np.eye(5)), np.eye(5), atol=1e-9)  # nothing else is left
    with pytest.raises(OptionError, match=r"6 candidates span all 5 dimensions"):
        search.noise_shape("off-span", "candidate")
    raw = set_up(few, fitted("none", few.queries, few.candidates, score="dot"))
    along = raw.noise_shape("along-gap", "candidate")
    assert along is not None
    gap = unit_rows(few.queries).mean(axis=0) - unit_rows(few.candidates).mean(axis=0)
    np.testing.assert_allclose(
        np.abs(along.directions[:, 0]), np.abs(gap / np.linalg.norm(gap)), atol=1e-12
    )


@pytest.mark.parametrize("family", [n for n, f in FAMILIES.items() if f.kind == "noise"])
def test_noise_is_as_by_hand(family: str, few: RetrievalTask) -> None:
    search = set_up(few, fitted("orthogonal-shift", few.queries, few.candidates))
    perturbation = Perturbation(family, "candidates", 0.3, "total")
    result = measure_perturbation(few, [search], perturbation, trials=3, seed=11)[0]
    for trial in range(3):
        name: dict[str, Any] = {"seed": 11, "trial": trial, "role": "candidate", "level": 0.0}
        noise = drawn(box if family == "uniform" else normal, 6, 24, 24, **name)
        noise = noise * np.sqrt(0.3 / 24)
        shape = search.noise_shape(family, "candidate")
        noise = noise if shape is None else shape(noise)
        scores = full_scores(search.queries, search.candidates + noise, "euclidean")
        np.testing.assert_array_equal(result.answers[trial], scores.argmax(axis=1))
    assert (result.predicted is not None) == (family == "gaussian")


DUST = """
import numpy as np
from isthmus.perturb.families import CutFamily, NoiseFamily
from isthmus.perturb.shapes import line_shape

def coin(rng, shape):
    return np.float32(2) * rng.integers(2, size=shape, dtype=np.int8) - 1

coins = NoiseFamily("plus or minus one", draw=coin)
first = NoiseFamily("the first only", shape=lambda met: line_shape(np.eye(met.gap.size)[0]))
evens = CutFamily("every second", lambda rng, d, kept: np.arange(d)[::2][:kept], random=False)

def added(rng, dim, kept):
    return np.repeat(np.eye(kept), dim // kept, axis=0)

sums = CutFamily("sums of neighbours", added, random=False, targets=("both",))
"""


def test_a_package_registers_noise_and_cuts(
    few: RetrievalTask, install: Callable[..., None]
) -> None:
    noises = "coins = dust:coins\nfirst = dust:first\nnoise = dust:sums"
    points = {"isthmus.noises": noises, "isthmus.cuts": "evens = dust:evens\nsums = dust:sums"}
    install("dust", DUST, points, NOISES, CUTS, FAMILIES)
    search = set_up(few, fitted("center-queries", few.queries, few.candidates, score="dot"))
    coins = Perturbation("coins", "candidates", 0.3, "total")
    with pytest.warns(RuntimeWarning, match="noise 'noise' of dust:sums is left out"):
        found = measure_perturbation(few, [search], coins, trials=2, seed=5)[0]
    signs = np.random.Generator(np.random.SFC64(stream(5, 1, "candidate", 0.0, 0)))
    noise = np.sqrt(0.3 / 24) * (2.0 * signs.integers(2, size=(6, 24), dtype=np.int8) - 1)
    q, x, bias = search.queries, search.candidates, search.bias
    np.testing.assert_array_equal(found.answers[1], (q @ (x + noise).T + bias).argmax(axis=1))
    assert found.predicted is None
    first = Perturbation("first", "candidates", 0.3, "total")
    found = measure_perturbation(few, [search], first, trials=400, seed=5)[0]
    assert found.kept.mean() == pytest.approx(found.predicted, abs=0.05)
    for name, rows in (
        ("evens", [np.where(np.isin(np.arange(24), [0, 2, 4, 6]), side, 0) for side in (q, x)]),
        ("sums", [side.reshape(len(side), 4, 6).sum(axis=2) for side in (q, x)]),
    ):
        result = measure_perturbation(
            few, [search], Perturbation(name, "both", 4), trials=3, seed=0
        )
        best = (rows[0] @ rows[1].T + bias).argmax(axis=1)
        np.testing.assert_array_equal(result[0].answers, best[None])
    table = isthmus.stress(few.queries, few.candidates, perturb=["coins", "evens"], trials=1)
    assert {row["family"] for row in table.rows()} == {"coins", "evens"}
    with refused("target-not-offered", "sums"):
        perturbations_at("sums", "candidates")


@pytest.mark.parametrize(
    "family",
    [
        "in-span",
        *(pytest.param(f, marks=SLOW) for f in ("gaussian", "covariance", "off-span", "along-gap")),
    ],
)
def test_shaped_noise_is_predicted_under_dot(family: str, few: RetrievalTask) -> None:
    for name in ("none", "center-queries"):
        search = set_up(few, fitted(name, few.queries, few.candidates, score="dot"))
        perturbation = Perturbation(family, "candidates", 0.1, "total")
        result = measure_perturbation(few, [search], perturbation, trials=200, seed=2)[0]
        spread = result.kept.mean(axis=1).std() / np.sqrt(200)
        assert result.predicted == pytest.approx(result.kept.mean(), abs=4 * spread + 1e-4)


def test_off_span_noise_on_queries_flips_nothing(few: RetrievalTask) -> None:
    """And noise in the span flips as much for every exact closer: the query-side control."""
    names = ("none", "orthogonal-shift", "biased-shift", "span")
    searches = closed_searches(
        few, [fitted(n, few.queries, few.candidates, score="euclidean") for n in names]
    )
    off = measure_perturbation(
        few, searches, Perturbation("off-span", "queries", 0.5, "total"), trials=4, seed=1
    )
    assert all(r.kept.all() for r in off)
    inside = measure_perturbation(
        few, searches, Perturbation("in-span", "queries", 0.5, "total"), trials=4, seed=1
    )
    assert not inside[0].kept.all()
    for result in inside[1:]:
        np.testing.assert_array_equal(result.kept, inside[0].kept)


def test_one_shared_shift_of_all_candidates(task: RetrievalTask) -> None:
    """Under dot it adds a constant per query; under Euclid it is noise on the query, mirrored."""
    perturbation = Perturbation("gaussian", "shared", 0.3, "total")
    dots = closed_searches(
        task,
        [
            fitted(n, task.queries, task.candidates, score="dot")
            for n in ("none", "center-queries", "center-both")
        ],
    )
    assert all(
        r.kept.all() for r in measure_perturbation(task, dots, perturbation, trials=5, seed=0)
    )
    search = set_up(task, fitted("none", task.queries, task.candidates, score="euclidean"))
    result = measure_perturbation(task, [search], perturbation, trials=5, seed=0)[0]
    assert not result.kept.all()
    for trial in range(5):
        shift = gaussian(1, 24, 24, seed=0, trial=trial, role="candidate", level=0.0)
        shift = shift * np.sqrt(0.3 / 24)
        scores = full_scores(search.queries - shift, search.candidates, "euclidean")
        np.testing.assert_array_equal(result.answers[trial], scores.argmax(axis=1))


# --- cuts of dimensions -----------------------------------------------------------------------


@pytest.mark.parametrize("score", ["dot", "cosine", "euclidean"])
def test_truncation_is_search_on_the_first_dimensions(score: str, task: RetrievalTask) -> None:
    search = set_up(task, fitted("none", task.queries, task.candidates, score=score))
    for level in (7.0, 0.5):
        result = measure_perturbation(
            task, [search], Perturbation("truncation", "both", level), trials=9, seed=0
        )[0]
        kept = 7 if level == 7 else 12
        scores = full_scores(search.queries[:, :kept], search.candidates[:, :kept], score)
        np.testing.assert_array_equal(result.answers, scores.argmax(axis=1)[None])
        assert result.bytes_per_vector == 4 * kept


def test_dropped_dimensions(task: RetrievalTask) -> None:
    search = set_up(task, fitted("none", task.queries, task.candidates, score="euclidean"))
    both, stored = (
        measure_perturbation(
            task, [search], Perturbation("dropped-dimensions", side, 10.0), trials=3, seed=4
        )[0]
        for side in ("both", "candidates")
    )
    for trial in range(3):
        rng = np.random.Generator(np.random.SFC64(stream(4, trial, "candidate", 10.0, 0)))
        kept = rng.permutation(24)[:10]
        scores = full_scores(search.queries[:, kept], search.candidates[:, kept], "euclidean")
        np.testing.assert_array_equal(both.answers[trial], scores.argmax(axis=1))
        zeroed = np.zeros_like(search.candidates)
        zeroed[:, kept] = search.candidates[:, kept]
        scores = full_scores(search.queries, zeroed, "euclidean")
        np.testing.assert_array_equal(stored.answers[trial], scores.argmax(axis=1))
    assert (both.answers[0] != both.answers[1]).any()


def test_random_projection_keeps_inner_products_on_average(task: RetrievalTask) -> None:
    search = set_up(task, fitted("none", task.queries, task.candidates, score="dot"))
    wide = measure_perturbation(
        task, [search], Perturbation("random-projection", "both", 24.0), trials=20, seed=0
    )[0]
    slim = measure_perturbation(
        task, [search], Perturbation("random-projection", "both", 3.0), trials=20, seed=0
    )[0]
    assert slim.kept.mean() < wide.kept.mean()
    rng = np.random.Generator(np.random.SFC64(stream(0, 0, "candidate", 3.0, 0)))
    down = rng.standard_normal((24, 3)) / np.sqrt(3)
    scores = search.queries @ down @ down.T @ search.candidates.T
    np.testing.assert_array_equal(slim.answers[0], scores.argmax(axis=1))


def test_memo_coordinates_and_candidate_biases_outlive_a_cut(few: RetrievalTask) -> None:
    memo = set_up(few, fitted("low-rank-memo", few.queries, few.candidates, rank=5))
    assert memo.closer.memo == 5
    kept = measure_perturbation(
        few, [memo], Perturbation("truncation", "both", 1.0), trials=1, seed=0
    )[0].kept
    bare = set_up(few, fitted("none", few.queries, few.candidates, score="dot"))
    base = measure_perturbation(
        few, [bare], Perturbation("truncation", "both", 1.0), trials=1, seed=0
    )[0].kept
    assert kept.mean() > base.mean()


# --- codecs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sq8", "rotated-sign", "rabitq", "bins-32", "fp16"])
@pytest.mark.parametrize("calibration", [None, "own", "other", "union"])
def test_codecs_are_as_by_hand(family: str, calibration: str | None, task: RetrievalTask) -> None:
    search = set_up(task, fitted("center-both", task.queries, task.candidates))
    halves = {
        "c": search.candidates[task.candidate_calibration],
        "q": search.queries[task.query_calibration],
    }
    union = np.vstack([halves["c"], halves["q"]])
    rows = {"other": (halves["q"], halves["c"]), "union": (union, union)}
    own, theirs = rows.get(calibration or "own", (halves["c"], halves["q"]))
    codec, query_codec = fit_codec(family, own), fit_codec(family, theirs)
    for side, symmetric in (("candidates", None), ("both", query_codec)):
        result = measure_perturbation(
            task, [search], Perturbation(family, side, 1.0, calibration), trials=5, seed=0
        )[0]
        by_hand = coded_ranking(
            search.queries,
            search.candidates,
            codec,
            score="dot",
            bias=search.bias,
            query_codec=symmetric,
        )
        np.testing.assert_array_equal(result.answers, top1(by_hand)[None])
        assert result.bytes_per_vector == codec.bytes_per_vector(24)
    row = row_of(task, result, 0)
    error = codec.through(search.candidates) - search.candidates
    assert row["codec_error"] == pytest.approx(float((error**2).sum(axis=1).mean()), rel=1e-6)
    assert row["codec_error_kind"] in ("none", "additive", "residual", "clipped", "leaning")


def test_ranges_of_the_other_modality_are_noticed(task: RetrievalTask) -> None:
    from isthmus.robustness.stress_runs import range_notes

    search = set_up(task, fitted("none", task.queries, task.candidates, score="dot"))
    rows = []
    for calibration in ("own", "other"):
        perturbation = Perturbation("int8", "candidates", 1.0, calibration)
        rows.append(
            row_of(task, measure_perturbation(task, [search], perturbation, trials=1, seed=0)[0], 0)
        )
    unseen = np.setdiff1d(np.arange(60), task.candidate_calibration)
    ranges = search.queries[task.query_calibration]
    stored = search.candidates[unseen]
    outside = ((stored < ranges.min(axis=0)) | (stored > ranges.max(axis=0))).mean()
    assert rows[1]["codec_outside"] == pytest.approx(outside, abs=1e-3)
    assert rows[0]["codec_outside"] < rows[1]["codec_outside"]
    (note,) = range_notes(rows[1:])
    assert f"int8, none by dot: {rows[1]['codec_outside']:.1%} of the stored values" in note
    assert range_notes([{"family": "sign", "closer": "none", "score": "dot"}]) == []


def test_rescoring_everything_undoes_the_codec(task: RetrievalTask) -> None:
    search = set_up(task, fitted("none", task.queries, task.candidates, score="dot"))
    shares = [
        measure_perturbation(
            task, [search], Perturbation("sign", "candidates", 1.0, None, r), trials=1, seed=0
        )[0]
        for r in (0, 5, 60)
    ]
    kept = [r.kept.mean() for r in shares]
    assert kept[0] < kept[1] < 1
    assert kept[2] == 1
    assert [r.extra.get("rescored") for r in shares] == [None, 5, 60]
    extra = shares[1].extra
    assert extra["coded_consistency"] == kept[0]
    assert extra["in_shortlist"] == kept[1]  # what is found is put first


def test_queries_alone_through_a_codec(task: RetrievalTask) -> None:
    search = set_up(task, fitted("none", task.queries, task.candidates, score="dot"))
    result = measure_perturbation(
        task, [search], Perturbation("sq4", "queries", 1.0), trials=1, seed=0
    )[0]
    codec = fit_codec("sq4", search.queries[task.query_calibration])
    scores = codec.through(search.queries) @ search.candidates.T
    np.testing.assert_array_equal(result.answers[0], scores.argmax(axis=1))
    assert result.bytes_per_vector is None


# --- perturbations from words, refusals
# ---------------------------------------------------------------


def test_perturbations_from_a_few_words() -> None:
    perturbations = perturbations_of(
        ["gaussian", "truncation", "rabitq", "uniform-quantisation"],
        levels=[0.1, 0.2],
        kept=[8],
        targets=["candidates", "shared"],
        calibration="union",
        rescored=20,
    )
    assert perturbations[:4] == [
        Perturbation("gaussian", side, level, "total")
        for side in ("candidates", "shared")
        for level in (0.1, 0.2)
    ]
    assert perturbations[4] == Perturbation("truncation", "both", 8.0)
    assert perturbations[5] == Perturbation("rabitq", "candidates", 1.0, "union", 20)
    assert [c.level for c in perturbations[6:]] == [256, 128, 64, 32]


BAD = [
    (Perturbation("sq8", "shared", 1.0), "target-not-offered", "sq8"),
    (Perturbation("truncation", "both", 0.0), "bad-level", "truncation at level 0"),
    (Perturbation("random-projection", "candidates", 4.0), "target-not-offered", "both"),
    (Perturbation("sq8", "candidates", 1.0, "mine"), "unknown-calibration", "'mine'"),
    (Perturbation("gaussian", "candidates", 0.1, None, 5), "rescored-codecs", "gaussian"),
    (Perturbation("sq9", "candidates", 1.0), "unknown-family", "sq8"),
    (Perturbation("truncation", "both", 2.5), "bad-level", "keeps 2.5 dimensions"),
    (Perturbation("gaussian", "texts", 0.1), "unknown-target", "queries, candidates, both"),
    (Perturbation("dust", "candidates", 0.1), "unknown-family", "gaussian"),
    (Perturbation("gaussian", "candidates", -1.0), "bad-level", "-1.0"),
    (Perturbation("gaussian", "candidates", 1.0, "sd"), "unknown-convention", "'sd'"),
]


@pytest.mark.parametrize(("perturbation", "code", "fact"), BAD)
def test_perturbations_that_make_no_sense(
    perturbation: Perturbation, code: str, fact: str, task: RetrievalTask
) -> None:
    search = set_up(task, fitted("none", task.queries, task.candidates))
    with refused(code, fact, kind=OptionError):
        measure_perturbation(task, [search], perturbation, trials=1, seed=0)


# --- controls ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["center-queries", "biased-shift", "mean-shift", "ridge-shift"])
def test_controls_close_along_another_vector_of_the_same_length(
    method: str, task: RetrievalTask
) -> None:
    q, c = Moments.of(task.queries, precise=True), Moments.of(task.candidates, precise=True)
    made = controls(method, q, c, seed=2)
    assert [m.name for m in made] == [f"{method}:{k}" for k in CONTROLS] + [method] * 2
    assert [m.strength for m in made] == [1.0] * 3 + list(OVERSHOOT)
    if method == "ridge-shift":
        return
    true = fitted(method, task.queries, task.candidates)
    vector = true.query.offset
    assert vector is not None
    random, shuffled, flipped = (m.query.offset for m in made[:3])
    for other in (random, shuffled, flipped):
        assert np.linalg.norm(other) == pytest.approx(np.linalg.norm(vector))
    np.testing.assert_allclose(flipped, -vector, atol=1e-12)
    np.testing.assert_allclose(np.sort(shuffled), np.sort(vector), atol=1e-12)
    assert abs(random @ vector) < 0.8 * (vector @ vector)
    again = control("random", method, q, c, seed=2)
    np.testing.assert_array_equal(again.query.offset, random)


def test_only_the_gap_itself_removes_flips(task: RetrievalTask) -> None:
    """Controls keep their promise too (a number makes up for any vector), but no flip goes."""
    q, c = Moments.of(task.queries, precise=True), Moments.of(task.candidates, precise=True)
    closers = fit_many(["biased-shift"], q, c, score="euclidean", with_controls=True)
    names = [x.name for x in closers]
    assert names == [
        "none",
        "biased-shift",
        *(f"biased-shift:{k}" for k in CONTROLS),
        "biased-shift",
        "biased-shift",
    ]
    perturbation = Perturbation("gaussian", "candidates", 0.05, "total")
    results = grid(task, closers, [perturbation], trials=40, seed=0)
    rows = rows_of(task, results, 0)
    assert all(r["clean_agreement"] == 1 for r in rows)
    gains = {(r["closer"], r["strength"]): r["gain"] for r in rows}
    assert gains["biased-shift", 1.0] > 0.02
    assert gains["biased-shift:flipped", 1.0] < 0
    assert gains["biased-shift:random", 1.0] < gains["biased-shift", 1.0] / 2
    assert gains["biased-shift", -0.5] < 0
    assert gains["biased-shift", 1.5] < gains["biased-shift", 1.0]


def test_rows_carry_gain_and_mcnemar(task: RetrievalTask) -> None:
    closers = [
        fitted(n, task.queries, task.candidates, score="cosine") for n in ("none", "mean-shift")
    ]
    results = grid(task, closers, [Perturbation("gaussian", "candidates", 0.02, "total")], trials=6)
    plain, moved = rows_of(task, results, 0)
    assert plain["gain"] == 0
    assert plain["clean_mcnemar_p"] == 1
    assert moved["gain"] == pytest.approx(results[1].kept.mean() - results[0].kept.mean(), abs=1e-6)
    assert moved["gain_lo"] <= moved["gain"] <= moved["gain_hi"]
    truth = np.arange(60)
    before, after = (results[1].search.today_top1 == truth, results[1].search.clean_top1 == truth)
    lost, won = (before & ~after).sum(), (~before & after).sum()
    from scipy.stats import binomtest

    assert moved["clean_mcnemar_p"] == pytest.approx(binomtest(lost, lost + won).pvalue)
    alone = rows_of(task, results[1:], 0)[0]
    assert alone["gain"] is None


def test_control_refusals(task: RetrievalTask) -> None:
    q = Moments.of(task.queries)
    with refused("unknown-control", "upside"):
        control("upside", "mean-shift", q, q)
    with refused("no-vector"):
        controls("none", q, q)
    with refused("unknown-closer", "'no'"):
        fit_many(["no"], q, q)


def test_closers_fitted_under_scores_they_are_made_for(task: RetrievalTask) -> None:
    q, c = Moments.of(task.queries, precise=True), Moments.of(task.candidates, precise=True)
    made = fit_many(
        ["center-queries", "ridge-shift", "mean-shift", "subspace", "procrustes"],
        q,
        c,
        score="euclidean",
        strengths=[0.5, 1.0],
    )
    assert [(m.name, m.score, m.strength) for m in made] == [
        ("none", "euclidean", 0.0),
        ("none", "dot", 0.0),
        ("center-queries", "dot", 0.5),
        ("center-queries", "dot", 1.0),
        ("ridge-shift", "euclidean", 0.5),
        ("ridge-shift", "euclidean", 1.0),
        ("mean-shift", "euclidean", 0.5),
        ("mean-shift", "euclidean", 1.0),
        ("subspace", "euclidean", 1.0),
    ]  # fmt: skip  (procrustes needs pairs)


def test_a_search_knows_its_task(task: RetrievalTask) -> None:
    search = set_up(task, fitted("none", task.queries, task.candidates))
    assert isinstance(search, ClosedSearch)
    assert search.task is task
    assert isinstance(search.clean, Ranking)
