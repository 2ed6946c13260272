"""Multiple-choice questions about images in the JSON layout of A-OKVQA.

A file is a list of objects with ``split``, ``image_id``, ``question_id``, ``question``, four
``choices``, and, except in the test split, ``correct_choice_idx``; other keys are ignored. Source
of the layout: Schwenk et al., "A-OKVQA: a benchmark for visual question answering using world
knowledge" (2022).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.file_errors import read_json
from isthmus.errors import CorruptFile, OptionError
from isthmus.search.relevance import Relevance, multiple_choice

CHOICES = 4
"""Every question of A-OKVQA has so many choices."""

_SLOTS = re.compile(r"\{(question|choice)\}")


@dataclass(frozen=True)
class MultipleChoiceSet:
    """n questions, each about an image, with its choices as texts.

    ``answers``: (n,) int64, read-only: the right choice of each; None where the file does not
    say (the test split). ``image_ids`` are as in the file: whole numbers or strings.
    """

    question_ids: tuple[str, ...]
    image_ids: tuple[int | str, ...]
    questions: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    answers: NDArray[np.int64] | None

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
                "bad-template",
                f"the template is {template!r}, expected {{choice}} (and {{question}}) in it",
            )
        return [
            tuple(_fill(template, {"question": question, "choice": c}) for c in choices)
            for question, choices in zip(self.questions, self.choices, strict=True)
        ]

    def task(
        self, template: str = "{question} {choice}"
    ) -> tuple[list[str], NDArray[np.int64], Relevance]:
        """Everything a ``RetrievalTask`` needs but the rows: (texts, lists, relevance).

        Embed ``texts`` (4n strings) as candidates and the images (n, in the order of the
        questions) as queries; query i chooses among candidate rows ``lists[i]``. Raises
        :class:`~isthmus.errors.OptionError` as :meth:`texts` does.
        """
        texts = [text for question in self.texts(template) for text in question]
        lists = np.arange(len(texts)).reshape(len(self), -1)
        right = np.full(len(self), -1) if self.answers is None else self.answers
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
    entries = read_json(path)
    got = "an empty list" if entries == [] else f"a {type(entries).__name__}"
    _expect(isinstance(entries, list) and entries, f"{label} holds {got}", "a list of questions")
    rows = [_entry(entry, f"{label}: entry {at}") for at, entry in enumerate(entries)]
    ids, images, questions, choices, right = zip(*rows, strict=True)
    first = {name: at for at, name in reversed(list(enumerate(ids)))}
    for at, name in enumerate(ids):
        repeats = f"{label}: entry {at} repeats the question_id {name} of entry {first[name]}"
        _expect(first[name] == at, repeats, "each id once")
    unknown = [at for at, place in enumerate(right) if place is None]
    if len(unknown) == len(right):
        return MultipleChoiceSet(ids, images, questions, choices, None)
    if unknown:
        where = f"{label}: entry {unknown[0]} ({ids[unknown[0]]}) has no correct_choice_idx, which "
        known = f"{len(right) - len(unknown)} of {len(right)} entries have"
        _expect(False, where + known, "it in all or none")
    answers = np.array(right, dtype=np.int64)
    answers.flags.writeable = False
    return MultipleChoiceSet(ids, images, questions, choices, answers)


def _entry(entry: Any, where: str) -> tuple[str, int | str, str, tuple[str, ...], int | None]:
    _expect(isinstance(entry, dict), f"{where} is a {type(entry).__name__}", "an object")
    name = entry.get("question_id")
    _expect(_is_text(name), f"{where} has question_id {name!r}", "a non-empty string")
    where = f"{where} ({name})"
    image = entry.get("image_id")
    numbered = isinstance(image, int) and not isinstance(image, bool)
    named = isinstance(image, str) and image != ""
    _expect(numbered or named, f"{where} has image_id {image!r}", "a number or a string")
    question = entry.get("question")
    _expect(_is_text(question), f"{where} has question {question!r}", "a non-empty string")
    choices = entry.get("choices")
    listed = isinstance(choices, list)
    got = f"{len(choices)} choices" if listed else f"choices {choices!r}"
    _expect(
        listed and len(choices) == CHOICES, f"{where} has {got}", f"a list of {CHOICES} strings"
    )
    for at, choice in enumerate(choices):
        _expect(_is_text(choice), f"{where} has choice {at} {choice!r}", "a non-empty string")
    right = entry.get("correct_choice_idx")
    place = isinstance(right, int) and not isinstance(right, bool) and 0 <= right < CHOICES
    said = f"{where} has correct_choice_idx {right!r}"
    _expect(right is None or place, said, f"a whole number from 0 to {CHOICES - 1}")
    return name, image, question, tuple(choices), right


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _expect(good: Any, got: str, expected: str) -> None:
    if not good:
        raise CorruptFile("bad-question", f"{got}, expected {expected}")
