"""Two halves of the queries: one to choose on, one to judge on; and what a closer does on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from isthmus.closers.maps import Closer
from isthmus.core.arrays import EPS32, to_numpy
from isthmus.core.seeds import stream
from isthmus.errors import ShapeError
from isthmus.robustness import ClosedSearch, Perturbation, Result, measure_perturbation
from isthmus.search.relevance import Relevance
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask

LEAST = 2
"""Queries in a half."""
HELD = 2**28
"""Bytes of mapped rows held at once."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A closer under the disturbance.

    ``flips`` (trials, n): share of levels at which a query's answer flipped. ``agreement`` and
    ``accuracy``: of the disturbed answers with today's, and with the truth (None: not known).
    ``predicted``: mean flips by formula, or None. ``floats`` and ``size``: numbers beside a stored
    vector, and its bytes where it is coded.
    """

    flips: np.ndarray
    agreement: float
    accuracy: float | None
    predicted: float | None
    floats: int
    size: float | None


@dataclass(frozen=True, eq=False)
class Half:
    """One half of the queries against all candidates.

    ``rows`` are the places of its queries in ``task``, ``plain`` the search of today, ``today``
    its answers to these queries. Noise and cuts search on a task of these queries alone, with
    draws of their own. Codecs have no draws, and search on all queries so that a codec of queries
    is
    fitted on the calibration half.
    """

    task: RetrievalTask
    rows: np.ndarray
    plain: Ranking
    today: np.ndarray
    perturbations: tuple[Perturbation, ...]
    trials: int
    seed: int

    @property
    def judged(self) -> np.ndarray:
        """(n,) bool: queries whose right answer is known."""
        return self.task.relevance.judged[self.rows]

    def search(self, closer: Closer) -> ClosedSearch:
        """The closer set up on this half."""
        whole = np.empty(len(self.task.queries), np.int64)
        whole[self.rows] = self.today
        return ClosedSearch.of(self.task, closer, whole)

    def answers(self, search: ClosedSearch) -> np.ndarray:
        """(n,): undisturbed answers after closing."""
        return search.clean_top1[self.rows]

    def same(self, answers: np.ndarray) -> np.ndarray:
        """(n,) bool: today's answer, or one that scores alike today to float32 rounding."""
        kept: np.ndarray = answers == self.today
        other = np.flatnonzero(~kept)
        places = self.rows[other]
        q = self.plain.queries[places]

        def score(c: np.ndarray) -> np.ndarray:
            found = np.einsum("ij,ij->i", q, self.plain.candidates[c])
            found = found if self.plain.scale is None else found * self.plain.scale[c]
            return found if self.plain.offset is None else found + self.plain.offset[c]

        width = to_numpy(self.plain.rounding(EPS32 / 2))[places, 0]
        kept[other] = score(self.today[other]) - score(answers[other]) <= width
        return kept

    def right(self, answers: np.ndarray) -> np.ndarray:
        """(judged,) bool for answers (n,) of this half: they are true."""
        whole = np.zeros(len(self.task.queries), np.int64)
        whole[self.rows] = answers
        right: np.ndarray = self.task.relevance.correct(whole)[self.rows][self.judged]
        return right

    def accuracy(self, answers: np.ndarray) -> float | None:
        """Share of right answers; None where no truth is known."""
        return float(self.right(answers).mean()) if self.judged.any() else None

    def batch(self) -> int:
        """Closers that are played at once: they share the draws, and hold their mapped rows."""
        held = (
            8
            * self.task.candidates.shape[1]
            * sum(len(side) for side in (self.task.queries, self.task.candidates))
        )
        return max(1, HELD // held)

    def measured(self, searches: Sequence[ClosedSearch]) -> list[Measured]:
        """ClosedSearch all perturbations, all searches under the same draws. A flip: under noise
        and cuts, another
        answer than the closer's own undisturbed one; under a codec, another than today's exact
        search."""
        perturbations = [
            measure_perturbation(
                self.task, searches, perturbation, trials=self.trials, seed=self.seed
            )
            for perturbation in self.perturbations
        ]
        return [
            self._one(search, found)
            for search, *found in zip(searches, *perturbations, strict=True)
        ]

    def _one(self, search: ClosedSearch, results: Sequence[Result]) -> Measured:
        clean = self.answers(search)
        flips, agreed, right = [], [], []
        for result in results:
            answers = result.answers[:, self.rows]
            flips.append(answers != (self.today if result.perturbation.kind == "codec" else clean))
            agreed.append(answers == self.today)
            right += [self.accuracy(line) for line in answers]
        known = [1 - r.predicted for r in results if r.predicted is not None]
        shares = [share for share in right if share is not None]
        return Measured(
            np.mean(flips, axis=0),
            float(np.mean(agreed)),
            float(np.mean(shares)) if shares else None,
            float(np.mean(known)) if len(known) == len(results) else None,
            search.floats_per_candidate,
            results[-1].bytes_per_vector,
        )


def split(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Query rows to choose on and to judge on: disjoint, sorted, fixed by the seed.

    Raises:
        ShapeError: fewer than 2 queries in either.
    """
    cut = round(share * n)
    if min(cut, n - cut) < LEAST:
        raise ShapeError(
            f"{n} queries split at {share:g} leave {cut} to choose on and {n - cut} to judge on; "
            f"expected {LEAST} of each at least, and some hundreds to see anything"
        )
    order = stream("recommend.split", seed).permutation(n)
    return np.sort(order[:cut]), np.sort(order[cut:])


def task_of(
    queries: np.ndarray,
    candidates: np.ndarray,
    truth: Relevance,
    calibration: np.ndarray,
    lists: np.ndarray | None,
    seed: int,
) -> RetrievalTask:
    """All queries; codecs are fitted on the calibration queries and a seeded half of candidates."""
    count = len(candidates)
    half = stream("recommend.codec-rows", seed).permutation(count)[: max(1, count // 2)]
    return RetrievalTask.of(
        queries,
        candidates,
        truth,
        candidate_calibration=np.sort(half),
        query_calibration=calibration,
        lists=lists,
    )


def half_of(
    whole: RetrievalTask,
    rows: np.ndarray,
    score: str,
    perturbations: Sequence[Perturbation],
    *,
    trials: int,
    seed: int,
) -> Half:
    """One half, with plain search as its today."""
    if any(perturbation.kind != "codec" for perturbation in perturbations):
        whole = replace(whole.restricted(rows), query_calibration=np.arange(len(rows)))
        rows = np.arange(len(rows))
    plain = Ranking.of(whole.queries, whole.candidates, score)
    return Half(whole, rows, plain, whole.best(plain)[rows], tuple(perturbations), trials, seed)
