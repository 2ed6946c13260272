"""Cells that leave dimensions out: dropped at random, truncated, projected at random.

What goes is taken from the stored vector (and the mapped query); a stored number and memo
coordinates stay. Cosine normalises by what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.errors import OptionError
from isthmus.perturb.noise import stream
from isthmus.robustness.perturbations import Perturbation
from isthmus.robustness.searches import ClosedSearch, Result
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask

FLOAT_BYTES = 4


def measure_cut(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    *,
    trials: int,
    seed: int,
) -> list[Result]:
    """``level`` dimensions are kept (below 1: that share); truncation keeps the first, once."""
    count = 1 if perturbation.family == "truncation" else trials
    results = []
    for search in searches:
        kept = dimensions_kept(perturbation, search.stored_dims)
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


def dimensions_kept(perturbation: Perturbation, dim: int) -> int:
    """What the level means for vectors of ``dim`` dimensions: at least 1, at most all."""
    wanted = perturbation.level * dim if perturbation.level < 1 else perturbation.level
    if perturbation.level >= 1 and wanted != int(wanted):
        raise OptionError(
            f"{perturbation.family} keeps {perturbation.level:g} dimensions; "
            "expected a whole number"
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
