"""Curves of one ranking, or of many closers from one product."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from isthmus.core.arrays import Array, to_numpy, unit, working
from isthmus.errors import OptionError, ShapeError
from isthmus.search.scores import Ranking
from isthmus.theory.curves.sweep import Sweep
from isthmus.theory.prediction import keep_probabilities
from isthmus.theory.rows import closed_ranking

if TYPE_CHECKING:
    from isthmus.closers.maps import Closer

BLOCK_ELEMENTS, BLOCK_ROWS = 2**20, 1024  # scores a thread holds: 4 MB of float32
THREADS = 4  # at most: more than the threads of the matrix product
LEAST_DIMENSIONS = 64


@dataclass(frozen=True, eq=False)
class Curve:
    """Predicted consistency at each level of noise on the candidates.

    ``totals`` (L,): E‖ε‖² of a candidate's noise. ``value`` (L,): mean over queries of ``kept``
    (L, n), the chance that the answer survives. ``error`` (L,): what the mean is known to; NaN
    where the levels were taken one by one by ``predict``. ``method``: one line.
    """

    totals: np.ndarray
    value: np.ndarray
    kept: np.ndarray
    error: np.ndarray
    method: str


def consistency_curve(
    ranking: Ranking,
    totals: Sequence[float],
    *,
    spreads: np.ndarray | None = None,
    items: np.ndarray | None = None,
) -> Curve | None:
    """Share of answers that survive Gaussian noise on the candidates, at every level at once.

    Args:
        ranking: clean queries (n, d) and candidates (K, d) as they are searched (after a closer's
            maps), candidate biases included. Its score is dot or euclidean; cosine has no closed
            form.
        totals: (L,) levels E‖ε‖², each at least 0.
        spreads: (n,), dot alone: √(qᵀΣq) of each query, for noise of covariance total · Σ that is
            not isotropic. Isotropic noise has ‖q‖/√d, the default.
        items: (K,) lowest row of each row's item: rivals are rows of other items. None: every row
            is an item.

    Returns:
        :class:`Curve`; None for cosine and for fewer than 2 candidates. Below 64 dimensions, and
        with candidate biases, Euclidean levels are taken one by one by ``predict``.

    Raises:
        OptionError: a level that is no variance, spreads under Euclidean search.
        ShapeError: spreads that do not fit the queries.

    Source: D11 and D12 of ``docs/formulas.md``. Cost: one clean search, then a few passes a level
    over the rivals within reach. Memory: a block of scores, and 16 bytes a rival within reach.
    """
    score = ranking.score
    levels = np.asarray(totals, np.float64)
    if levels.ndim != 1 or not len(levels) or not (np.isfinite(levels) & (levels >= 0)).all():
        raise OptionError(
            "bad-level", f"totals {totals} are not a list of variances; expected numbers >= 0"
        )
    n, dim = (int(size) for size in ranking.queries.shape)
    if spreads is not None:
        if score != "dot":
            raise OptionError(
                "no-formula", f"spreads were given under {score}; they are for dot alone"
            )
        spreads = np.asarray(spreads, np.float64)
        if spreads.shape != (n,):
            raise ShapeError(
                "bad-shape", f"spreads have shape {spreads.shape}; expected one a query, ({n},)"
            )
    count = int(ranking.candidates.shape[0]) if items is None else len(np.unique(items))
    if score == "cosine" or count < 2:
        return None
    ranking = ranking.on_host()
    if score == "euclidean" and (dim < LEAST_DIMENSIONS or ranking.bias is not None):
        each = [keep_probabilities(ranking, float(level), items=items) for level in levels]
        kept = np.stack([one.value for one in each if one is not None])
        unknown = np.full(len(levels), np.nan)
        return Curve(levels, kept.mean(axis=1), kept, unknown, "level by level")
    return _curves([Sweep(ranking, levels, spreads, items=items)], ranking)[0]


def consistency_curves(
    queries: Array, candidates: Array, closers: Sequence[Closer], totals: Sequence[float]
) -> list[Curve | None]:
    """:func:`consistency_curve` of many closers on the same rows: one product for all of them.

    A translation of either side, with biases, changes the score of a pair by a number of the
    query and a number of the candidate, ⟨q + a, x + b⟩ + ⟨w, x⟩ = ⟨q, x⟩ + ⟨a + w, x⟩ + ⟨q + a, b⟩,
    so the inner products are taken once. Closers of other kinds are mapped and searched one by one.

    Args:
        queries, candidates: (n, d), (K, d) rows before the closers' maps.
        closers: fitted, each with its own score and strength. totals: as above.

    Returns:
        A curve (or None) per closer, in their order.

    Raises:
        OptionError: levels that are no variances. ShapeError: rows of another model.
    """
    out: list[Curve | None] = [None] * len(closers)
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, closer in enumerate(closers):
        if _translates(closer) and int(queries.shape[1]) >= LEAST_DIMENSIONS:
            groups.setdefault((closer.score, closer.query.normalised), []).append(i)
        else:
            out[i] = consistency_curve(closed_ranking(closer, queries, candidates), totals)
    levels = np.asarray(totals, np.float64)
    for (score, normalised), mine in groups.items():
        sides = (queries, candidates)
        q, x = (to_numpy(unit(working(side)) if normalised else working(side)) for side in sides)
        rows = Ranking.of(q, x, "dot")
        searches: list[Sweep] = []
        for i in mine:
            like = searches[0] if searches else None
            searches.append(_translated(rows, closers[i], score, levels, like))
        for i, curve in zip(mine, _curves(searches, rows), strict=True):
            out[i] = curve
    return out


def _translates(closer: Closer) -> bool:
    """Whether both maps only move rows, and the search is one the bins are for."""
    steps = (*closer.query.steps, *closer.candidate.steps)
    moves = len(steps) == 2 and not any(s.renormalised or s.matrix is not None for s in steps)
    same = closer.query.normalised == closer.candidate.normalised
    numbers = closer.score == "euclidean" and closer.bias_weights is not None
    return moves and same and not closer.memo and closer.score != "cosine" and not numbers


def _translated(
    rows: Ranking, closer: Closer, score: str, levels: np.ndarray, like: Sweep | None
) -> Sweep:
    """A search of moved rows whose scores are those of ``rows`` and two sums."""
    zero = np.zeros(int(rows.queries.shape[1]))
    steps = (*closer.query.steps, *closer.candidate.steps)
    a, b, w = (zero if v is None else v for v in (*(s.offset for s in steps), closer.bias_weights))
    dtype = rows.queries.dtype
    queries = rows.queries if not a.any() else rows.queries + a.astype(dtype)
    candidates = rows.candidates if not b.any() else rows.candidates + b.astype(dtype)
    column = rows.candidates @ (a + w).astype(dtype)
    ranking = Ranking.of(queries, candidates, score, rows.candidates @ w)
    search = Sweep(ranking, levels, None, like)
    if score == "euclidean":
        column = column - 0.5 * np.einsum("ij,ij->i", candidates, candidates)
    search.column, search.row = column.astype(dtype), queries @ b.astype(dtype)
    return search


def _curves(searches: Sequence[Sweep], rows: Ranking) -> list[Curve]:
    """Every search through the blocks of one product."""
    n, count = int(rows.queries.shape[0]), len(rows.candidates)
    levels = searches[0].levels
    kept = np.empty((len(searches), len(levels), n))
    error = np.empty_like(kept)
    step = min(BLOCK_ROWS, max(1, BLOCK_ELEMENTS // count))

    def work(start: int) -> None:
        part = slice(start, min(start + step, n))
        some = replace(rows, queries=rows.queries[part])
        scores = next(some.score_blocks(step))[1]
        for i, search in enumerate(searches):
            own = scores
            if search.column is not None:
                own = scores + search.column
                own += search.row[part, None]
            kept[i, :, part], error[i, :, part] = search.block(own, part)

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(work, range(0, n, step)))
    return [
        Curve(levels, k.mean(axis=1), k, e.mean(axis=1), f"bins of leads, {search.score}")
        for search, k, e in zip(searches, kept, error, strict=True)
    ]
