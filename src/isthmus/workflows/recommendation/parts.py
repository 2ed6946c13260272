"""Some queries of a task under a perturbation: what a closer does to their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.arrays import EPS32, to_numpy
from isthmus.core.statistics import paired_difference, share_over_trials, wilson
from isthmus.robustness import (
    ClosedSearch,
    Perturbation,
    Result,
    closed_answers,
    closed_searches,
    measure_perturbations,
)
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask
from isthmus.workflows.recommendation.advice import PartFigures

HELD = 2**29
"""Bytes of mapped rows held at once."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A closer on one part, undisturbed and under the perturbations.

    Attributes:
        same: (n,) bool: undisturbed answers kept. near_ties: kept ones that are another candidate.
        spread: the stored vectors' variance over that before closing.
        flips: (trials, n): share of levels at which a query's answer flipped, against
            ``flip_reference`` of the perturbation.
        agreement, accuracy: of the disturbed answers with today's, and with what is right (None:
            not known); ``clean_accuracy`` of the undisturbed.
        predicted: mean flips by formula, or None. lawful: ``flips`` are by law as well.
        floats, size: floats kept for each candidate besides its vector, and the vector's bytes
            where it is coded.
    """

    same: np.ndarray
    near_ties: int
    spread: float
    flips: np.ndarray
    agreement: float
    accuracy: float | None
    clean_accuracy: float | None
    predicted: float | None
    lawful: bool
    floats: int
    size: float | None

    def figures(self, plain: Measured, seed: int) -> PartFigures:
        """Averages with intervals; ``plain`` is plain search under the same draws."""
        kept = wilson(int(self.same.sum()), len(self.same))
        share = share_over_trials(self.flips, seed=seed)
        change = paired_difference(self.flips, plain.flips, seed=seed)
        return PartFigures(
            len(self.same),
            share.mean,
            (share.low, share.high),
            self.predicted,
            change.mean,
            (change.low, change.high),
            self.agreement,
            kept.mean,
            (kept.low, kept.high),
            self.near_ties,
            self.accuracy,
            self.clean_accuracy,
            self.lawful,
        )


@dataclass(frozen=True, eq=False)
class Part:
    """Some queries against all candidates, for validation or test.

    ``rows`` are the places of its queries in ``task``, ``plain`` the search of today, ``today``
    its answers to these queries. Noise and cuts search on a task of these queries alone, with
    draws of their own. Codecs have no draws, and search on all queries so that a codec of queries
    is fitted on the train queries.
    """

    task: RetrievalTask
    rows: np.ndarray
    plain: Ranking
    today: np.ndarray
    perturbations: tuple[Perturbation, ...]
    trials: int
    seed: int
    by_law: bool

    @classmethod
    def of(
        cls,
        task: RetrievalTask,
        rows: np.ndarray,
        perturbations: Sequence[Perturbation],
        *,
        trials: int,
        seed: int,
        by_law: bool = False,
    ) -> Part:
        """The queries ``rows`` of a task; plain search by the task's score is today's."""
        today = task.today()[rows]
        if any(perturbation.kind != "codec" for perturbation in perturbations):
            some = task.restricted(rows, multiplied=True)
            task = replace(some, query_calibration=np.arange(len(rows)))
            rows = np.arange(len(rows))
        return cls(task, rows, task.plain(), today, tuple(perturbations), trials, seed, by_law)

    @property
    def judged(self) -> np.ndarray:
        """(n,) bool: queries whose right answer is known."""
        return self.task.relevance.judged[self.rows]

    def searches(self, closers: Sequence[Closer]) -> list[ClosedSearch]:
        """The closers set up on this part."""
        whole = np.empty(len(self.task.queries), np.int64)
        whole[self.rows] = self.today
        return closed_searches(self.task, closers, whole)

    def answers(self, closers: Sequence[Closer]) -> list[np.ndarray]:
        """(n,) each: undisturbed answers after closing."""
        return [answers[self.rows] for answers in closed_answers(self.task, closers)]

    def same(self, answers: np.ndarray) -> np.ndarray:
        """(n,) bool: today's answer, or one that scores alike today to float32 rounding."""
        kept: np.ndarray = answers == self.today
        other = np.flatnonzero(~kept)
        places = self.rows[other]
        some = replace(self.plain, queries=self.plain.queries[places])
        if self.task.candidate_items is None:
            scores = [some.scores_of(side[other]) for side in (self.today, answers)]
        else:
            scores = _item_scores(
                some, self.task.candidate_items, self.today[other], answers[other]
            )
        width = to_numpy(self.plain.rounding(EPS32 / 2))[places, 0]
        kept[other] = scores[0] - scores[1] <= width
        return kept

    def right(self, answers: np.ndarray) -> np.ndarray:
        """(judged,) bool for answers (n,) of this part: they are right."""
        whole = np.zeros(len(self.task.queries), np.int64)
        whole[self.rows] = answers
        right: np.ndarray = self.task.relevance.correct(whole)[self.rows][self.judged]
        return right

    def accuracy(self, answers: np.ndarray) -> float | None:
        """Share of right answers; None where nothing is known to be right."""
        return float(self.right(answers).mean()) if self.judged.any() else None

    def batch(self) -> int:
        """Closers that are measured at once: they share the draws, and hold their mapped rows."""
        return max(1, HELD // (8 * (self.task.queries.size + self.task.candidates.size)))

    def measured(self, searches: Sequence[ClosedSearch]) -> list[Measured]:
        """Every search under all perturbations, with the same draws for all searches."""
        if not searches:
            return []
        results = self.results(searches, self.perturbations)
        return [
            self.summary(search, found) for search, *found in zip(searches, *results, strict=True)
        ]

    def results(
        self, searches: Sequence[ClosedSearch], perturbations: Sequence[Perturbation]
    ) -> list[list[Result]]:
        """For each perturbation a result per search, with the same draws for all searches."""
        return measure_perturbations(
            self.task,
            searches,
            perturbations,
            trials=self.trials,
            seed=self.seed,
            by_law=self.by_law,
            tabled=0,
        )

    def summary(self, search: ClosedSearch, results: Sequence[Result]) -> Measured:
        """One search, from the results of its perturbations."""
        clean = search.clean_top1[self.rows]
        same = self.same(clean)
        flips = [r.flips(r.perturbation.flip_reference)[:, self.rows] for r in results]
        judged = self.rows[self.judged]
        right = [r.correct(self.task.relevance)[:, judged] for r in results]
        known = [1 - r.predicted for r in results if r.predicted is not None]
        before, stored = self.task.candidate_variance, search.stored_variance
        return Measured(
            same,
            int((same & (clean != self.today)).sum()),
            stored / before if before else 1.0,
            np.mean(flips, axis=0),
            float(np.mean([self._as_today(r).mean() for r in results])),
            float(np.mean([some.mean() for some in right])) if len(judged) else None,
            self.accuracy(clean),
            float(np.mean(known)) if len(known) == len(results) else None,
            all(r.law is not None for r in results),
            search.floats_per_candidate,
            results[-1].bytes_per_vector,
        )

    def _as_today(self, result: Result) -> np.ndarray:
        if result.law is not None:
            return result.as_today[:, self.rows]
        return np.asarray(result.answers[:, self.rows] == self.today)


def _item_scores(ranking: Ranking, items: np.ndarray, *answers: np.ndarray) -> list[np.ndarray]:
    """The score of each query's answer, which is an item and scores as its best row: (n,) each."""
    found = [np.empty(len(some)) for some in answers]
    for start, block in ranking.score_blocks():
        part = slice(start, start + len(block))
        for scores, some in zip(found, answers, strict=True):
            mine = some[part, None] == items
            scores[part] = np.where(mine, block, -np.inf).max(axis=1)
    return found
