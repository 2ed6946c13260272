"""Cells of additive noise: the same draws for every closer, shaped and scaled for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.perturb.noise import gaussian, total_variance, uniform
from isthmus.predict import keep_probabilities
from isthmus.scores import Ranking
from isthmus.stress.cells import Cell
from isthmus.stress.problems import Play, Problem, Result
from isthmus.sweep import consistency_curve

DECIMALS = 6
"""Predictions are rounded, so that they do not depend on how a sum was cut."""
SHAPED = ("covariance", "in-span", "off-span", "along-gap")


def measure_noise(
    problem: Problem, plays: Sequence[Play], cell: Cell, *, trials: int, seed: int
) -> list[Result]:
    """Noise after the closer's maps (queries: through their matrices), ``trials`` times.

    ``shared`` is one row of noise per trial that every candidate gets.
    """
    dim = max([problem.queries.shape[1], *(play.stored_dims for play in plays)])
    totals = [_total(cell, play) for play in plays]
    total = max(totals, default=0.0)
    q_ratio = _ratio(_spread_total(cell, problem.candidates), total, problem.queries.shape[1], dim)
    n = len(problem.queries)
    k = 1 if cell.side == "shared" else len(problem.candidates)
    answers = np.empty((len(plays), trials, n), np.int64)
    overlaps = np.full(len(plays), np.nan)
    drawn = uniform if cell.family == "uniform" else gaussian
    for trial in range(trials):

        def draw(rows: int, role: str, trial: int = trial) -> np.ndarray:
            return drawn(rows, dim, total, seed=seed, trial=trial, role=role, level=cell.level)

        q_noise = draw(n, "query") if cell.side in ("queries", "both") else None
        c_noise = draw(k, "candidate") if cell.side != "queries" else None
        for i, play in enumerate(plays):
            ratio = _ratio(totals[i], total, play.stored_dims, dim)
            noisy = _noisy(play, cell, q_noise, c_noise, ratio, q_ratio)
            clean = c_noise is None or k == 1 or totals[i] == 0
            answers[i, trial] = problem.best(noisy, ties=clean)
            if trial == 0:
                overlaps[i] = play.overlap(noisy)
    results = []
    for i, play in enumerate(plays):
        predicted = _predicted(problem, play, cell, totals[i])
        results.append(Result(cell, play, answers[i], trials, float(overlaps[i]), None, predicted))
    return results


def _predicted(problem: Problem, play: Play, cell: Cell, total: float) -> float | None:
    """Mean of D11 or D12 over the queries, where Gaussian noise hits candidates alone.

    Under dot the noise may have any shape: what counts is its spread along each query.
    """
    shaped = cell.family in SHAPED and play.score == "dot" and play.closer.memo == 0
    if not (cell.family == "gaussian" or shaped) or problem.lists is not None:
        return None
    if cell.side != "candidates":
        return None
    if play.closer.memo:
        kept = keep_probabilities(play.clean, play.score, total, noisy_dims=play.stored_dims)
        return None if kept is None else round(float(kept.value.mean()), DECIMALS)
    shape = play.candidate_shape(cell.family)
    spreads = None if shape is None else shape.spreads(play.queries, 1.0)
    curve = consistency_curve(play.clean, play.score, [total], spreads=spreads)
    return None if curve is None else round(float(curve.value[0]), DECIMALS)


def _total(cell: Cell, play: Play) -> float:
    """E‖ε‖² of a cell for one closer: under ``spread`` relative to its own, mapped candidates."""
    return _spread_total(cell, play.candidates[:, : play.stored_dims])


def _spread_total(cell: Cell, stored: np.ndarray) -> float:
    spread = float(stored.var(axis=0).sum())
    return total_variance(cell.level, cell.convention or "total", stored.shape[1], spread)


def _ratio(own: float, total: float, own_dim: int, dim: int) -> np.floating | None:
    """What turns noise drawn with ``total`` over ``dim`` coordinates into that of ``own``."""
    if total == 0 or (own == total and own_dim == dim):
        return None
    return np.float32(np.sqrt(own / own_dim) / np.sqrt(total / dim))


def _noisy(
    play: Play,
    cell: Cell,
    q_noise: np.ndarray | None,
    c_noise: np.ndarray | None,
    ratio: np.floating | None,
    q_ratio: np.floating | None,
) -> Ranking:
    """The search under noise.

    Noise on candidates hits what is stored: rows after the map, its memo coordinates apart. Noise
    on queries goes through the map's matrices, if it has any: the query is disturbed, then mapped.
    """
    q, c = play.queries.astype(np.float32), play.candidates.astype(np.float32)
    if q_noise is not None:
        matrices = [m.matrix for m in play.closer.query.steps if m.matrix is not None]
        own = q_ratio if matrices else ratio
        if own is not None:
            q_noise = q_noise * own
        shape = play.query_shape(cell.family)
        if shape is not None:
            q_noise = shape(q_noise[:, : play.closer.query.dim])
        for matrix in matrices:
            q_noise = q_noise @ matrix.T.astype(np.float32)
        q = q + q_noise
    if c_noise is not None:
        c_noise = c_noise[:, : play.stored_dims]
        shape = play.candidate_shape(cell.family)
        if shape is not None:
            c_noise = shape(c_noise)
        c[:, : play.stored_dims] += c_noise if ratio is None else c_noise * ratio
    return single(Ranking.of(q, c, play.score, play.bias))


def single(ranking: Ranking) -> Ranking:
    """Linear terms in the rows' float32, so that score blocks stay float32."""

    def cut(terms: np.ndarray | None) -> np.ndarray | None:
        return None if terms is None else terms.astype(ranking.queries.dtype)

    return Ranking(ranking.queries, ranking.candidates, cut(ranking.scale), cut(ranking.offset))
