"""Cells that leave dimensions out: dropped at random, truncated, projected at random.

What goes is taken from the stored vector (and the mapped query); a stored number and memo
coordinates stay. Cosine normalises by what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.errors import OptionError
from isthmus.perturb.noise import stream
from isthmus.scores import Ranking
from isthmus.stress.cells import Cell
from isthmus.stress.problems import Play, Problem, Result

FLOAT_BYTES = 4


def measure_cut(
    problem: Problem, plays: Sequence[Play], cell: Cell, *, trials: int, seed: int
) -> list[Result]:
    """``level`` dimensions are kept (below 1: that share); truncation keeps the first, once."""
    count = 1 if cell.family == "truncation" else trials
    results = []
    for play in plays:
        kept = dimensions_kept(cell, play.stored_dims)
        answers = np.empty((count, len(problem.queries)), np.int64)
        overlap = float("nan")
        for trial in range(count):
            cut = _cut(play, cell, kept, seed, trial)
            answers[trial] = problem.best(cut)
            if trial == 0:
                overlap = play.overlap(cut)
        size = float(FLOAT_BYTES * kept) if cell.side != "queries" else None
        results.append(Result(cell, play, answers, count, overlap, size, None))
    return results


def dimensions_kept(cell: Cell, dim: int) -> int:
    """What the level means for vectors of ``dim`` dimensions: at least 1, at most all."""
    wanted = cell.level * dim if cell.level < 1 else cell.level
    if cell.level >= 1 and wanted != int(wanted):
        raise OptionError(f"{cell.family} keeps {cell.level:g} dimensions; expected a whole number")
    return int(np.clip(round(wanted), 1, dim))


def _cut(play: Play, cell: Cell, kept: int, seed: int, trial: int) -> Ranking:
    dim = play.stored_dims
    rng = np.random.Generator(np.random.SFC64(stream(seed, trial, "candidate", cell.level, 0)))
    queries, candidates = play.queries, play.candidates
    if cell.family == "random-projection":
        down = rng.standard_normal((dim, kept)) / np.sqrt(kept)
        queries, candidates = (
            np.hstack([rows[:, :dim] @ down, rows[:, dim:]]) for rows in (queries, candidates)
        )
    else:
        left = np.zeros(queries.shape[1], bool)
        left[np.arange(kept) if cell.family == "truncation" else rng.permutation(dim)[:kept]] = True
        left[dim:] = True
        if cell.side in ("queries", "both"):
            queries = np.where(left, queries, 0.0)
        if cell.side in ("candidates", "both"):
            candidates = np.where(left, candidates, 0.0)
    return Ranking.of(queries, candidates, play.score, play.bias)
