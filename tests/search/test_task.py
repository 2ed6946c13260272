"""A retrieval task: what is right goes along, and every sample and split is drawn as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.core.seeds import stream
from isthmus.errors import OptionError, ShapeError
from isthmus.search.opening import open_task
from isthmus.search.relevance import no_relevance, relevance_of
from isthmus.search.shared import Product
from isthmus.search.task import RetrievalTask
from refusals import refused
from worlds import two_modalities, unit_rows


@pytest.fixture(scope="module")
def task() -> RetrievalTask:
    return open_task(*two_modalities(40, 6, seed=1), direction="a_to_b", summarised=True)


def test_the_split_is_disjoint_whole_and_seeded() -> None:
    for n, share in ((4, 0.5), (101, 0.3), (50, 0.9)):
        task = RetrievalTask.of(np.ones((n, 1)), np.ones((n, 1)))
        train, test = task.split(share, stream("recommend.split", 3))
        assert len(np.intersect1d(train, test)) == 0
        assert sorted([*train, *test]) == list(range(n))
        assert len(train) == round(n * share)
        other, _ = task.split(share, stream("recommend.split", 5))
        assert n < 10 or not np.array_equal(train, other)
    both = task.split(0, stream("recommend.split", 3))
    assert all(part.tolist() == list(range(50)) for part in both)
    with refused("too-few-queries", "leaves 0 to fit on and 50", kind=ShapeError):
        task.split(0.001, stream("recommend.split", 0))


def test_scored_queries_are_a_sample_of_those_that_nothing_was_fitted_on(
    task: RetrievalTask,
) -> None:
    """The draws by hand, in their order: split, sample, codec rows."""
    scored, moments = task.scored(0.5, 12, stream("audit.split", 4))
    rng = stream("audit.split", 4)
    order = rng.permutation(40)
    rest = np.sort(order[20:])
    kept = np.sort(rng.permutation(rest)[:12])
    np.testing.assert_array_equal(scored.queries, task.queries[kept])
    np.testing.assert_array_equal(scored.relevance.pairs[:, 1], kept)
    np.testing.assert_allclose(moments.mean, task.queries[np.sort(order[:20])].mean(axis=0))
    for found, count in ((scored.candidate_calibration, 40), (scored.query_calibration, 12)):
        np.testing.assert_array_equal(found, np.sort(rng.permutation(count)[: count // 2]))
    whole, of_all = task.scored(0, 100, stream("audit.split", 4))
    np.testing.assert_array_equal(whole.queries, task.queries)
    assert of_all is task.query_moments


def test_a_task_turned_round_is_the_same_task(task: RetrievalTask) -> None:
    back = task.reversed()
    assert back.direction == "b_to_a"
    assert back.queries is task.candidates
    assert back.query_moments.mean.tolist() == task.candidate_moments.mean.tolist()
    assert back.reversed().direction == "a_to_b"
    np.testing.assert_array_equal(back.today("dot"), (back.queries @ task.queries.T).argmax(axis=1))
    with refused("one-direction", kind=OptionError):
        RetrievalTask.of(np.eye(3), np.eye(3), lists=np.zeros((3, 2), int)).reversed()


def test_rows_in_memory_say_whether_they_are_normalised() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 4))
    assert not RetrievalTask.of(rows, rows).normalised
    made = RetrievalTask.of(unit_rows(rows), unit_rows(rows))
    assert made.normalised
    assert made.query_moments.normalised
    assert not made.relevance.judged.any()
    opened = open_task(unit_rows(rows) * (1 + 1e-7), unit_rows(rows), score="dot")
    assert not opened.normalised
    assert open_task(unit_rows(rows), unit_rows(rows), score="dot", unit_tolerance=1e-5).normalised


def test_a_sample_keeps_what_is_right_together() -> None:
    a, b = two_modalities(60, 6, seed=2)
    kept = open_task(a, b, max_rows=20, seed=3)
    assert kept.paired
    assert kept.query_input is not None
    np.testing.assert_allclose(kept.queries, a[kept.query_input.rows], atol=1e-12)
    labels = np.arange(60) % 45
    few = open_task(a, b[:45], labels=labels, max_rows=30)
    assert few.relevance.judged.all()
    assert (len(few.queries), len(few.candidates)) == (30, 30)


def test_a_sample_takes_its_product_from_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, candidates = two_modalities(40, 6, seed=1)
    whole = RetrievalTask.of(queries, candidates)
    some = whole.sample(9, stream("compare.sample", 2), multiplied=True)
    assert whole.product.whole is not None

    def refuse(*_: object) -> None:
        raise AssertionError("multiplied again")

    monkeypatch.setattr(Product, "block", refuse)
    monkeypatch.setattr("isthmus.search.shared.over_blocks", refuse)
    expected = some.queries.astype(np.float32) @ candidates.astype(np.float32).T
    assert some.product.whole is not None
    np.testing.assert_allclose(some.product.whole, expected, atol=1e-6)


def test_a_bad_row_of_a_sample_is_named_by_its_number_in_the_input() -> None:
    a, b = two_modalities(60, 6, seed=2)
    kept = open_task(a, b, max_rows=20, seed=3).query_input
    assert kept is not None
    a[kept.rows[4], 1] = np.nan
    with refused("not-finite", f"1 of 20 rows (row {kept.rows[4]})"):
        open_task(a, b, max_rows=20, seed=3)


def test_what_is_right_is_said_once(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.array([1, 0, 1]))
    assert relevance_of(3, 2, labels=tmp_path / "labels.npy").pairs.tolist() == [
        [0, 1],
        [1, 0],
        [2, 1],
    ]
    assert relevance_of(3, 3).is_paired
    assert not relevance_of(3, 3, paired=False).judged.any()
    for options in (
        {"labels": [0, 1, 1], "relevance": [[0, 0]]},
        {"labels": [0, 1, 1], "paired": True},
    ):
        with refused("relevance-twice"):
            relevance_of(3, 3, **options)
    with refused("relevance-of-other-rows", "3 queries"):
        relevance_of(4, 3, relevance=no_relevance(3, 3))
