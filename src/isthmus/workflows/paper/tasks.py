"""What is searched: zero-shot classes, multiple choice, pairs; from pictures, or from rows.

Pictures ask and texts answer, as in the paper. Where nothing is given it is the emoji world,
through whatever encoder was named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.core.libraries import library
from isthmus.encoders import load_encoder
from isthmus.encoders.embedding import embed
from isthmus.encoders.emoji_world import load_world
from isthmus.encoders.inputs import open_source
from isthmus.errors import LabelsError, OptionError, ShapeError
from isthmus.perturb.templates import PAPER_SWAP, wrap
from isthmus.search.aokvqa import load_aokvqa
from isthmus.search.opening import open_task
from isthmus.search.relevance import Relevance
from isthmus.search.task import RetrievalTask
from isthmus.workflows.demo.quiz import emoji_quiz

UNSEEN = "twitter"
"""The drawing that the emoji models never saw."""
PICTURES = {"images", "texts", "questions", "classes"}
"""What rows that were made before do without."""


@dataclass(frozen=True)
class Given:
    """What a reader brings. Options have the meaning that they have for ``embed`` and ``stress``.

    Attributes:
        encoder: NAME[:MODEL] as in ``isthmus.encoders``, or an ``Encoder``.
        images: a folder, a list of paths or pictures, or (n, h, w, 3) or (n, h, w) uint8, as an
            array or an .npy file. labels: (n,) integers or a file of them, the class of each
            picture. classes: names, a list or a file with one a line. Without labels a folder
            holds one folder of pictures per class.
        texts: a caption per picture, a list or a file. questions: a JSON file of A-OKVQA, whose
            pictures are among ``images`` by their number.
        queries, candidates: rows made before, pairs unless ``labels`` say what is right;
            ``rephrased``: the candidates' rows under another wording.
    """

    encoder: Any = "emoji"
    images: Any = None
    labels: Any = None
    classes: Any = None
    texts: Any = None
    questions: Any = None
    queries: Any = None
    candidates: Any = None
    rephrased: Any = None


@dataclass(frozen=True, eq=False)
class PaperTask:
    """One search by Euclidean distance on unit rows; ``rephrased`` (K, d): candidates reworded."""

    name: str
    task: RetrievalTask
    rephrased: np.ndarray | None = None


def tasks_of(given: Given) -> list[PaperTask]:
    """Every search that can be made of what was given.

    Raises:
        OptionError: things that do not belong together, or too little. FileError, LabelsError,
        ShapeError: files, labels or rows that do not fit. MissingExtra: the encoder's library.
    """
    named = {f.name for f in fields(given) if getattr(given, f.name) is not None} - {"encoder"}
    if named & {"queries", "candidates", "rephrased"}:
        return [_of_rows(given, named)]
    if not named:
        return _of_emoji(given.encoder)
    if "images" not in named:
        raise OptionError(
            "no-images", f"{', '.join(sorted(named))} came without images; give the pictures too"
        )
    about = named - {"images", "classes"}
    if len(about) > 1 or (named & {"classes"} and about & {"texts", "questions"}):
        raise OptionError(
            "images-or-texts",
            f"images came with {', '.join(sorted(named - {'images'}))}; one run takes labels and "
            "classes, texts or questions",
        )
    model = load_encoder(given.encoder) if isinstance(given.encoder, str) else given.encoder
    if given.questions is not None:
        return [_of_questions(model, given)]
    labels, classes = (None, []) if given.texts is not None else _classes(given)
    rows = embed(model, images=_pictures(given.images), strict=True)
    if given.texts is not None:
        texts = embed(model, texts=given.texts)
        return [PaperTask("retrieval", _task(rows, texts, paired=True))]
    return [_classified(model, rows, labels, classes)]


def _task(queries: Any, candidates: Any, **right: Any) -> RetrievalTask:
    task = open_task(queries, candidates, score="cosine", distinct=False, **right)
    return replace(task, score="euclidean")  # of unit rows, which it ranks as cosine does


def _of_rows(given: Given, named: set[str]) -> PaperTask:
    if not named >= {"queries", "candidates"} or named & PICTURES:
        raise OptionError(
            "queries-and-candidates",
            f"got {', '.join(sorted(named))}; rows are given as queries and candidates, without "
            "pictures or texts",
        )
    right = {"paired": True} if given.labels is None else {"labels": given.labels}
    task = _task(given.queries, given.candidates, **right)
    rephrased = None
    if given.rephrased is not None:
        rephrased = open_task(
            given.queries, given.rephrased, paired=False, distinct=False
        ).candidates
        if rephrased.shape != task.candidates.shape:
            raise ShapeError(
                "unequal-shapes",
                f"rephrased rows have shape {rephrased.shape}, candidates {task.candidates.shape}; "
                "expected row i of one to be row i of the other",
            )
    return PaperTask("classes" if given.labels is not None else "retrieval", task, rephrased)


def _of_emoji(encoder: Any) -> list[PaperTask]:
    """Which category, which picture, which of four names."""
    model = load_encoder(encoder) if isinstance(encoder, str) else encoder
    world = load_world()
    pictures = model.encode_images(world.pictures(UNSEEN))
    names = embed(model, texts=world.texts())
    lists, right = emoji_quiz(world)
    return [
        _classified(model, pictures, world.category_of, world.category_texts()),
        PaperTask("retrieval", _task(names, pictures, paired=True)),
        _chosen(pictures, names, lists, right),
    ]


def _classified(model: Any, rows: Any, labels: Any, classes: Sequence[str]) -> PaperTask:
    """The paper's classification: class names in its template, and in the one it swaps to."""
    texts, swapped = (
        embed(model, texts=[wrap(name, template) for name in classes]) for template in PAPER_SWAP
    )
    other = np.asarray(unit(swapped.astype(np.float64)))
    return PaperTask("classes", _task(rows, texts, labels=labels), other)


def _chosen(rows: Any, texts: Any, lists: np.ndarray, right: Relevance) -> PaperTask:
    task = _task(rows, texts, relevance=right)
    return PaperTask("choice", replace(task, lists=lists))


def _of_questions(model: Any, given: Given) -> PaperTask:
    quiz = load_aokvqa(given.questions)
    texts, lists, right = quiz.task()
    by_number = {_number(path): path for path in open_source(given.images, "images").inputs()}
    missing = [name for name in quiz.image_ids if _number(str(name)) not in by_number]
    if missing:
        raise OptionError(
            "no-such-image",
            f"{len(missing)} of {len(quiz)} questions ask about pictures that are not among the "
            f"images, the first is {missing[0]}; a picture is found by the number its name ends in",
        )
    pictures = [by_number[_number(str(name))] for name in quiz.image_ids]
    rows = embed(model, images=pictures, strict=True)
    return _chosen(rows, embed(model, texts=texts), lists, right)


def _number(name: str) -> str:
    """``val2017/000000042.jpg`` -> "42"; a name that does not end in digits -> the name."""
    stem = Path(name).stem
    found = re.search(r"0*(\d+)$", stem)
    return found[1] if found else stem


def _pictures(images: Any) -> Any:
    """Arrays of pixels as pictures; anything else as it is."""
    if isinstance(images, str | os.PathLike) and os.fspath(images).endswith(".npy"):
        images = np.load(images, allow_pickle=False)
    if not isinstance(images, np.ndarray):
        return images
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ShapeError(
            "bad-pixels",
            f"images have shape {images.shape} and dtype {images.dtype}; expected (n, h, w, 3) or "
            "(n, h, w) of uint8",
        )
    pillow = library("PIL.Image", "pictures from arrays", "pillow", "images")
    return [pillow.fromarray(pixels).convert("RGB") for pixels in images]


def _classes(given: Given) -> tuple[Any, list[str]]:
    """Labels and class names: as given, or the folders in which the pictures lie."""
    if given.labels is not None:
        if given.classes is None:
            raise OptionError("no-classes", "labels came without classes; give a name per class")
        return given.labels, list(open_source(given.classes, "texts").items())
    if not (isinstance(given.images, str | os.PathLike) and os.path.isdir(given.images)):
        raise OptionError("no-labels", "images came without labels, texts or questions")
    folders = [
        path.split("/")[0] for path in open_source(given.images, "images").items() if "/" in path
    ]
    found = sorted(set(folders))
    if len(found) < 2 or "" in found:
        raise LabelsError(
            "no-classes",
            f"{given.images} is not one folder of pictures per class, two at least; give labels",
        )
    names = found if given.classes is None else list(open_source(given.classes, "texts").items())
    if len(names) != len(found):
        raise LabelsError(
            "no-classes", f"{len(names)} class names for {len(found)} folders of pictures"
        )
    place = {folder: i for i, folder in enumerate(found)}
    return np.array([place[f] for f in folders]), [name.replace("_", " ") for name in names]
