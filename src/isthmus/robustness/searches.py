"""A closer set up on a task, and what a perturbation came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer, Role
from isthmus.closers.maps import RowMap
from isthmus.core.arrays import unit
from isthmus.perturb.families import NOISES
from isthmus.perturb.shapes import Met, Shape
from isthmus.robustness.perturbations import FlipReference, Perturbation
from isthmus.search.items import ItemColumns
from isthmus.search.relevance import Relevance
from isthmus.search.scores import Ranking, total_variance_of
from isthmus.search.settled import largest
from isthmus.search.shared import Moved, Product
from isthmus.search.task import RetrievalTask
from isthmus.theory.rows import moved_search

OVERLAP_AT = 10
HEAD = 512
"""Queries that overlap at ten is of."""


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
        return closed_searches(task, [closer], today_top1)[0]

    def restricted(self, task: RetrievalTask, rows: np.ndarray) -> ClosedSearch:
        """The same search by the queries ``rows`` (m,), which ``task`` holds."""
        clean = replace(self.clean, queries=self.queries[rows])
        tops = {"clean_top1": self.clean_top1[rows], "today_top1": self.today_top1[rows]}
        some = replace(self, queries=clean.queries, clean=clean, task=task, _shapes={}, **tops)
        if "product" in vars(self):
            vars(some)["product"] = self.product.at(rows)
        return some

    @cached_property
    def moved(self) -> Moved | None:
        """How its scores come from the products of the task's rows, where it only moves rows."""
        return moved_search(
            self.task.product, self.closer, self.clean, normalised=self.task.normalised
        )

    @cached_property
    def product(self) -> Product:
        """Inner products of its own rows, mapped, in float32."""
        cut = self.clean.single()
        return Product(cut.queries, cut.candidates, device=self.task.device)

    @property
    def multiplied(self) -> tuple[Product | Ranking, Moved | None]:
        """A product that its scores come from, and how: that of the task's rows, or its own where
        it was asked for before. Else the search itself in float32."""
        if self.moved is not None:
            return self.task.product, self.moved
        if "product" in vars(self):
            return self.product, Moved.of(self.product, self.clean)
        return self.clean.single(), None

    @cached_property
    def _clean_head(self) -> np.ndarray:
        if self.moved is None:
            return _top_of_head(self.clean.single(), OVERLAP_AT, self._columns)
        head = slice(0, min(HEAD, len(self.queries)))
        return self.top_of(self.moved.scores(self.task.product.block(head), head))

    @cached_property
    def _columns(self) -> ItemColumns | None:
        items = self.task.candidate_items
        return None if items is None else ItemColumns.of(items)

    def overlap(self, perturbed: Ranking) -> float:
        """``overlap_at`` of the clean search, whose top is found once for all perturbations."""
        count = len(self.candidates) if self._columns is None else len(self._columns.rows)
        if count < 2 * OVERLAP_AT:
            return float("nan")
        return self.overlap_of(_top_of_head(perturbed, OVERLAP_AT, self._columns))

    def overlap_of(self, top: np.ndarray) -> float:
        """The same from the best rows (or items) of the first queries, :meth:`top_of`."""
        return _overlap(self._clean_head, top) if len(top) else float("nan")

    def top_of(self, scores: np.ndarray) -> np.ndarray:
        """(b, 10) best rows (or items) of scores (b, K), in no order; (0, 10) of too few."""
        if self._columns is not None:
            scores = self._columns.best(scores)
        if scores.shape[1] < 2 * OVERLAP_AT:
            return np.empty((0, OVERLAP_AT), np.int64)
        return largest(scores, OVERLAP_AT)

    @property
    def stored_dims(self) -> int:
        """Coordinates of a mapped row that are stored as a vector: all but the closer's memo."""
        return self.candidates.shape[1] - self.closer.memo

    @property
    def stored_variance(self) -> float:
        """Total variance of what is stored as vectors."""
        return total_variance_of(self.candidates, self.stored_dims, self.task.facts)

    @property
    def floats_per_candidate(self) -> int:
        """Floats kept for each candidate besides its vector: memo coordinates and its bias."""
        return self.closer.memo + (self.bias is not None)

    def noise_shape(self, family: str, role: Role) -> Shape | None:
        """Directions that noise of a family takes; None where in all alike.

        Noise on candidates hits what is stored, and follows the gap through the map's matrices.
        Noise on queries comes before their map.
        """
        if (family, role) not in self._shapes:
            shape = NOISES[family].shape
            met = None if shape is None else self._met[role]
            self._shapes[family, role] = None if shape is None or met is None else shape(met)
        return self._shapes[family, role]

    @cached_property
    def _met(self) -> dict[Role, Met]:
        sides = (
            (self.closer.query, self.task.queries),
            (self.closer.candidate, self.task.candidates),
        )
        queries, candidates = (entering_rows(self.task, *side) for side in sides)
        gap = queries.mean(axis=0) - candidates.mean(axis=0)
        asked = Met(queries[self.task.query_calibration], candidates, gap)
        for step in self.closer.candidate.steps:
            gap = gap if step.matrix is None else step.matrix @ gap
        stored = self.candidates[:, : self.stored_dims]
        held = stored[self.task.candidate_calibration]
        return {"query": asked, "candidate": Met(held, stored, gap[: self.stored_dims])}

    @property
    def clean_agreement(self) -> np.ndarray:
        """(n,) bool: closing alone left the answer as it is today."""
        return self.clean_top1 == self.today_top1


def closed_searches(
    task: RetrievalTask,
    closers: Iterable[Closer],
    today_top1: np.ndarray | None = None,
    *,
    kept: bool = False,
) -> list[ClosedSearch]:
    """Every closer set up on a task, from one product where it only moves rows.

    ``today_top1``: None takes plain search under each closer's own score. ``kept``: products of
    closers that do more are kept in their searches, for codes that are all but exact.
    """
    searches = []
    for closer in closers:
        queries = mapped_rows(task, closer.query, task.queries)
        candidates = mapped_rows(task, closer.candidate, task.candidates)
        entering = entering_rows(task, closer.candidate, task.candidates)
        bias = None if closer.bias_weights is None else closer.entered_bias(entering)
        clean = Ranking.of(queries, candidates, closer.score, bias, task.facts)
        today = task.today(closer.score) if today_top1 is None else today_top1
        answers = np.empty(len(queries), np.int64)  # filled below, from what all searches share
        searches.append(
            ClosedSearch(
                closer, closer.score, queries, candidates, bias, clean, answers, today, task
            )
        )
    alone = [search for search in searches if kept and search.moved is None]
    shared = [search for search in searches if search not in alone]
    found = task.answers([(search.clean, search.moved) for search in shared])
    for search in alone:
        moved = Moved.of(search.product, search.clean)
        found += task.answers([(search.clean, moved)], search.product)
    for search, answers in zip(shared + alone, found, strict=True):
        search.clean_top1[:] = answers
    return searches


def mapped_rows(task: RetrievalTask, closing: RowMap, rows: np.ndarray) -> np.ndarray:
    """Rows after a map; maps that do nothing, or only normalise, give all searches one array."""
    rows = entering_rows(task, closing, rows)
    first, *rest = closing.steps
    steps = replace(first, normalised=False), *rest
    moves = not closing.is_identity or first.renormalised or closing.dim != rows.shape[1]
    if moves or len(steps) > 1:
        for step in steps:
            rows = np.asarray(step(rows))
    return rows


def entering_rows(task: RetrievalTask, closing: RowMap, rows: np.ndarray) -> np.ndarray:
    """Rows as they enter a map: normalised once for all that begin so."""
    if not closing.normalised:
        return rows
    return task.facts.of("normalised", lambda: np.asarray(unit(rows)), rows)


@dataclass(frozen=True, eq=False)
class Law:
    """What a formula says of each query, (n,) chances: its answer is that of the same closer
    undisturbed (``kept``), today's (``today``), right (``right``; None where nothing is known to
    be). (draws, n) where a part of the noise was drawn.

    ``today`` is None where the formula speaks of the own answer alone. ``error``: what the mean of
    ``kept`` is known to.
    """

    kept: np.ndarray
    today: np.ndarray | None
    right: np.ndarray | None
    error: float


@dataclass(frozen=True, eq=False)
class Result:
    """What a perturbation did to a closer: answers (trials, n), and the rest of its table row.

    ``extra`` are further columns: what a codec's error is like, how deep was rescored. Where there
    is a ``law``, shares are its chances, and the answers are the draws that check it, of the
    queries ``checked_rows`` (m,); None: all.
    """

    perturbation: Perturbation
    search: ClosedSearch
    answers: np.ndarray
    trials: int
    overlap: float
    bytes_per_vector: float | None
    predicted: float | None
    extra: Mapping[str, Any] = field(default_factory=dict)
    law: Law | None = None
    checked_rows: np.ndarray | None = None

    def flips(self, reference: FlipReference) -> np.ndarray:
        """The answer differs from that of the reference: (trials, n) bool, or (1, n) chances.

        ``own``: the same closer, undisturbed. ``today``: plain exact search.
        """
        same = self.kept if reference == "own" else self.as_today
        return ~same if same.dtype == bool else 1 - same

    @property
    def kept(self) -> np.ndarray:
        """No flip against ``own``: (trials, n) bool, or chances of a law, (1, n) or (draws, n)."""
        if self.law is not None:
            return np.atleast_2d(self.law.kept)
        return self.answers == self.search.clean_top1

    @property
    def as_today(self) -> np.ndarray:
        """No flip against ``today``: (trials, n) bool, or (1, n) chances."""
        if self.law is not None and self.law.today is not None:
            return np.atleast_2d(self.law.today)
        return self.answers == self.search.today_top1

    def correct(self, relevance: Relevance) -> np.ndarray:
        """The answer is right: (trials, n) bool, or (1, n) chances."""
        if self.law is not None and self.law.right is not None:
            return np.atleast_2d(self.law.right)
        return relevance.correct(self.answers)

    @property
    def checked(self) -> np.ndarray | None:
        """No flip against ``own`` in the draws that check the law, (trials, m) bool."""
        every = slice(None) if self.checked_rows is None else self.checked_rows
        return None if self.law is None else self.answers == self.search.clean_top1[every]


def overlap_at(clean: Ranking, perturbed: Ranking, k: int = OVERLAP_AT) -> float:
    """Mean share of the clean top k that is in the perturbed top k. NaN below 2k candidates."""
    if len(clean.candidates) < 2 * k:
        return float("nan")
    return _overlap(_top_of_head(clean, k), _top_of_head(perturbed, k))


def _top_of_head(ranking: Ranking, k: int, columns: ItemColumns | None = None) -> np.ndarray:
    """The k best rows (or items), in no order, of the first queries: enough for one column."""
    head = replace(ranking, queries=ranking.queries[:HEAD])
    blocks = (s if columns is None else columns.best(s) for _, s in head.score_blocks())
    return np.concatenate([largest(s, k) for s in blocks])


def _overlap(top_a: np.ndarray, top_b: np.ndarray) -> float:
    return float((top_a[:, :, None] == top_b[:, None, :]).any(axis=2).mean())
