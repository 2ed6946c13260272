"""``isthmus lab paper``: the paper's tables from pictures, questions and rows, beside theory."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus as im
from commands import refused_in_one_sentence, run
from isthmus.encoders.emoji_world import load_world
from isthmus.lab.registry import Findings
from refusals import refused
from worlds import two_modalities

SMALL = {"trials": 2, "max_queries": 12, "strengths": ()}
LEVELS = {(c, level) for c in ("total", "coordinate") for level in (0.005, 0.022, 0.04)}


def of_rows(**options: Any) -> Findings:
    """40 pairs in 96 dimensions: the exact closing has directions to move in."""
    a, b = two_modalities(40, 96, seed=5)
    return im.lab["paper"].run(queries=a, candidates=b, **options)


@cache
def pairs() -> Findings:
    return of_rows(fit_share=0.25, trials=10)


def some(found: Findings, **wanted: Any) -> list[dict[str, Any]]:
    rows = [r for r in found.rows() if all(r[key] == value for key, value in wanted.items())]
    assert rows
    return rows


@pytest.mark.slow
def test_noise_has_three_levels_in_both_conventions_and_bins_go_from_256_to_32() -> None:
    noise, bins = some(pairs(), part="noise"), some(pairs(), part="bins")
    assert {(row["convention"], row["level"]) for row in noise} == LEVELS
    assert {row["level"] for row in bins} == {32, 64, 128, 256}
    assert {row["strength"] for row in noise} == {0, 0.25, 0.5, 0.75, 1, 1.25, 1.5}
    assert len({row["components"] for row in noise}) >= 4
    assert {round(row["total"] / row["level"]) for row in noise} == {1, 96}


@pytest.mark.slow
def test_all_components_keep_clean_answers_and_close_until_overshoot() -> None:
    components = max(row["components"] for row in pairs().rows())
    assert components == 39  # 40 candidates
    rows = some(pairs(), components=components, level=0.022, convention="total")
    assert [row["clean_agreement"] for row in rows] == [1] * 7
    assert {row["clean_accuracy"] for row in rows} == {rows[0]["clean_accuracy"]}
    gaps = [row["gap"] for row in rows]
    predicted = [row["predicted_consistency"] for row in rows]
    assert gaps[:5] == sorted(gaps[:5], reverse=True)  # strengths 0 to 1
    assert gaps[4:] == sorted(gaps[4:])
    assert predicted[:5] == sorted(predicted[:5])
    assert predicted[5:] == sorted(predicted[5:], reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["consistency", "accuracy"])
def test_what_is_measured_is_what_d12_predicts(what: str) -> None:
    for row in some(pairs(), part="noise"):
        slack = (row[f"{what}_hi"] - row[f"{what}_lo"]) / 2 + 0.02
        assert row[what] == pytest.approx(row[f"predicted_{what}"], abs=slack), row


@pytest.mark.slow
def test_the_whole_gap_is_closed_without_components() -> None:
    rows = some(pairs(), components=0, level=0.022, convention="total")
    before, after = (row["gap"] for row in rows if row["strength"] in (0, 1))
    assert after < 0.5 * before  # as far as few queries know the gap


@pytest.mark.slow
def test_a_closing_fitted_on_the_other_wording_changes_nothing() -> None:
    """Theorem 3.5 on the reworded candidates: with all components, plain search's answers."""
    a, b = two_modalities(40, 96, seed=5)
    other = b + 0.05 * np.random.default_rng(2).normal(size=b.shape)
    found = im.lab["paper"].run(queries=a, candidates=b, rephrased=other, trials=1, strengths=())
    refitted = some(found, part="rephrased", convention="refitted", components=39)
    assert len({row["accuracy"] for row in refitted}) == 1
    assert len({row["consistency"] for row in refitted}) == 1
    once = some(found, part="rephrased", convention="fitted-once", components=39)
    assert once[0]["accuracy"] == refitted[0]["accuracy"]  # strength 0
    assert "rephrased-retrieval" in found.figures


@pytest.mark.slow
def test_tables_and_figures_by_part(tmp_path: Path) -> None:
    written = {path.name for path in pairs().write(tmp_path)}
    parts = ("noise", "accuracy", "components", "bins")
    assert written == {"paper-noise.csv", "paper-bins.csv"} | {
        f"paper-{part}-retrieval.svg" for part in parts
    }
    with (tmp_path / "paper-bins.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["perturbation"] for row in rows} == {"uniform-quantisation"}
    assert len(pairs().summary) == 2 * 10  # perturbations, with most components and with none
    assert "39 components: gap" in pairs().notes[0]


@pytest.fixture(scope="module")
def drawings() -> tuple[list[Any], np.ndarray, list[str]]:
    """30 emoji of three categories: pictures, labels, names of the categories."""
    pytest.importorskip("onnxruntime")
    world = load_world()
    chosen = [i for c in range(3) for i in np.flatnonzero(world.category_of == c)[:10]]
    pictures = world.pictures("twitter")
    return [pictures[i] for i in chosen], world.category_of[chosen], list(world.categories[:3])


@pytest.mark.slow
def test_pixels_and_a_folder_per_class_are_one_task(drawings: Any, tmp_path: Path) -> None:
    pictures, labels, classes = drawings
    for number, (picture, label) in enumerate(zip(pictures, labels)):
        folder = tmp_path / "pictures" / f"{label}"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number:03}.png")
    (tmp_path / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    np.save(tmp_path / "pixels.npy", np.stack([np.asarray(p) for p in pictures]))
    np.save(tmp_path / "labels.npy", labels)
    by_folder = im.lab["paper"].run(
        images=str(tmp_path / "pictures"), classes=str(tmp_path / "classes.txt"), **SMALL
    )
    by_pixels = im.lab["paper"].run(
        images=tmp_path / "pixels.npy", labels=tmp_path / "labels.npy", classes=classes, **SMALL
    )
    assert by_folder.rows() == by_pixels.rows()
    assert {row["part"] for row in by_folder.rows()} == {"noise", "bins", "rephrased"}
    assert some(by_folder, part="noise")[0]["candidates"] == 3
    unnamed = im.lab["paper"].run(images=str(tmp_path / "pictures"), **SMALL)
    assert some(unnamed, part="noise")[0]["candidates"] == 3  # classes named as their folders


@pytest.mark.slow
def test_questions_find_their_pictures_by_number(drawings: Any, tmp_path: Path) -> None:
    pictures, _, _ = drawings
    world = load_world()
    entries = []
    for i, picture in enumerate(pictures[:16]):
        picture.save(tmp_path / f"{100 + i:012}.png")
        entries.append(
            {
                "image_id": 100 + i,
                "question_id": f"q{i}",
                "question": "What is it?",
                "choices": [world.names[(i + step) % 16] for step in range(4)],
                "correct_choice_idx": 0,
            }
        )
    questions = tmp_path / "questions.json"
    questions.write_text(json.dumps(entries), encoding="utf-8")
    found = im.lab["paper"].run(images=str(tmp_path), questions=questions, fit_share=0.25, **SMALL)
    row = some(found, part="noise")[0]
    assert (row["task"], row["queries"], row["candidates"]) == ("choice", 12, 64)
    assert 0 < row["predicted_accuracy"] <= 1
    entries[3]["image_id"] = 7
    questions.write_text(json.dumps(entries), encoding="utf-8")
    with refused("no-such-image", "1 of 16 questions", "7"):
        im.lab["paper"].run(images=str(tmp_path), questions=questions)


@pytest.mark.slow
def test_captions_of_pictures_are_retrieval(drawings: Any) -> None:
    pictures, _, _ = drawings
    found = im.lab["paper"].run(
        images=pictures[:20], texts=[f"drawing {i}" for i in range(20)], **SMALL
    )
    assert {row["task"] for row in found.rows()} == {"retrieval"}


@pytest.mark.slow
def test_the_emoji_world_has_the_paper_s_three_tasks() -> None:
    pytest.importorskip("onnxruntime")
    found = im.lab["paper"].run(trials=2, max_queries=60, strengths=())
    assert list(dict.fromkeys(row["task"] for row in found.rows())) == [
        *("classes", "retrieval", "choice")
    ]
    for row in some(found, part="noise"):
        assert row["consistency"] == pytest.approx(row["predicted_consistency"], abs=0.2)


@pytest.mark.parametrize(
    ("options", "code", "fact"),
    [
        ({"colour": "red"}, "unknown-option", "colour"),
        ({"queries": "a.npy"}, "queries-and-candidates", "queries"),
        (
            {"queries": "a.npy", "candidates": "b.npy", "images": "c"},
            "queries-and-candidates",
            "images",
        ),
        ({"labels": [1]}, "no-images", "labels"),
        ({"images": ["a.png"]}, "no-labels", "questions"),
        ({"images": ["a.png"], "texts": ["a"], "labels": [0]}, "images-or-texts", "labels, texts"),
        ({"images": np.zeros((2, 4, 4)), "labels": [0], "classes": ["a"]}, "bad-pixels", "float64"),
    ],
)
def test_what_cannot_be_a_task_is_refused(options: dict[str, Any], code: str, fact: str) -> None:
    with refused(code, fact):
        im.lab["paper"].run(**options)


def test_a_folder_without_classes_is_refused(drawings: Any, tmp_path: Path) -> None:
    drawings[0][0].save(tmp_path / "a.png")
    with refused("no-classes", "folder of pictures per class"):
        im.lab["paper"].run(images=str(tmp_path))


def test_the_command_takes_files(files_wide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "lab paper --queries images.npy --candidates captions.npy --trials 1 --strengths 0.5 --json"
    )
    code, out, err = run(capsys, *words.split())
    assert code == 0
    rows = json.loads(out)
    assert {row["part"] for row in rows} == {"noise", "bins"}
    assert {row["strength"] for row in rows} == {0, 0.5, 1}
    assert "paper-noise.csv" in err
    refused_in_one_sentence(capsys, "lab final-gap --queries images.npy", "no option 'queries'")


@pytest.mark.real_data
def test_coco_pairs_follow_the_formula(coco: np.ndarray) -> None:
    found = im.lab["paper"].run(queries=coco[0], candidates=coco[1], trials=10)
    every = max(row["components"] for row in found.rows())
    assert every == 499
    for row in some(found, components=every):
        assert row["clean_agreement"] == 1
    for row in some(found, part="noise"):
        assert row["consistency"] == pytest.approx(row["predicted_consistency"], abs=0.035), row
        assert row["accuracy"] == pytest.approx(row["predicted_accuracy"], abs=0.035), row
    before, _, _, _, after, _, over = some(found, components=every, convention="total", level=0.04)
    assert after["predicted_consistency"] > before["predicted_consistency"]
    assert over["predicted_consistency"] > before["predicted_consistency"]
