"""Perturbed inputs of the demo: which are tried, in which task, on which side.

Four tasks over the same rows:

* *find the picture*: queries are names, the gallery is pictures that were re-encoded as JPEG,
  scaled down and up, or corrupted;
* *name the picture*: queries are pictures, candidates are names with typing errors, in capitals
  or inside a prompt;
* *which category*: queries are pictures, candidates are the nine category names under another
  prompt template (the rephrasing of the base paper);
* *quiz*: which of four names, rephrased.

Each is searched plainly and through every closer, under its own score. The queries' side is the
control: pictures as queries, corrupted, where no exact closing can help.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from isthmus.closers import fit
from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.perturb.images import ImagePerturbation
from isthmus.perturb.templates import TEMPLATES, wrap
from isthmus.perturb.text import TextPerturbation
from isthmus.robustness import ClosedSearch, Perturbation, closed_searches, row_of
from isthmus.robustness.inputs import InputBias, InputTarget, diagnose, measure_inputs
from isthmus.search.relevance import Relevance, relevance_by_labels, relevance_by_pairs
from isthmus.search.task import RetrievalTask
from isthmus.workflows.demo.quiz import emoji_quiz
from isthmus.workflows.demo.rows import DemoRows

CLEAN_TEMPLATE = TEMPLATES[0]
CORRUPTION = ("gaussian_noise", "defocus_blur", "brightness", "pixelate")
"""Run where the corruptions extra is installed; the demo itself does without."""


@dataclass(frozen=True, eq=False)
class InputTrial:
    """One perturbation ready to be measured: ``name`` of its task, and its rows (several draws)."""

    name: str
    task: RetrievalTask
    perturbation: Perturbation
    words: str
    rows: list[np.ndarray]


def image_perturbations() -> list[ImagePerturbation]:
    """JPEG and scaling as a product does them, and ImageNet-C where it is installed."""
    found = [
        ImagePerturbation("jpeg", 30),
        ImagePerturbation("jpeg", 10),
        ImagePerturbation("rescale_bilinear", 2.0),
        ImagePerturbation("rescale_bilinear", 4.0),
    ]
    if find_spec("imagecorruptions_imaug") is not None or find_spec("imagecorruptions") is not None:
        found += [ImagePerturbation(family, 3) for family in CORRUPTION]
    return found


def text_perturbations() -> list[TextPerturbation]:
    """Typing errors (one word, half of the words) and capitals."""
    return [
        TextPerturbation("typo_any", 1),
        TextPerturbation("typo_any", 0.5),
        TextPerturbation("case_upper", 1.0),
    ]


def trials(rows: DemoRows, *, seed: int, draws: int = 5) -> Iterator[InputTrial]:
    """Every perturbation of the demo, encoded when its turn comes."""
    n = len(rows.names)
    pairs = relevance_by_pairs(n, n)
    find = _task("names_to_pictures", rows.names, rows.unseen, pairs, seed)
    name = _task("pictures_to_names", rows.unseen, rows.names, pairs, seed)
    for change in image_perturbations():
        changed = [rows.changed_images(change, seed)]
        words = change.describe()
        for task, what, target in (
            (find, "find the picture", "candidates"),
            (name, "name the picture", "queries"),
        ):
            yield InputTrial(what, task, _input(target, change), words, changed)
    lists, right = emoji_quiz(rows.world, seed=seed)
    quiz = _task("quiz", rows.unseen, rows.names, right, seed, lists)
    for edit in text_perturbations():
        drawn = [
            rows.changed_texts(edit, seed + d)
            for d in range(1 if edit.family.startswith("case") else draws)
        ]
        for task, what in ((name, "name the picture"), (quiz, "quiz")):
            yield InputTrial(what, task, _input("candidates", edit), edit.describe(), drawn)
    yield _categories(rows, seed)


def _input(target: str, change: ImagePerturbation | TextPerturbation) -> Perturbation:
    return Perturbation(change.family, target, float(change.level), "input")  # type: ignore[arg-type]


def _categories(rows: DemoRows, seed: int) -> InputTrial:
    names = rows.world.category_texts()
    clean = rows.texts([wrap(c, CLEAN_TEMPLATE) for c in names])
    right = relevance_by_labels(rows.world.category_of, len(rows.unseen), len(names))
    task = _task("pictures_to_categories", rows.unseen, clean, right, seed)
    swapped = [rows.texts([wrap(c, t) for c in names]) for t in TEMPLATES[1:]]
    words = f"'{CLEAN_TEMPLATE}' becomes each of {len(swapped)} other templates"
    template = Perturbation("template", "candidates", 1.0, "input")
    return InputTrial("which category", task, template, words, swapped)


def _task(
    direction: str,
    queries: np.ndarray,
    candidates: np.ndarray,
    right: Relevance,
    seed: int,
    lists: np.ndarray | None = None,
) -> RetrievalTask:
    task = RetrievalTask.of(queries, candidates, right, direction=direction, lists=lists)
    return task.calibrated(stream("demo.inputs", seed))


def measure_trials(rows: DemoRows, *, seed: int, progress: Progress) -> list[dict[str, Any]]:
    """Every trial through every closer: rows of the table, each trial with its diagnosis."""
    found = []
    total = 2 * len(image_perturbations()) + 2 * len(text_perturbations()) + 1
    searches: dict[str, list[ClosedSearch]] = {}
    for done, trial in enumerate(trials(rows, seed=seed), start=1):
        direction = trial.task.direction
        if direction not in searches:
            searches[direction] = closed_searches(trial.task, _closers(trial.task))
        found.append(_measured(trial, searches[direction], seed))
        progress("inputs", done, total)
    return found


def _measured(trial: InputTrial, searches: list[ClosedSearch], seed: int) -> dict[str, Any]:
    """One trial in the report."""
    task, perturbation = trial.task, trial.perturbation
    target: InputTarget = "queries" if perturbation.target == "queries" else "candidates"
    clean = np.tile(getattr(task, target), (len(trial.rows), 1))
    results = [
        row_of(task, measure_inputs(search, perturbation, trial.rows, bias=bias), seed)
        | {"bias": bias}
        for search in searches
        for bias in _biases(search, target)
    ]
    return {
        "task": trial.name,
        "side": target,
        "family": perturbation.family,
        "level": perturbation.level,
        "words": trial.words,
        "draws": len(trial.rows),
        "diagnosis": diagnose(clean, np.concatenate(trial.rows), task, target=target).to_dict(),
        "rows": results,
    }


def _biases(search: ClosedSearch, target: InputTarget) -> tuple[InputBias, ...]:
    """Both ways to come by candidate biases, where there are any and candidates changed."""
    both = search.bias is not None and target == "candidates"
    return ("clean", "again") if both else ("clean",)


def _closers(task: RetrievalTask) -> list[Any]:
    moments = task.query_moments, task.candidate_moments
    plain = [fit("none", *moments, score=score) for score in ("cosine", "euclidean")]
    return plain + [fit(m, *moments) for m in ("mean-shift", "orthogonal-shift", "center-queries")]
