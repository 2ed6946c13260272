"""What closers did on 500 COCO pairs through CLIP, to be measured again by any build.

The folder of real embeddings is named by ISTHMUS_REAL_DATA. The figures of every closer stand in
``docs/closers/figures.json``, printed by ``bench/closers_table.py``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.closers import METHODS, fit
from isthmus.closers.closer import Closer
from isthmus.data.moments import Moments
from isthmus.perturb.codecs import coded_ranking, fit_codec
from isthmus.robustness import Perturbation, closed_searches, measure_perturbation
from isthmus.search.relevance import no_relevance, relevance_by_pairs
from isthmus.search.scores import SCORES, top1
from isthmus.search.task import RetrievalTask
from refusals import refused
from worlds import fitted, unit_rows

EXACT = tuple(name for name, m in METHODS.items() if m.guarantee == "exact")

pytestmark = pytest.mark.real_data

Sides = tuple[np.ndarray, np.ndarray]
DIRECTIONS = ("image to text", "text to image")
both_ways = pytest.mark.parametrize("way", [0, 1], ids=DIRECTIONS)


@pytest.fixture(scope="module")
def coco() -> tuple[Sides, Sides]:
    """Queries and candidates (500, 512), unit rows: image to text, then text to image."""
    name = os.environ.get("ISTHMUS_REAL_DATA")
    if not name:
        pytest.skip("real embeddings are not here: ISTHMUS_REAL_DATA names no folder")
    images, captions = np.load(Path(name) / "modgap/features_clip.npy", allow_pickle=False)
    a, b = unit_rows(images), unit_rows(captions)
    return (a, b), (b, a)


def task(queries: np.ndarray, candidates: np.ndarray) -> RetrievalTask:
    count = len(candidates)
    paired = count == len(queries)
    relevance = relevance_by_pairs(count, count) if paired else no_relevance(len(queries), count)
    return RetrievalTask.of(
        queries,
        candidates,
        relevance,
        candidate_calibration=np.arange(count),
        query_calibration=np.arange(len(queries)),
    )


def consistency(sides: Sides, closers: list[Closer], trials: int = 60) -> list[float]:
    """Answers kept under Gaussian noise on the stored rows, total .022."""
    asked = task(*sides)
    perturbation = Perturbation("gaussian", "candidates", 0.022, "total")
    searches = closed_searches(asked, closers)
    return [
        float(r.kept.mean())
        for r in measure_perturbation(asked, searches, perturbation, trials=trials, seed=1)
    ]


def coded(closer: Closer, sides: Sides, **options: Any) -> tuple[float, float, float]:
    """R@1, agreement with float search, and bytes a vector, stored rows kept by FAISS's RaBitQ."""
    q, c = closer.apply(sides[0], "query"), closer.apply(sides[1], "candidate")
    codec = fit_codec("rabitq", c, **({"query_bits": 4} | options))
    found = top1(
        coded_ranking(q, c, codec, score=closer.score, bias=closer.candidate_bias(sides[1]))
    )
    exact = (sides[0] @ sides[1].T).argmax(axis=1)
    right = float((found == np.arange(len(found))).mean())
    return right, float((found == exact).mean()), float(codec.bytes_per_vector(c.shape[1]))


@both_ways
@pytest.mark.parametrize("name", EXACT)
def test_exact_closers_keep_all_500_answers(name: str, way: int, coco: Any) -> None:
    q, c = coco[way]
    moments = Moments.of(q, precise=True), Moments.of(c, precise=True)
    found = []
    for score in SCORES:
        if score in METHODS[name].scores:
            found.append(fit(name, *moments, score=score))
        else:
            with refused("score-not-offered", score):
                fit(name, *moments, score=score)
    for search in closed_searches(task(q, c), found):
        assert search.closer.guarantee.kind == "exact"
        assert search.clean_agreement.mean() == 1.0, search.score


@both_ways
def test_no_other_closer_keeps_them_all(way: int, coco: Any) -> None:
    """The rest change answers here, as their promise of nothing (or of a bound) allows."""
    rest = [fitted(name, *coco[way]) for name in METHODS if name not in EXACT]
    for search in closed_searches(task(*coco[way]), rest):
        assert search.closer.guarantee.kind in ("none", "bounded")
        assert search.clean_agreement.mean() < 0.99, search.closer.name


@both_ways
def test_noise_on_candidates(way: int, coco: Any) -> None:
    names = (
        "none",
        "biased-shift",
        "center-queries",
        "center-both",
        "low-rank-memo",
        "span",
        "subspace",
    )
    closers = [fitted("none", *coco[way], score="euclidean")]
    closers += [fitted(name, *coco[way], score="dot") for name in names]
    got = consistency(coco[way], closers)
    kept = dict(zip(["euclidean", *names], got, strict=True))
    assert kept["euclidean"] == pytest.approx((0.766, 0.758)[way], abs=0.012)
    assert kept["none"] == pytest.approx((0.794, 0.784)[way], abs=0.012)
    assert kept["center-queries"] >= (0.85, 0.83)[way]
    # dot sees the query's length alone: moving candidates neither helps nor harms
    assert kept["center-both"] == pytest.approx(kept["center-queries"], abs=0.002)
    assert kept["subspace"] == pytest.approx(kept["center-queries"], abs=0.012)
    assert kept["low-rank-memo"] >= kept["center-queries"] - 0.002  # as far as these draws can tell


@both_ways
def test_few_candidates_leave_most_of_a_query_out(way: int, coco: Any) -> None:
    """20 candidates span 19 directions: what projects there meets far less noise."""
    q, c = coco[way][0], coco[way][1][:20]
    wanted = (
        ("none", "euclidean"),
        ("orthogonal-shift", "euclidean"),
        ("span", "euclidean"),
        ("subspace", "euclidean"),
        ("center-queries", "dot"),
        ("span", "dot"),
    )
    closers = [fitted(name, q, c, score=score) for name, score in wanted]
    searches = closed_searches(task(q, c), closers)
    assert all(search.clean_agreement.all() for search in searches)
    raw, paper, span, _, centred, span_dot = consistency((q, c), closers, trials=20)
    assert raw < paper < span
    assert centred + 0.04 < span_dot
    assert closers[3].candidate.dim_out == 19
    # 19 coordinates instead of 512: the same noise in each of them is far less in all, the same
    # noise in all of them far more in each
    each, together = (
        [
            float(r.kept.mean())
            for r in measure_perturbation(task(q, c), searches, perturbation, trials=20, seed=1)
        ]
        for perturbation in (
            Perturbation("gaussian", "candidates", 0.022 / 512, "coordinate"),
            Perturbation("gaussian", "candidates", 0.022, "total"),
        )
    )
    assert each[3] == pytest.approx(span, abs=0.01)
    assert together[3] < raw


# --- one bit a coordinate -----------------------------------------------------------------------


@both_ways
def test_one_bit_codes_behind_closers(way: int, coco: Any) -> None:
    sides = coco[way]
    raw = coded(fitted("none", *sides, score="dot"), sides)
    assert raw[0] == pytest.approx((0.152, 0.292)[way], abs=0.003)
    ridge = coded(fitted("ridge-shift", *sides), sides)
    assert ridge[0] >= (0.42, 0.45)[way]
    stored = coded(fitted("center-both", *sides), sides)
    assert stored[1] >= 0.58
    assert raw[2] == ridge[2] == stored[2] == 72
    # the published shift of the database, and centring queries only, stay far below
    for name in ("database-shift", "center-queries"):
        assert coded(fitted(name, *sides, score="dot"), sides)[1] < stored[1] - 0.1, name
    # FAISS's own centre c takes part: with candidates moved by g it is μ_q, and FAISS keeps ⟨c, x⟩
    # exactly, so the same answers come with no number beside; and with queries moved by -g
    for side in ("candidate", "query"):
        moved = fitted("biased-shift", *sides, score="dot", side=side)
        assert coded(moved, sides) == pytest.approx(stored, abs=0.005)
        assert (moved.bias_weights is None) == (side == "candidate")
    import faiss

    index = faiss.index_factory(512, "RaBitQ", faiss.METRIC_INNER_PRODUCT)  # nothing of ours
    moved_rows = fitted("biased-shift", *sides, score="dot", side="candidate").apply(
        sides[1].astype(np.float32), "candidate"
    )
    index.train(moved_rows)
    index.add(moved_rows)
    first = index.search(np.ascontiguousarray(sides[0], np.float32), 1)[1][:, 0]
    assert (first == (sides[0] @ sides[1].T).argmax(axis=1)).mean() == pytest.approx(
        stored[1], abs=0.005
    )
    memo = fitted("low-rank-memo", *sides)
    vectors, own = memo.apply(sides[1], "candidate"), memo.apply(sides[0], "query")
    codec = fit_codec("rabitq", vectors[:, :512], query_bits=4)
    found = top1(coded_ranking(own, vectors, codec, stored=512))
    exact = (sides[0] @ sides[1].T).argmax(axis=1)
    assert (found == exact).mean() >= stored[1]


@both_ways
def test_ridge_by_a_noise_measured_on_a_calibration_split(way: int, coco: Any) -> None:
    """The codec's own error on half of the candidates, instead of the default .6 of the variance,
    and the queries' mean from queries that are not scored."""
    q, c = coco[way]
    order = np.random.default_rng(0).permutation(500)
    fit_rows, rest = np.sort(order[:250]), np.sort(order[250:])
    centred = c[fit_rows] - c[fit_rows].mean(axis=0)
    error = fit_codec("rabitq", centred).through(centred) - centred
    per_dimension = float((error**2).mean())
    share = per_dimension / c.var(axis=0).mean()
    assert 0.5 < share < 0.9
    moments = Moments.of(q[fit_rows], precise=True), Moments.of(c, precise=True)
    exact = (q[rest] @ c.T).argmax(axis=1)

    def right(name: str, noise: float | None = None) -> tuple[float, float]:
        more = {} if noise is None else {"noise": noise}
        closer = fit(name, *moments, score="dot", **more)
        asked, stored = closer.apply(q[rest], "query"), closer.apply(c, "candidate")
        codec = fit_codec("rabitq", stored, query_bits=4)
        found = top1(coded_ranking(asked, stored, codec, bias=closer.candidate_bias(c)))
        return float((found == rest).mean()), float((found == exact).mean())

    raw, default = right("none"), right("ridge-shift")
    measured = right("ridge-shift", per_dimension)
    assert measured[0] >= raw[0] + 0.1
    assert measured[0] == pytest.approx(default[0], abs=0.04)
    assert right("center-both")[1] >= raw[1] + 0.1
