"""Approximate indexes: answers and work against indexes written out again; the queries' shift."""

from __future__ import annotations

import heapq
import os
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import OAS

import test_docs
from isthmus.data.moments import Moments
from isthmus.perturb.codecs import recall_of, search_through
from isthmus.robustness.ann import (
    Hnsw,
    IvfFlat,
    StoredRows,
    held_out,
    index_recall,
    mahalanobis,
    nearest_centroid,
    query_shift,
    shrunk_spectrum,
    work_at,
)
from isthmus.search.opening import open_task
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import RetrievalTask
from refusals import refused
from worlds import fitted, two_modalities, unit_rows

faiss = pytest.importorskip("faiss", reason="faiss-cpu comes with the core, not with every suite")

METHODS = ("none", "center-queries", "center-both", "mean-shift", "centering", "biased-shift")


class Identity:
    """A codec that keeps everything."""

    name = "identity"

    def through(self, rows: np.ndarray) -> np.ndarray:
        return rows

    def bytes_per_vector(self, dim: int) -> float:
        return 8.0 * dim


class World:
    """500 rows stored, 125 of their modality and 200 of the other ask."""

    def __init__(self) -> None:
        a, b = two_modalities(825, 24, gap=1.2, seed=6)
        self.task, self.own = held_out(RetrievalTask.of(b[625:], a[:625]))
        self.other, self.stored = self.task.queries, self.task.candidates
        self.closers = {name: fitted(name, b[:300], a[:300]) for name in METHODS}

    def closed(self, name: str) -> Ranking:
        """Queries of the other modality through a closer."""
        of = self.closers[name]
        rows = of.query(self.other), of.candidate(self.stored)
        return Ranking.of(*rows, of.score, of.candidate_bias(self.stored))

    def recall(self, *names: str, **options: Any) -> list[dict[str, Any]]:
        """The table of some closers, or of all."""
        some = {name: self.closers[name] for name in names or METHODS}
        return index_recall(self.task, self.own, some, **options)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def pick(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [r for r in rows if all(r[key] == value for key, value in wanted.items())]


# --- what is stored ---------------------------------------------------------------------------


@given(
    seed=st.integers(0, 1000),
    method=st.sampled_from(METHODS),
    even=st.booleans(),
    score=st.sampled_from(["dot", "cosine", "euclidean"]),
)
def test_stored_rows_rank_as_the_ranking_does(
    seed: int, method: str, even: bool, score: str
) -> None:
    q, x = two_modalities(30, 8, gap=1.0, seed=seed)
    x = x * np.random.default_rng(seed).uniform(0.5, 2, (30, 1))  # unequal norms
    closer = fitted(method, q, x)
    ranking = Ranking.of(q, x, score)
    if method != "none":
        mapped = closer.query(q), closer.candidate(x)
        ranking = Ranking.of(*mapped, closer.score, closer.candidate_bias(x))
    expected = np.vstack([block for _, block in ranking.score_blocks()])
    stored = StoredRows.of(ranking, even=even)
    asked = stored.asked(ranking.queries)
    got = asked.astype(np.float64) @ stored.rows.T.astype(np.float64)
    for line, want in zip(got, expected):  # equal up to a factor and a constant of the query
        slope, constant = np.polyfit(want, line, 1)
        assert slope > 0
        np.testing.assert_allclose(line, slope * want + constant, atol=5e-6)
    if even:
        for rows in (stored.rows, asked):
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_the_bias_fills_the_range_of_the_others(world: World) -> None:
    ranking = world.closed("center-queries")
    stored = StoredRows.of(ranking)
    assert stored.rows.dtype == np.float32
    assert stored.rows.shape == (500, 25)
    assert stored.rows[:, -1].min() == pytest.approx(stored.rows[:, :-1].min(), abs=1e-6)
    assert stored.rows[:, -1].max() == pytest.approx(stored.rows[:, :-1].max(), abs=1e-6)
    assert not stored.asked(ranking.queries, bias=False)[:, -1].any()
    assert StoredRows.of(Ranking.of(world.other, world.stored, "dot")).c is None
    with refused("unequal-dimensions", "3 dimensions, the index holds 24"):
        stored.asked(np.ones((2, 3)))


# --- the indexes, written out again -----------------------------------------------------------


def slow_ivf(
    built: Any, queries: np.ndarray, depth: int, probes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rank centroids, scan the lists of the best, keep the best rows; rows scanned per query."""
    centroids = built.coarse.reconstruct_n(0, built.lists)
    rows = built.stored.rows
    home = (rows @ centroids.T).argmax(axis=1)
    found, scanned = [], []
    for q in built.stored.asked(queries):
        lists = np.argsort(-(centroids @ q))[:probes]
        inside = np.flatnonzero(np.isin(home, lists))
        best = inside[np.argsort(-(rows[inside] @ q))][:depth]
        found.append(np.pad(best, (0, depth - len(best)), constant_values=-1))
        scanned.append(len(inside))
    return np.array(found), np.array(scanned)


@pytest.mark.parametrize("probes", [1, 3, 22])
def test_ivf_is_that_of_the_definition(world: World, probes: int) -> None:
    ranking = world.closed("center-both")
    built = IvfFlat().build(StoredRows.of(ranking))
    assert built.lists == 22
    found = built.search(ranking.queries, 10, probes)
    rows, scanned = slow_ivf(built, ranking.queries, 10, probes)
    np.testing.assert_array_equal(found.rows, rows)
    assert found.distances == pytest.approx(scanned.mean() + 22)
    assert found.lists == probes
    if probes == 22:
        np.testing.assert_array_equal(found.rows, top_k(ranking, 10).rows)


class SlowHnsw:
    """Malkov and Yashunin's search over the links that FAISS built, counting each comparison."""

    def __init__(self, built: Any) -> None:
        self.rows = built.stored.rows.astype(np.float64)
        hnsw = built.index.hnsw
        self.entry, self.top = int(hnsw.entry_point), int(hnsw.max_level)
        links = faiss.vector_to_array(hnsw.neighbors)
        offsets = faiss.vector_to_array(hnsw.offsets)
        self.levels = faiss.vector_to_array(hnsw.levels)
        sizes = [hnsw.nb_neighbors(level) for level in range(self.top + 1)]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        self.links = []
        for i in range(len(self.rows)):
            mine = links[int(offsets[i]) : int(offsets[i + 1])]
            levels = [mine[starts[v] : starts[v + 1]] for v in range(int(self.levels[i]))]
            self.links.append([[int(j) for j in level if j >= 0] for level in levels])

    def search(self, q: np.ndarray, depth: int, effort: int) -> list[int]:
        score = self.rows @ q
        node = self.entry
        for level in range(self.top, 0, -1):
            while True:
                best = max([node, *self.links[node][level]], key=lambda j: score[j])
                if score[best] <= score[node]:
                    break
                node = best
        seen, heap, kept = {node}, [(-score[node], node)], [(score[node], node)]
        while heap:
            far, here = heapq.heappop(heap)
            if len(kept) == effort and -far < kept[0][0]:
                break
            for j in self.links[here][0]:
                if j in seen:
                    continue
                seen.add(j)
                if len(kept) < effort or score[j] > kept[0][0]:
                    heapq.heappush(heap, (-score[j], j))
                    heapq.heappush(kept, (score[j], j))
                    if len(kept) > effort:
                        heapq.heappop(kept)
        self.compared = len(seen)
        return [j for _, j in sorted(kept, reverse=True)][:depth]


@pytest.mark.parametrize("effort", [16, 48])
def test_hnsw_is_that_of_its_authors(world: World, effort: int) -> None:
    ranking = Ranking.of(world.other, world.stored, "dot")
    built = Hnsw(links=6, construction=30).build(StoredRows.of(ranking))
    slow = SlowHnsw(built)
    asked = built.stored.asked(ranking.queries).astype(np.float64)
    lines = [(slow.search(q, 10, effort), slow.compared) for q in asked]
    found = built.search(ranking.queries, 10, effort)
    same = (found.rows == np.array([rows for rows, _ in lines])).all(axis=1).mean()
    assert same > 0.97  # the two may part where scores are closer than float32 tells
    ground = np.mean([compared for _, compared in lines])
    assert ground <= found.distances <= ground + 40  # and the walk down the upper levels
    assert recall_of(found.rows, top_k(ranking, 10).rows).mean() < 1
    assert found.lists is None
    linked = {j for row in slow.links for j in row[0]}
    assert built.unlinked == 500 - len(linked)
    assert IvfFlat().build(built.stored).unlinked is None


def test_construction_and_seed_make_the_graph(world: World) -> None:
    ranking = Ranking.of(world.other, world.stored, "dot")
    exact, stored = top_k(ranking, 10).rows, StoredRows.of(ranking)

    def levels(**options: Any) -> tuple[list[int], float]:
        built = Hnsw(links=4, **options).build(stored)
        found = built.search(ranking.queries, 10, 10).rows
        kept = faiss.vector_to_array(built.index.hnsw.levels).tolist()
        return kept, float(recall_of(found, exact).mean())

    assert levels(seed=1)[0] == levels(seed=1)[0] != levels(seed=2)[0]
    assert levels(construction=100)[1] > levels(construction=1)[1] + 0.02


def test_the_greatest_effort_is_exact_search(world: World) -> None:
    ranking = Ranking.of(world.other, world.stored, "cosine")
    exact = top_k(ranking, 10).rows
    graph = Hnsw().build(StoredRows.of(ranking)).search(ranking.queries, 10, 500)
    assert recall_of(graph.rows, exact).mean() > 0.999
    lists = IvfFlat(lists=7).build(StoredRows.of(ranking)).search(ranking.queries, 10, 900)
    np.testing.assert_array_equal(lists.rows, exact)
    assert lists.distances == 507
    assert lists.lists == 7


def test_indexes_refuse_what_does_not_fit(world: World) -> None:
    stored = StoredRows.of(Ranking.of(world.other, world.stored, "dot"))
    with refused("number-too-small", "1 links"):
        Hnsw(links=1).build(stored)
    with refused("too-many-lists", "lists 501; expected"):
        IvfFlat(lists=501).build(stored)
    built = IvfFlat().build(stored)
    with refused("number-too-small", "effort 0 and depth 10"):
        built.search(world.other, 10, 0)
    with refused("index-of-other-rows", "500 rows", "499 candidates"):
        built.at(4)(Ranking.of(world.other, world.stored[1:], "dot"), 10)


# --- the table --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(world: World) -> list[dict[str, Any]]:
    efforts = {"efSearch": (16, 64), "nprobe": (1, 4, 64)}
    return world.recall(efforts=efforts)


def test_the_table_by_hand(world: World, table: Any) -> None:
    """Recalls as overlaps of sets, of answers that the index gives when built here."""
    for name in ("none", "center-both", "centering"):
        closer = world.closers[name]
        stored = closer.candidate(world.stored)
        built = IvfFlat().build(StoredRows.of(world.closed(name)))
        for who, asked in (
            ("other", closer.query(world.other)),
            ("own", closer.candidate(world.own)),
        ):
            bias = closer.candidate_bias(world.stored) if who == "other" else 0
            exact = np.argsort(-(asked @ stored.T + bias), axis=1)[:, :10]
            raw = world.other if who == "other" else world.own
            plain = np.argsort(-(raw @ world.stored.T), axis=1)[:, :10]
            found = built.search(asked, 10, 4, bias=who == "other").rows
            row = pick(table, closer=name, queries=who, index="ivf-flat", effort=4)[0]
            for key, right in (("recall", exact), ("plain", plain)):
                each = [len(set(f) & set(t)) / 10 for f, t in zip(found.tolist(), right.tolist())]
                assert row[key] == pytest.approx(np.mean(each)), (name, who, key)
            assert row["low"] <= row["recall"] <= row["high"]
            assert row["lists"] == 4
            assert row["compared"] == pytest.approx(row["distances"] / 500)
            assert (row["asked"], row["stored"]) == (len(raw), 500)


def test_the_table_has_every_row_and_its_sums_hold(table: Any) -> None:
    assert len(table) == len(METHODS) * 2 * (1 + 2 + 3)
    for row in table:
        parts = row["loss_codec"] + row["loss_index"] - row["gain_rescoring"]
        assert 1 - row["recall"] == pytest.approx(parts)
        assert row["loss_codec"] == row["gain_rescoring"] == 0
    for row in pick(table, index="exact"):
        assert row["recall"] == 1
        assert row["distances"] == 500
        exact = row["closer"] in ("none", "center-queries", "center-both", "biased-shift")
        assert row["queries"] == "own" or (row["plain"] == 1) == exact
    for row in pick(table, index="ivf-flat", effort=22):  # 64 is cut at the number of lists
        assert row["recall"] == pytest.approx(1, abs=1e-3)  # ties in float32
        assert row["distances"] == 522
    assert not pick(table, effort=64, index="ivf-flat")
    for who in ("other", "own"):
        curve = pick(table, closer="none", queries=who, index="ivf-flat")
        assert np.all(np.diff([row["recall"] for row in curve]) >= 0)
        assert np.all(np.diff([row["distances"] for row in curve]) > 0)


def test_a_codec_s_loss_stands_next_to_the_index_s(world: World) -> None:
    """The stages are those of ``search_through`` with the same index."""
    few = {"indexes": (IvfFlat(),), "efforts": {"nprobe": (3,)}, "codec": "sq4", "rescored": 30}
    rows = world.recall("center-both", **few)
    for row in pick(rows, index="ivf-flat"):
        assert min(row["loss_codec"], row["loss_index"], row["gain_rescoring"]) > 0
        parts = row["loss_codec"] + row["loss_index"] - row["gain_rescoring"]
        assert 1 - row["recall"] == pytest.approx(parts)
    ranking = world.closed("center-both")
    bias = world.closers["center-both"].candidate_bias(world.stored)
    built = Hnsw().build(StoredRows.of(ranking))
    sides = ranking.queries, ranking.candidates
    through = search_through(*sides, Identity(), bias=bias, index=built.at(16)).losses()
    alone = world.recall("center-both", indexes=(Hnsw(),), efforts={"efSearch": (16,)})
    row = pick(alone, queries="other", index="hnsw")[0]
    assert through.index.mean() == pytest.approx(row["loss_index"])
    with refused("rescored-below-k", "top 5"):
        world.recall("center-both", rescored=5)


def test_an_even_store_gives_the_same_answers(world: World) -> None:
    efforts = {"efSearch": (256,), "nprobe": (22,)}
    rows = world.recall("center-queries", efforts=efforts, even=True)
    assert len(rows) == 6
    assert min(row["recall"] for row in rows) > 0.995


def test_the_work_to_a_recall_is_read_off_the_curve() -> None:
    def row(index: str, effort: int, recall: float, distances: float) -> dict[str, Any]:
        about = {"closer": "none", "queries": "other", "index": index, "stored": 200}
        return about | {"effort": effort, "recall": recall, "distances": distances}

    rows = [
        row("a", 2, 0.9, 100),
        row("a", 1, 0.8, 60),
        row("a", 4, 1.0, 140),
        row("b", 1, 0.97, 50),
        row("c", 1, 0.5, 90),
        row("exact", 0, 1, 200),
    ]
    found = {r["index"]: r["distances"] for r in work_at(rows, 0.95)}
    assert found == {"a": pytest.approx(120), "b": 50, "c": None}
    assert work_at(rows, 0.95)[0]["compared"] == pytest.approx(0.6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads() -> None:
    """In processes of their own: FAISS and BLAS on one and on two threads."""
    code = """
import json, numpy as np
from isthmus.robustness.ann import held_out, index_recall, query_shift
from isthmus.closers import fit
from isthmus.search.task import RetrievalTask
from isthmus.data.moments import Moments
rng = np.random.default_rng(0)
a = rng.normal(size=(700, 16)) + 1
b = rng.normal(size=(200, 16)) - 1
task, own = held_out(RetrievalTask.of(b, a), seed=3)
m = Moments.of(b, precise=True), Moments.of(a, precise=True)
closers = {n: fit(n, *m, normalised=False, score="dot") for n in ("none", "center-both")}
print(json.dumps([index_recall(task, own, closers), query_shift(task, own, closers)]))
"""
    outs = []
    for threads in ("1", "2", "2"):
        env = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        )
        outs.append(done.stdout)
    assert len(outs[0]) > 1000
    assert outs[0] == outs[1] == outs[2]


def test_the_split_is_seeded_and_disjoint() -> None:
    rows = np.arange(1, 51.0).reshape(50, 1)
    whole = RetrievalTask.of(rows[:5], rows)

    def kept(share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        task, own = held_out(whole, share=share, seed=seed)
        return task.candidates, own

    stored, own = kept(0.3, 1)
    assert len(own) == 15
    assert sorted([*own[:, 0], *stored[:, 0]]) == rows[:, 0].tolist()
    np.testing.assert_array_equal(own, kept(0.3, 1)[1])
    assert (own != kept(0.3, 2)[1]).any()
    for share in (0.0, 1.0):
        with refused("not-a-share", "of 50 candidates held out"):
            kept(share, 0)


def test_memory_is_rows_and_blocks_never_all_scores(rng: np.random.Generator) -> None:
    """30,000 rows of 32 numbers (3.8 MB) and 2,000 queries, whose scores would be 240 MB."""
    rows = rng.normal(size=(32_000, 32)).astype(np.float32)
    closers = {"none": fitted("none", rows[:100], rows[100:200])}
    efforts = {"nprobe": (2,)}
    for stored in (400, 30_000):  # the first loads what is loaded once
        task = RetrievalTask.of(rows[30_000:], rows[:stored])
        tracemalloc.start()
        index_recall(task, rows[:50], closers, indexes=(IvfFlat(lists=20),), efforts=efforts)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 90e6


def test_the_page_s_example_runs(files_wide: Any, capsys: Any) -> None:
    assert test_docs.run_blocks("ann")[1] == ["ann"]
    assert "hnsw" in capsys.readouterr().out


def test_every_column_is_documented(table: Any, world: World) -> None:
    page = test_docs.page("ann")
    columns = {*table[0], *query_shift(world.task, world.own, {"none": world.closers["none"]})[0]}
    assert [name for name in sorted(columns) if f"`{name}`" not in page] == []


# --- out of distribution ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [12, 300])
def test_mahalanobis_is_that_of_scikit_learn(rng: np.random.Generator, count: int) -> None:
    """Fewer rows than dimensions, and many more."""
    scale = np.linspace(0.2, 2, 20)
    x, y = rng.normal(size=(count, 20)) * scale + 3, rng.normal(size=(40, 20))
    model = OAS().fit(x)
    moments = Moments.of(x, precise=True)
    assert shrunk_spectrum(moments)[2] == pytest.approx(model.shrinkage_, rel=1e-9)
    np.testing.assert_allclose(mahalanobis(y, moments), np.sqrt(model.mahalanobis(y)), rtol=1e-8)
    assert mahalanobis(y[:0], moments).shape == (0,)


def test_mahalanobis_refuses_what_has_no_fit() -> None:
    with refused("no-gaussian-fit", "variance 0"):
        mahalanobis(np.ones((2, 3)), Moments.of(np.ones((5, 3)), precise=True))
    with refused("unequal-dimensions", "(2, 4)", "(n, 3)"):
        mahalanobis(np.ones((2, 4)), Moments.of(np.eye(3), precise=True))


def test_nearest_centroid_is_that_of_the_centroids(rng: np.random.Generator) -> None:
    """One centroid is the mean, as many as rows are the rows; in between, they are means."""
    stored, asked = rng.normal(size=(120, 2)), rng.normal(size=(30, 2)) * 5

    def far(lists: int) -> np.ndarray:
        return nearest_centroid({"x": asked}, stored, lists=lists)["x"]

    np.testing.assert_allclose(
        far(1), np.linalg.norm(asked - stored.mean(axis=0), axis=1), atol=1e-5
    )
    each = np.linalg.norm(asked[:, None] - stored[None], axis=2).min(axis=1)
    np.testing.assert_allclose(far(120), each, atol=1e-5)
    heaps = np.repeat([[0.0, 0.0], [80.0, 0.0]], 40, axis=0) + stored[:80] * 0.1
    means = heaps.reshape(2, 40, 2).mean(axis=1)
    np.testing.assert_allclose(
        nearest_centroid({"x": asked}, heaps, lists=2)["x"],
        np.linalg.norm(asked[:, None] - means[None], axis=2).min(axis=1),
        atol=1e-4,
    )
    with refused("too-many-lists", "centroids 121; expected"):
        nearest_centroid({"x": asked}, stored, lists=121)


def test_the_shift_by_hand(world: World) -> None:
    rows = query_shift(world.task, world.own, world.closers)
    for name in ("none", "centering"):
        closer = world.closers[name]
        model = OAS().fit(closer.candidate(world.stored))
        far = {
            "other": np.sqrt(model.mahalanobis(closer.query(world.other))),
            "own": np.sqrt(model.mahalanobis(closer.candidate(world.own))),
        }
        limit = np.quantile(far["own"], 0.99)
        for who, values in far.items():
            row = pick(rows, closer=name, queries=who)[0]
            assert row["mahalanobis"] == pytest.approx(np.median(values))
            assert row["beyond"] == pytest.approx((values > limit).mean())
            ratio = np.median(values) / np.median(far["own"])
            assert row["mahalanobis_ratio"] == pytest.approx(ratio)
            assert row["shrinkage"] == pytest.approx(model.shrinkage_)
    plain, closed = (pick(rows, closer=n, queries="other")[0] for n in ("none", "centering"))
    assert plain["beyond"] > 0.9
    assert closed["beyond"] < 0.5
    assert closed["centroid_ratio"] < plain["centroid_ratio"]
    with refused("not-a-share", "quantile 1.0"):
        query_shift(world.task, world.own, world.closers, quantile=1.0)


# --- real rows --------------------------------------------------------------------------------


@pytest.mark.real_data
def test_figures_of_clip_on_coco(coco: np.ndarray) -> None:
    """400 images stored, captions and 100 other images ask; closers fitted on half the captions."""
    images, captions = map(unit_rows, coco)
    task, own = held_out(open_task(captions[1::2], images, paired=False))
    closers = {n: fitted(n, captions[::2], task.candidates) for n in ("none", "center-both")}
    table = index_recall(task, own, closers, efforts={"efSearch": (16,), "nprobe": (4,)})

    def recall(closer: str, who: str, index: str) -> float:
        return float(pick(table, closer=closer, queries=who, index=index)[0]["recall"])

    for index in ("hnsw", "ivf-flat"):  # captions fare worse than images among images
        assert recall("none", "other", index) < recall("none", "own", index) - 0.02
    assert recall("none", "other", "hnsw") == pytest.approx(0.94, abs=0.02)
    assert recall("center-both", "other", "hnsw") > recall("none", "other", "hnsw") + 0.01
    shift = query_shift(task, own, closers)
    plain, closed = (pick(shift, closer=n, queries="other")[0] for n in closers)
    assert plain["beyond"] == 1.0  # every caption lies farther out than 99 in 100 images
    assert plain["mahalanobis_ratio"] == pytest.approx(2.85, abs=0.03)
    assert closed["mahalanobis_ratio"] == pytest.approx(1.55, abs=0.03)


def test_recall_of_an_index_counts_items() -> None:
    a, b = two_modalities(120, 24, seed=9)
    rng = np.random.default_rng(0)
    order = rng.permutation(360)
    rows = unit_rows(np.repeat(a, 3, 0) + 0.02 * rng.normal(size=(360, 24)))[order]
    task = open_task(b[:60], rows, paired=False, score="dot", candidate_items=order // 3)
    closers = {"none": fitted("none", b, rows, score="dot")}
    exact, *found = pick(
        index_recall(
            task, a[60:], closers, indexes=(IvfFlat(lists=12),), efforts={"nprobe": (1, 3, 12)}, k=5
        ),
        queries="other",
    )
    assert exact["recall"] == exact["plain"] == found[-1]["recall"] == found[-1]["plain"] == 1
    assert found[0]["recall"] < found[1]["recall"] < 1
    by_row = index_recall(
        open_task(b[:60], rows, paired=False, score="dot"),
        a[60:],
        closers,
        indexes=(IvfFlat(lists=12),),
        efforts={"nprobe": (1,)},
        k=5,
    )
    assert pick(by_row, queries="other")[1]["recall"] != found[0]["recall"]


def test_candidates_of_one_item_are_held_out_together() -> None:
    a, b = two_modalities(40, 8)
    task = open_task(
        b,
        np.repeat(a, 3, 0) + 0.001 * np.arange(3).repeat(8).reshape(3, 8)[np.arange(120) % 3],
        paired=False,
        candidate_items=np.arange(120) // 3,
    )
    stored, own = held_out(task, share=0.25)
    assert (len(stored.candidates), len(own)) == (90, 30)
    assert (
        np.bincount(np.unique(stored.candidate_items, return_inverse=True)[1]).tolist() == [3] * 30
    )
