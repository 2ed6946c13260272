"""A closer set up on a task, and what a perturbation came to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from isthmus.closers.maps import Closer
from isthmus.core.arrays import unit
from isthmus.perturb.shapes import Shape, covariance_shape, line_shape, span_shape
from isthmus.robustness.perturbations import FlipReference, Perturbation
from isthmus.search.items import ItemColumns
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask

OVERLAP_AT = 10


@dataclass(frozen=True, eq=False)
class ClosedSearch:
    """A closer set up on a task: mapped rows, the clean search, and its clean answers.

    ``today_top1`` (n,) are the answers that it is compared with: those of plain exact search.
    """

    closer: Closer
    score: str
    queries: np.ndarray
    candidates: np.ndarray
    bias: np.ndarray | None
    clean: Ranking
    clean_top1: np.ndarray
    today_top1: np.ndarray
    task: RetrievalTask
    _shapes: dict[tuple[str, str], Shape | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, task: RetrievalTask, closer: Closer, today_top1: np.ndarray) -> ClosedSearch:
        """Map the rows once; O((n + K) d) and one clean search."""
        queries = np.asarray(closer.query(task.queries))
        candidates = np.asarray(closer.candidate(task.candidates))
        bias = None if closer.bias_weights is None else closer.candidate_bias(task.candidates)
        clean = Ranking.of(queries, candidates, closer.score, bias)
        answers = task.best(clean)
        return cls(
            closer, closer.score, queries, candidates, bias, clean, answers, today_top1, task
        )

    @cached_property
    def _clean_head(self) -> np.ndarray:
        return _top_of_head(self.clean, OVERLAP_AT, self._columns)

    @cached_property
    def _columns(self) -> ItemColumns | None:
        items = self.task.candidate_items
        return None if items is None else ItemColumns.of(items)

    def overlap(self, perturbed: Ranking) -> float:
        """``overlap_at`` of the clean search, whose top is found once for all perturbations."""
        count = len(self.candidates) if self._columns is None else len(self._columns.rows)
        if count < 2 * OVERLAP_AT:
            return float("nan")
        return _overlap(self._clean_head, _top_of_head(perturbed, OVERLAP_AT, self._columns))

    @property
    def stored_dims(self) -> int:
        """Coordinates of a mapped row that are stored as a vector: all but the closer's memo."""
        return self.candidates.shape[1] - self.closer.memo

    @property
    def floats_per_candidate(self) -> int:
        """Floats kept for each candidate besides its vector: memo coordinates and its bias."""
        return self.closer.memo + (self.bias is not None)

    def candidate_shape(self, family: str) -> Shape | None:
        """Directions that noise of a family takes in what is stored; None where in all alike.

        ``covariance`` is that of the calibration rows, ``in-span`` and ``off-span`` are about the
        candidates searched, ``along-gap`` follows the gap through the map's matrices.
        """

        def found() -> Shape | None:
            stored = self.candidates[:, : self.stored_dims]
            if family == "covariance":
                return covariance_shape(stored[self.task.candidate_calibration])
            if family in ("in-span", "off-span"):
                return span_shape(stored, inside=family == "in-span")
            if family != "along-gap":
                return None
            gap = self._gap()
            for step in self.closer.candidate.steps:
                gap = gap if step.matrix is None else step.matrix @ gap
            return line_shape(gap[: self.stored_dims])

        return self._kept(family, "candidate", found)

    def query_shape(self, family: str) -> Shape | None:
        """The same for queries as they enter their map: what disturbs them comes before it."""

        def found() -> Shape | None:
            queries, candidates = self._entering()
            if family == "covariance":
                return covariance_shape(queries[self.task.query_calibration])
            if family in ("in-span", "off-span"):
                return span_shape(candidates, inside=family == "in-span")
            return line_shape(self._gap()) if family == "along-gap" else None

        return self._kept(family, "query", found)

    def _kept(self, family: str, role: str, found: Callable[[], Shape | None]) -> Shape | None:
        if (family, role) not in self._shapes:
            self._shapes[family, role] = found()
        return self._shapes[family, role]

    def _entering(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows as they enter the two maps."""
        q, c = self.task.queries, self.task.candidates
        return (
            np.asarray(unit(q)) if self.closer.query.normalised else q,
            np.asarray(unit(c)) if self.closer.candidate.normalised else c,
        )

    def _gap(self) -> np.ndarray:
        queries, candidates = self._entering()
        return queries.mean(axis=0) - candidates.mean(axis=0)

    @property
    def clean_agreement(self) -> np.ndarray:
        """(n,) bool: closing alone left the answer as it is today."""
        return self.clean_top1 == self.today_top1


def closed_searches(task: RetrievalTask, closers: Iterable[Closer]) -> list[ClosedSearch]:
    """Every closer set up on a task; its ``today`` is plain search under its own score."""
    today: dict[str, np.ndarray] = {}
    searches = []
    for closer in closers:
        if closer.score not in today:
            today[closer.score] = task.today(closer.score)
        searches.append(ClosedSearch.of(task, closer, today[closer.score]))
    return searches


@dataclass(frozen=True, eq=False)
class Result:
    """What a perturbation did to a closer: answers (trials, n), and the rest of its table row.

    ``extra`` are further columns: what a codec's error is like, how deep was rescored.
    """

    perturbation: Perturbation
    search: ClosedSearch
    answers: np.ndarray
    trials: int
    overlap: float
    bytes_per_vector: float | None
    predicted: float | None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def flips(self, reference: FlipReference) -> np.ndarray:
        """(trials, n) bool: the answer differs from that of the reference.

        ``own``: the same closer, undisturbed. ``today``: plain exact search.
        """
        search = self.search
        return self.answers != (search.clean_top1 if reference == "own" else search.today_top1)

    @property
    def kept(self) -> np.ndarray:
        """(trials, n) bool: no flip against ``own``."""
        return ~self.flips("own")


def overlap_at(clean: Ranking, perturbed: Ranking, k: int = OVERLAP_AT) -> float:
    """Mean share of the clean top k that is in the perturbed top k. NaN below 2k candidates."""
    if len(clean.candidates) < 2 * k:
        return float("nan")
    return _overlap(_top_of_head(clean, k), _top_of_head(perturbed, k))


def _top_of_head(ranking: Ranking, k: int, columns: ItemColumns | None = None) -> np.ndarray:
    """The k best rows (or items), in no order, of the first 512 queries: enough for one column."""
    head = replace(ranking, queries=ranking.queries[:512])
    blocks = (s if columns is None else columns.best(s) for _, s in head.score_blocks())
    return np.concatenate([np.argpartition(-s, k, axis=1)[:, :k] for s in blocks])


def _overlap(top_a: np.ndarray, top_b: np.ndarray) -> float:
    return float((top_a[:, :, None] == top_b[:, None, :]).any(axis=2).mean())
