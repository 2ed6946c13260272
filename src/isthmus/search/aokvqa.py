"""Multiple-choice questions about images in the JSON layout of A-OKVQA.

A file is a list of objects with ``split``, ``image_id``, ``question_id``, ``question``, four
``choices``, and, except in the test split, ``correct_choice_idx``; other keys are ignored. Source
of the layout: Schwenk et al., "A-OKVQA: a benchmark for visual question answering using world
knowledge" (2022).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import CorruptFile, FileError, OptionError
from isthmus.search.relevance import Relevance, multiple_choice

CHOICES = 4
"""Every question of A-OKVQA has so many choices."""

_SLOTS = re.compile(r"\{(question|choice)\}")


@dataclass(frozen=True)
class MultipleChoiceSet:
    """n questions, each about an image, with its choices as texts.

    ``truth``: (n,) int64, read-only: the right choice of each; None where the file does not say
    (the test split). ``image_ids`` are as in the file: whole numbers or strings.
    """

    question_ids: tuple[str, ...]
    image_ids: tuple[int | str, ...]
    questions: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    truth: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.questions)

    def texts(self, template: str = "{question} {choice}") -> list[tuple[str, ...]]:
        """The candidates of each question as texts to embed, in the order of its choices.

        ``{question}`` and ``{choice}`` in the template are filled in, anything else stays; braces
        in the questions themselves are left alone. Raises
        :class:`~isthmus.errors.OptionError` for a template without ``{choice}``, which would make
        the candidates equal.
        """
        if "{choice}" not in template:
            raise OptionError(
                f"the template is {template!r}, expected {{choice}} (and {{question}}) in it"
            )
        return [
            tuple(_fill(template, {"question": question, "choice": c}) for c in choices)
            for question, choices in zip(self.questions, self.choices, strict=True)
        ]

    def task(
        self, template: str = "{question} {choice}"
    ) -> tuple[list[str], NDArray[np.int64], Relevance]:
        """Everything a stress ``Problem`` needs but the rows: (texts, lists, truth).

        Embed ``texts`` (4n strings) as candidates and the images (n, in the order of the
        questions) as queries; query i chooses among candidate rows ``lists[i]``. Raises
        :class:`~isthmus.errors.OptionError` as :meth:`texts` does.
        """
        texts = [text for question in self.texts(template) for text in question]
        lists = np.arange(len(texts)).reshape(len(self), -1)
        right = np.full(len(self), -1) if self.truth is None else self.truth
        return texts, *multiple_choice(lists, right, len(texts))


def _fill(template: str, values: Mapping[str, str]) -> str:
    return _SLOTS.sub(lambda slot: values[slot[1]], template)


def load_aokvqa(path: str | os.PathLike[str]) -> MultipleChoiceSet:
    """Read one split from its JSON file; the whole file is held in memory.

    Raises :class:`~isthmus.errors.FileError` if it is missing and
    :class:`~isthmus.errors.CorruptFile` if it is not JSON, is not a list of entries, is empty,
    repeats a question's id, says the right choice for some questions only, or has a malformed
    entry: the message names the first one, by its place in the list (from 0) and its id.
    """
    label = os.fspath(path)
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError(f"{label} does not exist, expected a JSON file of questions") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorruptFile(f"{label} is not JSON: {error}") from error
    except OSError as error:
        raise FileError(f"{label} cannot be read: {error.strerror}") from error
    if not isinstance(entries, list) or not entries:
        got = "an empty list" if entries == [] else f"a {type(entries).__name__}"
        raise CorruptFile(f"{label} holds {got}, expected a list of questions")
    rows = [_entry(entry, f"{label}: entry {at}") for at, entry in enumerate(entries)]
    _check_ids([row[0] for row in rows], label)
    ids, images, questions, choices, truth = zip(*rows, strict=True)
    return MultipleChoiceSet(ids, images, questions, choices, _truth(list(truth), ids, label))


_Row = tuple[str, int | str, str, tuple[str, ...], int | None]


def _entry(entry: Any, where: str) -> _Row:
    if not isinstance(entry, dict):
        raise CorruptFile(f"{where} is a {type(entry).__name__}, expected an object")
    question_id = entry.get("question_id")
    if not isinstance(question_id, str) or not question_id:
        raise CorruptFile(f"{where} has question_id {question_id!r}, expected a non-empty string")
    where = f"{where} ({question_id})"
    image_id = entry.get("image_id")
    if isinstance(image_id, bool) or not isinstance(image_id, int | str) or image_id == "":
        raise CorruptFile(f"{where} has image_id {image_id!r}, expected a number or a string")
    question = entry.get("question")
    if not isinstance(question, str) or not question.strip():
        raise CorruptFile(f"{where} has question {question!r}, expected a non-empty string")
    choices = entry.get("choices")
    if not isinstance(choices, list) or len(choices) != CHOICES:
        got = f"{len(choices)} choices" if isinstance(choices, list) else f"choices {choices!r}"
        raise CorruptFile(f"{where} has {got}, expected a list of {CHOICES} strings")
    for at, choice in enumerate(choices):
        if not isinstance(choice, str) or not choice.strip():
            raise CorruptFile(f"{where} has choice {at} {choice!r}, expected a non-empty string")
    truth = entry.get("correct_choice_idx")
    good = isinstance(truth, int) and not isinstance(truth, bool) and 0 <= truth < CHOICES
    if truth is not None and not good:
        raise CorruptFile(
            f"{where} has correct_choice_idx {truth!r}, expected a whole number "
            f"from 0 to {CHOICES - 1}"
        )
    return question_id, image_id, question, tuple(choices), truth


def _check_ids(ids: list[str], label: str) -> None:
    first: dict[str, int] = {}
    for at, question_id in enumerate(ids):
        if first.setdefault(question_id, at) != at:
            raise CorruptFile(
                f"{label}: entry {at} repeats the question_id {question_id} "
                f"of entry {first[question_id]}, expected each id once"
            )


def _truth(truth: list[int | None], ids: tuple[str, ...], label: str) -> NDArray[np.int64] | None:
    missing = [at for at, value in enumerate(truth) if value is None]
    if len(missing) == len(truth):
        return None
    if missing:
        raise CorruptFile(
            f"{label}: entry {missing[0]} ({ids[missing[0]]}) has no correct_choice_idx, which "
            f"{len(truth) - len(missing)} of {len(truth)} entries have; expected it in all or none"
        )
    array = np.array(truth, dtype=np.int64)
    array.flags.writeable = False
    return array
