"""Cells of additive noise: the same draws for every closer, shaped and scaled for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isthmus.core.levels import total_variance
from isthmus.perturb.noise import gaussian, uniform
from isthmus.robustness.perturbations import Perturbation
from isthmus.robustness.searches import ClosedSearch, Result
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves import consistency_curve
from isthmus.theory.prediction import keep_probabilities

DECIMALS = 6
"""Predictions are rounded, so that they do not depend on how a sum was cut."""
SHAPED = ("covariance", "in-span", "off-span", "along-gap")


def measure_noise(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    *,
    trials: int,
    seed: int,
) -> list[Result]:
    """Noise after the closer's maps (queries: through their matrices), ``trials`` times.

    ``shared`` is one row of noise per trial that every candidate gets.
    """
    dim = max([task.queries.shape[1], *(search.stored_dims for search in searches)])
    totals = [_total(perturbation, search) for search in searches]
    total = max(totals, default=0.0)
    q_ratio = _ratio(
        _spread_total(perturbation, task.candidates), total, task.queries.shape[1], dim
    )
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
        kept = keep_probabilities(search.clean, total, noisy_dims=search.stored_dims)
        return None if kept is None else round(float(kept.value.mean()), DECIMALS)
    shape = search.candidate_shape(perturbation.family)
    spreads = None if shape is None else shape.spreads(search.queries, 1.0)
    curve = consistency_curve(search.clean, [total], spreads=spreads)
    return None if curve is None else round(float(curve.value[0]), DECIMALS)


def _total(perturbation: Perturbation, search: ClosedSearch) -> float:
    """E‖ε‖² of a perturbation for one closer: under ``spread`` relative to its own, mapped
    candidates."""
    return _spread_total(perturbation, search.candidates[:, : search.stored_dims])


def _spread_total(perturbation: Perturbation, stored: np.ndarray) -> float:
    spread = float(stored.var(axis=0).sum())
    return total_variance(
        perturbation.level, perturbation.convention or "total", stored.shape[1], spread
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
    return single(Ranking.of(q, c, search.score, search.bias))


def single(ranking: Ranking) -> Ranking:
    """Linear terms in the rows' float32, so that score blocks stay float32."""

    def cut(terms: np.ndarray | None) -> np.ndarray | None:
        return None if terms is None else terms.astype(ranking.queries.dtype)

    scale, offset, bias = (cut(t) for t in (ranking.scale, ranking.offset, ranking.bias))
    return replace(ranking, scale=scale, offset=offset, bias=bias)
