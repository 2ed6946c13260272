"""What is tried of each closer, and what it is fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers import METHODS, fit, needed
from isthmus.closers.maps import Closer
from isthmus.core.levels import total_variance
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import OptionError
from isthmus.perturb.codecs import held_out_error
from isthmus.robustness import Perturbation
from isthmus.search.scores import SCORES
from isthmus.search.task import RetrievalTask

STRENGTHS = (1.0, 0.75, 0.5, 0.25)
RIDGES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
"""λ of the ridge shift, about the balance of noise and churn; the largest moves least."""
VARIANCES = (0.999, 0.99, 0.95, 0.9)
RANKS = (1, 2, 4, 8, 16)
WHOLE = ("none", "span", "subspace", "low-rank-memo", "ridge-shift")
"""Closers of which another number than the strength is tried."""


def settings_of(name: str, dim: int, beside: int) -> list[dict[str, Any]]:
    """The options tried of one closer, the plainest first: it is taken if nearly as good.

    ``low-rank-memo`` buys back precision with floats beside the vector, so it gets at most
    ``beside`` of them (one where that is 0).
    """
    if name == "none":
        return [{}]
    if name == "ridge-shift":
        return [{"ridge": ridge} for ridge in RIDGES]
    if name == "low-rank-memo":
        return [{"rank": rank} for rank in RANKS if rank <= min(dim, max(beside, 1))]
    cut: list[dict[str, Any]] = []
    if any(option.name == "variance" for option in METHODS[name].options):
        cut = [{"variance": share} for share in VARIANCES]
    if name in WHOLE:
        return [{}, *cut]
    return [{"strength": s} for s in STRENGTHS] + cut


def scores_of(name: str, score: str, unit_rows: bool) -> tuple[str, ...]:
    """The scores a closer is tried under.

    Unit rows rank alike under all three scores, so each closer takes the one it is made for, and
    plain search is tried under all. Other rows are searched as they are today.
    """
    if not unit_rows:
        return (score,)
    if name == "none":
        return (score, *(s for s in SCORES if s != score))
    return (METHODS[name].score,)


@dataclass(frozen=True, eq=False)
class Ground:
    """What closers are fitted on: no judged query is in it.

    Attributes:
        queries: moments of the calibration queries. rows: those rows, (n, d).
        candidates: moments of all candidates: they are what is stored.
        pairs: calibration queries beside a true candidate each, or None where none is known.
        noise: covariance of the disturbance for the ridge shift: a number or (d,), or None.
    """

    queries: Moments
    rows: np.ndarray
    candidates: Moments
    pairs: PairMoments | None
    unit_rows: bool
    noise: float | np.ndarray | None

    def fit(self, name: str, score: str, options: dict[str, Any]) -> Closer:
        """One closer at one setting.

        Raises:
            CloserError: it needs pairs, and none are known. OptionError: it has no such score.
        """
        given = needed(name, pairs=self.pairs, query_rows=self.rows) | options
        if name == "ridge-shift":
            given["noise"] = self.noise
        return fit(
            name, self.queries, self.candidates, score=score, normalised=self.unit_rows, **given
        )


def ground_of(
    task: RetrievalTask,
    calibration: np.ndarray,
    unit_rows: bool,
    perturbations: Sequence[Perturbation],
) -> Ground:
    """Moments of the calibration queries and of all candidates, and what the ridge shift needs."""
    rows = task.queries[calibration]
    kind = {"precise": True, "normalised": unit_rows}
    candidates = Moments.of(task.candidates, **kind)
    true = task.relevance.of_query()
    known = [(row, int(true[row][0])) for row in calibration.tolist() if len(true[row])]
    pairs = None
    if len(known) > 1:
        q, c = (np.array(side) for side in zip(*known, strict=True))
        pairs = PairMoments.of(task.queries[q], task.candidates[c], **kind)
    sizes = [
        s
        for s in (_noise_of(task, candidates, perturbation) for perturbation in perturbations)
        if s is not None
    ]
    noise = np.mean(np.stack([np.asarray(s) for s in sizes]), axis=0) if sizes else None
    return Ground(Moments.of(rows, **kind), rows, candidates, pairs, unit_rows, noise)


def _noise_of(
    task: RetrievalTask, candidates: Moments, perturbation: Perturbation
) -> float | np.ndarray | None:
    """The disturbance's variance per dimension; None where there is none.

    Noise: its own. Codecs: their error on stored rows they were not fitted on, about the
    candidates' mean, which the ridge shift takes off before they are coded.
    """
    if perturbation.kind == "noise":
        convention = perturbation.convention or "total"
        total = total_variance(
            perturbation.level, convention, candidates.dim, candidates.total_variance
        )
        return total / candidates.dim or None
    if perturbation.kind != "codec" or perturbation.target == "queries":
        return None
    rest = np.setdiff1d(np.arange(len(task.candidates)), task.candidate_calibration)
    centred = task.candidates - candidates.mean
    variance = held_out_error(
        perturbation.codec,
        centred[task.candidate_calibration],
        centred[rest] if len(rest) > 1 else centred,
    ).variance
    return variance if variance.any() else None


def checked_closers(closers: Any) -> tuple[str, ...]:
    """Names of closers, ``none`` first; all where None is given.

    Raises:
        OptionError: an unknown name, or none at all.
    """
    if closers is None:
        return tuple(METHODS)
    names = (closers,) if isinstance(closers, str) else tuple(closers)
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise OptionError(
            f"closer '{unknown[0] if unknown else ''}' is unknown; choose some of "
            f"{', '.join(METHODS)}"
        )
    return ("none", *(name for name in METHODS if name in names and name != "none"))
