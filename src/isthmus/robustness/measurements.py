"""Perturb, search, compare: every closer through every perturbation, under common draws.

Noise goes by its law or is drawn, cuts are drawn, alike for all closers; codecs have no draws.
:func:`measure_perturbation` takes one perturbation, :func:`measure_perturbations` several,
:func:`grid` all of them for closers that are not set up yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.levels import total_variance
from isthmus.errors import OptionError
from isthmus.perturb.families import CUTS
from isthmus.perturb.noise import stream
from isthmus.robustness.coded import measure_codecs
from isthmus.robustness.draws import Drawn, checked_queries
from isthmus.robustness.laws import checks_for, laws
from isthmus.robustness.perturbations import Perturbation, check_perturbation
from isthmus.robustness.searches import ClosedSearch, Result, closed_searches
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask

DECIMALS = 6
"""Predictions are rounded, so that they do not depend on how a sum was cut."""
FLOAT_BYTES = 4


def measure_perturbation(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    *,
    trials: int,
    seed: int,
    by_law: bool = False,
) -> list[Result]:
    """Perturb, search, compare: one result per search, all under the same noise.

    Noise, dropped dimensions and random projections run ``trials`` times; truncation and codecs,
    which have no chance in them, once. ``by_law``: see :func:`measure_perturbations`.

    Raises:
        OptionError: an unknown family, target, level or convention.
    """
    return measure_perturbations(
        task, searches, [perturbation], trials=trials, seed=seed, by_law=by_law
    )[0]


def measure_perturbations(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbations: Sequence[Perturbation],
    *,
    trials: int,
    seed: int,
    control_trials: int | None = None,
    by_law: bool = False,
    tabled: int | None = None,
    on_perturbation: Callable[[Perturbation], None] | None = None,
) -> list[list[Result]]:
    """Every search through every perturbation: for each perturbation one result per search.

    Levels of one kind of noise share their draws, and the product of the rows; codecs of what is
    stored alike share codes and products.

    Args:
        trials: draws where candidates alone are hit; ``control_trials`` elsewhere (queries, both).
        by_law: Gaussian noise goes by its law where there is one, and few draws check it
            (:mod:`isthmus.robustness.laws`).
        tabled: how many searches, from the first on, stand in a table: of the others no overlap, no
            error of the codec and no check of a law is found. None: all.
        on_perturbation: called after each perturbation, for progress bars.
    """
    results: list[list[Result]] = []
    for group in _alike(perturbations):
        first = check_perturbation(group[0])
        count = trials if first.target in ("candidates", "shared") else control_trials or trials
        if first.kind == "noise":
            results += _measure_noise(task, searches, group, count, seed, by_law, tabled)
        elif first.kind == "cut":
            results.append(_measure_cut(task, searches, first, count, seed))
        else:
            results += measure_codecs(task, searches, group, tabled)
        for perturbation in group:
            if on_perturbation is not None:
                on_perturbation(perturbation)
    return results


def _alike(perturbations: Sequence[Perturbation]) -> Iterator[list[Perturbation]]:
    """Runs of noise that differs in its level alone, and of codecs of the same rows; cuts by
    themselves."""

    def kind(one: tuple[int, Perturbation]) -> object:
        place, perturbation = one
        if perturbation.kind == "noise":
            return replace(perturbation, level=0.0)
        codec = perturbation.kind == "codec"
        return (perturbation.target, perturbation.convention) if codec else place

    for _, run in groupby(enumerate(perturbations), kind):
        yield [check_perturbation(perturbation) for _, perturbation in run]


def grid(
    task: RetrievalTask,
    closers: Iterable[Closer],
    perturbations: Sequence[Perturbation],
    *,
    trials: int,
    control_trials: int | None = None,
    seed: int = 0,
    by_law: bool = False,
    on_perturbation: Callable[[Perturbation], None] | None = None,
) -> list[Result]:
    """Every closer through every perturbation. Noise is common to all closers of a perturbation.

    Results come closer by closer, each through the perturbations in their order. Codes are measured
    first, whose memory would else be held beside the draws that are kept.

    Args:
        closers: fitted for this direction; each is searched with its own score.
        the others: as :func:`measure_perturbations` has them.
    """
    searches = closed_searches(task, closers)
    codes_first = sorted(perturbations, key=lambda one: one.kind == "noise")
    measured = measure_perturbations(
        task,
        searches,
        codes_first,
        trials=trials,
        control_trials=control_trials,
        seed=seed,
        by_law=by_law,
        on_perturbation=on_perturbation,
    )
    found = dict(zip(codes_first, measured, strict=True))
    return [found[perturbation][i] for i in range(len(searches)) for perturbation in perturbations]


# --- noise ---


def _measure_noise(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbations: Sequence[Perturbation],
    trials: int,
    seed: int,
    by_law: bool,
    tabled: int | None,
) -> list[list[Result]]:
    """Noise after the closer's maps (queries: through their matrices), ``trials`` times.

    ``shared`` is one row of noise per trial that every candidate gets. The perturbations differ in
    their level alone.
    """
    totals = np.array([[_total(p, s) for s in searches] for p in perturbations])
    sizes = _deviations(task, searches, perturbations, totals)
    known = laws(task, searches, perturbations[0], totals, sizes, seed)
    lawful = [by_law and law is not None and law[0].today is not None for law in known]
    results: list[list[Result]] = [[] for _ in perturbations]
    drawn: dict[int, tuple[Drawn, int]] = {}
    checked = checked_queries(task, seed)
    for mine, count in ((True, min(trials, checks_for(task))), (False, trials)):
        shown = len(searches) if tabled is None or not mine else tabled
        places = [i for i, law in enumerate(lawful[:shown]) if law is mine]
        if places:
            some = [searches[i] for i in places]
            found = Drawn.of(
                task,
                some,
                perturbations,
                sizes[:, places],
                trials=count,
                seed=seed,
                rows=checked if mine else None,
            )
            drawn |= {i: (found, place) for place, i in enumerate(places)}
    for p, perturbation in enumerate(perturbations):
        for i, search in enumerate(searches):
            law = known[i]
            answers, overlap = np.empty((0, len(task.queries)), np.int64), float("nan")
            if i in drawn:
                found, place = drawn[i]
                answers, overlap = found.answers[p, place], float(found.overlaps[p, place])
            results[p].append(
                Result(
                    perturbation,
                    search,
                    answers,
                    len(answers),
                    overlap,
                    None,
                    None if law is None else round(float(law[p].kept.mean()), DECIMALS),
                    law=law[p] if law is not None and lawful[i] else None,
                    checked_rows=checked if lawful[i] and i in drawn else None,
                )
            )
    return results


def _deviations(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbations: Sequence[Perturbation],
    totals: np.ndarray,
) -> np.ndarray:
    """Standard deviation of a coordinate of the queries' and of the candidates' noise,
    (perturbations, searches, 2); 0 where a side is not hit.

    Noise on queries is that of the candidates, unless the query's map has a matrix: then it is what
    was asked of the rows before it.
    """
    target = perturbations[0].target
    out = np.zeros((*totals.shape, 2))
    for i, search in enumerate(searches):
        stored = np.sqrt(totals[:, i] / search.stored_dims)
        asked = stored
        if any(step.matrix is not None for step in search.closer.query.steps):
            dim = task.queries.shape[1]
            asked = np.sqrt([_asked(task, p) / dim for p in perturbations])
        if target in ("queries", "both"):
            out[:, i, 0] = asked
        if target != "queries":
            out[:, i, 1] = stored
    return out


def _total(perturbation: Perturbation, search: ClosedSearch) -> float:
    square, dims = search.task.candidate_square_norm, search.stored_dims
    return _variance(perturbation, dims, lambda: search.stored_variance, square)


def _asked(task: RetrievalTask, perturbation: Perturbation) -> float:
    dim, square = task.candidates.shape[1], task.candidate_square_norm
    return _variance(perturbation, dim, lambda: task.candidate_variance, square)


def _variance(
    perturbation: Perturbation, dim: int, spread: Callable[[], float], square_norm: float
) -> float:
    """E‖ε‖² of a perturbation: under ``spread`` relative to the variance of these candidates,
    under ``relative`` to the mean squared norm of the candidates before closing."""
    convention = perturbation.convention or "total"
    variance = spread() if convention == "spread" else 0.0
    return total_variance(perturbation.level, convention, dim, variance, square_norm)


# --- cuts ---


def _measure_cut(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    trials: int,
    seed: int,
) -> list[Result]:
    """``level`` dimensions are kept (below 1: that share), once where the cut draws nothing."""
    count = trials if CUTS[perturbation.family].random else 1
    results = []
    for search in searches:
        kept = _dimensions_kept(perturbation, search.stored_dims)
        answers = np.empty((count, len(task.queries)), np.int64)
        overlap = float("nan")
        for trial in range(count):
            cut = _cut(search, perturbation, kept, seed, trial)
            answers[trial] = task.best(cut)
            if trial == 0:
                overlap = search.overlap(cut)
        size = float(FLOAT_BYTES * kept) if perturbation.target != "queries" else None
        results.append(Result(perturbation, search, answers, count, overlap, size, None))
    return results


def _dimensions_kept(perturbation: Perturbation, dim: int) -> int:
    """What the level means for vectors of ``dim`` dimensions: at least 1, at most all."""
    wanted = perturbation.level * dim if perturbation.level < 1 else perturbation.level
    if perturbation.level >= 1 and wanted != int(wanted):
        raise OptionError(
            "bad-level",
            f"{perturbation.family} keeps {perturbation.level:g} dimensions; "
            "expected a whole number",
        )
    return int(np.clip(round(wanted), 1, dim))


def _cut(
    search: ClosedSearch, perturbation: Perturbation, kept: int, seed: int, trial: int
) -> Ranking:
    dim = search.stored_dims
    rng = np.random.Generator(
        np.random.SFC64(stream(seed, trial, "candidate", perturbation.level, 0))
    )
    queries, candidates = search.queries, search.candidates
    cut = np.asarray(CUTS[perturbation.family].cut(rng, dim, kept))
    if cut.ndim == 2:
        queries, candidates = (
            np.hstack([rows[:, :dim] @ cut, rows[:, dim:]]) for rows in (queries, candidates)
        )
    else:
        left = np.zeros(queries.shape[1], bool)
        left[cut] = True
        left[dim:] = True
        if perturbation.target in ("queries", "both"):
            queries = np.where(left, queries, 0.0)
        if perturbation.target in ("candidates", "both"):
            candidates = np.where(left, candidates, 0.0)
    return Ranking.of(queries, candidates, search.score, search.bias)
