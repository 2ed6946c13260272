"""From two inputs to advice: settings are chosen on some queries and reported on the others.

open -> split -> fit (train queries, all candidates) -> try settings on the train queries
  (validation) -> the closer: fewest flips there, or a plainer one that is nearly as good
  -> test: floor, flips removed with their interval, accuracy -> words
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isthmus.closers import fit
from isthmus.core.arrays import UNIT_TOLERANCE
from isthmus.core.checks import at_least, in_range
from isthmus.core.levels import usual_convention
from isthmus.core.progress import Progress, quiet
from isthmus.core.seeds import stream
from isthmus.core.threads import one_blas_thread
from isthmus.data.row_stats import InputWarning, broken_of, worst_first
from isthmus.metrics.warnings import collapsed
from isthmus.report.words import gallery_lines
from isthmus.robustness import Perturbation, check_perturbation, perturbations_at, trials_for
from isthmus.robustness.gallery import gallery_figures, is_sampled, sampled_note
from isthmus.search.opening import Right, item_notes
from isthmus.search.scores import SCORES
from isthmus.search.task import RetrievalTask
from isthmus.workflows.recommendation.advice import Advice
from isthmus.workflows.recommendation.deciding import (
    DEFAULT_FLOOR,
    Decision,
    Rules,
    decide,
    ranked,
    why_nothing,
)
from isthmus.workflows.recommendation.parts import Part
from isthmus.workflows.recommendation.settings import FitRows, checked_closers
from isthmus.workflows.recommendation.trying import Trials, accuracy_gains, tested, try_all
from isthmus.workflows.recommendation.wording import notes_of

TRIALS = 20
LEAST_TRIALS = 4
MAX_QUERIES = 1000
MAX_CANDIDATES = 4000


@dataclass(frozen=True)
class Question:
    """What is asked of :func:`advise`; the fields are options of :func:`recommend`."""

    perturb: str = "gaussian"
    targets: str = "candidates"
    levels: float | Sequence[float] | None = None
    convention: str | None = None
    floor: float = DEFAULT_FLOOR
    floats_per_candidate: int = 1
    closers: str | Iterable[str] | None = None
    fit_share: float = 0.5
    trials: int | None = None
    seed: int = 0
    rescored: int = 0
    perturbations: tuple[Perturbation, ...] = field(init=False)
    names: tuple[str, ...] = field(init=False)
    rules: Rules = field(init=False)

    def __post_init__(self) -> None:
        in_range(self.fit_share, "fit_share", "bad-share", above=0, below=1)
        if self.trials is not None:
            at_least(self.trials, 1, "trials", "bad-number")
        at_least(self.seed, 0, "seed", "bad-number")
        found = perturbations_at(self.perturb, self.targets, self.levels, self.convention)
        if self.rescored:
            found = tuple(check_perturbation(replace(p, rescored=self.rescored)) for p in found)
        control = found[0].kind == "noise" and self.targets == "queries"
        rules = Rules(self.floor, self.floats_per_candidate, self.seed, control)
        object.__setattr__(self, "perturbations", found)
        object.__setattr__(self, "names", checked_closers(self.closers))
        object.__setattr__(self, "rules", rules)

    def about(self, task: RetrievalTask) -> Question:
        """The same question, with the usual level convention of the task's rows where none is
        said."""
        if self.convention is not None or self.perturbations[0].kind != "noise":
            return self
        return replace(self, convention=usual_convention(task.unit_rows))

    def setup(self, task: RetrievalTask, trials: Trials) -> dict[str, Any]:
        """What was asked of which rows, in the spelling of JSON."""
        first = self.perturbations[0]
        levels = [perturbation.level for perturbation in self.perturbations]
        return {
            "score": task.score,
            "side": self.targets,
            "family": self.perturb,
            "levels": levels if first.kind != "codec" or len(levels) > 1 else [],
            "convention": first.convention,
            "rescored": self.rescored,
            "floor": self.floor,
            "beside": self.floats_per_candidate,
            "unit_rows": task.normalised,
            "calibration_queries": len(trials.validation.rows),
            "judging_queries": len(trials.test.rows),
            "candidates": len(task.candidates),
            "dim": task.candidates.shape[1],
            "trials": [trials.validation.trials, trials.test.trials],
            "seed": self.seed,
            "flip_reference": first.flip_reference,
        }


@one_blas_thread()
def recommend(
    queries: Any,
    candidates: Any,
    *,
    relevance: Any = None,
    labels: Any = None,
    paired: bool | None = None,
    query_items: Any = None,
    candidate_items: Any = None,
    score: str = "cosine",
    perturb: str = "gaussian",
    targets: str = "candidates",
    levels: float | Sequence[float] | None = None,
    convention: str | None = None,
    rescored: int = 0,
    floor: float = DEFAULT_FLOOR,
    floats_per_candidate: int = 1,
    closers: str | Iterable[str] | None = None,
    fit_share: float = 0.5,
    trials: int | None = None,
    max_queries: int = MAX_QUERIES,
    max_candidates: int = MAX_CANDIDATES,
    seed: int = 0,
    engine: Any = None,
    progress: Progress | None = None,
) -> Advice:
    """Which closer for these rows, this score and this perturbation, or nothing, and why.

    Args:
        queries, candidates: (n, d) and (K, d) arrays or tensors, paths, globs or ``RowSource``.
            Rows are normalised first under cosine, and where all norms are 1.
        relevance, labels, paired: what is right, see :func:`isthmus.open_task`; where nothing is
            known only flips and agreement are measured.
        query_items, candidate_items: names of items, arrays or files of them: rows with one name
            are one item. Rows that repeat an earlier row exactly are one by themselves.
        score: how you search today: dot, cosine or euclidean.
        perturb: noise (gaussian, uniform, …), a cut, or a codec by name (rabitq, sq8, pq32x8).
        targets: what is hit: candidates, queries, both, or shared (one draw for all candidates).
        levels: variances of noise, bins, dimensions kept; None takes the stress grid's.
        convention: of a variance: total, coordinate, spread or relative; None: total for rows of
            unit norm, else relative.
        rescored: codecs only: so many of the best by code are ranked again in float.
        floor: least share of today's answers that a closer must keep undisturbed, 0 to 1.
        floats_per_candidate: most floats that may be kept besides each vector: 1 allows a
            candidate bias, 0 only what any store can do, more a ``low-rank-memo`` of that rank.
        closers: names to consider; None: all that apply.
        fit_share: part of the queries that closers are fitted and settings are chosen on.
        trials: draws on the test queries, a third of it for validation; None: by size.
        max_queries, max_candidates: most that are read, seeded samples.
        seed: of samples, split and all draws. progress: called with (what, done, all).
        engine: searches a whole gallery (``docs/gallery.md``), see
            :func:`isthmus.engines.open_engine`; None: threads of this process.

    Cost: about as many searches of n × K as closers times settings times trials; on 500 × 500 in
    512 dimensions well below a minute.

    Raises:
        IsthmusError: rows or options that are refused; the sentence says why.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(size=(80, 16)) + 1
    >>> captions = images + 0.1 * rng.normal(size=(80, 16)) - 2
    >>> advice = recommend(captions, images, perturb="sq8", closers="center-queries")
    >>> advice.nothing, advice.setup["flip_reference"], [row.closer for row in advice.closers][0]
    (True, 'today', 'none')
    """
    question = Question(
        perturb,
        targets,
        levels,
        convention,
        floor,
        floats_per_candidate,
        closers,
        fit_share,
        trials,
        seed,
        rescored,
    )
    right = Right(relevance, labels, paired, query_items, candidate_items)
    task, found = right.open(
        queries,
        candidates,
        score=score,
        max_rows=max_candidates,
        unit_tolerance=UNIT_TOLERANCE,
        seed=seed,
        progress=progress,
    )
    if task.normalised:
        for name, rows in (("queries", task.queries), ("candidates", task.candidates)):
            found += collapsed(name, rows)
    task = task.distinct().sample(max_queries, stream("recommend.sample", seed))
    advice = advise(task, question, progress, worst_first(found))
    if not is_sampled(task):
        return advice
    return _among_all(advice, task, question.about(task), engine, progress)


def _among_all(
    advice: Advice, task: RetrievalTask, question: Question, engine: Any, progress: Progress | None
) -> Advice:
    """The same advice with what the law says of its closer among all candidates."""
    assert task.candidate_input is not None
    name, rows = task.candidate_input.name, task.candidate_input.source.rows
    notes = [*advice.notes, sampled_note(len(task.candidates), rows, name)]
    asked, found = question.perturbations, None
    if (asked[0].family, asked[0].target) == ("gaussian", "candidates"):
        moments = task.query_moments, task.candidate_moments
        plain = [fit("none", *moments, score=s, normalised=task.normalised) for s in SCORES]
        closers = [*plain, *([] if advice.closer.name == "none" else [advice.closer])]
        levels = [perturbation.level for perturbation in asked]
        found = gallery_figures(
            task,
            closers,
            levels,
            asked[0].convention or "total",
            seed=question.seed,
            engine=engine,
            progress=progress,
        ).to_dict()
        notes += gallery_lines(found)
    return replace(advice, gallery=found, notes=tuple(notes))


def advise(
    task: RetrievalTask,
    question: Question | None = None,
    progress: Progress | None = None,
    warnings: Sequence[InputWarning] = (),
) -> Advice:
    """The same for a task in memory: all its queries, its candidates, its score.

    ``warnings``: what was found in its rows; nothing is recommended where every number is broken.

    Raises:
        ShapeError: fewer than 4 queries or 2 candidates.
    """
    question = (question or Question()).about(task)
    say = progress or quiet
    train, test = task.split(question.fit_share, stream("recommend.split", question.seed))
    trials = trials_of(task, train, test, question)
    tried, skipped = try_all(trials, question.names, say)
    rows = ranked(tested(trials, tried, say))
    changes = accuracy_gains(trials, tried)
    setup = question.setup(task, trials)
    decision = decide(question.rules, rows, setup)
    broken = broken_of(warnings)
    if broken is not None:
        plain_search = next(row for row in rows if row.is_plain)
        decision = Decision(plain_search, True, f"no recommendation: {why_nothing(broken)}")
    figures = [row.figures for row in rows]
    plain = next(row.figures for row in rows if row.is_plain)
    taken = decision.taken.figures
    return Advice(
        taken.closer,
        taken.score,
        taken.options,
        decision.nothing,
        decision.reason,
        (
            *(w.text for w in item_notes(task)),
            *notes_of(decision.best, figures, plain, changes, setup),
        ),
        decision.taken.closer,
        tuple(figures),
        tuple(changes),
        plain,
        decision.control,
        skipped,
        setup,
        tuple(warnings),
    )


def trials_of(
    task: RetrievalTask,
    train: np.ndarray,
    test: np.ndarray,
    question: Question,
    fit_rows: FitRows | None = None,
) -> Trials:
    """Both parts of the queries. Codecs are fitted on the train queries, and on a seeded half of
    the candidates. ``fit_rows``: where they are known already."""
    count = len(task.candidates)
    drawn = stream("recommend.codec-rows", question.seed).permutation(count)
    half = np.sort(drawn[: max(1, count // 2)])
    task = replace(task, candidate_calibration=half, query_calibration=train)
    draws = question.trials or trials_for(len(test), count, TRIALS, LEAST_TRIALS)
    perturbations, seed, by_law = question.perturbations, question.seed, question.trials is None
    return Trials(
        Part.of(
            task, train, perturbations, trials=max(2, draws // 3), seed=seed + 0x5EED, by_law=by_law
        ),
        Part.of(task, test, perturbations, trials=draws, seed=seed, by_law=by_law),
        fit_rows or FitRows.of(task, train, perturbations),
        task.score,
        question.rules,
    )
