"""Perturbed inputs of the demo: which are tried, in which task, on which side.

Four tasks over the same rows:

* *find the picture*: queries are names, the gallery is pictures that were re-encoded as JPEG,
  scaled down and up, or corrupted;
* *name the picture*: queries are pictures, candidates are names with typing errors, in capitals
  or inside a prompt;
* *which category*: queries are pictures, candidates are the nine category names under another
  prompt template (the rephrasing of the base paper);
* *quiz*: which of four names, rephrased.

Each is played by plain search and by every closer under its own score. The queries' side is the
control: pictures as queries, corrupted, where no exact closing can help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from isthmus.closers import fit
from isthmus.core.seeds import stream
from isthmus.data.moments import Moments
from isthmus.perturb.images import ImagePerturbation
from isthmus.perturb.templates import TEMPLATES, wrap
from isthmus.perturb.text import TextPerturbation
from isthmus.robustness import ClosedSearch, closed_searches, row_of
from isthmus.robustness.inputs import InputSide, diagnose, measure_inputs
from isthmus.search.relevance import Relevance, relevance_by_labels, relevance_by_pairs
from isthmus.search.task import RetrievalTask
from isthmus.workflows.demo.quiz import emoji_quiz
from isthmus.workflows.demo.rows import DemoRows

CLEAN_TEMPLATE = TEMPLATES[0]
CORRUPTION = ("gaussian_noise", "defocus_blur", "brightness", "pixelate")
"""Run where the corruptions extra is installed; the demo itself does without."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One perturbation ready to be measured: what it is, and its rows (several draws)."""

    task: str
    problem: RetrievalTask
    side: InputSide
    family: str
    level: float
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


def trials(rows: DemoRows, *, seed: int, draws: int = 5) -> Iterator[Trial]:
    """Every perturbation of the demo, encoded when its turn comes."""
    n = len(rows.names)
    pairs = relevance_by_pairs(n, n)
    find = _problem("names_to_pictures", rows.names, rows.unseen, pairs, seed)
    name = _problem("pictures_to_names", rows.unseen, rows.names, pairs, seed)
    for perturbation in image_perturbations():
        pictures = [perturbation.apply(p, seed, i) for i, p in enumerate(rows.pictures)]
        changed = rows.images(pictures)
        level, words = float(perturbation.level), perturbation.describe()
        yield Trial(
            "find the picture", find, "candidates", perturbation.family, level, words, [changed]
        )
        yield Trial(
            "name the picture", name, "queries", perturbation.family, level, words, [changed]
        )
    lists, truth = emoji_quiz(rows.world, seed=seed)
    quiz = _problem("quiz", rows.unseen, rows.names, truth, seed, lists)
    for edit in text_perturbations():
        drawn = [
            rows.texts([edit.apply(t, seed + d, i).text for i, t in enumerate(rows.world.texts())])
            for d in range(1 if edit.family.startswith("case") else draws)
        ]
        level, words = float(edit.level), edit.describe()
        yield Trial("name the picture", name, "candidates", edit.family, level, words, drawn)
        yield Trial("quiz", quiz, "candidates", edit.family, level, words, drawn)
    yield _categories(rows, seed)


def _categories(rows: DemoRows, seed: int) -> Trial:
    names = rows.world.category_texts()
    clean = rows.texts([wrap(c, CLEAN_TEMPLATE) for c in names])
    truth = relevance_by_labels(rows.world.category_of, len(rows.unseen), len(names))
    problem = _problem("pictures_to_categories", rows.unseen, clean, truth, seed)
    swapped = [rows.texts([wrap(c, t) for c in names]) for t in TEMPLATES[1:]]
    words = f"'{CLEAN_TEMPLATE}' becomes each of {len(swapped)} other templates"
    return Trial("which category", problem, "candidates", "template", 1.0, words, swapped)


def _problem(
    direction: str,
    queries: np.ndarray,
    candidates: np.ndarray,
    truth: Relevance,
    seed: int,
    lists: np.ndarray | None = None,
) -> RetrievalTask:
    rng = stream("demo.inputs", seed)
    task = RetrievalTask.of(queries, candidates, truth, direction=direction, lists=lists)
    return task.calibrated(rng)


def measure_trials(
    rows: DemoRows, *, seed: int, progress: Callable[[str, int, int], None]
) -> list[dict[str, Any]]:
    """Every trial played by every closer: rows of the table, each trial with its diagnosis."""
    found = []
    total = 2 * len(image_perturbations()) + 2 * len(text_perturbations()) + 1
    searches: dict[str, list[ClosedSearch]] = {}
    for done, trial in enumerate(trials(rows, seed=seed), start=1):
        problem = trial.problem
        if problem.direction not in searches:
            searches[problem.direction] = closed_searches(problem, _closers(problem))
        clean = problem.queries if trial.side == "queries" else problem.candidates
        moved = np.concatenate(trial.rows)
        verdict = diagnose(
            np.tile(clean, (len(trial.rows), 1)),
            moved,
            problem.queries,
            problem.candidates,
            side=trial.side,
        )
        perturbations = []
        for search in searches[problem.direction]:
            for bias in _biases(search, trial.side):
                result = measure_inputs(
                    problem,
                    search,
                    trial.rows,
                    side=trial.side,
                    family=trial.family,
                    level=trial.level,
                    bias=bias,  # type: ignore[arg-type]
                )
                perturbations.append(row_of(problem, result, seed) | {"bias": bias})
        found.append(
            {
                "task": trial.task,
                "side": trial.side,
                "family": trial.family,
                "level": trial.level,
                "words": trial.words,
                "draws": len(trial.rows),
                "diagnosis": verdict.to_dict(),
                "rows": perturbations,
            }
        )
        progress("inputs", done, total)
    return found


def _biases(search: ClosedSearch, side: InputSide) -> tuple[str, ...]:
    """Both ways to come by stored numbers, where there are any and candidates changed."""
    return ("clean", "again") if search.bias is not None and side == "candidates" else ("clean",)


def _closers(problem: RetrievalTask) -> list[Any]:
    queries, candidates = (
        Moments.of(rows, precise=True, normalised=True)
        for rows in (problem.queries, problem.candidates)
    )
    plain = [fit("none", queries, candidates, score=s) for s in ("cosine", "euclidean")]
    return [
        *plain,
        *(
            fit(m, queries, candidates)
            for m in ("mean-shift", "orthogonal-shift", "center-queries")
        ),
    ]
