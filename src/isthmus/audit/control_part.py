"""Controls of one direction: was it the gap that mattered, and not just any move?"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.audit.options import AuditOptions
from isthmus.closers import fit
from isthmus.closers.controls import controls
from isthmus.maps import Closer
from isthmus.moments import Moments
from isthmus.stress import Cell, Problem, measure, plays_of, rows_of

UNRECOMMENDED = "center-queries"
"""What controls are about where the recommendation is to leave it alone."""


def control_part(
    problem: Problem,
    queries: Moments,
    candidates: Moments,
    closer: Closer,
    opts: AuditOptions,
    trials: int,
) -> list[dict[str, Any]]:
    """Rows at the middle level, noise on candidates, each with its gain over plain search.

    The closer itself, beside it closed along a random vector of the same length, along its own
    vector shuffled or flipped, half as far the wrong way and half too far. Then every one that
    rescales rows at *matched noise-to-spread* (convention ``spread``): noise that is the same
    share of the stored candidates' variance, so that a closer cannot win by stretching them.
    """
    level = sorted(opts.levels)[len(opts.levels) // 2]
    name = closer.name if closer.name != "none" else UNRECOMMENDED
    score = closer.score if closer.name != "none" else None
    given: dict[str, Any] = {"score": score, "unit_in": opts.unit_rows}
    own = fit(name, queries, candidates, **given)
    plain = fit("none", queries, candidates, score=own.score, unit_in=opts.unit_rows)
    made = [plain, own, *controls(name, queries, candidates, seed=opts.seed, **given)]
    cell = Cell("gaussian", "candidates", level, opts.convention)
    results = measure(problem, plays_of(problem, made), cell, trials=trials, seed=opts.seed)
    rows = rows_of(problem, results, opts.seed)
    stretching = fit(
        "mean-shift",
        queries,
        candidates,
        score="cosine" if opts.unit_rows else opts.score,
        renormalise=opts.unit_rows,
        unit_in=opts.unit_rows,
    )
    base = fit("none", queries, candidates, score=stretching.score, unit_in=opts.unit_rows)
    spread = float(problem.candidates.var(axis=0).sum())
    share = _total(cell, problem) / spread if spread else 0.0
    matched = Cell("gaussian", "candidates", share, "spread")
    beside = [base] if own.score == base.score else [base, plain]
    plays = plays_of(problem, [*beside, stretching, own])
    results = measure(problem, plays, matched, trials=trials, seed=opts.seed)
    return rows + rows_of(problem, results, opts.seed)


def _total(cell: Cell, problem: Problem) -> float:
    from isthmus.perturb.noise import total_variance

    rows = problem.candidates
    spread = float(np.sum(rows.var(axis=0)))
    return total_variance(cell.level, cell.convention or "total", rows.shape[1], spread)
