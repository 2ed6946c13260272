"""Perturb, search, compare: every closer through every perturbation, under common draws.

Noise goes by its law or is drawn, cuts are drawn, alike for all closers; codecs have no draws.
:func:`measure_perturbation` takes one perturbation, :func:`measure_perturbations` several,
:func:`grid` all of them for closers that are not set up yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.levels import total_variance
from isthmus.errors import OptionError
from isthmus.perturb.codecs import (
    Codec,
    coded_ranking,
    fit_codec,
    measure_error,
    range_lints,
    rescore,
)
from isthmus.perturb.families import CUTS
from isthmus.perturb.noise import stream
from isthmus.robustness.draws import Drawn
from isthmus.robustness.laws import checks_for, laws
from isthmus.robustness.perturbations import Perturbation, check_perturbation
from isthmus.robustness.searches import HEAD, ClosedSearch, Result, closed_searches
from isthmus.search.scores import Ranking, top_k
from isthmus.search.shared import Moved, Product
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
    on_perturbation: Callable[[Perturbation], None] | None = None,
) -> list[list[Result]]:
    """Every search through every perturbation: for each perturbation one result per search.

    Levels of one kind of noise share their draws, and the product of the rows.

    Args:
        trials: draws where candidates alone are hit; ``control_trials`` elsewhere (queries, both).
        by_law: Gaussian noise goes by its law where there is one, and few draws check it
            (:mod:`isthmus.robustness.laws`).
        on_perturbation: called after each perturbation, for progress bars.
    """
    results: list[list[Result]] = []
    for group in _alike(perturbations):
        first = check_perturbation(group[0])
        count = trials if first.target in ("candidates", "shared") else control_trials or trials
        if first.kind == "noise":
            results += _measure_noise(task, searches, group, count, seed, by_law)
        elif first.kind == "cut":
            results.append(_measure_cut(task, searches, first, count, seed))
        else:
            results.append(_measure_codec(task, searches, first))
        for perturbation in group:
            if on_perturbation is not None:
                on_perturbation(perturbation)
    return results


def _alike(perturbations: Sequence[Perturbation]) -> Iterator[list[Perturbation]]:
    """Runs of noise that differs in its level alone; others by themselves."""
    for _, run in groupby(
        enumerate(perturbations),
        lambda one: replace(one[1], level=0.0) if one[1].kind == "noise" else one[0],
    ):
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

    Results come closer by closer, each through the perturbations in their order.

    Args:
        closers: fitted for this direction; each is searched with its own score.
        the others: as :func:`measure_perturbations` has them.
    """
    found = measure_perturbations(
        task,
        closed_searches(task, closers),
        perturbations,
        trials=trials,
        control_trials=control_trials,
        seed=seed,
        by_law=by_law,
        on_perturbation=on_perturbation,
    )
    return [result for results in zip(*found, strict=True) for result in results]


# --- noise ---


def _measure_noise(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbations: Sequence[Perturbation],
    trials: int,
    seed: int,
    by_law: bool,
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
    for mine, count in ((True, min(trials, checks_for(task))), (False, trials)):
        places = [i for i, law in enumerate(lawful) if law is mine]
        if places:
            some = [searches[i] for i in places]
            found = Drawn.of(task, some, perturbations, sizes[:, places], trials=count, seed=seed)
            drawn |= {i: (found, place) for place, i in enumerate(places)}
    for p, perturbation in enumerate(perturbations):
        for i, search in enumerate(searches):
            found, place = drawn[i]
            law = known[i]
            answers = found.answers[p, place]
            results[p].append(
                Result(
                    perturbation,
                    search,
                    answers,
                    len(answers),
                    float(found.overlaps[p, place]),
                    None,
                    None if law is None else round(float(law[p].kept.mean()), DECIMALS),
                    law=law[p] if law is not None and lawful[i] else None,
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
    stored = search.candidates[:, : search.stored_dims]
    return _variance(perturbation, stored, search.task.candidate_square_norm)


def _asked(task: RetrievalTask, perturbation: Perturbation) -> float:
    return _variance(perturbation, task.candidates, task.candidate_square_norm)


def _variance(perturbation: Perturbation, stored: np.ndarray, square_norm: float) -> float:
    """E‖ε‖² of a perturbation: under ``spread`` relative to the variance of these candidates,
    under ``relative`` to the mean squared norm of the candidates before closing."""
    spread = float(stored.var(axis=0).sum())
    return total_variance(
        perturbation.level, perturbation.convention or "total", stored.shape[1], spread, square_norm
    )


# --- codecs ---


def _measure_codec(
    task: RetrievalTask, searches: Sequence[ClosedSearch], perturbation: Perturbation
) -> list[Result]:
    """One search over codes. Target candidates: float queries (asymmetric); both: symmetric.

    ``own`` calibration fits the candidates' codec on half of the candidates and, for ``both``, the
    queries' on half of the queries; ``other`` swaps the two, ``union`` fits both on both halves.
    Closers that store the same rows share the codec, the codes and their product with the queries.
    """
    found: dict[int, Result] = {}
    left = list(range(len(searches)))
    while left:
        alike = [i for i in left if _stores_alike(searches[left[0]], searches[i], perturbation)]
        left = [i for i in left if i not in alike]
        some = [searches[i] for i in alike]
        found |= dict(zip(alike, _coded(task, some, perturbation), strict=True))
    return [found[i] for i in range(len(searches))]


def _stores_alike(one: ClosedSearch, other: ClosedSearch, perturbation: Perturbation) -> bool:
    """Whether two searches have the same codec and codes of candidates."""
    if one is other:
        return True
    own = perturbation.target == "candidates" and perturbation.convention in (None, "own")
    if not own or one.stored_dims != other.stored_dims:
        return False
    dim = one.stored_dims
    return np.array_equal(one.candidates[:, :dim], other.candidates[:, :dim])


def _coded(
    task: RetrievalTask, searches: Sequence[ClosedSearch], perturbation: Perturbation
) -> list[Result]:
    """Results of searches that store the same rows."""
    first = searches[0]
    dim = first.stored_dims
    fit_rows = [
        first.candidates[task.candidate_calibration, :dim],
        first.queries[task.query_calibration, :dim],
    ]
    if perturbation.convention == "other":
        fit_rows.reverse()
    elif perturbation.convention == "union":
        fit_rows = [np.vstack(fit_rows)] * 2
    codec, query_codec = (
        fit_codec(perturbation.codec, rows) if perturbation.target in (side, "both") else None
        for side, rows in zip(("candidates", "queries"), fit_rows, strict=True)
    )
    extra: dict[str, object] = {}
    stored = None
    if codec is not None:
        unseen = np.setdiff1d(np.arange(len(first.candidates)), task.candidate_calibration)
        stored = np.asarray(codec.through(first.candidates[:, :dim]), np.float64)
        extra = _codec_columns(codec, first.candidates[:, :dim], stored, unseen)
    rankings = [_coded_ranking(s, codec, query_codec, stored) for s in searches]
    answers, overlaps = _searched(task, searches, rankings, codec, query_codec, stored)
    results = []
    for search, coded, best, overlap in zip(searches, rankings, answers, overlaps, strict=True):
        own = dict(extra)
        if perturbation.rescored and task.lists is None:
            best, more = _rescored(task, search, coded, best, perturbation.rescored)
            own |= more
        size = None if codec is None else float(codec.bytes_per_vector(dim))
        results.append(Result(perturbation, search, best[None, :], 1, overlap, size, None, own))
    return results


def _coded_ranking(
    search: ClosedSearch, codec: Codec | None, query_codec: Codec | None, stored: np.ndarray | None
) -> Ranking:
    q, c, dim = search.queries, search.candidates, search.stored_dims
    if codec is not None:
        return coded_ranking(
            q,
            c,
            codec,
            score=search.score,
            bias=search.bias,
            query_codec=query_codec,
            stored=dim,
            coded=stored,
        )
    assert query_codec is not None
    asked = np.hstack([query_codec.through(q[:, :dim]), q[:, dim:]])
    return Ranking.of(asked, c, search.score, search.bias)


def _searched(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    rankings: Sequence[Ranking],
    codec: Codec | None,
    query_codec: Codec | None,
    stored: np.ndarray | None,
) -> tuple[list[np.ndarray], list[float]]:
    """First answers and overlaps at ten; float queries that were only moved share a product."""
    moves: list[Moved | None] = [None] * len(searches)
    product = None
    floats = query_codec is None and not hasattr(codec, "query_through")
    if stored is not None and floats and task.lists is None:
        product = Product.of(task.queries, stored)
        for i, (search, ranking) in enumerate(zip(searches, rankings, strict=True)):
            if search.moved is not None and search.moved.rate is None:
                moves[i] = Moved.of(product, ranking, (search.moved.moves[0], None))
    heads: dict[int, list[tuple[int, np.ndarray]]] = {}

    def watch(i: int, part: slice, scores: np.ndarray) -> None:
        if part.start < HEAD:
            top = searches[i].top_of(scores[: HEAD - part.start])
            heads.setdefault(i, []).append((part.start, top))

    answers = task.answers(list(zip(rankings, moves, strict=True)), product, watch)
    overlaps = [
        search.overlap(ranking.single())
        if i not in heads
        else search.overlap_of(
            np.concatenate([top for _, top in sorted(heads[i], key=itemgetter(0))])
        )
        for i, (search, ranking) in enumerate(zip(searches, rankings, strict=True))
    ]
    return answers, overlaps


def _rescored(
    task: RetrievalTask, search: ClosedSearch, coded: Ranking, best: np.ndarray, asked: int
) -> tuple[np.ndarray, dict[str, object]]:
    """Answers after the best by code are ranked again in float, and what that says of them.

    What is lost splits into what the code loses (1 - ``coded_consistency``), what rescoring wins
    back (up to ``in_shortlist``) and the rest.
    """
    depth = min(asked, len(search.candidates))
    shortlist = top_k(coded, depth).rows
    found = task.items(shortlist) == search.clean_top1[:, None]
    extra: dict[str, object] = {
        "rescored": depth,
        "coded_consistency": float((best == search.clean_top1).mean()),
        "in_shortlist": float(found.any(axis=1).mean()),
    }
    return task.items(rescore(shortlist, search.clean, 1)[:, 0]), extra


def _codec_columns(
    codec: Codec, rows: np.ndarray, coded: np.ndarray, unseen: np.ndarray
) -> dict[str, object]:
    """What kind of error the codec makes on the rows under test, and whether its ranges fit them.

    Ranges are looked at on rows that no ``own`` calibration has seen.
    """
    error = measure_error(codec, rows, coded=coded)
    found: dict[str, object] = {
        "codec_error": float(f"{error.squared:.9g}"),
        "codec_slope": round(error.slope, 9),
        "codec_error_kind": error.kind,
    }
    for lint in range_lints(codec, {"stored": rows[unseen]}) if len(unseen) else ():
        found |= {"codec_outside": lint.outside, "codec_would_wrap": lint.wrapped}
    return found


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
