"""Perturb, search, compare: every closer through every perturbation, under common draws.

Noise and cuts are drawn alike for all closers; codecs have no draws. :func:`measure_perturbation`
takes one perturbation, :func:`grid` all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from isthmus.closers.maps import Closer
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
from isthmus.perturb.noise import gaussian, stream, uniform
from isthmus.robustness.perturbations import Perturbation, check_perturbation
from isthmus.robustness.searches import ClosedSearch, Result, closed_searches
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves import consistency_curve
from isthmus.theory.prediction import keep_probabilities

DECIMALS = 6
"""Predictions are rounded, so that they do not depend on how a sum was cut."""
SHAPED = ("covariance", "in-span", "off-span", "along-gap")
FLOAT_BYTES = 4


def measure_perturbation(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    *,
    trials: int,
    seed: int,
) -> list[Result]:
    """Perturb, search, compare: one result per search, all under the same noise.

    Noise, dropped dimensions and random projections run ``trials`` times; truncation and codecs,
    which have no chance in them, once.

    Raises:
        OptionError: an unknown family, target, level or convention.
    """
    kind = check_perturbation(perturbation).kind
    if kind == "noise":
        return _measure_noise(task, searches, perturbation, trials, seed)
    if kind == "cut":
        return _measure_cut(task, searches, perturbation, trials, seed)
    return [_measure_codec(task, search, perturbation) for search in searches]


def grid(
    task: RetrievalTask,
    closers: Iterable[Closer],
    perturbations: Sequence[Perturbation],
    *,
    trials: int,
    control_trials: int | None = None,
    seed: int = 0,
    on_perturbation: Callable[[Perturbation], None] | None = None,
) -> list[Result]:
    """Every closer through every perturbation. Noise is common to all closers of a perturbation.

    Results come closer by closer, each through the perturbations in their order.

    Args:
        closers: fitted for this direction; each is searched with its own score.
        trials: noise draws where candidates alone are hit; ``control_trials`` elsewhere
            (queries, both), by default the same.
        on_perturbation: called after each perturbation, for progress bars.
    """
    searches = closed_searches(task, closers)
    results = []
    for perturbation in perturbations:
        count = trials if perturbation.target == "candidates" else (control_trials or trials)
        results += measure_perturbation(task, searches, perturbation, trials=count, seed=seed)
        if on_perturbation is not None:
            on_perturbation(perturbation)
    order = {id(search): i for i, search in enumerate(searches)}
    return sorted(results, key=lambda r: order[id(r.search)])


# --- noise ---


def _measure_noise(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    trials: int,
    seed: int,
) -> list[Result]:
    """Noise after the closer's maps (queries: through their matrices), ``trials`` times.

    ``shared`` is one row of noise per trial that every candidate gets.
    """
    dim = max([task.queries.shape[1], *(search.stored_dims for search in searches)])
    square = task.candidate_square_norm
    totals = [_total(perturbation, s.candidates[:, : s.stored_dims], square) for s in searches]
    total = max(totals, default=0.0)
    asked = _total(perturbation, task.candidates, square)
    q_ratio = _ratio(asked, total, task.queries.shape[1], dim)
    n = len(task.queries)
    k = 1 if perturbation.target == "shared" else len(task.candidates)
    answers = np.empty((len(searches), trials, n), np.int64)
    overlaps = np.full(len(searches), np.nan)
    drawn = uniform if perturbation.family == "uniform" else gaussian
    for trial in range(trials):

        def draw(rows: int, role: str, trial: int = trial) -> np.ndarray:
            return drawn(
                rows, dim, total, seed=seed, trial=trial, role=role, level=perturbation.level
            )

        q_noise = draw(n, "query") if perturbation.target in ("queries", "both") else None
        c_noise = draw(k, "candidate") if perturbation.target != "queries" else None
        for i, search in enumerate(searches):
            ratio = _ratio(totals[i], total, search.stored_dims, dim)
            noisy = _noisy(search, perturbation, q_noise, c_noise, ratio, q_ratio)
            clean = c_noise is None or k == 1 or totals[i] == 0
            answers[i, trial] = task.best(noisy, ties=clean)
            if trial == 0:
                overlaps[i] = search.overlap(noisy)
    results = []
    for i, search in enumerate(searches):
        predicted = _predicted(task, search, perturbation, totals[i])
        results.append(
            Result(perturbation, search, answers[i], trials, float(overlaps[i]), None, predicted)
        )
    return results


def _predicted(
    task: RetrievalTask, search: ClosedSearch, perturbation: Perturbation, total: float
) -> float | None:
    """Mean of D11 or D12 over the queries, where Gaussian noise hits candidates alone.

    Under dot the noise may have any shape: what counts is its spread along each query.
    """
    shaped = perturbation.family in SHAPED and search.score == "dot" and search.closer.memo == 0
    if not (perturbation.family == "gaussian" or shaped) or task.lists is not None:
        return None
    if perturbation.target != "candidates":
        return None
    if search.closer.memo:
        kept = keep_probabilities(
            search.clean, total, noisy_dims=search.stored_dims, items=task.candidate_items
        )
        return None if kept is None else round(float(kept.value.mean()), DECIMALS)
    shape = search.candidate_shape(perturbation.family)
    spreads = None if shape is None else shape.spreads(search.queries, 1.0)
    curve = consistency_curve(search.clean, [total], spreads=spreads, items=task.candidate_items)
    return None if curve is None else round(float(curve.value[0]), DECIMALS)


def _total(perturbation: Perturbation, stored: np.ndarray, square_norm: float) -> float:
    """E‖ε‖² of a perturbation: under ``spread`` relative to the variance of these candidates,
    under ``relative`` to the mean squared norm of the candidates before closing."""
    spread = float(stored.var(axis=0).sum())
    return total_variance(
        perturbation.level, perturbation.convention or "total", stored.shape[1], spread, square_norm
    )


def _ratio(own: float, total: float, own_dim: int, dim: int) -> np.floating | None:
    """What turns noise drawn with ``total`` over ``dim`` coordinates into that of ``own``."""
    if total == 0 or (own == total and own_dim == dim):
        return None
    return np.float32(np.sqrt(own / own_dim) / np.sqrt(total / dim))


def _noisy(
    search: ClosedSearch,
    perturbation: Perturbation,
    q_noise: np.ndarray | None,
    c_noise: np.ndarray | None,
    ratio: np.floating | None,
    q_ratio: np.floating | None,
) -> Ranking:
    """The search under noise.

    Noise on candidates hits what is stored: rows after the map, its memo coordinates apart. Noise
    on queries goes through the map's matrices, if it has any: the query is disturbed, then mapped.
    """
    q, c = search.queries.astype(np.float32), search.candidates.astype(np.float32)
    if q_noise is not None:
        matrices = [m.matrix for m in search.closer.query.steps if m.matrix is not None]
        own = q_ratio if matrices else ratio
        if own is not None:
            q_noise = q_noise * own
        shape = search.query_shape(perturbation.family)
        if shape is not None:
            q_noise = shape(q_noise[:, : search.closer.query.dim])
        for matrix in matrices:
            q_noise = q_noise @ matrix.T.astype(np.float32)
        q = q + q_noise
    if c_noise is not None:
        c_noise = c_noise[:, : search.stored_dims]
        shape = search.candidate_shape(perturbation.family)
        if shape is not None:
            c_noise = shape(c_noise)
        c[:, : search.stored_dims] += c_noise if ratio is None else c_noise * ratio
    return Ranking.of(q, c, search.score, search.bias).single()


# --- codecs ---


def _measure_codec(task: RetrievalTask, search: ClosedSearch, perturbation: Perturbation) -> Result:
    """One search over codes. Target candidates: float queries (asymmetric); both: symmetric.

    ``own`` calibration fits the candidates' codec on half of the candidates and, for ``both``, the
    queries' on half of the queries; ``other`` swaps the two, ``union`` fits both on both halves.
    Where the best are rescored, what is lost splits into what the code loses
    (1 - ``coded_consistency``), what rescoring wins back (up to ``in_shortlist``) and the rest.
    """
    dim = search.stored_dims
    fit_rows = [
        search.candidates[task.candidate_calibration, :dim],
        search.queries[task.query_calibration, :dim],
    ]
    if perturbation.convention == "other":
        fit_rows.reverse()
    elif perturbation.convention == "union":
        fit_rows = [np.vstack(fit_rows)] * 2
    codec, query_codec = (
        fit_codec(perturbation.codec, rows) if perturbation.target in (side, "both") else None
        for side, rows in zip(("candidates", "queries"), fit_rows, strict=True)
    )
    q, c = search.queries, search.candidates
    extra: dict[str, object] = {}
    if codec is None:
        assert query_codec is not None
        asked = np.hstack([query_codec.through(q[:, :dim]), q[:, dim:]])
        coded = Ranking.of(asked, c, search.score, search.bias)
    else:
        unseen = np.setdiff1d(np.arange(len(c)), task.candidate_calibration)
        extra = _codec_columns(codec, c[:, :dim], unseen)
        coded = coded_ranking(
            q, c, codec, score=search.score, bias=search.bias, query_codec=query_codec, stored=dim
        )
    answers = task.best(coded)
    if perturbation.rescored and task.lists is None:
        depth = min(perturbation.rescored, len(c))
        shortlist = top_k(coded, depth).rows
        extra["rescored"] = depth
        extra["coded_consistency"] = float((answers == search.clean_top1).mean())
        found = task.items(shortlist) == search.clean_top1[:, None]
        extra["in_shortlist"] = float(found.any(axis=1).mean())
        answers = task.items(rescore(shortlist, search.clean, 1)[:, 0])
    size = None if codec is None else float(codec.bytes_per_vector(dim))
    return Result(
        perturbation, search, answers[None, :], 1, search.overlap(coded), size, None, extra
    )


def _codec_columns(codec: Codec, rows: np.ndarray, unseen: np.ndarray) -> dict[str, object]:
    """What kind of error the codec makes on the rows under test, and whether its ranges fit them.

    Ranges are looked at on rows that no ``own`` calibration has seen.
    """
    error = measure_error(codec, rows)
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
    """``level`` dimensions are kept (below 1: that share); truncation keeps the first, once."""
    count = 1 if perturbation.family == "truncation" else trials
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
    if perturbation.family == "random-projection":
        down = rng.standard_normal((dim, kept)) / np.sqrt(kept)
        queries, candidates = (
            np.hstack([rows[:, :dim] @ down, rows[:, dim:]]) for rows in (queries, candidates)
        )
    else:
        left = np.zeros(queries.shape[1], bool)
        left[
            np.arange(kept) if perturbation.family == "truncation" else rng.permutation(dim)[:kept]
        ] = True
        left[dim:] = True
        if perturbation.target in ("queries", "both"):
            queries = np.where(left, queries, 0.0)
        if perturbation.target in ("candidates", "both"):
            candidates = np.where(left, candidates, 0.0)
    return Ranking.of(queries, candidates, search.score, search.bias)
