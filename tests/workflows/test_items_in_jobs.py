"""Rows that are one item, through every job: the same figures as the rows once, and by item."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import commands
from isthmus.deploy.comparison import compare
from isthmus.deploy.thresholds import calibrate
from isthmus.deploy.thresholds.nulls import same_side
from isthmus.robustness.stress_runs import stress
from isthmus.search.opening import open_task
from isthmus.search.relevance import no_relevance
from isthmus.workflows.audits import audit
from isthmus.workflows.recommendation import recommend
from isthmus.workflows.recommendation.parts import Part
from refusals import refused
from worlds import fitted, unit_rows

SEEN = "200 of 250 rows repeat an earlier row exactly; they count as one item"
RIGHT = np.column_stack([np.arange(250) // 5, np.arange(250)])


@pytest.fixture(scope="module")
def pictures():
    """50 pictures, and five captions of each (250), in 24 dimensions."""
    rng = np.random.default_rng(0)
    content = rng.normal(size=(50, 24))
    axis = 0.5 * rng.normal(size=24)
    captions = np.repeat(content, 5, 0) + 0.4 * rng.normal(size=(250, 24)) - axis
    return unit_rows(content + axis).astype(np.float32), unit_rows(captions).astype(np.float32)


@pytest.fixture(scope="module")
def crops(pictures):
    """Five near-equal crops of each picture (250), shuffled, their pictures and captions."""
    rng = np.random.default_rng(1)
    order = rng.permutation(250)
    rows = pictures[0][order // 5] + 0.01 * rng.normal(size=(250, 24))
    return rows.astype(np.float32), order // 5, pictures[1][order]


@pytest.mark.usefixtures("no_verdict")
def test_an_audit_of_repeated_pictures_is_that_of_the_pictures_once(pictures) -> None:
    once, captions = pictures
    options = {"trials": 2, "levels": (0.02,)}
    repeated = audit(np.repeat(once, 5, 0), captions, **options).report
    expected = audit(once, captions, relevance=RIGHT, **options).report
    for one, other in zip(repeated["directions"], expected["directions"], strict=True):
        assert one["clean"] == other["clean"]
        assert one["queries"], one["candidates"] == (other["queries"], other["candidates"])
        for row, same in zip(one["stress"], other["stress"], strict=True):
            assert row["consistency"] == pytest.approx(same["consistency"], abs=0.03)
            if row["closer"] == "none":
                assert row == same
        assert one["radius"]["query_l2"]["before"] == other["radius"]["query_l2"]["before"]
    assert [w["text"] for w in repeated["warnings"]][:1] == [f"image: {SEEN}"]
    assert repeated["inputs"]["paired"]
    assert repeated["gap"]["matched_cosine"] is not None
    assert repeated["directions"][1]["clean"]["recall@1"] > 0.9


def test_a_stress_run_says_what_it_did_with_repeated_rows(pictures) -> None:
    once, captions = pictures
    options = {"closers": ["center-queries"], "levels": [0.02], "trials": 2}
    repeated = stress(captions, np.repeat(once, 5, 0), **options)
    expected = stress(captions, once, relevance=RIGHT[:, ::-1], **options)
    assert repeated.notes == (f"candidates: {SEEN}",)
    plain = [[r for r in t.rows() if r["closer"] == "none"] for t in (repeated, expected)]
    assert plain[0] == plain[1]


def test_advice_by_item_has_the_accuracy_of_items(pictures, crops) -> None:
    rows, of, captions = crops
    options = {"perturb": "sq8", "closers": "center-queries"}
    named = recommend(captions, rows, candidate_items=of, **options)
    by_row = recommend(captions, rows, **options)
    assert "candidates: 250 rows are 50 items, as they are named" in named.notes
    assert named.plain.test.clean_accuracy > 0.85 > by_row.plain.test.clean_accuracy
    assert named.plain.test.flips <= by_row.plain.test.flips


def test_answers_that_tie_today_are_told_by_the_items_best_rows() -> None:
    candidates = np.array([[0.5, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.2]])
    queries = np.array([[1.0, 1.0], [1.0, 0.9]])
    task = open_task(queries, candidates, score="dot", paired=False, candidate_items=[0, 1, 0, 1])
    part = Part.of(task, np.arange(2), (), trials=1, seed=0)
    assert part.today.tolist() == [1, 0]
    assert part.same(np.array([0, 1])).tolist() == [True, False]


def test_a_calibration_takes_repeated_rows_once(pictures) -> None:
    once, captions = pictures
    repeated = calibrate(np.repeat(once, 5, 0), captions, false_match_rate=0.05)
    expected = calibrate(once, captions, relevance=RIGHT, false_match_rate=0.05)
    first, *rest = repeated.figures["warnings"]
    assert (first["code"], first["text"]) == ("duplicates", f"queries: {SEEN}")
    assert rest == expected.figures["warnings"]
    assert repeated.thresholds == expected.thresholds
    assert repeated.figures["match"] == expected.figures["match"]


def test_a_twin_of_a_match_is_no_non_match(pictures, crops) -> None:
    rows, of, captions = crops
    found = calibrate(captions, rows, candidate_items=of, false_match_rate=0.05)
    plain = calibrate(captions, rows, false_match_rate=0.05)
    assert found.figures["match"]["count"] == 250 * 5
    assert found.thresholds["search"] < plain.thresholds["search"]
    kinds = np.where(of < 25, "few", "many")
    by_item = calibrate(rows, captions, query_items=of, kinds=kinds, false_match_rate=0.2)
    assert by_item.figures["fit_queries"] % 5 == 0  # no item is cut in two
    assert 115 <= by_item.figures["fit_queries"] <= 125
    task = open_task(rows, captions, paired=False, query_items=of)
    null = same_side(task.queries, no_relevance(250, 250), "cosine", items=task.query_items)
    assert len(null) == 250 * 249 // 2 - 50 * 10


def test_versions_of_repeated_rows_are_compared_by_item(pictures) -> None:
    once, captions = pictures
    rng = np.random.default_rng(3)
    old = np.repeat(once, 5, 0)
    new = (old + 1e-3 * rng.normal(size=old.shape)).astype(np.float32)
    options = {"after_candidates": new, "score": "dot", "paired": True, "k": 7}
    found = compare(captions, captions, old, **options)
    items = np.arange(250) // 5
    tops = []
    for rows in (old, new):
        scores = captions.astype(float) @ rows.astype(float).T
        best = np.stack([scores[:, items == i].max(axis=1) for i in range(50)], axis=1)
        tops.append(np.argsort(-best, axis=1)[:, :7])
    part = found.result["searches"]["old-new"]
    assert part["flips"] + part["near_ties"] == (tops[0][:, 0] != tops[1][:, 0]).sum() < 5
    shared = [len(set(x) & set(y)) / 7 for x, y in zip(*tops, strict=True)]
    assert part["overlap_at_k"] == pytest.approx(np.mean(shared))
    assert part["certified"]["share"] > 0.3
    assert part["certified"]["flips"] == 0
    correct = tops[0][:, 0] == items
    assert found.result["accuracy"]["old-old"]["accuracy"] == pytest.approx(correct.mean())
    assert [w["code"] for w in found.result["warnings"]] == ["duplicates"]
    assert found.result["warnings"][0]["text"] == f"candidates: {SEEN}"
    apart = compare(captions, captions, old, candidate_items=np.arange(250), **options)
    assert apart.result["searches"]["old-new"]["near_ties"] > 100


@pytest.mark.usefixtures("no_verdict")
@pytest.mark.parametrize("command", ["stress", "audit", "recommend", "calibrate", "compare"])
def test_every_command_takes_names_of_items(pictures, crops, tmp_path: Path, command, capsys):
    rows, of, captions = crops
    np.save(tmp_path / "q.npy", captions)
    np.save(tmp_path / "c.npy", rows)
    (tmp_path / "items.csv").write_text("picture\n" + "\n".join(f"p{i}" for i in of))
    sides = ["q.npy", "q.npy", "c.npy"] if command == "compare" else ["q.npy", "c.npy"]
    extra = {
        "stress": ["--closers", "center-queries", "--trials", "1"],
        "audit": ["--trials", "1", "--out", str(tmp_path / "out")],
        "recommend": ["--trials", "1", "--closers", "center-queries"],
    }.get(command, [])
    items = str(tmp_path / "items.csv")
    paths = [str(tmp_path / side) for side in sides]
    named = ["--candidate-items", items, "--query-items", items]
    code, out, err = commands.run(capsys, command, *paths, *extra, *named, "--json")
    assert code in (0, 3), err
    json.loads(out)
    assert command == "audit" or "250 rows are 50 items" in err


def test_names_of_other_rows_are_refused(pictures, tmp_path: Path) -> None:
    once, captions = pictures
    (tmp_path / "items.txt").write_text("a\nb\n")
    for job in (audit, stress, recommend, calibrate):
        with refused("unequal-lengths", "2 candidate_items for 50 rows"):
            job(captions, once, candidate_items=tmp_path / "items.txt")
    with refused("unequal-lengths", "2 query_items for 250 rows"):
        compare(captions, captions, once, query_items=["a", "b"])


def test_closers_see_the_same_answers_by_item(pictures, crops) -> None:
    rows, of, captions = crops
    task = open_task(captions, rows, paired=False, candidate_items=of)
    closer = fitted("center-queries", captions, rows)
    part = Part.of(task, np.arange(250), (), trials=1, seed=0)
    assert part.same(part.answers([closer])[0]).all()
