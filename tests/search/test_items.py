"""Rows that are one item: against slow references by items, and against the same rows once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.robustness import Perturbation, closed_searches, measure_perturbation
from isthmus.search.items import (
    ItemColumns,
    best_items,
    both_items,
    exact_items,
    items_among,
    named_items,
    rows_for,
)
from isthmus.search.opening import item_notes, open_task
from isthmus.search.outcomes import outcome_of
from isthmus.search.relevance import relevance_by_judgements
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves import consistency_curve
from isthmus.theory.prediction import keep_probabilities, predict
from isthmus.theory.radii import candidate_radius, joint_radius, query_angle, query_radius
from refusals import refused
from worlds import fitted, two_modalities, unit_rows

CROPS = 3


@pytest.fixture(scope="module")
def crops():
    """Texts (40, 16), three near-equal crops of each picture (120, 16), and the crops' items."""
    texts, pictures = two_modalities(40, 16, seed=3)
    rng = np.random.default_rng(0)
    rows = unit_rows(np.repeat(pictures, CROPS, 0) + 0.02 * rng.normal(size=(120, 16)))
    order = rng.permutation(120)
    return texts, rows[order], named_items((np.arange(120) // CROPS)[order], 120, "items")


def best_by_item(scores: np.ndarray, items: np.ndarray) -> list[dict[int, float]]:
    """For each query a dict of item -> its best row's score."""
    found = []
    for line in scores:
        best: dict[int, float] = {}
        for item, score in zip(items.tolist(), line.tolist(), strict=True):
            best[item] = max(best.get(item, -np.inf), score)
        found.append(best)
    return found


def test_rows_with_the_same_bytes_are_one_item() -> None:
    rows = np.array([[1.0, 0.0], [2.0, 1.0], [1.0, -0.0], [2.0, 1.0], [1.0, 2.0]], np.float32)
    assert exact_items(rows).tolist() == [0, 1, 0, 1, 4]
    assert exact_items(np.zeros((0, 3))).tolist() == []


@pytest.mark.parametrize("names", [[7, 2, 7, 2], ["b", "a", "b", "a"], ["x", 1, "x", 1]])
def test_rows_with_the_same_name_are_one_item(names) -> None:
    given = np.array(names, dtype=object)
    assert named_items(given, 4, "items").tolist() == [0, 1, 0, 1]


def test_names_that_do_not_fit_are_refused() -> None:
    a, b = two_modalities(10, 4)
    with refused("unequal-lengths", "9 candidate_items for 10 rows"):
        open_task(a, b, candidate_items=np.arange(9))
    with refused("not-names", "query_items", "float64"):
        open_task(a, b, query_items=np.arange(10.0))
    with refused("null-value", "query_items: row 3"):
        open_task(a, b, query_items=[*"abc", None, *"defghi"])


def test_items_of_some_rows_are_numbered_anew() -> None:
    items = np.array([0, 0, 2, 2, 0, 5])
    assert items_among(items, np.array([1, 3, 4, 2])).tolist() == [0, 1, 0, 1]
    assert items_among(items, np.array([0, 3, 5])) is None
    assert both_items(np.array([0, 0, 0, 3]), np.array([0, 1, 0, 3])).tolist() == [0, 1, 0, 3]


def test_the_best_items_are_those_of_a_dict(crops) -> None:
    texts, rows, items = crops
    ranked = top_k(Ranking.of(texts, rows, "dot"), rows_for(items, 5)).rows
    slow = [
        sorted(best, key=best.get, reverse=True)[:5] for best in best_by_item(texts @ rows.T, items)
    ]
    assert best_items(ranked, items, 5).tolist() == slow
    assert best_items(np.array([[0, 1]]), np.array([0, 0]), 2).tolist() == [[0, -1]]


@pytest.mark.parametrize(("suffix", "names"), [(".csv", 1), (".txt", 0), (".npy", 0), (".pq", 0)])
def test_item_names_are_read_from_files(tmp_path: Path, suffix: str, names: int) -> None:
    words, path = ["dog", "cat", "dog", "1"], tmp_path / f"items{suffix}"
    if suffix == ".npy":
        np.save(path, np.array(words))
    elif suffix == ".pq":
        pq.write_table(pa.table({"item": words}), path)
    else:
        path.write_text("\n".join(["item"] * names + words) + "\n")
    assert named_items(path, 4, "items").tolist() == [0, 1, 0, 3]


def test_an_outcome_places_items(crops) -> None:
    texts, rows, items = crops
    pairs = np.column_stack([np.arange(40), np.arange(40) * 3])
    relevance = relevance_by_judgements(pairs, 40, 120).shared(None, items)
    outcome = outcome_of(Ranking.of(texts, rows, "dot"), relevance, items)
    for i, best in enumerate(best_by_item(texts @ rows.T, items)):
        ranked = sorted(best, key=best.get, reverse=True)
        assert outcome.top1[i] == ranked[0]
        assert outcome.rank[i] == ranked.index(items[3 * i])
    assert (outcome.ties == 0).all()


def test_what_is_right_for_one_row_of_an_item_is_right_for_all() -> None:
    relevance = relevance_by_judgements([[0, 1], [2, 3]], 4, 5)
    shared = relevance.shared(np.array([0, 0, 2, 3]), np.array([0, 1, 1, 3, 3]))
    assert shared.pairs.tolist() == [[0, 1], [0, 2], [1, 1], [1, 2], [2, 3], [2, 4]]
    assert relevance.shared(None, None) is relevance


@pytest.mark.parametrize("score", ["cosine", "dot", "euclidean"])
def test_repeated_rows_are_the_rows_once(score: str) -> None:
    a, b = two_modalities(60, 8, seed=1)
    pictures = a[:20] * 1.5
    repeated = open_task(np.repeat(pictures, 3, 0), b, score=score)
    pairs = np.column_stack([np.arange(60) // 3, np.arange(60)])
    once = open_task(pictures, b, relevance=pairs, score=score)
    for one, other in ((repeated, once), (repeated.reversed(), once.reversed())):
        np.testing.assert_array_equal(one.queries, other.queries)
        np.testing.assert_array_equal(one.candidates, other.candidates)
        np.testing.assert_array_equal(one.relevance.pairs, other.relevance.pairs)
    assert repeated.query_input.rows.tolist() == list(range(0, 60, 3))
    assert [note.text for note in item_notes(repeated)] == [
        "queries: 40 of 60 rows repeat an earlier row exactly; they count as one item"
    ]
    assert len(open_task(np.repeat(pictures, 3, 0), b, distinct=False).queries) == 60


def test_what_is_said_of_names_and_of_equal_rows_that_are_named_apart() -> None:
    a, b = two_modalities(12, 6)
    twice = np.vstack([a, a[:4]])
    names = [*range(12), 0, 1, 12, 13]  # two of the four are the same item, two are not
    task = open_task(twice, b, candidate_items=np.arange(12) // 2, query_items=names)
    assert [note.text for note in item_notes(task)] == [
        "queries: 2 of 16 rows repeat an earlier row exactly; they count as one item",
        "queries: 2 of 16 rows repeat an earlier row exactly and are named as other items; they "
        "stay apart",
        "candidates: 12 rows are 6 items, as they are named",
    ]
    assert len(task.queries) == 14
    assert len(open_task(twice, b, query_items=np.arange(16)).queries) == 16  # each its own name


def test_rows_that_differ_as_read_are_not_one_item() -> None:
    a, b = two_modalities(10, 6)
    assert len(open_task(np.vstack([a, 2 * a]), np.vstack([b, b])).queries) == 20
    assert len(open_task(np.vstack([a, 2 * a]), np.vstack([b, b])).candidates) == 10


def test_repeated_rows_that_are_named_apart_stay() -> None:
    a, b = two_modalities(10, 6)
    both = np.vstack([b, b])
    apart = open_task(np.vstack([a, a]), both, candidate_items=np.arange(20))
    assert (len(apart.queries), len(apart.candidates)) == (10, 20)
    halves = np.concatenate([np.zeros(10, int), np.ones(10, int)])
    named = open_task(np.vstack([a, a]), both, candidate_items=halves)
    assert len(named.candidates) == 20
    assert named.candidate_items.tolist() == [0] * 10 + [10] * 10


def test_rows_in_memory_are_made_distinct_too() -> None:
    a, b = two_modalities(8, 4)
    task = RetrievalTask.of(np.vstack([a, a]), np.vstack([b, b[:3]])).distinct()
    assert (len(task.queries), len(task.candidates)) == (8, 8)
    whole = RetrievalTask.of(a, b)
    assert whole.distinct() is whole
    lists = np.array([[0, 8], [1, 9]])
    choice = RetrievalTask.of(a[:2], np.vstack([b, b[:3]]), lists=lists).distinct()
    assert len(choice.candidates) == 11


def test_queries_of_one_item_are_in_one_part_of_a_split(crops) -> None:
    texts, rows, items = crops
    task = open_task(rows, texts, paired=False, query_items=items)
    train, test = task.split(0.5, np.random.default_rng(0))
    assert sorted([*train, *test]) == list(range(120))
    assert len(train) == 60
    assert not set(items[train]) & set(items[test])


def test_answers_are_items_through_every_perturbation(crops) -> None:
    texts, rows, items = crops
    pairs = np.column_stack([items % 40, np.arange(120)])
    named = open_task(texts, rows, relevance=pairs, candidate_items=items)
    named = named.calibrated(np.random.default_rng(0))
    plain = RetrievalTask.of(texts, rows).calibrated(np.random.default_rng(0))
    closers = [fitted("none", texts, rows, score="dot"), fitted("center-queries", texts, rows)]
    for perturbation in (
        Perturbation("gaussian", "candidates", 0.1, "total"),
        Perturbation("truncation", "both", 8, "total"),
        Perturbation("sign", "candidates", 1, "own"),
        Perturbation("sign", "candidates", 1, "own", rescored=7),
    ):
        by_item, by_row = (
            measure_perturbation(
                task, closed_searches(task, closers), perturbation, trials=4, seed=1
            )
            for task in (named, plain)
        )
        for one, other in zip(by_item, by_row, strict=True):
            np.testing.assert_array_equal(one.answers, items[other.answers])
            np.testing.assert_array_equal(one.search.clean_top1, items[other.search.clean_top1])
            assert one.kept.mean() > other.kept.mean()


def test_overlap_counts_items(crops) -> None:
    texts, rows, items = crops
    task = RetrievalTask.of(texts, rows, candidate_items=items)
    search = closed_searches(task, [fitted("none", texts, rows, score="dot")])[0]
    moved = unit_rows(rows + 0.05 * np.random.default_rng(1).normal(size=rows.shape))
    tops = [
        [set(sorted(best, key=best.get, reverse=True)[:10]) for best in best_by_item(s, items)]
        for s in (texts @ rows.T, texts @ moved.T)
    ]
    slow = np.mean([len(x & y) / 10 for x, y in zip(*tops, strict=True)])
    assert search.overlap(Ranking.of(texts, moved, "dot")) == pytest.approx(slow)
    few = RetrievalTask.of(texts, rows, candidate_items=named_items(np.arange(120) % 19, 120, ""))
    search = closed_searches(few, [fitted("none", texts, rows, score="dot")])[0]
    assert np.isnan(search.overlap(Ranking.of(texts, moved, "dot")))


def without_mates(ranking: Ranking, items: np.ndarray) -> list[Ranking]:
    """One search per query, without the other rows of its answer's item."""
    scores = next(ranking.score_blocks(len(ranking.queries)))[1]
    found = []
    for i, first in enumerate(scores.argmax(axis=1)):
        kept = np.flatnonzero((items != items[first]) | (np.arange(len(items)) == first))
        bias = None if ranking.bias is None else ranking.bias[kept]
        found.append(
            Ranking.of(ranking.queries[i : i + 1], ranking.candidates[kept], ranking.score, bias)
        )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_radii_and_chances_have_no_rival_in_the_answers_item(crops, score, biased) -> None:
    texts, rows, items = crops
    texts = texts[::4]
    bias = 0.02 * np.random.default_rng(2).normal(size=120) if biased else None
    ranking = Ranking.of(texts, rows, score, bias)
    single = without_mates(ranking, items)
    measures = [
        lambda r, **o: query_radius(r, **o),
        lambda r, **o: query_radius(r, "linf", **o),
        lambda r, **o: query_angle(r, **o),
        lambda r, **o: candidate_radius(r, **o),
        lambda r, **o: candidate_radius(r, "linf", **o),
        lambda r, **o: keep_probabilities(r, 0.05, **o).value,
        lambda r, **o: keep_probabilities(r, 0.05, noisy_dims=9, **o).value,
        lambda r, **o: consistency_curve(r, [0.01, 0.05], **o).kept[1],
    ]
    if not (biased and score == "euclidean"):
        measures += [lambda r, **o: joint_radius(r, 0.02, **o).radius]
        measures += [lambda r, **o: joint_radius(r, 0.0, **o).radius]
    for number, measure in enumerate(measures):
        slow = np.concatenate([measure(one) for one in single])
        fast = measure(ranking, items=items)
        np.testing.assert_allclose(fast, slow, rtol=1e-6, atol=2e-5, err_msg=str(number))
        assert (fast >= measure(ranking) - 1e-9).all()
        assert (fast > measure(ranking) + 1e-4).any()
    near = keep_probabilities(ranking, query_total=0.05, items=items)
    slow = np.concatenate([keep_probabilities(r, query_total=0.05).value for r in single])
    np.testing.assert_allclose(near.value, slow, atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_curves_of_bins_have_no_rival_in_the_answers_item(score) -> None:
    texts, pictures = two_modalities(30, 96, seed=4)
    rng = np.random.default_rng(0)
    rows = unit_rows(np.repeat(pictures, 3, 0) + 0.02 * rng.normal(size=(90, 96)))
    items = np.arange(90) // 3 * 3
    ranking = Ranking.of(texts, rows, score)
    slow = [consistency_curve(r, [0.02, 0.1]).kept[:, 0] for r in without_mates(ranking, items)]
    fast = consistency_curve(ranking, [0.02, 0.1], items=items).kept
    np.testing.assert_allclose(fast.T, slow, atol=1e-3)
    assert (fast > consistency_curve(ranking, [0.02, 0.1]).kept + 0.1).any()


def test_one_item_has_no_rival() -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(6, 4)))
    ranking, one = Ranking.of(rows, rows, "euclidean"), np.zeros(6, np.int64)
    assert keep_probabilities(ranking, 0.1, items=one) is None
    assert consistency_curve(ranking, [0.1], items=one) is None
    assert np.isinf(candidate_radius(ranking, "linf", items=one)).all()
    assert np.isinf(query_radius(ranking, items=one)).all()


def test_a_prediction_takes_repeated_candidates_once_and_keeps_all_queries() -> None:
    a, b = two_modalities(30, 8, seed=6)
    twice = np.vstack([a, a])
    once = predict(twice, b, noise=0.1)
    repeated = predict(twice, np.vstack([b, b[:7]]), noise=0.1)
    assert repeated.keep.shape == (60,)
    np.testing.assert_array_equal(repeated.keep, once.keep)
    rng = np.random.default_rng(0)
    crops = np.repeat(b, 2, 0) + 0.01 * rng.normal(size=(60, 8))
    named = predict(twice, crops, noise=0.1, candidate_items=np.arange(60) // 2)
    assert named.consistency > predict(twice, crops, noise=0.1).consistency + 0.05


def test_columns_are_items_in_the_order_of_their_lowest_rows() -> None:
    columns = ItemColumns.of(np.array([0, 1, 0, 3, 1]))
    assert columns.rows.tolist() == [0, 1, 3]
    assert columns.best(np.array([[5, 1, 7, 2, 9]])).tolist() == [[7, 9, 2]]


def test_repeats_are_known_among_some_rows() -> None:
    a, b = two_modalities(10, 6)
    task = open_task(np.vstack([a, a]), np.vstack([b, b]), distinct=False)
    some = task.restricted(np.array([3, 12, 13, 2, 7])).distinct()
    assert some.query_input is not None
    assert some.query_input.rows.tolist() == [3, 12, 7]
    assert some.relevance.pairs.tolist() == [[0, 3], [1, 2], [2, 7]]
