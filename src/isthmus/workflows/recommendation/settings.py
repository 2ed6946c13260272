"""What is tried of each closer, and what it is fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.fitting import fit, needed
from isthmus.closers.registry import METHODS
from isthmus.core.levels import total_variance
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import OptionError
from isthmus.perturb.codecs import held_out_error
from isthmus.robustness import Perturbation
from isthmus.search.scores import SCORES
from isthmus.search.task import RetrievalTask


def settings_of(name: str, dim: int, floats: int) -> list[dict[str, Any]]:
    """The options tried of one closer, the plainest first: it is taken if nearly as good.

    A closer that buys back precision with floats for each candidate (``rank``) gets at most
    ``floats`` of them (one where that is 0).
    """
    most = min(dim, max(floats, 1))
    return [options for options in METHODS[name].settings if options.get("rank", 0) <= most]


def scores_of(name: str, score: str, normalised: bool) -> tuple[str, ...]:
    """The scores a closer is tried under.

    Unit rows rank alike under all three scores, so each closer takes the one it is made for, and
    plain search is tried under all. Other rows are searched as they are today.
    """
    if not normalised:
        return (score,)
    if name == "none":
        return (score, *(s for s in SCORES if s != score))
    return (METHODS[name].score,)


@dataclass(frozen=True, eq=False)
class FitRows:
    """What closers are fitted on: no test query is in it.

    Attributes:
        queries: moments of the train queries. rows: those rows, (n, d).
        candidates: moments of all candidates: they are what is stored.
        pairs: train queries with a right candidate each, or None where none is known.
        normalised: whether the rows are unit rows.
        noise: covariance of the disturbance for the ridge shift: a number or (d,), or None.
    """

    queries: Moments
    rows: np.ndarray
    candidates: Moments
    pairs: PairMoments | None
    normalised: bool
    noise: float | np.ndarray | None

    @classmethod
    def of(
        cls, task: RetrievalTask, train: np.ndarray, perturbations: Sequence[Perturbation]
    ) -> FitRows:
        """Moments of the train queries and of all candidates, and what the ridge shift needs."""
        rows = task.queries[train]
        kind = {"precise": True, "normalised": task.normalised}
        candidates = task.held_moments
        right = task.relevance.of_query()
        known = [(row, int(right[row][0])) for row in train.tolist() if len(right[row])]
        pairs = None
        if len(known) > 1:
            q, c = (np.array(side) for side in zip(*known, strict=True))
            pairs = PairMoments.of(task.queries[q], task.candidates[c], **kind)
        sizes = [_noise_of(task, candidates, perturbation) for perturbation in perturbations]
        given = [np.asarray(size) for size in sizes if size is not None]
        noise = np.mean(np.stack(given), axis=0) if given else None
        return cls(Moments.of(rows, **kind), rows, candidates, pairs, task.normalised, noise)

    def fit(self, name: str, score: str, options: dict[str, Any]) -> Closer:
        """One closer at one setting.

        Raises:
            CloserError: it needs pairs, and none are known. OptionError: it has no such score.
        """
        given = needed(name, pairs=self.pairs, query_rows=self.rows) | options
        if any(option.name == "noise" for option in METHODS[name].options):
            given["noise"] = self.noise
        given["normalised"] = self.normalised
        return fit(name, self.queries, self.candidates, score=score, **given)


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
            perturbation.level,
            convention,
            candidates.dim,
            candidates.total_variance,
            task.candidate_square_norm,
        )
        return total / candidates.dim or None
    if perturbation.kind != "codec" or perturbation.target == "queries":
        return None
    fitted = task.candidate_calibration
    rest = np.setdiff1d(np.arange(len(task.candidates)), fitted)
    centred = task.candidates - candidates.mean
    unseen = centred[rest] if len(rest) > 1 else centred
    variance = held_out_error(perturbation.codec, centred[fitted], unseen).variance
    return variance if variance.any() else None


def checked_closers(closers: str | Iterable[str] | None) -> tuple[str, ...]:
    """Names of closers, ``none`` first; all where None is given.

    Raises:
        OptionError: an unknown name, or none at all.
    """
    if closers is None:
        return tuple(METHODS)
    given = (closers,) if isinstance(closers, str) else tuple(closers)
    if not given:
        raise OptionError("no-closer", f"no closer was named; choose some of {', '.join(METHODS)}")
    names = [METHODS[name].name for name in given]
    return ("none", *(name for name in METHODS if name in names and name != "none"))
