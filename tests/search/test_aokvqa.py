"""The A-OKVQA layout: read as it is, or refused with the entry's name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import CorruptFile, FileError
from isthmus.search.aokvqa import load_aokvqa
from refusals import refused

ENTRIES: list[dict[str, Any]] = [
    {
        "split": "val",
        "image_id": 4711,
        "question_id": "q-kite",
        "question": "What pulls on the string?",
        "choices": ["wind", "dog", "tide", "engine"],
        "correct_choice_idx": 0,
        "direct_answers": ["wind", "the wind", "air"],
        "difficult_direct_answer": False,
        "rationales": ["The kite is up in the air."],
    },
    {
        "split": "val",
        "image_id": 12,
        "question_id": "q-stove",
        "question": "What should {choice} not touch?",
        "choices": ["cup", "chair", "hot plate", "spoon {question}"],
        "correct_choice_idx": 2,
        "direct_answers": ["plate"],
        "difficult_direct_answer": True,
        "rationales": ["It glows.", "Heat burns."],
    },
    {
        "split": "val",
        "image_id": "1f600",
        "question_id": "q-größe",
        "question": "Which is tallest?",
        "choices": ["Haus", "Maus", "Laus", "Straße"],
        "correct_choice_idx": 0,
    },
]


@pytest.fixture
def entries() -> list[dict[str, Any]]:
    return copy.deepcopy(ENTRIES)


def written(folder: Path, content: Any) -> Path:
    path = folder / "questions.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_every_field_is_read_in_order(tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    quiz = load_aokvqa(written(tmp_path, entries))
    assert len(quiz) == 3
    assert quiz.question_ids == ("q-kite", "q-stove", "q-größe")
    assert quiz.image_ids == (4711, 12, "1f600")
    assert quiz.questions[2] == "Which is tallest?"
    assert quiz.choices[1] == ("cup", "chair", "hot plate", "spoon {question}")
    assert quiz.answers is not None
    assert quiz.answers.dtype == np.int64
    assert quiz.answers.tolist() == [0, 2, 0]
    assert [quiz.choices[i][t] for i, t in enumerate(quiz.answers)] == ["wind", "hot plate", "Haus"]


def test_the_set_is_frozen(tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    quiz = load_aokvqa(written(tmp_path, entries))
    with pytest.raises(AttributeError, match="cannot assign to field 'answers'"):
        quiz.answers = None  # type: ignore[misc]
    assert quiz.answers is not None
    with pytest.raises(ValueError, match="read-only"):
        quiz.answers[0] = 1


def test_the_test_split_has_no_answers(tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        del entry["correct_choice_idx"]
    quiz = load_aokvqa(written(tmp_path, entries))
    assert quiz.answers is None
    assert len(quiz.choices) == 3


def test_texts_fill_the_template_once(tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    quiz = load_aokvqa(written(tmp_path, entries))
    texts = quiz.texts()
    assert texts[0][1] == "What pulls on the string? dog"
    assert texts[1][3] == "What should {choice} not touch? spoon {question}"
    assert [len(t) for t in texts] == [4, 4, 4]
    assert quiz.texts("{choice}")[2] == ("Haus", "Maus", "Laus", "Straße")
    assert quiz.texts("Q: {question} {A}: {choice}")[0][0] == (
        "Q: What pulls on the string? {A}: wind"
    )
    with refused("bad-template", "'{question}'"):
        quiz.texts("{question}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question_id": None}, "entry 1 has question_id None"),
        ({"question_id": ""}, "entry 1 has question_id ''"),
        ({"question_id": "q-kite"}, "entry 1 repeats the question_id q-kite of entry 0"),
        *(({"image_id": bad}, f"image_id {bad!r}") for bad in (None, True, 1.5, "")),
        *(({"question": bad}, f"question {bad!r}") for bad in (3, " ")),
        ({"choices": ["a", "b"]}, "2 choices"),
        *(({"choices": bad}, f"choices {bad!r}") for bad in ("abcd", None)),
        ({"choices": ["a", "b", "c", 4]}, "choice 3 4"),
        ({"choices": ["a", "", "c", "d"]}, "choice 1 ''"),
        *(({"correct_choice_idx": bad}, f"idx {bad!r}, expected") for bad in (4, -1, "2", True)),
        ({"correct_choice_idx": None}, "no correct_choice_idx, which 2 of 3"),
    ],
)
def test_a_malformed_entry_is_named(
    tmp_path: Path, entries: list[dict[str, Any]], change: dict[str, Any], said: str
) -> None:
    entries[1].update(change)
    with refused("bad-question", "entry 1", said, kind=CorruptFile) as caught:
        load_aokvqa(written(tmp_path, entries))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["question_id", "image_id", "question", "choices"])
def test_a_missing_key_is_named(tmp_path: Path, entries: list[dict[str, Any]], key: str) -> None:
    del entries[2][key]
    with refused("bad-question", "entry 2", f"has {key} None"):
        load_aokvqa(written(tmp_path, entries))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"questions": []}, "holds a dict, expected a list of questions"),
        ([], "holds an empty list, expected a list of questions"),
        ([ENTRIES[0], "q"], "entry 1 is a str, expected an object"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    with refused("bad-question", said):
        load_aokvqa(written(tmp_path, content))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with refused("no-such-file", "none.json", kind=FileError):
        load_aokvqa(tmp_path / "none.json")
    with refused("is-a-folder", "a folder"):
        load_aokvqa(tmp_path)
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps(ENTRIES)[:-20])
    with refused("not-json", "cut.json"):
        load_aokvqa(cut)
    cut.write_bytes(b"\xff\xfe\x00")
    with refused("not-utf8", "cut.json"):
        load_aokvqa(cut)


def test_the_task_puts_each_question_s_choices_in_its_own_list(
    tmp_path: Path, entries: list[dict[str, Any]]
) -> None:
    questions = load_aokvqa(written(tmp_path, entries))
    texts, lists, relevance = questions.task("{choice}?")
    assert [[texts[j] for j in row] for row in lists] == [
        [f"{c}?" for c in entry["choices"]] for entry in entries
    ]
    for i, entry in enumerate(entries):
        right = relevance.of_query()[i]
        assert [texts[j] for j in right] == [f"{entry['choices'][entry['correct_choice_idx']]}?"]


def test_the_task_of_a_test_split_judges_nothing(
    tmp_path: Path, entries: list[dict[str, Any]]
) -> None:
    for entry in entries:
        entry["split"] = "test"
        entry.pop("correct_choice_idx")
    _, lists, relevance = load_aokvqa(written(tmp_path, entries)).task()
    assert lists.shape == (3, 4)
    assert not relevance.judged.any()
