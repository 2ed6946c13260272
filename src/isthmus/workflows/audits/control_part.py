"""Controls of one direction: was it the gap that mattered, and not just any move?"""

from __future__ import annotations

from typing import Any

from isthmus.closers import fit
from isthmus.closers.controls import controls
from isthmus.closers.maps import Closer
from isthmus.core.levels import total_variance
from isthmus.data.moments import Moments
from isthmus.robustness import Perturbation, closed_searches, measure_perturbation, rows_of
from isthmus.search.task import RetrievalTask
from isthmus.workflows.audits.options import AuditOptions

UNRECOMMENDED = "center-queries"
"""What controls are about where the recommendation is to leave it alone."""


def control_part(
    task: RetrievalTask,
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
    name, score = (closer.name, closer.score) if closer.name != "none" else (UNRECOMMENDED, None)
    normalised = opts.unit_rows

    def fitted(method: str, score: str | None) -> Closer:
        return fit(method, queries, candidates, score=score, normalised=normalised)

    own = fitted(name, score)
    others = controls(name, queries, candidates, seed=opts.seed, score=score, normalised=normalised)
    stretching = fitted("mean-shift", opts.score)
    made = [fitted("none", s) for s in dict.fromkeys([own.score, stretching.score])]
    searches = closed_searches(task, [*made, own, stretching, *others])
    plain, (mine, stretched, *moved) = searches[: len(made)], searches[len(made) :]

    level = sorted(opts.levels)[len(opts.levels) // 2]
    spread = float(task.candidates.var(axis=0).sum())
    total = total_variance(level, opts.convention, task.candidates.shape[1], spread)
    share = total / spread if spread else 0.0
    played = (
        (Perturbation("gaussian", "candidates", level, opts.convention), [plain[0], mine, *moved]),
        (Perturbation("gaussian", "candidates", share, "spread"), [*plain, stretched, mine]),
    )
    rows = []
    for perturbation, some in played:
        results = measure_perturbation(task, some, perturbation, trials=trials, seed=opts.seed)
        rows += rows_of(task, results, opts.seed)
    return rows
